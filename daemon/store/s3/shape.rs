//! A listing's objects look all alike: the tags of one, learnt, let the next be read by looking for its texts alone.
//!
//! Promise: an object is taken only where its tags are byte for byte those of one that [`Xml`](super::xml::Xml) has read,
//! so that it would be read the same there. What looks otherwise is left to it.
//! Not here: what the texts mean (`page`).

use memchr::memchr;

use super::page::RawObject;

/// Tags of an object, more of which no server has (S3 has 24 with all that can be asked for).
const TAGS_MAX: usize = 64;

/// The tags of an object with the places of its texts.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    /// What stands before the first text, between each two, and after the last.
    tags: Vec<&'a str>,
    key: usize,
    etag: usize,
    size: usize,
}

impl<'a> Shape<'a> {
    /// Of an element and of what was read in it; `None` where there is more in it than tags and texts.
    pub fn learn(element: &'a str, object: &RawObject<'a>) -> Option<Self> {
        // Comments may hold tags, quoted values a `>`.
        if element.bytes().any(|byte| matches!(byte, b'!' | b'?' | b'"' | b'\'')) || !element.starts_with('<') {
            return None;
        }
        let place = |text: Option<&str>| Some((text?.as_ptr() as usize).wrapping_sub(element.as_ptr() as usize));
        let (key, etag, size) = (place(object.key)?, place(object.etag)?, place(object.size)?);
        let (mut tags, mut places) = (Vec::new(), Vec::new());
        let mut rest = element;
        while tags.len() < TAGS_MAX {
            let end = rest.match_indices('>').map(|(at, _)| at + 1).find(|end| !rest[*end..].starts_with('<'))?;
            tags.push(&rest[..end]);
            places.push(element.len() - rest.len() + end);
            rest = &rest[end..];
            if rest.is_empty() {
                let nth = |place| places.iter().position(|there| *there == place);
                return Some(Self { key: nth(key)?, etag: nth(etag)?, size: nth(size)?, tags });
            }
            rest = &rest[memchr(b'<', rest.as_bytes())?..];
        }
        None
    }

    /// The object at the start of `rest`, and what comes after it; `None` where it has other tags.
    pub fn take(&self, rest: &'a str) -> Option<(RawObject<'a>, &'a str)> {
        let (first, others) = self.tags.split_first()?;
        let mut rest = rest.trim_ascii_start().strip_prefix(first)?;
        let mut object = RawObject::default();
        for (nth, tags) in others.iter().enumerate() {
            let (text, after) = rest.split_at(memchr(b'<', rest.as_bytes())?);
            rest = after.strip_prefix(tags)?;
            if nth == self.key {
                object.key = Some(text);
            } else if nth == self.etag {
                object.etag = Some(text);
            } else if nth == self.size {
                object.size = Some(text);
            }
        }
        Some((object, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Raw;
    use super::*;

    const ONE: &str = "<Contents><Key>a&amp;1</Key><ETag>&quot;x&quot;</ETag><Size>1</Size>\
                       <Owner><ID>i</ID></Owner><StorageClass>S</StorageClass></Contents>";

    fn object(text: &str) -> RawObject<'_> {
        Raw::object_for_tests(text)
    }

    #[test]
    fn l5_only_what_has_the_same_tags_is_read_by_its_shape() {
        let shape = Shape::learn(ONE, &object(ONE)).expect("a shape");
        let (mut taken, mut left) = (0, 0);
        // Every piece taken out, or put in twice, at every place.
        let pieces: Vec<&str> = ONE.split_inclusive(['<', '>', '/']).collect();
        for nth in 0..=pieces.len() {
            for with in ["", "<", ">", "/", "x", "<Key>", "</Key>", "<!-- -->", "<a/>", "<Owner>"] {
                for width in 0..3 {
                    let end = (nth + width).min(pieces.len());
                    let text = [&pieces[..nth].concat(), with, &pieces[end..].concat()].concat();
                    let text = format!("{text}<Contents>");
                    match shape.take(&text) {
                        Some((found, rest)) => {
                            let whole = &text[..text.len() - rest.len()];
                            assert_eq!(found, object(whole), "{text}");
                            taken += 1;
                        }
                        None => left += 1,
                    }
                }
            }
        }
        assert!(taken > 50 && left > 500, "{taken} {left}");
    }

    #[test]
    fn what_is_more_than_tags_and_texts_has_no_shape() {
        for (from, to) in [
            ("<Size>", "<Size unit='b'>"),
            ("<Owner>", "<!-- c --><Owner>"),
            ("<Key>a&amp;1</Key>", "<Key/>"),
            ("<ETag>&quot;x&quot;</ETag>", ""),
        ] {
            let text = ONE.replace(from, to);
            assert!(text != ONE && Shape::learn(&text, &object(&text)).is_none(), "{text}");
        }
        // A key in another element is not the object's.
        let nested = ONE.replace("<ID>i</ID>", "<Key>i</Key>");
        let shape = Shape::learn(&nested, &object(&nested)).expect("a shape");
        assert_eq!(shape.take(&nested), Some((object(&nested), "")));
        assert_eq!(object(&nested).key, Some("a&amp;1"));
    }
}
