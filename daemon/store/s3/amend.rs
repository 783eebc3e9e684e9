//! What is changed in the SDK's requests before they are signed.
//!
//! Promise: keys of nothing but white space, which the SDK takes for none, go out as they are; whose the bucket must
//! be is sent with every request, so that nothing is read from one that changed hands, and nothing written (promise 7).
//! Not here: what a refusal means (`error`).

use std::fmt::Debug;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::{StoreError, StoreErrorKind as Kind};
use crate::names::Key;

/// What stands in a request for a blank key until the request is signed.
const STAND_IN: &str = "blank";

/// S3 answers 403 where the bucket's account is another one; the SDK has it as a field of each operation.
pub(super) const OWNER_HEADER: &str = "x-amz-expected-bucket-owner";

/// A change of a request.
pub(super) trait Amend: Debug + Send + Sync + 'static {
    /// Makes it.
    fn amend(&self, request: &mut HttpRequest) -> Result<(), BoxError>;
}

/// A change, as the SDK takes it.
#[derive(Clone, Debug)]
pub(super) struct Amended<A>(pub A);

impl<A: Amend> Intercept for Amended<A> {
    fn name(&self) -> &'static str {
        "Amended"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.amend(context.request_mut())
    }
}

/// The key of a request: puts it in where it is blank; leaves other requests alone, as the SDK sends those exactly.
#[derive(Clone, Debug)]
pub(super) struct ExactKey(Key);

impl ExactKey {
    /// For requests about this key.
    pub fn of(key: &Key) -> Amended<Self> {
        Amended(Self(key.clone()))
    }

    fn is_blank(&self) -> bool {
        let key = self.0.as_str();
        // The empty key stays empty: it is none, and the SDK says so.
        !key.is_empty() && key.trim().is_empty()
    }
}

impl Amended<ExactKey> {
    /// What to give to the SDK.
    pub fn key(&self) -> &str {
        if self.0.is_blank() { STAND_IN } else { self.0.0.as_str() }
    }
}

impl Amend for ExactKey {
    fn amend(&self, request: &mut HttpRequest) -> Result<(), BoxError> {
        if !self.is_blank() {
            return Ok(());
        }
        let (path, query) = request.uri().split_once('?').unwrap_or((request.uri(), ""));
        let Some(bucket) = path.strip_suffix(STAND_IN) else {
            return Err("the request does not end with its key".into());
        };
        let key = utf8_percent_encode(self.0.as_str(), NON_ALPHANUMERIC);
        let mark = if query.is_empty() { "" } else { "?" };
        let exact = format!("{bucket}{key}{mark}{query}");
        request.set_uri(exact)?;
        Ok(())
    }
}

/// Whose the bucket must be: an account, twelve digits.
#[derive(Clone, Debug)]
pub(super) struct ExpectedOwner(pub String);

impl Amend for ExpectedOwner {
    fn amend(&self, request: &mut HttpRequest) -> Result<(), BoxError> {
        request.headers_mut().insert(OWNER_HEADER, self.0.clone());
        Ok(())
    }
}

/// S3 does not say why it denies: both possible reasons are named.
pub(super) fn explain_owner(expected: Option<&str>, error: StoreError) -> StoreError {
    let Some(owner) = expected.filter(|_| error.kind == Kind::AccessDenied) else { return error };
    let detail = format!("{}; or the bucket is not account {owner}'s (`expected_bucket_owner`)", error.detail);
    StoreError { detail, ..error }
}
