//! Completions to the target and back.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labelsync::names::Sha256;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::bucket::{Bucket, rig};
use crate::support::Server;
use crate::support::rig::{IMAGE_CONFIG, Observer, PATIENCE, Ran, Rig, completion, in_time, until};

/// Issue 2: a saved completion is in the target within this time.
const WITHIN: Duration = Duration::from_secs(2);

async fn with_tasks(server: &Arc<Server>, count: usize) -> (Rig, Bucket, Bucket) {
    let (mut rig, from, to) = rig(server, IMAGE_CONFIG, "regex = '.*'").await;
    from.put_all((0..count).map(|n| (format!("{n}.png"), b"a picture".to_vec()))).await;
    rig.start();
    rig.until_tasks(count);
    // The owner's mark and the first listing of the target are over.
    assert_eq!(rig.sync(), 0);
    (rig, from, to)
}

pub async fn l20_l21_a_saved_completion_is_in_the_target_byte_for_byte_and_never_torn(server: Arc<Server>) {
    let (rig, _, to) = with_tasks(&server, 2).await;
    let (bucket, runtime) = (to.clone(), Handle::current());
    let pushed = Observer::start(BTreeSet::new(), move |seen: &mut BTreeSet<String>| {
        if let Some(body) = runtime.block_on(bucket.get("done/1")) {
            seen.insert(Sha256::of(&body).to_string());
        }
    });
    let writer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/torn_writer.py");
    let project = rig.path("cats").display().to_string();
    let wrote = Ran::of(Command::new("python3").args([writer, &project, "1", "14"]));
    let last_write = Instant::now();
    assert_eq!((wrote.code, wrote.err.as_str()), (0, ""));
    let file = std::fs::read(rig.path("cats/completions/1.json")).expect("written");
    to.until_holds("done/1", &file).await;
    assert!(last_write.elapsed() < in_time(WITHIN), "it took {:?}", last_write.elapsed());

    let seen = pushed.stop();
    let whole: BTreeSet<String> = wrote.out.lines().map(str::to_owned).collect();
    assert!(seen.is_subset(&whole), "every version in the target was one that was saved");
    assert!(seen.len() > 1, "versions in between were pushed too: {}", seen.len());

    for choice in ["cat", "dog", "cat"] {
        let bytes = rig.label(0, choice);
        let begun = Instant::now();
        to.until_holds("done/0", &bytes).await;
        assert!(begun.elapsed() < in_time(WITHIN), "it took {:?}", begun.elapsed());
    }
    target_map(&rig, &to);
}

/// `target.json` in Label Studio's form (design.md, section 4.5).
fn target_map(rig: &Rig, to: &Bucket) {
    let wanted = json!({
        "0": {"key": format!("s3://{}/done/0", to.name), "exists": true},
        "1": {"key": format!("s3://{}/done/1", to.name), "exists": true},
    });
    until("target.json", PATIENCE, || {
        let map = std::fs::read(rig.path("cats/target.json")).ok()?;
        (serde_json::from_slice::<Value>(&map).ok()? == wanted).then_some(())
    });
}

/// The version of such an object is no checksum of it, and names it all the same.
pub async fn l23_objects_that_were_put_in_parts_are_as_others(server: Arc<Server>) {
    let (mut rig, from, to) = rig(&server, IMAGE_CONFIG, "regex = '.*'\nuse_blob_urls = false").await;
    // Every part but the last has 5 MiB at least.
    let first = format!("{{\"image\": \"http://localhost/a.png\", \"pad\": \"{}", "x".repeat(5 << 20));
    from.put_in_parts("a.json", &[first.as_bytes(), b"1\"}"]).await;
    rig.start();
    rig.until_tasks(1);
    assert_eq!(rig.sync(), 0);
    from.put_in_parts("a.json", &[first.as_bytes(), b"2\"}"]).await;
    let follows = || rig.tasks()[&0]["data"]["pad"].as_str().is_some_and(|pad| pad.ends_with('2')).then_some(());
    until("the new version", PATIENCE, follows);

    let theirs = elsewhere(&rig, 0, "dog");
    to.put_in_parts("done/0", &[&theirs]).await;
    until("the completion brought in", PATIENCE, || (file(&rig, 0)? == theirs).then_some(()));
    assert_eq!(rig.sync(), 0);
    let ours = rig.label(0, "cat");
    to.until_holds("done/0", &ours).await;
    let again = elsewhere(&rig, 0, "fish");
    to.put_in_parts("done/0", &[&again]).await;
    until("the next one", PATIENCE, || (file(&rig, 0)? == again).then_some(()));
    assert_eq!(rig.list("conflict"), Vec::<Value>::new());
}

pub async fn what_others_put_or_take_is_brought_in_disputed_or_listed(server: Arc<Server>) {
    let (rig, _, to) = with_tasks(&server, 7).await;
    brought_in(&rig, &to).await;
    disputed(&rig, &to).await;
    deleted_here(&rig, &to).await;
    missing_there(&rig, &to).await;
}

