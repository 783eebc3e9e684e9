//! `labelsyncd release` where not all is in step: what waits is named, and nothing changes its id.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::beside::IMAGE_CONFIG;
use crate::support::far::Far;
use crate::support::rig::{Ran, Rig, completion, write};
use crate::support::servers::Server;
use crate::support::{self, Kind};

fn map(entries: &[(u64, String)]) -> Value {
    let entry = |(id, key): &(u64, String)| (id.to_string(), json!({"key": key, "exists": true}));
    Value::Object(entries.iter().map(entry).collect())
}

fn read(rig: &Rig, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(rig.path("cats").join(name)).unwrap()).unwrap()
}

/// A project of Label Studio's own cloud storages: object 0 is there, 1 is gone and has a completion, 2 stands in the target
/// for other data than the object's. An import comes when nobody mirrors.
pub fn names_what_waits(server: Arc<Server>) {
    let (source, target) = (Far::new_bucket(&server), Far::new_bucket(&server));
    let mut rig = Rig::new();
    rig.environment = support::environment();
    rig.settings("");
    let project = rig.project("cats", IMAGE_CONFIG);
    let (kind, scheme, variable) = if server.kind == Kind::Gcs {
        ("gcs", "gs", "STORAGE_EMULATOR_HOST")
    } else {
        ("s3", "s3", "AWS_ENDPOINT_URL")
    };
    let from = |name: &str| format!("{scheme}://{}/in/{name}", source.name());
    let to = |id: u64| (id, format!("{scheme}://{}/out/{id}", target.name()));
    let keys = [(0, from("a.png")), (1, from("gone.png")), (2, from("c.png"))];
    let config = json!({
        "label_config": "config.xml", "input_path": null, "output_dir": "completions",
        "source": {"type": kind, "path": source.name(),
                   "params": {"prefix": "in", "regex": ".*", "use_blob_urls": true, "data_key": "image"}},
        "target": {"type": format!("{kind}-completions"), "path": target.name(), "params": {"prefix": "out"}},
    });
    write(&project.join("config.json"), &config.to_string());
    write(&project.join("source.json"), &map(&keys).to_string());
    write(&project.join("target.json"), &map(&[to(1), to(2)]).to_string());
    let [gone, other] =
        [(1, from("gone.png")), (2, from("else.png"))].map(|(id, url)| completion(id, &json!({"image": url}), "cat"));
    std::fs::write(project.join("completions/1.json"), &gone).unwrap();
    target.put(&[("out/1".to_owned(), gone.clone()), ("out/2".to_owned(), other.clone())]);
    source.put(&["in/a.png", "in/c.png"].map(|key| (key.to_owned(), b"a picture".to_vec())));

    let reach = json!({"endpoint": server.endpoint, "allow_http": true, "poll_interval": "1s"}).to_string();
    let dir = rig.dir.path().display().to_string();
    let words = ["init", "cats", "--adopt", "--config-dir", &dir, "--source-params", &reach, "--target-params", &reach];
    let adopted = Ran::of(&mut rig.labelsyncd(&words));
    assert_eq!(adopted.code, 0, "{}{}", adopted.out, adopted.err);
    rig.start();
    assert!(rig.until_tasks(2).keys().eq([0, 2].iter()));
    rig.until_status("the conflict", |status| status["conflicts"] == 1);
    rig.sync();
    rig.stop();
    // Imported since: it stands in tasks.json alone.
    let mut tasks = read(&rig, "tasks.json");
    tasks["3"] = json!({"id": 3, "data": {"image": "http://localhost/import.png"}});
    write(&project.join("tasks.json"), &tasks.to_string());

    let config = rig.config().display().to_string();
    let release =
        |more: &[&str]| Ran::of(&mut rig.labelsyncd(&[&["release", "cats", "--config", &config], more].concat()));
    let refused = release(&[]);
    assert_eq!(refused.code, 7, "{}", refused.out);
    assert!(refused.out.contains("2 completions are not in the target as they are here: 1, 2"), "{}", refused.out);
    assert_eq!(read(&rig, "config.json")["source"]["type"], "tasks-json", "nothing is changed");
    let (whole, source_map) = (read(&rig, "target.json"), read(&rig, "source.json"));
    write(&project.join("target.json"), "{\"1\": {");
    let refused = release(&["--force"]);
    assert!(refused.code == 7 && refused.out.contains("target.json ends in the middle"), "{}", refused.out);
    assert_eq!(read(&rig, "source.json"), source_map, "nothing is changed");
    write(&project.join("target.json"), &whole.to_string());
    let released = release(&["--force"]);
    assert_eq!(released.code, 0, "{}", released.out);
    let hint = format!("give Label Studio {variable}={} in its environment", server.endpoint);
    assert!(released.out.contains(&hint), "{}", released.out);
    let there = read(&rig, "source.json");
    assert!(keys.iter().all(|(id, key)| there[id.to_string()]["key"] == **key), "{there}");
    assert!(there["3"]["key"].as_str().is_some_and(|key| key.ends_with("tasks.json/3")), "its id stays taken: {there}");
    assert_eq!(read(&rig, "target.json"), map(&[to(1), to(2)]), "each object under the id of its key");
    assert_eq!(["out/1", "out/2"].map(|key| target.all().remove(key)), [Some(gone), Some(other)]);
}
