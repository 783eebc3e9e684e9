//! Settings that change while the daemon runs, and what lasts over its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::double::{Double, Reaction, answer};
use crate::support::environment;
use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, tasks_of, until};

fn two_objects(regex: &str) -> Rig {
    let rig = Rig::local(regex);
    rig.put("a.png", "a picture");
    rig.put("b.jpg", "a picture");
    rig
}

fn until_said(rig: &Rig, words: &str) {
    until(words, PATIENCE, || rig.ok(&["events"]).contains(words).then_some(()));
}

pub fn l56_a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let mut rig = two_objects(r".*\.png");
    rig.start();
    rig.until_tasks(1);
    let pid = rig.pid();

    rig.settings(&rig.local_project("cats", ".*"));
    rig.signal(Signal::HUP);
    rig.until_tasks(2);
    until_said(&rig, "settings read again: projects: 0 started, 0 stopped, 1 changed");

    // Bad: the old ones stay, and every problem is said.
    rig.settings(&(rig.local_project("cats", "(") + "on_deletedd = \"keep\"\n"));
    rig.signal(Signal::HUP);
    for problem in ["projects.cats.source.regex: ", "projects.cats.target.on_deletedd: "] {
        until(problem, PATIENCE, || {
            let events = rig.ok(&["events", "--since", "0"]);
            events.contains(problem).then_some(())
        });
    }
    assert!(rig.log().contains("ERROR projects.cats.source.regex: "), "the log says it too");
    let refused = rig.lsctl(&["reload"]);
    assert_eq!(refused.code, 7, "{}", refused.err);
    for words in ["nothing was changed", "projects.cats.source.regex", "projects.cats.target.on_deletedd"] {
        assert!(refused.err.contains(words), "{}", refused.err);
    }
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks().len(), 2, "the old settings are in force");

    rig.settings(&rig.local_project("cats", r".*\.jpg"));
    assert_eq!(rig.ok(&["reload"]), "settings read again: projects: 0 started, 0 stopped, 1 changed\n");
    rig.until_tasks(1);
    assert_eq!(rig.tasks().keys().next(), Some(&1), "under its old id");
    assert_eq!(rig.pid(), pid);
}

/// The keys of one page of a bucket with two.
pub fn page(keys: [&str; 2], next: Option<&str>) -> Reaction {
    let more = next.map_or("<IsTruncated>false</IsTruncated>".to_owned(), |next| {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>")
    });
    let objects =
        keys.map(|key| format!("<Contents><Key>{key}</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"));
    let xml = format!("<ListBucketResult><Name>bucket</Name>{more}{}</ListBucketResult>", objects.concat());
    answer("200 OK", "Content-Type: application/xml\r\n", &xml)
}

/// Promises 15, 52: however often it is asked, and while the timer runs, one listing has ended before the next one begins.
pub fn l15_l52_looks_never_overlap() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let double = runtime.block_on(Double::start(move |_, request| {
        if !request.line.contains("continuation-token=second") {
            return page(["1-a.png", "1-b.png"], Some("second"));
        }
        // Another one would come in between.
        std::thread::sleep(Duration::from_millis(20));
        page(["2-a.png", "2-b.png"], None)
    }));
    let mut rig = Rig::new();
    rig.environment = environment();
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&from_double(&rig, &double, ".*"));
    rig.start();
    rig.until_tasks(4);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(rig.lsctl(&["sync", "cats"]).code, 0));
        }
    });
    assert_eq!(rig.sync(), 0);
    // What is asked for beside the first page is the same listing's.
    let requests = double.requests();
    let in_order = requests.iter().filter(|request| !request.line.contains("start-after="));
    let begins: Vec<bool> = in_order.map(|request| !request.line.contains("token=second")).collect();
    assert!(begins.len() >= 4, "it was looked at again");
    assert!(begins.chunks(2).all(|both| both[0] && both.get(1) != Some(&true)), "{begins:?}");
}

