//! The real `labelsyncd` and `lsctl` on a directory of their own, as an operator has them.
//!
//! Promise: every wait is bounded and asks again; the daemon ends with the rig, and its log is shown where a test fails.
//! Not here: servers, tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::UNWANTED;

/// Far more than anything takes on a busy machine: a test that needs it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a promised time may take here: the time itself where a CPU is free, in proportion where many wait for one, now or
/// in the last minute.
pub fn in_time(promised: Duration) -> Duration {
    let cpus = std::thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64);
    // `4.01 2.30 1.12 7/420 12345`: the last minute's average is the first, what would run now stands before the slash.
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers = text.split([' ', '/']).map(|number| number.parse::<f64>().unwrap_or(0.0));
    let load = numbers.enumerate().filter(|(nth, _)| matches!(nth, 0 | 3)).map(|(_, load)| load).fold(0.0, f64::max);
    promised.mul_f64((load / cpus).max(1.0))
}

/// Between two looks of a wait.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A label config for pictures.
pub const IMAGE_CONFIG: &str = "<View><Image name=\"image\" value=\"$image\"/><Choices name=\"is\" toName=\"image\">\
                                <Choice value=\"cat\"/><Choice value=\"dog\"/></Choices></View>";

/// A label config for texts.
pub const TEXT_CONFIG: &str = "<View><Text name=\"text\" value=\"$text\"/><Choices name=\"is\" toName=\"text\">\
                               <Choice value=\"cat\"/><Choice value=\"dog\"/></Choices></View>";

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Runs to the end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A directory with settings, a state directory, and projects; a daemon on it, running or not.
pub struct Rig {
    pub dir: tempfile::TempDir,
    /// Set for every program that is started here.
    pub environment: Vec<(&'static str, String)>,
    /// Taken away from every program that is started here, before that.
    pub without: Vec<&'static str>,
    child: Option<Child>,
}

impl Rig {
    /// Nothing but directories: `state`, `in` and `out` to stand for buckets.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ls-").tempdir().expect("a directory");
        for name in ["state", "in", "out"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        Self { dir, environment: Vec::new(), without: Vec::new(), child: None }
    }

    /// A project `cats` with directories for buckets: source `in`, target `out`, prefix `done`.
    pub fn local(regex: &str) -> Self {
        let rig = Self::new();
        rig.project("cats", IMAGE_CONFIG);
        rig.settings(&rig.local_project("cats", regex));
        rig
    }

    /// A project between two directories that is running and has so many tasks.
    pub fn with_tasks(count: usize) -> Self {
        let mut rig = Self::local(".*");
        for n in 0..count {
            rig.put(&format!("{n}.png"), "a picture");
        }
        rig.start();
        rig.until_tasks(count);
        rig
    }

