//! One completion: observed until a decision stands, noted, done, receipted.
//!
//! Promise: nothing is chosen here: the action says what, the observation with what. The loser of a dispute is kept.

use std::time::Duration;

use bytes::Bytes;

use crate::events::{Happened, Level};
use crate::names::{ETag, ProjectName, Sha256, TaskId};
use crate::project::error::{CycleError, blocking};
use crate::project::files::Fingerprint;
use crate::project::ledger::{CompletionRow, CompletionWrite};
use crate::project::losers;
use crate::project::near::{BroughtIn, NearError};
use crate::project::rejected::{self, Rejected};
use crate::project::shared::Shared;
use crate::project::target::look::Wanted;
use crate::project::target::reading::{FileRead, Standing, first_local, read_file};
use crate::project::target::road::{TargetRoad, TargetSide};
use crate::project::validate::{TaskLimits, completion_file};
use crate::store::{Precondition, StoreErrorKind};
use crate::sync::action::{CompletionAction, Dispute};
use crate::sync::completions::{
    Decision, Local, Meaning, Recorded, RecordedState, Remote, Resolution, TaskFacts, decide,
};

/// Looks that one completion may need: file, version, object, and once more after each.
const LOOKS_MAX: u32 = 8;

/// Everything known of one completion when its action was decided.
#[derive(Debug)]
pub struct Observed {
    id: TaskId,
    row: Option<CompletionRow>,
    print: Option<Fingerprint>,
    local: Local,
    local_bytes: Option<Bytes>,
    remote: Remote,
    remote_bytes: Option<Bytes>,
    /// Why the object is no completion.
    unfit: Option<String>,
}

impl Observed {
    /// A person decided, and what loses is kept first.
    pub fn overrules(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.recorded.resolution.is_some())
    }
}

/// What observing came to.
#[derive(Debug)]
pub enum Seen {
    /// To be done.
    Do(Box<Observed>, CompletionAction),
    /// Nothing (more) to do.
    Nothing,
    /// The file is being written.
    Torn,
}

/// How an action ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done: to be receipted and told.
    Done(Box<CompletionWrite>, Option<Happened>),
    /// A side changed at the last moment: observed again.
    LookAgain(TaskId),
    /// Tried again with the next cycle.
    Failed(TaskId, CycleError),
}

impl Outcome {
    /// The same, with how long it took.
    pub fn took(self, took: Duration) -> Self {
        match self {
            Self::Done(receipt, happened) => Self::Done(receipt, happened.map(|happened| happened.took(took))),
            other => other,
        }
    }
}

/// Looks until the decision stands. `file`: what reading it came to, where that was done already.
pub async fn observe(
    road: &TargetRoad,
    side: &TargetSide,
    (wanted, facts): (Wanted, TaskFacts),
    file: Option<FileRead>,
) -> Result<Seen, CycleError> {
    let shared = &road.shared;
    let id = wanted.id;
    let (local, local_bytes) = file.unwrap_or_else(|| Ok((first_local(&wanted), None)))?;
    let mut o = Observed {
        id,
        local,
        row: wanted.row,
        print: wanted.print,
        local_bytes,
        remote: wanted.remote,
        remote_bytes: None,
        unfit: None,
    };
    for _ in 0..LOOKS_MAX {
        let recorded = o.row.as_ref().map(|row| &row.recorded);
        match decide(recorded, &o.local, &o.remote, &facts, side.policy()) {
            Decision::Nothing(_) => return Ok(Seen::Nothing),
            Decision::Wait => return Ok(Seen::Torn),
            Decision::ReadLocal => read_local(shared, &mut o).await?,
            Decision::LookRemote => o.remote = look(side, id).await?,
            Decision::ReadRemote => (o.remote, o.remote_bytes, o.unfit) = read(side, id, o.remote.version()).await?,
            Decision::Act(CompletionAction::Push { .. }) if o.local_bytes.is_none() => {
                read_local(shared, &mut o).await?
            }
            Decision::Act(action) => return Ok(Seen::Do(Box::new(o), action)),
        }
    }
    Ok(Seen::Torn)
}

