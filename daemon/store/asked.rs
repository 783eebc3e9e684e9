//! What was asked of a bucket, and what every provider's errors have in common.
//!
//! Promise: what is made here holds no text of an answer, no address and no secret, only short words.
//! Not here: what a provider's codes mean.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::{StoreError, StoreErrorKind as Kind};

/// Longest wait that a server's `Retry-After` is believed: an hour; more is taken for a mistake.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Longest error code or region name that is shown: AWS's longest have under 50 characters.
const MAX_WORD_CHARS: usize = 64;

/// Says of a request that the server kept silent: trying again at once would only double the wait.
pub const SILENT: &str = "no answer in time";

/// What was asked of the store.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `list`, `read`, `look up`, `write`, `delete`.
    pub operation: &'static str,
    /// What it was about.
    pub url: String,
}

impl Asked {
    /// An error of this request.
    pub fn failed(&self, kind: Kind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.operation, self.url.clone(), detail)
    }

    /// Whether the request is a write or a delete.
    pub fn changes_something(&self) -> bool {
        matches!(self.operation, "write" | "delete")
    }

    /// Whether the request names one object.
    pub fn is_about_an_object(&self) -> bool {
        self.operation != "list"
    }

    /// No usable answer came: a read can be repeated, a write may have happened.
    pub fn no_answer(&self) -> Kind {
        if self.changes_something() { Kind::OutcomeUnknown } else { Kind::Unreachable }
    }

    /// The answer makes no sense: a write may have happened all the same.
    pub fn no_sense(&self) -> Kind {
        if self.changes_something() { Kind::OutcomeUnknown } else { Kind::Malformed }
    }

    /// A request that could not be delivered, where the error says why; `None` where it does not.
    pub fn undelivered(&self, error: &(dyn Error + 'static)) -> Option<StoreError> {
        let texts = texts(error);
        if texts.contains("certificate") {
            return Some(self.failed(Kind::Unreachable, "the server's TLS certificate is not trusted"));
        }
        if texts.contains("dns error") || texts.contains("failed to lookup address") {
            return Some(self.failed(Kind::Unreachable, "the endpoint's name cannot be resolved"));
        }
        let cause = find::<io::Error>(error)?;
        let kind = if was_not_sent(cause.kind()) { Kind::Unreachable } else { self.no_answer() };
        Some(self.failed(kind, cause.kind().to_string()))
    }
}

/// Failures of connecting: not a byte of the request left.
fn was_not_sent(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
    )
}

/// A short word of the server that may be shown: letters, digits, `.`, `_` and `-`.
pub fn word(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= MAX_WORD_CHARS
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| text.to_owned())
}

/// `Retry-After` in seconds; a date is not read, no storage sends one.
pub fn seconds(text: &str) -> Option<Duration> {
    let wait = text.trim().parse().ok().map(Duration::from_secs)?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The error and its causes. An `io::Error` around another error names that one's cause as its own, so it is
/// opened instead.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The first error of this type in the chain of causes.
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// All texts of the chain of causes, in small letters; to look into, never to show.
pub fn texts(error: &(dyn Error + 'static)) -> String {
    chain(error).map(|error| error.to_string().to_ascii_lowercase() + "\n").collect()
}
