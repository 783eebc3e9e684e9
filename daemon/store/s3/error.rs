//! What the SDK's errors mean: each becomes one [`StoreErrorKind`].
//!
//! Promise: no text of the answer, no address and no secret gets into an error, only its status and code;
//! a write whose answer was not seen is `OutcomeUnknown`, unless it surely was not sent.
//! Not here: whether to try again.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BuildError, ConnectorError, ProvideErrorMetadata, SdkError};

pub(super) use super::super::asked::{Asked, SILENT, chain};
use super::super::asked::{find, seconds, texts, word};
use super::super::{StoreError, StoreErrorKind as Kind};

/// The SDK's error as ours.
pub(super) fn explain<E>(asked: &Asked, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => unsendable(asked, error),
        SdkError::TimeoutError(_) => asked.failed(asked.no_answer(), SILENT),
        SdkError::DispatchFailure(failure) => undelivered(asked, error, failure.as_connector_error()),
        SdkError::ResponseError(_) => broken_answer(asked, error),
        SdkError::ServiceError(service) => Answer::of(service.raw(), service.err().code()).explain(asked),
        _ => asked.failed(asked.no_answer(), "an error that this version does not know"),
    }
}

/// Whether the error has a status but no code, as every answer to HEAD: another request must tell why.
pub(super) fn is_without_reason<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let SdkError::ServiceError(service) = error else { return false };
    let status = service.raw().status().as_u16();
    (300..500).contains(&status) && !matches!(status, 412 | 429)
}