/// A project whose source is the double's bucket.
pub fn from_double(rig: &Rig, double: &Double, regex: &str) -> String {
    format!(
        "[projects.cats]\npath = \"{}/cats\"\nlabel_studio_has_credentials = true\n\
         [projects.cats.source]\ntype = \"s3\"\nbucket = \"bucket\"\nendpoint = \"{}\"\nallow_http = true\n\
         poll_interval = \"1s\"\nregex = '{regex}'\n",
        rig.dir.path().display(),
        double.endpoint()
    )
}

/// Promise 56: the second page comes after the change was acknowledged, and is judged as the first one was. The ids tell:
/// each cycle gives the next ones to what it takes.
pub fn l56_a_change_during_a_listing_waits_for_its_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (asked, changed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (asks, goes_on) = (asked.clone(), changed.clone());
    let double = runtime.block_on(Double::start(move |_, request| {
        if !request.line.contains("continuation-token=second") {
            return page(["1-a.png", "1-b.png"], Some("second"));
        }
        asks.store(true, Ordering::Relaxed);
        until("the change", PATIENCE, || goes_on.load(Ordering::Relaxed).then_some(()));
        page(["2-a.png", "2-b.png"], None)
    }));
    let mut rig = Rig::new();
    rig.environment = environment();
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&from_double(&rig, &double, ".-a.png"));
    rig.start();
    until("the second page", PATIENCE, || asked.load(Ordering::Relaxed).then_some(()));
    std::thread::scope(|scope| {
        // It says what the next cycle will do, and lists for that too.
        let rig = &rig;
        let change = scope.spawn(move || rig.lsctl(&["set-source", "cats", "--regex", ".-b.png"]));
        until("the change is in force", PATIENCE, || rig.ok(&["show", "cats"]).contains(".-b.png").then_some(()));
        changed.store(true, Ordering::Relaxed);
        let change = change.join().expect("it ended");
        assert_eq!(change.code, 0, "{}{}", change.out, change.err);
    });
    let urls = || rig.tasks().into_iter().map(|(id, task)| (id, task["data"]["image"].clone())).collect::<Vec<_>>();
    let wanted = [(2, json!("s3://bucket/1-b.png")), (3, json!("s3://bucket/2-b.png"))];
    until("the second cycle", PATIENCE, || (rig.sync() == 0 && urls().iter().all(|(id, _)| *id > 1)).then_some(()));
    assert_eq!(urls(), wanted, "0 and 1 are what the first cycle took");
}

pub fn a_reload_starts_and_stops_projects() {
    let mut rig = two_objects(".*");
    rig.start();
    rig.until_tasks(2);
    rig.project("dogs", IMAGE_CONFIG);
    let both = rig.local_project("cats", ".*") + &rig.local_project("dogs", ".*").replace("\"done\"", "\"dogs\"");
    rig.settings(&both);
    assert_eq!(rig.ok(&["reload"]), "settings read again: projects: 1 started, 0 stopped, 0 changed\n");
    until("the second project's tasks", PATIENCE, || (tasks_of(&rig.path("dogs")).len() == 2).then_some(()));
    let which = rig.lsctl(&["pause"]);
    assert_eq!(which.code, 2);
    assert!(which.err.contains("cats, dogs"), "{}", which.err);

    rig.settings(&rig.local_project("cats", ".*"));
    assert_eq!(rig.ok(&["reload"]), "settings read again: projects: 0 started, 1 stopped, 0 changed\n");
    assert_eq!(rig.lsctl(&["status", "dogs"]).code, 2);
    rig.put("c.png", "a picture");
    rig.until_tasks(3);
    assert_eq!(tasks_of(&rig.path("dogs")).len(), 2, "it is left alone, as it is");

    // Back again: the ids that it had.
    rig.settings(&both);
    rig.ok(&["reload"]);
    until("the third task", PATIENCE, || (tasks_of(&rig.path("dogs")).len() == 3).then_some(()));
    let events = rig.ok(&["events"]);
    assert!(!events.contains("another daemon"), "it was this one's own lock at most: {events}");
}

