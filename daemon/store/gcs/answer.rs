//! Answers that are read whole: JSON, and what an error says.
//!
//! Promise: no answer takes more memory or time than its limit.
//! Not here: the bytes of objects (`body`), what the JSON says (`page`), what an error means (`error`).

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::super::asked::{Asked, seconds};
use super::super::cloud::Pieces;
use super::super::session::CloudLimits;
use super::super::{StoreError, StoreErrorKind as Kind};
use super::body::Body;
use super::error::{Answer, Refused};
use super::page;
use crate::clock::{Clock, SystemClock};
use crate::names::ETag;

/// Largest answer of the API that is read: a page of 1,000 keys of 1,024 bytes, each byte escaped, with all that an
/// emulator says of each object, has under 16 MiB.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// What is read of an error's body: the API's have under 4 KiB.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// The whole body of an answer of the API.
pub(super) async fn whole(asked: &Asked, response: Response, limits: &CloudLimits) -> Result<Bytes, StoreError> {
    read(asked, response, ANSWER_BYTES_MAX, limits).await.map_err(|error| match error.kind {
        Kind::TooLarge => asked.failed(asked.no_sense(), "the answer is larger than any of the API"),
        _ => error,
    })
}

/// The error that an answer is.
pub(super) async fn refused(asked: &Asked, response: Response, limits: &CloudLimits) -> Refused {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(seconds);
    let date = header(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let skew_seconds = date.map_or(0, |date| SystemClock.now().0 / 1000 - date.timestamp().as_second());
    // The status counts; a body that cannot be read only tells less.
    let body = read(asked, response, ERROR_BYTES_MAX, limits).await.unwrap_or_default();
    Answer { status, retry_after, skew_seconds, ..Answer::of_body(&body) }.explain(asked)
}

/// The generation that an object's bytes have.
pub(super) fn generation(headers: &HeaderMap) -> Option<ETag> {
    let text = headers.get("x-goog-generation")?.to_str().ok()?;
    page::generation(text).map(|_| ETag::new(text))
}

async fn read(asked: &Asked, response: Response, limit_bytes: u64, limits: &CloudLimits) -> Result<Bytes, StoreError> {
    let mut body = Body::of(asked.clone(), response, limit_bytes, limits)?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