async fn read_local(shared: &Shared, o: &mut Observed) -> Result<(), CycleError> {
    let (near, file) = (shared.near.clone(), Standing::new(o.id, o.row.as_ref(), o.print, shared.now()));
    (o.local, o.local_bytes) = blocking(move || read_file(&near.completion_reads()?, &file)).await?;
    Ok(())
}

/// An object with its bytes, and why it is no completion where it is none.
type Read = (Remote, Option<Bytes>, Option<String>);

/// The object as it is now, looked into.
pub async fn object(side: &TargetSide, id: TaskId) -> Result<Read, CycleError> {
    match look(side, id).await? {
        Remote::Version(etag) => read(side, id, Some(etag)).await,
        other => Ok((other, None, None)),
    }
}

async fn look(side: &TargetSide, id: TaskId) -> Result<Remote, CycleError> {
    let head = side.store.head(&side.key(id)).await?;
    Ok(head.map_or(Remote::Absent, |listed| Remote::Version(listed.etag)))
}

async fn read(side: &TargetSide, id: TaskId, seen: Option<ETag>) -> Result<Read, CycleError> {
    let limits = TaskLimits::of_completions();
    let object = match side.store.get(&side.key(id), limits.body_bytes as u64).await {
        Ok(object) => object,
        Err(error) if error.kind == StoreErrorKind::ObjectMissing => return Ok((Remote::Absent, None, None)),
        Err(error) if error.kind == StoreErrorKind::TooLarge => {
            // Its version is known; what it holds cannot be a completion of ours.
            let Some(etag) = seen else { return Err(error.into()) };
            return Ok((Remote::Object { etag, sha: Sha256::of(b""), meaning: None }, None, Some(error.to_string())));
        }
        Err(error) => return Err(error.into()),
    };
    let bytes = object.bytes.clone();
    let (sha, facts) = blocking(move || Ok((Sha256::of(&bytes), completion_file(&bytes, id, &limits)))).await?;
    let (meaning, unfit) = match facts {
        Ok(facts) => (Some(Meaning { canonical: facts.canonical, data_hash: facts.data_hash }), None),
        Err(Rejected { code: rejected::TORN, detail }) => (None, Some(format!("it is not whole JSON: {detail}"))),
        Err(unfit) => (None, Some(unfit.to_string())),
    };
    Ok((Remote::Object { etag: object.etag, sha, meaning }, Some(object.bytes), unfit))
}

/// What must be written down before the effect: that these bytes are on their way.
pub fn note(o: &Observed, action: &CompletionAction) -> Option<CompletionWrite> {
    let CompletionAction::Push { .. } = action else { return None };
    let mut recorded = o.row.as_ref().map_or_else(nothing_in_step, |row| row.recorded.clone());
    receipt_late(&mut recorded, &o.remote);
    recorded.begun = Some(match &o.local {
        Local::File { sha, .. } => *sha,
        _ => Sha256::of(o.local_bytes.as_deref().unwrap_or_default()),
    });
    let reason = dispute_code(&recorded);
    let row = CompletionRow { id: o.id, recorded, print: text(o.print) };
    Some(CompletionWrite { row, reason, detail: String::new() })
}

/// The push before this one has happened and its answer was lost: the new note must not make its object a stranger's.
fn receipt_late(recorded: &mut Recorded, remote: &Remote) {
    let Remote::Object { etag, sha, meaning } = remote else { return };
    if recorded.begun != Some(*sha) {
        return;
    }
    recorded.sha = Some(*sha);
    recorded.etag = Some(etag.clone());
    recorded.data_hash = meaning.map(|meaning| meaning.data_hash).or(recorded.data_hash);
    if !matches!(recorded.state, RecordedState::Disputed(_)) {
        recorded.state = RecordedState::InStep;
    }
}

