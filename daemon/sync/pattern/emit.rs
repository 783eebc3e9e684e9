//! A pattern's tree, written for the `regex` or the `fancy-regex` crate.
//!
//! Promise: same meaning as in CPython 3.8 for "does it match?"; every character that could be special is written as a
//! number; what the linear dialect cannot say is reported, never approximated.
//! Not here: Python's syntax (`parse`), limits on the result (the parent).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fold::{self, CodePoints};
use super::parse::Tree;
use super::tree::{self, At, Category, Flags, Item, Node};
use super::{MAX_EMPTY_ROUNDS, PatternError};

/// The crate to write for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// `regex`
    Linear,
    /// `fancy-regex`
    Backtracking,
    /// `regex` again, wrong in meaning but as large: fancy-regex limits each of its parts, not their sum.
    Size,
}

/// Why nothing was written.
#[derive(Debug)]
pub enum Stop {
    Refused(PatternError),
    /// The linear dialect cannot say it.
    NeedsBacktracking,
}

fn refuse<T>(message: &str, position: usize) -> Result<T, Stop> {
    Err(Stop::Refused(PatternError::new(message, position)))
}

/// Writes a pattern in a dialect.
pub fn emit(tree: &Tree, dialect: Dialect) -> Result<String, Stop> {
    let mut survey = Survey::default();
    survey.sequence(&tree.body)?;
    let mut numbers: Vec<usize> = survey.referred;
    numbers.sort_unstable();
    numbers.dedup();
    let captures = numbers.into_iter().zip(1..).collect();
    let mut writer = Writer { dialect, captures, empty_rounds: 1, out: String::new() };
    writer.sequence(&tree.body, tree.flags, true)?;
    Ok(writer.out)
}

/// Which groups are referred to; the others need not capture.
#[derive(Default)]
struct Survey {
    referred: Vec<usize>,
    /// For each group, the negative look-arounds and repeats it lies in.
    homes: BTreeMap<usize, Vec<usize>>,
    inside: Vec<usize>,
    scopes: usize,
}

impl Survey {
    fn sequence(&mut self, nodes: &[Node]) -> Result<(), Stop> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), Stop> {
        match node {
            Node::Set { .. } | Node::Any | Node::At(_) => Ok(()),
            Node::Branch(branches) => branches.iter().try_for_each(|branch| self.sequence(branch)),
            Node::Group { index, body, .. } => {
                if let Some(index) = index {
                    self.homes.insert(*index, self.inside.clone());
                }
                self.sequence(body)
            }
            Node::Repeat { min: 0, max: Some(1), lazy: false, body } => self.node(body),
            Node::Repeat { body, .. } => self.scope(std::slice::from_ref(&**body)),
            Node::Look { negative: false, body, .. } => self.sequence(body),
            Node::Look { negative: true, body, .. } => self.scope(body),
            Node::BackReference { group, position } => self.refer(*group, *position),
            Node::Conditional { group, yes, no, position } => {
                self.refer(*group, *position)?;
                self.sequence(yes)?;
                no.as_deref().map_or(Ok(()), |no| self.sequence(no))
            }
        }
    }

    fn scope(&mut self, nodes: &[Node]) -> Result<(), Stop> {
        self.scopes += 1;
        self.inside.push(self.scopes);
        self.sequence(nodes)?;
        self.inside.pop();
        Ok(())
    }

    /// What a repeat or a negative look-around captured before it gave up, CPython may leave behind (measured: `(a+)*?\1`
    /// does not match `aa`). No other engine does, so nothing outside may refer to it.
    fn refer(&mut self, group: usize, position: usize) -> Result<(), Stop> {
        if self.homes.get(&group).is_some_and(|home| !self.inside.starts_with(home)) {
            let message = "referring to a group inside a repeat or a negative look-around, from outside it, is not \
                           supported: put the repeat into the group";
            return refuse(message, position);
        }
        self.referred.push(group);
        Ok(())
    }
}

struct Writer {
    dialect: Dialect,
    /// Python's number of a group to the number it is written as.
    captures: BTreeMap<usize, usize>,
    /// How often the repeats around this place can go round without taking text.
    empty_rounds: u64,
    out: String,
}

