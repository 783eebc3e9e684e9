//! A real `labelsyncd` on a project directory of the real Label Studio, with directories for buckets.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::UNWANTED;
use crate::support::label_studio::Installed;
use crate::support::rig::put_whole;

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A label config for pictures.
pub const IMAGE_CONFIG: &str = "<View><Image name=\"image\" value=\"$image\"/><Choices name=\"is\" toName=\"image\">\
                                <Choice value=\"cat\"/><Choice value=\"dog\"/></Choices></View>";

/// A directory with a project `cats`, a source `in`, a target `out`, and a daemon or none.
pub struct Beside {
    pub dir: tempfile::TempDir,
    daemon: Option<Child>,
    variables: Vec<(&'static str, String)>,
}

impl Beside {
    /// A project made by `label-studio init`, no daemon yet.
    pub fn new(installed: &Installed) -> Self {
        let beside = Self::directories();
        installed.init(&beside.project(), IMAGE_CONFIG);
        beside
    }

    /// A project as `label-studio init` makes it, for a Label Studio that the test plays.
    pub fn played() -> Self {
        let beside = Self::directories();
        std::fs::create_dir_all(beside.project().join("completions")).unwrap();
        beside.write("config.xml", IMAGE_CONFIG);
        beside.write("config.json", "{\n  \"label_config\": \"config.xml\"\n}");
        beside.write("tasks.json", "{}");
        beside
    }

    fn directories() -> Self {
        let dir = tempfile::Builder::new().prefix("ls-").tempdir().unwrap();
        for name in ["in", "out", "state"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, daemon: None, variables: Vec::new() }
    }

    /// Writes a file of the project in place, as Label Studio does.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.project().join(name), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn project(&self) -> PathBuf {
        self.path("cats")
    }

    /// Starts `labelsyncd` with directories for buckets.
    pub fn start_local(&mut self) {
        let dir = self.dir.path().display();
        let source = format!("type = \"local\"\npath = \"{dir}/in\"\nregex = '.*'\npoll_interval = \"1s\"\n");
        let target = format!("type = \"local\"\npath = \"{dir}/out\"\nprefix = \"done\"\n");
        self.start(&source, &target, Vec::new());
    }

    /// The same with a JSON task in each object.
    pub fn start_json(&mut self) {
        let dir = self.dir.path().display();
        let source = format!(
            "type = \"local\"\npath = \"{dir}/in\"\nregex = '.*'\nuse_blob_urls = false\npoll_interval = \"1s\"\n"
        );
        let target = format!("type = \"local\"\npath = \"{dir}/out\"\nprefix = \"done\"\n");
        self.start(&source, &target, Vec::new());
    }

    /// Ends `labelsyncd` at once.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }

    /// Starts `labelsyncd` with these lines for source and target.
    pub fn start(&mut self, source: &str, target: &str, variables: Vec<(&'static str, String)>) {
        let dir = self.dir.path().display();
        let text = format!(
            "[daemon]\nsocket = \"{dir}/run/control.sock\"\nstate_dir = \"{dir}/state\"\nlog_format = \"text\"\n\
             [projects.cats]\npath = \"{dir}/cats\"\n[projects.cats.source]\n{source}\
             [projects.cats.target]\n{target}"
        );
        std::fs::write(self.path("labelsyncd.toml"), text).unwrap();
        self.variables = variables;
        self.start_again();
    }

    /// Starts `labelsyncd` with the settings it had.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.program(env!("CARGO_BIN_EXE_labelsyncd"));
        command.arg("--config").arg(self.path("labelsyncd.toml"));
        self.daemon = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.until("the daemon answers", || self.lsctl(&["status"]).0.then_some(()));
    }

    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in UNWANTED.into_iter().chain(["NO_COLOR", "NOTIFY_SOCKET", "LISTEN_FDS"]) {
            command.env_remove(name);
        }
        command.env("LABELSYNC_LOG", "info,labelsync::project=debug");
        command.env("LABELSYNC_SOCKET", self.path("run/control.sock"));
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Whether it went well, and what it printed.
    pub fn lsctl(&self, words: &[&str]) -> (bool, String) {
        let mut command = self.program(env!("CARGO_BIN_EXE_lsctl"));
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Once around in both directions.
    pub fn sync(&self) {
        let (well, said) = self.lsctl(&["sync", "cats", "--wait"]);
        assert!(well, "{said}");
    }

    /// Waits until the daemon has said this so many times.
    pub fn until_said(&self, what: &str, times: usize) {
        self.until(what, || (self.log().matches(what).count() >= times).then_some(()));
    }

    /// What the daemon said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Puts an object into the source.
    pub fn put(&self, key: &str) {
        put_whole(&self.path("in").join(key), key.as_bytes());
    }

    /// Waits until `tasks.json` has these ids.
    pub fn until_ids(&self, ids: &[u64]) -> BTreeMap<u64, Value> {
        let there = || read_tasks(&self.project()).filter(|tasks| tasks.keys().eq(ids));
        self.until(&format!("the tasks {ids:?}"), there)
    }

    /// The tasks in `tasks.json`, when it is whole.
    pub fn tasks(&self) -> BTreeMap<u64, Value> {
        self.until("a whole tasks.json", || read_tasks(&self.project()))
    }

    /// Waits until the near side has nothing left to do and nobody touches it.
    pub fn until_at_rest(&self) {
        let mut before = None;
        let mut since = Instant::now();
        self.until("tasks.json at rest", || {
            let now = std::fs::read(self.project().join("tasks.json")).ok();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            (since.elapsed() > Duration::from_secs(3)).then_some(())
        });
    }

    /// Asks again until there is an answer.
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < end, "waited too long for {what}; the daemon said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop();
        // A failure is looked into where it happened.
        if std::thread::panicking() && std::env::var_os("KEEP").is_some() {
            self.dir.disable_cleanup(true);
        }
    }
}

/// `None`: not whole.
pub fn read_tasks(project: &Path) -> Option<BTreeMap<u64, Value>> {
    let bytes = std::fs::read(project.join("tasks.json")).ok()?;
    let entries: BTreeMap<String, Value> = serde_json::from_slice(&bytes).ok()?;
    Some(entries.into_iter().map(|(id, task)| (id.parse().unwrap(), task)).collect())
}
