//! Why a cycle came to nothing.

use super::ledger::{LedgerError, sqlite_errno};
use super::near::NearError;
use crate::control::api::Reason;
use crate::meters::{Meters, errno};
use crate::names::ProjectName;
use crate::store::StoreError;
use crate::store::listing::ListingError;

/// Why a cycle, or a part of it, came to nothing. What was done before stays done.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its listing.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The project.
    #[error(transparent)]
    Near(#[from] NearError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A working file in the state directory.
    #[error("a working file in the state directory failed")]
    Work(#[from] std::io::Error),
    /// Something that the operator must set or mend first.
    #[error("{message}")]
    Blocked {
        /// Stable code.
        code: &'static str,
        /// Situation, thing, cause.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl CycleError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) | Self::Listing(ListingError::Store(error)) => error.kind.code(),
            Self::Listing(ListingError::OutOfOrder { .. }) => "out_of_order",
            Self::Listing(ListingError::Sort { .. }) | Self::Work(_) => "state_dir_error",
            Self::Listing(ListingError::GivenUp) => "given_up",
            Self::Near(error) => error.code(),
            Self::Ledger(error) => error.code(),
            Self::Blocked { code, .. } => code,
        }
    }

    /// The system's error that kept the state directory from being written, by its name; `None`: it was something else.
    pub fn state_errno(&self) -> Option<&'static str> {
        match self {
            Self::Ledger(error) => error.errno(),
            Self::Work(error) => errno(error),
            Self::Listing(ListingError::Sort { source, .. }) => match source.downcast_ref() {
                Some(error) => sqlite_errno(error),
                None => source.downcast_ref().and_then(errno),
            },
            Self::Store(_) | Self::Listing(_) | Self::Near(_) | Self::Blocked { .. } => None,
        }
    }

    /// Counts it where the state could not be written.
    pub fn count(&self, meters: &Meters) {
        if let Some(errno) = self.state_errno() {
            meters.state_write_error(errno);
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) | Self::Listing(ListingError::Store(error)) => error.remedy(),
            Self::Listing(ListingError::OutOfOrder { .. } | ListingError::GivenUp) => {
                "nothing: labelsync looks again".to_owned()
            }
            Self::Listing(ListingError::Sort { .. }) | Self::Work(_) => {
                "check the free space and permissions of the state directory".to_owned()
            }
            Self::Near(error) => error.remedy(),
            Self::Ledger(error) => error.remedy().to_owned(),
            Self::Blocked { hint, .. } => hint.clone(),
        }
    }

    /// Whether the project must stop until a person acts.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.code(),
            "ledger_damaged"
                | "ledger_missing"
                | "ledger_replaced"
                | "ledger_newer"
                | "invariant_broken"
                | "marker_missing"
        )
    }

    /// The same with the project's name in the command: there may be several.
    pub fn reason_in(&self, project: &ProjectName) -> Reason {
        let reason = self.reason();
        // A ledger knows its project's UUID, not its name.
        Reason { hint: reason.hint.replace("`lsctl repair`", &format!("`lsctl repair {project}`")), ..reason }
    }

    /// For status, log and API: the situation with its causes.
    pub fn reason(&self) -> Reason {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Reason {
            code: self.code().to_owned(),
            message: crate::names::printable(&message).into_owned(),
            hint: self.hint(),
        }
    }
}

/// Runs blocking work beside the loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CycleError> + Send + 'static,
) -> Result<T, CycleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(CycleError::Work(std::io::Error::other(stopped))),
    }
}