fn nothing_in_step() -> Recorded {
    Recorded {
        state: RecordedState::Begun,
        sha: None,
        etag: None,
        data_hash: None,
        disputed: None,
        resolution: None,
        begun: None,
    }
}

fn dispute_code(recorded: &Recorded) -> String {
    match recorded.state {
        RecordedState::Disputed(dispute) => dispute.code().to_owned(),
        _ => String::new(),
    }
}

/// What an effect needs.
#[derive(Debug)]
pub struct Means {
    /// The project.
    pub shared: Shared,
    /// The target, with the settings in force for this cycle.
    pub side: TargetSide,
    /// The store refuses a write whose precondition does not hold.
    pub preconditions: bool,
}

/// Does it. Each may be repeated: the next observation finds what this one left.
pub async fn effect(means: &Means, o: Observed, action: CompletionAction) -> Outcome {
    let id = o.id;
    match try_effect(means, o, &action).await {
        Ok(Some(receipt)) => {
            let happened = happened(&receipt, &action, &means.side);
            Outcome::Done(Box::new(receipt), happened)
        }
        Ok(None) => Outcome::LookAgain(id),
        Err(error) => Outcome::Failed(id, error),
    }
}

async fn try_effect(
    means: &Means,
    o: Observed,
    action: &CompletionAction,
) -> Result<Option<CompletionWrite>, CycleError> {
    let Means { shared, side, .. } = means;
    keep_the_loser(shared, side, &o).await?;
    match action {
        CompletionAction::Push { expected } => push(means, &o, expected.as_ref()).await,
        CompletionAction::BringIn => bring_in(shared, &o).await,
        CompletionAction::DeleteObject { etag } => match side.store.delete(&side.key(o.id), etag).await {
            Ok(()) => Ok(Some(buried(&o, None))),
            Err(error) if error.kind == StoreErrorKind::PreconditionFailed => Ok(None),
            Err(error) => Err(error.into()),
        },
        CompletionAction::Adopt => Ok(Some(adopted(&o))),
        CompletionAction::Bury => Ok(Some(buried(&o, o.remote.version().or(recorded_etag(&o))))),
        CompletionAction::Forget => Ok(Some(buried(&o, None))),
        CompletionAction::Over => Ok(Some(in_step_never(o.id))),
        CompletionAction::Withdraw => Ok(Some(withdrawn(&o))),
        CompletionAction::Missing => {
            let detail = format!(
                "it is gone from the target; `lsctl resolve {} {} --keep local` pushes it again",
                shared.name, o.id
            );
            Ok(Some(restated(&o, RecordedState::Missing, String::new(), detail)))
        }
        CompletionAction::Found => Ok(Some(restated(&o, RecordedState::InStep, String::new(), String::new()))),
        CompletionAction::Dispute(dispute) => Ok(Some(disputed(&shared.name, &o, *dispute))),
        CompletionAction::Quarantine { reason, detail } => {
            Ok(Some(restated(&o, RecordedState::Quarantined, reason.clone(), detail.clone())))
        }
    }
}

async fn push(means: &Means, o: &Observed, expected: Option<&ETag>) -> Result<Option<CompletionWrite>, CycleError> {
    let side = &means.side;
    let key = side.key(o.id);
    let Some(bytes) = o.local_bytes.clone() else { return Ok(None) };
    if !means.preconditions {
        // The store would not refuse: what is there is looked up, as close to the write as can be.
        let there = side.store.head(&key).await?.map(|listed| listed.etag);
        if there.as_ref() != expected {
            return Ok(None);
        }
    }
    let precondition = expected.map_or(Precondition::Absent, |etag| Precondition::Matches(etag.clone()));
    let etag = match side.store.put(&key, bytes, &precondition).await {
        Ok(etag) => etag,
        Err(error) if matches!(error.kind, StoreErrorKind::PreconditionFailed | StoreErrorKind::ObjectMissing) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(in_step(o.id, sha_and_data(o), Some(etag), o.print)))
}

