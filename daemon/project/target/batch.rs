//! Completions, a batch at a time: observed, noted, done, receipted.
//!
//! Promise: one commit a batch, and one at the end; one completion that fails holds up no other.
//! Not here: which are wanted (`target::look`), one completion's effects (`target::apply`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use crate::control::api::{Progress, Reason};
use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::project::board::Direction;
use crate::project::error::{CycleError, blocking};
use crate::project::ledger::CompletionWrite;
use crate::project::losers;
use crate::project::portions::{BYTES_AT_ONCE, portions};
use crate::project::target::apply::{self, Means, Observed, Outcome, Seen};
use crate::project::target::look::Wanted;
use crate::project::target::reading::{FileRead, read_files};
use crate::project::target::road::{TargetRoad, TargetSide, UNSETTLED};
use crate::store::StoreErrorKind;
use crate::sync::action::{CompletionAction, PUSHED};

/// Two batches are held at once: one is pushed, the next is looked into.
const BATCH_BYTES: u64 = BYTES_AT_ONCE / 2;

/// Completions looked into, or pushed, at once.
const AT_ONCE: usize = 64;

/// Tasks that share the effects of a batch: polled by one, all of them would wait for one core.
const LANES: usize = 4;

/// Files read and checked by one thread one after the other: handing over each by itself costs more than reading it.
const FILES_A_THREAD: usize = 32;

/// Threads that read files: each holds one file's values while it is checked.
const READERS: usize = 2;

/// The least wait before a side that changed at the last moment is looked at again.
const AGAIN_MIN: Duration = Duration::from_millis(20);

/// Looks at one completion in a row that each found another side than the one before. More, and it is no coincidence: a
/// store that refuses what is as it was seen, or somebody who writes all the time.
const OVERTAKEN_MAX: u32 = 5;

impl TargetRoad {
    /// Observes, notes, does and receipts, batch by batch. One that fails while others succeed is tried again by
    /// itself; where none succeeds the bucket is the trouble.
    pub(in crate::project) async fn work(&mut self, side: &TargetSide, wanted: Vec<Wanted>) -> Result<(), CycleError> {
        let mut worked = Worked { total: wanted.len() as u64, ..Worked::default() };
        let size = |wanted: &Wanted| wanted.print.map_or(0, |print| print.size_bytes);
        // Oldest first.
        let batches = portions(wanted, (self.shared.pace.push_batch, BATCH_BYTES), size);
        let result = self.work_batches(side, batches, &mut worked).await;
        // What happened is written down whatever ended it.
        let told = self.record(worked.receipts.take(), Vec::new()).await?;
        self.tell_all(told);
        if worked.overrules {
            let (work_dir, now) = (self.shared.work_dir.clone(), self.shared.now());
            blocking(move || Ok(losers::tidy(&work_dir, now)?)).await?;
        }
        result?;
        self.tell_failing(side, worked)
    }

    /// What failed while others succeeded stands as a warning.
    fn tell_failing(&mut self, side: &TargetSide, worked: Worked) -> Result<(), CycleError> {
        let code = "push_failing";
        let Some(error) = worked.failure else {
            self.shared.board.unwarn(self.shared.now(), code);
            self.repeats.over();
            return Ok(());
        };
        if worked.done == 0 && !is_about_one(&error) {
            return Err(error);
        }
        let reason = error.reason();
        let warning = Reason { code: code.to_owned(), message: reason.message.clone(), hint: reason.hint };
        self.shared.board.warn(self.shared.now(), warning);
        match self.repeats.failed(&reason.code).text(&reason.message) {
            Some(text) => {
                let failing = Happened::new(Level::Warning, code, text).error(&reason.code);
                self.shared.tell(failing.bucket(Some(side.store.root())));
            }
            None => self.shared.events.meters().error(&reason.code),
        }
        Ok(())
    }

