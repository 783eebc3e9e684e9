//! `tasks.json`: what Label Studio did to it, and writing what the ledger says should stand there.
//!
//! Promise: contract C1 to C9: one replacement a cycle, in a quiet moment, of exactly the version that was looked at;
//! what Label Studio wrote at the last moment, even into the displaced file, is merged back.
//! Not here: what any of it means (`sync::near`), which tasks there should be (`source_road`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use super::error::CycleError;
use super::files::{Displaced, Fingerprint};
use super::ledger::{Ledger, NearChange, PendingTask};
use super::near::{NearError, SourceMap};
use super::shared::Shared;
use super::spool::Spool;
use super::tasks_file::{self, Edit, Edits, TasksFileError};
use super::validate::{TaskBody, blob_task};
use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::sync::action::{Form, NearAction};
use crate::sync::near::{Listing, decide};
use crate::sync::source::Ids;

/// How often a replacement is tried in one cycle while Label Studio keeps writing.
const WRITE_ATTEMPTS: u32 = 5;

/// How long a torn `tasks.json` is looked at again before the cycle gives up: Label Studio writes 100,000 tasks in one second.
const TORN_PATIENCE: Duration = Duration::from_secs(3);

/// Changes recorded in one transaction.
const RECORD_BATCH: usize = 1_000;

/// A displaced `tasks.json`; read whole, as it is looked at only when somebody wrote into it.
const DISPLACED_MAX_BYTES: u64 = 4 << 30;

/// Events told one by one in one cycle; beyond that one line says how many more: a first mirror of millions would
/// push everything else out of the log.
pub(super) const EVENTS_MAX: usize = 20_000;

/// The tasks file of one project.
#[derive(Debug)]
pub struct TasksRoad {
    shared: Shared,
    displaced: Option<(Displaced, Instant)>,
    source_print: Option<Fingerprint>,
    told: Vec<Happened>,
    untold: u64,
    started: bool,
}

impl TasksRoad {
    /// Nothing looked at yet.
    pub fn new(shared: Shared) -> Self {
        Self { shared, displaced: None, source_print: None, told: Vec::new(), untold: 0, started: false }
    }

    /// When to look again at what was displaced.
    pub fn wake_at(&self) -> Option<Instant> {
        self.displaced.as_ref().map(|(_, since)| *since + self.shared.pace.displaced)
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
        let mut rescued = self.look_displaced()?;
        if !self.started {
            rescued.extend(self.look_at_start()?);
        }
        let shared = self.shared.clone();
        let print = shared.near.tasks_print()?;
        let ours = print.is_some_and(|p| shared.ledger.meta("tasks_print").ok().flatten() == Some(p.to_string()));
        if ours && rescued.is_empty() && self.started {
            return self.look_seen();
        }
        let map = shared.near.source_map()?;
        let mut highest = match &map {
            SourceMap::Ids(ids) => ids.last().map(|(id, _)| *id),
            SourceMap::Missing | SourceMap::Unreadable => None,
        };
        let mut in_file = Vec::new();
        let mut changes: Spool<NearChange> = Spool::new(&shared.work_dir);
        let walked = self.scan_patiently(|id, text| {
            in_file.push(id);
            consider(&shared.ledger, id, text, &map, &mut changes)
        })?;
        for (id, text) in &rescued {
            if !in_file.contains(id) && shared.ledger.known_task(*id)?.is_none() {
                let facts = tasks_file::facts(text);
                let file = Some((text.clone(), facts.data_hash, facts.url));
                changes.push(&NearChange { action: NearAction::Foreign(*id), file })?;
                changes.push(&NearChange { action: NearAction::Restore(*id), file: None })?;
            }
        }
        in_file.sort_unstable();
        highest = highest.max(in_file.last().copied()).max(rescued.iter().map(|(id, _)| *id).max());
        let listing = |id| if walked.is_some() { listed(&map, id) } else { Listing::Missing };
        for id in shared.ledger.shown_ids()? {
            if in_file.binary_search(&id).is_err() {
                let known = shared.ledger.known_task(id)?;
                if let Some(action) = decide(id, None, known.as_ref(), listing(id)) {
                    changes.push(&NearChange { action, file: None })?;
                }
            }
        }
        if let Some(highest) = highest {
            shared.ledger.note_highest(highest)?;
        }
        self.record(changes)?;
        // What Label Studio wrote, it holds in its memory.
        let unseen: Vec<TaskId> =
            shared.ledger.unseen_ids()?.into_iter().filter(|id| in_file.binary_search(id).is_ok()).collect();
        shared.ledger.mark_seen(&unseen)?;
        if let Some(print) = walked {
            shared.ledger.set_meta("tasks_print", &print.to_string())?;
        }
        if !self.started {
            shared.near.forget_displaced()?;
            self.started = true;
        }
        Ok(())
    }

