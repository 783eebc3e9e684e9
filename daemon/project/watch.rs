//! Watching a project directory: hints that something may have changed.
//!
//! Promise: after a lost event (full queue, error, a directory made anew, no watch at all) the next hint says "look at
//! everything" (promises 48, 49); a hint narrows what is looked at and is never the truth; memory is bounded.
//! Not here: looking (a version of `source.json` that lasts for milliseconds is looked at by whoever asks for it); the periodic full look, which a project needs even with a perfect watcher.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::files::is_temporary;
use crate::names::TaskId;

/// Task ids that are hinted at one by one; with more, looking at everything is cheaper than remembering them.
pub const HINTED_MAX: usize = 10_000;

const TASKS: &str = "tasks.json";
const SOURCE_MAP: &str = "source.json";
const COMPLETIONS: &str = "completions";
const MARKER: &str = "labelsync.json";
const CONFIGS: [&str; 2] = ["config.xml", "config.json"];

/// File systems whose changes from other machines (or from outside a sandbox) reach no inotify watch:
/// NFS, SMB (three numbers), FUSE, 9P, Ceph, AFS. From `statfs(2)`.
const REMOTE_FILE_SYSTEMS: [u64; 8] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];

/// How often things are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Periods {
    /// Without inotify: time between two hints to look at everything.
    pub poll: Duration,
    /// Time between two checks that the watched directories are still the project's; also the least time between two
    /// attempts to watch.
    pub check: Duration,
    /// Without inotify: time after which it is tried again.
    pub retry: Duration,
}

impl Default for Periods {
    /// Polling every 2 s keeps "within seconds"; a check is two `stat` calls; limits are raised by hand, so a minute.
    fn default() -> Self {
        Self { poll: Duration::from_secs(2), check: Duration::from_secs(2), retry: Duration::from_secs(60) }
    }
}

/// What may have changed since the last look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hints {
    /// `tasks.json`.
    pub tasks: bool,
    /// `source.json`, which Label Studio writes at every listing.
    pub map: bool,
    /// `config.xml` or `config.json`.
    pub config: bool,
    /// `completions/<id>.json` of these.
    pub completions: BTreeSet<TaskId>,
    /// Anything, and why: the other fields say nothing then.
    pub everything: Option<Rescan>,
}

/// Why the whole project directory is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rescan {
    /// Watching has begun.
    Started,
    /// The kernel's queue of events was full.
    Overflow,
    /// A watched directory was made, moved or removed, or watching failed.
    Lost,
    /// More files changed than are remembered one by one.
    ManyChanges,
    /// The project's marker changed.
    Marker,
    /// There are no events here.
    Polling,
    /// Its time has come, whatever events said.
    Periodic,
}

impl Rescan {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Overflow => "overflow",
            Self::Lost => "lost",
            Self::ManyChanges => "many_changes",
            Self::Marker => "marker",
            Self::Polling => "polling",
            Self::Periodic => "periodic",
        }
    }
}

impl Hints {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn all(why: Rescan) -> Self {
        Self { everything: Some(why), ..Self::default() }
    }

    /// Everything; the first cause stands until the hints are taken, but an overflow is never left out.
    fn everything(&mut self, why: Rescan) {
        if self.everything.is_none() || why == Rescan::Overflow {
            *self = Self::all(why);
        }
    }

    fn completion(&mut self, id: TaskId) {
        if self.everything.is_some() {
            return;
        }
        self.completions.insert(id);
        if self.completions.len() > HINTED_MAX {
            self.everything(Rescan::ManyChanges);
        }
    }
}

/// How the watcher learns of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// By events.
    Inotify,
    /// By hints to look at everything, again and again.
    Polling(PollReason),
}

/// Why there are no events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollReason {
    /// The watcher has just been started.
    Starting,
    /// The kernel gives no more watches or inotify instances (ENOSPC, EMFILE).
    WatchLimit,
    /// The file system shows no changes made on other machines.
    NetworkFileSystem,
    /// The project directory is not there.
    DirectoryMissing,
    /// Watching fails in another way.
    Failed,
}

