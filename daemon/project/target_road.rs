//! Completions to the target and back, once around: observe, plan, apply, record.
//!
//! Promise: a push is noted before it is made and receipted after; its bytes are the file's; nothing is written over
//! what was not seen. What is in hand when the daemon dies is found by the next cycle.
//! Not here: deciding (`sync::completions`), walking (`target_look`), one completion's effects (`target_apply`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::board::Direction;
use super::claim::{Claim, Owner, claim};
use super::error::{CycleError, blocking};
use super::files::{Rest, Settler};
use super::ledger::{CompletionWrite, HoldRow};
use super::shared::Shared;
use super::target_apply::{self, Observed, Outcome};
use super::target_look::{self, Scope, TargetLooked, Wanted};
use crate::clock::UnixMillis;
use crate::control::api::{Item, Progress, Reason};
use crate::events::{Happened, Level};
use crate::names::{Key, Sha256, TaskId};
use crate::settings::{OnDeleted, TargetSettings};
use crate::store::listing::{self, ListingError, Order};
use crate::store::{ListRequest, Store, StoreErrorKind};
use crate::sync::action::CompletionAction;
use crate::sync::completions::{Remote, TargetPolicy};

/// Completions observed, noted, pushed and receipted together: two commits a batch.
const BATCH: usize = 256;

/// Bytes of one batch, read at once.
const BATCH_BYTES: u64 = 64 << 20;

/// Completions looked into, or pushed, at once.
const AT_ONCE: usize = 32;

/// `target.json` is written anew at most this often: it holds every pushed completion.
const MAP_EVERY: Duration = Duration::from_secs(5);

/// Restless files remembered: more wait until these have settled.
const RESTLESS_MAX: usize = 100_000;

/// Pending completions listed by name; the rest is counted.
const PENDING_MAX: usize = 1_000;

/// A target: its settings and how it is reached.
#[derive(Clone, Debug)]
pub struct TargetSide {
    /// In force for this cycle.
    pub settings: TargetSettings,
    /// The bucket.
    pub store: Arc<dyn Store>,
    /// Who we are to the bucket.
    pub owner: Owner,
}

impl TargetSide {
    /// What every completion's key starts with: `done/`, or nothing.
    pub fn prefix(&self) -> String {
        target_prefix(&self.settings.prefix)
    }

    /// The key of a completion (contract C18).
    pub fn key(&self, id: TaskId) -> Key {
        Key::new(format!("{}{id}", self.prefix()))
    }

    pub(super) fn policy(&self) -> TargetPolicy {
        TargetPolicy {
            create_local_copy: self.settings.create_local_copy,
            delete_objects: self.settings.on_deleted == OnDeleted::Delete,
        }
    }
}

/// `done` and `done/` are one: `done/`; empty stays empty.
pub fn target_prefix(prefix: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() { String::new() } else { format!("{prefix}/") }
}

/// What a cycle is to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// These files, and what is in hand.
    Some(BTreeSet<TaskId>),
    /// Every file.
    Local,
    /// Every file and every object.
    Full,
}

/// This direction of one project.
pub struct TargetRoad {
    pub(super) shared: Shared,
    /// Held by the one blocking walk at a time; never contended.
    settler: Arc<Mutex<Settler>>,
    claimed: Option<(String, String)>,
    pub(super) preconditions: bool,
    unordered: Vec<String>,
    waiting: BTreeMap<TaskId, Waiting>,
    unknown: Vec<TaskId>,
    restless: BTreeMap<TaskId, Instant>,
    map_written: Option<Instant>,
    map_stale: bool,
}

#[derive(Clone, Debug)]
struct Waiting {
    since: UnixMillis,
    state: &'static str,
    reason: String,
}

impl TargetRoad {
    /// Nothing looked at yet.
    pub fn new(shared: Shared) -> Self {
        let settler = Settler::new(shared.pace.rest, shared.pace.unsettled, RESTLESS_MAX);
        Self {
            shared,
            settler: Arc::new(Mutex::new(settler)),
            claimed: None,
            preconditions: false,
            unordered: Vec::new(),
            waiting: BTreeMap::new(),
            unknown: Vec::new(),
            restless: BTreeMap::new(),
            map_written: None,
            map_stale: true,
        }
    }

    /// When something must be looked at again, and what.
    pub fn wake_at(&self) -> Option<Instant> {
        let map = (self.map_stale && self.claimed.is_some())
            .then(|| self.map_written.map_or_else(Instant::now, |at| at + MAP_EVERY));
        self.restless.values().min().copied().into_iter().chain(map).min()
    }