    /// The next batch is looked into while this one is pushed. It is noted after that: one batch at a time is in hand.
    async fn work_batches(
        &mut self,
        side: &TargetSide,
        batches: Vec<Vec<Wanted>>,
        worked: &mut Worked,
    ) -> Result<(), CycleError> {
        let mut batches = batches.into_iter();
        let mut next = self.look_into(side, batches.next()).await?;
        while let Some(looks) = next.take() {
            let (done_before, failed_before) = (worked.done, worked.failed);
            let plan = self.plan(looks, worked)?;
            let is_fruitless = |worked: &Worked| worked.done == done_before && worked.failed > failed_before;
            if plan.is_empty() && is_fruitless(worked) {
                break;
            }
            worked.overrules |= plan.iter().any(|(observed, _)| observed.overrules());
            let notes = plan.iter().filter_map(|(o, action)| apply::note(o, action)).collect();
            let told = self.record(worked.receipts.take(), notes).await?;
            let meanwhile = async {
                self.tell_all(told);
                self.look_into(side, batches.next()).await
            };
            let (outcomes, following) = tokio::join!(self.effects(side, plan), meanwhile);
            self.sort(outcomes, worked);
            let progress = Progress { phase: "pushing".to_owned(), done: worked.done, total: Some(worked.total) };
            self.shared.board.progress(Direction::Target, Some(progress));
            if is_fruitless(worked) {
                break;
            }
            next = following?;
        }
        Ok(())
    }

    /// Looks into each until its decision stands, many at once.
    async fn look_into(&self, side: &TargetSide, batch: Option<Vec<Wanted>>) -> Result<Option<Looks>, CycleError> {
        let Some(batch) = batch else { return Ok(None) };
        let (ledger, ids) = (self.shared.ledger.clone(), batch.iter().map(|wanted| wanted.id).collect::<Vec<_>>());
        let facts = blocking(move || Ok(ledger.facts_of(&ids)?)).await?;
        let files = self.read_files(&batch).await?;
        let known = batch.into_iter().zip(facts).zip(files);
        let looks = futures::stream::iter(known)
            .map(|(known, file)| async move { (known.0.id, apply::observe(self, side, known, file).await) });
        Ok(Some(looks.buffered(AT_ONCE).collect().await))
    }

    /// What is to be done of what was looked into.
    fn plan(&mut self, looks: Looks, worked: &mut Worked) -> Result<Plan, CycleError> {
        let mut plan = Vec::with_capacity(looks.len());
        for (id, seen) in looks {
            match seen {
                Ok(Seen::Do(observed, action)) => plan.push((*observed, action)),
                Ok(Seen::Nothing) => {
                    worked.done += 1;
                    self.waiting.remove(&id);
                    self.overtaken.over(id);
                }
                Ok(Seen::Torn) => self.torn(id),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => self.failed(id, error, worked),
            }
        }
        Ok(plan)
    }

