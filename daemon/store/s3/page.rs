//! A listing's answer, read and checked: whole, of this bucket, with exact keys.
//!
//! Promise: what is not provably a whole page is an error; keys come out byte for byte.
//! Not here: XML (`xml`), the order of keys, the token's novelty (`listing`).

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use percent_encoding::percent_decode_str;

use super::super::{ListRequest, Objects, Page, PageToken, StoreError, StoreErrorKind};
use super::error::Asked;
use super::shape::Shape;
use super::xml::{NoXml, Piece, Xml, unescape};
use crate::names::ETag;

/// A page larger than this is not read: 1,000 keys of 1,024 bytes, each written as `%XX`, take 4 MiB.
pub(super) const PAGE_MAX_BYTES: usize = 16 << 20;

/// The longest key that S3 has.
const KEY_MAX_BYTES: usize = 1_024;

/// What the SDK reads in place of the page.
const STAND_IN: &str = "<ListBucketResult/>";

/// Keeps the body of a good answer from the SDK, whose reader costs more than all the rest of a poll; errors are left to it.
///
/// The lock is held for one assignment each by the request and by whoever made it: never at once, never across a wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<Mutex<Option<SdkBody>>>);

impl Unread {
    /// The body of the answer; `None` where there was no good one.
    pub fn take(&self) -> Option<SdkBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for Unread {
    fn name(&self) -> &'static str {
        "Unread"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        if answer.status().is_success() {
            let body = std::mem::replace(answer.body_mut(), SdkBody::from(STAND_IN));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
        Ok(())
    }
}

/// The page that this body holds.
pub(super) fn read(asked: &Asked, bucket: &str, request: &ListRequest, body: &[u8]) -> Result<Page, StoreError> {
    let wrong = |detail: &str| asked.failed(StoreErrorKind::Malformed, detail);
    let Ok(raw) = Raw::read(body) else { return Err(wrong("the answer is no whole listing")) };
    let mut scratch = String::new();
    if raw.name.and_then(|name| unescape(name, &mut scratch).ok()) != Some(bucket) {
        return Err(wrong("the listing names another bucket"));
    }
    if raw.prefix.is_some_and(|raw_prefix| !raw.is(raw_prefix, &request.prefix, &mut scratch)) {
        return Err(wrong("the listing is one of another prefix"));
    }
    if raw.is_short() {
        return Err(wrong("the listing holds fewer keys than it says"));
    }
    let is_truncated = match raw.is_truncated {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => return Err(wrong("the listing does not say whether it is the last page")),
    };
    let token = raw.next.and_then(|next| unescape(next, &mut scratch).ok()).filter(|token| !token.is_empty());
    let next = match token {
        Some(token) if is_truncated => Some(PageToken::Next(token.to_owned())),
        None if is_truncated => return Err(wrong("the listing goes on but does not say where")),
        _ => None,
    };
    let mut unreadable_keys = 0_u64;
    let mut objects = Objects::with_capacity(raw.objects.len(), raw.texts_bytes());
    let (mut key_scratch, mut etag) = (String::new(), String::new());
    for object in &raw.objects {
        let Some(key) = object.key else { return Err(wrong("an object without a key")) };
        let Ok(key) = unescape(key, &mut key_scratch) else { return Err(wrong("an unreadable key")) };
        let key = decode(key, raw.encoding == Some("url")).filter(|key| key.len() <= KEY_MAX_BYTES);
        let Some(key) = key else {
            unreadable_keys += 1;
            continue;
        };
        let Some(below) = key.strip_prefix(request.prefix.as_str()) else {
            return Err(wrong("a key that does not start with the prefix"));
        };
        // Some servers do not know Delimiter.
        if request.one_level && below.contains('/') {
            continue;
        }
        let size_bytes = object.size.and_then(|size| size.trim_ascii().parse().ok());
        let is_version = object.etag.is_some_and(|raw| quoted(raw, &mut scratch, &mut etag));
        let (Some(size_bytes), true) = (size_bytes, is_version) else {
            return Err(wrong("an object without its ETag or size"));
        };
        objects.push(&key, &etag, size_bytes);
    }
    if unreadable_keys > 0 {
        let why = "keys that are not UTF-8, or longer than 1,024 bytes, are left out";
        tracing::warn!(url = %asked.url, unreadable_keys, "{why}");
    }
    Ok(Page { objects, next, ..Page::default() })
}

/// Writes the ETag into `etag` in its one form ([`version`]); false where there is none.
fn quoted(raw: &str, scratch: &mut String, etag: &mut String) -> bool {
    etag.clear();
    // As S3 writes them.
    let inner = raw.strip_prefix("&quot;").and_then(|raw| raw.strip_suffix("&quot;"));
    if let Some(inner) = inner.filter(|inner| memchr::memchr(b'&', inner.as_bytes()).is_none()) {
        etag.push('"');
        etag.push_str(inner);
        etag.push('"');
        return true;
    }
    let Ok(text) = unescape(raw, scratch) else { return false };
    if text.ends_with('"') {
        etag.push_str(text);
    } else if !text.is_empty() {
        etag.push('"');
        etag.push_str(text);
        etag.push('"');
    }
    !etag.is_empty()
}

/// The texts of a listing as they stand in it: which of them are encoded is known at its end.
#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    name: Option<&'a str>,
    prefix: Option<&'a str>,
    key_count: Option<&'a str>,
    /// Names below which there is more.
    common_prefixes: u64,
    is_truncated: Option<&'a str>,
    next: Option<&'a str>,
    encoding: Option<&'a str>,
    objects: Vec<RawObject<'a>>,
}

