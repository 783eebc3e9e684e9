//! Decides what a completion's file, its object, and what was last in step mean (design.md, section 4.6).
//!
//! Promise: a completion is never lost, never pushed over what somebody else wrote, never attached to another task.
//! What is not seen yet is asked for ([`Decision::ReadLocal`], …) before anything is decided.
//! Not here: reading, writing, settling.

use super::action::{CompletionAction, Dispute};
use crate::names::{ETag, Sha256};

mod older;
mod winning;
pub use older::goes_back;
pub use winning::why_not_remote;

use older::{older_here, taken_back, was_older};

/// The code of an object that is gone from the target: it is pushed again when the file changes or a person wants it.
pub const MISSING: &str = "target_missing";

/// What was last in step, B in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// What became of it.
    pub state: RecordedState,
    /// SHA-256 of the file's bytes when it was in step; `None`: the file was never in step.
    pub sha: Option<Sha256>,
    /// The object's version when it was in step; `None`: the object was never in step.
    pub etag: Option<ETag>,
    /// Hash of the task's data in it.
    pub data_hash: Option<Sha256>,
    /// What both sides were when a dispute was recorded: as long as they are the same there is nothing new to decide.
    pub disputed: Option<(Option<Sha256>, Option<ETag>)>,
    /// How a person ended the dispute.
    pub resolution: Option<Resolution>,
    /// A push of these bytes was begun and its receipt is missing: the object may hold them.
    pub begun: Option<Sha256>,
}

/// What became of a recorded completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedState {
    /// In step.
    InStep,
    /// Deleted here; never brought back.
    Buried,
    /// The object vanished.
    Missing,
    /// In dispute; what was in step before is still recorded.
    Disputed(Dispute),
    /// The file cannot be pushed in this version.
    Quarantined,
    /// Nothing was ever in step: only a push was begun.
    Begun,
}

/// How a person ended a dispute: it holds for exactly what was disputed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The file wins.
    Local,
    /// The object wins.
    Remote,
}

/// The file, L in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Local {
    /// No file.
    Absent,
    /// No file, in a directory that is from before it was written: nobody deleted it, an older directory was put back.
    TakenBack,
    /// The same file as recorded, by its fingerprint: not read.
    AsRecorded,
    /// Another file than recorded, not read yet.
    Unread,
    /// Not at rest.
    Unsettled,
    /// Read.
    File {
        /// SHA-256 of its bytes.
        sha: Sha256,
        /// Hash of its meaning as JSON.
        canonical: Sha256,
        /// Hash of its task data.
        data_hash: Sha256,
        /// It is from before the file that was here last ([`goes_back`]).
        goes_back: bool,
    },
    /// At rest, and no completion.
    Bad {
        /// SHA-256 of its bytes, where they could be read.
        sha: Option<Sha256>,
        /// Stable code.
        reason: String,
        /// For a person.
        detail: String,
    },
}

/// The object, R in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remote {
    /// Not looked at in this cycle: taken to be as recorded.
    Unseen,
    /// No object.
    Absent,
    /// There, in this version; not read.
    Version(ETag),
    /// Read.
    Object {
        /// Its version.
        etag: ETag,
        /// SHA-256 of its bytes.
        sha: Sha256,
        /// Its meaning, where it is a completion of this id.
        meaning: Option<Meaning>,
    },
}

impl Remote {
    /// The version that was seen.
    pub fn version(&self) -> Option<ETag> {
        match self {
            Self::Version(etag) | Self::Object { etag, .. } => Some(etag.clone()),
            Self::Unseen | Self::Absent => None,
        }
    }

    fn holds(&self, bytes: Option<Sha256>) -> bool {
        matches!(self, Self::Object { sha, .. } if Some(*sha) == bytes)
    }
}

/// What a completion says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// Hash of the whole as JSON.
    pub canonical: Sha256,
    /// Hash of its task data.
    pub data_hash: Sha256,
}

/// What is known of the task.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskFacts {
    /// The id stands, or stood, for a task whose data are known.
    pub known: bool,
    /// It stands in `tasks.json` now with this data.
    pub present: Option<Sha256>,
    /// Every data that this id stood for.
    pub hashes: Vec<Sha256>,
}

