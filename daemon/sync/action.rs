//! What may be done, one variant an action, and the only wording of each.
//!
//! Promise: `lsctl plan`, the log, events and golden plans print an action through its `Display`.
//! Not here: when an action is chosen (`source`, `near`, `completions`), how it is done (`project::apply`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{ETag, Key, Sha256, TaskId};

/// How a task was made from its object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Form {
    /// `{"data": {data_key: url}}`.
    Blob {
        /// The data key.
        data_key: String,
    },
    /// `{"data": {data_key: the local copy as Label Studio serves it}}`.
    Local {
        /// The data key.
        data_key: String,
    },
    /// The object is the task.
    Json,
}

/// One thing to do about a source object and its task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TaskAction {
    /// A new object becomes a task.
    Add {
        /// The next id.
        id: TaskId,
        /// Its object.
        key: Key,
        /// The object's version.
        etag: ETag,
        /// How.
        form: Form,
        /// The task without its id, as JSON; `None`: it follows from key and form.
        body: Option<String>,
        /// Hash of the task's data.
        data_hash: Sha256,
    },
    /// A new object is what a task in `tasks.json` is about, whose row the ledger had lost: it keeps that id.
    Adopt {
        /// The id that stands there.
        id: TaskId,
        /// Its object.
        key: Key,
        /// The object's version.
        etag: ETag,
        /// How.
        form: Form,
        /// The task without its id, as JSON; `None`: it follows from key and form.
        body: Option<String>,
        /// Hash of the task's data.
        data_hash: Sha256,
    },
    /// The object has changed: the task's data follow, under the same id.
    Update {
        /// The id, kept.
        id: TaskId,
        /// Its object.
        key: Key,
        /// The new version.
        etag: ETag,
        /// How.
        form: Form,
        /// The new body.
        body: Option<String>,
        /// Hash of the new data.
        data_hash: Sha256,
    },
    /// The object has another version, and the task stays as it is.
    Note {
        /// The id.
        id: TaskId,
        /// Its object.
        key: Key,
        /// The new version.
        etag: ETag,
    },
    /// The object left the selection: its task leaves `tasks.json`, the id stays taken.
    Hide {
        /// The id.
        id: TaskId,
        /// Its object.
        key: Key,
        /// `deselected` or `removed`.
        why: HideReason,
    },
    /// A hidden object is back: its task returns under its old id.
    Show {
        /// The id.
        id: TaskId,
        /// Its object.
        key: Key,
    },
    /// The object is gone; the task stays (`on_removed = "keep"`).
    Gone {
        /// The id.
        id: TaskId,
        /// Its object.
        key: Key,
    },
    /// An object that was gone is back; its task had stayed.
    Back {
        /// The id.
        id: TaskId,
        /// Its object.
        key: Key,
    },
    /// The object cannot become a task.
    Quarantine {
        /// Its task, where an earlier version had become one: it keeps its data.
        id: Option<TaskId>,
        /// The object.
        key: Key,
        /// This version of it; another one is tried again.
        etag: ETag,
        /// Stable code.
        reason: String,
        /// For a person.
        detail: String,
    },
    /// A quarantined object is gone or no longer selected.
    Release {
        /// The object.
        key: Key,
    },
    /// A local copy of the object's present version is to be made.
    Copy {
        /// The id of its task.
        id: TaskId,
        /// The object.
        key: Key,
        /// The version to copy.
        etag: ETag,
        /// Its size.
        size_bytes: u64,
    },
}

/// Why a task is hidden.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HideReason {
    /// The operator narrowed the selection.
    Deselected,
    /// The object is gone and `on_removed = "hide"`.
    Removed,
}

impl fmt::Display for TaskAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { id, key, .. } => write!(f, "+ task {id} <- {key}"),
            Self::Adopt { id, key, .. } => write!(f, "= task {id} <- {key} (found in tasks.json, id kept)"),
            Self::Update { id, key, .. } => write!(f, "~ task {id} <- {key} (changed)"),
            Self::Note { id, key, .. } => write!(f, ". task {id} <- {key} (new version, task kept)"),
            Self::Hide { id, key, why: HideReason::Deselected } => {
                write!(f, "- task {id} <- {key} (deselected, id kept)")
            }
            Self::Hide { id, key, why: HideReason::Removed } => write!(f, "- task {id} <- {key} (removed, id kept)"),
            Self::Show { id, key } => write!(f, "+ task {id} <- {key} (back under its id)"),
            Self::Gone { id, key } => write!(f, ". task {id} <- {key} (object gone, task kept)"),
            Self::Back { id, key } => write!(f, ". task {id} <- {key} (object back)"),
            Self::Quarantine { key, reason, detail, .. } => {
                write!(f, "! {key} quarantined: {reason}: {}", crate::names::printable(detail))
            }
            Self::Release { key } => write!(f, ". {key} left quarantine"),
            Self::Copy { id, key, .. } => write!(f, "v copy of {key} for task {id}"),
        }
    }
}

