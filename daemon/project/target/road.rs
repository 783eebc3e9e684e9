//! Completions to the target and back, once around: observe, plan, apply, record.
//!
//! Promise: a push is noted before it is made and receipted after; its bytes are the file's; nothing is written over
//! what was not seen. What is in hand when the daemon dies is found by the next cycle.
//! Not here: deciding (`sync::completions`), walking (`target::look`), one completion's effects (`target::apply`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::UnixMillis;
use crate::control::api::Item;
use crate::events::{Happened, Level};
use crate::names::{Key, TaskId};
use crate::project::board::{older_here, standing};
use crate::project::claim::Owner;
use crate::project::deletions::Deletions;
use crate::project::error::{CycleError, blocking};
use crate::project::files::{Rest, Settler};
use crate::project::ledger::{CompletionCounts, HoldRow};
use crate::project::shared::Shared;
use crate::project::target::look::{self, Scope, TargetLooked, Wanted};
use crate::settings::{OnDeleted, TargetSettings};
use crate::store::listing::{self, ListingError, Marks, Order};
use crate::store::{ListRequest, Store};
use crate::sync::action::OLDER_HERE;
use crate::sync::completions::TargetPolicy;
use crate::sync::repeats::{InARow, Repeats};

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

    /// Bucket and prefix in one: `s3://bucket/done/`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.store.root(), self.prefix())
    }

    /// The key of a completion (contract C18).
    pub fn key(&self, id: TaskId) -> Key {
        Key::new(format!("{}{id}", self.prefix()))
    }

    pub(in crate::project) fn policy(&self) -> TargetPolicy {
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
    pub(in crate::project) shared: Shared,
    /// Held by the one blocking walk at a time; never contended.
    settler: Arc<Mutex<Settler>>,
    pub(in crate::project) deletions: Deletions,
    pub(in crate::project) claimed: Option<(String, String)>,
    pub(in crate::project) preconditions: bool,
    /// When the prefix's mark was last seen to be there.
    pub(in crate::project) mark_seen: Option<Instant>,
    unordered: Vec<String>,
    /// What the last listing left for the next one.
    marks: Marks,
    pub(in crate::project) waiting: BTreeMap<TaskId, Waiting>,
    unknown: Vec<TaskId>,
    pub(in crate::project) restless: BTreeMap<TaskId, Instant>,
    /// What there was when the ledger had this many [writes](crate::project::ledger::Ledger::writes).
    counted: Option<(u64, CompletionCounts, Vec<HoldRow>)>,
    map_written: Option<Instant>,
    /// `target.json`, being written: no completion waits for it, it holds all of them.
    map_writing: Option<JoinHandle<Result<(), CycleError>>>,
    pub(in crate::project) map_stale: bool,
    /// Pushes that fail while others go on.
    pub(in crate::project) repeats: Repeats,
    /// How often in a row a side was another one at the last moment; of what is pending only.
    pub(in crate::project) overtaken: InARow,
    /// Completions dealt with since [`TargetRoad::take_changes`].
    pub(in crate::project) changes: u64,
}

/// The state of a completion file that does not come to rest.
pub(in crate::project) const UNSETTLED: &str = "unsettled";

#[derive(Clone, Debug)]
pub(in crate::project) struct Waiting {
    pub(in crate::project) since: UnixMillis,
    pub(in crate::project) state: &'static str,
    pub(in crate::project) reason: String,
}

impl TargetRoad {
    /// Nothing looked at yet.
    pub fn new(shared: Shared) -> Self {
        let settler = Settler::new(shared.pace.rest, shared.pace.unsettled, RESTLESS_MAX);
        let deletions = Deletions::new(shared.pace.rest, shared.pace.unsettled);
        Self {
            shared,
            settler: Arc::new(Mutex::new(settler)),
            deletions,
            claimed: None,
            preconditions: false,
            mark_seen: None,
            unordered: Vec::new(),
            marks: Marks::default(),
            waiting: BTreeMap::new(),
            unknown: Vec::new(),
            restless: BTreeMap::new(),
            counted: None,
            map_written: None,
            map_writing: None,
            map_stale: true,
            repeats: Repeats::default(),
            overtaken: InARow::default(),
            changes: 0,
        }
    }

    /// How much was done since the last call.
    pub fn take_changes(&mut self) -> u64 {
        std::mem::take(&mut self.changes)
    }

    /// When something must be looked at again, and what.
    pub fn wake_at(&self) -> Option<Instant> {
        let map_open = self.map_writing.is_some() || (self.map_stale && self.claimed.is_some());
        let map = map_open.then(|| self.map_written.map_or_else(Instant::now, |at| at + MAP_EVERY));
        self.restless.values().min().copied().into_iter().chain(map).min()
    }

    /// Files that were not at rest and are due.
    pub fn due(&self) -> BTreeSet<TaskId> {
        let now = Instant::now();
        self.restless.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect()
    }

