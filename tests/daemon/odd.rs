//! What stands in a project directory and is not what it should be.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::rig::{PATIENCE, Rig, exchange, in_time, until, write};

/// Once each of some ten looks a second doubled the wait for the bucket: a minute went by after it was mended.
pub fn l31_a_pipe_in_the_place_of_tasks_json_is_named_and_heals_at_once() {
    let rig = Rig::with_tasks(1);
    let (tasks, aside) = (rig.path("cats/tasks.json"), rig.path("aside"));
    mkfifoat(CWD, &aside, Mode::from_raw_mode(0o644)).expect("made");
    exchange(&tasks, &aside);
    rig.put("new.png", "a picture");
    rig.until_code("not_a_file");
    until("some failures", PATIENCE, || (rig.metric("labelsyncd_errors_total") >= 10.0).then_some(()));
    exchange(&tasks, &aside);
    until("the new task", in_time(Duration::from_secs(20)), || (rig.tasks().len() == 2).then_some(()));
    rig.until_status("ok", |status| status["state"] == "ok");
}

/// Label Studio opens a file for writing and dies: nothing follows.
pub fn l20_a_completion_that_stays_empty_or_torn_is_listed_as_unsettled() {
    let rig = Rig::with_tasks(3);
    write(&rig.path("cats/completions/0.json"), "");
    write(&rig.path("cats/completions/1.json"), "{\"completions\": [{");
    let good = rig.label(2, "cat");
    rig.until_pushed(2, &good);
    rig.until_status("unsettled", |status| status["target"]["unsettled"] == 2);
    let items = rig.list("pending");
    assert!(items.iter().all(|item| item["state"] == "unsettled" && item["reason"] == "unsettled"), "{items:?}");
    assert!(!rig.path("out/done/0").exists() && !rig.path("out/done/1").exists());
    for id in [0, 1] {
        let whole = rig.label(id, "cat");
        rig.until_pushed(id, &whole);
    }
    rig.until_status("ok", |status| status["target"]["unsettled"] == 0 && status["target"]["pending"] == 0);
}

pub fn l31_a_link_or_directory_in_the_place_of_tasks_json_is_named_and_heals() {
    let rig = Rig::with_tasks(1);
    let (tasks, aside) = (rig.path("cats/tasks.json"), rig.path("aside"));
    for (n, link) in [true, false].into_iter().enumerate() {
        if link {
            // To where the file is then.
            std::os::unix::fs::symlink(&aside, &aside).expect("made");
        } else {
            std::fs::create_dir(&aside).expect("made");
        }
        exchange(&tasks, &aside);
        let before = std::fs::read(&aside).expect("read");
        rig.put(&format!("new-{n}.png"), "a picture");
        rig.until_code("not_a_file");
        assert_ne!(rig.sync(), 0);
        assert_eq!(std::fs::read(&aside).expect("read"), before, "a link is not followed");
        assert_eq!(std::fs::symlink_metadata(&tasks).expect("there").is_symlink(), link, "nor replaced");
        exchange(&tasks, &aside);
        if link {
            std::fs::remove_file(&aside).expect("removed");
        } else {
            std::fs::remove_dir(&aside).expect("removed");
        }
        rig.until_tasks(n + 2);
        rig.until_status("ok", |status| status["state"] == "ok");
    }
}