/// What the operator set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetPolicy {
    /// Bring completions found in the target.
    pub create_local_copy: bool,
    /// Delete the object with the file.
    pub delete_objects: bool,
}

/// What to do, or what must be looked at first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// In step, or nothing may be done. The code says why, empty: in step.
    Nothing(&'static str),
    /// Look again when it has come to rest.
    Wait,
    /// The file must be read.
    ReadLocal,
    /// The object's version must be looked up.
    LookRemote,
    /// The object must be read.
    ReadRemote,
    /// Do it.
    Act(CompletionAction),
}

/// Decides one completion.
pub fn decide(b: Option<&Recorded>, l: &Local, r: &Remote, task: &TaskFacts, policy: TargetPolicy) -> Decision {
    if matches!(l, Local::Unsettled) {
        return Decision::Wait;
    }
    if matches!(l, Local::TakenBack) {
        return taken_back(b, decide(b, &Local::Absent, r, task, policy));
    }
    if matches!(l, Local::Unread) {
        return Decision::ReadLocal;
    }
    if !task.known {
        return Decision::Nothing(if matches!(l, Local::Absent) { "" } else { "unknown_task" });
    }
    if let Some(b) = b {
        if matches!(r, Remote::Unseen) && must_look(b, l) {
            return Decision::LookRemote;
        }
        if let Some(decision) = disputed(b, l, r, task) {
            return decision;
        }
    }
    let there = remote_change(b, r);
    let or_same = if holds_recorded(b, r) { RemoteChange::AsRecorded } else { there };
    match local_change(b, l) {
        LocalChange::Bad { reason, detail } => bad(b, l, reason, detail),
        LocalChange::None => unchanged_here(b, l, r, there, task, policy),
        LocalChange::Gone => gone_here(b, r, or_same, policy),
        LocalChange::Changed(mine) => changed_here(b, mine, r, or_same, task),
    }
}

/// In step, as far as was seen: of the task only whether it is known matters to [`decide`] then.
pub fn is_in_step(b: Option<&Recorded>, l: &Local, r: &Remote) -> bool {
    let Some(b) = b.filter(|b| b.state == RecordedState::InStep && b.begun.is_none()) else { return false };
    *l == Local::AsRecorded && remote_change(Some(b), r) == RemoteChange::AsRecorded
}

/// Where the recorded version says nothing certain about the object now.
fn must_look(b: &Recorded, l: &Local) -> bool {
    let as_disputed = matches!(l, Local::AsRecorded)
        || (matches!(l, Local::Absent) && b.disputed.as_ref().is_none_or(|d| d.0.is_none()));
    match b.state {
        _ if b.begun.is_some() => true,
        RecordedState::Disputed(_) => b.resolution.is_some() || !as_disputed,
        RecordedState::Missing => b.resolution.is_some() || !matches!(l, Local::AsRecorded),
        RecordedState::InStep | RecordedState::Buried | RecordedState::Quarantined | RecordedState::Begun => false,
    }
}

enum LocalChange<'a> {
    None,
    Gone,
    Changed(Mine),
    Bad { reason: &'a str, detail: &'a str },
}

