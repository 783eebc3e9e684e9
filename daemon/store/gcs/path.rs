//! The addresses of the JSON API: buckets, keys and parameters, exactly.
//!
//! Promise: a key stands in an address as one segment, every byte of it that is no letter or digit encoded, its
//! slashes too; a key that no address can carry is refused before anything is sent.
//! Not here: sending.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::super::asked::Asked;
use super::super::{ListRequest, PageToken, StoreError, StoreErrorKind};
use crate::names::Key;

/// What a listing gives of each object; `kind` proves that the answer is a listing.
const LISTED_FIELDS: &str = "kind,nextPageToken,items(name,generation,size)";

/// What is left as it is: letters, digits and what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

/// One page of at most `keys` objects.
pub(super) fn listing(
    base: &str,
    bucket: &str,
    request: &ListRequest,
    token: Option<&PageToken>,
    keys: usize,
) -> String {
    let mut url = format!("{base}/storage/v1/b/{}/o?maxResults={keys}", encoded(bucket));
    url += &format!("&fields={}", encoded(LISTED_FIELDS));
    if !request.prefix.is_empty() {
        url += &format!("&prefix={}", encoded(&request.prefix));
    }
    if request.one_level {
        url += "&delimiter=%2F";
    }
    match token {
        None => {}
        Some(PageToken::Next(token)) => url += &format!("&pageToken={}", encoded(token)),
        // From this key on.
        Some(PageToken::After(key)) => url += &format!("&startOffset={}", encoded(key)),
    }
    url
}

/// An object's bytes.
pub(super) fn media(asked: &Asked, base: &str, bucket: &str, key: &Key) -> Result<String, StoreError> {
    Ok(format!("{}?alt=media", object(asked, base, bucket, key)?))
}

/// What a listing would show of an object.
pub(super) fn metadata(asked: &Asked, base: &str, bucket: &str, key: &Key) -> Result<String, StoreError> {
    Ok(format!("{}?fields=name%2Cgeneration%2Csize", object(asked, base, bucket, key)?))
}

/// Where an object is deleted that has this generation.
pub(super) fn deletion(
    asked: &Asked,
    base: &str,
    bucket: &str,
    key: &Key,
    generation: u64,
) -> Result<String, StoreError> {
    Ok(format!("{}?ifGenerationMatch={generation}", object(asked, base, bucket, key)?))
}

/// Where an object is written over this generation, 0 for none; the key itself goes in the body.
pub(super) fn upload(
    asked: &Asked,
    base: &str,
    bucket: &str,
    key: &Key,
    generation: u64,
) -> Result<String, StoreError> {
    check(asked, key)?;
    let bucket = encoded(bucket);
    Ok(format!(
        "{base}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&ifGenerationMatch={generation}&fields=generation"
    ))
}

fn object(asked: &Asked, base: &str, bucket: &str, key: &Key) -> Result<String, StoreError> {
    check(asked, key)?;
    Ok(format!("{base}/storage/v1/b/{}/o/{}", encoded(bucket), encoded(key.as_str())))
}

/// The empty key would name the bucket's list of objects. `.` and `..` as a whole segment are path navigation to
/// every URL library, however they are encoded; Google refuses such names for objects.
fn check(asked: &Asked, key: &Key) -> Result<(), StoreError> {
    if matches!(key.as_str(), "" | "." | "..") {
        return Err(asked.failed(StoreErrorKind::UnsupportedKey, "GCS has no objects of this name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://host/base";

    fn asked() -> Asked {
        Asked { operation: "read", url: "gs://bucket/key".into() }
    }

    #[test]
    fn l70_every_key_is_one_segment_that_no_url_library_changes() {
        for key in
            ["a/../b", "./a", "../x", "a//b", "/x", "x/", "%2F", "%2e%2e", "a\\b", "a\tb\n", " ", "?#", "ü😀", "..."]
        {
            let url = media(&asked(), BASE, "bucket", &Key::new(key)).expect("an address");
            let parsed = reqwest::Url::parse(&url).expect("a URL");
            assert_eq!(parsed.as_str(), url, "{key:?}");
            let segment = parsed.path().strip_prefix("/base/storage/v1/b/bucket/o/").expect("below the bucket");
            assert!(!segment.contains(['/', '+']), "{segment}");
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8");
            assert_eq!(decoded, key);
        }
    }

    #[test]
    fn l67_what_is_no_objects_name_is_refused_and_never_asked_for() {
        for key in ["", ".", ".."].map(Key::new) {
            let refused = [
                media(&asked(), BASE, "bucket", &key),
                metadata(&asked(), BASE, "bucket", &key),
                deletion(&asked(), BASE, "bucket", &key, 1),
                upload(&asked(), BASE, "bucket", &key, 0),
            ];
            for outcome in refused {
                assert_eq!(outcome.expect_err("refused").kind, StoreErrorKind::UnsupportedKey);
            }
        }
    }

    #[test]
    fn a_page_is_asked_for_exactly() {
        let request = ListRequest { prefix: "img 1/+%".into(), one_level: true };
        let text = || "a+b/=&é".to_owned();
        for (token, start) in [
            (None, ""),
            (Some(PageToken::Next(text())), "&pageToken=a%2Bb%2F%3D%26%C3%A9"),
            (Some(PageToken::After(text())), "&startOffset=a%2Bb%2F%3D%26%C3%A9"),
        ] {
            let expected = "http://host/base/storage/v1/b/bucket/o?maxResults=1000\
                            &fields=kind%2CnextPageToken%2Citems%28name%2Cgeneration%2Csize%29\
                            &prefix=img%201%2F%2B%25&delimiter=%2F";
            assert_eq!(listing(BASE, "bucket", &request, token.as_ref(), 1000), format!("{expected}{start}"));
        }
    }
}