    /// The files of a batch, in its order.
    async fn read_files(&self, batch: &[Wanted]) -> Result<Vec<Option<FileRead>>, CycleError> {
        let parts: Vec<Vec<Wanted>> = batch.chunks(FILES_A_THREAD).map(<[Wanted]>::to_vec).collect();
        let near = &self.shared.near;
        let read: Vec<Vec<Option<FileRead>>> = futures::stream::iter(parts)
            .map(|part| {
                let (near, now) = (near.clone(), self.shared.now());
                blocking(move || read_files(&*near, &part, now))
            })
            .buffered(READERS)
            .try_collect()
            .await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// Does what is planned. Where the cycle is given up, so is this.
    async fn effects(&self, side: &TargetSide, plan: Plan) -> Vec<Outcome> {
        let (shared, side, preconditions) = (self.shared.clone(), side.clone(), self.preconditions);
        let means = Arc::new(Means { shared, side, preconditions });
        let mut lanes: [Plan; LANES] = Default::default();
        for (lane, planned) in (0..LANES).cycle().zip(plan) {
            lanes[lane].push(planned);
        }
        let mut working = JoinSet::new();
        for lane in lanes.into_iter().filter(|lane| !lane.is_empty()) {
            let means = means.clone();
            working.spawn(async move {
                let effects = futures::stream::iter(lane).map(|(observed, action)| timed(&means, observed, action));
                effects.buffer_unordered(AT_ONCE / LANES).collect::<Vec<_>>().await
            });
        }
        working.join_all().await.into_iter().flatten().collect()
    }

    /// What the effects came to.
    fn sort(&mut self, outcomes: Vec<Outcome>, worked: &mut Worked) {
        for outcome in outcomes {
            match outcome {
                Outcome::Done(receipt, happened) => {
                    self.waiting.remove(&receipt.row.id);
                    self.overtaken.over(receipt.row.id);
                    worked.done += 1;
                    worked.receipts.writes.push(*receipt);
                    worked.receipts.told.extend(happened);
                }
                Outcome::LookAgain(id) if self.overtaken.again(id) <= OVERTAKEN_MAX => self.look_again(id),
                Outcome::LookAgain(id) => self.failed(id, overtaken(id), worked),
                Outcome::Failed(id, error) => self.failed(id, error, worked),
            }
        }
    }

    /// What a batch came to and what the next one begins: one commit. What may be told after it.
    async fn record(&mut self, receipts: Receipts, notes: Vec<CompletionWrite>) -> Result<Vec<Happened>, CycleError> {
        let Receipts { mut writes, told } = receipts;
        if writes.is_empty() && notes.is_empty() {
            return Ok(told);
        }
        self.changes += writes.len() as u64;
        self.map_stale |= !writes.is_empty();
        writes.extend(notes);
        let (ledger, now) = (self.shared.ledger.clone(), self.shared.now());
        blocking(move || Ok(ledger.record_completions(&writes, now)?)).await?;
        Ok(told)
    }

    fn tell_all(&self, told: Vec<Happened>) {
        if told.iter().any(|happened| happened.is(PUSHED)) {
            let now = self.shared.now();
            self.shared.board.update(now, |status| {
                if let Some(target) = &mut status.target {
                    target.last_push_at = Some(now);
                }
            });
        }
        told.into_iter().for_each(|happened| self.shared.tell(happened));
    }

    /// Unchanged, and no whole JSON: Label Studio may be about to go on. An event of the directory ends the wait, too.
    fn torn(&mut self, id: TaskId) {
        let (now, patience) = (self.shared.now(), self.shared.pace.unsettled);
        self.look_again(id);
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        let for_ms = u128::try_from(now.0.saturating_sub(waiting.since.0)).unwrap_or(0);
        if for_ms < patience.as_millis() {
            "settling".clone_into(&mut waiting.reason);
            return;
        }
        waiting.state = UNSETTLED;
        UNSETTLED.clone_into(&mut waiting.reason);
        self.restless.insert(id, Instant::now() + patience);
    }

    fn look_again(&mut self, id: TaskId) {
        let again = Instant::now() + self.shared.pace.rest.max(AGAIN_MIN);
        self.restless.insert(id, again);
    }

    fn failed(&mut self, id: TaskId, error: CycleError, worked: &mut Worked) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            error.code().clone_into(&mut waiting.reason);
        }
        self.shared.events.meters().push(self.shared.name.as_str(), "error");
        self.shared.count_failure(&error);
        self.restless.insert(id, Instant::now() + self.shared.pace.retry_max);
        worked.failed += 1;
        worked.failure = Some(error);
    }
}

async fn timed(means: &Means, observed: Observed, action: CompletionAction) -> Outcome {
    let begun = Instant::now();
    apply::effect(means, observed, action).await.took(begun.elapsed())
}

fn overtaken(id: TaskId) -> CycleError {
    CycleError::Blocked {
        code: "overtaken",
        message: format!(
            "completion {id} is refused again and again, as if its file or object were another one each time"
        ),
        hint: "see who else writes it; a store that refuses every write with a condition cannot be a target".to_owned(),
    }
}

/// What is going to be done.
type Plan = Vec<(Observed, CompletionAction)>;

/// What was looked into, in order.
type Looks = Vec<(TaskId, Result<Seen, CycleError>)>;

/// What the batches of a cycle came to.
#[derive(Default)]
struct Worked {
    total: u64,
    done: u64,
    failed: u64,
    failure: Option<CycleError>,
    /// Somebody's decision overruled a side.
    overrules: bool,
    /// Of the batch that was done last: written down with the notes of the next.
    receipts: Receipts,
}

#[derive(Default)]
struct Receipts {
    writes: Vec<CompletionWrite>,
    told: Vec<Happened>,
}

impl Receipts {
    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Trouble with one file or object, whatever happens to the others.
fn is_about_one(error: &CycleError) -> bool {
    match error {
        CycleError::Store(error) => {
            matches!(error.kind, StoreErrorKind::TooLarge | StoreErrorKind::UnsupportedKey | StoreErrorKind::Malformed)
        }
        CycleError::Near(_) => true,
        CycleError::Listing(_) | CycleError::Ledger(_) | CycleError::Work(_) | CycleError::Blocked { .. } => false,
    }
}