    /// The settings of a local project; the target comes last, so that lines of it may follow.
    pub fn local_project(&self, name: &str, regex: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "[projects.{name}]\npath = \"{dir}/{name}\"\n\
             [projects.{name}.source]\ntype = \"local\"\npath = \"{dir}/in\"\nregex = '{regex}'\npoll_interval = \"1s\"\n\
             [projects.{name}.target]\ntype = \"local\"\npath = \"{dir}/out\"\nprefix = \"done\"\npoll_interval = \"1s\"\n"
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    pub fn config(&self) -> PathBuf {
        self.path("labelsyncd.toml")
    }

    /// A project directory as `label-studio init` makes it.
    pub fn project(&self, name: &str, label_config: &str) -> PathBuf {
        let project = self.path(name);
        std::fs::create_dir_all(project.join("completions")).expect("made");
        write(&project.join("config.xml"), label_config);
        write(&project.join("config.json"), "{\n  \"label_config\": \"config.xml\"\n}");
        write(&project.join("tasks.json"), "{}");
        project
    }

    /// Writes the settings file: what every rig has, then `projects`.
    pub fn settings(&self, projects: &str) {
        let (socket, state) = (self.socket(), self.path("state"));
        let daemon = format!(
            "[daemon]\nsocket = \"{}\"\nstate_dir = \"{}\"\nlog_format = \"text\"\n",
            socket.display(),
            state.display()
        );
        write(&self.config(), &(daemon + projects));
    }

    /// `labelsyncd` with these words, nothing of the developer's environment.
    pub fn labelsyncd(&self, words: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_labelsyncd"), words)
    }

    /// `lsctl`, not run yet.
    pub fn client(&self, words: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_lsctl"), words)
    }

    fn program(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        for name in UNWANTED.into_iter().chain(["NO_COLOR", "NOTIFY_SOCKET", "LISTEN_FDS", "LABELSYNC_LOG"]) {
            command.env_remove(name);
        }
        for name in &self.without {
            command.env_remove(name);
        }
        command
            .args(words)
            .env("LABELSYNC_SOCKET", self.socket())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(self.dir.path());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        self.until_answer();
    }

    /// Waits until the daemon answers.
    pub fn until_answer(&mut self) {
        let answered = until("the daemon answers", PATIENCE, || {
            if self.is_over() {
                return Some(false);
            }
            (self.lsctl(&["status"]).code == 0).then_some(true)
        });
        assert!(answered, "labelsyncd ended at once");
    }

    /// Starts the daemon without waiting for anything.
    pub fn spawn(&mut self) {
        let config = self.config().display().to_string();
        self.spawn_with(&["--config", &config]);
    }

    /// The same with other arguments.
    pub fn spawn_with(&mut self, words: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("opened");
        let mut command = self.labelsyncd(words);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.child = Some(child);
    }

    /// Starts the daemon by a program that becomes it, or starts it and ends with it (`unshare …`, `strace -D …`).
    pub fn spawn_under(&mut self, wrapper: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("opened");
        let mut command = self.program(wrapper[0], &wrapper[1..]);
        command.arg(env!("CARGO_BIN_EXE_labelsyncd")).arg("--config").arg(self.config());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.child = Some(child);
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("a child").is_some())
    }

    pub fn pid(&self) -> Pid {
        let id = self.child.as_ref().expect("it runs").id();
        Pid::from_raw(i32::try_from(id).expect("a pid")).expect("not 0")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("sent");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        // It may have ended already.
        if !self.is_over() {
            self.signal(Signal::KILL);
        }
        self.child.take().expect("it ran").wait().expect("it ended");
    }

    /// SIGTERM; it must end well within ten seconds.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(in_time(Duration::from_secs(10)));
        assert_eq!(status.code(), Some(0), "it stops well");
    }

    /// Waits for its end.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("it ran");
        let status = until("the daemon ends", within, || child.try_wait().expect("a child"));
        self.child = None;
        status
    }

    /// `lsctl` to its end.
    pub fn lsctl(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.client(words))
    }

    /// What it printed; it must have been well.
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.lsctl(words);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "lsctl {words:?} printed {}", ran.out);
        ran.out
    }

    /// `lsctl --json` with these words.
    pub fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = ["--json"].iter().chain(words).copied().collect();
        serde_json::from_str(&self.ok(&words)).expect("JSON")
    }

    /// The status of a project.
    pub fn status_of(&self, name: &str) -> Value {
        self.json(&["status", name])["projects"][0].clone()
    }

    /// The status of `cats`.
    pub fn status(&self) -> Value {
        self.status_of("cats")
    }

    /// Waits until the status of `cats` is as wanted; the status then.
    pub fn until_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let reached = try_until(PATIENCE, || {
            last = self.status();
            wanted(&last).then_some(())
        });
        assert!(reached.is_some(), "waited too long for {what}: {last:#}");
        last
    }

    /// Waits until `cats` has a hold, or a reason, of this code; what stands there.
    pub fn until_code(&self, code: &str) -> Value {
        let has = |status: &Value| find_code(status, code).is_some();
        let status = self.until_status(code, has);
        find_code(&status, code).expect("just seen")
    }

    /// Items of one state: `lsctl list`.
    pub fn list(&self, state: &str) -> Vec<Value> {
        self.json(&["list", "cats", "--state", state])["items"].as_array().expect("a list").clone()
    }

    /// A cycle of each direction that began after now has ended; how `lsctl sync --wait` ended.
    pub fn sync(&self) -> i32 {
        self.lsctl(&["sync", "cats", "--wait"]).code
    }

    /// The value of a metric: the sum of its series that begin so.
    pub fn metric(&self, start: &str) -> f64 {
        let text = self.ok(&["metrics"]);
        let values = text.lines().filter(|line| line.starts_with(start));
        values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// What the daemon said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The tasks in `tasks.json` of `cats`.
    pub fn tasks(&self) -> BTreeMap<u64, Value> {
        tasks_of(&self.path("cats"))
    }

    /// Waits until `cats` has this many tasks.
    pub fn until_tasks(&self, count: usize) -> BTreeMap<u64, Value> {
        let reached = try_until(PATIENCE, || (self.tasks().len() == count).then(|| self.tasks()));
        reached.unwrap_or_else(|| {
            let status = self.lsctl(&["status"]);
            panic!("waited too long for {count} tasks, there are {}; {}{}", self.tasks().len(), status.out, status.err)
        })
    }

    /// Puts an "object" into the local source.
    pub fn put(&self, key: &str, body: &str) {
        let path = self.path("in").join(key);
        std::fs::create_dir_all(path.parent().expect("below in")).expect("made");
        put_whole(&path, body.as_bytes());
    }

    /// Saves a completion as Label Studio 0.8 does; its bytes.
    pub fn label(&self, id: u64, choice: &str) -> Vec<u8> {
        let data = self.tasks()[&id]["data"].clone();
        let bytes = completion(id, &data, choice);
        std::fs::write(self.path("cats/completions").join(format!("{id}.json")), &bytes).expect("written");
        bytes
    }

    /// Waits until the local target holds exactly these bytes for a task.
    pub fn until_pushed(&self, id: u64, bytes: &[u8]) {
        let object = self.path("out/done").join(id.to_string());
        until("the completion in the target", PATIENCE, || {
            std::fs::read(&object).is_ok_and(|there| there == bytes).then_some(())
        });
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let _gone = writeln!(std::io::stderr(), "--- the daemon's log ---\n{}", self.log());
        }
    }
}

