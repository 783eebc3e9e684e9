//! A project of the real Label Studio with its own cloud storages: adopted, labelled with labelsync, released, and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::beside::IMAGE_CONFIG;
use crate::support::double::{Double, answer};
use crate::support::far::Far;
use crate::support::label_studio::{Installed, LabelStudio};
use crate::support::rig::{PATIENCE, Ran, Rig, until, write};
use crate::support::servers::Server;
use crate::support::{self, ACCESS_KEY, Kind, SECRET_KEY};

/// Which storages of Label Studio's own, and what they need.
struct Cloud {
    kind: &'static str,
    /// Matched by the regex, and not listed under the prefix.
    elsewhere: &'static str,
    variables: Vec<(&'static str, String)>,
    /// Google's library asks for a token, also for an emulator; in its runtime.
    _tokens: Option<(tokio::runtime::Runtime, Double)>,
}

impl Cloud {
    fn of(server: &Server, rig: &Rig) -> Self {
        if server.kind != Kind::Gcs {
            let variables = vec![
                ("AWS_ENDPOINT_URL", server.endpoint.clone()),
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ];
            return Self { kind: "s3", elsewhere: "in/sub/no.png", variables, _tokens: None };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let token = json!({"access_token": "a", "expires_in": 3600, "token_type": "Bearer"}).to_string();
        let tokens = runtime.block_on(Double::always(answer("200 OK", "Content-Type: application/json\r\n", &token)));
        let key = json!({
            "type": "service_account", "client_email": "labelsync@project.iam.gserviceaccount.com",
            "project_id": "project", "private_key_id": "id", "token_uri": format!("{}/token", tokens.endpoint()),
            "private_key": include_str!("../credentials/service-account-key.pem"),
        });
        write(&rig.path("key.json"), &key.to_string());
        let variables = vec![
            ("STORAGE_EMULATOR_HOST", server.endpoint.clone()),
            ("GOOGLE_APPLICATION_CREDENTIALS", rig.path("key.json").display().to_string()),
        ];
        Self { kind: "gcs", elsewhere: "other/no.png", variables, _tokens: Some((runtime, tokens)) }
    }
}

struct Story {
    rig: Rig,
    installed: Installed,
    endpoint: String,
    cloud: Cloud,
    source: Far,
    target: Far,
}

impl Story {
    fn new((installed, server): (Installed, Arc<Server>)) -> Self {
        let mut rig = Rig::new();
        rig.environment = support::environment();
        rig.settings("");
        let cloud = Cloud::of(&server, &rig);
        let (source, target) = (Far::new_bucket(&server), Far::new_bucket(&server));
        Self { rig, installed, endpoint: server.endpoint.clone(), cloud, source, target }
    }

