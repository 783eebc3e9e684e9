//! What every route shares: who asks, what is asked, and how a refusal looks.
//!
//! Promise: whatever is wrong with a request, the answer is `{"error": {code, message, hint}}` with a fitting status.
//! Not here: what a route does.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::api::{ErrorBody, Refusal};
use crate::names::{ProjectName, printable};

/// The largest body of a request: thousands of keys, or any setting. More has no use.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// A client on the same machine sends a request in one piece; who needs longer is stuck or hostile.
pub const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Text of others in our messages is cut here, so that an error stays readable.
const QUOTE_MAX_CHARS: usize = 200;

/// Followers of events keep their connection for ever; this many leave enough connections for everybody else.
pub const EVENT_STREAMS_MAX: usize = 64;

/// What all requests share.
pub struct Shared {
    /// What is asked.
    pub(super) control: Arc<dyn Control>,
    /// Places for followers of events.
    pub(super) event_streams: Arc<Semaphore>,
    /// Ends them.
    pub(super) stop: CancellationToken,
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (http_status(&self.0.code), Json(ErrorBody { error: self.0 })).into_response()
    }
}

/// The HTTP status of a refusal's stable code; codes without a status of their own are failures.
pub fn http_status(code: &str) -> StatusCode {
    match code {
        "invalid" | "project_needed" => StatusCode::BAD_REQUEST,
        "not_root" => StatusCode::FORBIDDEN,
        "no_such_project" | "no_such_route" | "no_such_item" => StatusCode::NOT_FOUND,
        "no_such_method" => StatusCode::METHOD_NOT_ALLOWED,
        "too_slow" => StatusCode::REQUEST_TIMEOUT,
        "held" | "nothing_held" | "invalid_settings" | "busy" | "paused" | "no_source" | "no_target" => {
            StatusCode::CONFLICT
        }
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "too_many" | "stopping" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The project of the path; `-` is the only one.
pub struct Meant(pub ProjectName);

impl FromRequestParts<Arc<Shared>> for Meant {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refused> {
        let Ok(Path(name)) = Path::<String>::from_request_parts(parts, shared).await else {
            return Err(no_such_route());
        };
        Ok(Self(shared.control.project(named(&name))?))
    }
}

/// `-` names no project, so that it can stand for "the only one".
pub fn named(name: &str) -> Option<&str> {
    (name != "-").then_some(name)
}

/// The query; unknown parameters are refused, so that a misspelt `dry_run` changes nothing.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refused> {
        match Query::<T>::from_request_parts(parts, shared).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(invalid("query", &rejection.body_text(), "README.md names the parameters")),
        }
    }
}

/// The body as JSON, whatever its content type; an empty one is `{}`.
pub struct Said<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Said<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Arc<Shared>) -> Result<Self, Refused> {
        let bytes = read(request.into_body()).await?;
        let json = match bytes.trim_ascii() {
            b"" => b"{}",
            json => json,
        };
        if json.first() != Some(&b'{') {
            // serde would take a list for a structure, each value by its place.
            return Err(invalid("body", "it is no JSON object", "send an object, such as {\"prefix\": \"in/\"}"));
        }
        serde_json::from_slice(json).map(Self).map_err(|error| {
            let hint = "what can be set is what `lsctl set-source --help` and `set-target --help` name; bucket, type, \
                        endpoint, credentials and paths are set in the settings file, by root";
            invalid("body", &error.to_string(), hint)
        })
    }
}

async fn read(body: Body) -> Result<Vec<u8>, Refused> {
    let collected = timeout(REQUEST_TIME, Limited::new(body, BODY_MAX_BYTES).collect()).await;
    let Ok(collected) = collected else {
        let message = format!("the request's body did not arrive within {} s", REQUEST_TIME.as_secs());
        return Err(Refusal::new("too_slow", message, "send the request in one piece").into());
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the request's body is larger than {BODY_MAX_BYTES} bytes");
            Err(Refusal::new("too_large", message, "name fewer keys at once").into())
        }
        Err(error) => Err(invalid("body", &error.to_string(), "send the whole body")),
    }
}

fn invalid(part: &str, cause: &str, hint: &str) -> Refused {
    let cause: String = printable(cause).chars().take(QUOTE_MAX_CHARS).collect();
    Refusal::new("invalid", format!("the request's {part} is not understood: {cause}"), hint).into()
}

/// For every path that is no route.
pub fn no_such_route() -> Refused {
    let hint = "the routes stand in README.md; begin with GET /v1/status";
    Refusal::new("no_such_route", "the daemon has no such route", hint).into()
}

/// For every method that a route does not have.
pub fn no_such_method() -> Refused {
    let hint = "see the `Allow` header for what it has";
    Refusal::new("no_such_method", "the route does not have this method", hint).into()
}

/// For a task of ours that panicked.
pub fn broken() -> Refused {
    let hint = "read `journalctl -u labelsyncd`, and report it as a defect";
    Refusal::new("failed", "labelsyncd met a defect of its own while it answered", hint).into()
}
