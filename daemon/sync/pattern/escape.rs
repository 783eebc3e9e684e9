//! Backslash escapes and `[…]` of Python's pattern syntax.
//!
//! Promise: an escape CPython 3.8 refuses is refused; one it takes has its meaning, or is refused as not supported.
//! Not here: groups, repeats, flags (`parse`).

use super::PatternError;
use super::parse::{Parser, Token};
use super::tree::{At, Category, Item, Node};

/// What an escape outside a set stands for.
enum Escape {
    Char(u32),
    Node(Node),
}

/// An escape outside a set, its token already taken.
pub fn outside(parser: &mut Parser, token: Token) -> Result<Node, PatternError> {
    let position = token.at;
    match escape(parser, token)? {
        Escape::Char(code) => Ok(literal(code, position)),
        Escape::Node(node) => Ok(node),
    }
}

/// One character.
pub fn literal(code: u32, position: usize) -> Node {
    Node::Set { items: vec![Item::Literal(code)], negated: false, position }
}

fn escape(parser: &mut Parser, token: Token) -> Result<Escape, PatternError> {
    let at = |at| Ok(Escape::Node(Node::At(at)));
    match token.ch {
        'A' => at(At::TextStart),
        'Z' => at(At::TextEnd),
        'b' => at(At::Boundary),
        'B' => at(At::NoBoundary),
        '1'..='9' => numbered(parser, token),
        '0' => {
            let digits = format!("0{}", parser.take_while(2, |c| c.is_digit(8)));
            Ok(Escape::Char(parse_radix(&digits, 8)))
        }
        ch => match category(ch) {
            Some(item) => Ok(Escape::Node(Node::Set { items: vec![item], negated: false, position: token.at })),
            None => Ok(Escape::Char(character(parser, token)?)),
        },
    }
}

/// `\1` is a group, `\101` a character in octal.
fn numbered(parser: &mut Parser, token: Token) -> Result<Escape, PatternError> {
    let mut digits = String::from(token.ch);
    if let Some(second) = parser.peek_plain(|c| c.is_ascii_digit()) {
        parser.advance();
        digits.push(second);
        let octal = digits.chars().all(|c| c.is_digit(8));
        if let Some(third) = parser.peek_plain(|c| octal && c.is_digit(8)) {
            parser.advance();
            digits.push(third);
            return Ok(Escape::Char(octal_value(&digits, token.at)?));
        }
    }
    let group = digits.parse().map_err(|_| PatternError::new("invalid group reference", token.at))?;
    parser.check_reference(group, token.at, token.at + 1)?;
    Ok(Escape::Node(Node::BackReference { group, position: token.at }))
}

fn octal_value(digits: &str, at: usize) -> Result<u32, PatternError> {
    let code = parse_radix(digits, 8);
    if code > 0o377 {
        let message = format!(r"octal escape value \{digits} outside of range 0-0o377: write \u00e9 for é");
        return Err(PatternError::new(message, at));
    }
    Ok(code)
}

fn category(ch: char) -> Option<Item> {
    let category = match ch.to_ascii_lowercase() {
        'd' => Category::Digit,
        's' => Category::Space,
        'w' => Category::Word,
        _ => return None,
    };
    Some(Item::Category { category, negated: ch.is_ascii_uppercase() })
}

/// Escapes that mean one character both inside and outside a set.
fn character(parser: &mut Parser, token: Token) -> Result<u32, PatternError> {
    let code = match token.ch {
        'a' => 7,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        'x' => return hexadecimal(parser, token, 2),
        'u' => return hexadecimal(parser, token, 4),
        'U' => return hexadecimal(parser, token, 8),
        'N' => {
            let message = r"\N{name} is not supported: write the character itself or its number, \u2014";
            return Err(PatternError::new(message, token.at));
        }
        ch if ch.is_ascii_alphanumeric() => return Err(bad_escape(token)),
        ch => u32::from(ch),
    };
    Ok(code)
}

fn bad_escape(token: Token) -> PatternError {
    let ch = token.ch;
    let hint = match ch {
        'z' => r": Python writes \Z for the end of the text",
        'p' | 'P' => r": Python knows no \p{…}, write the characters in […]",
        'k' | 'g' => ": Python writes (?P=name) for a named group",
        'Q' | 'E' => ": escape each special character by itself",
        _ => "",
    };
    PatternError::new(format!(r"bad escape \{ch}{hint}"), token.at)
}

fn hexadecimal(parser: &mut Parser, token: Token, digits: usize) -> Result<u32, PatternError> {
    let text = parser.take_while(digits, |c| c.is_ascii_hexdigit());
    let ch = token.ch;
    if text.len() != digits {
        let message = format!(r"incomplete escape \{ch}{text}: \{ch} takes {digits} hexadecimal digits");
        return Err(PatternError::new(message, token.at));
    }
    let code = parse_radix(&text, 16);
    if code > u32::from(char::MAX) {
        return Err(PatternError::new(format!(r"bad escape \{ch}{text}: no such character"), token.at));
    }
    Ok(code)
}

/// At most eight hexadecimal digits come here.
fn parse_radix(digits: &str, radix: u32) -> u32 {
    u32::from_str_radix(digits, radix).unwrap_or(u32::MAX)
}

/// A `[…]`, its `[` already taken.
pub fn set(parser: &mut Parser, open: Token) -> Result<Node, PatternError> {
    let negated = parser.take_plain('^');
    let mut items = Vec::new();
    loop {
        let Some(token) = parser.advance() else {
            return Err(unterminated(open));
        };
        if token.is(']') && !items.is_empty() {
            break;
        }
        let first = member(parser, token)?;
        if !parser.take_plain('-') {
            add(&mut items, first);
            continue;
        }
        let Some(last_token) = parser.advance() else {
            return Err(unterminated(open));
        };
        if last_token.is(']') {
            add(&mut items, first);
            add(&mut items, Item::Literal(u32::from('-')));
            break;
        }
        let last = member(parser, last_token)?;
        add(&mut items, range(first, last, token)?);
    }
    Ok(Node::Set { items, negated, position: open.at })
}

/// CPython drops doubles too: `[aa]` is one literal, and a literal folds case differently from a set.
fn add(items: &mut Vec<Item>, item: Item) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn range(first: Item, last: Item, token: Token) -> Result<Item, PatternError> {
    let (Item::Literal(low), Item::Literal(high)) = (&first, &last) else {
        let message = r"bad character range: \d, \s and \w cannot end a range, write \- for a hyphen";
        return Err(PatternError::new(message, token.at));
    };
    if high < low {
        return Err(PatternError::new("bad character range: its end comes before its start", token.at));
    }
    Ok(Item::Range(*low, *high))
}

fn member(parser: &mut Parser, token: Token) -> Result<Item, PatternError> {
    if !token.escaped {
        return Ok(Item::Literal(u32::from(token.ch)));
    }
    if let Some(item) = category(token.ch) {
        return Ok(item);
    }
    match token.ch {
        'b' => Ok(Item::Literal(8)),
        '0'..='7' => {
            let digits = format!("{}{}", token.ch, parser.take_while(2, |c| c.is_digit(8)));
            octal_value(&digits, token.at).map(Item::Literal)
        }
        _ => character(parser, token).map(Item::Literal),
    }
}

fn unterminated(open: Token) -> PatternError {
    PatternError::new(r"unterminated character set: close it with ], or write \[ for a bracket", open.at)
}
