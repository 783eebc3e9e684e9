//! Typed names: what a key, a task id, an ETag, a project is.
//!
//! Promise: a value of these types is well formed; ordering of keys is byte order.
//! Not here: where any of them comes from.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest;

/// The full key of an object in a bucket: opaque, exact UTF-8, ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Box<str>);

impl Key {
    /// Takes the key as it is; nothing is normalised.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self(key.into())
    }

    /// The key, exactly.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For people: control and invisible characters escaped, so that a key cannot forge a line.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

/// `1 task`, `3 tasks`.
pub fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// `text` with everything escaped that could move a cursor, break a line or reorder what is read:
/// control characters, line separators, bidirectional marks and zero-width characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// JSON in which invisible and direction-changing characters are escaped: the same JSON, safe on a terminal.
/// Outside ASCII such characters stand only inside strings; inside ASCII JSON escapes them itself.
pub fn json_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        let hostile = c > '\u{7e}' && matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
        if !hostile {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A Label Studio task id: 0 to 2^63-1 (what Label Studio and SQLite both hold).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(u64);

impl TaskId {
    /// The largest id.
    pub const MAX: u64 = i64::MAX as u64;

    /// The largest that is given: the pages of Label Studio are JavaScript, which cannot tell larger numbers apart. What
    /// has a larger one was made by something else, and moves the next one nowhere.
    pub const GIVEN_MAX: u64 = (1 << 53) - 1;

    /// Whether it can have been given.
    pub fn is_given(self) -> bool {
        self.0 <= Self::GIVEN_MAX
    }

    /// The highest of these, ascending, that can have been given.
    pub fn highest_given(ids: &[Self]) -> Option<Self> {
        ids.iter().rev().copied().find(|id| id.is_given())
    }

    /// `None` above [`TaskId::MAX`].
    pub fn new(id: u64) -> Option<Self> {
        (id <= Self::MAX).then_some(Self(id))
    }

    /// Reads `0` or a decimal number without leading zeros, nothing else (`01`, `+1`, `1.0` are no ids).
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let canonical = text == "0" || !text.starts_with('0');
        if text.is_empty() || text.len() > 19 || !digits || !canonical {
            return None;
        }
        text.parse().ok().and_then(Self::new)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The id that is given after this one; `None`: there is none.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0 + 1).filter(|next| next.is_given())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of an object as its store names it; compared, never interpreted.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(Box<str>);

impl ETag {
    /// Takes the tag as the store wrote it.
    pub fn new(etag: impl Into<Box<str>>) -> Self {
        Self(etag.into())
    }

    /// The tag as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A project's name in the settings: 1 to 64 of `a-z A-Z 0-9 _ -`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(Box<str>);

impl ProjectName {
    /// `None` where the text is no project name.
    pub fn parse(text: &str) -> Option<Self> {
        let first = text.bytes().next()?;
        let fits = text.len() <= 64
            && first.is_ascii_alphanumeric()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProjectName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!("`{}` is no project name: use 1 to 64 letters, digits, `_` or `-`", printable(&text))
        })
    }
}

impl From<ProjectName> for String {
    fn from(name: ProjectName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A hash that was stored; `None` where it has not 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l30_only_canonical_decimal_numbers_are_ids() {
        for good in ["0", "7", "10", "9223372036854775807"] {
            assert_eq!(TaskId::parse(good).map(|id| id.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "00", "01", "-1", "+1", " 1", "1 ", "1.0", "9223372036854775808", "12345678901234567890", "١"]
        {
            assert_eq!(TaskId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn l71_a_key_cannot_forge_a_line_or_reorder_text() {
        let key = Key::new("a\n<0>b\u{1b}[2Jc\u{202e}d\u{2028}é日");
        assert_eq!(key.to_string(), "a\\n<0>b\\u{1b}[2Jc\\u{202e}d\\u{2028}é日");
    }

    #[test]
    fn keys_are_ordered_by_bytes() {
        let mut keys = ["a/b", "a-b", "a", "é", "z", "Z"].map(Key::new);
        keys.sort();
        assert_eq!(keys.map(|k| k.as_str().to_owned()), ["Z", "a", "a-b", "a/b", "z", "é"]);
    }
}
