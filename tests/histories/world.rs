//! A bucket, a project directory with its Label Studio, and the daemon's road between them.
//!
//! Promise: the real road, the real ledger, a real directory; only the buckets are in memory, and time does not pass.
//! Not here: what must hold (`judge`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use labelsync::clock::{Clock, UnixMillis};
use labelsync::events::EventLog;
use labelsync::names::{Key, ProjectName, TaskId};
use labelsync::project::board::Board;
use labelsync::project::claim::{Owner, mark_key};
use labelsync::project::directory::Directory;
use labelsync::project::error::CycleError;
use labelsync::project::files::{Dir, IfAbsent, Lock};
use labelsync::project::identity::{MARKER, Registry, identify};
use labelsync::project::ledger::Ledger;
use labelsync::project::near::Near;
use labelsync::project::repair::catch_up;
use labelsync::project::shared::Shared;
use labelsync::project::source::look::SourceSide;
use labelsync::project::source::road::SourceRoad;
use labelsync::project::target::road::{Look, TargetRoad, TargetSide};
use labelsync::settings::{OnChanged, OnDeleted, OnRemoved, SourceSettings, TargetSettings};
use labelsync::store::StoreErrorKind;
use labelsync::store::faulty::{Fault, Faults};
use labelsync::sync::completions::Resolution;
use labelsync::sync::pace::Pace;
use labelsync::sync::pattern::Pattern;

use crate::judge;
use crate::label_studio::{LabelStudio, Meanwhile, TASKS_TORN, pick};
use crate::mortal::{Life, MortalNear, MortalStore, Side};
use crate::ops::Op;
use crate::rivals::{Rival, second};
use crate::settings::{source_settings, target_settings};

/// The keys that a history puts and removes.
pub const KEYS: [&str; 6] = ["a/1.png", "a/2.png", "a/3.jpg", "b/1.png", "b/2", "c.png"];
/// The regexes that a history sets.
pub const REGEXES: [&str; 4] = [".*", r".*\.png", "a", ""];
/// The prefixes that a history sets.
pub const PREFIXES: [&str; 3] = ["", "a/", "b"];
/// What every pushed key starts with.
pub const TARGET_PREFIX: &str = "done/";
/// Bodies that cannot become a JSON task.
const BAD_BODIES: std::ops::RangeInclusive<u8> = 9..=11;

const LABEL_CONFIG: &str =
    r#"<View><Image name="i" value="$image"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>"#;

/// A clock that moves by a millisecond whenever it is asked.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

struct Running {
    /// None: the daemon is dead, and its lock with it.
    lock: Option<Lock>,
    ledger: Arc<Ledger>,
    source: SourceRoad,
    target: TargetRoad,
    shared: Shared,
}

pub struct World {
    pub blobs: bool,
    pub project: PathBuf,
    state: PathBuf,
    pub label_studio: Arc<Mutex<LabelStudio>>,
    pub source: Arc<MortalStore>,
    pub target: Arc<MortalStore>,
    pub source_faults: Faults,
    pub target_faults: Faults,
    pub source_settings: SourceSettings,
    pub target_settings: TargetSettings,
    /// Target objects that somebody else touched, by id.
    pub touched: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Disputes that a person ended, by id.
    pub resolved: Vec<u64>,
    /// The operator ever let objects be deleted with their completions.
    pub ever_deleted_objects: bool,
    /// The operator ever had completions of the target left there.
    pub ever_without_copies: bool,
    /// The operator ever let tasks stay as they were when their object changed.
    pub ever_kept: bool,
    ignores_preconditions: bool,
    life: Life,
    clock: Arc<TestClock>,
    rival: Option<Rival>,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

pub type Verdict<T = ()> = Result<T, String>;

impl World {
    pub fn new(blobs: bool) -> Self {
        let dir = temp_dir();
        let (project, state) = (dir.path().join("project"), dir.path().join("state"));
        start_project(&project);
        fs::create_dir(&state).unwrap();
        let life = Life::default();
        let label_studio = Arc::new(Mutex::new(LabelStudio::new(&project)));
        let (source, source_faults) = MortalStore::new("s3://src", Side::Source, &life, &label_studio);
        let (target, target_faults) = MortalStore::new("s3://dst", Side::Target, &life, &label_studio);
        // One blocking thread: what the daemon does beside its loop happens in one order.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        let mut world = Self {
            blobs,
            label_studio,
            project,
            state,
            source,
            target,
            source_faults,
            target_faults,
            source_settings: source_settings(blobs),
            target_settings: target_settings(),
            touched: BTreeMap::new(),
            resolved: Vec::new(),
            ever_deleted_objects: false,
            ever_kept: false,
            ever_without_copies: false,
            ignores_preconditions: false,
            life,
            clock: Arc::new(TestClock(AtomicI64::new(1_700_000_000_000))),
            rival: None,
            running: None,
            runtime,
            _dir: dir,
        };
        world.start();
        world
    }

