//! Whose the bucket must be: sent with every request, so that a bucket of the same name in another account is refused.
//!
//! Promise: nothing is read from a bucket that changed hands, and nothing is written to it (promise 7).
//! Not here: what the refusal means (`error`).

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::super::{StoreError, StoreErrorKind as Kind};

/// S3 answers 403 where the bucket's account is another one; the SDK has it as a field of each operation.
const HEADER: &str = "x-amz-expected-bucket-owner";

/// The account, twelve digits.
#[derive(Clone, Debug)]
pub(super) struct ExpectedOwner(pub String);

/// S3 does not say why it denies: both possible reasons are named.
pub(super) fn explain(expected: Option<&str>, error: StoreError) -> StoreError {
    let Some(owner) = expected.filter(|_| error.kind == Kind::AccessDenied) else { return error };
    let detail = format!("{}; or the bucket is not account {owner}'s (`expected_bucket_owner`)", error.detail);
    StoreError { detail, ..error }
}

impl Intercept for ExpectedOwner {
    fn name(&self) -> &'static str {
        "ExpectedOwner"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert(HEADER, self.0.clone());
        Ok(())
    }
}
