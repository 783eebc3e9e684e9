//! A listing's answer, checked: whole, of this bucket, with exact keys.
//!
//! Promise: what is not provably a whole page is an error; keys come out byte for byte.
//! Not here: the order of keys, the token's novelty (`listing`).

use std::borrow::Cow;

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

use super::super::{ListRequest, Listed, Page, PageToken, StoreError, StoreErrorKind};
use super::error::{Asked, NotAListing};
use crate::names::{ETag, Key};

/// Refuses an answer that stops before its last tag: the SDK's reader takes what it has for everything.
#[derive(Debug)]
pub(super) struct WholeListing;

impl Intercept for WholeListing {
    fn name(&self) -> &'static str {
        "WholeListing"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        // A body that did not come at all has its own error already.
        let Some(body) = answer.body().bytes() else { return Ok(()) };
        if answer.status().is_success() && !body.trim_ascii_end().ends_with(b"ListBucketResult>") {
            return Err(NotAListing.into());
        }
        Ok(())
    }
}

/// The page that this answer holds.
pub(super) fn read(
    asked: &Asked,
    bucket: &str,
    request: &ListRequest,
    answer: &ListObjectsV2Output,
) -> Result<Page, StoreError> {
    let wrong = |detail: &str| asked.failed(StoreErrorKind::Malformed, detail);
    if answer.name() != Some(bucket) {
        return Err(wrong("the listing names another bucket"));
    }
    let Some(is_truncated) = answer.is_truncated() else {
        return Err(wrong("the listing does not say whether it is the last page"));
    };
    let next = match answer.next_continuation_token() {
        Some(token) if is_truncated && !token.is_empty() => Some(PageToken(token.to_owned())),
        _ if is_truncated => return Err(wrong("the listing goes on but does not say where")),
        _ => None,
    };
    let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let mut objects = Vec::with_capacity(answer.contents().len());
    let mut unreadable_keys = 0_u64;
    for object in answer.contents() {
        let Some(raw) = object.key() else { return Err(wrong("an object without a key")) };
        let Some(key) = decode(raw, is_encoded) else {
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
        objects.push(listed(object, &key).ok_or_else(|| wrong("an object without its ETag or size"))?);
    }
    if unreadable_keys > 0 {
        tracing::warn!(url = %asked.url, unreadable_keys, "keys that are not UTF-8 are left out");
    }
    Ok(Page { objects, next })
}

fn listed(object: &Object, key: &str) -> Option<Listed> {
    let size_bytes = u64::try_from(object.size()?).ok()?;
    Some(Listed { key: Key::new(key), etag: version(object.e_tag())?, size_bytes })
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
    if !raw.contains('+') {
        return percent_decode_str(raw).decode_utf8().ok();
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
