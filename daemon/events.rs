//! What happened, once each, in one line: for `lsctl events` and the log, in the same words.
//!
//! Promise: every event is in both; followers never slow the daemon.
//! Not here: what is worth an event; how a log line looks (`telemetry`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::control::EventFeed;
use crate::control::api::Event;
use crate::meters::Meters;
use crate::names::{Key, ProjectName, TaskId, printable};
pub use crate::telemetry::Level;

/// Events kept for `lsctl events`: what an operator scrolls back through; older ones are in the log.
const RECENT_MAX: usize = 10_000;

/// Events that a follower may lag behind before it loses the oldest.
const LIVE_MAX: usize = 4_096;

/// One thing that happened.
#[derive(Clone, Debug)]
#[must_use = "an event happens when it is told"]
pub struct Happened {
    level: Level,
    kind: String,
    message: String,
    key: Option<Key>,
    task: Option<TaskId>,
    error: Option<String>,
    actor: Option<String>,
    bucket: Option<String>,
    took: Option<Duration>,
}

impl Happened {
    /// `kind` is stable, `message` the one line.
    pub fn new(level: Level, kind: &str, message: impl Into<String>) -> Self {
        let message = printable(&message.into()).into_owned();
        let kind = kind.to_owned();
        Self { level, kind, message, key: None, task: None, error: None, actor: None, bucket: None, took: None }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }

    /// About an object.
    pub fn key(mut self, key: &Key) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// About a task.
    pub fn task(mut self, task: Option<TaskId>) -> Self {
        self.task = task;
        self
    }

    /// In this bucket or directory.
    pub fn bucket(mut self, root: Option<&str>) -> Self {
        self.bucket = root.map(str::to_owned);
        self
    }

    /// How long it took.
    pub fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// With a stable error code.
    pub fn error(mut self, code: &str) -> Self {
        self.error = Some(code.to_owned());
        self
    }

    /// Who asked for it.
    pub fn actor(mut self, actor: String) -> Self {
        self.actor = Some(actor);
        self
    }
}

/// The events of this daemon.
pub struct EventLog {
    clock: Arc<dyn Clock>,
    /// Held to append or copy, never across a wait.
    recent: Mutex<Recent>,
    meters: Arc<Meters>,
    live: broadcast::Sender<Event>,
}

struct Recent {
    seq: u64,
    events: VecDeque<Event>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").finish_non_exhaustive()
    }
}

impl EventLog {
    /// Empty.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (live, _) = broadcast::channel(LIVE_MAX);
        let recent = Mutex::new(Recent { seq: 0, events: VecDeque::new() });
        Self { clock, recent, meters: Arc::default(), live }
    }

    /// What is counted beside: things that happen too often to be told each time.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// It happened: to the log, to `lsctl events`, to whoever follows.
    pub fn tell(&self, project: Option<&ProjectName>, happened: Happened) {
        let mut recent = self.lock();
        recent.seq += 1;
        let event = Event {
            seq: recent.seq,
            at: self.clock.now(),
            project: project.map(ToString::to_string),
            level: happened.level.as_str().to_owned(),
            kind: happened.kind,
            message: happened.message,
            key: happened.key.map(|key| key.as_str().to_owned()),
            task: happened.task.map(TaskId::get),
            bucket: happened.bucket,
            duration_usec: happened.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            error: happened.error,
            actor: happened.actor,
        };
        self.meters.event(happened.level.as_str());
        if let (Some(code), Level::Warning | Level::Error) = (&event.error, happened.level) {
            self.meters.error(code);
        }
        if let Some(project) = &event.project {
            match event.kind.as_str() {
                crate::sync::action::PUSHED => self.meters.push(project, "ok"),
                "conflict" | "id_reused" => self.meters.push(project, "conflict"),
                _ => {}
            }
        }
        crate::telemetry::log(happened.level, &event);
        if recent.events.len() == RECENT_MAX {
            recent.events.pop_front();
        }
        if self.live.receiver_count() > 0 {
            // Whoever followed may have gone since: that is no error.
            let _followers = self.live.send(event.clone());
        }
        recent.events.push_back(event);
    }

    /// The recent events and those to come.
    pub fn feed(&self) -> EventFeed {
        let recent = self.lock();
        EventFeed { recent: recent.events.iter().cloned().collect(), live: self.live.subscribe() }
    }

    /// A panic while appending leaves at worst one event out.
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
