//! Every verb of `lsctl`: what it asks, what it prints, how it exits.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use insta::assert_snapshot;
use labelsync::control::api::{Item, Reason, Refusal, State};

use crate::daemon::{Daemon, run, scrub};
use crate::fake::{HARMLESS, HOSTILE};

#[test]
fn status_says_state_reason_and_counts() {
    let daemon = Daemon::start();
    *daemon.fake.state.lock().unwrap() = State::Held;
    assert_snapshot!(scrub(&daemon.ok(&["status"])), @r##"
    labelsyncd 9.8.7, pid 42, running since 2026-01-02T03:04:05Z (… ago)

    cats: held since 2026-01-02T03:04:05Z (… ago)
      held mass_removal: 8 of 9 tasks' objects are gone
        -> `lsctl accept cats h7f3` would hide 8 tasks
        -> where that is not meant: put right what is wrong, and it goes on by itself
      access_denied: cannot list s3://labels/in
        -> the role needs s3:ListBucket
      directory  /srv/cats
      tasks      9, 3 of Label Studio's own; the next id is 12
      source     s3://labels/in/  regex .*\.jpg
                 12 listed, 9 selected, 3 skipped: directory_marker 1, regex 2
                 now listing: 7
                 last complete look 2026-01-02T03:04:05Z (… ago), took 1200 ms
      target     s3://results/done
                 4 in step, 2 pending (the oldest since 2026-01-02T03:04:05Z (… ago)), 1 unsettled, 1 missing in the target
                 last complete look 2026-01-02T03:04:05Z (… ago), took 1200 ms
      quarantine 1: `lsctl list cats --state quarantined`
      conflicts  2: `lsctl list cats --state conflict`
    "##);
}

#[test]
fn status_says_which_look_fails() {
    let daemon = Daemon::start();
    *daemon.fake.source_error.lock().unwrap() = Some(crate::fake::reason());
    let out = scrub(&daemon.ok(&["status", "cats"]));
    let wanted = "             failed, last 2026-01-02T03:04:05Z (… ago)
             access_denied: cannot list s3://labels/in
               -> the role needs s3:ListBucket
";
    assert!(out.contains(wanted), "{out}");
}

#[test]
fn settings_verbs_say_old_new_and_what_follows() {
    let daemon = Daemon::start();
    assert_snapshot!(daemon.ok(&["set-source", "cats", "--regex", ".*\\.png"]), @r##"
    cats: changed, now and for restarts
      source.regex  ".*\\.jpg" → ".*\\.png"
    the next cycle: 1 task added, 2 hidden
      + task 8 <- in/b.png
      - task 3 <- in/a\n<0>\u{1b}[2J\u{202e}gpj\t.exe\u{9b}31m
      … and 1 more
      held mass_removal: 8 of 9 tasks' objects are gone
        -> `lsctl accept cats h7f3` would hide 8 tasks
      skipped: regex 2
    "##);
    let dry = daemon.ok(&["set-target", "--prefix", "out", "--on-deleted", "delete", "--dry-run"]);
    assert!(dry.starts_with("cats: would change (dry run: nothing is changed)\n"), "{dry}");
    let all = "set-source --prefix a --regex b --exclude c --create-local-copy true --use-blob-urls false --data-key d \
               --recursive true --poll-interval 30s --on-removed hide --on-changed keep";
    daemon.ok(&all.split_whitespace().collect::<Vec<_>>());
    daemon.ok(&["reset", "source.regex", "source.prefix"]);
    daemon.ok(&["reset", "cats", "--all"]);
    let uid = rustix::process::getuid().as_raw();
    let asked = daemon.fake.take_asked().join("\n").replace(&format!("uid={uid}"), "uid=ours");
    assert_snapshot!(asked, @r##"
    set_source cats {"regex":".*\\.png"} dry_run=false uid=ours
    set_target cats {"prefix":"out","on_deleted":"delete"} dry_run=true uid=ours
    set_source cats {"prefix":"a","regex":"b","exclude":"c","create_local_copy":true,"use_blob_urls":false,"data_key":"d","recursive":true,"poll_interval":"30s","on_removed":"hide","on_changed":"keep"} dry_run=false uid=ours
    reset cats ["source.regex", "source.prefix"]
    reset cats []
    "##);
}

#[test]
fn show_and_plan() {
    let daemon = Daemon::start();
    assert_snapshot!(daemon.ok(&["show"]), @r##"
    cats
     SETTING                   VALUE       FROM
     source.prefix             "in/"       file
     source.regex              ".*\\.png"  lsctl (hides the file's ".*\\.jpg")
     target.create_local_copy  true        default
    "##);
    assert_snapshot!(daemon.ok(&["plan", "cats"]), @r##"
    cats: 1 task added, 2 hidden
      + task 8 <- in/b.png
      - task 3 <- in/a\n<0>\u{1b}[2J\u{202e}gpj\t.exe\u{9b}31m
      … and 1 more
      held mass_removal: 8 of 9 tasks' objects are gone
        -> `lsctl accept cats h7f3` would hide 8 tasks
      skipped: regex 2
    "##);
}

#[test]
fn check_shows_each_step_and_its_remedy() {
    let daemon = Daemon::start();
    let ran = daemon.lsctl(&["check", "cats", "--origin", "https://label-studio.example/"]);
    assert_eq!((ran.code, ran.err.as_str()), (7, ""));
    assert_snapshot!(ran.out, @r##"
    cats: 1 ok, 1 to know, 1 failed
    source
      ok   dns           s3.example is known
      warn cors          cors_missing: pages may not read
           -> put this into a file
      fail list          access_denied: in/a\n<0>\u{1b}[2J\u{202e}gpj\t.exe\u{9b}31m
           -> allow `s3:ListBucket`
    "##);
    assert_eq!(daemon.fake.take_asked(), ["check cats Some(\"https://label-studio.example\")"]);
    assert_eq!(daemon.lsctl(&["--json", "check"]).code, 7);
}

#[test]
fn verify_ends_with_7_where_something_differs() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["verify"]), "cats: 9 pushed completions compared, 9 the same, 0 different\n");
    let item = Item {
        key: Some(HOSTILE.into()),
        id: Some(7),
        reason: "target_differs".into(),
        detail: "the bytes".into(),
        ..Item::default()
    };
    *daemon.fake.items.lock().unwrap() = vec![item];
    let ran = daemon.lsctl(&["verify", "cats"]);
    assert_eq!(ran.code, 7);
    assert_snapshot!(ran.out, @r##"
    cats: 9 pushed completions compared, 8 the same, 1 different
      in/a\n<0>\u{1b}[2J\u{202e}gpj\t.exe\u{9b}31m (id 7): target_differs: the bytes
    "##);
}

#[test]
fn verbs_that_do_something_say_so() {
    let daemon = Daemon::start();
    let verbs: [&[&str]; 9] = [
        &["pause"],
        &["resume", "cats"],
        &["accept"],
        &["accept", "h7f3"],
        &["accept", "cats", "h7f3"],
        &["resolve", "7", "8", "--keep", "local"],
        &["retry"],
        &["retry", "cats", "in/a.jpg"],
        &["reload"],
    ];
    for verb in verbs {
        assert_eq!(daemon.ok(verb), "it is done\n", "{verb:?}");
    }
    let uid = rustix::process::getuid().as_raw();
    let asked = daemon.fake.take_asked().join("\n").replace(&format!("uid={uid}"), "uid=ours");
    assert_snapshot!(asked, @r##"
    pause cats
    resume cats
    accept cats None
    accept cats Some("h7f3")
    accept cats Some("h7f3")
    resolve cats ["7", "8"] Local
    retry cats []
    retry cats ["in/a.jpg"]
    reload uid=ours pid=true
    "##);
}

#[test]
fn what_was_refused_among_others_is_said() {
    let daemon = Daemon::start();
    let item = Item { key: Some(HOSTILE.into()), reason: "not_quarantined".into(), ..Item::default() };
    *daemon.fake.refused_items.lock().unwrap() = vec![item];
    let ran = daemon.lsctl(&["retry", "in/x"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.out, format!("it is done\n  not touched: {HARMLESS}: not_quarantined\n"));
}

/// A word is the project if it comes first and a project has that name; `--project` settles it.
#[test]
fn the_first_word_may_be_the_project() {
    let daemon = Daemon::with(&["cats", "7"]);
    let asked = |words: &[&str]| {
        daemon.ok(words);
        daemon.fake.take_asked().join(";")
    };
    assert_eq!(asked(&["retry", "cats", "7"]), r#"retry cats ["7"]"#);
    assert_eq!(asked(&["retry", "7", "cats"]), r#"retry 7 ["cats"]"#);
    assert_eq!(asked(&["retry", "--project", "cats", "7", "cats"]), r#"retry cats ["7", "cats"]"#);
    assert_eq!(asked(&["resolve", "cats", "7", "--keep", "remote"]), r#"resolve cats ["7"] Remote"#);
    assert_eq!(asked(&["accept", "7"]), "accept 7 None");
    assert_eq!(asked(&["accept", "--project", "cats", "7"]), r#"accept cats Some("7")"#);
    for words in [&["resolve", "7", "--keep", "local"][..], &["reset", "cats"], &["reset", "cats", "a.b", "--all"]] {
        assert_eq!(daemon.lsctl(words).code, 2, "{words:?} names nothing, or too much");
    }
    assert_eq!(daemon.fake.take_asked(), Vec::<String>::new());
}

#[test]
fn two_projects_want_a_name() {
    let daemon = Daemon::with(&["cats", "dogs"]);
    for words in [&["pause"][..], &["retry", "in/x"], &["plan"], &["set-source", "--regex", "x"], &["list"]] {
        let ran = daemon.lsctl(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert_eq!(ran.err, "error: which project?\n  hint: name one of: cats, dogs\n", "{words:?}");
    }
    for words in [&["pause", "birds"][..], &["status", "birds"], &["events", "--project", "birds"]] {
        let ran = daemon.lsctl(words);
        assert_eq!(ran.code, 2, "{words:?}");
        assert_eq!(ran.err, "error: there is no project `birds`\n  hint: there are: cats, dogs\n", "{words:?}");
    }
    assert_eq!(daemon.lsctl(&["pause", "a/../b"]).code, 2);
    assert!(!daemon.ok(&["status", "dogs"]).contains("cats"));
}

#[test]
fn list_follows_the_pages() {
    let daemon = Daemon::start();
    let item = |id| Item { key: Some(format!("in/{id}.jpg")), id: Some(id), state: "live".into(), ..Item::default() };
    *daemon.fake.items.lock().unwrap() = (0..2_345).map(item).collect();
    let out = daemon.ok(&["list", "--state", "tasks"]);
    assert_eq!(out.lines().count(), 2_345);
    assert_eq!(out.lines().last(), Some("2344\tin/2344.jpg\tlive\t-\t-"));
    let asked = daemon.fake.take_asked();
    let page = |after: &str| format!("items cats Tasks {after}");
    assert_eq!(asked, [page("None"), page("Some(\"after #1000\")"), page("Some(\"after #2000\")")]);

    let document: serde_json::Value = serde_json::from_str(&daemon.ok(&["list", "--json"])).unwrap();
    assert_eq!(document["items"].as_array().unwrap().len(), 2_345);
    assert!(document["next"].is_null());
    daemon.fake.items.lock().unwrap().clear();
    assert_eq!(daemon.ok(&["list", "--json"]), "{\"items\":[],\"next\":null}\n");
    assert_eq!(daemon.ok(&["list", "--state", "removed"]), "");
}

#[test]
fn l71_a_hostile_key_is_harmless_in_every_verb() {
    let daemon = Daemon::start();
    let detail = format!("no image at {HOSTILE}");
    let bad = Item { key: Some(HOSTILE.into()), state: HOSTILE.into(), detail, ..Item::default() };
    *daemon.fake.items.lock().unwrap() = vec![bad.clone()];
    *daemon.fake.refused_items.lock().unwrap() = vec![bad];
    *daemon.fake.state.lock().unwrap() = State::Degraded;
    let reason = Reason { code: HOSTILE.into(), message: HOSTILE.into(), hint: HOSTILE.into() };
    *daemon.fake.source_error.lock().unwrap() = Some(reason);
    daemon.fake.recent.lock().unwrap()[0].message = HOSTILE.into();
    daemon.fake.recent.lock().unwrap()[0].key = Some(HOSTILE.into());
    assert_eq!(daemon.ok(&["list"]), format!("-\t{HARMLESS}\t{HARMLESS}\t-\tno image at {HARMLESS}\n"));
    for verb in [&["list"][..], &["events"], &["plan"], &["set-source", "--regex", "x"], &["retry"], &["status"]] {
        assert_harmless(&daemon, verb, HARMLESS);
        let json = [&["--json"], verb].concat();
        assert_harmless(&daemon, &json, r"in/a\n<0>\u001b[2J\u202egpj\t.exe\u009b31m");
    }
    *daemon.fake.refuse.lock().unwrap() = Some(Refusal::new("failed", HOSTILE, HOSTILE));
    for verb in [&["pause"][..], &["--json", "pause"]] {
        let ran = daemon.lsctl(verb);
        assert_eq!(ran.code, 1);
        assert!(!ran.err.trim_end_matches('\n').contains(hostile) || verb.len() == 1, "{}", ran.err);
        assert!(!ran.err.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\t']), "{}", ran.err);
    }
}

fn hostile(c: char) -> bool {
    c == '\n' || c.is_control() || c == '\u{202e}'
}

fn assert_harmless(daemon: &Daemon, verb: &[&str], shown: &str) {
    let out = daemon.lsctl(verb).out;
    assert!(out.contains(shown), "{verb:?} does not show it: {out}");
    assert!(!out.lines().any(|line| line.replace('\t', "").contains(hostile)), "{verb:?}: {out:?}");
    assert!(!out.lines().any(|line| line.starts_with("<0>")), "{verb:?}: {out:?}");
}

#[test]
fn events_are_one_line_each() {
    let daemon = Daemon::start();
    assert_snapshot!(daemon.ok(&["events"]), @r##"
    2026-01-02T03:04:05.000Z info    cats + task 0 <- in/a.jpg
    2026-01-02T03:04:05.000Z info    dogs > completion 3
    "##);
    assert_eq!(daemon.ok(&["events", "--project", "cats"]).lines().count(), 1);
    assert_eq!(daemon.ok(&["events", "cats"]).lines().count(), 1);
    assert_eq!(daemon.ok(&["events", "--since", "1"]).lines().count(), 1);
    assert_eq!(daemon.ok(&["events", "--since", "99"]).lines().count(), 2, "99 was counted by an earlier daemon");
    let json = daemon.ok(&["events", "--json"]);
    assert_eq!(daemon.http("GET", "/v1/events", "").1.matches("\"seq\"").count(), 2);
    assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{json}");
}

#[test]
fn backup_is_whole_private_and_replaces_nothing() {
    let daemon = Daemon::start();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    daemon.fake.backup.lock().unwrap().clone_from(&bytes);
    let file = daemon.dir.path().join("copy.sqlite");
    let name = file.to_str().unwrap();
    assert_eq!(daemon.ok(&["backup", name]), format!("1200000 bytes written to {name}\n"));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    daemon.fake.backup.lock().unwrap().truncate(10);
    let ran = daemon.lsctl(&["backup", name]);
    assert_eq!(ran.code, 2);
    let wanted = format!("error: {name} is there already\n  hint: name another file, or use --force to replace it\n");
    assert_eq!(ran.err, wanted);
    assert_eq!(file.metadata().unwrap().len(), 1_200_000);
    assert_eq!(daemon.ok(&["--json", "backup", "--force", name]), format!("{{\"file\":\"{name}\",\"bytes\":10}}\n"));
    let ran = daemon.lsctl(&["backup", "/no/such/dir/copy"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let names: Vec<_> = std::fs::read_dir(daemon.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the socket's directory and the copy, no leftovers: {names:?}");
}

#[test]
fn small_verbs() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["health"]), "ok\n");
    assert_eq!(daemon.ok(&["metrics"]), "labelsync_tasks{project=\"cats\"} 9\n# EOF\n");
    let version = scrub(&daemon.ok(&["version"]));
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = "labelsyncd 9.8.7, pid 42, running since 2026-01-02T03:04:05Z (… ago)";
    assert_eq!(version, format!("lsctl {ours}\n{theirs}\n"));
    assert_eq!(daemon.ok(&["version", "--json"]), format!("{{\"lsctl\":\"{ours}\",\"labelsyncd\":\"9.8.7\"}}\n"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(daemon.ok(&["shell-completion", shell]).contains("set-source"), "{shell}");
    }
    assert_eq!(daemon.ok(&["sync"]), "looking now; `lsctl status` shows how far it is\n");
    assert!(daemon.ok(&["--help"]).contains("Exit codes:"));
}

#[test]
fn l66_unknown_fields_are_ignored_and_kept_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let body = r#"{"version":"99.0","pid":1,"started_at":0,"state_dir":"/x","generation":1,"new":[1],"projects":[]}"#;
    let later = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-new: 1\r\n\r\n{body}").unwrap();
        }
    });
    let lsctl = |args: &[&str]| {
        run(std::process::Command::new(env!("CARGO_BIN_EXE_lsctl")).arg("--socket").arg(&socket).args(args))
    };
    let text = lsctl(&["status"]);
    assert_eq!(text.code, 0, "{}", text.err);
    assert!(text.out.starts_with("labelsyncd 99.0, pid 1,"), "{}", text.out);
    assert_eq!(lsctl(&["status", "--json"]).out, format!("{body}\n"));
    later.join().unwrap();
}

#[test]
fn l66_json_is_the_apis_json_as_it_is() {
    let daemon = Daemon::start();
    let gets = [
        (&["show"][..], "/v1/projects/-"),
        (&["plan"], "/v1/projects/-/plan"),
        (&["health"], "/v1/health"),
        (&["events"], "/v1/events"),
    ];
    for (verb, path) in gets {
        let (status, body) = daemon.http("GET", path, "");
        assert_eq!(status, 200);
        let ours = daemon.ok(&[&["--json"], verb].concat());
        let parse = |text: &str| -> Vec<serde_json::Value> {
            let values = serde_json::Deserializer::from_str(text).into_iter();
            values.collect::<Result<_, _>>().unwrap()
        };
        // Events are sent in chunks, whose sizes stand between the lines.
        let theirs = if path.ends_with("events") { chunks(&body) } else { body };
        assert_eq!(parse(&ours), parse(&theirs), "{verb:?}");
    }
    daemon.fake.cycles_ended.store(5, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(daemon.ok(&["status", "--json"]), daemon.http("GET", "/v1/status", "").1 + "\n");
    assert_snapshot!(daemon.ok(&["status", "--json", "cats"]), @r#"{"version":"9.8.7","pid":42,"started_at":1767323045000,"state_dir":"/var/lib/labelsyncd","generation":1,"reload_refused":null,"projects":[{"name":"cats","path":"/srv/cats","state":"ok","state_name":"ok","since":1767323045000,"reasons":[],"tasks":9,"foreign_tasks":3,"next_id":12,"quarantined":1,"conflicts":2,"holds":[],"source":{"url":"s3://labels","prefix":"in/","regex":".*\\.jpg","listed":12,"selected":9,"skipped":{"directory_marker":1,"regex":2},"progress":{"phase":"listing","done":7,"total":null},"poll":{"last_started_at":1767323045000,"last_success_at":1767323045000,"last_duration_ms":1200,"error":null,"failures":0,"next_at":null}},"target":{"url":"s3://results","prefix":"done","in_step":4,"pending":2,"oldest_pending_at":1767323045000,"unsettled":1,"target_missing":1,"last_push_at":null,"progress":null,"poll":{"last_started_at":1767323045000,"last_success_at":1767323045000,"last_duration_ms":1200,"error":null,"failures":0,"next_at":null}},"cycles":{"source_begun":5,"source_ended":5,"target_begun":5,"target_ended":5}}]}"#);
}

fn chunks(body: &str) -> String {
    body.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_closed_pipe_is_no_error() {
    let daemon = Daemon::start();
    let item = |id| Item { key: Some("k".repeat(500)), id: Some(id), state: "live".into(), ..Item::default() };
    *daemon.fake.items.lock().unwrap() = (0..5_000).map(item).collect();
    for json in ["--json", "--color=never"] {
        let mut command = daemon.command(&[json, "list"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 100]).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), err.as_str()), (Some(0), ""));
    }
    for verb in [&["status"][..], &["--help"], &["shell-completion", "bash"], &["pause"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = run_into(daemon.command(verb), writer);
        assert_eq!(ran, (Some(0), String::new()), "{verb:?}");
    }
    // A full disk is one.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, err) = run_into(daemon.command(&["status"]), full);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("error: cannot write the output: No space left on device"), "{err}");
}

fn run_into(mut command: std::process::Command, out: impl Into<Stdio>) -> (Option<i32>, String) {
    let child = command.stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn colours_only_where_they_are_wanted() {
    let daemon = Daemon::start();
    assert!(!daemon.ok(&["status"]).contains('\u{1b}'), "a pipe is no terminal");
    assert!(!daemon.ok(&["--color", "never", "status"]).contains('\u{1b}'));
    let out = daemon.ok(&["--color", "always", "status"]);
    assert!(out.contains("\u{1b}[32mok\u{1b}[0m"), "{out}");
}
