//! Looks that must not be believed: missing directories, empty listings, many things gone at once.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, completion, until, write};

/// More than two polls of these rigs and than the look at the project's identity: enough for what must not happen.
const A_WHILE: Duration = Duration::from_secs(4);

/// A completion is in the target, and would be deleted there with its file.
fn with_a_pushed_completion() -> (Rig, Vec<u8>) {
    let rig = with_objects(2, "");
    let settings = std::fs::read_to_string(rig.config()).expect("read");
    write(&rig.config(), &(settings + "on_deleted = \"delete\"\n"));
    rig.ok(&["reload"]);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    (rig, saved)
}

fn with_objects(count: usize, more: &str) -> Rig {
    let keys: Vec<String> = (0..count).map(|n| format!("{n:02}.png")).collect();
    with_keys(&keys, more)
}

fn with_keys(keys: &[String], more: &str) -> Rig {
    let mut rig = Rig::local(".*");
    rig.settings(
        &(rig
            .local_project("cats", ".*")
            .replace("poll_interval = \"1s\"\n[", &format!("poll_interval = \"1s\"\n{more}["))),
    );
    for key in keys {
        rig.put(key, "a picture");
    }
    rig.start();
    rig.until_tasks(keys.len());
    rig
}

/// Objects that are tasks themselves.
fn with_json_tasks(count: usize) -> Rig {
    let mut rig = Rig::local(".*");
    let settings = rig.local_project("cats", ".*");
    rig.settings(&settings.replace("poll_interval = \"1s\"\n[", "poll_interval = \"1s\"\nuse_blob_urls = false\n["));
    for n in 0..count {
        rig.put(&format!("{n:02}.json"), &json!({"image": format!("https://example.org/{n}.png")}).to_string());
    }
    rig.start();
    rig.until_tasks(count);
    rig
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.map(|entry| entry.expect("read").file_name().into_string().expect("UTF-8")).collect())
        .unwrap_or_default();
    names.sort();
    names
}

pub fn l08_a_project_directory_that_is_missing_is_waited_for() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    std::fs::rename(rig.path("cats"), rig.path("elsewhere")).expect("moved");
    rig.start();
    let reason = rig.until_code("directory_missing");
    assert!(
        reason["message"].as_str().is_some_and(|text| text.contains(&rig.path("cats").display().to_string())),
        "{reason}"
    );
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("mounted")), "{reason}");
    assert_eq!(rig.status()["state"], "failed");
    assert_eq!(rig.lsctl(&["health"]).code, 7);
    std::fs::rename(rig.path("elsewhere"), rig.path("cats")).expect("moved");
    rig.until_tasks(1);
    rig.until_status("ok", |status| status["state"] == "ok" && status["reasons"] == json!([]));
}

pub fn l08_without_its_marker_nothing_is_written_or_pushed() {
    let mut rig = with_objects(2, "");
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    let project = rig.path("cats");
    std::fs::rename(project.join("labelsync.json"), rig.path("marker")).expect("moved");
    let before = std::fs::read(project.join("tasks.json")).expect("read");
    rig.put("new.png", "a picture");
    rig.label(1, "dog");
    let held = rig.until_code("project_reinitialised");
    assert!(held["message"].as_str().is_some_and(|text| text.contains("has lost its marker")), "{held}");
    let shown = rig.ok(&["status"]);
    assert!(shown.contains("`lsctl accept cats "), "it names the command to go on: {shown}");
    assert_eq!(rig.status()["state"], "held");
    std::thread::sleep(A_WHILE);
    let untouched = |rig: &Rig| {
        assert_eq!(std::fs::read(rig.path("cats/tasks.json")).expect("read"), before);
        assert!(!rig.path("cats/labelsync.json").exists(), "never made again by itself");
        assert_eq!(names(&rig.path("out/done")), ["0"]);
    };
    untouched(&rig);
    rig.kill();
    rig.start();
    rig.until_code("project_reinitialised");
    untouched(&rig);

    // Restored: it goes on by itself.
    std::fs::rename(rig.path("marker"), rig.path("cats/labelsync.json")).expect("moved");
    rig.until_tasks(3);
    until("the push", PATIENCE, || rig.path("out/done/1").exists().then_some(()));
    rig.until_status("ok", |status| status["state"] == "ok");
}

