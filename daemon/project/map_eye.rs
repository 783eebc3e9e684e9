//! Every version of Label Studio's `source.json`, read at its event: which ids have left it, if only for a moment.
//!
//! Promise: an id that is said to have left stood in one whole version and not in a later one, which only a user's
//! delete does. What was not caught in time stays in doubt, and comes back (contract C8).
//! Not here: events (`watch`); what follows from it (`sync::near`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::files::Fingerprint;
use super::near::Near;
use crate::names::TaskId;

/// A larger map is not read at each of its events: with 200,000 tasks that takes as long as Label Studio's own page.
const READ_MAX_BYTES: u64 = 16 << 20;

/// Label Studio writes `tasks.json` right after the map, 100,000 tasks within two seconds. What left the map and still
/// stands in `tasks.json` later was not deleted: Label Studio died in between, or its other thread undid it.
const BELIEVED_FOR: Duration = Duration::from_secs(10);

/// What was seen of the map so far.
#[derive(Debug, Default)]
pub struct MapEye {
    /// Held by one look, or to copy what it found; never across a wait.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What the last whole version named, ascending.
    named: Option<Vec<TaskId>>,
    left: BTreeMap<TaskId, Left>,
    /// When the file of that version was made.
    born_ns: Option<i64>,
    /// There was no map at some moment since this was asked for.
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    at: Instant,
    /// When the version without it was written, nanoseconds since 1970.
    map_mtime_ns: i64,
}

impl Seen {
    /// A whole version. One that names again what had left was written late, by another thread: what it does not name
    /// may be newer than it.
    fn version(&mut self, named: Vec<TaskId>, left: Left) {
        let before = self.named.take().unwrap_or_default();
        let lacks = |ids: &[TaskId], id: &TaskId| ids.binary_search(id).is_err();
        let is_late = self.left.keys().any(|id| lacks(&before, id) && !lacks(&named, id));
        for id in before.into_iter().filter(|id| !is_late && lacks(&named, id)) {
            tracing::debug!(%id, "left Label Studio's map");
            self.left.insert(id, left);
        }
        self.named = Some(named);
    }
}

impl MapEye {
    /// The map was written. A version that is being written over is left out: the next one has its event too.
    pub fn look(&self, near: &dyn Near) {
        // Called for every event: errors are told by the cycle, which looks as well.
        let print = match near.source_print() {
            Ok(Some(print)) if print.size_bytes <= READ_MAX_BYTES => print,
            Ok(None) => {
                tracing::debug!("Label Studio's map is gone");
                return *self.lock() = Seen { gone: true, ..Seen::default() };
            }
            Ok(Some(_)) | Err(_) => return,
        };
        let mut seen = self.lock();
        let born = near.map_born_ns();
        let Some(named) = near.source_map().ok().and_then(|map| map.named()) else { return };
        // Another file by now: it has its event too.
        let (Ok(born_ns), Ok(after)) = (born, near.map_born_ns()) else { return };
        if born_ns != after {
            return;
        }
        // Removed and made anew before anybody looked: what the new one does not name was not deleted.
        if seen.named.is_some() && born_ns != seen.born_ns {
            tracing::debug!("Label Studio's map is another file");
            *seen = Seen { gone: true, ..Seen::default() };
        }
        seen.born_ns = born_ns;
        seen.version(named, Left { at: Instant::now(), map_mtime_ns: print.mtime_ns });
    }

    /// Whether there was no map at some moment since the last call.
    pub fn take_gone(&self) -> bool {
        std::mem::take(&mut self.lock().gone)
    }

    /// Ids that left the map a moment ago, ascending, though it may name them again.
    pub fn left(&self) -> Vec<TaskId> {
        let mut seen = self.lock();
        seen.left.retain(|_, left| left.at.elapsed() < BELIEVED_FOR);
        seen.left.keys().copied().collect()
    }

    /// Label Studio has written a `tasks.json` with these: what left the map before that was not deleted, or is another
    /// task now.
    pub fn stand(&self, in_file: &[TaskId], tasks: &Fingerprint) {
        let is_there = |id: &TaskId| in_file.binary_search(id).is_ok();
        self.lock().left.retain(|id, left| !(is_there(id) && tasks.mtime_ns > left.map_mtime_ns));
    }

    /// A panic within a look leaves at worst one version out.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_after(versions: &[&[u64]]) -> Vec<u64> {
        let mut seen = Seen::default();
        for ids in versions {
            let named = ids.iter().map(|id| TaskId::new(*id).unwrap()).collect();
            seen.version(named, Left { at: Instant::now(), map_mtime_ns: 0 });
        }
        seen.left.keys().map(|id| id.get()).collect()
    }

    #[test]
    fn c08_what_left_the_map_for_a_moment_was_deleted() {
        assert_eq!(left_after(&[&[0, 1, 2], &[0, 2]]), [1]);
        assert_eq!(left_after(&[&[0, 1, 2], &[0, 2], &[0, 1, 2]]), [1]);
        assert_eq!(left_after(&[&[0, 1, 2], &[]]), [0, 1, 2]);
        assert_eq!(left_after(&[&[0], &[0, 1]]), [0; 0]);
    }

    #[test]
    fn c08_a_version_that_was_written_late_deletes_nothing() {
        // 10 is deleted and 12 comes; then a thread writes the map of before: as long, and whole JSON.
        assert_eq!(left_after(&[&[10, 11], &[11, 12], &[10, 11]]), [10]);
        // The next one deletes again.
        assert_eq!(left_after(&[&[10, 11], &[11, 12], &[10, 11], &[11, 12], &[12]]), [10, 11]);
    }
}
