//! What both directions of a project share.

use std::path::PathBuf;
use std::sync::Arc;

use super::board::Board;
use super::error::CycleError;
use super::ledger::{HoldRow, Ledger};
use super::map_eye::MapEye;
use super::near::Near;
use crate::clock::{Clock, UnixMillis};
use crate::events::{EventLog, Happened, Level};
use crate::names::ProjectName;
use crate::sync::pace::Pace;

/// What both directions of a project share.
#[derive(Clone)]
pub struct Shared {
    /// Its name.
    pub name: ProjectName,
    /// Its Label Studio.
    pub near: Arc<dyn Near>,
    /// What has left its Label Studio's map.
    pub map_eye: Arc<MapEye>,
    /// Its ledger.
    pub ledger: Arc<Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it is doing.
    pub board: Arc<Board>,
    /// What happened.
    pub events: Arc<EventLog>,
    /// How long things are waited for.
    pub pace: Pace,
    /// In the state directory, this project's: working files, and what lost a dispute.
    pub work_dir: PathBuf,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shared {
    /// It happened.
    pub fn tell(&self, happened: Happened) {
        self.events.tell(Some(&self.name), happened);
    }

    /// Something in this bucket is held until `lsctl accept`.
    pub fn tell_held(&self, hold: &HoldRow, root: &str) {
        let HoldRow { id, message, consequence, code, .. } = hold;
        let text = format!("held: {message}; `lsctl accept {} {id}` would {consequence}", self.name);
        self.tell(Happened::new(Level::Error, "held", text).error(code).bucket(Some(root)));
    }

    /// A cycle or an opening came to nothing: where the state could not be written, that is counted.
    pub fn count_failure(&self, error: &CycleError) {
        error.count(self.events.meters());
    }

    /// Now.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }
}
