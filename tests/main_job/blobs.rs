//! Blobs to tasks: a thousand of them, one more, another regex, `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bucket::{Bucket, rig};
use crate::support::Server;
use crate::support::rig::{IMAGE_CONFIG, Observer, PATIENCE, Rig, in_time, tasks_of, until};

const OBJECTS: usize = 1_000;

/// The poll interval of these rigs.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Half of them pictures; `pics/…`, `pics-old/…` and `pics.…` come in another order from a server that lists directories.
fn keys() -> Vec<String> {
    let key = |n: usize| {
        let ending = if n.is_multiple_of(2) { "png" } else { "jpg" };
        match n % 5 {
            0 => format!("pics-old/{n:04}.{ending}"),
            1 => format!("pics.{n:04}.{ending}"),
            2 => format!("pics/ä b+{n:04}%2F.{ending}"),
            3 => format!("Pics/{n:04}.{ending}"),
            _ => format!("pics/sub/{n:04}.{ending}"),
        }
    };
    let mut keys: Vec<String> = (0..OBJECTS).map(key).collect();
    keys.sort();
    keys
}

pub async fn a_thousand_objects_are_tasks_under_lasting_ids(server: Arc<Server>) {
    let (mut rig, bucket, _) = rig(&server, IMAGE_CONFIG, "regex = '.*'").await;
    let mut keys = keys();
    bucket.put_all(keys.iter().map(|key| (key.clone(), b"a picture".to_vec()))).await;

    let project = rig.path("cats");
    let counts = Observer::start(BTreeSet::new(), move |seen| {
        seen.insert(tasks_of(&project).len());
    });
    rig.start();
    rig.until_tasks(OBJECTS);
    assert_eq!(counts.stop(), BTreeSet::from([0, OBJECTS]), "all at once");
    assert_eq!(urls(&rig), expected(&bucket, &keys), "dense, in byte order");

    // A cycle that had begun, the interval, and the cycle that sees it; the server may be busy with other tests.
    let begun = Instant::now();
    assert_eq!(rig.sync(), 0);
    let within = POLL_INTERVAL + 2 * begun.elapsed() + Duration::from_secs(1);
    let begun = Instant::now();
    bucket.put("a first one.png", b"later".to_vec()).await;
    rig.until_tasks(OBJECTS + 1);
    assert!(begun.elapsed() < in_time(within), "one more took {:?}, not {within:?}", begun.elapsed());
    keys.push("a first one.png".to_owned());
    let all = rig.tasks();
    assert_eq!(urls(&rig), expected(&bucket, &keys), "one more gets the next id");

    another_regex(&rig, &all);
    killed(&mut rig, &bucket, keys).await;
}

fn another_regex(rig: &Rig, all: &BTreeMap<u64, Value>) {
    let pid = rig.json(&["status"])["pid"].clone();
    let pictures: BTreeMap<u64, Value> =
        all.iter().filter(|(_, task)| is_png(task)).map(|(i, t)| (*i, t.clone())).collect();
    let hidden = all.len() - pictures.len();
    let change = ["set-source", "--regex", r".*\.png"];
    // A look that takes longer than an operator waits is left out; the server may be busy with other tests.
    until("what it would do", PATIENCE, || {
        let said = rig.ok(&[&change[..], &["--dry-run"]].concat());
        said.contains(&format!("{hidden} tasks hidden")).then_some(())
    });
    let said = rig.ok(&change);
    assert!(said.contains(r#"source.regex  ".*" → ".*\\.png""#), "{said}");
    rig.until_tasks(pictures.len());
    assert_eq!(rig.tasks(), pictures);
    let removed = rig.list("removed");
    assert_eq!(removed.len(), hidden);
    assert!(removed.iter().all(|item| item["state"] == "hidden" || item["reason"] == "deselected"), "{:?}", removed[0]);

    rig.ok(&["set-source", "--regex", ".*"]);
    rig.until_tasks(all.len());
    assert_eq!(rig.tasks(), *all, "back under their old ids");
    assert_eq!(rig.json(&["status"])["pid"], pid, "without a restart");
}

/// `kill -9` at rest, and in the middle of a cycle.
async fn killed(rig: &mut Rig, bucket: &Bucket, mut keys: Vec<String>) {
    rig.kill();
    rig.start();
    assert_eq!(rig.sync(), 0);
    assert_eq!(urls(rig), expected(bucket, &keys), "no id changes, nothing twice");
    for wait_ms in [20, 150, 400] {
        let key = format!("after {wait_ms}.png");
        bucket.put(&key, b"later".to_vec()).await;
        keys.push(key);
        rig.lsctl(&["sync"]);
        std::thread::sleep(Duration::from_millis(wait_ms));
        rig.kill();
        rig.start();
        rig.until_tasks(keys.len());
        assert_eq!(urls(rig), expected(bucket, &keys), "killed after {wait_ms} ms");
    }
    assert_eq!(rig.sync(), 0);
    assert_eq!(urls(rig), expected(bucket, &keys));
    assert_eq!(rig.status()["next_id"], keys.len());
}

fn is_png(task: &Value) -> bool {
    task["data"]["image"].as_str().expect("a URL").ends_with(".png")
}

fn urls(rig: &Rig) -> Vec<(u64, String)> {
    let url = |(id, task): (u64, Value)| (id, task["data"]["image"].as_str().expect("a URL").to_owned());
    rig.tasks().into_iter().map(url).collect()
}

fn expected(bucket: &Bucket, keys: &[String]) -> Vec<(u64, String)> {
    (0..).zip(keys.iter().map(|key| format!("s3://{}/{key}", bucket.name))).collect()
}
