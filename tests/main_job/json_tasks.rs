//! JSON task objects: thousands, with one of every bad kind among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use labelsync::project::rejected::remedy_of;
use serde_json::{Value, json};

use super::bucket::{Bucket, rig};
use crate::support::rig::{Rig, TEXT_CONFIG};
use crate::support::{Kind, Server};

/// One of each bad kind: its name, the reason, its body.
fn bad() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let deep = format!("{{\"text\": \"x\", \"deep\": {}{}}}", "[".repeat(500), "]".repeat(500));
    let many = format!("{{\"text\": \"x\", \"many\": [0{}]}}", ",0".repeat(300_000));
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(16 << 20));
    let text = |name, reason, body: &str| (name, reason, body.as_bytes().to_vec());
    vec![
        text("empty", "not_json", ""),
        text("cut off", "not_json", r#"{"text": "a"#),
        text("trailing", "not_json", r#"{"text": "a"} x"#),
        ("latin 1", "not_utf8", b"{\"text\": \"\xe4\"}".to_vec()),
        ("with a mark", "not_utf8", b"\xef\xbb\xbf{\"text\": \"a\"}".to_vec()),
        ("gzip", "compressed", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
        text("deep", "too_deep", &deep),
        text("many", "too_many_values", &many),
        text("large", "too_large", &large),
        text("nan", "number_out_of_range", r#"{"text": "a", "n": NaN}"#),
        text("1e400", "number_out_of_range", r#"{"text": "a", "n": 1e400}"#),
        text("surrogate", "lone_surrogate", r#"{"text": "\ud800"}"#),
        text("twice", "duplicate_key", r#"{"text": "a", "text": "b"}"#),
        text("no task", "not_one_task", "[]"),
        text("two tasks", "not_one_task", r#"[{"text": "a"}, {"text": "b"}]"#),
        text("scalar", "not_one_task", "7"),
        text("data", "data_not_object", r#"{"data": 7}"#),
        text("no key", "data_missing_key", r#"{"data": {"other": "a"}}"#),
        text("type", "data_wrong_type", r#"{"data": {"text": ["a"]}}"#),
        text("meta", "meta_invalid", r#"{"data": {"text": "a"}, "meta": null}"#),
        text("predictions", "predictions_invalid", r#"{"data": {"text": "a"}, "predictions": 7}"#),
        text("completions", "completions_invalid", r#"{"data": {"text": "a"}, "completions": [{}]}"#),
        text("url", "unresolvable_url", r#"{"data": {"text": "s3://"}}"#),
    ]
}

pub async fn l05_one_bad_object_does_not_stop_the_others(server: Arc<Server>) {
    // moto answers some 400 requests a second.
    let objects = if server.kind == Kind::Moto { 1_000 } else { 10_000 };
    let (mut rig, bucket, _) = rig(&server, TEXT_CONFIG, "regex = '.*'\nuse_blob_urls = false").await;
    let good = |n: usize| {
        (format!("tasks/{n:05}.json"), json!({"data": {"text": format!("text {n}")}}).to_string().into_bytes())
    };
    bucket.put_all((0..objects).map(good)).await;
    // Among the others in byte order.
    let key = |name: &str| format!("tasks/00500 {name}.json");
    bucket.put_all(bad().into_iter().map(|(name, _, body)| (key(name), body))).await;

    rig.start();
    let tasks = rig.until_tasks(objects);
    for n in 0..objects {
        assert_eq!(tasks[&(n as u64)]["data"], json!({"text": format!("text {n}")}), "dense, in byte order");
    }
    let reasons: BTreeMap<String, Value> = reasons(&rig);
    let wanted: BTreeMap<String, Value> = bad().iter().map(|(name, reason, _)| (key(name), json!(reason))).collect();
    assert_eq!(reasons, wanted);
    let items = rig.list("quarantined");
    let has_remedy = |item: &Value| {
        let (reason, detail) = (item["reason"].as_str(), item["detail"].as_str());
        reason.and_then(remedy_of).zip(detail).is_some_and(|(remedy, detail)| detail.ends_with(remedy))
    };
    assert!(items.iter().all(has_remedy), "{items:?}");
    let listed = rig.ok(&["list", "--state", "quarantined"]);
    assert!(listed.contains("tasks/00500 no key.json\tquarantined\tdata_missing_key\t"), "{listed}");
    // Counted after the file was written.
    rig.until_status("well, and each counted", |status| {
        (&status["state"], &status["quarantined"]) == (&json!("ok"), &json!(bad().len()))
    });

    mended(&rig, &bucket, &key, objects).await;
}

async fn mended(rig: &Rig, bucket: &Bucket, key: &impl Fn(&str) -> String, objects: usize) {
    // A good version becomes a task by itself.
    bucket.put(&key("cut off"), br#"{"text": "mended"}"#.to_vec()).await;
    let tasks = rig.until_tasks(objects + 1);
    assert_eq!(tasks[&(objects as u64)]["data"], json!({"text": "mended"}), "under the next id");
    let left = bad().len() - 1;
    rig.until_status("one less in quarantine", |status| status["quarantined"] == left);

    // Tried again, and as bad as before.
    let said = rig.ok(&["retry", &key("no key")]);
    assert!(said.starts_with("1 quarantined item"), "{said}");
    assert_eq!(rig.sync(), 0);
    assert_eq!(reasons(rig)[&key("no key")], "data_missing_key");

    // Another label config, which it fits: it becomes a task by itself.
    let config = "<View><Text name=\"t\" value=\"$other\"/></View>";
    std::fs::write(rig.path("cats/config.xml"), config).expect("written");
    let tasks = rig.until_tasks(objects + 2);
    assert_eq!(tasks[&(objects as u64 + 1)]["data"], json!({"other": "a"}));
    assert!(!reasons(rig).contains_key(&key("no key")));
}

fn reasons(rig: &Rig) -> BTreeMap<String, Value> {
    let item = |item: Value| (item["key"].as_str().expect("a key").to_owned(), item["reason"].clone());
    rig.list("quarantined").into_iter().map(item).collect()
}
