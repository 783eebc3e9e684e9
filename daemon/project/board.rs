//! The board: what a project is doing, for whoever asks, at any moment.
//!
//! Promise: reading it never waits for a look, a disk or a bucket.
//! Not here: deciding what the state is worth (`run` says it).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::HoldRow;
use crate::clock::UnixMillis;
use crate::control::api::{Hold, Item, Progress, ProjectStatus, Reason, SourceStatus, State};
use crate::names::{Key, ProjectName};
use crate::pulse::Pulse;
use crate::sync::action::OLDER_HERE;
use crate::sync::completions::MISSING;
use crate::sync::select::Skip;

/// What a project is doing.
#[derive(Debug)]
pub struct Board {
    /// Held for a copy or a field, never across a wait.
    inner: Mutex<Inner>,
    source: Arc<Pulse>,
    target: Arc<Pulse>,
}

#[derive(Debug, Default)]
struct Inner {
    status: ProjectStatus,
    paused: bool,
    failed: Option<Reason>,
    /// Why the last look at `tasks.json` failed, in a project without a source that could say it.
    tasks_failed: Option<Reason>,
    /// Warnings that stand until they are withdrawn, by code.
    warnings: BTreeMap<String, Reason>,
    skipped: BTreeMap<Skip, Vec<Key>>,
    pending: Vec<Item>,
}

/// Which direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Blobs to tasks.
    Source,
    /// Completions.
    Target,
}

impl Board {
    /// Of a project that has not looked yet.
    pub fn new(name: &str, path: &str, now: UnixMillis) -> Self {
        let state_name = State::Starting.as_str().to_owned();
        let (name, path) = (name.to_owned(), path.to_owned());
        let status = ProjectStatus { name, path, since: now, state_name, ..Default::default() };
        let inner = Mutex::new(Inner { status, ..Default::default() });
        Self { inner, source: Arc::default(), target: Arc::default() }
    }

    /// The sign of life of a direction's loop.
    pub fn pulse(&self, direction: Direction) -> &Arc<Pulse> {
        match direction {
            Direction::Source => &self.source,
            Direction::Target => &self.target,
        }
    }

    /// Now.
    pub fn status(&self) -> ProjectStatus {
        self.lock().status.clone()
    }

    /// The first keys of each skip reason, as items.
    pub fn skipped(&self) -> Vec<Item> {
        let inner = self.lock();
        let items = inner.skipped.iter().flat_map(|(reason, keys)| {
            keys.iter().map(|key| Item {
                key: Some(key.as_str().to_owned()),
                state: "skipped".to_owned(),
                reason: reason.code().to_owned(),
                detail: reason.explanation().to_owned(),
                ..Default::default()
            })
        });
        items.collect()
    }

    /// Completions that wait.
    pub fn pending(&self) -> Vec<Item> {
        self.lock().pending.clone()
    }

    /// What the settings say, for the status.
    pub fn set_sides(
        &self,
        now: UnixMillis,
        source: Option<(String, String, Option<String>)>,
        target: Option<(String, String)>,
    ) {
        self.update(now, |status| {
            match source {
                Some((url, prefix, regex)) => {
                    let source = status.source.get_or_insert_default();
                    (source.url, source.prefix, source.regex) = (url, prefix, regex);
                }
                None => status.source = None,
            }
            match target {
                Some((url, prefix)) => {
                    let target = status.target.get_or_insert_default();
                    (target.url, target.prefix) = (url, prefix);
                }
                None => status.target = None,
            }
        });
    }

    /// Replaces the list of completions that wait.
    pub fn set_pending(&self, items: Vec<Item>) {
        self.lock().pending = items;
    }

