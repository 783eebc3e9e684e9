//! A Python pattern, understood.
//!
//! Promise: says everything that matters for the meaning, nothing about how it was written.
//! Not here: where it comes from (`parse`), what becomes of it (`emit`).

/// CPython's MAXREPEAT: what "no upper limit" counts in widths.
pub const MAX_REPEAT: u64 = u32::MAX as u64;

/// Inline flags, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u8);

impl Flags {
    pub const IGNORE_CASE: Self = Self(1);
    pub const MULTI_LINE: Self = Self(2);
    pub const DOT_ALL: Self = Self(4);
    pub const VERBOSE: Self = Self(8);
    pub const ASCII: Self = Self(16);
    pub const UNICODE: Self = Self(32);
    const KINDS: Self = Self(16 | 32);

    /// The flag written as this letter.
    pub fn of(letter: char) -> Option<Self> {
        match letter {
            'i' => Some(Self::IGNORE_CASE),
            'm' => Some(Self::MULTI_LINE),
            's' => Some(Self::DOT_ALL),
            'x' => Some(Self::VERBOSE),
            'a' => Some(Self::ASCII),
            'u' => Some(Self::UNICODE),
            _ => None,
        }
    }

    /// Whether one of these flags is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it says what `\w` means.
    pub fn is_kind(self) -> bool {
        self.has(Self::KINDS)
    }

    /// Both "ASCII" and "Unicode" were asked for.
    pub fn kinds_clash(self) -> bool {
        self.0 & Self::KINDS.0 == Self::KINDS.0
    }

    /// What is in force inside `(?add-del:…)`.
    pub fn inside(self, add: Self, del: Self) -> Self {
        let outer = if add.is_kind() { self.0 & !Self::KINDS.0 } else { self.0 };
        Self((outer | add.0) & !del.0)
    }
}

/// `\d`, `\s`, `\w`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    Digit,
    Space,
    Word,
}

/// A member of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A code point; may be a surrogate, which no text contains.
    Literal(u32),
    /// Both ends included.
    Range(u32, u32),
    Category {
        category: Category,
        negated: bool,
    },
}

/// A place, not a character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// `^`
    LineStart,
    /// `$`
    LineEnd,
    /// `\A`
    TextStart,
    /// `\Z`
    TextEnd,
    /// `\b`
    Boundary,
    /// `\B`
    NoBoundary,
}

/// What is to be matched one after the other.
pub type Sequence = Vec<Node>;

/// A piece of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// `a`, `[ab]`, `\d`, `[^a]`; `position` in characters.
    Set {
        items: Vec<Item>,
        negated: bool,
        position: usize,
    },
    /// `.`
    Any,
    At(At),
    Branch(Vec<Sequence>),
    /// `index` from 1; `None` does not capture.
    Group {
        index: Option<usize>,
        add: Flags,
        del: Flags,
        body: Sequence,
    },
    /// No `max`: no upper limit.
    Repeat {
        min: u64,
        max: Option<u64>,
        lazy: bool,
        body: Box<Node>,
    },
    Look {
        behind: bool,
        negative: bool,
        body: Sequence,
    },
    BackReference {
        group: usize,
        position: usize,
    },
    Conditional {
        group: usize,
        yes: Sequence,
        no: Option<Sequence>,
        position: usize,
    },
}

/// How many characters something can match: least and most, as CPython counts them.
pub type Width = (u64, u64);

/// The width of a sequence; `groups` holds those of the closed groups.
pub fn width(sequence: &[Node], groups: &[Option<Width>]) -> Width {
    let (mut low, mut high) = (0_u64, 0_u64);
    for node in sequence {
        let (l, h) = node_width(node, groups);
        low = low.saturating_add(l);
        high = high.saturating_add(h);
    }
    (low.min(MAX_REPEAT - 1), high.min(MAX_REPEAT))
}

fn node_width(node: &Node, groups: &[Option<Width>]) -> Width {
    match node {
        Node::Set { .. } | Node::Any => (1, 1),
        Node::At(_) | Node::Look { .. } => (0, 0),
        Node::Branch(branches) => branches
            .iter()
            .map(|branch| width(branch, groups))
            .fold((MAX_REPEAT - 1, 0), |(low, high), (l, h)| (low.min(l), high.max(h))),
        Node::Group { body, .. } => width(body, groups),
        Node::Repeat { min, max, body, .. } => {
            let (low, high) = node_width(body, groups);
            (low.saturating_mul(*min), high.saturating_mul(max.unwrap_or(MAX_REPEAT)))
        }
        Node::BackReference { group, .. } => groups.get(*group).copied().flatten().unwrap_or((0, MAX_REPEAT)),
        Node::Conditional { yes, no, .. } => {
            let (low, high) = width(yes, groups);
            match no {
                Some(no) => {
                    let (l, h) = width(no, groups);
                    (low.min(l), high.max(h))
                }
                None => (0, high),
            }
        }
    }
}