/// With `on_deleted = "delete"`: what is taken for a deletion is seen in the target.
pub fn l31_what_is_no_file_in_the_place_of_a_completion_is_left_alone_and_no_deletion() {
    let rig = Rig::with_tasks(4);
    write(&rig.config(), &(std::fs::read_to_string(rig.config()).expect("read") + "on_deleted = \"delete\"\n"));
    rig.ok(&["reload"]);
    let saved: Vec<Vec<u8>> = (0..4).map(|id| rig.label(id, "cat")).collect();
    (0..4).for_each(|id| rig.until_pushed(id, &saved[id as usize]));
    rig.until_status("receipts", |status| status["target"]["in_step"] == 4);
    let file = |id: u64| rig.path("cats/completions").join(format!("{id}.json"));
    let secret = rig.path("secret");
    std::fs::write(&secret, rig.label(3, "dog")).expect("written");
    for id in 0..3 {
        let odd = rig.path(&format!("odd-{id}"));
        match id {
            0 => std::os::unix::fs::symlink(&secret, &odd).expect("made"),
            1 => mkfifoat(CWD, &odd, Mode::from_raw_mode(0o644)).expect("made"),
            _ => std::fs::create_dir(&odd).expect("made"),
        }
        exchange(&odd, &file(id));
    }
    // A deletion that is one: what was taken for another went with it.
    std::fs::remove_file(file(3)).expect("removed");
    until("the deletion in the target", PATIENCE, || (!rig.path("out/done/3").exists()).then_some(()));
    assert_eq!(rig.sync(), 0);
    for id in 0..3 {
        let object = std::fs::read(rig.path("out/done").join(id.to_string()));
        assert_eq!(object.ok().as_ref(), Some(&saved[id as usize]), "{id} is no deletion, and nothing was followed");
    }
    std::fs::remove_file(file(0)).expect("removed");
    std::fs::remove_file(file(1)).expect("removed");
    std::fs::remove_dir(file(2)).expect("removed");
    for id in 0..3 {
        let whole = rig.label(id, "dog");
        rig.until_pushed(id, &whole);
    }
    rig.until_status("ok", |status| status["state"] == "ok" && status["conflicts"] == 0);
}

/// Promise 33: also over a restart; told once.
pub fn l33_one_bad_object_and_one_bad_file_stop_nothing_and_do_not_loop() {
    const COUNT: usize = 300;
    let mut rig = Rig::local(".*");
    let json = "poll_interval = \"1s\"\nuse_blob_urls = false\n[";
    rig.settings(&rig.local_project("cats", ".*").replace("poll_interval = \"1s\"\n[", json));
    for n in 0..=COUNT {
        let body = serde_json::json!({"image": format!("https://example.org/{n}.png")}).to_string();
        rig.put(&format!("{n:04}.json"), if n == COUNT / 2 { "{broken" } else { &body });
    }
    rig.start();
    rig.until_tasks(COUNT);
    let saved: Vec<(u64, Vec<u8>)> =
        rig.tasks().keys().filter(|id| **id != 7).map(|id| (*id, rig.label(*id, "cat"))).collect();
    write(&rig.path("cats/completions/7.json"), "{\"id\": 7, \"completions\": \"none\", \"data\": {}}");
    saved.iter().for_each(|(id, bytes)| rig.until_pushed(*id, bytes));
    for restarted in [false, true] {
        if restarted {
            rig.kill();
            rig.start();
        }
        rig.put(&format!("9{restarted}.json"), "{\"image\": \"https://example.org/more.png\"}");
        rig.until_tasks(COUNT + 1 + usize::from(restarted));
        let again = rig.label(3, if restarted { "cat" } else { "dog" });
        rig.until_pushed(3, &again);
        rig.until_status("two in quarantine", |status| status["quarantined"] == 2);
        assert_eq!((rig.sync(), rig.sync()), (0, 0));
        assert!(!rig.path("out/done/7").exists());
    }
    let told = rig.log().lines().filter(|line| line.contains("quarantine")).count();
    assert_eq!(told, 2, "once each: {}", rig.log());
}

