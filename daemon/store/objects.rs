//! The objects of a page, their texts in one piece: a page of 1,000 costs two allocations instead of 2,000.
//!
//! Promise: what was pushed comes out in the same order, byte for byte.
//! Not here: where pages come from, in which order they must be.

use std::ops::Range;

use super::Listed;
use crate::names::{ETag, Key};

/// Objects as a listing shows them, in the store's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Objects {
    /// Key, ETag, key, ETag …
    text: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    /// Where the key starts in the text.
    key: usize,
    /// Where the ETag starts; it ends where the next key starts.
    etag: usize,
    size_bytes: u64,
}

/// One object of a page, not yet a value of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedRef<'a> {
    /// The full key, decoded, exact.
    pub key: &'a str,
    /// The object's version.
    pub etag: &'a str,
    /// Size in bytes.
    pub size_bytes: u64,
}

impl ListedRef<'_> {
    /// As a value of its own.
    pub fn to_listed(self) -> Listed {
        Listed { key: Key::new(self.key), etag: ETag::new(self.etag), size_bytes: self.size_bytes }
    }
}

impl Objects {
    /// Empty, with room for so many objects with so many bytes of keys and ETags.
    pub fn with_capacity(objects: usize, text_bytes: usize) -> Self {
        Self { text: String::with_capacity(text_bytes), entries: Vec::with_capacity(objects) }
    }

    /// Appends one.
    pub fn push(&mut self, key: &str, etag: &str, size_bytes: u64) {
        let start = self.text.len();
        self.text.push_str(key);
        self.text.push_str(etag);
        self.entries.push(Entry { key: start, etag: start + key.len(), size_bytes });
    }

    /// Takes the first so many away.
    pub fn drop_first(&mut self, count: usize) {
        self.entries.drain(..count.min(self.entries.len()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The nth, from 0.
    pub fn get(&self, nth: usize) -> Option<ListedRef<'_>> {
        let entry = self.entries.get(nth)?;
        let end = self.entries.get(nth + 1).map_or(self.text.len(), |next| next.key);
        let (key, etag) = (&self.text[entry.key..entry.etag], &self.text[entry.etag..end]);
        Some(ListedRef { key, etag, size_bytes: entry.size_bytes })
    }

    /// The first one.
    pub fn first(&self) -> Option<ListedRef<'_>> {
        self.get(0)
    }

    /// The last one.
    pub fn last(&self) -> Option<ListedRef<'_>> {
        self.get(self.len().checked_sub(1)?)
    }

    /// These, from 0, one after the other.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = ListedRef<'_>> {
        range.filter_map(|nth| self.get(nth))
    }

    /// Keys and ETags of these in one piece.
    pub fn texts(&self, range: Range<usize>) -> &str {
        let start = |nth: usize| self.entries.get(nth).map_or(self.text.len(), |entry| entry.key);
        &self.text[start(range.start)..start(range.end)]
    }

    /// The first one from `from` on whose key comes after `key`, where they are in byte order; their number if there is none.
    pub fn first_after(&self, from: usize, key: &str) -> usize {
        let rest = &self.entries[from..];
        from + rest.partition_point(|entry| &self.text[entry.key..entry.etag] <= key)
    }

    /// One after the other.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ListedRef<'_>> {
        (0..self.len()).filter_map(|nth| self.get(nth))
    }
}

impl FromIterator<Listed> for Objects {
    fn from_iter<T: IntoIterator<Item = Listed>>(all: T) -> Self {
        let mut objects = Self::default();
        all.into_iter().for_each(|listed| objects.push(listed.key.as_str(), listed.etag.as_str(), listed.size_bytes));
        objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_out_as_they_went_in() {
        let all = [("", "", 0), ("a/ü", "\"1\"", 3), ("a", "", 7), ("", "x", 9)];
        let listed = all.map(|(key, etag, size_bytes)| ListedRef { key, etag, size_bytes });
        let objects: Objects = listed.iter().map(|object| object.to_listed()).collect();
        assert!(objects.iter().eq(listed));
        assert_eq!((objects.len(), objects.last(), objects.get(4)), (4, Some(listed[3]), None));
        let mut later = objects.clone();
        later.drop_first(1);
        assert!(later.iter().eq(listed[1..].iter().copied()) && later.texts(0..2) == objects.texts(1..3));
        assert!(Objects::default().is_empty() && Objects::default().last().is_none());
    }
}
