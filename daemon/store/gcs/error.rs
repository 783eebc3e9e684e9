//! What the API's errors mean: each becomes one [`StoreErrorKind`](super::super::StoreErrorKind).
//!
//! Promise: no text of the answer, no address and no secret gets into an error, only its status and reason;
//! a write whose answer was not seen is `OutcomeUnknown`, unless it surely was not sent.
//! Not here: whether to try again.

use std::time::Duration;

use google_cloud_auth::build_errors;
use google_cloud_auth::errors::CredentialsError;
use serde_json::Value;

use super::super::asked::{Asked, texts, word};
use super::super::{StoreError, StoreErrorKind as Kind};

/// Clocks further apart than this make tokens invalid: Google allows five minutes.
const SKEW_MAX_SECONDS: u64 = 300;

/// A request that came to nothing.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why.
    pub error: StoreError,
    /// Something is missing, and the answer does not say whether it is the object or its bucket.
    pub is_bucket_unsure: bool,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self { error, is_bucket_unsure: false }
    }
}

impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// A request without an answer.
pub(super) fn undelivered(asked: &Asked, error: &reqwest::Error) -> StoreError {
    if error.is_builder() {
        return asked.failed(Kind::Configuration, "no request can be made with these settings");
    }
    let failed = asked.undelivered(error);
    if error.is_connect() {
        // Not a byte of the request left.
        let detail = failed.map_or_else(|| "no connection".to_owned(), |failed| failed.detail);
        return asked.failed(Kind::Unreachable, detail);
    }
    failed.unwrap_or_else(|| asked.failed(asked.no_answer(), "the connection was lost"))
}

/// Credentials that cannot be used as they are written. Only which kind of failure: the file holds secrets.
pub(super) fn unusable(asked: &Asked, error: &build_errors::Error) -> StoreError {
    let detail = if error.is_loading() {
        "the credentials file cannot be read"
    } else if error.is_unknown_type() {
        "the credentials file has a `type` that is not known"
    } else if error.is_not_supported() {
        "credentials of this type are not supported"
    } else {
        "the credentials file is not what it should be"
    };
    asked.failed(Kind::Configuration, detail)
}

/// No token came. Only which kind of failure: what a token server said may hold secrets.
pub(super) fn no_token(asked: &Asked, error: &CredentialsError) -> StoreError {
    let texts = texts(error);
    if texts.contains("not running in a google cloud environment") {
        return asked.failed(Kind::Auth, "no credentials found");
    }
    if texts.contains("reasonable timeframe") {
        return asked.failed(Kind::ClockSkew, "the token server refuses the time of the request");
    }
    if texts.contains("invalid_grant") || texts.contains("invalid_client") || texts.contains("unauthorized_client") {
        return asked
            .failed(Kind::Auth, "the token server refuses the credentials: they are revoked, expired or wrong");
    }
    if error.is_transient() {
        return asked.failed(Kind::Unreachable, "the token server gives no token now");
    }
    asked.failed(Kind::Auth, "the credentials give no token")
}

/// What of an answer tells its meaning.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `reason` of the first error, if it is a word.
    pub reason: String,
    /// The body is a web page: a proxy's, a portal's.
    pub is_page: bool,
    /// What the body says is missing.
    pub missing: Option<Kind>,
    /// How long to wait.
    pub retry_after: Option<Duration>,
    /// How far this machine's clock is ahead of the server's.
    pub skew_seconds: i64,
}

impl Answer {
    /// What the body tells. An object's read answers an error in plain text, everything else in JSON, and both may
    /// call themselves HTML.
    pub fn of_body(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = String::from_utf8_lossy(body);
        let message = json["error"]["message"].as_str().unwrap_or(&text);
        let missing = if message.starts_with("No such object") {
            Some(Kind::ObjectMissing)
        } else if message.contains("bucket does not exist") {
            Some(Kind::BucketMissing)
        } else {
            None
        };
        let reason = json["error"]["errors"][0]["reason"].as_str().and_then(word).unwrap_or_default();
        Self { reason, is_page: text.trim_start().starts_with('<'), missing, ..Self::default() }
    }

    /// The error that it is.
    pub fn explain(self, asked: &Asked) -> Refused {
        let kind = self.kind(asked);
        let mut detail = self.status.to_string();
        if !self.reason.is_empty() {
            detail.push(' ');
            detail.push_str(&self.reason);
        } else if self.is_page {
            detail.push_str(" with a web page");
        }
        if kind == Kind::ClockSkew {
            detail.push_str(&format!("; this machine's clock differs by {} seconds", self.skew_seconds));
        }
        let is_bucket_unsure = kind == Kind::ObjectMissing && self.missing.is_none();
        Refused { error: StoreError { retry_after: self.retry_after, ..asked.failed(kind, detail) }, is_bucket_unsure }
    }

    fn kind(&self, asked: &Asked) -> Kind {
        let is_limit = matches!(self.reason.as_str(), "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded");
        match self.status {
            429 => Kind::Throttled,
            403 if is_limit => Kind::Throttled,
            503 if self.retry_after.is_some() && !asked.changes_something() => Kind::Throttled,
            408 | 500.. => asked.no_answer(),
            ..300 => asked.no_sense(),
            // There are no redirects in this API.
            300..=399 => Kind::Malformed,
            412 | 409 => Kind::PreconditionFailed,
            // A proxy, a captive portal or a website endpoint, not the storage API.
            _ if self.is_page => Kind::Malformed,
            401 if self.skew_seconds.unsigned_abs() > SKEW_MAX_SECONDS => Kind::ClockSkew,
            401 => Kind::Auth,
            403 => Kind::AccessDenied,
            404 => self.missing.unwrap_or(match asked.operation {
                // A write names only the bucket.
                "list" | "write" => Kind::BucketMissing,
                _ => Kind::ObjectMissing,
            }),
            413 => Kind::TooLarge,
            _ if asked.is_about_an_object() => Kind::UnsupportedKey,
            _ => Kind::Configuration,
        }
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