pub fn l08_an_empty_directory_in_its_place_is_not_the_project() {
    let (rig, saved) = with_a_pushed_completion();
    std::fs::rename(rig.path("cats"), rig.path("elsewhere")).expect("moved");
    std::fs::create_dir(rig.path("cats")).expect("made");
    rig.put("new.png", "a picture");
    rig.until_code("project_reinitialised");
    std::thread::sleep(A_WHILE);
    assert_eq!(names(&rig.path("cats")), Vec::<String>::new(), "nothing is written into it");
    assert_eq!(std::fs::read(rig.path("out/done/0")).expect("there"), saved, "its completions were not deleted");

    std::fs::remove_dir(rig.path("cats")).expect("empty");
    std::fs::rename(rig.path("elsewhere"), rig.path("cats")).expect("moved");
    rig.until_tasks(3);
    assert_eq!(rig.sync(), 0);
    assert_eq!(std::fs::read(rig.path("out/done/0")).expect("there"), saved);
    assert_eq!(std::fs::read(rig.path("cats/completions/0.json")).expect("there"), saved);
}

pub fn l03_a_mass_removal_is_held_until_it_is_accepted() {
    // Fifteen that go at once: those of a directory.
    let keys: Vec<String> = (0..20).map(|n| format!("{}{n:02}.png", if n < 15 { "0-old/" } else { "" })).collect();
    let rig = with_keys(&keys, "on_removed = \"hide\"\n");
    let (old, aside) = (rig.path("in/0-old"), rig.path("aside"));
    let all = rig.tasks();
    std::fs::rename(&old, &aside).expect("moved");
    let held = rig.until_code("mass_removal");
    let message = held["message"].as_str().expect("text");
    assert!(message.contains("15 of 20"), "{message}");
    // New objects wait too, and the held look is the one that is accepted.
    rig.put("new.png", "a picture");
    assert_eq!(rig.sync(), 7);
    std::thread::sleep(A_WHILE / 2);
    assert_eq!(rig.tasks(), all, "nothing is hidden or added");
    let wrong = rig.lsctl(&["accept", "cats", "0123abcd"]);
    assert_eq!(wrong.code, 2, "{}", wrong.out);
    let id = rig.until_code("mass_removal")["id"].as_str().expect("an id").to_owned();
    rig.ok(&["accept", "cats", &id]);
    let left = rig.until_tasks(6);
    let ids: Vec<u64> = left.into_keys().collect();
    assert_eq!(ids, [15, 16, 17, 18, 19, 20]);

    // They come back under their ids.
    std::fs::rename(&aside, &old).expect("moved");
    let back = rig.until_tasks(21);
    assert!(all.iter().all(|(id, task)| back[id] == *task));
    rig.until_status("ok", |status| status["state"] == "ok");
}

