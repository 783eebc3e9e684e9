//! Verbs that stay: `sync --wait`, `events -f`, `status --watch`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use labelsync::clock::UnixMillis;
use labelsync::control::api::{Refusal, State};

use crate::daemon::{Daemon, PATIENCE, scrub};
use crate::fake::{THEN, event, reason};

#[test]
fn sync_waits_until_both_cycles_have_ended() {
    let daemon = Daemon::start();
    let ran = daemon.lsctl(&["sync", "--wait"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, "cats: done: 9 tasks, 2 completions pending, 2 conflicts, 1 in quarantine\n");
    assert_eq!(ran.err, "source: listing\n", "without a terminal each phase is a line");
    assert!(daemon.fake.cycles_ended.load(Ordering::Relaxed) > 4, "the ticket is source 4, target 3");
}

#[test]
fn sync_says_how_it_went() {
    let daemon = Daemon::start();
    *daemon.fake.source_error.lock().unwrap() = Some(reason());
    let ran = daemon.lsctl(&["sync", "--wait", "cats"]);
    assert_eq!(ran.code, 1);
    let wanted = "  access_denied: cannot list s3://labels/in\n    -> the role needs s3:ListBucket\n";
    assert!(ran.out.starts_with("cats: failed: ") && ran.out.ends_with(wanted), "{}", ran.out);

    for (state, word) in [(State::Held, "held"), (State::Failed, "failed: needs a person")] {
        *daemon.fake.state.lock().unwrap() = state;
        let ran = daemon.lsctl(&["sync", "--wait"]);
        assert_eq!(ran.code, 7, "{state:?}");
        assert!(ran.out.starts_with(&format!("cats: {word}: ")), "{}", ran.out);
    }
    let ran = daemon.lsctl(&["--json", "sync", "--wait"]);
    let status: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, ran.err.as_str(), &status["state"]), (7, "", &serde_json::json!("failed")));
    assert_eq!(daemon.ok(&["--json", "sync"]), "{\"source\":4,\"target\":3}\n");
    *daemon.fake.refuse.lock().unwrap() = Some(Refusal::new("paused", "cats is paused", "`lsctl resume cats`"));
    assert_eq!(daemon.lsctl(&["sync", "--wait"]).code, 7);
}

#[test]
fn sync_does_not_wait_for_ever() {
    let daemon = Daemon::start();
    // Paused by somebody else before the cycle has ended.
    *daemon.fake.state.lock().unwrap() = State::Paused;
    let ran = daemon.lsctl(&["sync", "--wait"]);
    assert_eq!(ran.code, 7);
    assert!(ran.out.starts_with("cats: paused: `lsctl resume` goes on: "), "{}", ran.out);

    // A daemon that is restarted has forgotten the ticket.
    *daemon.fake.state.lock().unwrap() = State::Ok;
    daemon.fake.cycles_ended.store(0, Ordering::Relaxed);
    let fake = std::sync::Arc::clone(&daemon.fake);
    let restart = std::thread::spawn(move || {
        while !fake.asked.lock().unwrap().iter().any(|asked| asked == "sync cats") {
            std::thread::sleep(Duration::from_millis(5));
        }
        fake.cycles_ended.store(0, Ordering::Relaxed);
        *fake.started_at.lock().unwrap() = UnixMillis(THEN.0 + 1);
    });
    daemon.fake.take_asked();
    let ran = daemon.lsctl(&["sync", "--wait"]);
    restart.join().unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.err.ends_with("error: the daemon was restarted meanwhile\n  hint: run it again\n"), "{}", ran.err);
}

#[test]
fn events_are_followed_until_the_daemon_stops() {
    let mut daemon = Daemon::start();
    let (mut child, mut lines) = spawn(&daemon, &["events", "-f"]);
    assert_eq!(line(&mut lines), "2026-01-02T03:04:05.000Z info    cats + task 0 <- in/a.jpg");
    assert_eq!(line(&mut lines), "2026-01-02T03:04:05.000Z info    dogs > completion 3");
    // The second one stands among the recent ones already.
    daemon.fake.live.send(event(2, "dogs", "> completion 3")).unwrap();
    daemon.fake.live.send(event(3, "cats", "+ task 1 <- in/b.jpg")).unwrap();
    assert_eq!(line(&mut lines), "2026-01-02T03:04:05.000Z info    cats + task 1 <- in/b.jpg");
    daemon.stop();
    let last = line(&mut lines);
    assert!(last.ends_with(" notice  - labelsyncd is stopping: no more events here"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn watch_appends_in_a_pipe_and_outlives_the_daemon() {
    let mut daemon = Daemon::start();
    let (mut child, mut lines) = spawn(&daemon, &["status", "--watch"]);
    let mut reports = 0;
    while reports < 2 {
        let line = line(&mut lines);
        assert!(!line.contains('\u{1b}'), "no cursor control in a pipe");
        reports += usize::from(scrub(&line) == "cats: ok since 2026-01-02T03:04:05Z (… ago)");
    }
    daemon.stop();
    let begin = Instant::now();
    while !line(&mut lines).starts_with("error: no labelsyncd answers at ") {
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_eq!(child.try_wait().unwrap(), None, "it waits for the daemon to come back");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn spawn(daemon: &Daemon, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = daemon.command(args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).unwrap() > 0, "the output ended");
    line.trim_end().to_owned()
}
