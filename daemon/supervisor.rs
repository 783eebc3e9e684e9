//! Which projects run, with which settings; changed while they run.
//!
//! Promise: a change is durable before it is acknowledged, and takes effect between cycles; a wrong change, or a wrong
//! file at a reload, changes nothing.
//! Not here: what a project does (`project::host`), the socket (`control::server`), signals (`main`).

mod doctor;
mod health;
mod metrics;
mod resolve;
mod verbs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, UnixMillis};
use crate::control::Actor;
use crate::control::api::{Reason, ReloadRefused};
use crate::events::{EventLog, Happened, Level};
use crate::names::ProjectName;
use crate::project::board::{Board, Direction};
use crate::project::claim::Owner;
use crate::project::files::{Dir, FileError, FileErrorKind, IfAbsent, Lock};
use crate::project::host::{Host, NotOpened, Opened};
use crate::project::repair::Wish;
use crate::project::run::InForce;
use crate::project::shared::Shared;
use crate::project::source::look::SourceSide;
use crate::project::target::road::{TargetSide, target_prefix};
use crate::project::wakes::Wakes;
use crate::pulse::Pulse;
use crate::settings::load::Loaded;
use crate::settings::overrides::{OverridesError, OverridesStore};
use crate::settings::{self, Overrides, Problem, ProjectSettings, Settings, StoreSettings, atomic};
use crate::store::Store;
use crate::store::connecting::Connecting;
use crate::store::metered::Metered;
use crate::sync::pace::Pace;
use crate::systemd::{NotifyState, notify};

