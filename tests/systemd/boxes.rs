//! A box with a systemd of its own, and labelsync installed in it as an operator has it.
//!
//! Promise: nothing of the machine is touched; a box ends with its test, however that ends.
//! Not here: tests.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Ran, completion, tasks_of, until, write};

/// What the script that makes the box prints when it is there.
const UP: &str = "up ";

/// A running system.
pub struct SystemBox {
    script: Child,
    /// Closed at the end: then the box ends.
    stdin: Option<ChildStdin>,
    pid1: u32,
    _dir: tempfile::TempDir,
}

impl SystemBox {
    /// Boots one; an error says why none can be had here.
    pub fn boot() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("ls-box-").tempdir().map_err(|error| error.to_string())?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/systemd/box");
        let mut child = Command::new("bash")
            .arg(script)
            .arg(dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("bash: {error}"))?;
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let Some(pid1) = line.strip_prefix(UP).and_then(|pid| pid.trim().parse().ok()) else {
            drop(child.stdin.take());
            let mut said = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut said).ok();
            child.wait().ok();
            let why = line.trim().trim_start_matches("failed ");
            return Err(format!("no systemd can be booted here: {why} {}", said.lines().last().unwrap_or_default()));
        };
        let stdin = child.stdin.take();
        Ok(Self { script: child, stdin, pid1, _dir: dir })
    }

    /// Boots one with labelsync installed: programs, units, users, a project `cats` of `label-studio`'s with
    /// directories for buckets.
    pub fn installed() -> Result<Self, String> {
        let this = Self::boot()?;
        this.install();
        this.local_project();
        Ok(this)
    }

    /// A path of the box as it is seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid1))
    }

    /// Its first process.
    pub fn pid1(&self) -> u32 {
        self.pid1
    }

    /// A command that enters the box. Its process group is its own: one that it signals may not be the test's.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.process_group(0);
        command.args(["-t", &self.pid1.to_string(), "-a", "--", "env", "-i", "LC_ALL=C.UTF-8", "TERM=dumb"]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin").args(words);
        command
    }

    /// Runs a shell script in the box to its end.
    pub fn run(&self, script: &str) -> Ran {
        Ran::of(&mut self.command(&["bash", "-uc", script]))
    }

    /// The same; it must go well. What it printed.
    pub fn ok(&self, script: &str) -> String {
        let ran = self.run(script);
        assert_eq!(ran.code, 0, "`{script}` printed {}{}\n{}", ran.out, ran.err, self.log());
        ran.out
    }

    /// Everything that labelsyncd logged so far.
    pub fn log(&self) -> String {
        let ran = self.run("journalctl -u labelsyncd -o short-monotonic --no-pager | tail -60; systemctl status labelsyncd --no-pager | head -20");
        format!("--- journal ---\n{}{}", ran.out, ran.err)
    }

    /// One property of the service.
    pub fn show(&self, property: &str) -> String {
        self.ok(&format!("systemctl show labelsyncd -P {property}")).trim().to_owned()
    }

    /// Lines of a drop-in's [Service] (or, after a line `[Unit]`, of that).
    pub fn drop_in(&self, name: &str, lines: &str) {
        let dir = self.path("/etc/systemd/system/labelsyncd.service.d");
        std::fs::create_dir_all(&dir).expect("made");
        write(&dir.join(format!("{name}.conf")), &format!("[Service]\n{lines}\n"));
        self.ok("systemctl daemon-reload");
    }

    /// Copies labelsync to where its packages put it.
    pub fn install(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for program in programs() {
            copy(program, &self.path("/usr/bin").join(program.file_name().expect("a name")));
        }
        for (from, to) in [
            ("systemd/labelsyncd.service", "/usr/lib/systemd/system/labelsyncd.service"),
            ("systemd/labelsyncd.socket", "/usr/lib/systemd/system/labelsyncd.socket"),
            ("systemd/sysusers.d/labelsyncd.conf", "/usr/lib/sysusers.d/labelsyncd.conf"),
            ("systemd/tmpfiles.d/labelsyncd.conf", "/usr/lib/tmpfiles.d/labelsyncd.conf"),
            ("config/labelsyncd.toml", "/etc/labelsyncd/labelsyncd.toml"),
        ] {
            let to = self.path(to);
            std::fs::create_dir_all(to.parent().expect("below the root")).expect("made");
            copy(&root.join(from), &to);
        }
        self.ok("systemd-sysusers && systemd-tmpfiles --create labelsyncd.conf && systemctl daemon-reload");
        self.users();
    }

    /// Label Studio's user, an operator, and somebody else.
    pub fn users(&self) {
        self.ok("useradd --system --create-home label-studio && useradd oona -G labelsync && useradd somebody");
    }

    /// `cats` as Label Studio has it, with `/srv/in` and `/srv/out` for buckets, made known by `labelsyncd init`.
    pub fn local_project(&self) {
        write(&self.path("/srv/config.xml"), IMAGE_CONFIG);
        self.ok("mkdir -p /srv/annotations /srv/in /srv/out && chown label-studio: /srv/annotations /srv/out");
        self.ok("labelsyncd init cats --project-dir /srv/annotations/cats --label-config /srv/config.xml \
             --source local --source-path /srv/in --source-params '{\"regex\": \".*\"}' \
             --target local --target-path /srv/out --target-params '{\"prefix\": \"done\"}'");
        let settings = self.path("/etc/labelsyncd/conf.d/cats.toml");
        let text = std::fs::read_to_string(&settings).expect("written by init");
        let text = text.replace("[projects.cats.source]", "[projects.cats.source]\npoll_interval = \"1s\"");
        write(&settings, &text);
        self.ok("systemctl daemon-reload");
    }

    /// Starts the service; it must be ready then.
    pub fn start(&self) {
        self.ok("systemctl start labelsyncd");
        assert_eq!(self.show("ActiveState"), "active");
    }

    /// Puts an object into the source.
    pub fn put(&self, key: &str) {
        write(&self.path("/srv/in").join(key), "a picture");
    }

    /// Waits until `cats` has this many tasks.
    pub fn until_tasks(&self, count: usize) {
        let project = self.path("/srv/annotations/cats");
        let mut last = 0;
        let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the tasks", PATIENCE, || {
                last = tasks_of(&project).len();
                (last == count).then_some(())
            });
        }));
        assert!(reached.is_ok(), "{last} tasks of {count}; {}{}", self.run("lsctl status").out, self.log());
    }

    /// Label Studio, as its user, saves a completion; its bytes.
    pub fn label(&self, id: u64, choice: &str) -> Vec<u8> {
        let task = tasks_of(&self.path("/srv/annotations/cats"))[&id]["data"].clone();
        let bytes = completion(id, &task, choice);
        std::fs::write(self.path("/run/saved"), &bytes).expect("written");
        self.ok(&format!(
            "chmod 644 /run/saved && runuser -u label-studio -- sh -c 'cat /run/saved >/srv/annotations/cats/completions/{id}.json'"
        ));
        bytes
    }

    /// Waits until the target has exactly these bytes.
    pub fn until_pushed(&self, id: u64, bytes: &[u8]) {
        let object = self.path("/srv/out/done").join(id.to_string());
        let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the push", PATIENCE, || std::fs::read(&object).is_ok_and(|there| there == bytes).then_some(()));
        }));
        assert!(reached.is_ok(), "{id} is not pushed: {}{}", self.run("lsctl status").out, self.log());
    }

    /// Waits until a property of the service is as wanted.
    pub fn until_show(&self, property: &str, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let end = std::time::Instant::now() + within;
        while std::time::Instant::now() < end {
            last = self.show(property);
            if wanted(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{property} stays {last}: {}", self.log());
    }

    /// The status of `cats` as JSON.
    pub fn status(&self) -> Value {
        let text = self.ok("lsctl --json status cats");
        serde_json::from_str::<Value>(&text).expect("JSON")["projects"][0].clone()
    }

    /// Waits until `cats` is in this state.
    pub fn until_status_is(&self, state: &str) {
        until(state, PATIENCE, || (self.status()["state"] == state).then_some(()));
    }

    /// Waits until `cats` has this many completions in step and none on the way.
    pub fn until_in_step(&self, count: u64) {
        let is = |status: &Value| status["target"]["in_step"] == count && status["target"]["pending"] == 0;
        let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("in step", PATIENCE, || is(&self.status()).then_some(()));
        }));
        assert!(reached.is_ok(), "{}{}", self.run("lsctl status").out, self.log());
    }

    /// Entries of the journal that match, as JSON.
    pub fn journal(&self, matches: &str) -> Vec<Value> {
        let text = self.ok(&format!("journalctl --sync; journalctl -o json --all --no-pager {matches}"));
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for SystemBox {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.script.wait().ok();
    }
}

/// The programs without what only a debugger needs: a fraction of the size, and each box has its own copy.
pub fn programs() -> &'static [PathBuf; 2] {
    static STRIPPED: OnceLock<[PathBuf; 2]> = OnceLock::new();
    STRIPPED.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("systemd-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("made");
        [env!("CARGO_BIN_EXE_labelsyncd"), env!("CARGO_BIN_EXE_lsctl")].map(|from| {
            let to = dir.join(Path::new(from).file_name().expect("a name"));
            let stripped = Command::new("strip").args(["-o".as_ref(), to.as_os_str(), from.as_ref()]).status();
            if !stripped.is_ok_and(|status| status.success()) {
                copy(Path::new(from), &to);
            }
            to
        })
    })
}

/// Removes what [`programs`] made.
pub fn clean() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("systemd-{}", std::process::id()));
    std::fs::remove_dir_all(dir).ok();
}

/// Not by this process: a program that another test starts meanwhile would hold the copy open for writing.
pub fn copy(from: &Path, to: &Path) {
    let copied = Ran::of(Command::new("cp").arg(from).arg(to));
    assert_eq!(copied.code, 0, "{}", copied.err);
}