    /// Files that were not at rest and are due.
    pub fn due(&self) -> BTreeSet<TaskId> {
        let now = Instant::now();
        self.restless.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect()
    }

    /// Once around.
    pub async fn cycle(&mut self, side: &TargetSide, look: Look) -> Result<(), CycleError> {
        let storages = {
            let near = self.shared.near.clone();
            blocking(move || Ok(near.own_storages()?)).await?
        };
        if storages.target {
            return Err(CycleError::Blocked {
                code: "label_studio_owns_target",
                message: "config.json names a cloud storage as target: Label Studio writes completions there itself"
                    .to_owned(),
                hint: "stop Label Studio and run `labelsyncd init --adopt`, or set its target to local".to_owned(),
            });
        }
        if !self.is_claimed(side).await? {
            return Ok(());
        }
        let mut look = look;
        let mut looked = self.look(side, look.clone()).await?;
        if looked.look_at_all {
            look = Look::Local;
            looked = self.look(side, look.clone()).await?;
        }
        if let Some(highest) = looked.highest {
            let ledger = self.shared.ledger.clone();
            blocking(move || Ok(ledger.note_highest(highest)?)).await?;
        }
        self.note_waiting(&looked, &look);
        self.hold(&mut looked, &look).await?;
        let worked = self.work(side, looked.wanted).await;
        self.finish(side).await?;
        worked
    }

    async fn look(&mut self, side: &TargetSide, look: Look) -> Result<TargetLooked, CycleError> {
        let looked = self.look_once(side, &look, self.order(side)).await;
        let Err(CycleError::Listing(ListingError::OutOfOrder { .. })) = &looked else { return looked };
        self.unordered.push(side.store.root().to_owned());
        self.look_once(side, &look, self.order(side)).await
    }

    fn order(&self, side: &TargetSide) -> Order {
        let unordered = self.unordered.iter().any(|root| root == side.store.root());
        if unordered { Order::Sort(self.shared.work_dir.clone()) } else { Order::Check }
    }

    async fn look_once(&self, side: &TargetSide, look: &Look, order: Order) -> Result<TargetLooked, CycleError> {
        let (shared, settler, policy) = (self.shared.clone(), self.settler.clone(), side.policy());
        let walk = move |scope| {
            let mut settler = settler.lock().unwrap_or_else(PoisonError::into_inner);
            target_look::walk(&shared, scope, policy, &mut settler)
        };
        match look {
            Look::Local => blocking(move || walk(Scope::Local)).await,
            Look::Some(ids) => {
                let (ledger, mut ids) = (self.shared.ledger.clone(), ids.clone());
                blocking(move || {
                    ids.extend(target_look::in_hand(&ledger)?);
                    walk(Scope::Some(ids))
                })
                .await
            }
            Look::Full => {
                let prefix = side.prefix();
                let request = ListRequest { prefix: prefix.clone(), one_level: true };
                let (pages, taken) = mpsc::channel(2);
                let (whole, proof) = oneshot::channel();
                let walked = tokio::spawn(blocking(move || walk(Scope::Full { pages: taken, whole: proof, prefix })));
                match listing::walk(&*side.store, &request, &order, pages).await {
                    // The walk has failed already when nobody takes the proof.
                    Ok(complete) => drop(whole.send(complete)),
                    Err(ListingError::GivenUp) => drop(whole),
                    Err(error) => return Err(error.into()),
                }
                walked.await.map_err(|stopped| CycleError::Work(std::io::Error::other(stopped)))?
            }
        }
    }

    /// Observes, notes, does and receipts, batch by batch. One that fails while others succeed is tried again by
    /// itself; where none succeeds the bucket is the trouble.
    async fn work(&mut self, side: &TargetSide, wanted: Vec<Wanted>) -> Result<(), CycleError> {
        let total = wanted.len() as u64;
        let mut done = 0;
        let mut failure = None;
        for batch in batches(wanted) {
            let worked = self.work_batch(side, batch).await?;
            done += worked.done;
            let fruitless = worked.done == 0 && worked.failure.is_some();
            failure = worked.failure.or(failure);
            let progress = Progress { phase: "pushing".to_owned(), done, total: Some(total) };
            self.shared.board.progress(Direction::Target, Some(progress));
            if fruitless {
                break;
            }
        }
        let code = "push_failing";
        let Some(error) = failure else {
            self.shared.board.unwarn(self.shared.now(), code);
            return Ok(());
        };
        if done == 0 && !is_about_one(&error) {
            return Err(error);
        }
        let reason = error.reason();
        let warning = Reason { code: code.to_owned(), message: reason.message.clone(), hint: reason.hint };
        if self.shared.board.warn(self.shared.now(), warning) {
            self.shared.tell(Happened::new(Level::Warning, code, reason.message).error(&reason.code));
        }
        Ok(())
    }

