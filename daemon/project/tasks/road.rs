//! `tasks.json`: what Label Studio did to it, and writing what the ledger says should stand there.
//!
//! Promise: contract C1 to C9: one replacement a cycle, in a quiet moment, of exactly the version that was looked at;
//! what Label Studio wrote at the last moment, even into the displaced file, is merged back.
//! Not here: what any of it means (`sync::near`), which tasks there should be (`source::road`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::project::error::CycleError;
use crate::project::files::{Displaced, Fingerprint};
use crate::project::ledger::{Asking, Ledger, NearChange};
use crate::project::near::{NearError, SourceMap};
use crate::project::shared::Shared;
use crate::project::spool::Spool;
use crate::project::tasks::displaced;
use crate::project::tasks::edits::LedgerEdits;
use crate::project::tasks::file;
use crate::project::tasks::seen::Seen;
use crate::sync::action::NearAction;
use crate::sync::ids::Ids;
use crate::sync::near::{Listing, TaskState, decide};

/// How often a replacement is tried in one cycle while Label Studio keeps writing.
const WRITE_ATTEMPTS: u32 = 5;

/// The pause between two looks at a torn file.
pub(super) const TORN_PAUSE: Duration = Duration::from_millis(20);

/// Changes recorded in one transaction.
const RECORD_BATCH: usize = 1_000;

/// A displaced `tasks.json`; read whole, as it is looked at only when somebody wrote into it.
const DISPLACED_MAX_BYTES: u64 = 4 << 30;

/// Events told one by one in one cycle; beyond that one line says how many more: a first mirror of millions would
/// push everything else out of the log.
pub(in crate::project) const EVENTS_MAX: usize = 20_000;

/// The tasks file of one project.
#[derive(Debug)]
pub struct TasksRoad {
    shared: Shared,
    displaced: Option<(Displaced, Instant)>,
    /// Nobody writes into it any more.
    displaced_done: bool,
    seen: Seen,
    /// Label Studio kept writing: what is reserved waits until then.
    unwritten_until: Option<Instant>,
    told: Vec<Happened>,
    untold: u64,
    started: bool,
    /// The highest id in this version of the file.
    highest_in: Option<(Fingerprint, TaskId)>,
}

/// What a look at `tasks.json` showed.
struct Compared {
    changes: Spool<NearChange>,
    in_file: Vec<TaskId>,
    /// `None`: there is no file.
    walked: Option<Fingerprint>,
    /// Something could not be decided.
    open: bool,
}

