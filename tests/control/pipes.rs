//! Nothing breaks in a pipe: every verb that prints, with a reader that goes.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use labelsync::control::api::Item;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, PATIENCE};

/// Every verb that ends by itself. `backup` is left out: what it prints is one line.
const VERBS: [&str; 25] = [
    "status",
    "status cats",
    "show",
    "plan",
    "list",
    "list --state conflict",
    "events",
    "health",
    "metrics",
    "version",
    "check",
    "verify",
    "man",
    "man labelsyncd.toml",
    "shell-completion bash",
    "sync",
    "sync --wait",
    "pause",
    "resume",
    "retry",
    "reload",
    "set-source --regex x --dry-run",
    "reset cats source.regex",
    "--help",
    "--version",
];

/// Fast enough for a person who presses Ctrl-C.
const SOON: Duration = Duration::from_secs(5);

fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_reader_that_is_gone_breaks_no_verb() {
    let daemon = Daemon::start();
    let item = |id| Item { key: Some(format!("in/{id}.jpg")), id: Some(id), state: "live".into(), ..Item::default() };
    for json in [&[][..], &["--json"]] {
        for verb in VERBS {
            // More than a pipe holds.
            let items = if verb.starts_with("list") { 5_000 } else { 0 };
            *daemon.fake.items.lock().unwrap() = (0..items).map(item).collect();
            let words: Vec<&str> = json.iter().copied().chain(verb.split(' ')).collect();
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let child = daemon.command(&words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
            let (code, said) = ended(child);
            assert!(matches!(code, Some(0)), "{words:?} ended with {code:?} and {said}");
            assert!(said.lines().all(|line| !line.contains("panicked") && !line.contains("roken pipe")), "{said}");
        }
    }
}

#[test]
fn a_reader_that_has_enough_ends_what_would_stay() {
    let daemon = Daemon::start();
    // `events -f` has nothing more to print, and so no write that would fail.
    for words in [&["status", "--watch"][..], &["--json", "status", "--watch"], &["events", "-f"]] {
        let mut child = daemon.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = child.stdout.take().unwrap();
        reader.read_exact(&mut [0; 16]).unwrap();
        drop(reader);
        let begin = Instant::now();
        assert_eq!(ended(child), (Some(0), String::new()), "{words:?}");
        assert!(begin.elapsed() < PATIENCE);
    }
}

#[test]
fn ctrl_c_ends_what_stays() {
    let daemon = Daemon::start();
    for words in [&["status", "--watch"][..], &["events", "-f"]] {
        let mut child = daemon.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = child.stdout.take().unwrap();
        // The handler stands before the first line is there.
        reader.read_exact(&mut [0; 16]).unwrap();
        let begin = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(ended(child), (Some(0), String::new()), "{words:?}");
        assert!(begin.elapsed() < SOON, "{words:?}");
        assert!(rest.ends_with('\n') && !rest.contains('\u{1b}'), "whole lines without escape codes: {rest:?}");
    }
}

#[test]
fn an_error_that_cannot_be_written_is_still_an_exit_code() {
    let mut daemon = Daemon::start();
    daemon.stop();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = daemon.command(&["status"]).stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(3));
}
