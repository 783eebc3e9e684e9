//! The far side: buckets and directories that hold objects.
//!
//! Promise: keys are exact, a page is what the store said, a write happens only under its precondition
//! or is reported as [`StoreErrorKind::OutcomeUnknown`]. One contract test serves every kind (`tests/stores.rs`).
//! Not here: tasks, completions, what any object means.

mod asked;
mod cloud;
pub mod connecting;
pub(crate) mod crc32c;
pub mod faulty;
pub mod gcs;
mod lanes;
pub mod listing;
pub mod local;
pub mod memory;
pub mod metered;
mod objects;
pub mod probe;
pub mod remedy;
pub mod s3;
mod session;
mod skew;
mod sorting;
mod splice;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::objects::{ListedRef, Objects};
use crate::names::{ETag, Key, printable};

/// One object as a listing shows it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Listed {
    /// The full key, decoded, exact.
    pub key: Key,
    /// The object's version.
    pub etag: ETag,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListRequest {
    /// Plain string prefix of full keys; `""` lists everything.
    pub prefix: String,
    /// Leave out keys with a `/` after the prefix (the S3 `Delimiter=/`); common prefixes are not reported.
    pub one_level: bool,
}

/// Where a page starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PageToken {
    /// Where the one before ended, as the store wrote it.
    Next(String),
    /// After this key, or at it. Only of a store that [`lists_after`](Store::lists_after).
    After(String),
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the store's order.
    pub objects: Objects,
    /// `None` on the last page.
    pub next: Option<PageToken>,
    /// The store asked for fewer requests before it gave this one.
    pub is_throttled: bool,
}

/// An object's bytes.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole body; its length was checked against what the store announced.
    pub bytes: Bytes,
    /// The version that was read.
    pub etag: ETag,
}

/// Under what condition a write may happen. There is no unconditional write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// Only where no object has the key (`If-None-Match: *`).
    Absent,
    /// Only where the object still has this version (`If-Match`).
    Matches(ETag),
}

/// A bucket or directory.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The root as Label Studio would write it in a task: `s3://bucket`, `gs://bucket`, or `file:///dir`.
    fn root(&self) -> &str;

    /// The URL of a key as it stands in a task: the root, `/`, the key raw (Label Studio 0.8 resolves raw keys only).
    fn url(&self, key: &Key) -> String {
        format!("{}/{}", self.root(), key.as_str())
    }

    /// How far this machine's clock was ahead of the server's at its last answer; `None`: it did not say, or there is no
    /// server.
    fn clock_skew_seconds(&self) -> Option<i64> {
        None
    }

    /// Whether a page can be asked for by the key that it comes after ([`PageToken::After`]), in byte order.
    fn lists_after(&self) -> bool {
        false
    }

    /// One page, from the start or from a token of the page before. Use [`listing::walk`] for a whole listing.
    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError>;

    /// The whole object, at most `limit_bytes`; larger ones are [`StoreErrorKind::TooLarge`] without being read.
    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError>;

    /// Streams the object into `sink`; the version that was read. A short body is an error, what is in `sink` then is no object.
    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError>;

    /// What a listing would show of this key; `None` where there is none.
    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError>;

    /// Writes the object under its precondition, with a checksum where the provider takes one; its new version.
    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError>;

    /// Removes the object if it still has this version. An object that is gone already is no error.
    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError>;
}

/// A local file as Label Studio 0.8 serves it (`/data/NAME?d=DIRECTORY`, its `allow_serving_local_files`).
pub fn local_url(file: &std::path::Path) -> String {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let name = text(file.file_name());
    let dir = text(file.parent().map(std::path::Path::as_os_str));
    format!("/data/{}?d={}", utf8_percent_encode(&name, UNSAFE), utf8_percent_encode(&dir, UNSAFE))
}