async fn bring_in(shared: &Shared, o: &Observed) -> Result<Option<CompletionWrite>, CycleError> {
    let (Some(bytes), Remote::Object { etag, sha, meaning: Some(meaning) }) = (o.remote_bytes.clone(), &o.remote)
    else {
        return Ok(None);
    };
    let (near, id, expected) = (shared.near.clone(), o.id, o.print);
    let brought = blocking(move || Ok(near.bring_in(id, &bytes, expected.as_ref())?)).await?;
    let BroughtIn::Done(print, displaced) = brought else { return Ok(None) };
    if let Some(displaced) = displaced {
        // Label Studio may have had the old file open: what it wrote into it counts.
        tokio::time::sleep(shared.pace.displaced).await;
        let kept = blocking(move || {
            if displaced.is_unchanged().map_err(NearError::from)? {
                displaced.discard().map_err(NearError::from)?;
                return Ok(true);
            }
            crate::project::directory::take_back(*displaced)?;
            Ok(false)
        })
        .await?;
        if !kept {
            return Ok(None);
        }
    }
    Ok(Some(in_step(o.id, Some((*sha, meaning.data_hash)), Some(etag.clone()), Some(print))))
}

/// What a person's decision overrules is kept in the state directory first.
async fn keep_the_loser(shared: &Shared, side: &TargetSide, o: &Observed) -> Result<(), CycleError> {
    let Some(resolution) = o.row.as_ref().and_then(|row| row.recorded.resolution) else { return Ok(()) };
    let (loser, side_name) = match resolution {
        Resolution::Local => {
            let key = side.key(o.id);
            let limit = TaskLimits::of_completions().body_bytes as u64;
            let object = match side.store.get(&key, limit).await {
                Ok(object) => Some(object.bytes),
                Err(error) if error.kind == StoreErrorKind::ObjectMissing => None,
                Err(error) => return Err(error.into()),
            };
            (object, "remote")
        }
        Resolution::Remote => {
            let (near, id) = (shared.near.clone(), o.id);
            let limit = TaskLimits::of_completions().body_bytes as u64;
            (blocking(move || Ok(near.completion(id, limit)?)).await?.map(|c| Bytes::from(c.bytes)), "local")
        }
    };
    let Some(loser) = loser else { return Ok(()) };
    let (work_dir, what, now) = (shared.work_dir.clone(), format!("{}-{side_name}", o.id), shared.now());
    blocking(move || Ok(losers::keep(&work_dir, &what, &loser, now).map(drop)?)).await
}

fn sha_and_data(o: &Observed) -> Option<(Sha256, Sha256)> {
    match &o.local {
        Local::File { sha, data_hash, .. } => Some((*sha, *data_hash)),
        _ => o.row.as_ref().and_then(|row| row.recorded.sha.zip(row.recorded.data_hash)),
    }
}

fn recorded_etag(o: &Observed) -> Option<ETag> {
    o.row.as_ref().and_then(|row| row.recorded.etag.clone())
}

fn in_step(
    id: TaskId,
    file: Option<(Sha256, Sha256)>,
    etag: Option<ETag>,
    print: Option<Fingerprint>,
) -> CompletionWrite {
    let recorded = Recorded {
        state: RecordedState::InStep,
        sha: file.map(|(sha, _)| sha),
        etag,
        data_hash: file.map(|(_, data)| data),
        ..nothing_in_step()
    };
    let row = CompletionRow { id, recorded, print: text(print) };
    CompletionWrite { row, reason: String::new(), detail: String::new() }
}

fn text(print: Option<Fingerprint>) -> Option<String> {
    print.map(|print| print.to_string())
}