fn local_change<'a>(b: Option<&Recorded>, l: &'a Local) -> LocalChange<'a> {
    let recorded = b.and_then(|b| b.sha);
    match l {
        Local::Bad { reason, detail, .. } => LocalChange::Bad { reason, detail },
        Local::Absent | Local::TakenBack if recorded.is_none() => LocalChange::None,
        Local::Absent | Local::TakenBack => LocalChange::Gone,
        Local::File { sha, .. } if recorded == Some(*sha) => LocalChange::None,
        Local::File { sha, canonical, data_hash, goes_back } => LocalChange::Changed(Mine {
            sha: *sha,
            canonical: *canonical,
            data_hash: *data_hash,
            goes_back: *goes_back,
        }),
        Local::AsRecorded | Local::Unread | Local::Unsettled => LocalChange::None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RemoteChange {
    AsRecorded,
    Gone,
    /// What a push without receipt has left there.
    Ours,
    Changed,
}

fn remote_change(b: Option<&Recorded>, r: &Remote) -> RemoteChange {
    let recorded = b.and_then(|b| b.etag.as_ref());
    match (r, recorded) {
        (Remote::Unseen, _) | (Remote::Absent, None) => RemoteChange::AsRecorded,
        (Remote::Absent, Some(_)) => RemoteChange::Gone,
        (Remote::Version(etag) | Remote::Object { etag, .. }, Some(recorded)) if etag == recorded => {
            RemoteChange::AsRecorded
        }
        (Remote::Object { .. }, _) if b.is_some_and(|b| b.begun.is_some()) && r.holds(b.and_then(|b| b.begun)) => {
            RemoteChange::Ours
        }
        (Remote::Version(_) | Remote::Object { .. }, _) => RemoteChange::Changed,
    }
}

/// What a dispute that was recorded, or ended by a person, means now; `None`: decide as if there were none.
fn disputed(b: &Recorded, l: &Local, r: &Remote, task: &TaskFacts) -> Option<Decision> {
    let RecordedState::Disputed(dispute) = b.state else { return None };
    let (was_sha, was_etag) = b.disputed.as_ref()?;
    let sha = match l {
        Local::File { sha, .. } => Some(*sha),
        Local::Bad { sha, .. } => *sha,
        Local::Absent | Local::TakenBack => None,
        // Same fingerprint as when the dispute was recorded.
        Local::AsRecorded => *was_sha,
        Local::Unread | Local::Unsettled => return None,
    };
    let etag = match r {
        // Only where nothing changed here and nobody decided (`must_look`).
        Remote::Unseen => return Some(Decision::Nothing("conflict")),
        Remote::Absent => None,
        Remote::Version(etag) | Remote::Object { etag, .. } => Some(etag.clone()),
    };
    if sha != *was_sha || etag != *was_etag {
        return matches!(l, Local::AsRecorded).then_some(Decision::ReadLocal);
    }
    match b.resolution {
        None => Some(Decision::Nothing("conflict")),
        Some(Resolution::Local) if sha.is_none() => Some(Decision::Act(CompletionAction::Bury)),
        Some(Resolution::Local) if matches!(l, Local::AsRecorded) => Some(Decision::ReadLocal),
        Some(Resolution::Local) => Some(Decision::Act(CompletionAction::Push { expected: etag })),
        Some(Resolution::Remote) if matches!(r, Remote::Version(_)) => Some(Decision::ReadRemote),
        // What cannot be brought in stays a dispute, and is told again.
        Some(Resolution::Remote) => Some(Decision::Act(match why_not_remote(r, task) {
            None => CompletionAction::BringIn,
            Some(_) => CompletionAction::Dispute(dispute),
        })),
    }
}

fn bad(b: Option<&Recorded>, l: &Local, reason: &str, detail: &str) -> Decision {
    let Local::Bad { sha, .. } = l else { return Decision::Nothing("") };
    let known_bad =
        b.is_some_and(|b| b.state == RecordedState::Quarantined && b.disputed.as_ref().is_some_and(|d| d.0 == *sha));
    if known_bad {
        return Decision::Nothing("quarantined");
    }
    Decision::Act(CompletionAction::Quarantine { reason: reason.to_owned(), detail: detail.to_owned() })
}

/// L as B (or neither ever was).
fn unchanged_here(
    b: Option<&Recorded>,
    l: &Local,
    r: &Remote,
    there: RemoteChange,
    task: &TaskFacts,
    policy: TargetPolicy,
) -> Decision {
    let state = b.map(|b| b.state);
    let begun = b.is_some_and(|b| b.begun.is_some());
    // What is wrong with the file is for a person; the object waits.
    if state == Some(RecordedState::Quarantined) && matches!(l, Local::AsRecorded) {
        return Decision::Nothing("quarantined");
    }
    // Nothing was ever in step, and the file that could not be pushed is gone.
    if state == Some(RecordedState::Quarantined) && matches!(l, Local::Absent) && there == RemoteChange::AsRecorded {
        return Decision::Act(CompletionAction::Over);
    }
    if let (Some(RecordedState::Disputed(dispute)), Local::Absent) = (state, l)
        && let Some(action) = no_file_in_dispute(dispute, r, there)
    {
        return Decision::Act(action);
    }
    match there {
        RemoteChange::AsRecorded if state == Some(RecordedState::Missing) && !matches!(r, Remote::Unseen) => {
            Decision::Act(CompletionAction::Found)
        }
        RemoteChange::AsRecorded if state == Some(RecordedState::Missing) => Decision::Nothing(MISSING),
        // The push that was begun never happened, and its file is gone, or is what was in step before.
        RemoteChange::AsRecorded if begun && matches!(l, Local::Absent) => forget_or_bury(r, policy),
        RemoteChange::AsRecorded if begun => Decision::Act(CompletionAction::Adopt),
        // The same bytes in another file: its fingerprint is recorded, or it would be read in every cycle.
        RemoteChange::AsRecorded if matches!(l, Local::File { .. }) => Decision::Act(CompletionAction::Adopt),
        RemoteChange::AsRecorded => Decision::Nothing(""),
        // There is no file to push again either.
        RemoteChange::Gone if matches!(l, Local::Absent) || state == Some(RecordedState::Buried) => {
            Decision::Act(CompletionAction::Forget)
        }
        RemoteChange::Gone if state == Some(RecordedState::Missing) && is_wanted_again(b) => push(None),
        RemoteChange::Gone if state == Some(RecordedState::Missing) && !matches!(l, Local::File { .. }) => {
            Decision::Nothing(MISSING)
        }
        RemoteChange::Gone => Decision::Act(CompletionAction::Missing),
        RemoteChange::Ours if matches!(l, Local::Absent) => forget_or_bury(r, policy),
        RemoteChange::Ours if matches!(l, Local::File { goes_back: true, .. }) => older_here(),
        RemoteChange::Ours => push(r.version()),
        RemoteChange::Changed if needs_reading(b, r) => Decision::ReadRemote,
        // A tombstone is not undone by what others write; that is for a person.
        RemoteChange::Changed if state == Some(RecordedState::Buried) => {
            Decision::Act(CompletionAction::Dispute(Dispute::DeletedHere))
        }
        RemoteChange::Changed if holds_recorded(b, r) => Decision::Act(CompletionAction::Adopt),
        RemoteChange::Changed if !policy.create_local_copy => unless_begun(begun, Decision::Nothing("remote_only")),
        RemoteChange::Changed => unless_begun(begun, bring_in(r, task)),
    }
}

/// A person wants a completion that is missing in the target to be there again.
fn is_wanted_again(b: Option<&Recorded>) -> bool {
    b.is_some_and(|b| b.resolution == Some(Resolution::Local))
}

/// The object of a dispute without a file is another one now, or gone, and the file was never in step, or is deleted.
fn no_file_in_dispute(dispute: Dispute, r: &Remote, there: RemoteChange) -> Option<CompletionAction> {
    let is_deleted = dispute == Dispute::DeletedHere;
    match (there, r) {
        (_, Remote::Unseen) => None,
        (_, Remote::Absent) if is_deleted => Some(CompletionAction::Forget),
        (_, Remote::Absent) => Some(CompletionAction::Over),
        (RemoteChange::AsRecorded, _) => Some(CompletionAction::Bury),
        // A deletion is not undone by what others write.
        (RemoteChange::Changed, _) if is_deleted => Some(CompletionAction::Dispute(dispute)),
        (RemoteChange::Changed | RemoteChange::Ours | RemoteChange::Gone, _) => None,
    }
}

/// The object was read and is not what was on its way: where nothing else is to be done, the note is withdrawn.
fn unless_begun(begun: bool, decision: Decision) -> Decision {
    match decision {
        Decision::Nothing(_) if begun => Decision::Act(CompletionAction::Withdraw),
        other => other,
    }
}

/// The object holds what was last in step, in whatever version: copied onto itself, put again, told of by a proxy.
fn holds_recorded(b: Option<&Recorded>, r: &Remote) -> bool {
    r.holds(b.and_then(|b| b.sha))
}

/// A push without receipt may have made this object; only its bytes tell.
fn needs_reading(b: Option<&Recorded>, r: &Remote) -> bool {
    b.is_some_and(|b| b.begun.is_some()) && matches!(r, Remote::Version(_))
}

fn bring_in(r: &Remote, task: &TaskFacts) -> Decision {
    let Some(present) = task.present else { return Decision::Nothing("task_not_shown") };
    let Remote::Object { meaning, .. } = r else { return Decision::ReadRemote };
    Decision::Act(match meaning {
        Some(meaning) if meaning.data_hash == present => CompletionAction::BringIn,
        Some(_) => CompletionAction::Dispute(Dispute::DataMismatch),
        None => CompletionAction::Dispute(Dispute::NoCompletion),
    })
}

/// L was in step and is gone.
fn gone_here(b: Option<&Recorded>, r: &Remote, there: RemoteChange, policy: TargetPolicy) -> Decision {
    match (there, r) {
        (RemoteChange::AsRecorded, Remote::Unseen) => Decision::LookRemote,
        // Only the older one is deleted.
        (RemoteChange::AsRecorded, _) if was_older(b) => Decision::Act(CompletionAction::Bury),
        (RemoteChange::AsRecorded | RemoteChange::Ours, _) => forget_or_bury(r, policy),
        (RemoteChange::Gone, _) => Decision::Act(CompletionAction::Forget),
        // Another version of the same bytes is no change: only they tell.
        (RemoteChange::Changed, Remote::Version(_)) => Decision::ReadRemote,
        (RemoteChange::Changed, _) => Decision::Act(CompletionAction::Dispute(Dispute::DeletedHere)),
    }
}

/// The file is gone, and the object, which was seen, is ours or was never made.
fn forget_or_bury(r: &Remote, policy: TargetPolicy) -> Decision {
    match r.version() {
        None => Decision::Act(CompletionAction::Forget),
        Some(etag) if policy.delete_objects => Decision::Act(CompletionAction::DeleteObject { etag }),
        Some(_) => Decision::Act(CompletionAction::Bury),
    }
}

struct Mine {
    sha: Sha256,
    canonical: Sha256,
    data_hash: Sha256,
    goes_back: bool,
}

fn changed_here(b: Option<&Recorded>, mine: Mine, r: &Remote, there: RemoteChange, task: &TaskFacts) -> Decision {
    let stood_for = |hash: Sha256| task.hashes.contains(&hash);
    let follows = |was: Sha256| was == mine.data_hash || (stood_for(was) && stood_for(mine.data_hash));
    let explained = b.and_then(|b| b.data_hash).map_or_else(|| stood_for(mine.data_hash), follows);
    // A push without receipt may have been about what the id stood for before.
    let over_ours = match (there, r) {
        (RemoteChange::Ours, Remote::Object { meaning: Some(meaning), .. }) => follows(meaning.data_hash),
        _ => true,
    };
    if !explained || !over_ours {
        return Decision::Act(CompletionAction::Dispute(Dispute::IdReused));
    }
    let etag = r.version().filter(|_| holds_recorded(b, r)).or_else(|| b.and_then(|b| b.etag.clone()));
    // What was made of an older one has not seen the newer one either.
    let is_older = mine.goes_back || was_older(b);
    match there {
        RemoteChange::AsRecorded if etag.is_some() && is_older => older_here(),
        RemoteChange::AsRecorded => push(etag),
        RemoteChange::Gone => push(None),
        RemoteChange::Ours if r.holds(Some(mine.sha)) => Decision::Act(CompletionAction::Adopt),
        RemoteChange::Ours if is_older => older_here(),
        RemoteChange::Ours => push(r.version()),
        RemoteChange::Changed => {
            let Remote::Object { sha, meaning, .. } = r else { return Decision::ReadRemote };
            let same = *sha == mine.sha || meaning.is_some_and(|m| m.canonical == mine.canonical);
            let action = if same { CompletionAction::Adopt } else { CompletionAction::Dispute(Dispute::BothChanged) };
            Decision::Act(action)
        }
    }
}

fn push(expected: Option<ETag>) -> Decision {
    Decision::Act(CompletionAction::Push { expected })
}

#[cfg(test)]
mod tests;