impl TaskAction {
    /// The stable event kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Add { .. } => "task_added",
            Self::Adopt { .. } => "task_found",
            Self::Update { .. } => "task_updated",
            Self::Note { .. } => "object_changed",
            Self::Hide { .. } => "task_hidden",
            Self::Show { .. } => "task_shown",
            Self::Gone { .. } => "object_gone",
            Self::Back { .. } => "object_back",
            Self::Quarantine { .. } => "quarantined",
            Self::Release { .. } => "object_released",
            Self::Copy { .. } => "copied",
        }
    }

    /// The object it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Add { key, .. }
            | Self::Adopt { key, .. }
            | Self::Update { key, .. }
            | Self::Note { key, .. }
            | Self::Hide { key, .. }
            | Self::Show { key, .. }
            | Self::Gone { key, .. }
            | Self::Back { key, .. }
            | Self::Quarantine { key, .. }
            | Self::Release { key }
            | Self::Copy { key, .. } => key,
        }
    }

    /// The task it is about.
    pub fn id(&self) -> Option<TaskId> {
        match self {
            Self::Add { id, .. }
            | Self::Adopt { id, .. }
            | Self::Update { id, .. }
            | Self::Note { id, .. }
            | Self::Hide { id, .. }
            | Self::Show { id, .. }
            | Self::Gone { id, .. }
            | Self::Back { id, .. }
            | Self::Copy { id, .. } => Some(*id),
            Self::Quarantine { id, .. } => *id,
            Self::Release { .. } => None,
        }
    }
}

/// One thing to do because Label Studio, or a person, changed `tasks.json` (contract C7 to C9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NearAction {
    /// A reserved task is found where a crash left it.
    Adopt(TaskId),
    /// Label Studio lost a task that nobody deleted: it is written again.
    Restore(TaskId),
    /// Label Studio wrote back older data of ours: the present ones are written again.
    Rewrite(TaskId),
    /// A task that should be hidden came back from Label Studio's memory: it is taken out again.
    Withdraw(TaskId),
    /// The user deleted our task: it is never made again.
    Retire(TaskId),
    /// A task thought deleted stands there again.
    Revive(TaskId),
    /// Label Studio gave this id to an import before it had seen ours: ours moves to a new id.
    Move(TaskId),
    /// Label Studio gave this id to an import after ours had gone: the id is the import's now.
    Yield(TaskId),
    /// A task of Label Studio's own is seen for the first time.
    Foreign(TaskId),
    /// A task of Label Studio's own has other data than before: the id was given again.
    ForeignChanged(TaskId),
    /// The user deleted a task of Label Studio's own.
    ForeignGone(TaskId),
}

impl NearAction {
    /// The task it is about.
    pub fn id(self) -> TaskId {
        match self {
            Self::Adopt(id)
            | Self::Restore(id)
            | Self::Rewrite(id)
            | Self::Withdraw(id)
            | Self::Retire(id)
            | Self::Revive(id)
            | Self::Move(id)
            | Self::Yield(id)
            | Self::Foreign(id)
            | Self::ForeignChanged(id)
            | Self::ForeignGone(id) => id,
        }
    }

    /// The stable event kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Adopt(_) => "task_adopted",
            Self::Restore(_) => "task_restored",
            Self::Rewrite(_) => "task_rewritten",
            Self::Withdraw(_) => "task_withdrawn",
            Self::Retire(_) => "task_retired",
            Self::Revive(_) => "task_revived",
            Self::Move(_) => "task_moved",
            Self::Yield(_) => "id_reused",
            Self::Foreign(_) => "import_seen",
            Self::ForeignChanged(_) => "import_changed",
            Self::ForeignGone(_) => "import_deleted",
        }
    }
}

impl fmt::Display for NearAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(id) => write!(f, "= task {id} found in tasks.json"),
            Self::Restore(id) => write!(f, "+ task {id} restored (Label Studio lost it)"),
            Self::Rewrite(id) => write!(f, "~ task {id} written again (Label Studio wrote older data back)"),
            Self::Withdraw(id) => write!(f, "- task {id} taken out again (Label Studio wrote it back)"),
            Self::Retire(id) => write!(f, "x task {id} deleted by the user; it will not be made again"),
            Self::Revive(id) => write!(f, "+ task {id} stands in tasks.json again"),
            Self::Move(id) => write!(f, "> task {id} moves to a new id (Label Studio gave this one to an import)"),
            Self::Yield(id) => write!(f, "! id {id} was given to an import by Label Studio; it is no longer ours"),
            Self::Foreign(id) => write!(f, "= task {id} is Label Studio's own"),
            Self::ForeignChanged(id) => write!(f, "! id {id} was given to another import by Label Studio"),
            Self::ForeignGone(id) => write!(f, "x task {id}, Label Studio's own, was deleted"),
        }
    }
}