    /// What a complete look at the source came to: its counts, samples of what it skipped, and the warning that they give.
    /// At once: who reads the counts finds what they mean. `None` leaves the warnings as they are.
    pub fn set_looked(
        &self,
        now: UnixMillis,
        counts: impl FnOnce(&mut SourceStatus),
        samples: BTreeMap<Skip, Vec<Key>>,
        warnings: Option<(&[&str], Option<Reason>)>,
    ) {
        let mut inner = self.lock();
        inner.skipped = samples;
        inner.status.source.as_mut().map(counts);
        if let Some((codes, reason)) = warnings {
            inner.warnings.retain(|code, _| !codes.contains(&code.as_str()));
            inner.warnings.extend(reason.map(|reason| (reason.code.clone(), reason)));
        }
        inner.settle(now);
    }

    /// Changes what the status says, then the state follows.
    pub fn update(&self, now: UnixMillis, change: impl FnOnce(&mut ProjectStatus)) {
        let mut inner = self.lock();
        change(&mut inner.status);
        inner.settle(now);
    }

    /// A warning that stands until it is withdrawn. True if it is new.
    pub fn warn(&self, now: UnixMillis, reason: Reason) -> bool {
        let mut inner = self.lock();
        let new = inner.warnings.insert(reason.code.clone(), reason).is_none();
        inner.settle(now);
        new
    }

    /// Withdraws a warning. True if it stood.
    pub fn unwarn(&self, now: UnixMillis, code: &str) -> bool {
        let mut inner = self.lock();
        let stood = inner.warnings.remove(code).is_some();
        inner.settle(now);
        stood
    }

    /// By `lsctl pause` and `resume`.
    pub fn set_paused(&self, now: UnixMillis, paused: bool) {
        let mut inner = self.lock();
        inner.paused = paused;
        inner.settle(now);
    }

    /// Stopped until a person acts; `None`: goes on.
    pub fn set_failed(&self, now: UnixMillis, reason: Option<Reason>) {
        let mut inner = self.lock();
        inner.failed = reason;
        inner.settle(now);
    }

    /// Not opened until an operator says that it is what it should be.
    pub fn set_held(&self, now: UnixMillis, hold: Hold) {
        let mut inner = self.lock();
        inner.failed = None;
        inner.status.holds = vec![hold];
        inner.settle(now);
    }

    /// How the last look at `tasks.json` went: shown where no source shows it.
    pub fn set_tasks_failed(&self, now: UnixMillis, reason: Option<Reason>) {
        let mut inner = self.lock();
        inner.tasks_failed = reason;
        inner.settle(now);
    }

    /// What is held.
    pub fn set_holds(&self, now: UnixMillis, holds: Vec<Hold>) {
        self.update(now, |status| status.holds = holds);
    }

    /// Nothing is looked at any more: what the last looks came to says nothing now.
    pub fn closed(&self, now: UnixMillis) {
        self.update(now, |status| {
            let source = status.source.as_mut().map(|source| (&mut source.poll, &mut source.progress));
            let target = status.target.as_mut().map(|target| (&mut target.poll, &mut target.progress));
            for (poll, progress) in source.into_iter().chain(target) {
                (poll.error, poll.failures, poll.next_at, *progress) = (None, 0, None, None);
            }
        });
    }

    /// How far a look is; `None`: over. Either way the loop got further.
    pub fn progress(&self, direction: Direction, progress: Option<Progress>) {
        self.pulse(direction).beat();
        let mut inner = self.lock();
        let status = &mut inner.status;
        match direction {
            Direction::Source => {
                if let Some(source) = &mut status.source {
                    source.progress = progress;
                }
            }
            Direction::Target => {
                if let Some(target) = &mut status.target {
                    target.progress = progress;
                }
            }
        }
    }

