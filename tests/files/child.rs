//! What the test binary does when it is started again: under strace, as another user, with other limits.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use labelsync::project::files::{Dir, IfAbsent, Replaced, Undone};
use labelsync::project::watch::{Mode, Periods, PollReason, Watcher};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::support::{PATIENCE, print, write_new, write_over};

const CASE: &str = "LABELSYNC_TEST_CHILD";
const DIR: &str = "LABELSYNC_TEST_DIR";

/// Starts `wrapper` (may be empty) and this binary after it, for one case in one directory.
pub fn command(wrapper: &[&str], case: &str, dir: &Path) -> Command {
    command_of(&env::current_exe().unwrap(), wrapper, case, dir)
}

/// The same with a copy of this binary that another user can reach.
pub fn command_of(binary: &Path, wrapper: &[&str], case: &str, dir: &Path) -> Command {
    let mut words: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
    words.push(binary.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(CASE, case).env(DIR, dir);
    command
}

/// Runs a case and returns what it printed; a case that fails makes the test fail.
pub fn output(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.lines().map(str::to_owned).collect()
}

/// `None`: this process is no child.
pub fn run() -> Option<ExitCode> {
    let case = env::var(CASE).ok()?;
    let path = PathBuf::from(env::var_os(DIR).unwrap());
    match case.as_str() {
        "replace_twice" => replace_twice(&path),
        "create_twice" => create_twice(&path),
        "replace_and_undo" => replace_and_undo(&path),
        "replace_once" => replace_once(&path),
        "replace_without_descriptors" => replace_without_descriptors(&path),
        "rewrite_in_place" => super::support::write_in_place(&path.join("tasks.json"), b"{\"by\":\"label studio\"}"),
        "create_like_tasks" => create_like_tasks(&path),
        "hold_lock" => hold_lock(&path),
        "watch" => watch(&path),
        "watch_mode" => watch_mode(&path),
        other => panic!("no case {other}"),
    }
    Some(ExitCode::SUCCESS)
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn wait_for_a_line() {
    io::stdin().lock().read_line(&mut String::new()).unwrap();
}

fn tell(result: Result<Replaced, labelsync::project::files::FileError>) {
    match result {
        Ok(Replaced { displaced: None, .. }) => say("created"),
        Ok(Replaced { displaced: Some(old), .. }) => {
            let bytes = old.read(1_000_000).unwrap().bytes;
            say(&format!("replaced as_expected={} old={}", old.as_expected(), String::from_utf8_lossy(&bytes)));
            old.discard().unwrap();
        }
        Err(e) => say(&format!("error {} remedy={}", e.code(), e.remedy())),
    }
}

fn replace_once(path: &Path) {
    let dir = Dir::open(path).unwrap();
    tell(write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"new"));
}

fn replace_twice(path: &Path) {
    let dir = Dir::open(path).unwrap();
    for _ in 0..2 {
        tell(write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"new"));
        say(&format!("now {}", fs::read_to_string(path.join("tasks.json")).unwrap()));
        say(&format!("names {:?}", super::support::names(path)));
    }
}

fn create_twice(path: &Path) {
    let dir = Dir::open(path).unwrap();
    for _ in 0..2 {
        tell(write_new(&dir, "tasks.json", b"new"));
        say(&format!("names {:?}", super::support::names(path)));
    }
}

fn replace_and_undo(path: &Path) {
    let dir = Dir::open(path).unwrap();
    tell(write_new(&dir, "tasks.json", b"never"));
    let replaced = write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"new").unwrap();
    say(&format!("now {} {:?}", fs::read_to_string(path.join("tasks.json")).unwrap(), super::support::names(path)));
    let Undone::Restored(new) = replaced.displaced.unwrap().undo().unwrap() else { panic!("nobody overtook it") };
    say(&format!("now {} {:?}", fs::read_to_string(path.join("tasks.json")).unwrap(), super::support::names(path)));
    new.discard().unwrap();
    say(&format!("names {:?}", super::support::names(path)));
}

fn replace_without_descriptors(path: &Path) {
    let dir = Dir::open(path).unwrap();
    let expected = print(&dir, "tasks.json");
    let limits = getrlimit(Resource::Nofile);
    // As many as each step of a replacement needs, one after the other: each step must fail cleanly.
    let mut taken: Vec<fs::File> = Vec::new();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limits }).unwrap();
    while let Ok(file) = fs::File::open("/dev/null") {
        taken.push(file);
    }
    for _ in 0..20 {
        let result = write_over(&dir, "tasks.json", &expected, b"new");
        let failed = result.is_err();
        tell(result);
        if !failed {
            return;
        }
        taken.pop();
        let free = fs::File::open("/dev/null").is_ok();
        assert!(free, "one descriptor was given back");
        say(&format!("now {}", fs::read_to_string(path.join("tasks.json")).unwrap()));
    }
    panic!("it never heals");
}

fn create_like_tasks(path: &Path) {
    let dir = Dir::open(path).unwrap();
    let like = dir.attributes("tasks.json").unwrap().unwrap();
    let expected = labelsync::project::files::Expected::Absent { like: Some(&like) };
    tell(dir.replace("1.json", expected, |out| out.write_all(b"{}")));
}

fn hold_lock(path: &Path) {
    let _lock = Dir::open(path).unwrap().lock("labelsync.json", IfAbsent::Fail).unwrap();
    say("locked");
    wait_for_a_line();
}

fn quick() -> Periods {
    Periods { poll: Duration::from_millis(100), check: Duration::from_millis(100), retry: Duration::from_secs(60) }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Waits until it is known how it watches.
fn begun(watcher: &Watcher) {
    while watcher.mode() == Mode::Polling(PollReason::Starting) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says when it watches; then, after the next line, what it was told meanwhile.
fn watch(path: &Path) {
    let runtime = runtime();
    let guard = runtime.enter();
    let watcher = Watcher::start(path, quick(), Box::new(|| ()));
    drop(guard);
    begun(&watcher);
    watcher.take();
    say(&format!("{:?}", watcher.mode()));
    wait_for_a_line();
    let told = async {
        loop {
            watcher.woken().await;
            let hints = watcher.take();
            if hints.everything.is_some() {
                return hints;
            }
        }
    };
    let hints = runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await }).expect("the overflow is told");
    say(&format!("everything={} completions={}", hints.everything.is_some(), hints.completions.len()));
}

/// Says how it watches and whether hints to look at everything go on coming.
fn watch_mode(path: &Path) {
    let runtime = runtime();
    let guard = runtime.enter();
    let watcher = Watcher::start(path, quick(), Box::new(|| ()));
    drop(guard);
    begun(&watcher);
    say(&format!("{:?}", watcher.mode()));
    for _ in 0..2 {
        watcher.take();
        let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, watcher.woken()).await });
        say(&format!("told={} everything={}", told.is_ok(), watcher.take().everything.is_some()));
    }
}