/// How long a project may take to open at the start before the service manager gives up: a ledger of ten million rows is
/// read whole. However many projects there are, a start that gets on is not ended.
const OPENING_MAX_USEC: u32 = 60_000_000;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings, or runtime changes that do not fit them.
    #[error("the settings cannot be used")]
    Settings(Vec<Problem>),
    /// Another daemon.
    #[error("{0} is served by another labelsyncd")]
    Locked(String),
    /// The state directory.
    #[error("the state directory cannot be used")]
    State(#[from] FileError),
    /// Its disk.
    #[error("the state directory cannot be used")]
    Io(#[from] std::io::Error),
}

/// The running daemon.
pub struct Supervisor {
    config_file: PathBuf,
    state_dir: PathBuf,
    installation: String,
    clock: Arc<dyn Clock>,
    events: Arc<EventLog>,
    started_at: UnixMillis,
    pace: Pace,
    overrides: OverridesStore,
    /// One change at a time, from its check to its effect; held across the disk, never across a bucket.
    current: tokio::sync::Mutex<()>,
    /// What is in force. Held to copy or replace, never across a wait.
    settings: Mutex<Current>,
    /// Held to look up, add or remove, never across a wait.
    projects: Mutex<BTreeMap<ProjectName, Running>>,
    control: Pulse,
    stop: CancellationToken,
    tasks: TaskTracker,
    _lock: Lock,
}

#[derive(Clone)]
struct Current {
    loaded: Arc<Loaded>,
    overrides: BTreeMap<ProjectName, Overrides>,
    settings: Settings,
    generation: u64,
    refused: Option<ReloadRefused>,
}

#[derive(Clone)]
struct Running {
    path: PathBuf,
    board: Arc<Board>,
    wakes: Arc<Wakes>,
    in_force: watch::Sender<Arc<InForce>>,
    opened: Arc<Mutex<Option<Shared>>>,
    accepted: Arc<Mutex<Option<String>>>,
    repair: Arc<Wish>,
    stop: CancellationToken,
}

/// What the supervisor is made of.
#[derive(Debug)]
pub struct Start {
    /// The settings file, read again at a reload.
    pub config_file: PathBuf,
    /// As it was read.
    pub loaded: Loaded,
    /// The state directory: the settings', or the command line's.
    pub state_dir: PathBuf,
    /// How long things are waited for.
    pub pace: Pace,
}

impl Supervisor {
    /// Locks the state directory, opens every project once, and lets them run. A bucket that is down does not matter
    /// here; another daemon does.
    pub async fn start(
        start: Start,
        clock: Arc<dyn Clock>,
        events: Arc<EventLog>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let (lock, installation) = open_state_dir(&start.state_dir)?;
        let store = OverridesStore::open(&start.state_dir).map_err(|e| StartError::Settings(vec![e.problem()]))?;
        let names = start.loaded.settings.projects.keys();
        let all =
            |errors: Vec<OverridesError>| StartError::Settings(errors.iter().map(OverridesError::problem).collect());
        let overrides = store.load_all(names).map_err(all)?;
        let settings = start.loaded.with_overrides(&overrides).map_err(StartError::Settings)?;
        let current = Current { loaded: Arc::new(start.loaded), overrides, settings, generation: 1, refused: None };
        let this = Arc::new(Self {
            config_file: start.config_file,
            state_dir: start.state_dir,
            installation,
            started_at: clock.now(),
            clock,
            events,
            pace: start.pace,
            overrides: store,
            current: tokio::sync::Mutex::new(()),
            settings: Mutex::new(current.clone()),
            projects: Mutex::new(BTreeMap::new()),
            control: Pulse::default(),
            stop,
            tasks: TaskTracker::new(),
            _lock: lock,
        });
        for project in current.settings.projects.values() {
            let (host, running) = this.host(project, &current);
            notify(&[NotifyState::ExtendTimeoutUsec(OPENING_MAX_USEC)]);
            let first = host.open().await;
            if let Err(NotOpened::Locked(what)) = first {
                return Err(StartError::Locked(what));
            }
            this.launch(&current, host, running, Some(first));
        }
        Ok(this)
    }

    /// Ends when every project has ended; call it after the stop.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Reads the settings files again. What is wrong changes nothing. The service manager is told when it begins and
    /// how it ended, the log too. `actor`: who asked over the socket; `None`: a signal.
    pub async fn reload_files(self: &Arc<Self>, actor: Option<Actor>) -> Result<String, Vec<Problem>> {
        // In one datagram, as Type=notify-reload wants it.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
        let reloaded = self.try_reload().await;
        self.events.meters().reload(reloaded.is_ok());
        let tell = |happened: Happened| {
            self.events.tell(
                None,
                match actor {
                    Some(actor) => happened.actor(verbs::who(actor)),
                    None => happened,
                },
            );
        };
        let status = match &reloaded {
            Ok(text) => {
                tell(Happened::new(Level::Notice, "reloaded", text.clone()));
                text.clone()
            }
            Err(problems) => {
                self.settings().refused = Some(ReloadRefused { at: self.clock.now(), problems: problems.clone() });
                for problem in problems {
                    let text = format!("{}: {}; {}", problem.path, problem.message, problem.remedy);
                    tell(Happened::new(Level::Error, "reload_refused", text).error("invalid_settings"));
                }
                format!("{} in the settings: the old ones stay in force", settings::count(problems))
            }
        };
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        reloaded
    }

    async fn try_reload(self: &Arc<Self>) -> Result<String, Vec<Problem>> {
        let _one_change = self.current.lock().await;
        let file = self.config_file.clone();
        let read = tokio::task::spawn_blocking(move || crate::settings::load(&file)).await;
        let fault = |error: tokio::task::JoinError| vec![Problem::new("settings", error.to_string(), "report this")];
        let loaded = read.map_err(fault)??;
        let names: Vec<ProjectName> = loaded.settings.projects.keys().cloned().collect();
        self.keep_overrides_dir().map_err(|error| vec![error.problem()])?;
        let overrides = self
            .overrides
            .load_all(&names)
            .map_err(|errors| errors.iter().map(OverridesError::problem).collect::<Vec<_>>())?;
        let settings = loaded.with_overrides(&overrides)?;
        let before = self.current();
        let generation = before.generation + 1;
        let next = Current { loaded: Arc::new(loaded), overrides, settings, generation, refused: None };
        let text = self.replace_projects(&before, &next);
        *self.settings() = next;
        Ok(text)
    }

    /// Runtime changes whose directory somebody removed are still in force: no change, and no reload, may lose them.
    fn keep_overrides_dir(&self) -> Result<(), OverridesError> {
        if self.overrides.put_back(&self.current().overrides)? {
            let text = "what was set with lsctl was gone from the state directory (overrides/): it is written again";
            self.events.tell(None, Happened::new(Level::Warning, "settings_restored", text.to_owned()));
        }
        Ok(())
    }

    /// To watch, to drop: the difference of two settings.
    fn replace_projects(self: &Arc<Self>, before: &Current, next: &Current) -> String {
        let (mut started, mut stopped, mut changed) = (0, 0, 0);
        let running: Vec<(ProjectName, Running)> =
            self.projects().iter().map(|(name, running)| (name.clone(), running.clone())).collect();
        for (name, running) in running {
            let wanted = next.settings.projects.get(&name);
            if wanted.is_none_or(|project| project.path != running.path) {
                running.stop.cancel();
                self.projects().remove(&name);
                stopped += 1;
            }
        }
        for (name, project) in &next.settings.projects {
            let running = self.projects().get(name).cloned();
            let Some(running) = running else {
                let (host, running) = self.host(project, next);
                self.launch(next, host, running, None);
                started += 1;
                continue;
            };
            if before.settings.projects.get(name) != Some(project) {
                self.put_in_force(name, &running, next);
                changed += 1;
            }
        }
        let mut text =
            format!("settings read again: projects: {started} started, {stopped} stopped, {changed} changed");
        if before.settings.daemon != next.settings.daemon {
            text.push_str("; [daemon] needs a restart");
        }
        text
    }

    fn host(&self, project: &ProjectSettings, current: &Current) -> (Host, Running) {
        let now = self.clock.now();
        let board = Arc::new(Board::new(project.name.as_str(), &project.path.display().to_string(), now));
        self.events.meters().project(project.name.as_str());
        let force = self.in_force(&project.name, &board, current, &InForce::default());
        let (in_force, watched) = watch::channel(Arc::new(force));
        let running = Running {
            path: project.path.clone(),
            board: board.clone(),
            wakes: Arc::new(Wakes::default()),
            in_force,
            opened: Arc::default(),
            accepted: Arc::default(),
            repair: Arc::default(),
            stop: self.stop.child_token(),
        };
        let host = Host {
            name: project.name.clone(),
            path: project.path.clone(),
            state_dir: self.state_dir.clone(),
            clock: self.clock.clone(),
            events: self.events.clone(),
            board,
            wakes: running.wakes.clone(),
            pace: self.pace,
            in_force: watched,
            stop: running.stop.clone(),
            opened: running.opened.clone(),
            accepted: running.accepted.clone(),
            repair: running.repair.clone(),
        };
        (host, running)
    }

    fn launch(&self, current: &Current, host: Host, running: Running, mut first: Option<Result<Opened, NotOpened>>) {
        self.publish(&host.name, &running, current);
        // Before anybody can ask for it.
        if let Some(Ok(opened)) = &mut first {
            host.begin(opened);
        }
        self.projects().insert(host.name.clone(), running);
        self.tasks.spawn(host.run(first));
    }

    fn put_in_force(&self, name: &ProjectName, running: &Running, current: &Current) {
        let before = running.in_force.borrow().clone();
        let force = self.in_force(name, &running.board, current, &before);
        running.in_force.send_replace(Arc::new(force));
        self.publish(name, running, current);
    }

    /// Settings as the loops take them; a store whose settings did not change stays connected.
    fn in_force(&self, name: &ProjectName, board: &Board, current: &Current, before: &InForce) -> InForce {
        let Some(project) = current.settings.projects.get(name) else { return InForce::default() };
        let paused = current.overrides.get(name).is_some_and(|overrides| overrides.paused);
        let targets = current.settings.projects.values().filter_map(|project| project.target.as_ref());
        let targets: Vec<String> =
            targets.map(|target| format!("{}/{}", target.store.place(), target_prefix(&target.prefix))).collect();
        let source = project.source.as_ref().map(|settings| SourceSide {
            settings: settings.clone(),
            store: self.store(
                &settings.store,
                before.source.as_ref().map(|s| (&s.settings.store, &s.store)),
                board.pulse(Direction::Source),
            ),
            targets: below(&settings.store.place(), &targets),
        });
        let owner = Owner {
            project: project.path.display().to_string(),
            installation: self.installation.clone(),
            name: name.to_string(),
        };
        let target = project.target.as_ref().map(|settings| TargetSide {
            settings: settings.clone(),
            store: self.store(
                &settings.store,
                before.target.as_ref().map(|t| (&t.settings.store, &t.store)),
                board.pulse(Direction::Target),
            ),
            owner,
        });
        InForce { paused, source, target }
    }

    /// What the settings say goes to the board at once, before they are `self.settings`.
    fn publish(&self, name: &ProjectName, running: &Running, current: &Current) {
        let now = self.clock.now();
        let force = running.in_force.borrow().clone();
        let source = force.source.as_ref().map(|side| {
            let regex = side.settings.regex.as_ref().map(|regex| regex.as_str().to_owned());
            (side.store.root().to_owned(), side.settings.prefix.clone(), regex)
        });
        let target = force.target.as_ref().map(|side| (side.store.root().to_owned(), side.settings.prefix.clone()));
        running.board.set_sides(now, source, target);
        running.board.set_paused(now, force.paused);
        let has = current.settings.projects.get(name).is_some_and(|project| project.label_studio_has_credentials);
        let cloud = force.source.as_ref().filter(|side| side.settings.has_cloud_urls());
        match cloud {
            Some(side) if !has => {
                running.board.warn(now, needs_credentials(name, &side.settings.store));
            }
            Some(_) | None => {
                running.board.unwarn(now, NEEDS_CREDENTIALS);
            }
        }
    }

    fn store(
        &self,
        settings: &StoreSettings,
        before: Option<(&StoreSettings, &Arc<dyn Store>)>,
        pulse: &Arc<Pulse>,
    ) -> Arc<dyn Store> {
        match before {
            Some((old, store)) if old == settings => store.clone(),
            _ => {
                let meters = self.events.meters().clone();
                let kind = settings.kind();
                Arc::new(Metered::new(Connecting::new(settings.clone()), kind, meters, pulse.clone()))
            }
        }
    }

    /// Loops that should have got further for at least `limit` and did not, each with its name.
    pub fn stuck(&self, limit: Duration) -> Vec<String> {
        let now = Instant::now();
        let mut stuck = Vec::new();
        for (name, running) in self.projects().iter() {
            for (direction, text) in [(Direction::Source, "source"), (Direction::Target, "target")] {
                if running.board.pulse(direction).silent_for(now) >= limit {
                    stuck.push(format!("the {text} of {name}"));
                }
            }
        }
        if self.control.silent_for(now) >= limit {
            stuck.push("the control socket".to_owned());
        }
        stuck
    }

    fn current(&self) -> Current {
        self.settings().clone()
    }

    /// A panic while it was replaced leaves the old one.
    fn settings(&self) -> MutexGuard<'_, Current> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic while it was changed leaves the old or the new entry.
    fn projects(&self) -> MutexGuard<'_, BTreeMap<ProjectName, Running>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, project: &ProjectName, happened: Happened) {
        self.events.tell(Some(project), happened);
    }
}

