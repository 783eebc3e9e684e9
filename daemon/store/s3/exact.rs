//! Keys of nothing but white space, which the SDK takes for no key at all.
//!
//! Promise: every key goes out as it is.
//! Not here: any other key: the SDK sends those exactly.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::names::Key;

/// What stands in a request for a blank key until the request is signed.
const STAND_IN: &str = "blank";

/// Puts a blank key into its request, before the request is signed; leaves other requests alone.
#[derive(Clone, Debug)]
pub(super) struct ExactKey(Key);

impl ExactKey {
    /// For requests about this key.
    pub fn of(key: &Key) -> Self {
        Self(key.clone())
    }

    /// What to give to the SDK.
    pub fn name(&self) -> &str {
        if self.is_blank() { STAND_IN } else { self.0.as_str() }
    }

    fn is_blank(&self) -> bool {
        let key = self.0.as_str();
        // The empty key stays empty: it is none, and the SDK says so.
        !key.is_empty() && key.trim().is_empty()
    }
}

impl Intercept for ExactKey {
    fn name(&self) -> &'static str {
        "ExactKey"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !self.is_blank() {
            return Ok(());
        }
        let request = context.request_mut();
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