/// What a reload says is said at once, not at the next change.
pub fn a_reload_takes_a_reminder_away_and_brings_it_back() {
    let mut rig = Rig::new();
    rig.environment.push(("AWS_ACCESS_KEY_ID", "a-key".to_owned()));
    rig.environment.push(("AWS_SECRET_ACCESS_KEY", "a-secret".to_owned()));
    rig.project("cats", IMAGE_CONFIG);
    let settings = |has: bool| {
        format!(
            "[projects.cats]\npath = \"{}\"\nlabel_studio_has_credentials = {has}\n[projects.cats.source]\n\
             type = \"s3\"\nbucket = \"the-source\"\nendpoint = \"http://127.0.0.1:1\"\nallow_http = true\n",
            rig.path("cats").display()
        )
    };
    let [without, with] = [false, true].map(settings);
    rig.settings(&without);
    rig.start();
    let reminds = |rig: &Rig| rig.ok(&["status"]).contains("label_studio_needs_credentials");
    assert!(reminds(&rig));
    for (settings, expected) in [(&with, false), (&without, true), (&with, false)] {
        rig.settings(settings);
        rig.ok(&["reload"]);
        assert_eq!(reminds(&rig), expected);
    }
}

pub fn pause_lasts_over_a_restart() {
    let mut rig = two_objects(".*");
    rig.start();
    rig.until_tasks(2);
    assert_eq!(rig.ok(&["pause"]), "cats is paused\n");
    rig.kill();
    rig.put("c.png", "a picture");
    rig.start();
    assert_eq!(rig.status()["state"], "paused");
    assert_eq!(rig.sync(), 7, "there is nothing to wait for");
    let saved = rig.label(0, "cat");
    // Three polls.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(rig.tasks().len(), 2);
    assert!(!rig.path("out/done/0").exists());
    assert_eq!(rig.ok(&["resume"]), "cats is resumed\n");
    rig.until_tasks(3);
    rig.until_pushed(0, &saved);
    rig.until_status("ok", |status| status["state"] == "ok");
    rig.kill();
    rig.start();
    rig.until_status("ok after a restart", |status| status["state"] == "ok");
}

pub fn l55_a_change_is_durable_when_it_is_acknowledged() {
    let mut rig = two_objects(".*");
    rig.start();
    let regexes = [r".*\.png", r".*\.jpg", ".*", "nothing", r"[ab]\.(png|jpg)"];
    for regex in regexes {
        rig.ok(&["set-source", "--regex", regex, "--poll-interval", "2s"]);
        rig.kill();
        rig.start();
        let shown = rig.json(&["show"]);
        let setting = |key: &str| {
            let settings = shown["settings"].as_array().expect("a list");
            settings.iter().find(|setting| setting["key"] == key).expect("shown").clone()
        };
        assert_eq!(setting("source.regex")["value"], regex);
        assert_eq!(setting("source.regex")["origin"], "lsctl");
        assert_eq!(setting("source.poll_interval")["origin"], "lsctl");
    }
    rig.until_tasks(2);
    assert_eq!(rig.sync(), 0);
    let ids: Vec<u64> = rig.tasks().into_keys().collect();
    assert_eq!(ids, [0, 1], "nothing is renumbered");

    // An invalid value, and a dry run, leave the old one in force.
    let invalid = rig.lsctl(&["set-source", "--regex", "("]);
    assert_eq!(invalid.code, 2);
    assert!(invalid.err.contains("source.regex"), "{}", invalid.err);
    rig.ok(&["set-source", "--regex", "nothing", "--dry-run"]);
    rig.kill();
    rig.start();
    assert!(rig.ok(&["show"]).contains(r"[ab]\\.(png|jpg)"));
    rig.ok(&["reset", "source.regex"]);
    assert!(!rig.ok(&["show"]).contains(r"[ab]"));
}