fn file(rig: &Rig, id: u64) -> Option<Vec<u8>> {
    std::fs::read(rig.path("cats/completions").join(format!("{id}.json"))).ok()
}

/// What somebody else would push for a task, not as Label Studio formats it.
fn elsewhere(rig: &Rig, id: u64, choice: &str) -> Vec<u8> {
    let whole: Value = serde_json::from_slice(&completion(id, &rig.tasks()[&id]["data"], choice)).expect("JSON");
    serde_json::to_vec(&whole).expect("JSON")
}

async fn brought_in(rig: &Rig, to: &Bucket) {
    let object = elsewhere(rig, 1, "dog");
    to.put("done/1", object.clone()).await;
    // About other data than task 6: never attached to it.
    to.put("done/6", completion(6, &json!({"image": "s3://elsewhere/x.png"}), "cat")).await;
    until("the completion brought in", PATIENCE, || (file(rig, 1)? == object).then_some(()));
    assert_eq!(rig.sync(), 0);
    assert_eq!(file(rig, 1), Some(object));
    assert_eq!(file(rig, 6), None);
    let conflicts = rig.list("conflict");
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!((&conflicts[0]["id"], &conflicts[0]["reason"]), (&json!(6), &json!("data_mismatch")));
}

async fn disputed(rig: &Rig, to: &Bucket) {
    for id in [2, 3] {
        let bytes = rig.label(id, "cat");
        to.until_holds(&format!("done/{id}"), &bytes).await;
    }
    rig.ok(&["pause"]);
    let (here_2, here_3) = (rig.label(2, "dog"), rig.label(3, "dog"));
    let (there_2, there_3) = (elsewhere(rig, 2, "fish"), elsewhere(rig, 3, "fish"));
    to.put("done/2", there_2.clone()).await;
    to.put("done/3", there_3.clone()).await;
    rig.ok(&["resume"]);
    rig.until_status("three conflicts", |status| status["conflicts"] == 3);
    let conflicts = rig.list("conflict");
    let disputed: Vec<_> =
        conflicts.iter().filter(|item| item["reason"] == "conflict").map(|i| i["id"].as_u64()).collect();
    assert_eq!(disputed, [Some(2), Some(3)]);
    assert_eq!(rig.sync(), 0);
    assert_eq!((to.get("done/2").await, file(rig, 2)), (Some(there_2.clone()), Some(here_2.clone())), "untouched");

    rig.ok(&["resolve", "2", "--keep", "local"]);
    to.until_holds("done/2", &here_2).await;
    rig.ok(&["resolve", "done/3", "--keep", "remote"]);
    until("the remote side", PATIENCE, || (file(rig, 3)? == there_3).then_some(()));
    rig.until_status("no conflict but the first", |status| status["conflicts"] == 1);
    assert_eq!((file(rig, 2), to.get("done/3").await), (Some(here_2), Some(there_3)));
    let mut losers = losers(rig);
    losers.sort();
    let mut wanted = [here_3, there_2];
    wanted.sort();
    assert_eq!(losers, wanted, "the losers are kept in the state directory");
}

fn losers(rig: &Rig) -> Vec<Vec<u8>> {
    let projects = std::fs::read_dir(rig.path("state/work")).expect("there");
    let dirs = projects.map(|entry| entry.expect("read").path().join("losers"));
    let files = dirs.flat_map(|dir| std::fs::read_dir(dir).expect("there"));
    files.map(|file| std::fs::read(file.expect("read").path()).expect("read")).collect()
}

async fn deleted_here(rig: &Rig, to: &Bucket) {
    let bytes = rig.label(4, "cat");
    to.until_holds("done/4", &bytes).await;
    std::fs::remove_file(rig.path("cats/completions/4.json")).expect("removed");
    until("the deletion noticed", PATIENCE, || {
        rig.ok(&["events"]).contains("x completion 4 deleted here, object kept").then_some(())
    });
    assert_eq!(rig.sync(), 0);
    assert_eq!((file(rig, 4), to.get("done/4").await), (None, Some(bytes)), "kept there, never brought back");
}

async fn missing_there(rig: &Rig, to: &Bucket) {
    let bytes = rig.label(5, "cat");
    to.until_holds("done/5", &bytes).await;
    to.delete("done/5", None).await;
    rig.until_status("the missing object", |status| status["target"]["target_missing"] == 1);
    let listed = rig.list("conflict").into_iter().find(|item| item["id"] == 5).expect("it is listed");
    assert_eq!(listed["state"], "target_missing");
    assert_eq!(rig.sync(), 0);
    assert_eq!(to.get("done/5").await, None, "not pushed again until the file changes");
    let bytes = rig.label(5, "dog");
    to.until_holds("done/5", &bytes).await;
    rig.until_status("nothing missing", |status| status["target"]["target_missing"] == 0);
}