impl TasksRoad {
    /// Nothing looked at yet.
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            displaced: None,
            displaced_done: false,
            seen: Seen::default(),
            unwritten_until: None,
            told: Vec::new(),
            untold: 0,
            started: false,
            highest_in: None,
        }
    }

    /// When to look again.
    pub fn wake_at(&self) -> Option<Instant> {
        let displaced = self.displaced.as_ref().map(|(_, since)| {
            let due = *since + self.shared.pace.displaced;
            // A torn one is waited for longer, not looked at without a pause.
            if since.elapsed() < self.shared.pace.displaced { due } else { Instant::now() + TORN_PAUSE }
        });
        [displaced, self.seen.wake_at(&self.shared), self.unwritten_until].into_iter().flatten().min()
    }

    /// Told when it stands in `tasks.json`.
    pub fn tell_later(&mut self, happened: Happened) {
        if self.told.len() < EVENTS_MAX {
            self.told.push(happened);
        } else {
            self.untold += 1;
        }
    }

    /// Looks at `tasks.json` and `source.json`, and records what they mean. Blocks.
    pub fn look(&mut self) -> Result<(), CycleError> {
        self.seen.look_for_map(&self.shared)?;
        let mut rescued = self.look_displaced()?;
        if !self.started {
            rescued.extend(displaced::at_start(&self.shared)?);
        }
        let recorded = self.recorded_print()?;
        let print = self.shared.near.tasks_print()?;
        let ours = print.is_some() && print == recorded;
        if ours && rescued.is_empty() && self.started {
            self.seen.look(&self.shared, self.displaced.is_none() || self.displaced_done)?;
            return self.discard_displaced();
        }
        let compared = self.compare(&rescued)?;
        self.highest_in = compared.walked.zip(compared.in_file.last().copied());
        self.record(compared.changes)?;
        self.seen.forget();
        if let Some(written) = compared.walked.filter(|_| !ours && is_written_in_place(compared.walked, recorded)) {
            self.mark_seen_among(&compared.in_file)?;
            self.shared.map_eye.stand(&compared.in_file, &written);
        }
        if !compared.open {
            let print = compared.walked.map_or_else(String::new, |print| print.to_string());
            self.shared.ledger.note_tasks_file(&print, self.shared.near.tasks_born_ns()?)?;
        }
        self.discard_displaced()?;
        if !self.started {
            self.shared.near.forget_displaced()?;
            self.started = true;
        }
        Ok(())
    }

    /// What stands in `tasks.json`, and stood in displaced ones, against the ledger. A torn file is waited for.
    fn compare(&self, rescued: &BTreeMap<TaskId, String>) -> Result<Compared, CycleError> {
        let began = Instant::now();
        loop {
            match self.compare_once(rescued) {
                Err(CycleError::Near(error)) if error.is_transient() && began.elapsed() < self.shared.pace.torn => {
                    std::thread::sleep(TORN_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn compare_once(&self, rescued: &BTreeMap<TaskId, String>) -> Result<Compared, CycleError> {
        let ledger = &self.shared.ledger;
        let mut in_file = Vec::new();
        let mut told = BTreeSet::new();
        let mut changes: Spool<NearChange> = Spool::new(&self.shared.work_dir);
        let mut asking = ledger.asking()?;
        let walked = self.shared.near.scan_tasks(&mut |id, text| {
            in_file.push(id);
            if consider(&mut asking, id, text, &mut changes)? && rescued.contains_key(&id) {
                told.insert(id);
            }
            Ok(())
        })?;
        in_file.sort_unstable();
        // After the walk: Label Studio writes the map first, so what is missing by its doing is missing in both.
        let map = Listed::of(self.map()?, self.shared.map_eye.left());
        for (id, text) in rescued {
            let listing = map.listing(*id);
            if !told.contains(id) && rescue(ledger, *id, text, listing, &in_file, &mut changes)? {
                told.insert(*id);
            }
        }
        let listing = |id| if walked.is_some() { map.listing(id) } else { Listing::Missing };
        let mut undecided = false;
        for id in ledger.shown_ids()? {
            let present = in_file.binary_search(&id).is_ok();
            let lost_late = present && self.started && !rescued.is_empty() && !rescued.contains_key(&id);
            if told.contains(&id) || (present && !lost_late) {
                continue;
            }
            let mut known = ledger.known_task(id)?;
            if let Some(known) = &mut known {
                known.seen |= self.seen.has_listed(id);
            }
            let action = decide(id, None, known.as_ref(), listing(id));
            tracing::debug!(%id, ?known, listing = ?listing(id), ?action, "missing from tasks.json");
            undecided |= action.is_none() && !present;
            let deleted = matches!(action, Some(NearAction::Retire(_) | NearAction::ForeignGone(_)));
            let Some(action) = action.filter(|_| deleted || !present) else { continue };
            changes.push(&NearChange { action, file: None })?;
            if present {
                // The user's delete went into the displaced file: ours still shows the task.
                changes.push(&NearChange { action: NearAction::Withdraw(id), file: None })?;
            }
        }
        let rescued = rescued.keys().rev().copied().find(|id| id.is_given());
        if let Some(highest) = map.highest().max(TaskId::highest_given(&in_file)).max(rescued) {
            ledger.note_highest(highest)?;
        }
        // What is missing and cannot be decided without the map must be looked at again, though the file stays.
        let open = map.is_unreadable() && undecided;
        Ok(Compared { changes, in_file, walked, open })
    }

    /// Label Studio's map; a torn one is waited for, as Label Studio writes it at every listing.
    fn map(&self) -> Result<SourceMap, CycleError> {
        let began = Instant::now();
        loop {
            let map = self.shared.near.source_map()?;
            if map != SourceMap::Unreadable || began.elapsed() >= self.shared.pace.quiet_max {
                return Ok(map);
            }
            std::thread::sleep(TORN_PAUSE);
        }
    }

    /// The version of `tasks.json` that was last looked at or written; `None`: there was none.
    fn recorded_print(&self) -> Result<Option<Fingerprint>, CycleError> {
        Ok(self.shared.ledger.meta("tasks_print")?.and_then(|print| print.parse().ok()))
    }

    /// What Label Studio wrote, it holds in its memory.
    fn mark_seen_among(&self, in_file: &[TaskId]) -> Result<(), CycleError> {
        let mut unseen = self.shared.ledger.unseen_ids()?;
        unseen.retain(|id| in_file.binary_search(id).is_ok());
        Ok(self.shared.ledger.mark_seen(&unseen)?)
    }

    /// Brings `tasks.json` to what the ledger says. Blocks, also for the quiet moment.
    pub fn write(&mut self) -> Result<(), CycleError> {
        for _ in 0..WRITE_ATTEMPTS {
            if self.shared.ledger.pending_count()? == 0 {
                break;
            }
            self.await_displaced()?;
            self.await_quiet()?;
            let base = self.shared.near.tasks_print()?;
            // Also a file that has vanished since was not looked at: what stood in it must be written again.
            if base != self.recorded_print()? {
                self.look()?;
                continue;
            }
            let highest = self.highest_in.filter(|(print, _)| Some(*print) == base).map(|(_, highest)| highest);
            let mut edits = LedgerEdits::new(&self.shared.ledger, highest)?;
            match self.shared.near.write_tasks(base.as_ref(), &mut edits) {
                Ok(written) => {
                    self.shared.ledger.settle(&written.print.to_string(), self.shared.near.tasks_born_ns()?)?;
                    self.highest_in = edits.highest().map(|highest| (written.print, highest));
                    self.displaced = written.displaced.map(|d| (d, Instant::now()));
                }
                Err(error) if error.is_transient() => self.look()?,
                Err(error) => return Err(error.into()),
            }
        }
        self.unwritten_until = None;
        if self.shared.ledger.pending_count()? == 0 {
            self.tell();
        } else {
            self.unwritten_until = Some(Instant::now() + self.shared.pace.displaced);
        }
        Ok(())
    }

    fn tell(&mut self) {
        self.told.drain(..).for_each(|happened| self.shared.tell(happened));
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            let text = format!("… and {untold} more in this cycle, see `lsctl list`");
            self.shared.tell(Happened::new(Level::Info, "more", text));
        }
    }

    /// Tasks that Label Studio wrote into a file after it was displaced. It stays until these are recorded.
    fn look_displaced(&mut self) -> Result<BTreeMap<TaskId, String>, CycleError> {
        let Some((displaced, since)) = &self.displaced else { return Ok(BTreeMap::new()) };
        let over = since.elapsed() >= self.shared.pace.displaced;
        let mut rescued = BTreeMap::new();
        if displaced.as_expected() && displaced.is_unchanged().map_err(NearError::from)? {
            self.displaced_done = over;
            return Ok(rescued);
        }
        let collect = &mut |id, text: &str| {
            rescued.insert(id, text.to_owned());
            Ok(())
        };
        let contents = displaced.read(DISPLACED_MAX_BYTES).map_err(NearError::from);
        let scanned = contents.and_then(|c| file::scan(c.bytes.as_slice(), collect).map_err(NearError::from));
        let whole = scanned.is_ok();
        self.displaced_done = match scanned {
            Ok(()) => over,
            // Label Studio is in the middle of writing it.
            Err(error) if error.is_transient() && since.elapsed() < displaced::PATIENCE => false,
            Err(_) => {
                displaced::tell_torn(&self.shared);
                true
            }
        };
        Ok(if whole { rescued } else { BTreeMap::new() })
    }

    /// What the displaced file held is recorded: a death before this finds it again.
    fn discard_displaced(&mut self) -> Result<(), CycleError> {
        if std::mem::take(&mut self.displaced_done)
            && let Some((displaced, _)) = self.displaced.take()
        {
            displaced.discard().map_err(NearError::from)?;
        }
        Ok(())
    }

    /// A second replacement waits until the first one's displaced file was looked at.
    fn await_displaced(&mut self) -> Result<(), CycleError> {
        while let Some((_, since)) = &self.displaced {
            let left = self.shared.pace.displaced.saturating_sub(since.elapsed());
            std::thread::sleep(left.max(Duration::from_millis(1)));
            self.look()?;
        }
        Ok(())
    }

    /// Contract C22: written in a quiet moment, waited for not too long.
    fn await_quiet(&self) -> Result<(), CycleError> {
        let pace = self.shared.pace;
        let began = Instant::now();
        let mut seen = None;
        let mut unchanged_since = Instant::now();
        while began.elapsed() < pace.quiet_max {
            let now = (self.shared.near.tasks_print()?, self.shared.near.source_print()?);
            if seen != Some(now) {
                let first = seen.is_none();
                seen = Some(now);
                unchanged_since = Instant::now();
                let rested = |p: &Option<Fingerprint>| p.is_none_or(|p| p.is_at_rest(self.shared.now(), pace.quiet));
                if first && rested(&now.0) && rested(&now.1) {
                    break;
                }
            } else if unchanged_since.elapsed() >= pace.quiet {
                break;
            }
            std::thread::sleep(pace.quiet / 5);
        }
        Ok(())
    }

    fn record(&mut self, changes: Spool<NearChange>) -> Result<(), CycleError> {
        if changes.count() == 0 {
            return Ok(());
        }
        let mut ids = Ids::after(self.highest()?);
        let mut spooled = changes.read()?;
        loop {
            let batch = spooled.batch(RECORD_BATCH)?;
            if batch.is_empty() {
                return Ok(());
            }
            let moved = self.shared.ledger.record_near(&batch, &mut ids)?;
            for change in &batch {
                let level = match change.action {
                    NearAction::Yield(_) | NearAction::ForeignChanged(_) | NearAction::Move(_) => Level::Warning,
                    _ => Level::Info,
                };
                let happened = Happened::new(level, change.action.kind(), change.action.to_string());
                self.tell_later(happened.task(Some(change.action.id())));
            }
            for m in moved {
                let text = format!("> task {} moved to id {}", m.from, m.to);
                self.tell_later(Happened::new(Level::Warning, "task_moved", text).task(Some(m.to)));
            }
        }
    }

    /// The highest id that anybody ever used, as far as this machine can know (contract C5). Blocks.
    pub fn highest(&self) -> Result<Option<TaskId>, CycleError> {
        let listed = match self.map()? {
            SourceMap::Ids(ids) => ids.iter().rev().map(|(id, _)| *id).find(|id| id.is_given()),
            SourceMap::Missing => None,
            SourceMap::Unreadable => return Err(unreadable_map()),
        };
        let completed = TaskId::highest_given(&self.shared.near.completions()?);
        Ok(self.shared.ledger.highest_id()?.max(listed).max(completed))
    }
}

/// Without the map new ids could be ones that Label Studio has given: adding waits.
fn unreadable_map() -> CycleError {
    CycleError::Blocked {
        code: "source_json_unreadable",
        message: "Label Studio's source.json ends in the middle or is damaged; no ids are given".to_owned(),
        hint: "open a page of Label Studio, which writes it anew; if Label Studio answers 500, move source.json away and restart it".to_owned(),
    }
}

/// Label Studio's map, and what has left it a moment ago.
struct Listed {
    map: SourceMap,
    named: Vec<TaskId>,
    left: Vec<TaskId>,
}

impl Listed {
    fn of(map: SourceMap, left: Vec<TaskId>) -> Self {
        let named = map.named().unwrap_or_default();
        Self { map, named, left }
    }

    fn listing(&self, id: TaskId) -> Listing {
        let is_in = |ids: &[TaskId]| ids.binary_search(&id).is_ok();
        match self.map {
            SourceMap::Missing => Listing::Missing,
            SourceMap::Unreadable => Listing::Unreadable,
            SourceMap::Ids(_) if !is_in(&self.named) => Listing::Lacks,
            SourceMap::Ids(_) if is_in(&self.left) => Listing::Left,
            SourceMap::Ids(_) => Listing::Has,
        }
    }

    fn highest(&self) -> Option<TaskId> {
        TaskId::highest_given(&self.named)
    }

    fn is_unreadable(&self) -> bool {
        self.map == SourceMap::Unreadable
    }
}

/// Label Studio writes in place. Another file is one that was replaced: by us, when the daemon died before its receipt.
fn is_written_in_place(walked: Option<Fingerprint>, recorded: Option<Fingerprint>) -> bool {
    walked.zip(recorded).is_some_and(|(walked, recorded)| (walked.dev, walked.ino) == (recorded.dev, recorded.ino))
}

/// Whether the entry is Label Studio's word about its id.
fn consider(asking: &mut Asking, id: TaskId, text: &str, changes: &mut Spool<NearChange>) -> io::Result<bool> {
    let facts = file::facts(text);
    let known = asking.known_task(id).map_err(io::Error::other)?;
    // What stands there is decided without the map.
    let Some(action) = decide(id, Some(facts.data_hash), known.as_ref(), Listing::Unreadable) else { return Ok(false) };
    let file = takes_file(action).then(|| (text.to_owned(), facts.data_hash, facts.url));
    changes.push(&NearChange { action, file })?;
    Ok(takes_file(action))
}

fn takes_file(action: NearAction) -> bool {
    matches!(
        action,
        NearAction::Foreign(_) | NearAction::ForeignChanged(_) | NearAction::Yield(_) | NearAction::Move(_)
    )
}

/// A task that Label Studio wrote into the displaced file is in its memory (C7): what is Label Studio's own there, also
/// under an id that ours had got meanwhile, is written again. Older data of ours there are none of its doing.
fn rescue(
    ledger: &Ledger,
    id: TaskId,
    text: &str,
    listing: Listing,
    in_file: &[TaskId],
    changes: &mut Spool<NearChange>,
) -> Result<bool, CycleError> {
    let facts = file::facts(text);
    let known = ledger.known_task(id)?;
    let Some(action) = decide(id, Some(facts.data_hash), known.as_ref(), Listing::Has) else { return Ok(false) };
    if !takes_file(action) || (known.is_none() && in_file.binary_search(&id).is_ok()) {
        return Ok(false);
    }
    // An import that was deleted since, and is recorded so.
    if known.is_some_and(|known| known.state == TaskState::Spent) && matches!(listing, Listing::Lacks | Listing::Left) {
        return Ok(false);
    }
    changes.push(&NearChange { action, file: Some((text.to_owned(), facts.data_hash, facts.url)) })?;
    changes.push(&NearChange { action: NearAction::Restore(id), file: None })?;
    Ok(true)
}
