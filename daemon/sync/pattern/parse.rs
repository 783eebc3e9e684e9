//! Python's pattern syntax (CPython 3.8, text, no flags argument), read into a tree.
//!
//! Promise: what CPython 3.8 refuses is refused, with the place CPython names.
//! Not here: escapes and sets (`escape`), flags (`flags`), what the regex crates can do (`emit`).

use std::collections::BTreeMap;

use super::tree::{Flags, MAX_REPEAT, Node, Sequence, Width, width};
use super::{MAX_NESTED_GROUPS, PatternError, escape};

/// A character, or a backslash and the character after it.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub ch: char,
    pub escaped: bool,
    /// In characters from 0.
    pub at: usize,
}

impl Token {
    /// Whether it is this character, without a backslash.
    pub fn is(self, ch: char) -> bool {
        !self.escaped && self.ch == ch
    }
}

/// A pattern and the flags that hold for all of it.
#[derive(Debug)]
pub struct Tree {
    pub flags: Flags,
    pub body: Sequence,
}

/// Why parsing ended early.
pub enum Stop {
    Refused(PatternError),
    /// `(?x)` was found: all of the pattern is to be read again as verbose.
    Verbose(usize),
}

impl From<PatternError> for Stop {
    fn from(error: PatternError) -> Self {
        Self::Refused(error)
    }
}

/// An error at a place, in characters.
pub fn refuse<T>(message: impl Into<String>, position: usize) -> Result<T, Stop> {
    Err(Stop::Refused(PatternError::new(message, position)))
}

/// Reads a pattern.
pub fn parse(source: &str) -> Result<Tree, PatternError> {
    let (tokens, end) = tokens(source)?;
    match Parser::new(&tokens, end, Flags::default()).whole() {
        Ok(tree) => Ok(tree),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Verbose(_)) => match Parser::new(&tokens, end, Flags::VERBOSE).whole() {
            Ok(tree) => Ok(tree),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Verbose(position)) => {
                Err(PatternError::new("global flags inside (?-x:…): put them at the start of the pattern", position))
            }
        },
    }
}

fn tokens(source: &str) -> Result<(Vec<Token>, usize), PatternError> {
    let mut tokens = Vec::new();
    let mut chars = source.chars().enumerate();
    let mut end = 0;
    while let Some((at, ch)) = chars.next() {
        end = at + 1;
        if ch != '\\' {
            tokens.push(Token { ch, escaped: false, at });
            continue;
        }
        let Some((last, ch)) = chars.next() else {
            return Err(PatternError::new(r"bad escape (end of pattern): write \\ for a backslash", at));
        };
        end = last + 1;
        tokens.push(Token { ch, escaped: true, at });
    }
    Ok((tokens, end))
}

/// Reads tokens from left to right.
pub struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    end: usize,
    pub(super) flags: Flags,
    names: BTreeMap<String, usize>,
    /// Entry 0 is the whole match; open groups have no width yet.
    widths: Vec<Option<Width>>,
    /// Inside a look-behind: the number of groups before it.
    groups_before_look: Option<usize>,
    nested: usize,
}

