//! A ledger that is damaged, gone, or put back from a backup: the real programs keep every id.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, TEXT_CONFIG, until};

/// Tasks whose rows fill several pages of the ledger.
const TASKS: usize = 60;

fn object(n: usize) -> String {
    json!({"text": format!("{n} {}", "words ".repeat(40))}).to_string()
}

/// A project `cats` of JSON tasks, and one beside it that nothing happens to.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.project("cats", TEXT_CONFIG);
    rig.project("dogs", IMAGE_CONFIG);
    let json = "poll_interval = \"1s\"\nuse_blob_urls = false\n[";
    let cats = rig.local_project("cats", ".*").replace("poll_interval = \"1s\"\n[", json);
    let dogs = rig.local_project("dogs", "none").replace("\"done\"", "\"dogs\"");
    rig.settings(&(cats + &dogs));
    for n in 0..TASKS {
        // Listed in another order than that of their numbers, in two looks: ids follow neither.
        rig.put(&format!("{}.json", (n * 37) % TASKS), &object(n));
    }
    rig.start();
    rig.until_tasks(TASKS);
    rig.put("00 the last.json", &object(1_000));
    rig.until_tasks(TASKS + 1);
    until("the other project is well", PATIENCE, || (rig.status_of("dogs")["state"] == "ok").then_some(()));
    rig
}

/// The ledger of `cats`, by its marker.
fn ledger(rig: &Rig) -> PathBuf {
    let marker: serde_json::Value =
        serde_json::from_slice(&fs::read(rig.path("cats/labelsync.json")).expect("read")).expect("JSON");
    rig.path("state/ledgers").join(format!("{}.sqlite", marker["project"].as_str().expect("a UUID")))
}

/// Everything goes on as if nothing had happened: same ids, none twice, the next one after the highest.
fn goes_on(rig: &Rig, tasks: &std::collections::BTreeMap<u64, serde_json::Value>, new: &str) {
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks(), *tasks);
    rig.put(new, &object(2_000 + tasks.len()));
    let now = rig.until_tasks(tasks.len() + 1);
    assert!(tasks.iter().all(|(id, task)| now[id] == *task), "ids changed");
    assert_eq!(now.keys().next_back().copied(), tasks.keys().next_back().map(|id| id + 1));
}

pub fn l45_a_damaged_ledger_stops_its_project_and_is_rebuilt_with_the_same_ids() {
    let mut rig = rig();
    let saved = rig.label(7, "cat");
    rig.until_pushed(7, &saved);
    for words in [&["retry", "cats", "nope"][..], &["accept", "cats", "nope"]] {
        let unknown = rig.lsctl(words);
        assert_eq!(unknown.code, 2, "{}", unknown.out);
        assert!(unknown.err.contains("`nope`") && unknown.err.contains("hint: `lsctl "), "{}", unknown.err);
    }
    let refused = rig.lsctl(&["repair", "cats"]);
    assert!(refused.code != 0 && refused.err.contains("the ledger is whole"), "{}", refused.err);
    for (round, damage) in ["middle", "header", "cut"].into_iter().enumerate() {
        rig.stop();
        let (path, tasks) = (ledger(&rig), rig.tasks());
        let mut bytes = fs::read(&path).expect("read");
        match damage {
            "middle" => {
                // Some page of the table of tasks, and not the first.
                let half = bytes.len() / 2 / 4096 * 4096;
                bytes[half..half + 2 * 4096].fill(0x5a);
            }
            "header" => bytes[..512].fill(0),
            _ => bytes.truncate(bytes.len() / 2 / 4096 * 4096),
        }
        fs::write(&path, &bytes).expect("written");
        rig.start();
        let reason = rig.until_code("ledger_damaged");
        assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("`lsctl repair cats`")), "{reason}");
        assert_eq!(rig.status()["state"], "failed");
        until("the other project goes on", PATIENCE, || (rig.status_of("dogs")["state"] == "ok").then_some(()));
        assert_eq!(rig.tasks(), tasks, "nothing is touched");
        let said = rig.ok(&["repair", "cats"]);
        assert!(said.contains("is rebuilt"), "{said}");
        rig.until_status("ok", |status| status["state"] == "ok");
        goes_on(&rig, &tasks, &format!("after {round}.json"));
        assert_eq!(fs::read(rig.path("out/done/7")).expect("there"), saved);
        assert_eq!(rig.list("conflict"), Vec::<serde_json::Value>::new());
        let kept = fs::read_dir(path.parent().expect("in a directory")).expect("read");
        let kept = kept.filter(|entry| {
            let name = entry.as_ref().expect("read").file_name();
            name.to_string_lossy().contains(".damaged-")
        });
        assert!(kept.count() > round, "the damaged one is kept");
    }
}

pub fn l16_a_ledger_that_is_gone_is_no_project_without_tasks() {
    let mut rig = rig();
    for how in ["emptied", "gone"] {
        rig.kill();
        let (path, tasks) = (ledger(&rig), rig.tasks());
        for end in ["-wal", "-shm"] {
            fs::remove_file(path.with_extension(format!("sqlite{end}"))).ok();
        }
        if how == "emptied" {
            fs::write(&path, "").expect("written");
        } else {
            fs::remove_file(&path).expect("removed");
            // All of the daemon's state.
            fs::remove_dir_all(rig.path("state/projects")).expect("removed");
        }
        rig.start();
        rig.until_code("ledger_missing");
        assert_eq!(rig.tasks(), tasks, "nothing is touched");
        let said = rig.ok(&["repair", "cats"]);
        assert_eq!(said.contains("the old one is kept as"), how == "emptied", "{said}");
        goes_on(&rig, &tasks, &format!("{how}.json"));
    }
}

