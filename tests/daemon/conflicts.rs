//! What needs a person about completions, and how a person ends it.

use serde_json::{Value, json};

use crate::support::rig::{PATIENCE, Rig, completion, find_code, until, write};

fn conflict(rig: &Rig, id: u64) -> Value {
    rig.list("conflict").into_iter().find(|item| item["id"] == id).expect("it is listed")
}

fn losers(rig: &Rig) -> Vec<String> {
    let projects = std::fs::read_dir(rig.path("state/work")).expect("there");
    let dirs = projects.filter_map(|entry| std::fs::read_dir(entry.expect("read").path().join("losers")).ok());
    dirs.flatten().map(|file| std::fs::read_to_string(file.expect("read").path()).expect("read")).collect()
}

pub fn l23_a_conflict_ends_with_its_object_and_what_cannot_win_is_refused() {
    let rig = Rig::with_tasks(3);
    let mine = rig.label(2, "cat");
    rig.until_pushed(2, &mine);
    rig.until_status("the receipt", |status| status["target"]["in_step"] == 1);
    let object = |id: u64| rig.path("out/done").join(id.to_string());
    write(&object(0), "{broken");
    std::fs::write(object(1), completion(1, &json!({"image": "elsewhere"}), "dog")).expect("written");
    write(&object(2), "no JSON");
    rig.until_status("three conflicts", |status| status["conflicts"] == 3);
    let of = |id| (conflict(&rig, id)["reason"].clone(), conflict(&rig, id)["detail"].to_string());
    let (reason, detail) = of(0);
    assert!(reason == "no_completion" && detail.contains("not whole JSON"), "{reason}: {detail}");
    assert_eq!(of(1).0, "data_mismatch");
    assert!(of(2).1.contains("not_json"), "{}", of(2).1);

    let refused = rig.lsctl(&["--json", "resolve", "cats", "0", "1", "2", "--keep", "remote"]);
    let done: Value = serde_json::from_str(&refused.out).expect("JSON");
    let reasons: Vec<_> = done["refused"].as_array().expect("a list").iter().map(|item| &item["reason"]).collect();
    assert_eq!(reasons, ["no_completion", "data_mismatch", "no_completion"], "{}", refused.out);
    assert_eq!((refused.code, &done["count"]), (1, &json!(0)));

    // Only what was in dispute is written over, and it is kept.
    rig.ok(&["resolve", "cats", "2", "--keep", "local"]);
    rig.until_pushed(2, &mine);
    assert_eq!(losers(&rig), ["no JSON"]);

    // No object, no conflict; and a good one is taken as if there had never been another.
    std::fs::remove_file(object(0)).expect("removed");
    std::fs::remove_file(object(1)).expect("removed");
    rig.until_status("no conflict", |status| status["conflicts"] == 0 && status["state"] == "ok");
    let theirs = completion(0, &rig.tasks()[&0]["data"], "dog");
    std::fs::write(object(0), &theirs).expect("written");
    until("the completion brought in", PATIENCE, || {
        (std::fs::read(rig.path("cats/completions/0.json")).ok()? == theirs).then_some(())
    });
    assert_eq!(rig.status()["conflicts"], 0);
}

/// What a decision overrules is kept first; what cannot be kept is not overruled, and that is said at once.
pub fn l23_what_is_too_large_to_be_kept_is_not_overruled() {
    let rig = Rig::with_tasks(1);
    let mine = rig.label(0, "cat");
    rig.until_pushed(0, &mine);
    rig.until_status("the receipt", |status| status["target"]["in_step"] == 1);
    let object = rig.path("out/done/0");
    // One byte more than is ever read; a hole, so that it takes no space.
    std::fs::File::create(&object).and_then(|file| file.set_len((64 << 20) + 1)).expect("made");
    rig.until_status("a conflict", |status| status["conflicts"] == 1);
    let refused = rig.lsctl(&["--json", "resolve", "cats", "0", "--keep", "local"]);
    let done: Value = serde_json::from_str(&refused.out).expect("JSON");
    let why = &done["refused"][0];
    assert_eq!((refused.code, &why["reason"]), (1, &json!("too_large")), "{}", refused.out);
    assert!(why["detail"].as_str().is_some_and(|text| text.contains("move it to another place")), "{why}");
    assert_eq!(rig.sync(), 0);
    assert_eq!(std::fs::metadata(&object).expect("there").len(), (64 << 20) + 1, "it is left as it is");

    std::fs::rename(&object, rig.path("aside")).expect("moved");
    rig.until_status("a completion that is missing", |status| status["target"]["target_missing"] == 1);
    rig.ok(&["resolve", "cats", "0", "--keep", "local"]);
    rig.until_pushed(0, &mine);
    rig.until_status("ok", |status| status["conflicts"] == 0 && status["state"] == "ok");
}