    async fn work_batch(&mut self, side: &TargetSide, batch: Vec<Wanted>) -> Result<Worked, CycleError> {
        let mut failure = None;
        let mut failed = Vec::new();
        let mut plan: Vec<(Observed, CompletionAction)> = Vec::with_capacity(batch.len());
        let road: &Self = self;
        let mut looks = futures::stream::iter(batch)
            .map(|wanted| async move { (wanted.id, target_apply::observe(road, side, wanted).await) })
            .buffered(AT_ONCE);
        let mut settled = Vec::new();
        let mut torn = Vec::new();
        while let Some((id, observed)) = looks.next().await {
            match observed {
                Ok(target_apply::Seen::Do(observed, action)) => plan.push((*observed, action)),
                Ok(target_apply::Seen::Nothing) => settled.push(id),
                Ok(target_apply::Seen::Torn) => torn.push(id),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    failed.push(id);
                    failure = Some(error);
                }
            }
        }
        drop(looks);
        let mut done = settled.len() as u64;
        for id in settled {
            self.waiting.remove(&id);
        }
        let again = Instant::now() + self.shared.pace.rest.max(Duration::from_millis(20));
        for id in torn {
            self.restless.insert(id, again);
        }
        let notes: Vec<CompletionWrite> = plan.iter().filter_map(|(o, action)| target_apply::note(o, action)).collect();
        self.record(notes).await?;
        let road: &Self = self;
        let outcomes: Vec<Outcome> = futures::stream::iter(plan)
            .map(|(observed, action)| target_apply::effect(road, side, observed, action))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut receipts = Vec::new();
        let mut told = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Done(receipt, happened) => {
                    self.waiting.remove(&receipt.row.id);
                    receipts.push(*receipt);
                    told.extend(happened);
                }
                Outcome::LookAgain(id) => {
                    self.restless.insert(id, again);
                }
                Outcome::Failed(id, error) => {
                    if let Some(waiting) = self.waiting.get_mut(&id) {
                        waiting.reason = error.code().to_owned();
                    }
                    failed.push(id);
                    failure = Some(error);
                }
            }
        }
        done += receipts.len() as u64;
        let later = Instant::now() + self.shared.pace.retry_max;
        self.restless.extend(failed.into_iter().map(|id| (id, later)));
        self.map_stale |= !receipts.is_empty();
        let pushed = told.iter().any(Happened::is_push);
        self.record(receipts).await?;
        told.into_iter().for_each(|happened| self.shared.tell(happened));
        if pushed {
            let now = self.shared.now();
            self.shared.board.update(now, |status| {
                if let Some(target) = &mut status.target {
                    target.last_push_at = Some(now);
                }
            });
        }
        Ok(Worked { done, failure })
    }

    async fn record(&self, writes: Vec<CompletionWrite>) -> Result<(), CycleError> {
        let (ledger, now) = (self.shared.ledger.clone(), self.shared.now());
        blocking(move || Ok(ledger.record_completions(&writes, now)?)).await
    }

    fn note_waiting(&mut self, looked: &TargetLooked, look: &Look) {
        let now = Instant::now();
        match look {
            Look::Some(ids) => ids.iter().for_each(|id| {
                self.restless.remove(id);
                self.waiting.remove(id);
            }),
            Look::Local | Look::Full => {
                self.restless.clear();
                self.waiting.clear();
            }
        }
        let wall = self.shared.now();
        for (id, rest) in &looked.restless {
            let (after, state) = match rest {
                Rest::AtRest => continue,
                Rest::Settling(after) => (*after, "pending"),
                Rest::Unsettled(after) => (*after, "unsettled"),
            };
            self.restless.insert(*id, now + after);
            let reason = if state == "unsettled" { "unsettled" } else { "settling" };
            self.waiting.insert(*id, Waiting { since: wall, state, reason: reason.to_owned() });
        }
        for wanted in looked.wanted.iter().filter(|wanted| wanted.print.is_some()) {
            let since = wanted.print.map_or(wall, |print| UnixMillis(print.mtime_ns / 1_000_000));
            self.waiting.insert(wanted.id, Waiting { since, state: "pending", reason: String::new() });
        }
        if *look == Look::Local || *look == Look::Full {
            self.unknown.clone_from(&looked.unknown);
        }
        self.publish_waiting();
    }

    fn publish_waiting(&self) {
        let items = self.waiting.iter().take(PENDING_MAX).map(|(id, waiting)| Item {
            id: Some(id.get()),
            state: waiting.state.to_owned(),
            reason: waiting.reason.clone(),
            detail: format!("since {}", waiting.since.to_rfc3339()),
            ..Default::default()
        });
        let unknown = self.unknown.iter().map(|id| Item {
            id: Some(id.get()),
            state: "ignored".to_owned(),
            reason: "unknown_task".to_owned(),
            detail: "no task of this id is known; it is pushed when tasks.json has it".to_owned(),
            ..Default::default()
        });
        self.shared.board.set_pending(items.chain(unknown).collect());
        let unsettled = self.waiting.values().filter(|w| w.state == "unsettled").count() as u64;
        let pending = self.waiting.len() as u64 - unsettled;
        let oldest = self.waiting.values().map(|w| w.since).min();
        self.shared.board.update(self.shared.now(), |status| {
            let Some(target) = &mut status.target else { return };
            (target.pending, target.unsettled, target.oldest_pending_at) = (pending, unsettled, oldest);
        });
    }

    /// Takes out of a cycle what vanished in numbers that must be accepted first.
    async fn hold(&mut self, looked: &mut TargetLooked, look: &Look) -> Result<(), CycleError> {
        for code in ["mass_deletion", "target_mass_removal"] {
            if *look != Look::Full && code == "target_mass_removal" {
                continue;
            }
            let row = looked.vanish.iter().find(|(c, _)| *c == code).map(|(_, v)| hold_row(code, v, self.shared.now()));
            let ledger = self.shared.ledger.clone();
            let (accepted, new) = blocking({
                let row = row.clone();
                move || {
                    let before = ledger.holds()?;
                    ledger.hold(code, row.as_ref())?;
                    let known = row.as_ref().and_then(|row| before.into_iter().find(|hold| hold.id == row.id));
                    Ok((known.as_ref().is_some_and(|hold| hold.accepted), known.is_none()))
                }
            })
            .await?;
            let Some(row) = row.filter(|_| !accepted) else { continue };
            looked.wanted.retain(|wanted| match code {
                "mass_deletion" => wanted.print.is_some() || wanted.row.is_none(),
                _ => wanted.remote != Remote::Absent || wanted.row.is_none(),
            });
            if new {
                let text = format!(
                    "held: {}; `lsctl accept {} {}` would {}",
                    row.message, self.shared.name, row.id, row.consequence
                );
                self.shared.tell(Happened::new(Level::Error, "held", text).error(code));
            }
        }
        Ok(())
    }

    /// Whether the prefix is ours to push under.
    async fn is_claimed(&mut self, side: &TargetSide) -> Result<bool, CycleError> {
        let place = (side.store.root().to_owned(), side.prefix());
        if self.claimed.as_ref() == Some(&place) {
            return Ok(true);
        }
        let ledger = self.shared.ledger.clone();
        let (holds, project) = blocking(move || Ok((ledger.holds()?, ledger.meta("project")?))).await?;
        let mut me = side.owner.clone();
        // The project's UUID, which stays the same when its directory moves.
        me.project = project.unwrap_or(me.project);
        let accepted = holds.iter().find(|hold| hold.code == "target_owned" && hold.accepted);
        let mut found = claim(&*side.store, &place.1, &me, false).await?;
        if let (Claim::Foreign(owner), Some(hold)) = (&found, accepted)
            && owner_hold_id(owner) == hold.id
        {
            found = claim(&*side.store, &place.1, &me, true).await?;
        }
        let now = self.shared.now();
        let row = match &found {
            Claim::Foreign(owner) => Some(owner_hold(owner, side, now)),
            Claim::Ours { .. } | Claim::Unmarked(_) => None,
        };
        let (ledger, recorded) = (self.shared.ledger.clone(), row.clone());
        blocking(move || Ok(ledger.hold("target_owned", recorded.as_ref())?)).await?;
        self.warn_about(&found, side);
        if let Some(row) = row {
            if !holds.iter().any(|hold| hold.id == row.id) {
                self.shared
                    .tell(Happened::new(Level::Error, "held", format!("held: {}", row.message)).error(&row.code));
            }
            return Ok(false);
        }
        self.preconditions = matches!(found, Claim::Ours { preconditions: true });
        self.claimed = Some(place);
        Ok(true)
    }

    fn warn_about(&self, found: &Claim, side: &TargetSide) {
        let now = self.shared.now();
        let root = side.store.root();
        let warn = |code: &str, stands: bool, message: String, hint: &str| {
            if stands {
                let reason = Reason { code: code.to_owned(), message: message.clone(), hint: hint.to_owned() };
                if self.shared.board.warn(now, reason) {
                    self.shared.tell(Happened::new(Level::Warning, code, message).error(code));
                }
            } else {
                self.shared.board.unwarn(now, code);
            }
        };
        let unsafe_target = matches!(found, Claim::Ours { preconditions: false });
        let text = format!("{root} ignores preconditions: each object is looked up before it is written instead");
        warn(
            "target_unsafe",
            unsafe_target,
            text,
            "let nobody else write below this prefix, or use a store that honours If-None-Match",
        );
        let unmarked = matches!(found, Claim::Unmarked(_));
        let text = format!("{root} does not let the owner's mark be written");
        warn(
            "target_unmarked",
            unmarked,
            text,
            "allow writing below .labelsync/, so that two projects cannot share a prefix unnoticed",
        );
    }

    /// `target.json`, counts, status.
    async fn finish(&mut self, side: &TargetSide) -> Result<(), CycleError> {
        let due = self.map_written.is_none_or(|at| at.elapsed() >= MAP_EVERY);
        let place = format!("{}/{}", side.store.root(), side.prefix());
        let write_map = self.map_stale && due;
        let shared = self.shared.clone();
        let (counts, holds) = blocking(move || {
            if write_map {
                shared.near.write_target_map(&place, &shared.ledger.pushed_ids()?)?;
            }
            Ok((shared.ledger.completion_counts()?, shared.ledger.holds()?))
        })
        .await?;
        if write_map {
            self.map_stale = false;
            self.map_written = Some(Instant::now());
        }
        self.publish_waiting();
        self.shared.board.update(self.shared.now(), |status| {
            status.conflicts = counts.disputed;
            status.holds = holds.iter().filter(|h| !h.accepted).map(super::source_road::hold_view).collect();
            let Some(target) = &mut status.target else { return };
            (target.in_step, target.target_missing) = (counts.in_step, counts.missing);
        });
        Ok(())
    }
}