/// Why two sides of a completion cannot be brought together without a person. The codes are stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dispute {
    /// Both sides changed, or both have one that the other never saw.
    BothChanged,
    /// Deleted here, changed there.
    DeletedHere,
    /// The file is about other data than this id stood for (Label Studio gives deleted highest ids again).
    IdReused,
    /// The object in the target is about other data than the task.
    DataMismatch,
    /// The object in the target is no completion of this id: no JSON, or without what one has (contract C16).
    NoCompletion,
    /// The file is from before what was in step, as out of a backup, or is not there yet, and is no deletion.
    OlderHere,
}

/// The code of [`Dispute::OlderHere`].
pub const OLDER_HERE: &str = "older_here";

impl Dispute {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BothChanged => "conflict",
            Self::DeletedHere => "deleted_here",
            Self::IdReused => "id_reused",
            Self::DataMismatch => "data_mismatch",
            Self::NoCompletion => "no_completion",
            Self::OlderHere => OLDER_HERE,
        }
    }

    /// From its code.
    pub fn parse(code: &str) -> Option<Self> {
        let all = [
            Self::BothChanged,
            Self::DeletedHere,
            Self::IdReused,
            Self::DataMismatch,
            Self::NoCompletion,
            Self::OlderHere,
        ];
        all.into_iter().find(|d| d.code() == code)
    }

    /// One line for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::BothChanged => "the file and the object in the target both changed",
            Self::DeletedHere => "the file was deleted, and the object in the target changed",
            Self::IdReused => "the file is about other data than this id stood for: Label Studio gave the id again",
            Self::DataMismatch => "the object in the target is about other data than the task of this id",
            Self::NoCompletion => "the object in the target is no completion of this id",
            Self::OlderHere => "what is here is older than what is in the target, as if a backup had been put back",
        }
    }
}

/// One thing to do about a completion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompletionAction {
    /// The file's bytes go to the target, on condition that it still holds what `expected` says (`None`: nothing).
    Push {
        /// The version that is replaced.
        expected: Option<ETag>,
    },
    /// File and object mean the same: nothing moves, both are recorded as in step.
    Adopt,
    /// The object's bytes come to `completions/`.
    BringIn,
    /// The file is gone: recorded, never brought back.
    Bury,
    /// The file is gone, and the object is deleted if it is still the one that was pushed.
    DeleteObject {
        /// The version that was pushed.
        etag: ETag,
    },
    /// The object is gone: listed, not pushed again until the file changes.
    Missing,
    /// The object that was missing is back.
    Found,
    /// Needs a person.
    Dispute(Dispute),
    /// The file cannot be pushed.
    Quarantine {
        /// Stable code.
        reason: String,
        /// For a person.
        detail: String,
    },
    /// Both are gone.
    Forget,
    /// What was in dispute is gone from the target, or the file that was wrong is gone, and nothing was ever in step: as if
    /// it had never been seen.
    Over,
    /// The push that was begun has not happened, and its file is gone.
    Withdraw,
}

/// The event kind of a push.
pub const PUSHED: &str = "pushed";

impl CompletionAction {
    /// The stable event kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Push { .. } => PUSHED,
            Self::Adopt => "completion_adopted",
            Self::BringIn => "brought_in",
            Self::Bury => "completion_deleted",
            Self::DeleteObject { .. } => "object_deleted",
            Self::Missing => "target_missing",
            Self::Found => "target_found",
            Self::Dispute(Dispute::IdReused) => "id_reused",
            Self::Dispute(_) => "conflict",
            Self::Quarantine { .. } => "quarantined",
            Self::Forget => "completion_forgotten",
            Self::Over => "conflict_over",
            Self::Withdraw => "push_withdrawn",
        }
    }

    /// The one wording, for the completion of `id`.
    pub fn line(&self, id: TaskId) -> String {
        match self {
            Self::Push { expected: None } => format!("> completion {id}"),
            Self::Push { expected: Some(_) } => format!("> completion {id} (changed)"),
            Self::Adopt => format!("= completion {id} in step"),
            Self::BringIn => format!("< completion {id}"),
            Self::Bury => format!("x completion {id} deleted here, object kept"),
            Self::DeleteObject { .. } => format!("x completion {id} deleted here and in the target"),
            Self::Missing => format!("! completion {id} is missing in the target"),
            Self::Found => format!("= completion {id} is in the target again"),
            Self::Dispute(dispute) => format!("! completion {id}: {}", dispute.text()),
            Self::Quarantine { reason, detail } => {
                format!("! completion {id} quarantined: {reason}: {}", crate::names::printable(detail))
            }
            Self::Forget => format!(". completion {id} is gone on both sides"),
            Self::Over => format!(". completion {id}: what was wrong is gone"),
            Self::Withdraw => format!(". completion {id} was not pushed: another object is there"),
        }
    }
}