    /// The target writes whatever a precondition says, also after the faults are over.
    pub fn ignore_preconditions(&mut self, ignore: bool) {
        self.ignores_preconditions = ignore;
        self.target_faults.ignore_preconditions(ignore);
    }

    pub fn label_studio(&self) -> MutexGuard<'_, LabelStudio> {
        self.label_studio.lock().unwrap()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.running.as_ref().unwrap().ledger
    }

    pub fn ledger_path(&self) -> PathBuf {
        self.state.join("ledger.db")
    }

    fn start(&mut self) {
        let ledger = Arc::new(Ledger::open(&self.ledger_path()).unwrap());
        // Label Studio's own storages never gave an id here: as the project's host writes down at the first start.
        if ledger.meta("adopted").unwrap().is_none() {
            ledger.set_meta("adopted", "1").unwrap();
        }
        self.life.begin(ledger.clone(), self.state.join("at-death.db"));
        let near = MortalNear {
            inner: Directory::new(&self.project),
            life: self.life.clone(),
            label_studio: self.label_studio.clone(),
        };
        // As the project's host does: who it is, and that nobody else serves it.
        let dir = Dir::open(&self.project).unwrap();
        let name = ProjectName::parse("p").unwrap();
        identify(&dir, &Registry::new(&self.state), &name, None, UnixMillis(0)).unwrap();
        let lock = Some(dir.lock(MARKER, IfAbsent::Fail).unwrap());
        let shared = shared(Arc::new(near), ledger.clone(), self.clock.clone(), &self.state);
        self.label_studio().daemon_starts();
        // Where it dies here, it is dead from the start on.
        let caught_up = catch_up(&ledger, &*shared.near);
        assert!(caught_up.is_ok() || self.is_dead(), "{caught_up:?}");
        let (source, target) = (SourceRoad::new(shared.clone()), TargetRoad::new(shared.clone()));
        self.running = Some(Running { lock, ledger, source, target, shared });
    }

    /// Stops, as a kill does, or goes on as if the daemon had been dead; then starts.
    pub fn restart(&mut self) {
        let dead = self.life.is_dead();
        self.life.end();
        self.running = None;
        if dead {
            let at_death = self.state.join("at-death.db");
            for end in ["-wal", "-shm"] {
                let _none = fs::remove_file(self.state.join(format!("ledger.db{end}")));
            }
            fs::rename(at_death, self.ledger_path()).unwrap();
        }
        // As the project's host does; those of `tasks.json` are the road's.
        let completions = Dir::open(&self.project.join("completions")).unwrap();
        for leftover in completions.clean_leftovers().unwrap() {
            completions.discard_leftover(&leftover).unwrap();
        }
        self.start();
    }

    pub fn is_dead(&self) -> bool {
        self.life.is_dead()
    }

    /// One operation; what a cycle answers is the judge's where it must not be.
    pub fn step(&mut self, op: Op) -> Verdict {
        match op {
            Op::Put(key, body) => self.put(key, body),
            Op::Remove(key) => _ = self.source.memory().remove(&key_of(key)),
            Op::List => self.label_studio().list(),
            Op::Import => self.label_studio().import(None, false),
            Op::ImportUrl(key) => self.label_studio().import(Some(format!("s3://src/{}", key_of(key).as_str())), false),
            Op::ImportTwin(key) => self.import_twin(key),
            Op::Anew(what) => self.label_studio().anew(what),
            Op::Event => self.event(),
            Op::Delete(nth) => self.label_studio().delete(nth),
            Op::DeleteAll => self.label_studio().delete_all(),
            Op::Label(nth, what) => self.label_studio().label_nth(nth, what),
            Op::Unlabel(nth, all) => self.label_studio().unlabel(nth, all),
            Op::Other(nth, what) => self.other_writer(nth, what),
            Op::Source(_) | Op::Target(_) if self.is_dead() => {}
            Op::Source(far) => drop(self.source_cycle(far)?),
            Op::Target(look) => drop(self.target_cycle(if look == 0 { Look::Local } else { Look::Full })?),
            Op::Crash(side, nth) => self.life.crash(side, u64::from(nth)),
            Op::Restart => self.restart(),
            Op::Second => self.second()?,
            Op::Rival => self.rival()?,
            Op::Meanwhile(when, what) => self.label_studio().meanwhile = Some(Meanwhile { when, what }),
            Op::Tear(kind, cut) => self.label_studio().tear(kind, cut),
            Op::Mend => self.label_studio().finish(),
            Op::MeanwhileLabel(when) => self.label_studio().meanwhile_label = Some(when),
            Op::SourcePageFails(_)
            | Op::SourceReadFails(_)
            | Op::TargetPageFails(_)
            | Op::TargetReadFails(_)
            | Op::PutLost(_)
            | Op::PutFails(_) => self.fault(op),
            Op::Regex(_)
            | Op::Prefix(_)
            | Op::Hide(_)
            | Op::Keep(_)
            | Op::DeleteObjects(_)
            | Op::LocalCopy(_)
            | Op::Accept
            | Op::Resolve(..) => self.operator(op),
        }
        self.label_studio().observe();
        judge::always(self)
    }

    fn fault(&mut self, op: Op) {
        let unreachable = StoreErrorKind::Unreachable;
        match op {
            Op::SourcePageFails(nth) => self.source_faults.fail_page(nth.into(), unreachable),
            Op::SourceReadFails(nth) => self.source_faults.fail_read(nth.into(), unreachable),
            Op::TargetPageFails(nth) => self.target_faults.fail_page(nth.into(), unreachable),
            Op::TargetReadFails(nth) => self.target_faults.fail_read(nth.into(), unreachable),
            Op::PutLost(nth) => self.target_faults.fail_mutation(nth.into(), Fault::After),
            Op::PutFails(nth) => self.target_faults.fail_mutation(nth.into(), Fault::Before(unreachable)),
            other => panic!("no fault: {other:?}"),
        }
    }

    fn operator(&mut self, op: Op) {
        match op {
            Op::Regex(nth) => {
                let regex = pick(&REGEXES, nth).filter(|regex| !regex.is_empty());
                self.source_settings.regex = regex.map(|regex| Pattern::compile(regex).unwrap());
            }
            Op::Prefix(nth) => pick(&PREFIXES, nth).unwrap().clone_into(&mut self.source_settings.prefix),
            Op::Hide(yes) => self.source_settings.on_removed = if yes { OnRemoved::Hide } else { OnRemoved::Keep },
            Op::Keep(yes) => {
                self.source_settings.on_changed = if yes { OnChanged::Keep } else { OnChanged::Update };
                self.ever_kept |= yes;
            }
            Op::DeleteObjects(yes) => {
                self.ever_deleted_objects |= yes;
                self.target_settings.on_deleted = if yes { OnDeleted::Delete } else { OnDeleted::Keep };
            }
            Op::LocalCopy(yes) => {
                self.target_settings.create_local_copy = yes;
                self.ever_without_copies |= !yes;
            }
            Op::Accept if !self.is_dead() => self.accept(),
            Op::Resolve(nth, local) if !self.is_dead() => self.resolve(nth, local),
            Op::Accept | Op::Resolve(..) => {}
            other => panic!("no operator's: {other:?}"),
        }
    }

    pub fn accept(&self) {
        for hold in self.ledger().holds().unwrap() {
            assert!(self.ledger().accept(&hold.id).unwrap());
        }
    }

    fn resolve(&mut self, nth: u8, local: bool) {
        let ids: Vec<u64> = self.touched.keys().copied().collect();
        let Some(id) = pick(&ids, nth) else { return };
        let resolution = if local { Resolution::Local } else { Resolution::Remote };
        if self.ledger().resolve(TaskId::new(id).unwrap(), resolution).unwrap() {
            self.resolved.push(id);
        }
    }

    /// An import with the data of an object's task, or of one that may come.
    fn import_twin(&self, key: u8) {
        let key = key_of(key);
        let object =
            self.source.memory().objects().get(&key).map_or_else(|| body_of(key.as_str(), 0), |there| there.to_vec());
        let of_blob = serde_json::json!({"image": format!("s3://src/{}", key.as_str())});
        let data = if self.blobs { Some(of_blob) } else { serde_json::from_slice(&object).ok() };
        let next = TaskId::new(self.label_studio().next_id()).unwrap();
        let is_reserved = self.ledger().shown_ids().unwrap().contains(&next);
        // Where it were reserved for that object nobody could tell who wrote it.
        if let Some(data) = data.filter(|_| !is_reserved) {
            self.label_studio().import_twin(data);
        }
    }

    /// The directory's events of `source.json` are looked at.
    fn event(&self) {
        let shared = &self.running.as_ref().unwrap().shared;
        shared.map_eye.look(&*shared.near);
    }

    fn put(&mut self, key: u8, body: u8) {
        let key = key_of(key);
        self.source.memory().insert(&key, body_of(key.as_str(), body));
    }

    fn other_writer(&mut self, nth: u8, what: u8) {
        let id = u64::from(nth);
        let key = Key::new(format!("{TARGET_PREFIX}{id}"));
        let there = self.target.memory().objects().get(&key).cloned();
        let task = self.label_studio().tasks().and_then(|tasks| tasks.get(&id).cloned());
        let written = match (what, there, task) {
            (0, _, _) => Some(format!("junk {}", self.touched.len()).into_bytes()),
            (1, _, Some(task)) => {
                let result = serde_json::json!([{"id": 1, "result": [{"choice": "other", "nth": self.touched.len()}]}]);
                let file = serde_json::json!({"id": id, "data": task["data"], "completions": result});
                Some(serde_json::to_vec(&file).unwrap())
            }
            (2, Some(there), _) => {
                let value = serde_json::from_slice::<serde_json::Value>(&there).ok();
                value.map(|value| serde_json::to_vec(&value).unwrap())
            }
            (3, Some(_), _) => {
                self.touched.entry(id).or_default();
                self.target.memory().remove(&key);
                None
            }
            _ => None,
        };
        if let Some(bytes) = written {
            self.target.memory().insert(&key, bytes.clone());
            self.touched.entry(id).or_default().push(bytes);
        }
    }

    /// A second daemon on this project.
    fn second(&mut self) -> Verdict {
        let alive = !self.is_dead();
        self.running.as_mut().unwrap().lock.take_if(|_| !alive);
        self.runtime.block_on(second(&self.project, self.clock.clone(), alive))
    }

    /// The daemon of another project with the same target; before that is marked, it would be the rival's.
    fn rival(&mut self) -> Verdict {
        let is_marked = self.target.memory().objects().contains_key(&mark_key(TARGET_PREFIX));
        if self.is_dead() || !is_marked {
            return Ok(());
        }
        let rival = self.rival.take();
        let (target, clock) = (self.target.clone(), self.clock.clone());
        let mut rival = rival.unwrap_or_else(|| self.runtime.block_on(Rival::new(target, clock)));
        let pushed = self.runtime.block_on(rival.push());
        self.rival = Some(rival);
        pushed
    }

    /// The answer of a cycle; errors that no fault explains are verdicts.
    pub fn source_cycle(&mut self, far: bool) -> Verdict<Option<CycleError>> {
        let side =
            SourceSide { settings: self.source_settings.clone(), store: self.source.clone(), targets: Vec::new() };
        let tasks = self.label_studio().tasks().unwrap_or_default();
        let torn = self.label_studio().torn_code();
        let running = self.running.as_mut().unwrap();
        let answer = self.runtime.block_on(running.source.cycle(Some(&side), far));
        let still = self.label_studio().torn_code();
        if answer.is_ok() {
            if torn == TASKS_TORN && still == torn {
                return Err("a cycle was content with a torn tasks.json".to_owned());
            }
            self.label_studio().look_at(&tasks);
        }
        match answer {
            Err(error) if [torn, still].contains(&error.code()) => Ok(Some(error)),
            answer => self.explained("source", answer),
        }
    }

    pub fn target_cycle(&mut self, look: Look) -> Verdict<Option<CycleError>> {
        let owner = Owner { project: "p".to_owned(), installation: "i".to_owned(), name: "p".to_owned() };
        let side = TargetSide { settings: self.target_settings.clone(), store: self.target.clone(), owner };
        let running = self.running.as_mut().unwrap();
        let answer = self.runtime.block_on(running.target.cycle(&side, look));
        self.explained("target", answer)
    }

    fn explained(&self, which: &str, answer: Result<(), CycleError>) -> Verdict<Option<CycleError>> {
        let Err(error) = answer else { return Ok(None) };
        let reason = error.reason();
        let explained = self.is_dead() || matches!(error.code(), "unreachable" | "outcome_unknown" | "given_up");
        if explained { Ok(Some(error)) } else { Err(format!("{which} cycle: {} ({})", reason.message, reason.code)) }
    }

    /// Everything works again; nobody acts in the middle of anything.
    pub fn calm(&mut self) {
        self.source_faults.clear();
        self.target_faults.clear();
        self.target_faults.ignore_preconditions(self.ignores_preconditions);
        self.life.forget_crash();
        let mut label_studio = self.label_studio();
        label_studio.meanwhile = None;
        label_studio.meanwhile_label = None;
        label_studio.disarm();
        label_studio.finish();
        drop(label_studio);
        if self.is_dead() {
            self.restart();
        }
    }
}