impl<'t> Parser<'t> {
    fn new(tokens: &'t [Token], end: usize, flags: Flags) -> Self {
        Self {
            tokens,
            next: 0,
            end,
            flags,
            names: BTreeMap::new(),
            widths: vec![None],
            groups_before_look: None,
            nested: 0,
        }
    }

    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    /// The next token's character if it has no backslash and passes.
    pub fn peek_plain(&self, passes: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|token| !token.escaped && passes(token.ch)).map(|token| token.ch)
    }

    /// Takes the next token.
    pub fn advance(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    /// Takes the next token if it is this character.
    pub fn take_plain(&mut self, ch: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is(ch));
        if found {
            self.next += 1;
        }
        found
    }

    /// Takes up to so many characters that pass.
    pub fn take_while(&mut self, most: usize, passes: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while text.len() < most
            && let Some(ch) = self.peek_plain(&passes)
        {
            text.push(ch);
            self.next += 1;
        }
        text
    }

    /// In characters.
    pub fn tell(&self) -> usize {
        self.peek().map_or(self.end, |token| token.at)
    }

    fn whole(mut self) -> Result<Tree, Stop> {
        let verbose = self.flags.has(Flags::VERBOSE);
        let body = self.alternatives(verbose)?;
        if self.flags.kinds_clash() {
            return refuse("flags a and u are incompatible: keep one of them", 0);
        }
        if self.peek().is_some() {
            return refuse(r"unbalanced parenthesis: write \) for a parenthesis", self.tell());
        }
        Ok(Tree { flags: self.flags, body })
    }

    fn alternatives(&mut self, verbose: bool) -> Result<Sequence, Stop> {
        let mut branches = vec![self.sequence(verbose)?];
        while self.take_plain('|') {
            branches.push(self.sequence(verbose)?);
        }
        match branches.pop() {
            Some(only) if branches.is_empty() => Ok(only),
            Some(last) => {
                branches.push(last);
                Ok(vec![Node::Branch(branches)])
            }
            None => Ok(Sequence::new()),
        }
    }

    fn sequence(&mut self, verbose: bool) -> Result<Sequence, Stop> {
        use super::tree::At;
        let mut nodes = Sequence::new();
        while let Some(token) = self.peek().filter(|token| !token.is('|') && !token.is(')')) {
            self.next += 1;
            if token.escaped {
                nodes.push(escape::outside(self, token)?);
                continue;
            }
            match token.ch {
                // Python's list: Unicode's other blanks stand for themselves.
                ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if verbose => {}
                '#' if verbose => while self.advance().is_some_and(|token| !token.is('\n')) {},
                '[' => nodes.push(escape::set(self, token)?),
                '.' => nodes.push(Node::Any),
                '^' => nodes.push(Node::At(At::LineStart)),
                '$' => nodes.push(Node::At(At::LineEnd)),
                '*' | '+' | '?' | '{' => self.repeat(&mut nodes, token)?,
                '(' => {
                    self.nested += 1;
                    if self.nested > MAX_NESTED_GROUPS {
                        return refuse(format!("more than {MAX_NESTED_GROUPS} groups inside each other"), token.at);
                    }
                    nodes.extend(self.group(token, verbose)?);
                    self.nested -= 1;
                }
                ch => nodes.push(escape::literal(u32::from(ch), token.at)),
            }
        }
        Ok(nodes)
    }

    fn repeat(&mut self, nodes: &mut Sequence, token: Token) -> Result<(), Stop> {
        let (min, max) = match token.ch {
            '?' => (0, Some(1)),
            '*' => (0, None),
            '+' => (1, None),
            _ => match self.braces(token)? {
                Some(bounds) => bounds,
                None => {
                    nodes.push(escape::literal(u32::from('{'), token.at));
                    return Ok(());
                }
            },
        };
        let Some(body) = nodes.pop().filter(|node| !matches!(node, Node::At(_))) else {
            let message = format!(r"nothing to repeat: write \{} for the character", token.ch);
            return refuse(message, token.at);
        };
        if matches!(body, Node::Repeat { .. }) {
            let message = "multiple repeat: wrap the first in (?:…) (possessive repeats are Python 3.11)";
            return refuse(message, token.at);
        }
        let lazy = self.take_plain('?');
        nodes.push(Node::Repeat { min, max, lazy, body: Box::new(body) });
        Ok(())
    }

    /// The bounds in `{2,3}`; `None` if the brace stands for itself.
    fn braces(&mut self, token: Token) -> Result<Option<(u64, Option<u64>)>, Stop> {
        let start = self.next;
        if self.peek().is_some_and(|token| token.is('}')) {
            return Ok(None);
        }
        let low = self.take_while(usize::MAX, |c| c.is_ascii_digit());
        let high = if self.take_plain(',') { self.take_while(usize::MAX, |c| c.is_ascii_digit()) } else { low.clone() };
        if !self.take_plain('}') {
            self.next = start;
            return Ok(None);
        }
        let min = bound(&low, token)?.unwrap_or(0);
        let max = bound(&high, token)?;
        if max.is_some_and(|max| max < min) {
            return refuse("min repeat greater than max repeat", token.at + 1);
        }
        Ok(Some((min, max)))
    }

    /// What follows a `(`. `None`: a comment or global flags.
    fn group(&mut self, open: Token, verbose: bool) -> Result<Option<Node>, Stop> {
        if !self.take_plain('?') {
            return self.capture(open, verbose).map(Some);
        }
        let Some(token) = self.advance() else {
            return refuse("unexpected end of pattern", self.tell());
        };
        if token.escaped {
            return refuse(format!(r"unknown extension ?\{}", token.ch), token.at - 1);
        }
        match token.ch {
            'P' => self.python_extension(open, verbose).map(Some),
            ':' => self.rest_of_group(open, None, (Flags::default(), Flags::default()), verbose).map(Some),
            '#' => self.comment(open).map(|()| None),
            '=' | '!' => self.look(open, false, token.ch == '!', verbose).map(Some),
            '<' => self.look_behind(open, verbose).map(Some),
            '(' => self.conditional(open, verbose).map(Some),
            '-' | 'a' | 'i' | 'L' | 'm' | 's' | 't' | 'u' | 'x' => self.flags(open, token, verbose),
            '>' => {
                let message = "unknown extension ?>: atomic groups are Python 3.11, Label Studio's Python had none";
                refuse(message, token.at - 1)
            }
            ch => refuse(format!("unknown extension ?{ch}"), token.at - 1),
        }
    }

    fn capture(&mut self, open: Token, verbose: bool) -> Result<Node, Stop> {
        let index = self.widths.len();
        self.widths.push(None);
        let node = self.rest_of_group(open, Some(index), (Flags::default(), Flags::default()), verbose)?;
        let width = width(std::slice::from_ref(&node), &self.widths);
        if let Some(slot) = self.widths.get_mut(index) {
            *slot = Some(width);
        }
        Ok(node)
    }

    /// What a group holds, up to and with its `)`.
    pub fn rest_of_group(
        &mut self,
        open: Token,
        index: Option<usize>,
        (add, del): (Flags, Flags),
        verbose: bool,
    ) -> Result<Node, Stop> {
        let verbose = (verbose || add.has(Flags::VERBOSE)) && !del.has(Flags::VERBOSE);
        let body = self.alternatives(verbose)?;
        self.close(open)?;
        Ok(Node::Group { index, add, del, body })
    }

    fn close(&mut self, open: Token) -> Result<(), Stop> {
        if self.take_plain(')') {
            return Ok(());
        }
        refuse(r"missing ), unterminated subpattern: write \( for a parenthesis", open.at)
    }

    fn comment(&mut self, open: Token) -> Result<(), Stop> {
        loop {
            match self.advance() {
                None => return refuse("missing ), unterminated comment", open.at),
                Some(token) if token.is(')') => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn python_extension(&mut self, open: Token, verbose: bool) -> Result<Node, Stop> {
        let Some(token) = self.advance() else {
            return refuse("unexpected end of pattern", self.tell());
        };
        if token.is('<') {
            let (name, at) = self.name('>')?;
            check_name(&name, at)?;
            if self.names.contains_key(&name) {
                return refuse(format!("redefinition of group name '{name}'"), at);
            }
            self.names.insert(name, self.widths.len());
            return self.capture(open, verbose);
        }
        if token.is('=') {
            let (name, at) = self.name(')')?;
            check_name(&name, at)?;
            let Some(&group) = self.names.get(&name) else {
                return refuse(format!("unknown group name '{name}'"), at);
            };
            self.check_reference(group, at, at)?;
            return Ok(Node::BackReference { group, position: open.at });
        }
        let backslash = if token.escaped { "\\" } else { "" };
        refuse(format!("unknown extension ?P{backslash}{}", token.ch), token.at - 2)
    }

    /// A name and where it starts.
    fn name(&mut self, end: char) -> Result<(String, usize), Stop> {
        let at = self.tell();
        let mut name = String::new();
        loop {
            match self.advance() {
                None if name.is_empty() => return refuse("missing group name", at),
                None => return refuse(format!("missing {end}, unterminated name"), at),
                Some(token) if token.is(end) && name.is_empty() => return refuse("missing group name", at),
                Some(token) if token.is(end) => return Ok((name, at)),
                Some(token) => {
                    if token.escaped {
                        name.push('\\');
                    }
                    name.push(token.ch);
                }
            }
        }
    }

    /// A group may be referred to when it is closed, and inside a look-behind only if it lies before it.
    pub fn check_reference(&self, group: usize, open_at: usize, unknown_at: usize) -> Result<(), PatternError> {
        match self.widths.get(group) {
            None => Err(PatternError::new(format!("invalid group reference {group}"), unknown_at)),
            Some(None) => Err(PatternError::new("cannot refer to an open group", open_at)),
            Some(Some(_)) if self.groups_before_look.is_some_and(|before| group >= before) => {
                Err(PatternError::new("cannot refer to group defined in the same lookbehind subpattern", self.tell()))
            }
            Some(Some(_)) => Ok(()),
        }
    }

    fn look(&mut self, open: Token, behind: bool, negative: bool, verbose: bool) -> Result<Node, Stop> {
        let body = self.alternatives(verbose)?;
        self.close(open)?;
        Ok(Node::Look { behind, negative, body })
    }

    fn look_behind(&mut self, open: Token, verbose: bool) -> Result<Node, Stop> {
        let Some(token) = self.advance() else {
            return refuse("unexpected end of pattern", self.tell());
        };
        if !token.is('=') && !token.is('!') {
            let backslash = if token.escaped { "\\" } else { "" };
            let message = format!("unknown extension ?<{backslash}{}: Python writes (?P<name>…)", token.ch);
            return refuse(message, token.at - 2);
        }
        let outer = self.groups_before_look;
        self.groups_before_look = outer.or(Some(self.widths.len()));
        let node = self.look(open, true, token.ch == '!', verbose)?;
        self.groups_before_look = outer;
        if let Node::Look { body, .. } = &node {
            let (low, high) = width(body, &self.widths);
            if low != high {
                return refuse("look-behind requires fixed-width pattern: give each branch the same length", open.at);
            }
        }
        Ok(node)
    }

    fn conditional(&mut self, open: Token, verbose: bool) -> Result<Node, Stop> {
        let (name, at) = self.name(')')?;
        let group = match self.names.get(&name) {
            Some(&group) => group,
            None if name.chars().all(|c| c.is_ascii_digit()) => match name.parse() {
                Ok(0) => return refuse("bad group number", at),
                Ok(group) => group,
                Err(_) => return refuse("invalid group reference", at),
            },
            None => {
                check_name(&name, at)?;
                return refuse(format!("unknown group name '{name}'"), at);
            }
        };
        if !self.widths.get(group).is_some_and(Option::is_some) {
            return refuse("a condition on a group that is not closed before it is not supported", at);
        }
        self.check_reference(group, at, at)?;
        let yes = self.sequence(verbose)?;
        let no = if self.take_plain('|') { Some(self.sequence(verbose)?) } else { None };
        if no.is_some() && self.peek().is_some_and(|token| token.is('|')) {
            return refuse("conditional backref with more than two branches", self.tell());
        }
        self.close(open)?;
        Ok(Node::Conditional { group, yes, no, position: open.at })
    }
}

/// A bound in braces; `None` if nothing is written.
fn bound(digits: &str, token: Token) -> Result<Option<u64>, Stop> {
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse() {
        Ok(count) if count < MAX_REPEAT => Ok(Some(count)),
        _ => refuse("the repetition number is too large", token.at + 1),
    }
}

/// Python takes any identifier; names are of no use in a selection, so ASCII is enough.
fn check_name(name: &str, at: usize) -> Result<(), Stop> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    if name.is_ascii() {
        return refuse(format!("bad character in group name '{name}'"), at);
    }
    refuse(format!("group name '{name}' is not supported: use ASCII letters, digits and _"), at)
}
