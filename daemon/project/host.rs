//! One project: opened, run, opened again when what was wrong is mended.
//!
//! Promise: a project that cannot be opened says why and what to do, and stops no other; one daemon a project.
//! Not here: which projects there are (`supervisor`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::adopted::{adopt, is_adopted, not_adopted};
use super::board::{Board, hold_view};
use super::directory::{COMPLETIONS, Directory};
use super::error::{CycleError, blocking};
use super::files::{Dir, FileErrorKind, IfAbsent, Lock};
use super::identity::{Identity, MARKER, REINITIALISED, Registry, identify, ledger_path, refuse_copy};
use super::ledger::{HoldRow, Ledger};
use super::losers;
use super::near::{Near, NearError};
use super::repair::{self, Asker, CaughtUp, Wish};
use super::run::{InForce, Loop, run_source, run_target};
use super::shared::Shared;
use super::wakes::{SourceWake, TargetWake, Wakes};
use super::watch::{Mode, Periods, PollReason, Rescan, Watcher};
use crate::clock::Clock;
use crate::control::api::Reason;
use crate::events::{EventLog, Happened, Level};
use crate::names::ProjectName;
use crate::sync::pace::Pace;
use crate::sync::repeats::Repeats;

/// What is wrong with a project is looked at again this often: a mount that comes back, a lock that is released.
const REOPEN: Duration = Duration::from_secs(5);

/// A project that a reload moved or took out and another brings back may hold its lock until its loops have ended: as
/// long is waited for it in silence, looking this often.
const LOCK_PATIENCE: Duration = END_GRACE.saturating_add(Duration::from_secs(1));
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How often a project that has nothing to do is looked at to be what it was.
const IDENTITY_EVERY: Duration = Duration::from_secs(2);

/// The loops finish what is in hand within their own grace; this is the end of patience with them.
const END_GRACE: Duration = Duration::from_secs(10);

/// Everything a project is made of.
#[derive(Clone)]
pub struct Host {
    /// Its name.
    pub name: ProjectName,
    /// Its directory.
    pub path: PathBuf,
    /// The daemon's state.
    pub state_dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What happened.
    pub events: Arc<EventLog>,
    /// What it is doing.
    pub board: Arc<Board>,
    /// What wakes it.
    pub wakes: Arc<Wakes>,
    /// How long things are waited for.
    pub pace: Pace,
    /// The settings, replaced between cycles.
    pub in_force: watch::Receiver<Arc<InForce>>,
    /// The end of this project.
    pub stop: CancellationToken,
    /// Set while it is open. Held to copy, never across a wait.
    pub opened: Arc<Mutex<Option<Shared>>>,
    /// The hold on its identity that the operator released. Held to copy, never across a wait.
    pub accepted: Arc<Mutex<Option<String>>>,
    /// That the ledger be rebuilt.
    pub repair: Arc<Wish>,
}

/// A project that was opened. The lock goes with it.
pub struct Opened {
    shared: Shared,
    directory: Arc<Directory>,
    /// Who asked for a repair, and what it came to: told when the project can be used.
    repaired: Option<(Asker, Result<String, Reason>)>,
    _lock: Lock,
}

/// Why a project could not be opened.
#[derive(Debug)]
pub enum NotOpened {
    /// Another daemon serves it.
    Locked(String),
    /// The operator must say that it is what it should be.
    Held(Box<HoldRow>),
    /// Anything else.
    Failed(Box<CycleError>),
}

impl NotOpened {
    /// For status and log.
    fn reason(&self, project: &ProjectName) -> Reason {
        match self {
            Self::Locked(what) => Reason {
                code: "locked".to_owned(),
                message: format!("{what} is served by another daemon"),
                hint: "stop the other labelsyncd, or take the project out of one of the settings".to_owned(),
            },
            Self::Held(hold) => Reason {
                code: hold.code.clone(),
                message: hold.message.clone(),
                hint: hold_view(hold).next(project.as_str()),
            },
            Self::Failed(error) => error.reason_in(project),
        }
    }
}

impl<E: Into<CycleError>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error.into()))
    }
}