pub fn l07_another_bucket_with_the_same_keys_is_held() {
    use std::os::unix::fs::PermissionsExt;

    let rig = with_json_tasks(20);
    let all = rig.tasks();
    // The same contents under another mode are no others.
    for n in 0..20 {
        let file = rig.path("in").join(format!("{n:02}.json"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
    }
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.status()["holds"], json!([]));

    std::fs::rename(rig.path("in"), rig.path("old")).expect("moved");
    std::fs::create_dir(rig.path("other")).expect("made");
    for n in 0..20 {
        let task = json!({"image": format!("https://example.org/other/{n}.png")}).to_string();
        std::fs::write(rig.path("other").join(format!("{n:02}.json")), task).expect("written");
    }
    std::fs::rename(rig.path("other"), rig.path("in")).expect("moved");
    let held = rig.until_code("mass_change");
    assert!(held["message"].as_str().is_some_and(|text| text.contains("20 of 20")), "{held}");
    let plan = rig.ok(&["plan"]);
    assert!(plan.contains("mass_change"), "{plan}");
    rig.put("new.json", r#"{"image": "https://example.org/new.png"}"#);
    assert_eq!(rig.sync(), 7);
    assert_eq!(rig.tasks(), all, "no task is another, none is added");

    // The old bucket comes back: nothing is held, nothing was changed.
    std::fs::rename(rig.path("in"), rig.path("other")).expect("moved");
    std::fs::rename(rig.path("old"), rig.path("in")).expect("moved");
    rig.until_status("ok", |status| status["state"] == "ok" && status["holds"] == json!([]));
    assert_eq!(rig.tasks(), all);

    // Or the other one is meant.
    std::fs::rename(rig.path("in"), rig.path("old")).expect("moved");
    std::fs::rename(rig.path("other"), rig.path("in")).expect("moved");
    let id = rig.until_code("mass_change")["id"].as_str().expect("an id").to_owned();
    rig.ok(&["accept", "cats", &id]);
    let tasks = rig.until_tasks(21);
    for n in 0..20 {
        assert_eq!(tasks[&n]["data"]["image"], format!("https://example.org/other/{n}.png"));
    }
    rig.until_status("ok", |status| status["state"] == "ok");
}

pub fn l02_an_empty_listing_is_held() {
    let mut rig = with_keys(&[0, 1, 2].map(|n| format!("all/{n}.png")), "on_removed = \"hide\"\n");
    let (dir, aside) = (rig.path("in/all"), rig.path("aside"));
    let all = rig.tasks();
    // At once: a look in the middle of a removal sees less than that.
    std::fs::rename(&dir, &aside).expect("moved");
    let held = rig.until_code("source_empty");
    assert!(held["message"].as_str().is_some_and(|text| text.contains("(was 3)")), "{held}");
    rig.kill();
    rig.start();
    rig.until_code("source_empty");
    assert_eq!(rig.tasks(), all);
    // They return: nothing is held any more, nothing has changed.
    std::fs::rename(&aside, &dir).expect("moved");
    rig.until_status("ok", |status| status["state"] == "ok" && status["holds"] == json!([]));
    assert_eq!(rig.tasks(), all);
    std::fs::rename(&dir, &aside).expect("moved");
    rig.until_code("source_empty");
    rig.ok(&["accept"]);
    rig.until_tasks(0);
}

pub fn l01_a_missing_bucket_is_no_empty_one() {
    let rig = with_objects(3, "on_removed = \"hide\"\n");
    let all = rig.tasks();
    std::fs::rename(rig.path("in"), rig.path("elsewhere")).expect("moved");
    let reason = rig.until_code("bucket_missing");
    assert!(reason["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{reason}");
    assert_eq!(rig.status()["state"], "degraded");
    assert_eq!(rig.sync(), 1);
    assert_eq!(rig.tasks(), all);
    std::fs::rename(rig.path("elsewhere"), rig.path("in")).expect("moved");
    rig.until_status("ok", |status| status["state"] == "ok");
    assert_eq!(rig.tasks(), all);
}

pub fn l03_a_mass_deletion_of_completions_is_held() {
    let rig = with_objects(12, "");
    let settings = std::fs::read_to_string(rig.config()).expect("read");
    write(&rig.config(), &(settings + "on_deleted = \"delete\"\n"));
    rig.ok(&["reload"]);
    for id in 0..12 {
        rig.label(id, "cat");
    }
    rig.until_status("twelve in step", |status| status["target"]["in_step"] == 12);
    // Slower than looks follow each other.
    for id in 0..11 {
        std::thread::sleep(Duration::from_millis(50));
        std::fs::remove_file(rig.path("cats/completions").join(format!("{id}.json"))).expect("removed");
    }
    let held = rig.until_code("mass_deletion");
    assert!(held["message"].as_str().is_some_and(|text| text.contains("11 of 12")), "{held}");
    std::thread::sleep(A_WHILE / 2);
    assert_eq!(names(&rig.path("out/done")).len(), 12, "their objects stay");
    rig.ok(&["accept"]);
    until("the objects deleted", PATIENCE, || (names(&rig.path("out/done")) == ["11"]).then_some(()));
}

pub fn l08_without_its_directory_no_completion_counts_as_deleted() {
    let (rig, saved) = with_a_pushed_completion();
    std::fs::rename(rig.path("cats/completions"), rig.path("elsewhere")).expect("moved");
    let reason = rig.until_code("completions_missing");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("mount or restore")), "{reason}");
    assert_eq!(rig.sync(), 1);
    assert_eq!(std::fs::read(rig.path("out/done/0")).expect("there"), saved);
    std::fs::rename(rig.path("elsewhere"), rig.path("cats/completions")).expect("moved");
    rig.until_status("ok", |status| status["state"] == "ok");
    assert_eq!(std::fs::read(rig.path("out/done/0")).expect("there"), saved);
}

pub fn c05_ids_that_the_target_holds_completions_for_are_not_given() {
    let mut rig = Rig::local(".*");
    std::fs::create_dir(rig.path("out/done")).expect("made");
    write(&rig.path("out/done/7"), "whose completion this is nobody knows");
    rig.put("a.png", "a picture");
    rig.start();
    let tasks = rig.until_tasks(1);
    assert_eq!(tasks.keys().next(), Some(&8));
    rig.until_status("the next id", |status| status["next_id"] == 9);
}

pub fn l10_one_bucket_for_both_directions_feeds_nothing_back() {
    let mut rig = Rig::new();
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&rig.local_project("cats", ".*").replace("/out\"", "/in\""));
    rig.put("a.png", "a picture");
    rig.put("done/notes.png", "no completion: an object like any other");
    rig.start();
    let tasks = rig.until_tasks(2);
    let saved = rig.label(0, "cat");
    until("the push", PATIENCE, || {
        std::fs::read(rig.path("in/done/0")).is_ok_and(|there| there == saved).then_some(())
    });
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks(), tasks, "a completion is no task");
    let skipped = rig.list("skipped");
    assert!(skipped.iter().any(|item| item["key"] == "done/0" && item["reason"] == "own_target"), "{skipped:?}");

    // Another prefix: all completions go there, and what was pushed under the old one is still no task.
    let said = rig.ok(&["set-target", "--prefix", "results", "--dry-run"]);
    assert!(said.contains("in/results/ instead of ") && said.contains("all of them are pushed there"), "{said}");
    rig.ok(&["set-target", "--prefix", "results"]);
    until("the push", PATIENCE, || {
        std::fs::read(rig.path("in/results/0")).is_ok_and(|there| there == saved).then_some(())
    });
    let saved = completion(1, &tasks[&1]["data"], "dog");
    std::fs::write(rig.path("cats/completions/1.json"), &saved).expect("written");
    until("the push", PATIENCE, || {
        std::fs::read(rig.path("in/results/1")).is_ok_and(|there| there == saved).then_some(())
    });
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks(), tasks, "nor under a prefix that was the target's before");
    rig.kill();
    rig.start();
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks(), tasks, "nor after a restart");
}

