//! One table of the settings while it is checked: its values, and what is wrong with them.
//!
//! Promise: every problem names its path, its place in a file and a remedy.
//! Not here: which keys a table has (`check`, `store`).

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::file::{Origin, Table, Value};
use super::keys::did_you_mean;
use super::values::{format_duration, format_size, parse_duration, parse_fraction, parse_size};
use super::{Fraction, Problem};
use crate::names::printable;
use crate::sync::pattern::{Pattern, PatternError};

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// They stop the daemon.
    pub problems: Vec<Problem>,
    /// They are said and nothing more.
    pub warnings: Vec<Problem>,
    /// Some file has syntax errors: nothing is said to be missing.
    pub incomplete: bool,
}

/// One table while it is checked.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    report: &'a mut Report,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: impl Into<String>, table: &'a Table, report: &'a mut Report) -> Self {
        Self { path: path.into(), table, report }
    }

    /// Whether the key is written, usable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// Whether some file could not be read: nothing is said to be missing.
    pub(super) fn is_incomplete(&self) -> bool {
        self.report.incomplete
    }

    /// How many problems there are by now.
    pub(super) fn problems(&self) -> usize {
        self.report.problems.len()
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match &self.table.entries.get(key)?.value {
            Value::Text(text) => Some(text),
            Value::Flag(_) | Value::Unusable => None,
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.table.entries.get(key).map(|written| &written.value) {
            Some(Value::Flag(flag)) => *flag,
            Some(Value::Text(_) | Value::Unusable) | None => default,
        }
    }

    /// An absolute path without `.`, `..` and a slash at its end.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let path = Path::new(text);
        let remedy = "write it from the root, as in `/srv/annotations/cats`";
        if text.contains('\0') {
            self.problem(key, "has a NUL byte", remedy);
        } else if !path.is_absolute() {
            self.problem(key, format!("`{}` is no absolute path", printable(text)), remedy);
        } else if path.components().any(|part| part == Component::ParentDir) {
            self.problem(key, format!("`{}` has a `..`", printable(text)), remedy);
        } else {
            return Some(path.components().collect());
        }
        None
    }

    /// A file, from the root or from the directory of the settings file that names it.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() || text.contains('\0') {
            let remedy = "name a file: `/etc/labelsyncd/key.json`, or `key.json` beside this one";
            self.problem(key, format!("`{}` is no path of a file", printable(text)), remedy);
            return None;
        }
        let beside = match self.table.entries.get(key).map(|written| &written.origin) {
            Some(Origin::File { file, .. }) => Path::new(&**file).parent(),
            Some(Origin::Lsctl) | None => None,
        };
        Some(beside.unwrap_or(Path::new("")).join(text))
    }

    pub(super) fn pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        match Pattern::compile(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let place = self.place(key);
                let message = format!("{error}{place}\n{}", caret(text, &error));
                let remedy = "Python's `re` syntax, matched from the start of the full key; `.*` takes everything";
                self.report.problems.push(Problem::new(self.at(key), message, remedy));
                None
            }
        }
    }

    pub(super) fn choice<T: Copy + Default>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> T {
        let Some(text) = self.text(key) else { return T::default() };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let remedy = match did_you_mean(text, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("one of: {}", names.join(", ")),
        };
        self.problem(key, format!("`{}` is no value of it", printable(text)), remedy);
        T::default()
    }

    pub(super) fn interval(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = self.text(key) else { return default };
        let (min, max) = (format_duration(*range.start()), format_duration(*range.end()));
        let remedy = format!("from {min} to {max}, as in `30s`, `5m`, `1h30m`");
        match parse_duration(text) {
            Some(interval) if range.contains(&interval) => return interval,
            Some(_) => self.problem(key, format!("`{}` is out of range", printable(text)), remedy),
            None => self.problem(key, format!("`{}` is no duration", printable(text)), remedy),
        }
        default
    }

    /// In bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(text) = self.text(key) else { return default };
        let remedy = format!("from {} to {}, as in `50GiB`", format_size(*range.start()), format_size(*range.end()));
        match parse_size(text) {
            Some(bytes) if range.contains(&bytes) => return bytes,
            Some(_) => self.problem(key, format!("`{}` is out of range", printable(text)), remedy),
            None => self.problem(key, format!("`{}` is no size", printable(text)), remedy),
        }
        default
    }

    pub(super) fn fraction(&mut self, key: &'static str, default: Fraction) -> Fraction {
        let Some(text) = self.text(key) else { return default };
        if let Some(fraction) = parse_fraction(text) {
            return fraction;
        }
        let message = format!("`{}` is no share of one hundred", printable(text));
        self.problem(key, message, "a whole number from `0%` to `100%`");
        default
    }

    pub(super) fn problem(&mut self, key: &str, message: impl std::fmt::Display, remedy: impl Into<String>) {
        let place = self.place(key);
        self.report.problems.push(Problem::new(self.at(key), format!("{message}{place}"), remedy));
    }

    pub(super) fn warning(&mut self, key: &str, message: impl std::fmt::Display, remedy: impl Into<String>) {
        let place = self.place(key);
        self.report.warnings.push(Problem::new(self.at(key), format!("{message}{place}"), remedy));
    }

    /// A key that must be there is not; said only where every file could be read.
    pub(super) fn missing(&mut self, key: &str, remedy: impl Into<String>) {
        if !self.report.incomplete {
            let place = section_place(self.table);
            self.report.problems.push(Problem::new(self.at(key), format!("is missing{place}"), remedy));
        }
    }

    pub(super) fn problem_at_section(&mut self, message: &str, remedy: impl Into<String>) {
        let place = section_place(self.table);
        self.report.problems.push(Problem::new(self.path.clone(), format!("{message}{place}"), remedy));
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn place(&self, key: &str) -> String {
        place(self.table.entries.get(key).map(|written| &written.origin))
    }
}

/// Where a table begins, for the end of a message.
pub(super) fn section_place(table: &Table) -> String {
    place(table.origin.as_ref())
}

fn place(origin: Option<&Origin>) -> String {
    origin.map(|origin| format!(" ({origin})")).unwrap_or_default()
}

/// The pattern with a caret below the place that an error names, cut to what fits on a line.
pub fn caret(pattern: &str, error: &PatternError) -> String {
    /// What is shown on each side of the place.
    const SIDE_CHARS: usize = 30;
    let chars: Vec<char> = pattern.chars().collect();
    let at = error.position.min(chars.len());
    let from = at.saturating_sub(SIDE_CHARS);
    let to = (at + SIDE_CHARS).min(chars.len());
    let shown = |range: &[char]| printable(&range.iter().collect::<String>()).into_owned();
    let (before, after) = (shown(&chars[from..at]), shown(&chars[at..to]));
    let lead = if from > 0 { "…" } else { "" };
    let tail = if to < chars.len() { "…" } else { "" };
    let indent = " ".repeat(lead.chars().count() + before.chars().count());
    format!("    {lead}{before}{after}{tail}\n    {indent}^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_problem_points_to_its_place() {
        let error = |position| PatternError { message: "unbalanced parenthesis".into(), position };
        assert_eq!(caret("a(b", &error(1)), "    a(b\n     ^");
        assert_eq!(caret("é\n(b", &error(2)), "    é\\n(b\n       ^");
        assert_eq!(caret("ab", &error(99)), "    ab\n      ^");
        let long = "x".repeat(100);
        assert_eq!(caret(&long, &error(50)), format!("    …{}…\n{}^", "x".repeat(60), " ".repeat(35)));
    }
}