fn unsendable(asked: &Asked, error: &(dyn Error + 'static)) -> StoreError {
    if asked.is_about_an_object() && find::<BuildError>(error).is_some() {
        return asked.failed(Kind::UnsupportedKey, "no request can be made for this key");
    }
    asked.failed(Kind::Configuration, "no request can be made with these settings")
}

fn undelivered(asked: &Asked, error: &(dyn Error + 'static), connector: Option<&ConnectorError>) -> StoreError {
    if let Some(credentials) = find::<CredentialsError>(error) {
        let (kind, detail) = no_credentials(credentials);
        return asked.failed(kind, detail);
    }
    if let Some(failed) = asked.undelivered(error) {
        return failed;
    }
    match connector {
        // The SDK gives no other limit to the connector than the one for connecting.
        Some(failure) if failure.is_timeout() => asked.failed(Kind::Unreachable, "no connection in time"),
        Some(failure) if failure.is_io() => asked.failed(asked.no_answer(), "the connection was lost"),
        Some(failure) if failure.is_user() => asked.failed(Kind::Configuration, "no request can be made"),
        Some(_) | None => asked.failed(asked.no_answer(), "the connection was lost"),
    }
}

/// Only which kind of failure: what a credential process or a metadata service said may hold secrets.
pub(super) fn no_credentials(error: &CredentialsError) -> (Kind, &'static str) {
    match error {
        error if texts(error).contains("was not defined") => (Kind::Configuration, "the profile is not defined"),
        CredentialsError::CredentialsNotLoaded(_) => (Kind::Auth, "no credentials found"),
        CredentialsError::ProviderTimedOut(_) => (Kind::Auth, "the credentials' provider gave no answer in time"),
        CredentialsError::InvalidConfiguration(_) => {
            (Kind::Configuration, "the profile or another setting of the credentials is not valid")
        }
        CredentialsError::ProviderError(_) => (Kind::Auth, "the credentials' provider failed"),
        _ => (Kind::Auth, "the credentials could not be loaded"),
    }
}

fn broken_answer(asked: &Asked, error: &(dyn Error + 'static)) -> StoreError {
    if find::<io::Error>(error).is_some() || find::<hyper::Error>(error).is_some() {
        return asked.failed(asked.no_answer(), "the answer ended early");
    }
    asked.failed(asked.no_sense(), "the answer cannot be read")
}

/// What of an answer tells its meaning.
struct Answer {
    status: u16,
    code: String,
    is_page: bool,
    region: Option<String>,
    retry_after: Option<Duration>,
}

impl Answer {
    fn of(raw: &HttpResponse, code: Option<&str>) -> Self {
        let header = |name: &str| raw.headers().get(name);
        let is_page = header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        Self {
            status: raw.status().as_u16(),
            code: code.and_then(word).unwrap_or_default(),
            is_page,
            region: header("x-amz-bucket-region").and_then(region).or_else(|| named_region(raw)),
            retry_after: header("retry-after").and_then(seconds),
        }
    }

    fn explain(self, asked: &Asked) -> StoreError {
        let kind = by_code(&self.code).unwrap_or_else(|| self.by_status(asked));
        let mut detail = self.status.to_string();
        if !self.code.is_empty() {
            detail.push(' ');
            detail.push_str(&self.code);
        } else if self.is_page {
            detail.push_str(" with a web page");
        }
        if let (Kind::RegionMismatch, Some(region)) = (kind, &self.region) {
            detail.push_str("; the bucket is in ");
            detail.push_str(region);
        }
        let region = self.region.filter(|_| kind == Kind::RegionMismatch).map(String::into_boxed_str);
        StoreError { retry_after: self.retry_after, region, ..asked.failed(kind, detail) }
    }

    fn by_status(&self, asked: &Asked) -> Kind {
        match self.status {
            412 | 409 => Kind::PreconditionFailed,
            429 => Kind::Throttled,
            503 if !asked.changes_something() => Kind::Throttled,
            408 | 500.. => asked.no_answer(),
            ..300 => asked.no_sense(),
            301 | 307 | 308 if self.region.is_some() || !self.is_page => Kind::RegionMismatch,
            300..400 => Kind::Malformed,
            // A proxy, a captive portal or a website endpoint, not the storage API.
            _ if self.is_page => Kind::Malformed,
            401 => Kind::Auth,
            403 => Kind::AccessDenied,
            404 if asked.is_about_an_object() => Kind::ObjectMissing,
            404 => Kind::BucketMissing,
            400 if self.region.is_some() => Kind::RegionMismatch,
            _ if asked.is_about_an_object() => Kind::UnsupportedKey,
            _ => Kind::Configuration,
        }
    }
}

/// A region's name, fit to become part of a host's name: small letters, digits and hyphens.
fn region(text: &str) -> Option<String> {
    word(text).filter(|word| word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')))
}

/// The region in an error's body, as `AuthorizationHeaderMalformed` has it.
fn named_region(raw: &HttpResponse) -> Option<String> {
    let body = std::str::from_utf8(raw.body().bytes()?).ok()?;
    let (_, rest) = body.split_once("<Region>")?;
    region(rest.split_once("</Region>")?.0)
}

fn by_code(code: &str) -> Option<Kind> {
    Some(match code {
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidSecurity"
        | "InvalidClientTokenId"
        | "MissingSecurityHeader"
        | "MissingAuthenticationToken"
        | "UnrecognizedClientException" => Kind::Auth,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" | "InvalidObjectState" => {
            Kind::AccessDenied
        }
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "IncorrectEndpoint" => Kind::RegionMismatch,
        "NoSuchBucket" | "InvalidBucketName" => Kind::BucketMissing,
        "NoSuchKey" | "NoSuchVersion" => Kind::ObjectMissing,
        "PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted" => Kind::PreconditionFailed,
        "RequestTimeTooSkewed" => Kind::ClockSkew,
        "SlowDown"
        | "ServiceUnavailable"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "BandwidthLimitExceeded" => Kind::Throttled,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody"
        | "XAmzContentChecksumMismatch" => Kind::Malformed,
        "RequestTimeout" => Kind::Unreachable,
        "EntityTooLarge" => Kind::TooLarge,
        "KeyTooLongError" | "InvalidURI" | "InvalidObjectName" | "XMinioInvalidObjectName" => Kind::UnsupportedKey,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