pub fn l07_a_bucket_replaced_by_another_of_its_name_gets_nothing() {
    let mut rig = with_objects(2, "");
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    rig.stop();
    std::fs::rename(rig.path("out"), rig.path("elsewhere")).expect("moved");
    std::fs::create_dir(rig.path("out")).expect("made");
    rig.start();
    let held = rig.until_code("target_replaced");
    assert_eq!(rig.status()["state"], "held");
    rig.label(1, "dog");
    std::thread::sleep(A_WHILE / 2);
    assert_eq!(names(&rig.path("out")), Vec::<String>::new(), "nothing is pushed, and it is not marked");
    // The old one comes back.
    rig.stop();
    std::fs::remove_dir(rig.path("out")).expect("empty");
    std::fs::rename(rig.path("elsewhere"), rig.path("out")).expect("moved");
    rig.start();
    rig.until_status("ok", |status| status["state"] == "ok" && status["holds"] == json!([]));
    until("the push", PATIENCE, || (names(&rig.path("out/done")) == ["0", "1"]).then_some(()));
    // Another one, which the operator wants.
    rig.stop();
    std::fs::remove_dir_all(rig.path("out")).expect("removed");
    std::fs::create_dir(rig.path("out")).expect("made");
    rig.start();
    let again = rig.until_code("target_replaced");
    assert_eq!(again["id"], held["id"]);
    rig.ok(&["accept", "cats", again["id"].as_str().expect("an id")]);
    let saved = rig.label(0, "dog");
    rig.until_pushed(0, &saved);
}

