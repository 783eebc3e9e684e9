//! What of the source waits for the operator: too much is gone, or is another, at once.
//!
//! Promise: what is held is held under an id that names exactly what was seen; of several, each is released by its own.
//! Not here: what is too much (`sync::holds`).

use crate::project::error::{CycleError, blocking};
use crate::project::ledger::HoldRow;
use crate::project::shared::Shared;
use crate::project::source::look::SourceSide;
use crate::settings::OnRemoved;
use crate::sync::holds::{MassChange, Vanish};
use crate::sync::source::Sealed;

/// Codes of what can be held on this road.
const HOLD_CODES: [&str; 3] = ["source_empty", "mass_removal", "mass_change"];

/// What this sight would be held as.
pub(super) fn rows(sealed: &Sealed, side: &SourceSide, shared: &Shared) -> Vec<HoldRow> {
    let since = shared.now();
    let row = |id: &str, (code, message, consequence): (&str, String, &str)| HoldRow {
        id: id.to_owned(),
        code: code.to_owned(),
        message,
        consequence: consequence.to_owned(),
        since,
        accepted: false,
    };
    let vanished = sealed.vanish.iter().map(|vanish| row(&vanish.id, vanished(vanish, side)));
    vanished.chain(sealed.change.iter().map(|change| row(&change.id, changed(change, side)))).collect()
}

/// Whether this sight is held: recorded with its ids until the operator releases exactly them.
pub(super) async fn is_held(rows: Vec<HoldRow>, side: &SourceSide, shared: &Shared) -> Result<bool, CycleError> {
    let ledger = shared.ledger.clone();
    let waiting = blocking(move || {
        let before = ledger.holds()?;
        for code in HOLD_CODES {
            ledger.hold(code, rows.iter().find(|row| row.code == code))?;
        }
        let known = |row: &HoldRow| before.iter().find(|hold| hold.id == row.id).map(|hold| hold.accepted);
        Ok(rows.into_iter().map(|row| (known(&row), row)).filter(|(accepted, _)| *accepted != Some(true)).collect())
    });
    let waiting: Vec<(Option<bool>, HoldRow)> = waiting.await?;
    for (_, new) in waiting.iter().filter(|(known, _)| known.is_none()) {
        shared.tell_held(new, side.store.root());
    }
    Ok(!waiting.is_empty())
}

fn vanished(vanish: &Vanish, side: &SourceSide) -> (&'static str, String, &'static str) {
    let root = side.store.root();
    let consequence = match side.settings.on_removed {
        OnRemoved::Keep => "record them as gone; their tasks stay",
        OnRemoved::Hide => "take their tasks out of tasks.json; ids and completions stay",
    };
    if vanish.empty {
        return ("source_empty", format!("{root} lists nothing now (was {})", vanish.known), consequence);
    }
    let message = format!("{} of {} known objects of {root} are gone at once", vanish.vanished, vanish.known);
    ("mass_removal", message, consequence)
}

fn changed(change: &MassChange, side: &SourceSide) -> (&'static str, String, &'static str) {
    let root = side.store.root();
    let message = format!(
        "{} of {} known objects of {root} have other contents at once: the bucket may be another one with the same keys",
        change.changed, change.known
    );
    ("mass_change", message, "take them as new versions of the same objects; ids and completions stay")
}
