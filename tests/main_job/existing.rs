//! Projects that are there already, and the documentation's command line.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::bucket::{Bucket, rig};
use crate::support::rig::{IMAGE_CONFIG, Ran, Rig, completion, write};
use crate::support::{Server, environment};

fn urls(rig: &Rig) -> BTreeMap<u64, String> {
    let url = |(id, task): (u64, serde_json::Value)| (id, task["data"]["image"].as_str().expect("a URL").to_owned());
    rig.tasks().into_iter().map(url).collect()
}

/// `source.json` and `completions/` as Label Studio's own S3 storage left them (0.8.md, section 2).
pub async fn the_ids_of_label_studios_own_s3_storage_stay_with_their_keys(server: Arc<Server>) {
    let (mut rig, from, to) = rig(&server, IMAGE_CONFIG, "regex = '.*'").await;
    for key in ["a.png", "b.png", "c.png"] {
        from.put(key, b"a picture".to_vec()).await;
    }
    let url = |key: &str| format!("s3://{}/{key}", from.name);
    let entry =
        |id: u64, key: &str| format!("\"{id}\":{{\"key\":\"{}\",\"exists\":true}}", url(key).replace('/', "\\/"));
    let map = [entry(0, "b.png"), entry(5, "c.png"), entry(7, "gone.png")].join(",");
    write(&rig.path("cats/source.json"), &format!("{{{map}}}"));
    std::fs::remove_file(rig.path("cats/tasks.json")).expect("a cloud source has none");
    let saved = completion(5, &json!({"image": url("c.png")}), "cat");
    std::fs::write(rig.path("cats/completions/5.json"), &saved).expect("written");
    rig.start();
    rig.until_tasks(3);
    assert_eq!(urls(&rig), BTreeMap::from([(0, url("b.png")), (5, url("c.png")), (8, url("a.png"))]));
    to.until_holds("done/5", &saved).await;
    assert!(rig.ok(&["events"]).contains("= 3 ids taken over from Label Studio's source.json"));
    from.put("gone.png", b"back".to_vec()).await;
    rig.until_tasks(4);
    assert_eq!(urls(&rig)[&7], url("gone.png"), "its id was kept for it");
}

/// The documentation's two lines for one bucket, then `--check`, then the daemon.
pub async fn the_documentations_lines_make_a_project_that_runs(server: Arc<Server>) {
    let bucket = Bucket::new(&server).await;
    bucket.put("in/a.png", b"a picture".to_vec()).await;
    bucket.put("in/b.txt", b"no picture".to_vec()).await;
    let mut rig = Rig::new();
    rig.environment = environment();
    write(&rig.path("image.xml"), IMAGE_CONFIG);
    let endpoint = format!("\"endpoint\": \"{}\", \"allow_http\": true", server.endpoint);
    let source = format!("{{\"prefix\": \"in\", \"regex\": \".*png\", \"use_blob_urls\": true, {endpoint}}}");
    let target = format!("{{\"prefix\": \"done\", \"create_local_copy\": true, {endpoint}}}");
    for (side, kind, params, more) in
        [("source", "s3", &source, &["--label-config", "image.xml"][..]), ("target", "s3-completions", &target, &[])]
    {
        let line = format!("init label-studio start cats --init --{side} {kind} --{side}-path {}", bucket.name);
        let mut words: Vec<&str> = line.split(' ').collect();
        let option = format!("--{side}-params");
        words.extend([option.as_str(), params, "--config-dir", "etc"]);
        words.extend(more);
        let made = Ran::of(&mut rig.labelsyncd(&words));
        assert_eq!((made.code, made.err.as_str()), (0, ""), "{}", made.out);
    }
    let (socket, state) = (rig.socket().display().to_string(), rig.path("state").display().to_string());
    let all = ["--config", "etc/labelsyncd.toml", "--socket", &socket, "--state-dir", &state];
    let checked = Ran::of(rig.labelsyncd(&all).arg("--check"));
    assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{}", checked.out);
    assert!(checked.out.contains("label_studio_has_credentials = true"), "it reminds of them: {}", checked.out);

    rig.spawn_with(&all);
    rig.until_answer();
    rig.until_tasks(1);
    assert_eq!(urls(&rig), BTreeMap::from([(0, format!("s3://{}/in/a.png", bucket.name))]));
    let saved = rig.label(0, "cat");
    bucket.until_holds("done/0", &saved).await;
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.tasks().len(), 1, "a completion is no task");
    assert!(rig.ok(&["status"]).contains("label_studio_needs_credentials"));
}