    /// Once around.
    pub async fn cycle(&mut self, side: &TargetSide, look: Look) -> Result<(), CycleError> {
        // What is known already is shown also while the target does not answer.
        if self.counted.is_none() {
            self.finish().await?;
        }
        if look == Look::Full {
            // Before anything is marked.
            let shared = self.shared.clone();
            blocking(move || look::refuse_own_target(&shared)).await?;
        }
        let mut look = look;
        let mut looked = match self.look_if_claimed(side, &look).await {
            Ok(Some(looked)) => looked,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.note_waiting_here(side).await;
                return Err(error);
            }
        };
        if looked.look_at_all {
            look = Look::Local;
            looked = self.look(side, look.clone()).await?;
        }
        if look == Look::Full {
            self.note_listed(side, looked.highest).await?;
        }
        self.note_waiting(&looked, &look);
        // A look at some files by name says nothing of what is gone.
        let some = matches!(look, Look::Some(_));
        let whole = some || self.deletions.is_whole(looked.gone, Instant::now());
        let deleted = look_again_at(&mut looked, whole);
        let again = Instant::now() + self.shared.pace.rest;
        self.restless.extend(deleted.into_iter().map(|id| (id, again)));
        self.hold(side, &mut looked, &look).await?;
        let worked = self.work(side, looked.wanted).await;
        let (waiting, restless) = (&self.waiting, &self.restless);
        self.overtaken.keep(|id| waiting.contains_key(&id) || restless.contains_key(&id));
        self.write_map(side, look == Look::Full).await?;
        self.finish().await?;
        worked
    }

    /// The target was listed whole; an object beyond every id that was ever used here moves the next id.
    async fn note_listed(&self, side: &TargetSide, highest: Option<TaskId>) -> Result<(), CycleError> {
        let (ledger, place) = (self.shared.ledger.clone(), side.place());
        let before = blocking(move || {
            let before = ledger.highest_id()?;
            ledger.note_target_listed(&place, highest)?;
            Ok(before)
        })
        .await?;
        let Some(foreign) = highest.filter(|highest| Some(*highest) > before) else { return Ok(()) };
        let key = side.key(foreign);
        let text = format!("{key} is there, and {foreign} is no task of this project: new ids go on after it");
        let happened = Happened::new(Level::Notice, "ids_reserved", text).key(&key);
        self.shared.tell(happened.bucket(Some(side.store.root())));
        Ok(())
    }

    /// `None`: the prefix is not ours.
    async fn look_if_claimed(&mut self, side: &TargetSide, look: &Look) -> Result<Option<TargetLooked>, CycleError> {
        if !self.is_claimed(side, look).await? {
            return Ok(None);
        }
        self.look(side, look.clone()).await.map(Some)
    }

    async fn look(&mut self, side: &TargetSide, look: Look) -> Result<TargetLooked, CycleError> {
        let looked = self.look_once(side, &look).await;
        let Err(CycleError::Listing(ListingError::OutOfOrder { .. })) = &looked else { return looked };
        self.unordered.push(side.store.root().to_owned());
        self.look_once(side, &look).await
    }

    fn order(&self, side: &TargetSide) -> Order {
        let unordered = self.unordered.iter().any(|root| root == side.store.root());
        if unordered { Order::Sort(self.shared.work_dir.clone()) } else { Order::Check }
    }

    async fn look_once(&mut self, side: &TargetSide, look: &Look) -> Result<TargetLooked, CycleError> {
        let (shared, settler, policy) = (self.shared.clone(), self.settler.clone(), side.policy());
        let walk = move |scope| {
            let mut settler = settler.lock().unwrap_or_else(PoisonError::into_inner);
            look::walk(&shared, scope, policy, &mut settler)
        };
        match look {
            Look::Local => blocking(move || walk(Scope::Local)).await,
            Look::Some(ids) => {
                let (ledger, mut ids) = (self.shared.ledger.clone(), ids.clone());
                blocking(move || {
                    ids.extend(look::in_hand(&ledger)?);
                    walk(Scope::Some(ids))
                })
                .await
            }
            Look::Full => {
                let (prefix, order) = (side.prefix(), self.order(side));
                let request = ListRequest { prefix: prefix.clone(), one_level: true };
                let (pages, taken) = mpsc::channel(2);
                let (whole, proof) = oneshot::channel();
                let walked = tokio::spawn(blocking(move || walk(Scope::Full { pages: taken, whole: proof, prefix })));
                match listing::walk(&*side.store, &request, &order, &mut self.marks, pages).await {
                    // The walk has failed already when nobody takes the proof.
                    Ok(complete) => drop(whole.send(complete)),
                    Err(ListingError::GivenUp) => drop(whole),
                    Err(error) => return Err(error.into()),
                }
                walked.await.map_err(|stopped| CycleError::Work(std::io::Error::other(stopped)))?
            }
        }
    }

    /// The target cannot be looked at: what waits for it is told all the same (promise 90).
    async fn note_waiting_here(&mut self, side: &TargetSide) {
        // A failure here is told by the look that failed before it.
        let Ok(looked) = self.look_once(side, &Look::Local).await else { return };
        self.note_waiting(&looked, &Look::Local);
    }

    fn note_waiting(&mut self, looked: &TargetLooked, look: &Look) {
        let now = Instant::now();
        let unsettled = self.waiting.iter().filter(|(_, waiting)| waiting.state == UNSETTLED);
        let unsettled: BTreeMap<TaskId, UnixMillis> = unsettled.map(|(id, waiting)| (*id, waiting.since)).collect();
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
                Rest::Unsettled(after) => (*after, UNSETTLED),
            };
            self.restless.insert(*id, now + after);
            let reason = if state == UNSETTLED { UNSETTLED } else { "settling" };
            self.waiting.insert(*id, Waiting { since: wall, state, reason: reason.to_owned() });
        }
        for wanted in looked.wanted.iter().filter(|wanted| wanted.print.is_some()) {
            let since = wanted.print.map_or(wall, |print| UnixMillis(print.mtime_ns / 1_000_000));
            // Until it was read again it is what it was.
            let (state, reason) =
                if unsettled.get(&wanted.id) == Some(&since) { (UNSETTLED, UNSETTLED) } else { ("pending", "") };
            self.waiting.insert(wanted.id, Waiting { since, state, reason: reason.to_owned() });
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
        let unsettled = self.waiting.values().filter(|w| w.state == UNSETTLED).count() as u64;
        let pending = self.waiting.len() as u64 - unsettled;
        let oldest = self.waiting.values().map(|w| w.since).min();
        self.shared.board.update(self.shared.now(), |status| {
            let Some(target) = &mut status.target else { return };
            (target.pending, target.unsettled, target.oldest_pending_at) = (pending, unsettled, oldest);
        });
    }

    /// Writes `target.json` beside the cycles, where it is due. `to_end`: waits for it.
    async fn write_map(&mut self, side: &TargetSide, to_end: bool) -> Result<(), CycleError> {
        self.map_written_beside(false).await?;
        let due = self.map_written.is_none_or(|at| at.elapsed() >= MAP_EVERY);
        if self.map_writing.is_none() && self.map_stale && due {
            let (shared, place) = (self.shared.clone(), side.place());
            let write = move || Ok(shared.near.write_target_map(&place, &shared.ledger.pushed_ids()?)?);
            self.map_writing = Some(tokio::spawn(blocking(write)));
            self.map_stale = false;
            self.map_written = Some(Instant::now());
        }
        self.map_written_beside(to_end).await
    }

    /// How the writing ended, if it has.
    async fn map_written_beside(&mut self, to_end: bool) -> Result<(), CycleError> {
        let Some(writing) = self.map_writing.as_mut().filter(|writing| to_end || writing.is_finished()) else {
            return Ok(());
        };
        // Kept until then: a cycle that is given up here leaves nothing behind that nobody waits for.
        let written = writing.await.unwrap_or_else(|stopped| Err(CycleError::Work(std::io::Error::other(stopped))));
        self.map_writing = None;
        self.map_stale |= written.is_err();
        written
    }

    /// Waits for what is being written: after the project's lock nobody writes there. A failure is the next start's.
    pub async fn end(mut self) {
        let _ = self.map_written_beside(true).await;
    }

    /// Counts, status.
    async fn finish(&mut self) -> Result<(), CycleError> {
        let (shared, counted) = (self.shared.clone(), self.counted.take());
        let count = move || {
            let writes = shared.ledger.writes();
            if let Some(counted) = counted.filter(|(then, ..)| *then == writes) {
                return Ok(counted);
            }
            Ok((writes, shared.ledger.completion_counts()?, shared.ledger.holds()?))
        };
        let counted = blocking(count).await?;
        self.publish_waiting();
        let (_, counts, holds) = self.counted.insert(counted);
        let now = self.shared.now();
        match counts.older_here {
            0 => self.shared.board.unwarn(now, OLDER_HERE),
            older => self.shared.board.warn(now, older_here(&self.shared.name, older)),
        };
        self.shared.board.update(self.shared.now(), |status| {
            status.conflicts = counts.disputed;
            status.holds = standing(holds);
            let Some(target) = &mut status.target else { return };
            (target.in_step, target.target_missing) = (counts.in_step, counts.missing);
        });
        Ok(())
    }
}

/// Takes out what is gone where more may follow; these are looked at again.
fn look_again_at(looked: &mut TargetLooked, whole: bool) -> Vec<TaskId> {
    looked.deletions_whole = whole;
    if whole {
        return Vec::new();
    }
    let is_gone = |wanted: &Wanted| wanted.print.is_none() && wanted.row.is_some();
    let gone = looked.wanted.iter().filter(|wanted| is_gone(wanted)).map(|wanted| wanted.id).collect();
    looked.wanted.retain(|wanted| !is_gone(wanted));
    gone
}