/// Everything but what RFC 3986 calls unreserved, and `/`.
const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What went wrong, as an operator names it. Codes are stable: status, logs, metrics and API use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// The credentials are missing, unknown, expired or wrongly signed.
    Auth,
    /// The credentials are good but may not do this (403).
    AccessDenied,
    /// The bucket lives in another region (301, 400).
    RegionMismatch,
    /// No such bucket or directory.
    BucketMissing,
    /// No such object.
    ObjectMissing,
    /// The precondition of a write does not hold (412, 409).
    PreconditionFailed,
    /// The clocks are too far apart.
    ClockSkew,
    /// The store asks for fewer requests (503 SlowDown, 429).
    Throttled,
    /// No connection, no answer in time, DNS, TLS, 5xx.
    Unreachable,
    /// A write was sent and its answer was not seen: it may have happened.
    OutcomeUnknown,
    /// The answer is not what the protocol says (truncated, HTML, the same token twice …).
    Malformed,
    /// The object is larger than the limit that was asked for.
    TooLarge,
    /// This kind of store cannot hold such a key (a directory: `a//b`, `..`).
    UnsupportedKey,
    /// No space, quota or inodes left (local directories).
    DiskFull,
    /// The disk or its permissions (local directories).
    Io,
    /// The settings cannot work (an endpoint that is no URL, a missing profile).
    Configuration,
}

impl StoreErrorKind {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Auth => "auth_error",
            Self::AccessDenied => "access_denied",
            Self::RegionMismatch => "region_mismatch",
            Self::BucketMissing => "bucket_missing",
            Self::ObjectMissing => "object_missing",
            Self::PreconditionFailed => "precondition_failed",
            Self::ClockSkew => "clock_skew",
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Malformed => "malformed_answer",
            Self::TooLarge => "too_large",
            Self::UnsupportedKey => "unsupported_key",
            Self::DiskFull => "disk_full",
            Self::Io => "io_error",
            Self::Configuration => "configuration",
        }
    }

    /// What a person does next.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Auth => {
                "check the credentials that the daemon sees (environment, profile, credential process) and their expiry"
            }
            Self::AccessDenied => "grant the permission that config/ lists for this bucket, then `lsctl sync`",
            Self::RegionMismatch => "set `region` to the bucket's region",
            Self::BucketMissing => "check the bucket's name, the endpoint and the account",
            Self::ObjectMissing => "nothing to do if it was deleted on purpose",
            Self::PreconditionFailed => "another writer was faster; see `lsctl list --state conflict`",
            Self::ClockSkew => "set this machine's clock (NTP)",
            Self::Throttled => "nothing: labelsync slows down; a longer `poll_interval` asks less",
            Self::Unreachable => "check the network, DNS, proxy and endpoint; labelsync keeps trying",
            Self::OutcomeUnknown => "nothing: labelsync looks at the object before it writes again",
            Self::Malformed => "check that the endpoint is the storage API itself and no proxy or website",
            Self::TooLarge => "make the object smaller, or leave it out with `exclude`",
            Self::UnsupportedKey => "rename the object, or leave it out with `exclude`",
            Self::DiskFull => "free space (or inodes, or quota) where the directory is; labelsync goes on by itself",
            Self::Io => "check the directory's permissions and its disk",
            Self::Configuration => "correct the settings, then `labelsyncd --check`",
        }
    }

    /// Whether the same request can succeed later without anybody's doing.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unreachable | Self::OutcomeUnknown | Self::ClockSkew | Self::Malformed)
    }
}

/// A failed operation of a store.
#[derive(Debug, thiserror::Error)]
pub struct StoreError {
    /// The situation.
    pub kind: StoreErrorKind,
    /// The operation as a person says it: `list`, `read`, `look up`, `write`, `delete`.
    pub operation: &'static str,
    /// The URL it was about.
    pub url: String,
    /// Short detail of the answer (status and error code; never a body, a secret or an address).
    pub detail: String,
    /// How long the store asked to wait.
    pub retry_after: Option<Duration>,
    /// The region in which the bucket is, where the store tells another one than was asked.
    pub region: Option<Box<str>>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        url: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, operation, url: url.into(), detail: detail.into(), retry_after: None, region: None, source: None }
    }

    /// The same with its cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.operation, printable(&self.url), self.kind.code().replace('_', " "))?;
        if !self.detail.is_empty() {
            write!(f, " ({})", printable(&self.detail))?;
        }
        Ok(())
    }
}