/// Two machines, each with a project of its own, and one target that both name.
pub fn l11_of_two_daemons_on_one_target_prefix_one_is_held() {
    let mut first = with_objects(1, "");
    let saved = first.label(0, "cat");
    first.until_pushed(0, &saved);
    let mut second = Rig::new();
    second.project("cats", IMAGE_CONFIG);
    let out = |rig: &Rig| rig.path("out").display().to_string();
    second.settings(&second.local_project("cats", ".*").replace(&out(&second), &out(&first)));
    write(&second.path("cats/tasks.json"), r#"{"0": {"id": 0, "data": {"image": "http://x/other.png"}}}"#);
    second.start();
    let held = second.until_code("target_owned");
    assert_eq!(second.status()["state"], "held");
    let others = second.label(0, "dog");
    std::thread::sleep(A_WHILE / 2);
    first.until_pushed(0, &saved);
    let completions = names(&second.path("cats/completions"));
    assert_eq!(completions, ["0.json"], "nothing is brought in either");
    // The operator says that it is the second one's: then the first one is held.
    second.ok(&["accept", "cats", held["id"].as_str().expect("an id")]);
    let object = first.path("out/done/0");
    second.until_status("a dispute about the object of the first one", |status| status["conflicts"] == 1);
    assert_eq!(std::fs::read(&object).expect("read"), saved, "{}", String::from_utf8_lossy(&others));
    first.stop();
    first.start();
    first.until_code("target_owned");
}

pub fn l15_a_hundred_syncs_at_once_give_each_object_one_id() {
    let rig = with_objects(3, "");
    std::thread::scope(|scope| {
        for nth in 0..100 {
            let rig = &rig;
            scope.spawn(move || {
                rig.put(&format!("more-{nth:03}.png"), "a picture");
                assert_eq!(rig.lsctl(&["sync", "cats"]).code, 0);
            });
        }
    });
    let tasks = rig.until_tasks(103);
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks(), tasks);
    let urls: std::collections::BTreeSet<String> = tasks.values().map(|task| task["data"].to_string()).collect();
    assert_eq!(urls.len(), 103, "each object has one task");
    assert_eq!(tasks.keys().copied().collect::<Vec<u64>>(), (0..103).collect::<Vec<u64>>());
}

/// What labelsync itself writes into a target directory that lies in the source's.
pub fn l10_nothing_of_a_target_below_the_source_is_a_task() {
    let mut rig = Rig::local(".*");
    std::fs::create_dir(rig.path("in/results")).expect("made");
    std::os::unix::fs::symlink(rig.path("in/results"), rig.path("link")).expect("made");
    rig.put("0.png", "a picture");
    let target = |rig: &Rig, dir: &str| {
        let place = format!("{}/out\"\nprefix = \"done\"", rig.dir.path().display());
        let other = format!("{}/{dir}\"", rig.dir.path().display());
        rig.settings(&rig.local_project("cats", ".*").replace(&place, &other));
    };
    for (count, dir) in [(1, "in/results"), (2, "link")] {
        target(&rig, dir);
        rig.start();
        rig.until_tasks(count);
        let id = count as u64 - 1;
        let saved = rig.label(id, "cat");
        let object = rig.path(&format!("in/results/{id}"));
        let pushed = || std::fs::read(&object).is_ok_and(|there| there == saved).then_some(());
        until("the completion in the target", PATIENCE, pushed);
        assert_eq!(rig.sync(), 0);
        assert_eq!(rig.tasks().len(), count, "{:?}", rig.tasks());
        rig.put(&format!("{count}.png"), "a picture");
        rig.until_tasks(count + 1);
        rig.stop();
    }
}
