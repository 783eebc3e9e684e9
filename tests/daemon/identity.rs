//! Which directory is which project: markers that are lost, copied and moved.

use serde_json::json;

use crate::support::rig::{PATIENCE, Rig, find_code, tasks_of, until};

/// The operator says that it goes on without: the tasks that stand there are still those of their objects.
pub fn l08_a_lost_marker_that_is_accepted_gives_no_object_a_second_task() {
    for json in [false, true] {
        let mut rig = Rig::local(".*");
        let settings = rig.local_project("cats", ".*");
        let form = if json { "poll_interval = \"1s\"\nuse_blob_urls = false\n[" } else { "poll_interval = \"1s\"\n[" };
        rig.settings(&settings.replace("poll_interval = \"1s\"\n[", form));
        for n in 0..3 {
            rig.put(&format!("{n}.json"), &format!("{{\"image\": \"http://x/{n}.png\"}}"));
        }
        rig.start();
        let before = rig.until_tasks(3);
        let saved = rig.label(1, "cat");
        rig.until_pushed(1, &saved);
        std::fs::remove_file(rig.path("cats/labelsync.json")).expect("removed");
        for code in ["project_reinitialised", "target_owned"] {
            let held = rig.until_code(code);
            rig.ok(&["accept", "cats", held["id"].as_str().expect("an id")]);
        }
        rig.put("3.json", "{\"image\": \"http://x/3.png\"}");
        let after = rig.until_tasks(4);
        assert_eq!(rig.sync(), 0);
        assert_eq!(rig.tasks(), after, "json: {json}");
        assert!(before.iter().all(|(id, task)| after.get(id) == Some(task)), "{before:?} {after:?}");
        assert_eq!(std::fs::read(rig.path("out/done/1")).expect("there"), saved);
        // They are the objects' again, not Label Studio's own.
        assert_eq!((rig.status()["tasks"].clone(), rig.status()["foreign_tasks"].clone()), (json!(4), json!(0)));
    }
}

/// Both would be served with one ledger: what is missing in one would count as deleted in the other.
pub fn l43_a_copy_of_a_project_is_not_served_beside_it() {
    let mut rig = Rig::with_tasks(3);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    let copied = std::process::Command::new("cp").arg("-a").arg(rig.path("cats")).arg(rig.path("ants")).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy");
    let ants = rig.local_project("ants", ".*").replace("\"done\"", "\"ants\"");
    rig.settings(&(ants + &rig.local_project("cats", ".*")));
    rig.ok(&["reload"]);
    let refused = |rig: &Rig| {
        let told = until("the copy is refused", PATIENCE, || find_code(&rig.status_of("ants"), "project_copied"));
        assert!(told["message"].as_str().is_some_and(|text| text.contains("/cats")), "{told}");
    };
    refused(&rig);
    // Also where it comes first.
    rig.stop();
    rig.start();
    refused(&rig);
    rig.put("new.png", "a picture");
    rig.until_tasks(4);
    rig.until_status("ok", |status| status["state"] == "ok");
    assert!(!rig.path("out/ants").exists(), "nothing of it was pushed");
    std::fs::remove_file(rig.path("ants/labelsync.json")).expect("removed");
    let held = until("it says so", PATIENCE, || find_code(&rig.status_of("ants"), "project_reinitialised"));
    rig.ok(&["accept", "ants", held["id"].as_str().expect("an id")]);
    until("a project of its own", PATIENCE, || (rig.status_of("ants")["state"] == "ok").then_some(()));
    until("with tasks of its own", PATIENCE, || (tasks_of(&rig.path("ants")).len() > 3).then_some(()));
}

/// A project directory that was moved is the project still.
pub fn l08_a_project_that_was_moved_goes_on() {
    let mut rig = Rig::with_tasks(3);
    rig.stop();
    std::fs::rename(rig.path("cats"), rig.path("moved")).expect("moved");
    rig.settings(&rig.local_project("cats", ".*").replace("/cats\"", "/moved\""));
    rig.start();
    rig.put("new.png", "a picture");
    until("the new task", PATIENCE, || (tasks_of(&rig.path("moved")).len() == 4).then_some(()));
    rig.until_status("ok", |status| status["state"] == "ok");
}