/// What a batch came to.
struct Worked {
    done: u64,
    failure: Option<CycleError>,
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

/// Oldest first, bounded in number and bytes.
fn batches(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut batches: Vec<Vec<Wanted>> = Vec::new();
    let mut bytes = u64::MAX;
    for item in wanted {
        let size = item.print.map_or(0, |print| print.size_bytes);
        let full = batches.last().is_none_or(|batch| batch.len() >= BATCH) || bytes.saturating_add(size) > BATCH_BYTES;
        if full {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        batches.last_mut().expect("one was pushed").push(item);
    }
    batches
}

fn hold_row(code: &str, vanish: &crate::sync::holds::Vanish, since: UnixMillis) -> HoldRow {
    let (what, consequence) = match code {
        "mass_deletion" => {
            ("completion files", "record them as deleted (`on_deleted` says what happens to their objects)")
        }
        _ => ("objects of the target", "list them as target_missing"),
    };
    HoldRow {
        id: vanish.id.clone(),
        code: code.to_owned(),
        message: format!("{} of {} {what} are gone at once", vanish.vanished, vanish.known),
        consequence: consequence.to_owned(),
        since,
        accepted: false,
    }
}

fn owner_hold_id(owner: &Owner) -> String {
    Sha256::of(format!("{}/{}", owner.project, owner.installation).as_bytes()).to_string()[..8].to_owned()
}

fn owner_hold(owner: &Owner, side: &TargetSide, since: UnixMillis) -> HoldRow {
    let place = format!("{}/{}", side.store.root(), side.prefix());
    HoldRow {
        id: owner_hold_id(owner),
        code: "target_owned".to_owned(),
        message: format!("{place} belongs to project `{}` of another installation or directory", owner.name),
        consequence: "take it over; first make sure that nobody else pushes there".to_owned(),
        since,
        accepted: false,
    }
}
