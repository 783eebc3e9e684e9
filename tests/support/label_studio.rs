//! A real Label Studio beside labelsync, 0.7, 0.8 or 1.23: installed by `label_studio/install.sh`, run by `run.sh`.
//!
//! Promise: where it cannot be installed the reason is given; it ends with the test.
//! Not here: tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::servers::{Process, free_ports};

/// It imports pandas and more: seconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// The new one makes its database first.
const NEW_START_TIMEOUT: Duration = Duration::from_secs(600);

/// How often a page is asked for that does not come.
const GET_TRIES: u32 = 5;

/// The pause before the second time; longer before each later one.
const GET_PAUSE: Duration = Duration::from_millis(100);

/// An answer that comes when a bucket was read.
const SYNC_TIMEOUT: Duration = Duration::from_secs(1_800);

/// As `run.sh` sets it.
const NEW_TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// An answer later than this hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An installed version.
#[derive(Clone, Debug)]
pub struct Installed {
    venv: PathBuf,
}

/// Installs a version, or says why it cannot be had.
pub fn installed(version: &str) -> Result<Installed, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("tests/support/label_studio/install.sh");
    let done = Command::new("bash").arg(&script).arg(version).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("install.sh cannot be started: {error}"))?;
    if done.status.success() {
        return Ok(Installed { venv: root.join(format!(".test-tools/label-studio-{version}")) });
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(said.trim().lines().last().unwrap_or("install.sh failed").to_owned())
}

impl Installed {
    fn words(&self, verb: &str, project: &Path, argument: &str) -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/label_studio/run.sh");
        let words = [&script.display().to_string(), &self.venv.display().to_string(), verb];
        words.into_iter().chain([&*project.display().to_string(), argument]).map(str::to_owned).collect()
    }

    /// `label-studio init PROJECT -l CONFIG`.
    pub fn init(&self, project: &Path, label_config: &str) {
        self.init_with(project, label_config, &[], &[]);
    }

    /// The same with more words, `--source s3 …`, and variables.
    pub fn init_with(&self, project: &Path, label_config: &str, more: &[&str], variables: &[(&str, String)]) {
        let config = project.with_extension("config.xml");
        std::fs::write(&config, label_config).expect("written");
        let words = self.words("init", project, &config.display().to_string());
        let mut command = Command::new("bash");
        command.args(words).args(more).envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
        let done = command.stdin(Stdio::null()).output().expect("it starts");
        assert!(done.status.success(), "init: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// `label-studio start PROJECT`, with these variables; answers when this returns.
    pub fn start(&self, project: &Path, variables: &[(&str, String)]) -> LabelStudio {
        let port = free_ports()[0];
        let mut words = vec!["env".to_owned()];
        words.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        words.push("bash".to_owned());
        words.extend(self.words("start", project, &port.to_string()));
        let process = Process::start(&words, tempfile::tempdir().expect("a directory")).expect("it starts");
        LabelStudio::of(port, Runs::Own(process)).answering(START_TIMEOUT)
    }

    /// A server of 1.23 with an empty database; answers when this returns.
    pub fn serve(&self) -> LabelStudio {
        let (port, dir) = (free_ports()[0], tempfile::tempdir().expect("a directory"));
        let mut words = vec!["bash".to_owned()];
        words.extend(self.words("serve", dir.path(), &port.to_string()));
        let process = Process::start(&words, dir).expect("it starts");
        let served = LabelStudio {
            headers: format!("Authorization: Token {NEW_TOKEN}\r\n"),
            patience: SYNC_TIMEOUT,
            ..LabelStudio::of(port, Runs::Own(process))
        };
        served.answering(NEW_START_TIMEOUT)
    }

    /// Loads it once, to be forked for many projects.
    pub fn zygote(&self, variables: &[(&str, String)]) -> Zygote {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/label_studio/zygote.py");
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(self.venv.join("bin/python"))
            .arg(script)
            .env("HOME", dir.path())
            .envs([("collect_analytics", "0"), ("PYTHONWARNINGS", "ignore"), ("AWS_EC2_METADATA_DISABLED", "true")])
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Zygote { asked: Mutex::new((child, answers)), dir }
    }
}

/// A Label Studio that is loaded and serves nothing: its forks start at once.
pub struct Zygote {
    asked: Mutex<(Child, BufReader<ChildStdout>)>,
    dir: tempfile::TempDir,
}

impl Zygote {
    /// As [`Installed::start`].
    pub fn start(&self, project: &Path) -> LabelStudio {
        let port = free_ports()[0];
        let log = self.dir.path().join(format!("{port}.log"));
        let mut asked = self.asked.lock().expect("no panic within");
        let (child, answers) = &mut *asked;
        let line = format!("{port}\t{}\t{}\n", project.display(), log.display());
        child.stdin.as_mut().expect("piped").write_all(line.as_bytes()).expect("it reads");
        let mut pid = String::new();
        answers.read_line(&mut pid).expect("it answers");
        drop(asked);
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
        LabelStudio::of(port, Runs::Forked(pid, log)).answering(START_TIMEOUT)
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let (child, _) = self.asked.get_mut().expect("no panic within");
        child.kill().ok();
        child.wait().ok();
    }
}

/// How one is run.
#[derive(Debug)]
enum Runs {
    Own(Process),
    Forked(Pid, PathBuf),
}

impl Runs {
    fn is_over(&mut self) -> bool {
        match self {
            Self::Own(process) => process.is_over(),
            Self::Forked(pid, _) => rustix::process::test_kill_process(*pid).is_err(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Own(process) => process.log(),
            Self::Forked(_, log) => {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
            }
        }
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        if let Self::Forked(pid, _) = self {
            kill_process(*pid, Signal::KILL).ok();
        }
    }
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// A running one.
#[derive(Debug)]
pub struct LabelStudio {
    port: u16,
    runs: Runs,
    /// Of every request.
    headers: String,
    patience: Duration,
}

impl LabelStudio {
    fn of(port: u16, runs: Runs) -> Self {
        Self { port, runs, headers: String::new(), patience: ANSWER_TIMEOUT }
    }

    fn answering(mut self, timeout: Duration) -> Self {
        let end = Instant::now() + timeout;
        // 0.7 does not know this page, but answers.
        while self.try_call("GET", "/api/health", None).is_none() {
            assert!(!self.runs.is_over() && Instant::now() < end, "no Label Studio: {}", self.runs.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// The same, waited for as long as it takes to read a large bucket.
    pub fn patient(self) -> Self {
        Self { patience: SYNC_TIMEOUT, ..self }
    }

    /// A request and its answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        // Its server, a development one, drops a connection now and then on a busy machine.
        let tries = if method == "GET" { GET_TRIES } else { 1 };
        let answer = (0..tries).find_map(|nth| {
            std::thread::sleep(nth * GET_PAUSE);
            self.try_call(method, path, body)
        });
        answer.unwrap_or_else(|| panic!("{method} {path}: no answer; {}", self.runs.log()))
    }

    /// Its tasks: `GET /api/tasks`, which must be well.
    pub fn tasks(&self) -> Vec<Value> {
        let answer = self.call("GET", "/api/tasks?page_size=100000", None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body.as_array().expect("a list").clone()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.runs.log()
    }

    fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let mut stream = TcpStream::connect(("localhost", self.port)).ok()?;
        stream.set_read_timeout(Some(self.patience)).ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.headers,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        // A connection that is reset after the whole answer has done its work.
        let announced =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if ended.is_err() && announced != Some(body.len()) {
            return None;
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Some(Answer { status, body })
    }
}
