//! Short stories with the real Label Studio: another bucket, another version.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::beside::Beside;
use crate::load::picture;
use crate::support::label_studio::{Installed, LabelStudio};
use crate::support::servers::Server;
use crate::support::{self, ACCESS_KEY, SECRET_KEY};

/// Saves a completion; 0.7 wants its slash at the end.
fn label(server: &LabelStudio, path: &str) {
    let result = json!([{"id": "r", "from_name": "is", "to_name": "image", "type": "choices",
                         "value": {"choices": ["dog"]}}]);
    let answer = server.call("POST", path, Some(&json!({"lead_time": 2.5, "result": result})));
    assert_eq!(answer.status, 201, "{}; {}", answer.body, server.log());
}

/// Label Studio with its local storages shows the bucket's objects by URLs that it signs itself, and its completions
/// stand in the bucket as Label Studio's own target would write them (C18).
pub fn s3((installed, moto): (Installed, Arc<Server>)) {
    let mut beside = Beside::new(&installed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (client, bucket) = (moto.client(), runtime.block_on(moto.new_bucket()));
    let put = |key: &str| {
        let body: &[u8] = if key.ends_with('/') { b"" } else { b"a picture" };
        let put = client.put_object().bucket(&bucket).key(key).body(body.to_vec().into());
        runtime.block_on(put.send()).unwrap();
    };
    for key in ["in/blob-1.png", "in/blob-2.png", "in/", "else/blob-9.png"] {
        put(key);
    }
    let variables: Vec<(&str, String)> = vec![
        ("AWS_ENDPOINT_URL", moto.endpoint.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ];
    let server = installed.start(&beside.project(), &variables);
    let side = format!("bucket = \"{bucket}\"\nendpoint = \"{}\"\nallow_http = true\n", moto.endpoint);
    let source = format!("type = \"s3\"\n{side}prefix = \"in\"\nregex = '.*'\npoll_interval = \"1s\"\n");
    let target = format!("type = \"s3\"\n{side}prefix = \"out/\"\n");
    beside.start(&source, &target, support::environment());
    beside.until_ids(&[0, 1]);
    put("in/blob-0.png");
    let tasks = beside.until_ids(&[0, 1, 2]);
    assert_eq!(tasks[&2]["data"]["image"], format!("s3://{bucket}/in/blob-0.png"));
    for task in server.tasks() {
        let url = task["data"]["image"].as_str().unwrap().to_owned();
        assert!(url.starts_with("http") && url.contains(&picture(&task)), "Label Studio signs it: {url}");
    }
    label(&server, "/api/tasks/1/completions");
    let file = std::fs::read(beside.project().join("completions/1.json")).unwrap();
    let object = beside.until("the completion in the bucket", || {
        let get = client.get_object().bucket(&bucket).key("out/1").send();
        let got = runtime.block_on(get).ok()?;
        runtime.block_on(got.body.collect()).ok().map(|body| body.into_bytes())
    });
    assert_eq!(object, file);
    assert_eq!(serde_json::from_slice::<Value>(&object).unwrap()["data"], tasks[&1]["data"], "not the signed URL");
}

/// Label Studio 0.7 counts for itself: its ids stay the file's as long as these are dense and come at the end (C5).
pub fn dense_ids(installed: Installed) {
    let mut beside = Beside::new(&installed);
    let server = installed.start(&beside.project(), &[]);
    for number in 0..5 {
        beside.put(&format!("blob-{number}.png"));
    }
    beside.start_local();
    beside.until_ids(&[0, 1, 2, 3, 4]);
    let listed = |server: &LabelStudio| {
        let tasks = server.tasks().into_iter().map(|task| (task["id"].as_u64().unwrap(), picture(&task)));
        tasks.collect::<BTreeMap<_, _>>()
    };
    let in_file = || beside.tasks().into_iter().map(|(id, task)| (id, picture(&task))).collect::<BTreeMap<_, _>>();
    assert_eq!(listed(&server), in_file());
    for number in 5..12 {
        let import = json!([{"image": format!("http://localhost/import-{number}.png")}]);
        assert_eq!(server.call("POST", "/api/import", Some(&import)).status, 201, "{}", server.log());
        beside.until("the import in the file", || {
            in_file().values().any(|p| *p == format!("import-{number}.png")).then_some(())
        });
        beside.put(&format!("blob-{number}.png"));
        beside.until("the blob in the file", || {
            in_file().values().any(|p| *p == format!("blob-{number}.png")).then_some(())
        });
        assert_eq!(listed(&server), in_file(), "every id stands for the same to both");
    }
    label(&server, "/api/tasks/7/completions/");
    beside.until("the completion in the target", || std::fs::read(beside.path("out/done/7")).ok());
}