    /// What Label Studio wrote into a file that was being displaced when the last daemon died.
    fn look_at_start(&self) -> Result<Vec<(TaskId, String)>, CycleError> {
        let mut rescued = Vec::new();
        for bytes in self.shared.near.displaced_at_start()? {
            let mut found = Vec::new();
            let collect = &mut |id, text: &str| {
                found.push((id, text.to_owned()));
                Ok(())
            };
            // A torn one holds nothing that Label Studio could use either.
            if tasks_file::scan(bytes.as_slice(), collect).is_ok() {
                rescued.extend(found);
            }
        }
        Ok(rescued)
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
            let looked_at = self.shared.ledger.meta("tasks_print")?;
            if base.is_some() && base.map(|p| p.to_string()) != looked_at {
                self.look()?;
                continue;
            }
            let mut edits = LedgerEdits::new(&self.shared.ledger)?;
            match self.shared.near.write_tasks(base.as_ref(), &mut edits) {
                Ok(written) => {
                    self.shared.ledger.settle(&written.print.to_string())?;
                    self.displaced = written.displaced.map(|d| (d, Instant::now()));
                }
                Err(error) if error.is_transient() => self.look()?,
                Err(error) => return Err(error.into()),
            }
        }
        if self.shared.ledger.pending_count()? == 0 {
            self.tell();
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

    /// Tasks that Label Studio wrote into a file after it was displaced.
    fn look_displaced(&mut self) -> Result<Vec<(TaskId, String)>, CycleError> {
        let Some((displaced, since)) = self.displaced.take() else { return Ok(Vec::new()) };
        let over = since.elapsed() >= self.shared.pace.displaced;
        let changed = !displaced.as_expected() || !displaced.is_unchanged().map_err(NearError::from)?;
        if !changed {
            if over {
                displaced.discard().map_err(NearError::from)?;
            } else {
                self.displaced = Some((displaced, since));
            }
            return Ok(Vec::new());
        }
        let contents = displaced.read(DISPLACED_MAX_BYTES);
        let mut rescued = Vec::new();
        let scanned = contents.map_err(NearError::from).and_then(|contents| {
            let collect = &mut |id, text: &str| {
                rescued.push((id, text.to_owned()));
                Ok(())
            };
            tasks_file::scan(contents.bytes.as_slice(), collect).map_err(NearError::from)
        });
        match scanned {
            Ok(()) => {
                displaced.discard().map_err(NearError::from)?;
                Ok(rescued)
            }
            // Label Studio is in the middle of writing it.
            Err(error) if error.is_transient() && since.elapsed() < TORN_PATIENCE => {
                self.displaced = Some((displaced, since));
                Ok(Vec::new())
            }
            Err(_) => {
                let text =
                    "the replaced tasks.json was left torn; its imports, if any, are lost to Label Studio as well";
                self.shared.tell(Happened::new(Level::Warning, "displaced_torn", text));
                displaced.discard().map_err(NearError::from)?;
                Ok(Vec::new())
            }
        }
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

    fn scan_patiently(
        &self,
        mut each: impl FnMut(TaskId, &str) -> io::Result<()>,
    ) -> Result<Option<Fingerprint>, CycleError> {
        // Whether the file is whole is known before the first entry is considered.
        let began = Instant::now();
        loop {
            match self.shared.near.scan_tasks(&mut |_, _| Ok(())) {
                Ok(_) => break,
                Err(error) if error.is_transient() && began.elapsed() < TORN_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.shared.near.scan_tasks(&mut each)?)
    }

    /// The file is ours; Label Studio's own map says which of our tasks it has listed since.
    fn look_seen(&mut self) -> Result<(), CycleError> {
        let print = self.shared.near.source_print()?;
        if print == self.source_print {
            return Ok(());
        }
        let unseen = self.shared.ledger.unseen_ids()?;
        let newer = match (print, self.shared.near.tasks_print()?) {
            (Some(map), Some(tasks)) => map.mtime_ns > tasks.ctime_ns,
            _ => false,
        };
        if newer && !unseen.is_empty() {
            let SourceMap::Ids(ids) = self.shared.near.source_map()? else { return Ok(()) };
            let seen: Vec<TaskId> =
                unseen.into_iter().filter(|id| ids.binary_search_by_key(id, |(id, _)| *id).is_ok()).collect();
            self.shared.ledger.mark_seen(&seen)?;
        }
        self.source_print = print;
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
        let listed = match self.shared.near.source_map()? {
            SourceMap::Ids(ids) => ids.last().map(|(id, _)| *id),
            SourceMap::Missing => None,
            SourceMap::Unreadable => return Err(unreadable_map()),
        };
        let completed = self.shared.near.completions()?.last().copied();
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

fn listed(map: &SourceMap, id: TaskId) -> Listing {
    match map {
        SourceMap::Missing => Listing::Missing,
        SourceMap::Unreadable => Listing::Unreadable,
        SourceMap::Ids(ids) if ids.binary_search_by_key(&id, |(id, _)| *id).is_ok() => Listing::Has,
        SourceMap::Ids(_) => Listing::Lacks,
    }
}

fn consider(
    ledger: &Ledger,
    id: TaskId,
    text: &str,
    map: &SourceMap,
    changes: &mut Spool<NearChange>,
) -> io::Result<()> {
    let facts = tasks_file::facts(text);
    let known = ledger.known_task(id).map_err(io::Error::other)?;
    let Some(action) = decide(id, Some(facts.data_hash), known.as_ref(), listed(map, id)) else { return Ok(()) };
    let takes_file = matches!(
        action,
        NearAction::Foreign(_) | NearAction::ForeignChanged(_) | NearAction::Yield(_) | NearAction::Move(_)
    );
    let file = takes_file.then(|| (text.to_owned(), facts.data_hash, facts.url));
    changes.push(&NearChange { action, file })
}

/// The reserved changes as edits of the file.
struct LedgerEdits<'l> {
    ledger: &'l Ledger,
    reserved: BTreeMap<TaskId, bool>,
    in_base: BTreeSet<TaskId>,
    after: Option<TaskId>,
    page: VecDeque<PendingTask>,
}

/// Reserved tasks read at once.
const EDITS_PAGE: usize = 1_000;

impl<'l> LedgerEdits<'l> {
    fn new(ledger: &'l Ledger) -> Result<Self, CycleError> {
        let reserved = ledger.pending_ids()?.into_iter().collect();
        Ok(Self { ledger, reserved, in_base: BTreeSet::new(), after: None, page: VecDeque::new() })
    }
}

impl Edits for LedgerEdits<'_> {
    fn edit(&mut self, id: TaskId) -> io::Result<Edit> {
        let Some(shown) = self.reserved.get(&id) else { return Ok(Edit::Keep) };
        self.in_base.insert(id);
        if !shown {
            return Ok(Edit::Drop);
        }
        let before = id.get().checked_sub(1).and_then(TaskId::new);
        let page = self.ledger.pending(before, 1).map_err(io::Error::other)?;
        let task = page.first().ok_or_else(|| io::Error::other("a reserved task has gone"))?;
        render(task).map(Edit::Replace)
    }

    fn next_added(&mut self) -> io::Result<Option<(TaskId, String)>> {
        loop {
            if self.page.is_empty() {
                self.page = self.ledger.pending(self.after, EDITS_PAGE).map_err(io::Error::other)?.into();
            }
            let Some(task) = self.page.pop_front() else { return Ok(None) };
            let id = task.task.id;
            self.after = Some(id);
            if task.shown && !self.in_base.contains(&id) {
                return Ok(Some((id, render(&task)?)));
            }
        }
    }
}

/// A task as it stands in `tasks.json`.
fn render(pending: &PendingTask) -> io::Result<String> {
    let task = &pending.task;
    match (&task.source, &task.form, &task.body) {
        (None, _, Some(body)) => Ok(body.clone()),
        (Some(_), _, Some(body)) => {
            TaskBody::from_stored(body).map(|body| body.to_json(task.id)).map_err(io::Error::other)
        }
        (Some((root, key)), Some(Form::Blob { data_key }), None) => {
            Ok(blob_task(&format!("{root}/{}", key.as_str()), data_key).to_json(task.id))
        }
        _ => Err(io::Error::other(TasksFileError::Invalid(format!("the ledger has no body for task {}", task.id)))),
    }
}