/// The texts of an object as they stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct RawObject<'a> {
    pub key: Option<&'a str>,
    pub etag: Option<&'a str>,
    pub size: Option<&'a str>,
}

impl<'a> Raw<'a> {
    /// Bytes of keys and ETags, and two for the quotes of each.
    fn texts_bytes(&self) -> usize {
        let length = |text: Option<&str>| text.map_or(0, str::len);
        self.objects.iter().map(|object| length(object.key) + length(object.etag) + 2).sum()
    }

    /// Whether it says that it has more than it has. What a server does not count, or counts otherwise, says nothing.
    fn is_short(&self) -> bool {
        let said = self.key_count.and_then(|count| count.trim_ascii().parse::<u64>().ok());
        said.is_some_and(|said| said > self.objects.len() as u64 + self.common_prefixes)
    }

    /// Whether `raw` stands for `text`. Some servers encode keys, and what was asked for not.
    fn is(&self, raw: &str, text: &str, scratch: &mut String) -> bool {
        let Ok(raw) = unescape(raw, scratch) else { return false };
        raw == text || decode(raw, self.encoding == Some("url")).is_some_and(|decoded| decoded == text)
    }

    fn read(body: &'a [u8]) -> Result<Self, NoXml> {
        let text = std::str::from_utf8(body).map_err(|_| NoXml)?;
        let mut xml = Xml::new(text);
        if xml.next()? != Piece::Open("ListBucketResult") {
            return Err(NoXml);
        }
        let mut raw = Self::default();
        let mut shape = None;
        loop {
            let before = xml.rest();
            if let Some((object, rest)) = shape.as_ref().and_then(|shape: &Shape<'a>| shape.take(before)) {
                xml.go_to(rest);
                raw.objects.push(object);
                continue;
            }
            let Piece::Open(element) = xml.next()? else { break };
            match element {
                "Contents" => {
                    let object = RawObject::read(&mut xml)?;
                    let element = &before[..before.len() - xml.rest().len()];
                    shape = Shape::learn(element.trim_ascii_start(), &object);
                    raw.objects.push(object);
                }
                "Name" => once(&mut raw.name, &mut xml)?,
                "Prefix" => once(&mut raw.prefix, &mut xml)?,
                "KeyCount" => once(&mut raw.key_count, &mut xml)?,
                "CommonPrefixes" => {
                    raw.common_prefixes += 1;
                    xml.skip()?;
                }
                "IsTruncated" => once(&mut raw.is_truncated, &mut xml)?,
                "NextContinuationToken" => once(&mut raw.next, &mut xml)?,
                "EncodingType" => once(&mut raw.encoding, &mut xml)?,
                _ => xml.skip()?,
            }
        }
        if xml.next()? == Piece::End { Ok(raw) } else { Err(NoXml) }
    }

