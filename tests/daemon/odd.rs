//! What stands in a project directory and is not what it should be.

use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::rig::{PATIENCE, Rig, in_time, until, write};

/// Once each of some ten looks a second doubled the wait for the bucket: a minute went by after it was mended.
pub fn l31_a_pipe_in_the_place_of_tasks_json_is_named_and_heals_at_once() {
    let rig = Rig::with_tasks(1);
    let (tasks, aside) = (rig.path("cats/tasks.json"), rig.path("aside"));
    std::fs::rename(&tasks, &aside).expect("moved");
    mkfifoat(CWD, &tasks, Mode::from_raw_mode(0o644)).expect("made");
    rig.put("new.png", "a picture");
    rig.until_code("not_a_file");
    until("some failures", PATIENCE, || (rig.metric("labelsyncd_errors_total") >= 10.0).then_some(()));
    std::fs::remove_file(&tasks).expect("removed");
    std::fs::rename(&aside, &tasks).expect("moved");
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
