//! What needs a person about completions, and how a person ends it.

use std::fs::File;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::rig::{PATIENCE, Rig, completion, find_code, put_whole, until};

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
    put_whole(&object(0), b"{broken");
    put_whole(&object(1), &completion(1, &json!({"image": "elsewhere"}), "dog"));
    put_whole(&object(2), b"no JSON");
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
    put_whole(&object(0), &theirs);
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

/// As from yesterday's backup: what keeps times (rsync -a, tar, cp -p) is known by them.
fn put_back(rig: &Rig, id: u64, bytes: &[u8]) {
    let path = rig.path("cats/completions").join(format!("{id}.json"));
    let new = rig.path("put back");
    std::fs::write(&new, bytes).expect("written");
    let file = File::options().write(true).open(&new).expect("opened");
    let now = file.metadata().and_then(|meta| meta.modified()).expect("a time");
    file.set_modified(now - Duration::from_secs(86_400)).expect("set");
    std::fs::rename(new, path).expect("renamed");
}

/// So many completions, each of which was saved and pushed twice: as they were and as they are.
fn labelled_twice(count: u64) -> (Rig, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let rig = Rig::with_tasks(usize::try_from(count).expect("few"));
    let [old, new] = ["cat", "dog"].map(|choice| {
        let saved: Vec<Vec<u8>> = (0..count).map(|id| rig.label(id, choice)).collect();
        (0..).zip(&saved).for_each(|(id, bytes)| rig.until_pushed(id, bytes));
        saved
    });
    rig.until_status("receipts", |status| status["target"]["in_step"] == count && status["target"]["pending"] == 0);
    (rig, old, new)
}

fn file(rig: &Rig, id: u64) -> Option<Vec<u8>> {
    std::fs::read(rig.path("cats/completions").join(format!("{id}.json"))).ok()
}

fn object(rig: &Rig, id: u64) -> Vec<u8> {
    std::fs::read(rig.path("out/done").join(id.to_string())).expect("it is there")
}

pub fn l23_an_older_directory_that_is_put_back_overwrites_nothing() {
    let (mut rig, old, new) = labelled_twice(6);
    rig.stop();
    (0..6).for_each(|id| put_back(&rig, id, if id < 4 { &old[id as usize] } else { &new[id as usize] }));
    rig.start();
    let status = rig.until_status("conflicts", |status| status["conflicts"] == 4 && status["target"]["pending"] == 0);
    let hint = find_code(&status, "older_here").expect("a reason")["hint"].to_string();
    assert!(hint.contains("`lsctl resolve cats older_here --keep remote` brings the newer ones back"), "{status:#}");
    let listed = conflict(&rig, 0);
    assert!(
        listed["reason"] == "older_here" && listed["detail"].to_string().contains("--keep remote` brings"),
        "{listed}"
    );
    assert_eq!(rig.sync(), 0);
    (0..6).for_each(|id| assert_eq!(object(&rig, id), new[id as usize], "{id} is not overwritten"));

    // The newer one, put back as well, is in step.
    put_back(&rig, 0, &new[0]);
    rig.until_status("one less", |status| status["conflicts"] == 3);
    rig.ok(&["resolve", "cats", "1", "--keep", "local"]);
    rig.until_pushed(1, &old[1]);
    assert_eq!(losers(&rig), [String::from_utf8_lossy(&new[1])]);
    rig.until_status("one less", |status| status["conflicts"] == 2);
    let said = rig.ok(&["resolve", "cats", "older_here", "--keep", "remote"]);
    assert!(said.contains("2 completions older than in the target"), "{said}");
    let status = rig.until_status("none", |status| status["conflicts"] == 0 && status["state"] == "ok");
    assert_eq!(status["reasons"], json!([]));
    let brought: Vec<_> = (2..4).map(|id| file(&rig, id)).collect();
    assert_eq!(brought, [Some(new[2].clone()), Some(new[3].clone())]);
    let mut kept = losers(&rig);
    kept.sort();
    let mut lost = [&new[1], &old[2], &old[3]].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    lost.sort();
    assert_eq!(kept, lost);
}