    /// The object that is all of this text.
    #[cfg(test)]
    pub fn object_for_tests(text: &'a str) -> RawObject<'a> {
        let mut xml = Xml::new(text);
        assert_eq!(xml.next(), Ok(Piece::Open("Contents")), "{text}");
        let object = RawObject::read(&mut xml).expect("an object");
        assert_eq!(xml.next(), Ok(Piece::End), "{text}");
        object
    }
}

impl<'a> RawObject<'a> {
    fn read(xml: &mut Xml<'a>) -> Result<Self, NoXml> {
        let mut object = Self::default();
        while let Piece::Open(element) = xml.next()? {
            match element {
                "Key" => once(&mut object.key, xml)?,
                "ETag" => once(&mut object.etag, xml)?,
                "Size" => once(&mut object.size, xml)?,
                _ => xml.skip()?,
            }
        }
        Ok(object)
    }
}

/// What a server says twice it may mean in two ways.
fn once<'a>(value: &mut Option<&'a str>, xml: &mut Xml<'a>) -> Result<(), NoXml> {
    match value.replace(xml.text()?) {
        None => Ok(()),
        Some(_) => Err(NoXml),
    }
}

/// The ETag in one form: quoted as HTTP has it. Some servers leave the quotes out in listings.
pub(super) fn version(etag: Option<&str>) -> Option<ETag> {
    let etag = etag.filter(|etag| !etag.is_empty())?;
    if etag.ends_with('"') {
        return Some(ETag::new(etag));
    }
    Some(ETag::new(format!("\"{etag}\"")))
}

/// The key as it is; `None` where its bytes are no UTF-8.
///
/// A space comes as `+` from S3 and SeaweedFS and as `%20` from moto; a plus is `%2B` for all, so `+` is a space.
fn decode(raw: &str, is_encoded: bool) -> Option<Cow<'_, str>> {
    if !is_encoded {
        return Some(Cow::Borrowed(raw));
    }
    match memchr::memchr2(b'+', b'%', raw.as_bytes()) {
        None => return Some(Cow::Borrowed(raw)),
        Some(_) if !raw.contains('+') => return percent_decode_str(raw).decode_utf8().ok(),
        Some(_) => {}
    }
    let spaced = raw.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l70_keys_are_decoded_exactly() {
        let table = [
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%252Fb", "a%2Fb"),
            ("a%2520b", "a%20b"),
            ("a//b", "a//b"),
            ("%C3%BC", "ü"),
            ("a%0Ab%00", "a\nb\0"),
            ("%zz", "%zz"),
            ("100%", "100%"),
        ];
        for (raw, key) in table {
            assert_eq!(decode(raw, true).as_deref(), Some(key), "{raw}");
            assert_eq!(decode(raw, false).as_deref(), Some(raw), "a server that does not encode");
        }
        assert_eq!(decode("a%FFb", true), None);
        assert_eq!(decode("a+%FF", true), None);
    }

    #[test]
    fn an_etag_has_one_form_wherever_it_comes_from() {
        for raw in ["abc", "\"abc\""] {
            assert_eq!(version(Some(raw)), Some(ETag::new("\"abc\"")));
        }
        assert_eq!(version(Some("W/\"abc\"")), Some(ETag::new("W/\"abc\"")));
        assert_eq!(version(Some("")), None);
        assert_eq!(version(None), None);
    }
}
