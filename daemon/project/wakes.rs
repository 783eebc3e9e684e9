//! Wakes: look again. They carry no order, only hints that narrow what is looked at.
//!
//! Promise: a wake that comes while a cycle runs is not lost: the next cycle follows at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::names::TaskId;

/// Hinted completions remembered between two cycles; more are a reason to look at all of them.
const HINTED_MAX: usize = 10_000;

/// The wakes of one project.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Held to set or take a field, never across a wait.
    pending: Mutex<Pending>,
    source: Notify,
    target: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    source: Option<SourceWake>,
    target: Option<TargetWake>,
}

/// What the source direction is to look at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SourceWake {
    /// `tasks.json`.
    Near,
    /// The bucket too.
    Far,
}

/// What the target direction is to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetWake {
    /// These files.
    Some(BTreeSet<TaskId>),
    /// Every file.
    Local,
    /// The target too.
    Full,
}

impl Wakes {
    /// Look at the source side again.
    pub fn wake_source(&self, wake: SourceWake) {
        let mut pending = self.lock();
        pending.source = pending.source.max(Some(wake));
        drop(pending);
        self.source.notify_one();
    }

    /// Look at the completions again.
    pub fn wake_target(&self, wake: TargetWake) {
        let mut pending = self.lock();
        pending.target = Some(match (pending.target.take(), wake) {
            (Some(TargetWake::Full), _) | (_, TargetWake::Full) => TargetWake::Full,
            (Some(TargetWake::Local), _) | (_, TargetWake::Local) => TargetWake::Local,
            (Some(TargetWake::Some(mut ids)), TargetWake::Some(more)) => {
                ids.extend(more);
                if ids.len() > HINTED_MAX { TargetWake::Local } else { TargetWake::Some(ids) }
            }
            (None, wake) => wake,
        });
        drop(pending);
        self.target.notify_one();
    }

    /// Both, far and full.
    pub fn wake_all(&self) {
        self.wake_source(SourceWake::Far);
        self.wake_target(TargetWake::Full);
    }

    /// Waits for a source wake and takes it.
    pub async fn source(&self) -> SourceWake {
        loop {
            if let Some(wake) = self.lock().source.take() {
                return wake;
            }
            self.source.notified().await;
        }
    }

    /// Waits for a target wake and takes it.
    pub async fn target(&self) -> TargetWake {
        loop {
            if let Some(wake) = self.lock().target.take() {
                return wake;
            }
            self.target.notified().await;
        }
    }

    /// A panic while a field was set leaves at worst one wake out; the periodic look follows.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