impl PollReason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Starting => "watch_starting",
            Self::WatchLimit => "watch_limit",
            Self::NetworkFileSystem => "watch_network_file_system",
            Self::DirectoryMissing => "watch_directory_missing",
            Self::Failed => "watch_failed",
        }
    }

    /// What a person does next.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Starting => "nothing",
            Self::WatchLimit => {
                "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl; \
                 until then labelsync polls"
            }
            Self::NetworkFileSystem => "nothing: labelsync polls; a local file system is quicker",
            Self::DirectoryMissing => "check that the project's file system is mounted and its path is right",
            Self::Failed => "nothing: labelsync polls and tries again; the log names the cause",
        }
    }
}

/// Watches one project directory until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Called when `source.json` was written, on the thread of the events: versions of it can be gone a moment later.
pub type OnMap = Box<dyn Fn() + Send + Sync>;

struct Shared {
    project: PathBuf,
    completions: PathBuf,
    on_map: OnMap,
    state: Mutex<State>,
    /// There are hints.
    wake: Notify,
    /// The watched directories may not be the project's any more, or watching failed.
    check: Notify,
}

#[derive(Debug)]
struct State {
    hints: Hints,
    mode: Mode,
    broken: bool,
}

impl Watcher {
    /// Starts watching, within a tokio runtime. The first hint is to look at everything.
    pub fn start(project: &Path, periods: Periods, on_map: OnMap) -> Self {
        let state =
            State { hints: Hints::all(Rescan::Started), mode: Mode::Polling(PollReason::Starting), broken: false };
        let shared = Arc::new(Shared {
            project: project.to_owned(),
            completions: project.join(COMPLETIONS),
            on_map,
            state: Mutex::new(state),
            wake: Notify::new(),
            check: Notify::new(),
        });
        let task = tokio::spawn(watch(Arc::clone(&shared), periods));
        Self { shared, task }
    }

    /// Returns when there is something to look at. Take the hints then: what happens later wakes again.
    pub async fn woken(&self) {
        while self.shared.state().hints.is_empty() {
            self.shared.wake.notified().await;
        }
    }

    /// The hints since the last call. Take them before looking, never after. A look at everything should compare
    /// fingerprints before it opens files: opening makes events too, and enough of them fill the kernel's queue.
    pub fn take(&self) -> Hints {
        std::mem::take(&mut self.shared.state().hints)
    }