impl Writer {
    /// `last`: nothing of the whole pattern can follow.
    fn sequence(&mut self, nodes: &[Node], flags: Flags, last: bool) -> Result<(), Stop> {
        for (index, node) in nodes.iter().enumerate() {
            self.node(node, flags, last && index + 1 == nodes.len())?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, flags: Flags, last: bool) -> Result<(), Stop> {
        match node {
            Node::Set { items, negated, position } => self.set(items, *negated, flags, *position),
            Node::Any if flags.has(Flags::DOT_ALL) => self.text("(?s:.)"),
            Node::Any => self.text(r"[^\n]"),
            Node::At(at) => self.at(*at, flags, last),
            Node::Branch(branches) => {
                self.text("(?:")?;
                for (index, branch) in branches.iter().enumerate() {
                    self.text(if index == 0 { "" } else { "|" })?;
                    self.sequence(branch, flags, last)?;
                }
                self.text(")")
            }
            Node::Group { index, add, del, body } => {
                let captures = index.is_some_and(|index| self.captures.contains_key(&index));
                self.text(if captures { "(" } else { "(?:" })?;
                self.sequence(body, flags.inside(*add, *del), last)?;
                self.text(")")
            }
            Node::Repeat { min, max, lazy, body } if *max != Some(0) && matches!(**body, Node::Look { .. }) => {
                self.repeated_look(*min == 0, *lazy, body, flags)
            }
            Node::Repeat { min, max, lazy, body } => {
                let outer = self.empty_rounds;
                self.count_empty_rounds(max.unwrap_or(*min), body)?;
                // After `?` nothing can follow either; after other repeats the body itself can.
                self.node(body, flags, last && *max == Some(1))?;
                self.empty_rounds = outer;
                self.quantifier(*min, *max, *lazy)
            }
            Node::Look { .. } | Node::BackReference { .. } | Node::Conditional { .. } => self.fancy(node, flags),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.out.push_str(text);
        Ok(())
    }

    fn quantifier(&mut self, min: u64, max: Option<u64>, lazy: bool) -> Result<(), Stop> {
        let text = match (min, max) {
            (0, Some(1)) => "?".to_owned(),
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (min, None) => format!("{{{min},}}"),
            (min, Some(max)) => format!("{{{min},{max}}}"),
        };
        self.out.push_str(&text);
        // Whether a text matches does not depend on it unless something refers to what was taken.
        self.text(if lazy && self.dialect == Dialect::Backtracking { "?" } else { "" })
    }

    /// What takes no text is bounded neither by the text nor by the engine's count of steps.
    fn count_empty_rounds(&mut self, rounds: u64, body: &Node) -> Result<(), Stop> {
        let (low, _) = tree::width(std::slice::from_ref(body), &[]);
        if self.dialect == Dialect::Linear || low > 0 {
            return Ok(());
        }
        self.empty_rounds = self.empty_rounds.saturating_mul(rounds.max(1));
        if self.empty_rounds <= MAX_EMPTY_ROUNDS {
            return Ok(());
        }
        let message = format!(
            "a repeat of what can be empty is not supported beyond {MAX_EMPTY_ROUNDS} rounds beside look-around: use *"
        );
        refuse(&message, 0)
    }

    /// Looking twice shows the same, and fancy-regex refuses to repeat it.
    fn repeated_look(&mut self, optional: bool, lazy: bool, body: &Node, flags: Flags) -> Result<(), Stop> {
        if !optional {
            return self.node(body, flags, false);
        }
        self.text(if lazy { "(?:|" } else { "(?:" })?;
        self.node(body, flags, false)?;
        self.text(if lazy { ")" } else { "|)" })
    }

    fn need_backtracking(&self) -> Result<(), Stop> {
        if self.dialect == Dialect::Linear { Err(Stop::NeedsBacktracking) } else { Ok(()) }
    }

    fn at(&mut self, at: At, flags: Flags, last: bool) -> Result<(), Stop> {
        let multi_line = flags.has(Flags::MULTI_LINE);
        match at {
            At::TextStart => self.text(r"\A"),
            At::TextEnd => self.text(r"\z"),
            At::LineStart => self.text(if multi_line { "(?m:^)" } else { r"\A" }),
            At::LineEnd if multi_line => self.text("(?m:$)"),
            // The end, or before a line feed at the end. Taking that line feed does no harm if nothing follows.
            At::LineEnd if last => self.text(r"(?:\n?\z)"),
            At::LineEnd if self.dialect == Dialect::Size => self.text(r"\z"),
            At::LineEnd => {
                self.need_backtracking()?;
                self.text(r"(?=\n?\z)")
            }
            At::Boundary if flags.has(Flags::ASCII) && self.dialect == Dialect::Linear => self.text(r"(?-u:\b)"),
            At::Boundary | At::NoBoundary => {
                self.need_backtracking()?;
                let mut word = String::new();
                category_class(&mut word, Category::Word, false, flags.has(Flags::ASCII));
                if self.dialect == Dialect::Size {
                    self.text(&word)
                } else if at == At::Boundary {
                    self.text(&format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"))
                } else {
                    // In an empty text CPython finds neither \b nor \B.
                    self.text(&format!(r"(?:(?<={word})(?={word})|(?<!{word})(?!{word})(?!\A\z))"))
                }
            }
        }
    }

    fn fancy(&mut self, node: &Node, flags: Flags) -> Result<(), Stop> {
        self.need_backtracking()?;
        let size = self.dialect == Dialect::Size;
        match node {
            Node::Look { behind, negative, body, .. } => {
                let open = match (behind, negative) {
                    _ if size => "(?:(?:",
                    (false, false) => "(?:(?=",
                    (false, true) => "(?:(?!",
                    (true, false) => "(?:(?<=",
                    (true, true) => "(?:(?<!",
                };
                self.text(open)?;
                self.sequence(body, flags, false)?;
                self.text("))")
            }
            Node::BackReference { position, .. } if flags.has(Flags::IGNORE_CASE) => {
                refuse("a back reference under (?i) is not supported: write (?-i:…) around it", *position)
            }
            Node::BackReference { group, position } => {
                let number = self.number(*group, *position)?;
                self.text(&if size { "(?:)".to_owned() } else { format!(r"(?:\{number})") })
            }
            Node::Conditional { group, yes, no, position } => {
                let number = self.number(*group, *position)?;
                // fancy-regex's own "then|else" changes its meaning when parts are empty; its bare test does not.
                let (is_set, is_unset) = (format!("(?({number}))"), format!("(?!(?({number})))"));
                self.text("(?:")?;
                self.text(if size { "" } else { &is_set })?;
                self.sequence(yes, flags, false)?;
                self.text("|")?;
                self.text(if size { "" } else { &is_unset })?;
                self.sequence(no.as_deref().unwrap_or_default(), flags, false)?;
                self.text(")")
            }
            Node::Set { .. } | Node::Any | Node::At(_) | Node::Branch(_) | Node::Group { .. } | Node::Repeat { .. } => {
                self.node(node, flags, false)
            }
        }
    }

    fn number(&self, group: usize, position: usize) -> Result<usize, Stop> {
        match self.captures.get(&group) {
            Some(number) => Ok(*number),
            None => refuse("invalid group reference", position),
        }
    }

    fn set(&mut self, items: &[Item], negated: bool, flags: Flags, position: usize) -> Result<(), Stop> {
        let ascii = flags.has(Flags::ASCII);
        let mut codes = CodePoints::default();
        let mut classes = String::new();
        for item in items {
            match item {
                Item::Literal(code) => codes.add(*code, *code),
                Item::Range(low, high) => codes.add(*low, *high),
                Item::Category { category, negated } => category_class(&mut classes, *category, *negated, ascii),
            }
        }
        match (flags.has(Flags::IGNORE_CASE), ascii) {
            (false, _) => {}
            (true, true) => codes.fold_ascii(),
            (true, false) => {
                let odd = |item: &Item| matches!(item, Item::Literal(code) if *code > 0xffff && fold::has_case(*code));
                if items.iter().any(odd) {
                    return refuse("a letter beyond U+FFFF under (?i) is not supported: write both cases", position);
                }
                codes.fold();
            }
        }
        let ranges = codes.ranges();
        match (ranges.as_slice(), classes.is_empty(), negated) {
            ([(low, high)], true, false) if low == high => write_code(&mut self.out, *low),
            ([], true, false) => self.out.push_str(r"[^\x{0}-\x{10FFFF}]"),
            ([], true, true) => self.out.push_str("(?s:.)"),
            _ => {
                self.out.push_str(if negated { "[^" } else { "[" });
                for (low, high) in ranges {
                    write_code(&mut self.out, low);
                    if high > low {
                        self.out.push('-');
                        write_code(&mut self.out, high);
                    }
                }
                self.out.push_str(&classes);
                self.out.push(']');
            }
        }
        Ok(())
    }
}

fn write_code(out: &mut String, code: u32) {
    match char::from_u32(code) {
        Some(ch) if ch.is_ascii_alphanumeric() => out.push(ch),
        // Writing to a string cannot fail.
        _ => drop(write!(out, r"\x{{{code:X}}}")),
    }
}

/// Measured against CPython 3.8 over all code points; later letters are left out, as its tables end with Unicode 12.1.
fn category_class(out: &mut String, category: Category, negated: bool, ascii: bool) {
    let members = match (category, ascii) {
        (Category::Digit, true) => "0-9",
        (Category::Digit, false) => r"\p{Nd}&&\p{age:12.1}",
        (Category::Space, true) => r"\t-\r\x{20}",
        (Category::Space, false) => r"\s\x{1C}-\x{1F}",
        (Category::Word, true) => "0-9A-Z_a-z",
        (Category::Word, false) => r"\p{L}\p{N}_&&\p{age:12.1}",
    };
    out.push_str(if negated { "[^" } else { "[" });
    out.push_str(members);
    out.push(']');
}
