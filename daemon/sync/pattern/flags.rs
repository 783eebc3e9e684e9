//! Inline flags of Python's pattern syntax: `(?i)`, `(?i:…)`, `(?i-s:…)`.
//!
//! Promise: as CPython 3.8 takes them: `(?i)` holds for all of the pattern wherever it stands.
//! Not here: what a flag changes (`emit`), skipping blanks under `x` (`parse`).

use super::parse::{Parser, Stop, Token, refuse};
use super::tree::{Flags, Node};

impl Parser<'_> {
    /// `(?i)` holds for all of the pattern, `(?i:…)` inside.
    pub(super) fn flags(&mut self, open: Token, first: Token, verbose: bool) -> Result<Option<Node>, Stop> {
        let mut add = Flags::default();
        let mut del = Flags::default();
        let mut token = first;
        while !token.is('-') {
            add = add.with(flag(token)?);
            if add.kinds_clash() {
                return refuse("bad inline flags: flags 'a', 'u' and 'L' are incompatible", self.tell());
            }
            token = self.next_flag("missing -, : or )", ")-:")?;
            if token.is(')') {
                return self.global_flags(open, add, verbose);
            }
            if token.is(':') {
                return self.rest_of_group(open, None, (add, del), verbose).map(Some);
            }
        }
        token = self.next_flag("missing flag", "")?;
        while !token.is(':') {
            let flag = flag(token)?;
            if flag.is_kind() {
                return refuse("bad inline flags: cannot turn off flags 'a', 'u' and 'L'", self.tell());
            }
            del = del.with(flag);
            token = self.next_flag("missing :", ":")?;
        }
        if add.has(del) {
            return refuse("bad inline flags: flag turned on and off", token.at);
        }
        self.rest_of_group(open, None, (add, del), verbose).map(Some)
    }

    /// The next token: a flag, or one of `ends`.
    fn next_flag(&mut self, missing: &str, ends: &str) -> Result<Token, Stop> {
        let Some(token) = self.advance() else {
            return refuse(missing, self.tell());
        };
        if !token.escaped && (ends.contains(token.ch) || "aiLmstux".contains(token.ch)) {
            return Ok(token);
        }
        let message = if !token.escaped && token.ch.is_alphabetic() { "unknown flag" } else { missing };
        refuse(message, token.at)
    }

    fn global_flags(&mut self, open: Token, add: Flags, verbose: bool) -> Result<Option<Node>, Stop> {
        self.flags = self.flags.with(add);
        if self.flags.has(Flags::VERBOSE) && !verbose {
            return Err(Stop::Verbose(open.at));
        }
        Ok(None)
    }
}

fn flag(token: Token) -> Result<Flags, Stop> {
    match (token.ch, Flags::of(token.ch)) {
        (_, Some(flag)) => Ok(flag),
        ('L', None) => refuse("bad inline flags: cannot use 'L' flag with a str pattern", token.at + 1),
        (ch, None) => refuse(format!("flag {ch} is not supported: leave it out"), token.at),
    }
}
