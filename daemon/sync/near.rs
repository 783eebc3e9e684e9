//! Decides what `tasks.json`, as Label Studio left it, means (contract C7 to C9).
//!
//! Promise: no id ever stands for two things; a task that nobody deleted is written again; a user's delete is kept.
//! Where a delete and a clobber cannot be told apart, the task comes back: that is the safe side.
//! Not here: reading files; what the bucket holds (`source`).

use super::action::NearAction;
use crate::names::{Sha256, TaskId};

/// What the index knows of one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownTask {
    /// Whose it is, and what should be.
    pub state: TaskState,
    /// Hash of the data that should stand there.
    pub data_hash: Sha256,
    /// Hashes of data that stood there before; until an import is `settled`, also of what it replaces.
    pub older: Vec<Sha256>,
    /// Label Studio has had this task in its memory.
    pub seen: bool,
    /// `tasks.json` was seen with the present data (false: a change is reserved, not yet receipted).
    pub settled: bool,
}

/// Whose an id is, and whether it should stand in `tasks.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// Ours, to be shown.
    Live,
    /// Ours, not to be shown.
    Hidden,
    /// Ours; the user deleted it.
    Retired,
    /// Label Studio's own, there.
    Foreign,
    /// Label Studio's own, deleted; or ours that moved away: the id stays taken.
    Spent,
}

/// What Label Studio's `source.json` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// The id is in it: Label Studio holds it in its memory.
    Has,
    /// The file is there and does not name the id.
    Lacks,
    /// It names the id again, after a version that did not: the user deleted it, and another thread of Label Studio had
    /// listed the file of before.
    Left,
    /// No such file: never started, or re-initialised.
    Missing,
    /// Torn; Label Studio is writing it.
    Unreadable,
}

/// Decides one id. `file`: hash of the data that stand in `tasks.json` under it, if any.
pub fn decide(id: TaskId, file: Option<Sha256>, known: Option<&KnownTask>, listing: Listing) -> Option<NearAction> {
    let Some(known) = known else { return file.map(|_| NearAction::Foreign(id)) };
    match (file, known.state) {
        (Some(hash), state) => present(id, hash, known, state),
        (None, state) => absent(id, known, state, listing),
    }
}

fn present(id: TaskId, hash: Sha256, known: &KnownTask, state: TaskState) -> Option<NearAction> {
    let same = hash == known.data_hash;
    let older = known.older.contains(&hash);
    match state {
        TaskState::Live if same => (!known.settled).then_some(NearAction::Adopt(id)),
        TaskState::Live if older => known.settled.then_some(NearAction::Rewrite(id)),
        TaskState::Live if known.seen => Some(NearAction::Yield(id)),
        TaskState::Live => Some(NearAction::Move(id)),
        TaskState::Hidden if same || older => known.settled.then_some(NearAction::Withdraw(id)),
        TaskState::Retired if same || older => Some(NearAction::Revive(id)),
        TaskState::Hidden | TaskState::Retired => Some(NearAction::Yield(id)),
        TaskState::Foreign if same => None,
        // Ours, which Label Studio had listed under this id before it moved away; or what stands there until the import
        // is written again.
        TaskState::Foreign if older => known.settled.then_some(NearAction::Rewrite(id)),
        // Also while a deleted one waits to be written again: Label Studio has given its id to another import.
        TaskState::Foreign => Some(NearAction::ForeignChanged(id)),
        TaskState::Spent => Some(NearAction::Foreign(id)),
    }
}

fn absent(id: TaskId, known: &KnownTask, state: TaskState, listing: Listing) -> Option<NearAction> {
    if !matches!(state, TaskState::Live | TaskState::Foreign) || !known.settled {
        return None;
    }
    match (listing, state) {
        (Listing::Unreadable, _) => None,
        (Listing::Has | Listing::Missing, _) => Some(NearAction::Restore(id)),
        (Listing::Lacks | Listing::Left, _) if !known.seen => Some(NearAction::Restore(id)),
        (Listing::Lacks | Listing::Left, TaskState::Foreign) => Some(NearAction::ForeignGone(id)),
        (Listing::Lacks | Listing::Left, _) => Some(NearAction::Retire(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: TaskState, seen: bool, settled: bool) -> KnownTask {
        KnownTask { state, data_hash: Sha256::of(b"now"), older: vec![Sha256::of(b"old")], seen, settled }
    }

    fn table(state: TaskState, seen: bool, settled: bool, file: Option<&str>, listing: Listing) -> String {
        let id = TaskId::new(7).unwrap();
        let file = file.map(|text| Sha256::of(text.as_bytes()));
        let action = decide(id, file, Some(&known(state, seen, settled)), listing);
        action.map_or("-".to_owned(), |a| a.kind().to_owned())
    }

    #[test]
    fn c08_a_clobber_is_healed_and_a_delete_is_kept() {
        use Listing::*;
        use TaskState::*;
        assert_eq!(table(Live, true, true, None, Has), "task_restored");
        assert_eq!(table(Live, false, true, None, Lacks), "task_restored");
        assert_eq!(table(Live, true, true, None, Lacks), "task_retired");
        assert_eq!(table(Live, true, true, None, Left), "task_retired");
        assert_eq!(table(Live, false, true, None, Left), "task_restored");
        assert_eq!(table(Foreign, true, true, None, Left), "import_deleted");
        assert_eq!(table(Live, true, true, None, Missing), "task_restored");
        assert_eq!(table(Live, true, true, None, Unreadable), "-");
        assert_eq!(table(Live, false, false, None, Has), "-");
        assert_eq!(table(Foreign, true, true, None, Has), "task_restored");
        assert_eq!(table(Foreign, true, true, None, Lacks), "import_deleted");
        assert_eq!(table(Foreign, true, false, None, Lacks), "-");
        assert_eq!(table(Hidden, true, true, None, Has), "-");
        assert_eq!(table(Retired, true, true, None, Has), "-");
    }

    #[test]
    fn c09_one_id_never_stands_for_two_things() {
        use Listing::*;
        use TaskState::*;
        assert_eq!(table(Live, false, true, Some("other"), Has), "task_moved");
        assert_eq!(table(Live, false, false, Some("other"), Lacks), "task_moved");
        assert_eq!(table(Live, true, true, Some("other"), Has), "id_reused");
        assert_eq!(table(Retired, true, true, Some("other"), Has), "id_reused");
        assert_eq!(table(Hidden, true, true, Some("other"), Has), "id_reused");
        assert_eq!(table(Foreign, true, true, Some("other"), Has), "import_changed");
        assert_eq!(table(Foreign, true, false, Some("other"), Has), "import_changed");
        assert_eq!(table(Foreign, true, false, Some("old"), Has), "-");
        assert_eq!(table(Foreign, true, true, Some("old"), Has), "task_rewritten");
        assert_eq!(table(Spent, true, true, Some("other"), Has), "import_seen");
    }

    #[test]
    fn c04_what_label_studio_wrote_back_from_memory_is_mended() {
        use Listing::*;
        use TaskState::*;
        assert_eq!(table(Live, true, true, Some("old"), Has), "task_rewritten");
        assert_eq!(table(Live, true, true, Some("now"), Has), "-");
        assert_eq!(table(Live, true, false, Some("now"), Has), "task_adopted");
        assert_eq!(table(Hidden, true, true, Some("now"), Has), "task_withdrawn");
        assert_eq!(table(Retired, true, true, Some("now"), Has), "task_revived");
    }
}