    /// A panic while a field was set leaves an old field at worst.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// State and reasons follow from everything else.
    fn settle(&mut self, now: UnixMillis) {
        let status = &mut self.status;
        let failures: Vec<Reason> = [status.source.as_ref().map(|s| &s.poll), status.target.as_ref().map(|t| &t.poll)]
            .into_iter()
            .flatten()
            .filter_map(|poll| poll.error.clone())
            .chain(self.tasks_failed.clone().filter(|_| status.source.is_none()))
            .collect();
        let mut reasons: Vec<Reason> = self.failed.iter().cloned().collect();
        if self.paused {
            reasons.push(paused(&status.name));
        }
        reasons.extend(failures.iter().cloned());
        if status.conflicts > 0 {
            reasons.push(in_conflict(&status.name, status.conflicts));
        }
        let cycles = status.cycles;
        // Once around on each side that there is.
        let begun = (status.source.is_none() || cycles.source_ended > 0)
            && (status.target.is_none() || cycles.target_ended > 0)
            && cycles.source_ended + cycles.target_ended > 0;
        let (state, name) = match (&self.failed, reasons.first()) {
            (Some(reason), _) => (State::Failed, Some(reason)),
            _ if self.paused => (State::Paused, None),
            _ if !status.holds.is_empty() => (State::Held, None),
            (None, Some(reason)) => (State::Degraded, Some(reason)),
            (None, None) if begun => (State::Ok, None),
            (None, None) => (State::Starting, None),
        };
        let name = name.map_or(state.as_str(), |reason| &reason.code);
        if status.state_name != name {
            status.state_name = name.to_owned();
            status.since = now;
        }
        status.state = state;
        reasons.extend(self.warnings.values().cloned());
        let missing = status.target.as_ref().map_or(0, |target| target.target_missing);
        reasons.extend((missing > 0).then(|| missing_there(&status.name, missing)));
        // Both directions may fail for one cause.
        let mut unique: Vec<Reason> = Vec::new();
        for reason in reasons {
            if !unique.contains(&reason) {
                unique.push(reason);
            }
        }
        status.reasons = unique;
    }
}

fn paused(project: &str) -> Reason {
    Reason {
        code: "paused".to_owned(),
        message: "by `lsctl pause`: nothing is looked at or pushed".to_owned(),
        hint: format!("`lsctl resume {project}` goes on"),
    }
}

/// Nothing is wrong here, so the state stays as it is.
fn missing_there(project: &str, missing: u64) -> Reason {
    Reason {
        code: MISSING.to_owned(),
        message: match missing {
            1 => "1 pushed completion is gone from the target, and is not pushed again by itself".to_owned(),
            n => format!("{n} pushed completions are gone from the target, and are not pushed again by themselves"),
        },
        hint: format!(
            "`lsctl resolve {project} {MISSING} --keep local` pushes them again, with an ID only that one; \
             `lsctl list {project} --state conflict` lists them"
        ),
    }
}

/// Among the conflicts; many come at once, as by a backup that is put back.
pub(super) fn older_here(project: &ProjectName, older: u64) -> Reason {
    Reason {
        code: OLDER_HERE.to_owned(),
        message: match older {
            1 => "1 completion is older than what is in the target, as if a backup had been put back".to_owned(),
            n => format!("{n} completions are older than what is in the target, as if a backup had been put back"),
        },
        hint: format!(
            "`lsctl resolve {project} {OLDER_HERE} --keep remote` brings the newer ones back, `--keep local` pushes the older"
        ),
    }
}

fn in_conflict(project: &str, conflicts: u64) -> Reason {
    Reason {
        code: "conflict".to_owned(),
        message: match conflicts {
            1 => "1 completion needs a person".to_owned(),
            n => format!("{n} completions need a person"),
        },
        hint: format!("`lsctl list {project} --state conflict`, then `lsctl resolve {project} ID --keep local|remote`"),
    }
}

/// What is shown of a hold.
pub(super) fn hold_view(row: &HoldRow) -> Hold {
    Hold {
        id: row.id.clone(),
        code: row.code.clone(),
        message: row.message.clone(),
        consequence: row.consequence.clone(),
        since: row.since,
    }
}

/// The holds that wait for a person, as they are shown.
pub(super) fn standing(holds: &[HoldRow]) -> Vec<Hold> {
    holds.iter().filter(|hold| !hold.accepted).map(hold_view).collect()
}