/// Nothing follows the last id that there is: one stray number must not end a project.
pub fn c05_an_id_that_nobody_could_have_given_does_not_move_the_next_one() {
    let mut rig = Rig::with_tasks(2);
    let last = i64::MAX;
    let stray = |path: &str, text: &str| write(&rig.path(path), text);
    std::fs::create_dir_all(rig.path("out/done")).expect("made");
    stray(&format!("out/done/{last}"), "{}");
    stray(&format!("cats/completions/{last}.json"), "{}");
    stray("cats/source.json", &format!("{{\"{last}\": {{\"key\": \"cats/tasks.json/{last}\"}}}}"));
    let tasks = std::fs::read_to_string(rig.path("cats/tasks.json")).expect("read");
    let (before, _) = tasks.trim_end().rsplit_once('}').expect("a map");
    stray("cats/tasks.json", &format!("{before}, \"{last}\": {{\"id\": {last}, \"data\": {{\"image\": \"x\"}}}}}}"));
    rig.put("new.png", "a picture");
    let tasks = rig.until_tasks(4);
    assert_eq!(tasks.keys().copied().collect::<Vec<_>>(), [0, 1, 2, last.cast_unsigned()]);
    assert_eq!(tasks[&last.cast_unsigned()]["data"]["image"], "x", "what is not ours stays");
    rig.stop();
    rig.start();
    rig.put("newer.png", "a picture");
    assert!(rig.until_tasks(5).contains_key(&3));
    rig.until_status("ok", |status| (&status["state"], &status["next_id"]) == (&"ok".into(), &4.into()));
}

/// A completion that was renamed to another task's number, and put back.
pub fn l33_a_quarantined_file_that_is_gone_is_not_listed_any_more() {
    let rig = Rig::with_tasks(2);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    let file = |id: u64| rig.path(&format!("cats/completions/{id}.json"));
    std::fs::rename(file(0), file(1)).expect("renamed");
    until("it is quarantined", PATIENCE, || (rig.list("quarantined").len() == 1).then_some(()));
    std::fs::rename(file(1), file(0)).expect("put back");
    until("it is not any more", PATIENCE, || rig.list("quarantined").is_empty().then_some(()));
    let saved = rig.label(1, "dog");
    rig.until_pushed(1, &saved);
    let saved = rig.label(0, "dog");
    rig.until_pushed(0, &saved);
}

/// It is tried again every few seconds, with another name each time: for days, where a disk is full.
pub fn l38_a_project_that_cannot_be_begun_leaves_nothing_behind() {
    let mut rig = Rig::local(".*");
    rig.put("0.png", "a picture");
    // 20 or 40 KiB a file, by the shell: less than a ledger takes.
    rig.spawn_under(&["sh", "-c", "ulimit -f 40; exec \"$@\"", "sh"]);
    rig.until_answer();
    rig.until_code("ledger_error");
    until("it was tried again", PATIENCE, || (rig.metric("labelsyncd_errors_total") >= 2.0).then_some(()));
    let left = || std::fs::read_dir(rig.path("state/ledgers")).expect("read").count();
    // Between two tries.
    until("nothing is left", PATIENCE, || (left() == 0).then_some(()));
    rig.stop();
    rig.start();
    rig.until_tasks(1);
}

/// A pipe into a program that hangs, a terminal that is held.
pub fn l39_a_log_that_nobody_reads_stops_nothing() {
    let rig = Rig::local(".*");
    let config = rig.config().display().to_string();
    let mut daemon = rig.labelsyncd(&["--config", &config]).stderr(Stdio::piped()).spawn().expect("it starts");
    // Each is a line: more than a pipe holds.
    for n in 0..1_000 {
        rig.put(&format!("{n}.png"), "a picture");
    }
    rig.until_tasks(1_000);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    rig.put("new.png", "a picture");
    rig.until_tasks(1_001);
    let mut read = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    let mut line = || read.next().expect("it goes on").expect("text");
    while !line().contains("+ task 2") {}
    rig.put("newer.png", "a picture");
    while !line().contains("lines of this log were not read, and are lost") {}
    while !line().contains("+ task 1001 <- newer.png") {}
    let pid = Pid::from_child(&daemon);
    kill_process(pid, Signal::TERM).expect("sent");
    assert!(daemon.wait().expect("it ends").success());
}