pub fn l23_what_is_done_about_an_older_completion_loses_nothing() {
    let (rig, old, new) = labelled_twice(4);
    (0..3).for_each(|id| put_back(&rig, id, &old[id as usize]));
    rig.until_status("conflicts", |status| status["conflicts"] == 3);
    // Labelled on, from what was put back: it has not seen the newer one either.
    let on = rig.label(0, "bird");
    until("the dispute about it", PATIENCE, || {
        (rig.ok(&["events"]).matches("! completion 0: what is here is older").count() == 2).then_some(())
    });
    assert_eq!((object(&rig, 0), conflict(&rig, 0)["reason"].clone()), (new[0].clone(), json!("older_here")));
    std::fs::remove_file(rig.path("cats/completions/1.json")).expect("removed");
    rig.until_status("one less", |status| status["conflicts"] == 2);
    assert_eq!(object(&rig, 1), new[1], "only the older one was deleted");
    // Deleted, and then put back from before that.
    std::fs::remove_file(rig.path("cats/completions/3.json")).expect("removed");
    until("the deletion noticed", PATIENCE, || {
        rig.ok(&["events"]).contains("x completion 3 deleted here, object kept").then_some(())
    });
    put_back(&rig, 3, &old[3]);
    rig.until_status("one more", |status| status["conflicts"] == 3);
    assert_eq!(object(&rig, 3), new[3]);

    rig.ok(&["resolve", "cats", "older_here", "--keep", "local"]);
    [(0, &on), (2, &old[2]), (3, &old[3])].into_iter().for_each(|(id, bytes)| rig.until_pushed(id, bytes));
    rig.until_status("none", |status| status["conflicts"] == 0 && status["state"] == "ok");
    // An edit of what was pushed last is one as ever.
    let edit = rig.label(2, "bird");
    rig.until_pushed(2, &edit);
}

pub fn l29_what_an_older_directory_does_not_hold_is_not_deleted() {
    let (mut rig, _, new) = labelled_twice(3);
    rig.ok(&["set-target", "cats", "--on-deleted", "delete"]);
    rig.stop();
    // Yesterday's directory: these two were not there yet.
    let dir = rig.path("cats/completions");
    ["1", "2"].iter().for_each(|id| std::fs::remove_file(dir.join(format!("{id}.json"))).expect("removed"));
    let now = std::fs::metadata(&dir).and_then(|meta| meta.modified()).expect("a time");
    File::open(&dir).and_then(|dir| dir.set_modified(now - Duration::from_secs(86_400))).expect("set");
    rig.start();
    rig.until_status("conflicts", |status| status["conflicts"] == 2);
    assert!(conflict(&rig, 1)["detail"].to_string().contains("--keep remote` brings"), "{}", conflict(&rig, 1));
    // Label Studio goes on there.
    let edit = rig.label(0, "bird");
    rig.until_pushed(0, &edit);
    assert_eq!(rig.sync(), 0);
    assert_eq!([object(&rig, 1), object(&rig, 2)], [new[1].clone(), new[2].clone()]);
    rig.ok(&["resolve", "cats", "1", "--keep", "local"]);
    rig.ok(&["resolve", "cats", "older_here", "--keep", "remote"]);
    rig.until_status("none", |status| status["conflicts"] == 0 && status["state"] == "ok");
    assert_eq!([file(&rig, 1), file(&rig, 2)], [None, Some(new[2].clone())]);
    assert_eq!(object(&rig, 1), new[1], "what a person leaves deleted here is kept there");
    // And a deletion is one as ever.
    std::fs::remove_file(dir.join("2.json")).expect("removed");
    until("the object deleted", PATIENCE, || (!rig.path("out/done/2").exists()).then_some(()));
}

pub fn what_the_ledger_knows_is_shown_while_the_target_does_not_answer() {
    let mut rig = Rig::with_tasks(2);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    put_whole(&rig.path("out/done/1"), b"{broken");
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
    put_whole(&rig.path("out/done/9999"), b"no completion of ours");
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
    assert_eq!(rig.until_tasks(3), before);
    // Recorded after the file was written.
    until("it is live again", PATIENCE, || (removed(&rig) == kept).then_some(()));
}