    /// A project whose storages are Label Studio's own.
    fn init(&self) {
        let target = format!("{}-completions", self.cloud.kind);
        let own = [
            ["--source", self.cloud.kind],
            ["--source-path", self.source.name()],
            ["--source-params", r#"{"prefix": "in", "regex": ".*png", "data_key": "image"}"#],
            ["--target", &target],
            ["--target-path", self.target.name()],
            ["--target-params", r#"{"prefix": "out"}"#],
        ];
        self.installed.init_with(&self.rig.path("cats"), IMAGE_CONFIG, &own.concat(), &self.cloud.variables);
    }

    fn start(&self) -> LabelStudio {
        self.installed.start(&self.rig.path("cats"), &self.cloud.variables)
    }

    fn put(&self, key: &str) {
        self.source.put(&[(key.to_owned(), b"a picture".to_vec())]);
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.target.all().remove(key)
    }

    /// The pictures by id, when Label Studio shows these ids.
    fn until_shown(&self, server: &LabelStudio, ids: &[u64]) -> BTreeMap<u64, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            // While it syncs, in a thread, it may answer with a part, or 500.
            let answer = server.call("GET", "/api/tasks?page_size=100", None);
            let tasks = answer.body.as_array().cloned().unwrap_or_default();
            let shown: BTreeMap<u64, String> = tasks.iter().map(|task| (id(task), picture(task))).collect();
            if shown.keys().copied().eq(ids.iter().copied()) {
                return shown;
            }
            assert!(Instant::now() < end, "waited for {ids:?}: {} {}; {}", answer.status, answer.body, server.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn adopt(&self) -> Ran {
        // Label Studio is told the server by its environment, labelsync by its settings.
        let reach = json!({"endpoint": self.endpoint, "allow_http": true, "poll_interval": "1s"}).to_string();
        let dir = self.rig.dir.path().display().to_string();
        let words =
            ["init", "cats", "--adopt", "--config-dir", &dir, "--source-params", &reach, "--target-params", &reach];
        Ran::of(&mut self.rig.labelsyncd(&words))
    }

    fn release(&self) -> Ran {
        let config = self.rig.config().display().to_string();
        Ran::of(&mut self.rig.labelsyncd(&["release", "cats", "--config", &config]))
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.rig.path("cats/config.json")).unwrap()).unwrap()
    }
}

fn id(task: &Value) -> u64 {
    task["id"].as_u64().unwrap()
}

fn picture(task: &Value) -> String {
    let url = task["data"]["image"].as_str().unwrap().split('?').next().unwrap();
    url.rsplit('/').next().unwrap().to_owned()
}

/// Saves a completion through the API.
pub fn label(server: &LabelStudio, id: u64, choice: &str) {
    let result = json!([{"id": "r", "from_name": "is", "to_name": "image", "type": "choices",
                         "value": {"choices": [choice]}}]);
    let body = json!({"lead_time": 2.5, "result": result});
    let answer = server.call("POST", &format!("/api/tasks/{id}/completions"), Some(&body));
    assert_eq!(answer.status, 201, "{}; {}", answer.body, server.log());
}

/// What Label Studio says was chosen for a task.
pub fn chosen(server: &LabelStudio, id: u64) -> Value {
    let answer = server.call("GET", &format!("/api/tasks/{id}"), None);
    assert_eq!(answer.status, 200, "{}; {}", answer.body, server.log());
    answer.body["completions"][0]["result"][0]["value"]["choices"][0].clone()
}

/// The daemon runs; or a completion is not in the target, where Label Studio's own storage would look for it.
fn refused_while_a_completion_waits(story: &mut Story) {
    assert_eq!(story.release().code, 73, "labelsyncd runs");
    story.rig.stop();
    let saved = story.rig.label(1, "dog");
    let refused = story.release();
    assert_eq!(refused.code, 7, "{}", refused.out);
    assert!(refused.out.contains("1 completions are not in the target as they are here: 1"), "{}", refused.out);
    assert_eq!(story.config()["source"]["type"], "tasks-json", "nothing is changed");
    story.rig.start();
    until("the push", PATIENCE, || (story.object("out/1")? == saved).then_some(()));
    assert_eq!(story.rig.sync(), 0);
    story.rig.stop();
}

/// Before the source can be listed nothing is known of the ids that were taken over but their keys: a completion under
/// one is no other task's.
fn completions_wait_for_their_objects(story: &mut Story) {
    let settings = story.rig.path("conf.d/cats.toml");
    let reachable = std::fs::read_to_string(&settings).unwrap();
    write(&settings, &reachable.replacen(&story.endpoint, "http://127.0.0.1:9", 1));
    story.rig.start();
    assert_ne!(story.rig.sync(), 0);
    assert!(story.rig.path("cats/completions/2.json").exists(), "Label Studio's own copy");
    assert_eq!(story.rig.status()["tasks"], 0);
    assert_eq!(story.rig.list("conflict"), Vec::<Value>::new());
    story.rig.stop();
    write(&settings, &reachable);
}

/// By the route that this version has; 0.8 has both.
fn import_by_hand(server: &LabelStudio, tasks: &Value) {
    let takes = |path| server.call("POST", path, Some(tasks)).status == 201;
    assert!(["/api/import", "/api/project/import"].into_iter().any(takes), "Label Studio took no import");
}

/// Ids and completions are the same all the way; what arrives meanwhile gets ids above.
pub fn there_and_back(given: (Installed, Arc<Server>)) {
    let mut story = Story::new(given);
    for key in ["in/b.png", "in/c.png", story.cloud.elsewhere] {
        story.put(key);
    }
    story.init();

    // Label Studio alone; the second start finds an object that comes before the others.
    let server = story.start();
    story.until_shown(&server, &[0, 1]);
    drop(server);
    story.put("in/a.png");
    let server = story.start();
    let before = story.until_shown(&server, &[0, 1, 2]);
    assert_eq!(before[&2], "a.png");
    label(&server, 2, "cat");
    let saved = story.object("out/2").expect("in the target");

    // It must be stopped first.
    let refused = story.adopt();
    assert_eq!(refused.code, 78, "{}", refused.out);
    assert!(refused.out.contains("runs on this directory") && refused.out.contains("stop it"), "{}", refused.out);
    assert_eq!(story.config()["source"]["type"], story.cloud.kind);
    drop(server);
    let adopted = story.adopt();
    assert_eq!(adopted.code, 0, "{}{}", adopted.out, adopted.err);
    let config = story.config();
    assert_eq!(config["source"], json!({"name": "Tasks", "type": "tasks-json", "path": "tasks.json"}));
    assert_eq!(config["target"], json!({"name": "Completions", "type": "completions-dir", "path": "completions"}));
    assert_eq!(story.adopt().code, 78, "there is nothing left to take over");

    completions_wait_for_their_objects(&mut story);

    // The same ids with labelsync; labelling goes on, an import comes in, an object too.
    story.rig.start();
    story.rig.until_tasks(3);
    let server = story.start();
    assert_eq!(story.until_shown(&server, &[0, 1, 2]), before);
    assert_eq!(chosen(&server, 2), "cat");
    label(&server, 0, "dog");
    let import = json!([{"image": "http://localhost/import.png"}]);
    import_by_hand(&server, &import);
    story.rig.until_tasks(4);
    story.put("in/0.png");
    story.rig.until_tasks(5);
    let beside = story.until_shown(&server, &[0, 1, 2, 3, 4]);
    assert_eq!((beside[&3].as_str(), beside[&4].as_str()), ("import.png", "0.png"));
    label(&server, 4, "cat");
    drop(server);
    assert_eq!(story.rig.sync(), 0);
    assert_eq!(story.object("out/2"), Some(saved), "what Label Studio wrote is not written again");
    let mine: Value = serde_json::from_slice(&until("the push", PATIENCE, || story.object("out/4"))).unwrap();
    assert_eq!(mine["id"], 4);

    // Back to Label Studio's own storages, while nobody serves the project.
    refused_while_a_completion_waits(&mut story);
    let released = story.release();
    assert_eq!(released.code, 0, "{}{}", released.out, released.err);
    assert_eq!(story.config()["source"]["type"], story.cloud.kind);
    story.put("in/z.png");
    let server = story.start();
    // The import is in tasks.json, which its own cloud storage does not show; its id stays taken.
    let after = story.until_shown(&server, &[0, 1, 2, 4, 5]);
    assert_eq!((&after[&0], &after[&1], &after[&2]), (&before[&0], &before[&1], &before[&2]));
    assert_eq!((after[&4].as_str(), after[&5].as_str()), ("0.png", "z.png"));
    assert_eq!([0, 2, 4].map(|id| chosen(&server, id)), [json!("dog"), json!("cat"), json!("cat")]);
    label(&server, 5, "dog");

    // And again: what Label Studio gave meanwhile is taken over as well.
    story.rig.start();
    story.rig.until_code("label_studio_owns_source");
    drop(server);
    std::fs::remove_file(story.rig.path("conf.d/cats.toml")).unwrap();
    let again = story.adopt();
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    let tasks = story.rig.until_tasks(6);
    let pictures: BTreeMap<u64, String> = tasks.iter().map(|(id, task)| (*id, picture(task))).collect();
    assert_eq!(pictures[&5], "z.png");
    assert!(beside.iter().all(|(id, picture)| pictures[id] == *picture), "{pictures:?}");
    assert_eq!(story.rig.sync(), 0);
    let server = story.start();
    story.until_shown(&server, &[0, 1, 2, 3, 4, 5]);
    assert_eq!([0, 2, 4, 5].map(|id| chosen(&server, id)), [json!("dog"), json!("cat"), json!("cat"), json!("dog")]);
}