impl Host {
    /// Runs the project until its stop. `first`: what opening it once, before the daemon was ready, came to; `None`: it
    /// comes while the daemon runs.
    pub async fn run(self, first: Option<Result<Opened, NotOpened>>) {
        let mut opening = match first {
            Some(opening) => opening,
            None => self.open_patiently().await,
        };
        let mut repeats = Repeats::default();
        loop {
            match opening {
                Ok(mut opened) => {
                    self.begin(&mut opened);
                    repeats.over();
                    if let Err(error) = self.serve(opened).await {
                        self.fail(&mut repeats, error.reason_in(&self.name));
                    }
                    // After it: a project that was stopped is never shown as one that is well.
                    self.board.closed(self.clock.now());
                }
                Err(NotOpened::Held(hold)) => self.hold(&hold),
                Err(not_opened) => {
                    if let NotOpened::Failed(error) = &not_opened {
                        error.count(self.events.meters());
                    }
                    self.fail(&mut repeats, not_opened.reason(&self.name));
                }
            }
            let wait = if self.repair.is_asked() { Duration::ZERO } else { REOPEN };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.repair.come() => {}
            }
            opening = self.open().await;
        }
    }

    /// It can be used from now on.
    pub fn begin(&self, opened: &mut Opened) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.shared.clone());
        self.board.set_failed(self.clock.now(), None);
        if let Some((asker, said)) = opened.repaired.take() {
            // Whoever asked may have gone.
            drop(asker.send(said));
        }
    }

    /// Opens the project, whose lock may still be held by what this daemon ran there.
    async fn open_patiently(&self) -> Result<Opened, NotOpened> {
        let began = Instant::now();
        loop {
            let opening = self.open().await;
            let waits = matches!(opening, Err(NotOpened::Locked(_))) && began.elapsed() < LOCK_PATIENCE;
            if !waits || self.stop.is_cancelled() {
                return opening;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Opens the project: its directory, its identity, its lock, its ledger.
    pub async fn open(&self) -> Result<Opened, NotOpened> {
        let host = self.clone();
        let opened = tokio::task::spawn_blocking(move || host.open_now()).await;
        opened.map_err(|stopped| CycleError::Work(std::io::Error::other(stopped)))?
    }

    fn open_now(&self) -> Result<Opened, NotOpened> {
        let asked = self.repair.take();
        let mut done = None;
        let mut opened = self.open_and_repair(asked.is_some(), &mut done);
        if let Some(asker) = asked {
            let failed = || opened.as_ref().err().map_or_else(repair::nothing_to_repair, |why| why.reason(&self.name));
            let said = done.ok_or_else(failed);
            if let Ok(text) = &said {
                self.events.tell(Some(&self.name), Happened::new(Level::Notice, "ledger_rebuilt", text.clone()));
            }
            match &mut opened {
                Ok(opened) => opened.repaired = Some((asker, said)),
                Err(_) => drop(asker.send(said)),
            }
        }
        opened
    }

    /// `done`: what a repair came to.
    fn open_and_repair(&self, repair: bool, done: &mut Option<String>) -> Result<Opened, NotOpened> {
        let now = self.clock.now();
        let dir = Dir::open(&self.path).map_err(NearError::from)?;
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let registry = Registry::new(&self.state_dir);
        let project = match identify(&dir, &registry, &self.name, accepted.as_deref(), now)? {
            Identity::Known(project) => project,
            Identity::Held(hold) => return Err(NotOpened::Held(Box::new(hold))),
        };
        let lock = match dir.lock(MARKER, IfAbsent::Fail) {
            Ok(lock) => lock,
            Err(error) if error.kind == FileErrorKind::Locked => {
                return Err(NotOpened::Locked(self.path.display().to_string()));
            }
            Err(error) => return Err(NearError::from(error).into()),
        };
        let marker = dir.fingerprint(MARKER).map_err(NearError::from)?;
        let marker = marker.ok_or_else(|| NearError::Unmarked { path: self.path.display().to_string() })?;
        let directory = Arc::new(Directory::marked(&self.path, &marker));
        let ledger_path = ledger_path(&self.state_dir, &project);
        let work_dir = self.state_dir.join("work").join(project.to_string());
        for dir in [ledger_path.parent(), Some(work_dir.as_path())].into_iter().flatten() {
            std::fs::create_dir_all(dir).map_err(CycleError::Work)?;
        }
        let ledger = match Ledger::open_known(&ledger_path) {
            Err(error) if repair && error.is_repairable() => {
                *done = Some(repair::rebuild(&ledger_path, &*directory, &work_dir, now)?);
                Ledger::open_known(&ledger_path)?
            }
            opened => opened?,
        };
        ledger.is_of(&project.to_string())?;
        refuse_copy(&dir, project, &ledger)?;
        let shared = Shared {
            name: self.name.clone(),
            near: directory.clone(),
            map_eye: Arc::default(),
            ledger: Arc::new(ledger),
            clock: self.clock.clone(),
            board: self.board.clone(),
            events: self.events.clone(),
            pace: self.pace,
            work_dir,
        };
        self.catch_up(&shared)?;
        adopt(&shared, self.in_force.borrow().source.as_ref())?;
        keep_displaced_completions(&dir, &shared)?;
        Ok(Opened { shared, directory, repaired: None, _lock: lock })
    }

    fn catch_up(&self, shared: &Shared) -> Result<(), CycleError> {
        let Some(CaughtUp { is_copy, orphans }) = repair::catch_up(&shared.ledger, &*shared.near)? else {
            return Ok(());
        };
        let text = if is_copy {
            format!("the ledger is a backup, or begun anew: {orphans} tasks are newer than it and keep their ids")
        } else {
            format!(
                "{orphans} tasks are newer than the ledger and keep their ids: it is an old copy, or tasks.json is another \
                 file than it knows"
            )
        };
        shared.tell(Happened::new(Level::Notice, "ledger_restored", text));
        Ok(())
    }

    async fn serve(&self, opened: Opened) -> Result<(), CycleError> {
        let shared = opened.shared.clone();
        let end = CancellationToken::new();
        let stop = self.stop.clone();
        let this = Loop {
            shared: shared.clone(),
            in_force: self.in_force.clone(),
            wakes: self.wakes.clone(),
            stop: stop.child_token(),
        };
        let watching = tokio::spawn(watch_directory(shared, self.path.clone(), self.wakes.clone(), end.clone()));
        let mut loops = JoinSet::new();
        loops.spawn(run_source(this.clone()));
        loops.spawn(run_target(this.clone()));
        // Whichever ends first ends the other: a project runs whole or not at all.
        let ended = tokio::select! {
            Some(ended) = loops.join_next() => joined(ended),
            error = watch_identity(opened.directory, this.shared.ledger.clone()) => Err(error),
            () = self.repair.come() => Ok(()),
        };
        this.stop.cancel();
        let rest = async { while loops.join_next().await.is_some() {} };
        if tokio::time::timeout(END_GRACE, rest).await.is_err() {
            loops.abort_all();
        }
        end.cancel();
        // Nobody waits for the watcher: it only gives hints.
        drop(watching);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = None;
        ended
    }

    fn fail(&self, repeats: &mut Repeats, reason: Reason) {
        let text = format!("stopped: {}; {}", reason.message, reason.hint);
        match repeats.failed(&reason.code).text(&text) {
            Some(text) => {
                let stopped = Happened::new(Level::Error, "project_stopped", text).error(&reason.code);
                self.events.tell(Some(&self.name), stopped);
            }
            None => self.events.meters().error(&reason.code),
        }
        self.board.set_failed(self.clock.now(), Some(reason));
    }

    fn hold(&self, hold: &HoldRow) {
        let known = self.board.status().holds.iter().any(|h| h.id == hold.id);
        if !known {
            let text = format!("held: {}", hold.message);
            self.events.tell(Some(&self.name), Happened::new(Level::Error, "held", text).error(REINITIALISED));
        }
        let mut view = hold_view(hold);
        if let Some(before) = self.board.status().holds.iter().find(|h| h.id == hold.id) {
            view.since = before.since;
        }
        self.board.set_held(self.clock.now(), view);
    }
}

/// Ends when directory or ledger are not the project's any more, also while nothing else looks at them (promises 8, 16).
async fn watch_identity(directory: Arc<Directory>, ledger: Arc<Ledger>) -> CycleError {
    loop {
        tokio::time::sleep(IDENTITY_EVERY).await;
        let (directory, ledger) = (directory.clone(), ledger.clone());
        let there = blocking(move || {
            directory.dir()?;
            ledger.is_in_place()?;
            // Label Studio has given the source back: its ids are taken over when the project is opened.
            if !is_adopted(&ledger)? && !directory.own_storages()?.source { Err(not_adopted()) } else { Ok(()) }
        })
        .await;
        if let Err(error) = there {
            return error;
        }
    }
}

fn joined(ended: Result<Result<(), CycleError>, tokio::task::JoinError>) -> Result<(), CycleError> {
    match ended {
        Ok(result) => result,
        Err(panicked) => Err(CycleError::Blocked {
            code: "internal_error",
            message: format!("a loop of this project ended by a fault of labelsync: {panicked}"),
            hint: "it is started again; keep the log and report it".to_owned(),
        }),
    }
}

/// A completion that was displaced when the last daemon died may be what Label Studio wrote last: it is kept.
fn keep_displaced_completions(dir: &Dir, shared: &Shared) -> Result<(), CycleError> {
    let completions = match dir.sub(COMPLETIONS, false) {
        Ok(dir) => dir,
        Err(error) if error.kind == FileErrorKind::Missing => return Ok(()),
        Err(error) => return Err(NearError::from(error).into()),
    };
    let leftovers = completions.clean_leftovers().map_err(NearError::from)?;
    for leftover in &leftovers {
        let limit = super::validate::MAX_COMPLETION_BYTES as u64;
        let read = match completions.read(&leftover.name, limit) {
            // Nobody could read it at once; where it is it does no harm, and no project waits for it.
            Err(error) if error.kind == FileErrorKind::TooLarge => {
                let text = format!("a displaced version of completions/{} is left as it is: {error}", leftover.of);
                shared.tell(Happened::new(Level::Warning, "displaced_kept", text));
                continue;
            }
            read => read.map_err(NearError::from)?,
        };
        if let Some(contents) = read {
            let what = format!("{}-displaced", leftover.of.trim_end_matches(".json"));
            let name = losers::keep(&shared.work_dir, &what, &contents.bytes, shared.now())?;
            let text = format!("a displaced version of completions/{} is kept in {}", leftover.of, name.display());
            shared.tell(Happened::new(Level::Warning, "displaced_kept", text));
        }
        completions.discard_leftover(leftover).map_err(NearError::from)?;
    }
    if !leftovers.is_empty() {
        losers::tidy(&shared.work_dir, shared.now())?;
    }
    Ok(())
}

/// Turns hints of the directory into wakes, and says when there are no events to go by.
async fn watch_directory(shared: Shared, path: PathBuf, wakes: Arc<Wakes>, end: CancellationToken) {
    let eye = shared.clone();
    let look_at_map = move || eye.map_eye.look(&*eye.near);
    let watcher = Watcher::start(&path, Periods::default(), Box::new(look_at_map.clone()));
    let mut warned = None;
    // Label Studio writes its map with every page that is open: it is looked at only where it says something new.
    let mut map_at: Option<Instant> = None;
    loop {
        let map_due = async {
            match map_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = end.cancelled() => {
                if let Some(code) = warned {
                    shared.board.unwarn(shared.now(), code);
                }
                return;
            }
            () = watcher.woken() => {}
            () = map_due => {
                map_at = None;
                let ledger = shared.ledger.clone();
                if blocking(move || Ok(ledger.has_unseen()?)).await.unwrap_or(true) {
                    wakes.wake_source(SourceWake::Near);
                }
            }
        }
        let hints = watcher.take();
        if hints.map {
            map_at.get_or_insert(Instant::now() + shared.pace.rest);
        }
        if let Some(why) = hints.everything {
            shared.events.meters().rescan(why.code());
            if why == Rescan::Overflow {
                shared.events.meters().watch_overflow();
            }
            let look = look_at_map.clone();
            let looked = move || {
                look();
                Ok(())
            };
            blocking(looked).await.ok();
            wakes.wake_source(SourceWake::Near);
            wakes.wake_target(TargetWake::Local);
        } else {
            if hints.tasks || hints.config {
                wakes.wake_source(if hints.config { SourceWake::Far } else { SourceWake::Near });
            }
            if !hints.completions.is_empty() {
                wakes.wake_target(TargetWake::Some(hints.completions));
            }
        }
        warn_of(&shared, watcher.mode(), &mut warned);
    }
}

fn warn_of(shared: &Shared, mode: Mode, warned: &mut Option<&'static str>) {
    let now = shared.now();
    let why = match mode {
        Mode::Inotify | Mode::Polling(PollReason::Starting) => None,
        Mode::Polling(why) => Some(why),
    };
    let code = why.map(PollReason::code);
    if *warned == code {
        return;
    }
    if let Some(old) = warned.take() {
        shared.board.unwarn(now, old);
    }
    if let Some(why) = why {
        let message =
            "changes in the project directory are not announced here: it is looked at again and again".to_owned();
        let reason = Reason { code: why.code().to_owned(), message, hint: why.remedy().to_owned() };
        shared.board.warn(now, reason.clone());
        shared.tell(Happened::new(Level::Warning, "watch", reason.message).error(why.code()));
    }
    *warned = code;
}
