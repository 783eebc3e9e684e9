//! The real `labelsyncd` on a directory of its own, with a bucket.
//!
//! Promise: every wait ends; the daemon ends with this.
//! Not here: what is measured.

#![allow(dead_code, reason = "each bench uses a part")]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::{BUCKET, CREDENTIALS, measure};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A project's settings.
#[derive(Debug)]
pub struct Project<'a> {
    pub name: &'a str,
    pub endpoint: &'a str,
    pub label_config: &'a str,
    /// Lines of its source's settings.
    pub source: &'a str,
    /// The target's prefix, where it has one.
    pub target: Option<&'a str>,
    /// Of the source; the target is listed once.
    pub poll_interval: &'a str,
}

/// Project `p` in a temporary directory, and its daemon.
#[derive(Debug)]
pub struct Daemon {
    pub dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// A project with this label config; `source` are lines of its source's settings.
    pub fn new(endpoint: &str, label_config: &str, source: &str, target: bool) -> Self {
        let daemon = Self::without_projects();
        let target = target.then_some("done");
        daemon.add(&Project { name: "p", endpoint, label_config, source, target, poll_interval: "1h" });
        daemon
    }

    /// Nothing but the daemon's own settings.
    pub fn without_projects() -> Self {
        let dir = tempfile::Builder::new().prefix("ls-").tempdir().expect("a directory");
        fs::create_dir(dir.path().join("state")).expect("made");
        let path = dir.path().display();
        let text =
            format!("[daemon]\nsocket = \"{path}/socket\"\nstate_dir = \"{path}/state\"\nlog_format = \"text\"\n");
        fs::write(dir.path().join("labelsyncd.toml"), text).expect("written");
        Self { dir, child: None }
    }

    /// Another project, before it starts.
    pub fn add(&self, project: &Project<'_>) {
        let Project { name, endpoint, label_config, source, target, poll_interval } = project;
        let near = self.dir.path().join(name);
        fs::create_dir_all(near.join("completions")).expect("made");
        fs::write(near.join("config.xml"), label_config).expect("written");
        fs::write(near.join("config.json"), "{\"label_config\": \"config.xml\"}").expect("written");
        fs::write(near.join("tasks.json"), "{}").expect("written");
        let s3 = format!("type = \"s3\"\nbucket = \"{BUCKET}\"\nendpoint = \"{endpoint}\"\nallow_http = true\n");
        let target = target.map_or(String::new(), |prefix| {
            format!("[projects.{name}.target]\n{s3}poll_interval = \"1h\"\nprefix = \"{prefix}\"\n")
        });
        let text = format!(
            "[projects.{name}]\npath = \"{}\"\nlabel_studio_has_credentials = true\n[projects.{name}.source]\n{s3}\
             poll_interval = \"{poll_interval}\"\nrecursive = true\n{source}\n{target}",
            near.display()
        );
        let mut settings =
            File::options().append(true).open(self.dir.path().join("labelsyncd.toml")).expect("there are settings");
        settings.write_all(text.as_bytes()).expect("written");
    }

    /// A file of the project.
    pub fn near(&self, name: &str) -> PathBuf {
        self.dir.path().join("p").join(name)
    }

    /// Starts it.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("opened");
        let mut command = Command::new(env!("CARGO_BIN_EXE_labelsyncd"));
        command.arg("--config").arg(self.dir.path().join("labelsyncd.toml")).envs(CREDENTIALS);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.child = Some(child);
    }

    /// Its CPU so far, seconds.
    pub fn cpu(&self) -> f64 {
        measure::cpu(self.id())
    }

    /// Its peak memory so far, MiB.
    pub fn peak(&self) -> f64 {
        measure::peak(self.id())
    }

    fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// `lsctl` to its end.
    pub fn lsctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lsctl"));
        command.arg("--socket").arg(self.dir.path().join("socket")).args(words).output().expect("it runs")
    }

    /// How many completions it says are in step; asked a few times a second only, as that costs it something.
    pub fn in_step(&self) -> u64 {
        std::thread::sleep(Duration::from_millis(200));
        let status: serde_json::Value =
            serde_json::from_slice(&self.lsctl(&["--json", "status"]).stdout).unwrap_or_default();
        status.pointer("/projects/0/target/in_step").and_then(serde_json::Value::as_u64).unwrap_or(0)
    }

    /// Waits until it is so, asking often at first, at last every 20 ms; seconds that it took.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) -> f64 {
        let began = Instant::now();
        while !so(self) {
            let over = self.child.as_mut().is_none_or(|child| child.try_wait().expect("a child").is_some());
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(!over && began.elapsed() < PATIENCE, "waited for {what}: {}", log());
            std::thread::sleep((began.elapsed() / 50).clamp(Duration::from_millis(1), Duration::from_millis(20)));
        }
        began.elapsed().as_secs_f64()
    }

    /// Waits until `tasks.json` has so many tasks: we write one a line.
    pub fn until_tasks(&mut self, count: u64) -> f64 {
        self.until_tasks_of("p", count)
    }

    /// The same in this project.
    pub fn until_tasks_of(&mut self, project: &str, count: u64) -> f64 {
        let file = self.dir.path().join(project).join("tasks.json");
        let enough = |text: Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1 >= count;
        self.until("tasks", |_| fs::read(&file).is_ok_and(enough))
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            // It may have ended already.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _gone = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