fn adopted(o: &Observed) -> CompletionWrite {
    in_step(o.id, sha_and_data(o), o.remote.version().or(recorded_etag(o)), o.print)
}

fn in_step_never(id: TaskId) -> CompletionWrite {
    let row = CompletionRow { id, recorded: nothing_in_step(), print: None };
    CompletionWrite { row, reason: String::new(), detail: String::new() }
}

/// A tombstone: data hash and fingerprint stay, so that a file that comes back is known for what it is.
fn buried(o: &Observed, etag: Option<ETag>) -> CompletionWrite {
    let (data_hash, print) = o.row.as_ref().map_or((None, None), |row| (row.recorded.data_hash, row.print.clone()));
    let recorded = Recorded { state: RecordedState::Buried, etag, data_hash, ..nothing_in_step() };
    let row = CompletionRow { id: o.id, recorded, print };
    CompletionWrite { row, reason: String::new(), detail: String::new() }
}

/// What was in step stays recorded, in another state.
fn restated(o: &Observed, state: RecordedState, reason: String, detail: String) -> CompletionWrite {
    let mut recorded = o.row.as_ref().map_or_else(nothing_in_step, |row| row.recorded.clone());
    recorded.state = state;
    recorded.begun = None;
    recorded.resolution = None;
    let sha = match &o.local {
        Local::File { sha, .. } => Some(*sha),
        Local::Bad { sha, .. } => *sha,
        Local::AsRecorded => recorded.sha,
        Local::Absent | Local::TakenBack | Local::Unread | Local::Unsettled => None,
    };
    let disputes = matches!(state, RecordedState::Disputed(_) | RecordedState::Quarantined);
    recorded.disputed = disputes.then(|| (sha, o.remote.version().or(recorded.etag.clone())));
    let row = CompletionRow { id: o.id, recorded, print: text(o.print) };
    CompletionWrite { row, reason, detail }
}

/// Everything stays recorded but the push.
fn withdrawn(o: &Observed) -> CompletionWrite {
    let mut row = o.row.clone().unwrap_or(CompletionRow { id: o.id, recorded: nothing_in_step(), print: None });
    (row.recorded.begun, row.print) = (None, text(o.print));
    let reason = dispute_code(&row.recorded);
    CompletionWrite { row, reason, detail: String::new() }
}

fn disputed(project: &ProjectName, o: &Observed, dispute: Dispute) -> CompletionWrite {
    let more = match (&o.unfit, dispute) {
        (Some(unfit), _) => format!(": {unfit}"),
        (None, Dispute::OlderHere) => {
            let local = if o.print.is_some() { "pushes this one" } else { "leaves it deleted" };
            format!(
                "; `lsctl resolve {project} {} --keep remote` brings the newer one back, `--keep local` {local}",
                o.id
            )
        }
        (None, _) => String::new(),
    };
    let detail = format!("{}{more}", dispute.text());
    let mut write = restated(o, RecordedState::Disputed(dispute), dispute.code().to_owned(), detail);
    // The object's absence, where it was looked for, is part of what is disputed.
    if matches!(o.remote, Remote::Absent)
        && let Some((_, etag)) = &mut write.row.recorded.disputed
    {
        *etag = None;
    }
    write
}

fn happened(receipt: &CompletionWrite, action: &CompletionAction, side: &TargetSide) -> Option<Happened> {
    let id = receipt.row.id;
    let level = match action {
        CompletionAction::Dispute(_) | CompletionAction::Quarantine { .. } => Level::Error,
        CompletionAction::Missing => Level::Warning,
        _ => Level::Info,
    };
    let happened = Happened::new(level, action.kind(), action.line(id)).task(Some(id)).key(&side.key(id));
    let happened = happened.bucket(Some(side.store.root()));
    Some(if receipt.reason.is_empty() { happened } else { happened.error(&receipt.reason) })
}