pub fn events_and_log_hold_each_thing_once_in_the_same_words() {
    let mut rig = two_objects(".*");
    rig.put("c\n<0>forged ERROR line.png", "a picture");
    rig.start();
    rig.until_tasks(3);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    // Python's `.` is no newline.
    rig.ok(&["set-source", "--regex", r".*\.png"]);
    rig.until_tasks(1);
    rig.ok(&["set-source", "--regex", ".*"]);
    rig.until_tasks(3);
    rig.ok(&["pause"]);
    assert_eq!(rig.ok(&["pause"]), "cats was paused already\n");
    rig.ok(&["resume"]);
    assert_eq!(rig.sync(), 0);

    let lines = rig.ok(&["--json", "events"]);
    let events: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        *told.entry(event["message"].as_str().expect("text").to_owned()).or_default() += 1;
    }
    for once in
        ["+ task 0 <- a.png", "+ task 1 <- b.jpg", "> completion 0", "paused by an operator", "resumed by an operator"]
    {
        assert_eq!(told.get(once), Some(&1), "{once}: {told:#?}");
    }
    assert_eq!(told[r"+ task 2 <- c\n<0>forged ERROR line.png"], 1);
    assert_eq!(told["- task 1 <- b.jpg (deselected, id kept)"], 1);
    assert_eq!(told["+ task 1 <- b.jpg (back under its id)"], 1);
    assert!(told.contains_key(r#"source.regex: ".*" → ".*\\.png""#), "{told:#?}");
    let log = rig.log();
    assert_eq!(log.lines().count(), events.len(), "each event is one line, and nothing else is said:\n{log}");
    for (message, count) in &told {
        let line = |line: &&str| [" project=", " kind="].iter().any(|next| line.contains(&format!(" {message}{next}")));
        let lines = log.lines().filter(line).count();
        assert_eq!(lines, *count, "{message}\n{log}");
    }
    let people = rig.ok(&["events"]);
    assert_eq!(people.lines().count(), events.len());
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].clone()).collect();
    assert_eq!(seqs, (1..=events.len()).map(|seq| json!(seq)).collect::<Vec<_>>());
}

/// What is in force is not lost with the directory that keeps it.
pub fn l55_runtime_changes_whose_directory_was_removed_are_written_again() {
    let mut rig = Rig::with_tasks(1);
    let regex = |rig: &Rig| rig.json(&["show", "--json", "cats"]).to_string().contains(r#""a\\.png""#);
    rig.ok(&["set-source", "cats", "--regex", r"a\.png"]);
    let dir = rig.path("state/overrides");
    std::fs::remove_dir_all(&dir).expect("removed");
    rig.ok(&["set-target", "cats", "--on-deleted", "delete"]);
    assert!(dir.join("cats.toml").exists() && rig.ok(&["events"]).contains("it is written again"));
    std::fs::remove_dir_all(&dir).expect("removed");
    rig.ok(&["reload"]);
    assert!(regex(&rig), "a reload reads what is kept");
    rig.stop();
    rig.start();
    assert!(regex(&rig) && rig.ok(&["show", "cats"]).contains("delete"), "{}", rig.ok(&["show", "cats"]));
    // With the state directory gone nothing can be kept, and that is said.
    std::fs::rename(rig.path("state"), rig.path("away")).expect("moved");
    let refused = rig.lsctl(&["set-source", "cats", "--regex", ".*"]);
    std::fs::rename(rig.path("away"), rig.path("state")).expect("moved back");
    assert!(refused.code == 1 && refused.err.contains("the state directory is gone"), "{}", refused.err);
    rig.ok(&["set-source", "cats", "--regex", ".*"]);
}