    /// How changes are noticed now.
    pub fn mode(&self) -> Mode {
        self.shared.state().mode
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An open watch, and which directories it is on.
struct Eye {
    mode: Mode,
    directories: Directories,
    _watcher: Option<RecommendedWatcher>,
}

/// Device and inode of the project directory and of `completions/`; `None` where there is none.
type Directories = [Option<(u64, u64)>; 2];

async fn watch(shared: Arc<Shared>, periods: Periods) {
    loop {
        let opened = Instant::now();
        let Some(eye) = blocking(&shared, open_eye).await else { return };
        // At once: who sees that it watches finds the look that is due with it.
        {
            let mut state = shared.state();
            state.mode = eye.mode;
            state.hints.everything(Rescan::Started);
        }
        shared.wake.notify_one();
        if stay(&shared, &eye, periods, opened).await.is_none() {
            return;
        }
        tokio::time::sleep_until(opened + periods.check).await;
        // Dropped only now: until here the old watch has been better than none.
        drop(eye);
    }
}

/// Returns when the watch has to be opened anew; `None` when the runtime stops.
async fn stay(shared: &Arc<Shared>, eye: &Eye, periods: Periods, opened: Instant) -> Option<()> {
    let pause = match eye.mode {
        Mode::Inotify => periods.check,
        Mode::Polling(_) => periods.poll.min(periods.check),
    };
    let mut polled = opened;
    loop {
        let _asked = tokio::time::timeout(pause, shared.check.notified()).await;
        let directories = blocking(shared, look_at_directories).await?;
        let broken = std::mem::take(&mut shared.state().broken);
        if broken || directories != eye.directories {
            return Some(());
        }
        let Mode::Polling(reason) = eye.mode else { continue };
        if polled.elapsed() >= periods.poll {
            polled = Instant::now();
            shared.hint(|hints| hints.everything(Rescan::Polling));
        }
        // A directory that is missing is noticed above when it comes.
        if reason != PollReason::DirectoryMissing && opened.elapsed() >= periods.retry {
            return Some(());
        }
    }
}

/// Runs what touches the disk on a thread that may block; `None` when the runtime stops.
async fn blocking<T: Send + 'static>(shared: &Arc<Shared>, work: fn(&Arc<Shared>) -> T) -> Option<T> {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || work(&shared)).await.ok()
}

fn look_at_directories(shared: &Arc<Shared>) -> Directories {
    [&shared.project, &shared.completions].map(|path| {
        let stat = rustix::fs::stat(path).ok()?;
        Some((stat.st_dev, stat.st_ino))
    })
}

fn open_eye(shared: &Arc<Shared>) -> Eye {
    // Looked at first: a directory that is replaced before it is watched is then noticed by the next check.
    let directories = look_at_directories(shared);
    let polling = |reason| Eye { mode: Mode::Polling(reason), directories, _watcher: None };
    if directories[0].is_none() {
        return polling(PollReason::DirectoryMissing);
    }
    if is_remote(&shared.project) {
        return polling(PollReason::NetworkFileSystem);
    }
    match try_watch(shared, directories[1].is_some()) {
        Ok(watcher) => Eye { mode: Mode::Inotify, directories, _watcher: Some(watcher) },
        Err(error) => {
            let reason = reason_of(&error);
            tracing::debug!(error = &error as &dyn std::error::Error, code = reason.code(), "cannot watch, polling");
            polling(reason)
        }
    }
}

fn try_watch(shared: &Arc<Shared>, completions: bool) -> notify::Result<RecommendedWatcher> {
    let told = Arc::clone(shared);
    let mut watcher = notify::recommended_watcher(move |event| told.note(event))?;
    watcher.watch(&shared.project, RecursiveMode::NonRecursive)?;
    if completions {
        watcher.watch(&shared.completions, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn reason_of(error: &notify::Error) -> PollReason {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => PollReason::WatchLimit,
        notify::ErrorKind::Io(cause) if is_limit(cause) => PollReason::WatchLimit,
        _ => PollReason::Failed,
    }
}

fn is_limit(cause: &io::Error) -> bool {
    matches!(Errno::from_io_error(cause), Some(Errno::MFILE | Errno::NFILE | Errno::NOSPC))
}

#[allow(clippy::unnecessary_cast, reason = "the types of `StatFs` differ from machine to machine")]
fn is_remote(path: &Path) -> bool {
    // Where the number is stored in a signed field its high bits are copies of the sign.
    rustix::fs::statfs(path).is_ok_and(|fs| REMOTE_FILE_SYSTEMS.contains(&(fs.f_type as u64 & 0xffff_ffff)))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Hints stay usable when a thread panics: each change leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, change: impl FnOnce(&mut Hints)) {
        change(&mut self.state().hints);
        self.wake.notify_one();
    }

    /// Events are missing, or the watch is not on the project's directories any more. Comparing these would not be
    /// enough: a directory that is made anew often gets the inode of the old one.
    fn lost(&self, why: Rescan) {
        self.state().broken = true;
        self.hint(|hints| hints.everything(why));
        self.check.notify_one();
    }

    /// Called on notify's thread; quick, so that the kernel's queue does not fill up.
    fn note(&self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else { return self.lost(Rescan::Lost) };
        if event.need_rescan() {
            return self.lost(Rescan::Overflow);
        }
        // Reading makes events too, our own reading most of all.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return;
        }
        for path in &event.paths {
            self.note_path(path, &event.kind);
        }
    }

    fn note_path(&self, path: &Path, kind: &EventKind) {
        if *path == self.project || *path == self.completions {
            // The directory itself: removed, renamed, made; other permissions do not matter.
            if !matches!(kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                self.lost(Rescan::Lost);
            }
            return;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        if is_temporary(name) {
            return;
        }
        let Some(name) = name.to_str() else { return };
        if *parent == self.completions {
            if let Some(id) = name.strip_suffix(".json").and_then(TaskId::parse) {
                self.hint(|hints| hints.completion(id));
            }
        } else if name == TASKS {
            self.hint(|hints| hints.tasks = true);
        } else if name == SOURCE_MAP {
            if matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_)) {
                (self.on_map)();
            }
            self.hint(|hints| hints.map = true);
        } else if CONFIGS.contains(&name) {
            self.hint(|hints| hints.config = true);
        } else if name == MARKER {
            self.hint(|hints| hints.everything(Rescan::Marker));
        }
    }
}