const NEEDS_CREDENTIALS: &str = "label_studio_needs_credentials";

/// 0.8.md, section 7: without them Label Studio's task list answers 500.
pub fn needs_credentials(name: &ProjectName, store: &StoreSettings) -> Reason {
    let (root, give) = (store.root(), store.label_studio_environment());
    Reason {
        code: NEEDS_CREDENTIALS.to_owned(),
        message: format!(
            "Label Studio itself must be able to read {root}: without credentials in its own environment its task list answers 500"
        ),
        hint: format!(
            "give Label Studio's service {give}, then set \
             `label_studio_has_credentials = true` in [projects.{name}] and run `lsctl reload`"
        ),
    }
}

/// What of these places lies in a bucket, as prefixes of its keys.
fn below(bucket: &str, places: &[String]) -> Vec<String> {
    let in_it = |place: &String| place.strip_prefix(bucket)?.strip_prefix('/').map(str::to_owned);
    places.iter().filter_map(in_it).collect()
}

/// One daemon a state directory; its installation's id is made once.
fn open_state_dir(path: &Path) -> Result<(Lock, String), StartError> {
    std::fs::create_dir_all(path)?;
    let dir = Dir::open(path)?;
    let lock = dir.lock("lock", IfAbsent::Create).map_err(|error| match error.kind {
        FileErrorKind::Locked => StartError::Locked(path.display().to_string()),
        _ => StartError::State(error),
    })?;
    // What a crash left between the making of a file and its name (promise 42).
    for dir in [path.to_owned(), path.join("projects")] {
        atomic::remove_leftovers(&dir)?;
    }
    let file = path.join("installation");
    let installation = match std::fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) => {
            return Err(std::io::Error::other(format!("{} is empty: restore it from a backup", file.display())).into());
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let installation = uuid::Uuid::new_v4().to_string();
            atomic::replace(&file, installation.as_bytes(), 0o600)?;
            installation
        }
        Err(error) => return Err(error.into()),
    };
    Ok((lock, installation))
}

/// For the log, once, when everything has started.
pub fn started(events: &EventLog, projects: usize) {
    let text = format!("labelsyncd {} started, projects: {projects}", env!("CARGO_PKG_VERSION"));
    events.tell(None, Happened::new(Level::Notice, "started", text));
}