pub fn l29_what_is_missing_in_the_target_is_pushed_again_where_a_person_says_so() {
    let rig = Rig::with_tasks(3);
    let saved: Vec<Vec<u8>> = (0..3).map(|id| rig.label(id, "cat")).collect();
    (0..3).for_each(|id| rig.until_pushed(id, &saved[id as usize]));
    rig.until_status("receipts", |status| status["target"]["in_step"] == 3);
    let metric = "labelsyncd_target_missing{project=\"cats\"}";
    assert_eq!(rig.metric(metric), 0.0);
    for id in ["1", "2"] {
        std::fs::remove_file(rig.path("out/done").join(id)).expect("removed");
    }
    let status = rig.until_status("two missing", |status| status["target"]["target_missing"] == 2);
    let command = "`lsctl resolve cats target_missing --keep local`";
    let hint = find_code(&status, "target_missing").expect("a reason")["hint"].to_string();
    assert!(hint.contains(command) && rig.ok(&["health"]).contains("2 pushed completions are gone"), "{status:#}");
    assert_eq!((&status["state"], rig.metric(metric)), (&json!("ok"), 2.0));
    let again = "`lsctl resolve cats 1 --keep local` pushes it again";
    let (listed, verified) = (conflict(&rig, 1)["detail"].to_string(), rig.lsctl(&["verify"]));
    assert!(listed.contains(again) && verified.out.contains(again), "{listed} {}", verified.out);

    let refused = rig.lsctl(&["--json", "resolve", "cats", "1", "--keep", "remote"]);
    assert!(refused.code == 1 && refused.out.contains("\"no_object\""), "{}", refused.out);
    rig.ok(&["resolve", "cats", "1", "--keep", "local"]);
    rig.until_pushed(1, &saved[1]);
    assert!(!rig.path("out/done/2").exists(), "only the one that was named");
    rig.ok(&["resolve", "cats", "target_missing", "--keep", "local"]);
    rig.until_pushed(2, &saved[2]);
    let status = rig.until_status("none missing", |status| status["target"]["target_missing"] == 0);
    assert_eq!(status["reasons"], json!([]));
}

pub fn what_the_ledger_knows_is_shown_while_the_target_does_not_answer() {
    let mut rig = Rig::with_tasks(2);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    write(&rig.path("out/done/1"), "{broken");
    rig.until_status("a conflict", |status| status["conflicts"] == 1 && status["target"]["in_step"] == 1);
    rig.stop();
    std::fs::rename(rig.path("out"), rig.path("away")).expect("moved");
    rig.start();
    let status = rig.until_status("a failure", |status| !status["target"]["poll"]["error"].is_null());
    assert_eq!((&status["target"]["in_step"], &status["conflicts"]), (&json!(1), &json!(1)), "{status:#}");
}

pub fn c05_an_id_that_only_the_target_holds_moves_the_next_one_and_says_so_once() {
    let rig = Rig::with_tasks(1);
    std::fs::create_dir_all(rig.path("out/done")).expect("made");
    write(&rig.path("out/done/9999"), "no completion of ours");
    let said = |rig: &Rig| rig.ok(&["events"]).matches("new ids go on after it").count();
    until("the event", PATIENCE, || (said(&rig) == 1).then_some(()));
    rig.put("late.png", "a picture");
    assert!(rig.until_tasks(2).contains_key(&10_000));
    assert_eq!((rig.sync(), rig.sync(), said(&rig)), (0, 0, 1));
}

pub fn l13_a_task_whose_object_is_gone_comes_back_when_it_is_selected_again() {
    let rig = Rig::with_tasks(3);
    std::fs::remove_file(rig.path("in/1.png")).expect("removed");
    let removed = |rig: &Rig| {
        let items = rig.list("removed").into_iter();
        items.map(|i| (i["id"].as_u64(), i["state"].clone(), i["reason"].clone())).collect::<Vec<_>>()
    };
    let kept = [(Some(1), json!("live"), json!("object_gone"))];
    until("object gone", PATIENCE, || (removed(&rig) == kept).then_some(()));
    let before = rig.tasks();
    rig.ok(&["set-source", "cats", "--regex", "zz"]);
    rig.until_tasks(0);
    rig.ok(&["reset", "cats", "--all"]);
    assert_eq!((rig.until_tasks(3), removed(&rig)), (before, kept.to_vec()));
}
