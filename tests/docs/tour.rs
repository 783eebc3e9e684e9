//! The tour of the README: its commands, given to the real `lsctl`, print what stands there.
//!
//! The daemon behind it is a table of answers, made of the API's own types and the actions' own words.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use labelsync::clock::UnixMillis;
use labelsync::control::api::*;
use labelsync::names::{Key, TaskId};
use labelsync::sync::action::{CompletionAction, Dispute, HideReason, TaskAction};

use crate::pages::blocks;

/// 2026-01-02T03:04:05Z.
const STARTED: i64 = 1_767_323_045_000;
/// 2026-01-02T06:10:00Z.
const NOW: i64 = 1_767_334_200_000;
/// Long after every test.
const LATER: UnixMillis = UnixMillis(4_102_444_800_000);

pub fn console_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || serve(&listener, &answers()));
    let blocks = blocks("README.md", "console");
    assert!(blocks.len() >= 3);
    for (line, body) in blocks {
        let (command, shown) = body.split_once('\n').unwrap();
        if command.ends_with(" --bin labelsyncd -- demo") {
            demo(shown);
            continue;
        }
        let words = command.strip_prefix("$ lsctl ").unwrap_or_else(|| panic!("README.md:{line}: {command}"));
        assert_eq!(masked(&run(&socket, words)), masked(shown), "README.md:{line}: {command}");
    }
}

/// What the README shows of the demo, it prints; the two loops go on side by side, so the order may be another.
fn demo(shown: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_labelsyncd")).arg("demo").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let without_time = |line: &str| line.split_once("s  ").map_or(line, |(_, said)| said).trim_end().to_owned();
    let printed: Vec<String> = printed.lines().map(without_time).collect();
    for line in shown.lines().filter(|line| line.trim() != "…") {
        assert!(printed.contains(&without_time(line)), "the demo does not print `{line}`:\n{}", printed.join("\n"));
    }
}

fn run(socket: &Path, words: &str) -> String {
    let script = format!("exec \"$0\" {words}");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_lsctl")])
        .env("LABELSYNC_SOCKET", socket)
        .output()
        .unwrap();
    assert!(output.status.success(), "lsctl {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Without what depends on the time of day.
fn masked(text: &str) -> String {
    let ago = regex::Regex::new(r"\d+ (s|min|h|d) ago").unwrap().replace_all(text, "… ago").into_owned();
    regex::Regex::new(r"\bin \d+ (s|min|h|d)").unwrap().replace_all(&ago, "in …").into_owned()
}

/// One request a connection, as `lsctl` makes them.
fn serve(listener: &UnixListener, answers: &BTreeMap<&'static str, String>) {
    for stream in listener.incoming() {
        answer(stream.unwrap(), answers);
    }
}

fn answer(mut stream: UnixStream, answers: &BTreeMap<&'static str, String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut asked = String::new();
    reader.read_line(&mut asked).unwrap();
    let mut body_bytes = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; body_bytes]).unwrap();
    let asked = asked.trim_end().trim_end_matches(" HTTP/1.1");
    let (status, body) = answers.get(asked).map_or(("404 Not Found", asked), |body| ("200 OK", body.as_str()));
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).unwrap();
}

fn answers() -> BTreeMap<&'static str, String> {
    let events: String = events().iter().map(|event| json(event) + "\n").collect();
    BTreeMap::from([
        ("GET /v1/status", json(&status())),
        ("PATCH /v1/projects/cats/source?dry_run=true", json(&changed())),
        ("GET /v1/events?follow=false&project=cats", events),
    ])
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn status() -> Status {
    let at = |seconds: i64| Some(UnixMillis(NOW + seconds * 1_000));
    let poll = |seconds, took| Poll {
        last_success_at: at(seconds),
        last_duration_ms: Some(took),
        next_at: Some(LATER),
        ..Poll::default()
    };
    let source = SourceStatus {
        url: "s3://my-s3-bucket".into(),
        prefix: "incoming".into(),
        regex: Some(r".*\.(jpg|png)".into()),
        listed: 1012,
        selected: 1000,
        skipped: BTreeMap::from([("regex".into(), 10), ("directory_marker".into(), 2)]),
        poll: poll(2, 180),
        ..SourceStatus::default()
    };
    let target = TargetStatus {
        url: "s3://my-results".into(),
        prefix: "done".into(),
        in_step: 412,
        pending: 1,
        oldest_pending_at: at(5),
        poll: poll(-109, 96),
        ..TargetStatus::default()
    };
    let reason = Reason {
        code: "conflict".into(),
        message: "1 completion needs a person".into(),
        hint: "`lsctl list cats --state conflict`, then `lsctl resolve cats ID --keep local|remote`".into(),
    };
    let cats = ProjectStatus {
        name: "cats".into(),
        path: "/srv/annotations/cats".into(),
        state: State::Degraded,
        state_name: "conflict".into(),
        since: UnixMillis(STARTED + 1_000),
        reasons: vec![reason],
        tasks: 1000,
        foreign_tasks: 3,
        next_id: 1003,
        conflicts: 1,
        source: Some(source),
        target: Some(target),
        ..ProjectStatus::default()
    };
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: 812,
        started_at: UnixMillis(STARTED),
        state_dir: "/var/lib/labelsyncd".into(),
        generation: 1,
        reload_refused: None,
        projects: vec![cats],
    }
}

fn changed() -> Changed {
    let hide = |id, key: &str| {
        TaskAction::Hide { id: TaskId::new(id).unwrap(), key: Key::new(key), why: HideReason::Deselected }.to_string()
    };
    let plan = PlanView {
        project: "cats".into(),
        summary: "1012 listed, 998 selected, 14 skipped; 2 tasks hidden".into(),
        actions: vec![hide(0, "incoming/a.jpg"), hide(2, "incoming/c.jpg")],
        total: 2,
        holds: Vec::new(),
        skipped: BTreeMap::from([("regex".into(), 12), ("directory_marker".into(), 2)]),
    };
    let change = SettingChange {
        key: "source.regex".into(),
        old: serde_json::json!(r".*\.(jpg|png)"),
        new: serde_json::json!(r".*\.png"),
    };
    Changed { project: "cats".into(), changes: vec![change], applied: false, plan: Some(plan), plan_error: None }
}

fn events() -> Vec<Event> {
    let event = |seq, millis, level: &str, kind: &str, message: String| Event {
        seq,
        at: UnixMillis(NOW + millis),
        project: Some("cats".into()),
        level: level.into(),
        kind: kind.into(),
        message,
        key: None,
        task: None,
        bucket: None,
        duration_usec: None,
        error: None,
        actor: None,
    };
    let completion = |id, action: &CompletionAction| action.line(TaskId::new(id).unwrap());
    let pushed = CompletionAction::Push { expected: None };
    let conflict = CompletionAction::Dispute(Dispute::BothChanged);
    vec![
        event(1, 2_400, "info", "task_added", "+ task 1002 <- incoming/z.png".into()),
        event(2, 5_900, "info", pushed.kind(), completion(7, &pushed)),
        event(3, 6_000, "warning", conflict.kind(), completion(9, &conflict)),
    ]
}