/// The reason or hold of this code in a project's status.
pub fn find_code(status: &Value, code: &str) -> Option<Value> {
    let of = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    of("reasons").into_iter().chain(of("holds")).find(|entry| entry["code"] == code)
}

/// The tasks of a project directory; a torn file is waited for: a test may be writing it.
pub fn tasks_of(project: &Path) -> BTreeMap<u64, Value> {
    until("a whole tasks.json", PATIENCE, || {
        let bytes = std::fs::read(project.join("tasks.json")).ok()?;
        let entries: BTreeMap<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let entry = |(id, task): (String, Value)| {
            assert_eq!(task["id"].as_u64().map(|id| id.to_string()), Some(id), "an id is its key");
            (task["id"].as_u64().expect("a number"), task)
        };
        Some(entries.into_iter().map(entry).collect())
    })
}

/// A completion file as Label Studio 0.8 with local storages writes it: sorted keys, two spaces.
pub fn completion(id: u64, data: &Value, choice: &str) -> Vec<u8> {
    let result = json!([{"from_name": "is", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}]);
    let done = json!([{"created_at": 1_600_000_000, "id": id * 1000 + 1, "lead_time": 1.5, "result": result}]);
    serde_json::to_vec_pretty(&json!({"completions": done, "data": data, "id": id})).expect("JSON")
}

/// Puts an "object" into a directory that stands for a bucket: nobody ever lists half of it, or an empty one.
pub fn put_whole(path: &Path, bytes: &[u8]) {
    static NTH: AtomicU64 = AtomicU64::new(0);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let new = std::env::temp_dir().join(format!("ls-new-{}-{nth}", std::process::id()));
    let put = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, path));
    put.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Puts what is prepared in the place of another: there is no moment without either.
pub fn exchange(a: &Path, b: &Path) {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).expect("exchanged");
}

/// Writes a file in place, as Label Studio and editors do: others may see it empty for a moment.
pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Asks again until there is an answer.
pub fn until<T>(what: &str, within: Duration, ask: impl FnMut() -> Option<T>) -> T {
    try_until(within, ask).unwrap_or_else(|| panic!("waited {within:?} for: {what}"))
}

fn try_until<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks at something again and again beside a test, until it is stopped.
pub struct Observer<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Observer<T> {
    /// `look` changes what was seen so far.
    pub fn start(mut seen: T, mut look: impl FnMut(&mut T) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look(&mut seen);
                std::thread::sleep(Duration::from_millis(2));
            }
            look(&mut seen);
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// What it saw; a panic of the look is one of the test.
    pub fn stop(mut self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().expect("once").join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl<T> Drop for Observer<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
