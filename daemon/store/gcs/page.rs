//! The API's JSON, checked: a listing, one object, the version of a write.
//!
//! Promise: what is not provably a whole page is an error; keys come out exactly.
//! Not here: the order of keys, the token's novelty (`listing`).

use std::borrow::Cow;

use serde::Deserialize;

use super::super::asked::Asked;
use super::super::{ListRequest, Listed, Objects, Page, PageToken, StoreError, StoreErrorKind};
use crate::names::{ETag, Key};

/// Objects on a page: GCS gives no more, and an emulator gives everything where no number is asked for.
pub(super) const PAGE_KEYS: usize = 1000;

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    items: Vec<Item<'a>>,
    #[serde(rename = "nextPageToken")]
    next: Option<String>,
}

/// Numbers are strings in this API.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    generation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    size: Option<Cow<'a, str>>,
}

impl Item<'_> {
    fn listed(&self) -> Option<Listed> {
        let etag = self.etag()?;
        let size_bytes = self.size.as_deref()?.parse().ok()?;
        Some(Listed { key: Key::new(self.name.as_deref()?), etag, size_bytes })
    }

    fn etag(&self) -> Option<ETag> {
        let text = self.generation.as_deref()?;
        generation(text).map(|_| ETag::new(text))
    }
}

/// The generation that an ETag of ours names; `None`: it is of another store. Never 0, which means "no object".
pub(super) fn generation(text: &str) -> Option<u64> {
    let is_canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_canonical)
}

/// A page of a listing.
pub(super) fn read(asked: &Asked, request: &ListRequest, bytes: &[u8]) -> Result<Page, StoreError> {
    let wrong = |detail: &str| asked.failed(StoreErrorKind::Malformed, detail);
    let listing: Listing<'_> = serde_json::from_slice(bytes).map_err(|_| wrong("the answer is no listing"))?;
    if listing.kind != "storage#objects" {
        return Err(wrong("the answer is no listing"));
    }
    if listing.next.as_deref() == Some("") {
        return Err(wrong("the listing goes on but does not say where"));
    }
    let mut objects = Objects::default();
    for item in &listing.items {
        let listed = item.listed().ok_or_else(|| wrong("an object without its name, generation or size"))?;
        let Some(below) = listed.key.as_str().strip_prefix(request.prefix.as_str()) else {
            return Err(wrong("a key that does not start with the prefix"));
        };
        // Not every emulator knows the delimiter.
        if request.one_level && below.contains('/') {
            continue;
        }
        objects.push(listed.key.as_str(), listed.etag.as_str(), listed.size_bytes);
    }
    Ok(Page { objects, next: listing.next.map(PageToken::Next), ..Page::default() })
}

/// What the API says of the object of this key.
pub(super) fn read_one(asked: &Asked, key: &Key, bytes: &[u8]) -> Result<Listed, StoreError> {
    let item: Option<Item<'_>> = serde_json::from_slice(bytes).ok();
    match item.and_then(|item| item.listed()) {
        Some(listed) if listed.key == *key => Ok(listed),
        Some(_) => Err(asked.failed(StoreErrorKind::Malformed, "the answer is about another object")),
        None => Err(asked.failed(StoreErrorKind::Malformed, "the answer has no generation or no size")),
    }
}

/// The version that a write made.
pub(super) fn read_version(asked: &Asked, bytes: &[u8]) -> Result<ETag, StoreError> {
    let item: Option<Item<'_>> = serde_json::from_slice(bytes).ok();
    item.and_then(|item| item.etag()).ok_or_else(|| asked.failed(asked.no_sense(), "the answer has no generation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { operation: "list", url: "gs://bucket/".into() }
    }

    const WHOLE: &str = r#"{"kind":"storage#objects","nextPageToken":"t","items":[
        {"name":"a\/\u00fc\n","generation":"17","size":"3","metageneration":"1"}]}"#;

    #[test]
    fn l70_a_page_is_read_exactly() {
        let page = read(&asked(), &ListRequest::default(), WHOLE.as_bytes()).expect("a page");
        let listed = Listed { key: Key::new("a/ü\n"), etag: ETag::new("17"), size_bytes: 3 };
        assert_eq!((page.objects, page.next), ([listed].into_iter().collect(), Some(PageToken::Next("t".into()))));
        let empty = read(&asked(), &ListRequest::default(), br#"{"kind":"storage#objects"}"#).expect("a page");
        assert!(empty.objects.is_empty() && empty.next.is_none());
    }

    #[test]
    fn l5_what_is_no_whole_page_is_an_error() {
        let all = ListRequest::default();
        for bad in [
            String::new(),
            "null".into(),
            "{}".into(),
            "[]".into(),
            r#"{"items":[]}"#.into(),
            r#"{"kind":"storage#buckets"}"#.into(),
            r#"{"error":{"code":500}}"#.into(),
            WHOLE.replace("\"t\"", "\"\""),
            WHOLE.replace("\"name\"", "\"n\""),
            WHOLE.replace("\"17\"", "\"0\""),
            WHOLE.replace("\"17\"", "\"x\""),
            WHOLE.replace("\"3\"", "\"-3\""),
            WHOLE.replace("size", "length"),
            format!("{WHOLE}}}"),
        ] {
            let error = read(&asked(), &all, bad.as_bytes()).expect_err(&bad);
            assert_eq!(error.kind, StoreErrorKind::Malformed, "{bad}");
        }
        for length in 0..WHOLE.len() {
            read(&asked(), &all, &WHOLE.as_bytes()[..length]).expect_err("cut");
        }
        let other = ListRequest { prefix: "b".into(), one_level: false };
        read(&asked(), &other, WHOLE.as_bytes()).expect_err("a key that does not start with the prefix");
        let top = ListRequest { prefix: String::new(), one_level: true };
        assert!(read(&asked(), &top, WHOLE.as_bytes()).expect("a page").objects.is_empty(), "a deeper key");
    }

    #[test]
    fn only_generations_are_generations() {
        assert_eq!(generation("1795361098254005"), Some(1_795_361_098_254_005));
        for bad in ["", "0", "01", "+1", "-1", "\"1\"", "1.0", "18446744073709551616", "٣"] {
            assert_eq!(generation(bad), None, "{bad}");
        }
    }
}
