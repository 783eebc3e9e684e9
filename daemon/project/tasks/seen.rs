//! Which of our tasks Label Studio has had in its memory, learnt from the map that it writes at every listing.
//!
//! Promise: an id that Label Studio is just giving to an import is not taken for ours, seen: it stands in the map
//! before it stands in `tasks.json`.
//! Not here: what follows from it (`sync::near`).

use std::time::Instant;

use crate::names::TaskId;
use crate::project::error::CycleError;
use crate::project::files::Fingerprint;
use crate::project::near::SourceMap;
use crate::project::shared::Shared;

/// What the map said.
#[derive(Debug, Default)]
pub struct Seen {
    source_print: Option<Fingerprint>,
    /// Ids, ascending, that stood in the map while `tasks.json` held ours, and since when that is known.
    listed: Option<(Vec<TaskId>, Instant)>,
    /// There was no map when it was last looked at.
    no_map: bool,
    /// When the file of the map was made, as the ledger knows.
    born_ns: Option<i64>,
}

/// The ledger's note of when the map's file was made, nanoseconds since 1970.
const MAP_BORN: &str = "map_born_ns";

impl Seen {
    /// When to look again.
    pub fn wake_at(&self, shared: &Shared) -> Option<Instant> {
        self.listed.as_ref().map(|(_, since)| *since + shared.pace.displaced)
    }

    /// `tasks.json` is as we wrote it. Tasks that the map names are seen when it still is so after as long as Label
    /// Studio may take from its map to its `tasks.json`; not `certain`: somebody may still write into the displaced one.
    pub fn look(&mut self, shared: &Shared, certain: bool) -> Result<(), CycleError> {
        if self.listed.is_none() {
            self.listed = self.listed_now(shared)?.map(|ids| (ids, Instant::now()));
        }
        if let Some((ids, since)) = &self.listed
            && certain
            && since.elapsed() >= shared.pace.displaced
        {
            tracing::debug!(?ids, "in Label Studio's memory");
            shared.ledger.mark_seen(ids)?;
            self.listed = None;
        }
        Ok(())
    }

    /// Whether the map has named an id that is in neither file now: not an import then, which would stand there.
    pub fn has_listed(&self, id: TaskId) -> bool {
        self.listed.as_ref().is_some_and(|(ids, _)| ids.binary_search(&id).is_ok())
    }

    /// Label Studio wrote `tasks.json`: what the map says is learnt anew.
    pub fn forget(&mut self) {
        *self = Self { no_map: self.no_map, born_ns: self.born_ns, ..Self::default() };
    }

    /// Where the map has gone, what Label Studio had listed says nothing of the one that makes it anew. Label Studio
    /// writes it in place: another file is one that was made anew, also while nobody looked.
    pub fn look_for_map(&mut self, shared: &Shared) -> Result<(), CycleError> {
        let no_map = shared.near.source_print()?.is_none();
        let born_ns = shared.near.map_born_ns()?;
        if self.born_ns.is_none() {
            self.born_ns = shared.ledger.meta(MAP_BORN)?.and_then(|born| born.parse().ok());
        }
        let is_other = born_ns.is_some() && self.born_ns.is_some_and(|known| Some(known) != born_ns);
        if shared.map_eye.take_gone() || is_other || (no_map && !self.no_map) {
            shared.ledger.forget_seen()?;
        }
        self.no_map = no_map;
        if let Some(born) = born_ns.filter(|born| Some(*born) != self.born_ns) {
            shared.ledger.set_meta(MAP_BORN, &born.to_string())?;
            self.born_ns = born_ns;
        }
        Ok(())
    }

    fn listed_now(&mut self, shared: &Shared) -> Result<Option<Vec<TaskId>>, CycleError> {
        let print = shared.near.source_print()?;
        if print == self.source_print {
            return Ok(None);
        }
        let mut unseen = shared.ledger.unseen_ids()?;
        let newer = match (print, shared.near.tasks_print()?) {
            (Some(map), Some(tasks)) => map.mtime_ns > tasks.ctime_ns,
            _ => false,
        };
        if newer && !unseen.is_empty() {
            // A torn one is being written: the end of that is a reason to look again.
            let SourceMap::Ids(ids) = shared.near.source_map()? else { return Ok(None) };
            unseen.retain(|id| ids.binary_search_by_key(id, |(id, _)| *id).is_ok());
        } else {
            unseen.clear();
        }
        self.source_print = print;
        if unseen.is_empty() {
            return Ok(None);
        }
        tracing::debug!(ids = ?unseen, "named by Label Studio's map");
        Ok(Some(unseen))
    }
}
