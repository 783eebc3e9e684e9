//! The ids that Label Studio's own storages gave: taken over once, before any other is given.
//!
//! Promise: an id of Label Studio's maps stays with its key.
//! Not here: config.json and the way back (`init`, `handover`).

use super::error::CycleError;
use super::ledger::Ledger;
use super::near::SourceMap;
use super::shared::Shared;
use super::source::look::SourceSide;
use crate::events::{Happened, Level};
use crate::names::{Key, TaskId};

/// The ledger's note that the ids of Label Studio's own maps were taken over: `1`, or `released` when these have gone
/// on without labelsync.
pub const ADOPTED: &str = "adopted";

/// At the first start: the ids that Label Studio's own maps have given stay with their keys.
pub fn adopt(shared: &Shared, source: Option<&SourceSide>) -> Result<(), CycleError> {
    // While Label Studio serves the source itself, it still gives ids.
    if is_adopted(&shared.ledger)? || shared.near.own_storages()?.source {
        return Ok(());
    }
    // `init --adopt` has made the first a local storage's, and kept it as the second.
    let maps = [shared.near.source_map()?, shared.near.map_before()?];
    if let Some(side) = source {
        let root = format!("{}/", side.store.root());
        let object = |key: &Key| key.as_str().strip_prefix(root.as_str()).map(Key::new);
        let ours = maps.iter().flat_map(SourceMap::ids).filter_map(|(id, key)| Some((*id, object(key)?)));
        let ours: Vec<(TaskId, Key)> = ours.collect();
        let origin = shared.ledger.origin(side.store.root())?;
        let taken = shared.ledger.adopt_ids(origin, &ours, "json")?;
        if taken > 0 {
            let text = format!("= {taken} ids taken over from Label Studio's source.json");
            shared.tell(Happened::new(Level::Notice, "ids_adopted", text));
        }
    }
    if maps.contains(&SourceMap::Unreadable) {
        return Err(CycleError::Blocked {
            code: "source_json_unreadable",
            message:
                "source.json ends in the middle or is damaged: the ids that Label Studio gave cannot be taken over"
                    .to_owned(),
            hint: "open a page of Label Studio, which writes it anew, or restore it; labelsync looks again".to_owned(),
        });
    }
    Ok(shared.ledger.set_meta(ADOPTED, "1")?)
}

/// Whether the ids of Label Studio's own maps were taken over.
pub fn is_adopted(ledger: &Ledger) -> Result<bool, CycleError> {
    Ok(ledger.meta(ADOPTED)?.is_some_and(|adopted| adopted == "1"))
}

/// No id is given before that.
pub fn not_adopted() -> CycleError {
    CycleError::Blocked {
        code: "ids_not_adopted",
        message: "the ids that Label Studio's own storages gave are about to be taken over".to_owned(),
        hint: "nothing: the project is opened again within seconds".to_owned(),
    }
}
