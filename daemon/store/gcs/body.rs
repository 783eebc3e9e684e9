//! A body while it is read: its length, its checksum, its pace.
//!
//! Promise: a body that is short, silent, too large or not what its checksum says is an error.
//! Not here: what it means.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::asked::Asked;
use super::super::cloud::Pieces;
use super::super::crc32c::Crc32c;
use super::super::session::CloudLimits;
use super::super::{StoreError, StoreErrorKind as Kind};

/// An answer whose length is not announced is waited for as if it had so many bytes: a page of long keys.
const UNANNOUNCED_BYTES: u64 = 1 << 20;

/// An answer's body.
pub(in crate::store) struct Body {
    asked: Asked,
    response: Response,
    announced_bytes: Option<u64>,
    limit_bytes: u64,
    read_bytes: u64,
    checksum: Option<(Crc32c, String)>,
    silence: Duration,
    deadline: Instant,
}

#[async_trait]
impl Pieces for Body {
    /// The length and the checksum.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let waited = timeout_at(self.deadline, timeout(self.silence, self.response.chunk())).await;
        let Ok(Ok(piece)) = waited else {
            return Err(self.asked.failed(self.asked.no_answer(), "the body stopped in the middle"));
        };
        let piece = piece.map_err(|_| self.asked.failed(self.asked.no_answer(), "the body ended early"))?;
        let Some(piece) = piece else { return self.end() };
        self.read_bytes += piece.len() as u64;
        if self.read_bytes > self.limit_bytes {
            return Err(self.asked.failed(Kind::TooLarge, format!("the limit is {} bytes", self.limit_bytes)));
        }
        if let Some((sum, _)) = &mut self.checksum {
            sum.update(&piece);
        }
        Ok(Some(piece))
    }
}

impl Body {
    /// The body of this answer; [`Kind::TooLarge`] where it announces more than the limit.
    pub fn of(asked: Asked, response: Response, limit_bytes: u64, limits: &CloudLimits) -> Result<Self, StoreError> {
        let announced_bytes = response.content_length();
        if let Some(bytes) = announced_bytes.filter(|bytes| *bytes > limit_bytes) {
            return Err(asked.failed(Kind::TooLarge, format!("{bytes} bytes, the limit is {limit_bytes}")));
        }
        let checksum = checksum(response.headers()).map(|expected| (Crc32c::new(), expected));
        let expected_bytes = announced_bytes.unwrap_or(limit_bytes.min(UNANNOUNCED_BYTES));
        let deadline = Instant::now() + limits.transfer(expected_bytes);
        let silence = limits.silence;
        Ok(Self { asked, response, announced_bytes, limit_bytes, read_bytes: 0, checksum, silence, deadline })
    }

    fn end(&self) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.announced_bytes.filter(|bytes| *bytes != self.read_bytes) {
            let detail = format!("{} of {bytes} bytes came", self.read_bytes);
            return Err(self.asked.failed(self.asked.no_answer(), detail));
        }
        if self.checksum.as_ref().is_some_and(|(sum, expected)| sum.text() != *expected) {
            return Err(self.asked.failed(Kind::Malformed, "the body does not have its checksum"));
        }
        Ok(None)
    }
}

/// The CRC32C of the bytes that come; `None` where the server does not say it, or unpacks what it stores: the
/// checksum is of what is stored.
fn checksum(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    if text("x-goog-stored-content-encoding") != text(CONTENT_ENCODING.as_str()) {
        return None;
    }
    let hashes = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    let mut hashes = hashes.flat_map(|value| value.split(','));
    hashes.find_map(|hash| hash.trim().strip_prefix("crc32c=").map(str::to_owned))
}