/// A project directory without tasks.
pub fn start_project(project: &Path) {
    fs::create_dir_all(project.join("completions")).unwrap();
    fs::write(project.join("config.xml"), LABEL_CONFIG).unwrap();
    fs::write(project.join("config.json"), r#"{"label_config": "config.xml"}"#).unwrap();
    fs::write(project.join("tasks.json"), "{}").unwrap();
}

/// What both directions of a project share.
pub fn shared(near: Arc<dyn Near>, ledger: Arc<Ledger>, clock: Arc<TestClock>, work_dir: &Path) -> Shared {
    Shared {
        name: ProjectName::parse("p").unwrap(),
        near,
        map_eye: Arc::default(),
        ledger,
        clock: clock.clone(),
        board: Arc::new(Board::new("p", "/p", UnixMillis(0))),
        events: Arc::new(EventLog::new(clock)),
        pace: Pace::immediate(),
        work_dir: work_dir.to_owned(),
    }
}

/// In memory where the machine has such a place: a history syncs a hundred times.
pub fn temp_dir() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn key_of(nth: u8) -> Key {
    Key::new(pick(&KEYS, nth).unwrap())
}

fn body_of(key: &str, body: u8) -> Vec<u8> {
    let text = match body {
        _ if !BAD_BODIES.contains(&body) => format!(r#"{{"image": "http://x/{key}", "src": "{key}", "v": {body}}}"#),
        9 => r#"{"image": 1}"#.to_owned(),
        _ => r#"{"image": "#.to_owned(),
    };
    text.into_bytes()
}