pub fn l17_a_backup_that_is_put_back_gives_no_id_again() {
    let mut rig = rig();
    let backup = rig.path("backup.sqlite");
    rig.ok(&["backup", &backup.display().to_string(), "--project", "cats"]);
    rig.put("later.json", &object(3_000));
    rig.put("3.json", &object(3_001));
    rig.until_tasks(TASKS + 2);
    // A daemon that is killed leaves its log beside the ledger, which is no log of the backup.
    for (newer, crash) in [(1, false), (2, true)] {
        assert_eq!(rig.sync(), 0);
        if crash {
            rig.kill();
        } else {
            rig.stop();
        }
        let tasks = rig.tasks();
        fs::copy(&backup, ledger(&rig)).expect("copied");
        rig.start();
        goes_on(&rig, &tasks, &format!("new-{newer}.json"));
        let told = format!("the ledger is a backup, or begun anew: {newer} tasks are newer");
        assert!(rig.log().contains(&told), "{}", rig.log());
    }
}

/// Not by `lsctl backup`: `cp` while the daemon stood still. Nothing in the file says that it is an old one.
pub fn l17_an_old_file_that_is_put_back_gives_no_id_again() {
    let mut rig = rig();
    rig.stop();
    let kept = rig.path("kept.sqlite");
    fs::copy(ledger(&rig), &kept).expect("copied");
    rig.start();
    rig.put("later.json", &object(3_000));
    rig.until_tasks(TASKS + 2);
    let id = *rig.tasks().keys().next_back().expect("tasks");
    let saved = rig.label(id, "cat");
    rig.until_pushed(id, &saved);
    assert_eq!(rig.sync(), 0);
    rig.stop();
    let tasks = rig.tasks();
    for end in ["-wal", "-shm"] {
        fs::remove_file(ledger(&rig).with_extension(format!("sqlite{end}"))).ok();
    }
    fs::copy(&kept, ledger(&rig)).expect("copied");
    rig.start();
    goes_on(&rig, &tasks, "new.json");
    assert_eq!(fs::read(rig.path("out/done").join(id.to_string())).expect("there"), saved);
    assert_eq!(rig.list("conflict"), Vec::<serde_json::Value>::new());
    assert!(rig.log().contains("1 tasks are newer than the ledger and keep their ids"), "{}", rig.log());
}

/// Without a restart: a state directory that somebody tidied, a disk that was replaced.
pub fn l45_a_ledger_that_vanishes_while_it_is_used_is_rebuilt_with_the_same_ids() {
    let rig = rig();
    let (path, tasks) = (ledger(&rig), rig.tasks());
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{end}", path.display())).expect("removed");
    }
    rig.until_code("ledger_missing");
    rig.put("meanwhile.json", &object(3_000));
    let repaired = rig.ok(&["repair", "cats"]);
    assert!(repaired.contains("rebuilt"), "{repaired}");
    let now = rig.until_tasks(TASKS + 2);
    assert!(tasks.iter().all(|(id, task)| now[id] == *task), "ids changed");
    assert_eq!(rig.status_of("dogs")["state"], "ok");
}

/// The daemon would go on writing into the one that has no name any more, and read from the other.
pub fn l17_a_backup_that_is_put_back_while_it_is_used_gives_no_id_again() {
    let rig = rig();
    let backup = rig.path("backup.sqlite");
    rig.ok(&["backup", &backup.display().to_string(), "--project", "cats"]);
    for n in 0..5 {
        rig.put(&format!("after-{n}.json"), &object(3_000 + n));
    }
    let tasks = rig.until_tasks(TASKS + 6);
    let saved = rig.label(TASKS as u64 + 3, "cat");
    rig.until_pushed(TASKS as u64 + 3, &saved);
    fs::rename(&backup, ledger(&rig)).expect("put back");
    until("it is noticed", PATIENCE, || rig.log().contains("the ledger is a backup, or begun anew").then_some(()));
    rig.until_status("ok", |status| status["state"] == "ok");
    goes_on(&rig, &tasks, "the next.json");
    assert_eq!(fs::read(rig.path(&format!("out/done/{}", TASKS + 3))).expect("read"), saved);
}

/// Its rows would name tasks that this project never had, and its own would get ids a second time.
pub fn l16_the_ledger_of_another_project_is_refused() {
    let mut rig = rig();
    let tasks = rig.tasks();
    let backup = rig.path("dogs.sqlite");
    rig.ok(&["backup", &backup.display().to_string(), "--project", "dogs"]);
    rig.stop();
    let (path, aside) = (ledger(&rig), rig.path("aside.sqlite"));
    fs::rename(&path, &aside).expect("moved");
    fs::copy(&backup, &path).expect("copied");
    rig.start();
    let reason = rig.until_code("ledger_foreign");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("lsctl repair cats")), "{reason}");
    assert_eq!(rig.tasks(), tasks);
    fs::rename(&aside, &path).expect("put back");
    rig.until_status("ok", |status| status["state"] == "ok");
    goes_on(&rig, &tasks, "the next.json");
}
