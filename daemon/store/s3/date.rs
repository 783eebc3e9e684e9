//! The time that the server tells with each answer.
//!
//! Promise: changes nothing of an answer.
//! Not here: what a skew means (`remedy`).

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::super::skew::Skew;

/// Reads the `Date` of answers, refusals too.
#[derive(Clone, Debug)]
pub(super) struct DateSeen(pub Arc<Skew>);

impl Intercept for DateSeen {
    fn name(&self) -> &'static str {
        "DateSeen"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.saw(context.response().headers().get("date"));
        Ok(())
    }
}
