//! Target cases through the real Label Studio with local storages and labelsync: what Label Studio's own cloud target
//! left in the bucket and in `completions/`, against what the two leave there together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::cases::{self, Case};
use crate::rules::loose;
use crate::source::{each, rig};
use crate::support::far::Far;
use crate::support::label_studio::{Installed, LabelStudio, Zygote};
use crate::support::rig::{Ran, Rig};
use crate::support::{ACCESS_KEY, SECRET_KEY, Server};
use crate::tally::Tally;

/// `out/` and `out` are one: Label Studio's `out//0` is not found again on S3.
const SLASH: &str = "c18_a_prefix_with_a_slash_ends_in_one";
/// With local storages Label Studio itself keeps the file, always.
const LOCAL: &str = "c16_label_studios_own_file_stays_in_completions";
/// Label Studio's cloud targets cannot delete: 500, half done.
const DELETES: &str = "c17_deletes_work_and_leave_the_object";
/// What stands in `completions/` is pushed, whenever it came.
const PUSHED: &str = "c17_completions_that_were_there_before_are_pushed";
/// An object of the target that is about the same data as its task is brought in.
const BROUGHT_IN: &str = "c18_completions_of_the_target_are_brought_in";

/// Rules of targets.
pub const TARGET_RULES: [&str; 5] = [SLASH, LOCAL, DELETES, PUSHED, BROUGHT_IN];

/// Until both sides show what is expected: a completion is pushed when its file is at rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// Objects, or files, as JSON where they are JSON.
type Things = BTreeMap<String, Value>;

/// Every target case of a provider.
pub fn run(installed: &Installed, server: &Arc<Server>, provider: &str) {
    let zygote = installed.zygote(&[
        ("AWS_ENDPOINT_URL", server.endpoint.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ]);
    let tally = Tally::default();
    each(&cases::of("target", provider), |case| Story::new(case, &zygote, server, &tally).tell());
    tally.end(&format!("target-{provider}"));
}

struct Story<'a> {
    case: &'a Case,
    zygote: &'a Zygote,
    tally: &'a Tally,
    rig: Rig,
    far: Far,
    runs: Option<LabelStudio>,
    under: BTreeSet<&'static str>,
    /// Tasks whose completions were deleted by a request that Label Studio's cloud target does not know.
    deleted: BTreeSet<u64>,
    /// Files that were put into `completions/`.
    files: Things,
    /// The data of each task.
    data: BTreeMap<u64, Value>,
}

impl<'a> Story<'a> {
    fn new(case: &'a Case, zygote: &'a Zygote, server: &Arc<Server>, tally: &'a Tally) -> Self {
        let rig = rig();
        let project = rig.project("cats", case.config());
        let config = labelsync::init::directory::config_json();
        std::fs::write(project.join("config.json"), config).expect("written");
        // With a cloud source Label Studio does not look at tasks.json.
        let tasks = case.0["tasks"].as_object().filter(|_| case.0["source"].is_null()).cloned().unwrap_or_default();
        std::fs::write(project.join("tasks.json"), Value::Object(tasks.clone()).to_string()).expect("written");
        let data = tasks.iter().map(|(id, task)| (id.parse().expect("an id"), task["data"].clone())).collect();
        let far = Far::new(server, case.bucket());
        if let Some(objects) = case.objects() {
            far.make();
            far.put(&objects);
        }
        let mut story = Self {
            case,
            zygote,
            tally,
            rig,
            far,
            runs: None,
            under: BTreeSet::new(),
            deleted: BTreeSet::new(),
            files: Things::new(),
            data,
        };
        let source = &case.0["source"];
        for object in source["objects"].as_array().into_iter().flatten() {
            story.far.put(&[(cases::key(object), cases::body(object))]);
            let url = format!("{}{}/{}", case.scheme(), case.bucket(), cases::key(object));
            story.data.insert(0, json!({"image": url}));
        }
        let mut words = Vec::new();
        if !source.is_null() {
            words.extend(["--source", case.provider(), "--source-path", case.bucket(), "--source-params"]);
        }
        let (from, to) = (reach(server, &source["params"]), reach(server, &case.0["params"]));
        if !source.is_null() {
            words.push(&from);
        }
        let kind = format!("{}-completions", case.provider());
        words.extend(["--target", &kind, "--target-path", case.bucket(), "--target-params", &to]);
        let ran = init(&story.rig, &words);
        assert_eq!(ran.code, 0, "{}: {}", case.id(), ran.out);
        story
    }

    fn tell(mut self) {
        let mut snapshots = self.case.0["expected"].as_array().expect("snapshots").iter();
        for step in self.case.steps() {
            let op = step["op"].as_str().expect("an op");
            match op {
                "put" => self.far.put(&[(cases::key(step), cases::body(step))]),
                "del" => self.far.delete(&cases::key(step)),
                "wfile" => self.write(step),
                "start" | "restart" => {
                    if self.runs.take().is_some() {
                        self.rig.stop();
                    }
                    self.rig.start();
                    self.rig.sync();
                    self.runs = Some(self.zygote.start(&self.rig.path("cats")));
                }
                "http" => self.http(step, snapshots.next().expect("a response")),
                "list" | "wait31" => {}
                other => panic!("{}: unknown step {other}", self.case.id()),
            }
            if matches!(op, "start" | "restart" | "list" | "wait31") {
                if let Some(server) = &self.runs {
                    server.call("GET", "/api/tasks?page_size=100", None);
                }
                self.compare(op, snapshots.next().expect("a snapshot"));
            }
        }
        self.tally.add(self.case, &self.under);
    }

    fn write(&mut self, step: &Value) {
        let (name, text) = (step["name"].as_str().expect("a name"), self.case.text(step));
        std::fs::write(self.rig.path("cats").join(name), &text).expect("written");
        if let Some(file) = name.strip_prefix("completions/") {
            self.files.insert(file.to_owned(), thing(text.as_bytes()));
        }
    }

    /// The same request to Label Studio with local storages; its answer must be the same, but where its cloud target
    /// cannot do it.
    fn http(&mut self, step: &Value, recorded: &Value) {
        let (method, path) = (step["method"].as_str().expect("a method"), step["path"].as_str().expect("a path"));
        let body = Some(&step["body"]).filter(|body| !body.is_null());
        let answer = self.runs.as_ref().expect("it runs").call(method, path, body);
        let response = &recorded["response"];
        if response[1]["exception"] == "NotImplementedError" {
            self.under.insert(DELETES);
            let id = path.split('/').nth(3).and_then(|id| id.parse().ok());
            self.deleted.extend(id.map_or_else(|| self.data.keys().copied().collect(), |id: u64| vec![id]));
            if !matches!(answer.status, 200 | 201 | 204) {
                self.tally.differs(format!("{}: {method} {path}: {answer:?}", self.case.id()));
            }
            return;
        }
        let same = response[0] == answer.status && response[1] == answer.body;
        if !same {
            self.tally.differs(format!("{}: {method} {path}: expected {response}, {answer:?}", self.case.id()));
        }
        if answer.status == 201 {
            self.until_pushed(path);
        }
    }

    /// Label Studio's cloud target writes before it answers, labelsync when the file is at rest, a moment later.
    fn until_pushed(&self, path: &str) {
        let Some(id) = path.split('/').nth(3).and_then(|id| id.parse::<u64>().ok()) else { return };
        let (key, file) = (self.key(id), format!("{id}.json"));
        let end = Instant::now() + PATIENCE;
        while self.far_things().get(&key) != self.file_things().get(&file) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn compare(&mut self, op: &str, snapshot: &Value) {
        let bucket = self.bucket(snapshot);
        let files = self.completions(snapshot, &bucket);
        let end = Instant::now() + PATIENCE;
        loop {
            // Twice: what is right must stay so.
            let mut wrong = None;
            for _ in 0..2 {
                self.rig.sync();
                let (there, here) = (self.far_things(), self.file_things());
                if there != bucket {
                    wrong = Some(format!("in the bucket: expected {bucket:?}, there is {there:?}"));
                } else if here != files {
                    wrong = Some(format!("in completions/: expected {files:?}, there is {here:?}"));
                }
            }
            let Some(text) = wrong else { break };
            if Instant::now() > end {
                let status = self.rig.lsctl(&["status", "cats"]).out;
                let conflicts = self.rig.lsctl(&["list", "cats", "--state", "conflict"]).out;
                self.tally.differs(format!("{} after {op}: {text}\n{status}{conflicts}", self.case.id()));
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        self.tally.compared(bucket.len() + files.len());
    }

    fn prefix(&self) -> &str {
        self.case.0["params"]["prefix"].as_str().unwrap_or_default()
    }

    /// Where a completion stands for us.
    fn key(&self, id: u64) -> String {
        let prefix = self.prefix().trim_end_matches('/');
        if prefix.is_empty() { id.to_string() } else { format!("{prefix}/{id}") }
    }

    /// The id of one of Label Studio's own keys.
    fn id_of(&self, key: &str) -> Option<u64> {
        let prefix = self.prefix();
        let name = if prefix.is_empty() { Some(key) } else { key.strip_prefix(prefix)?.strip_prefix('/') };
        name?.parse().ok()
    }

    /// What must stand in the bucket.
    fn bucket(&mut self, snapshot: &Value) -> Things {
        let mut bucket = Things::new();
        for (key, body) in snapshot["bucket"].as_object().into_iter().flatten() {
            let body = recorded_thing(body.as_str().expect("a text"));
            let id = self.id_of(key).filter(|_| self.prefix().ends_with('/'));
            if id.is_some() {
                self.under.insert(SLASH);
            }
            bucket.insert(id.map_or(key.clone(), |id| self.key(id)), body);
        }
        for (file, body) in &self.files {
            let Some(id) = file.strip_suffix(".json").and_then(|id| id.parse::<u64>().ok()) else { continue };
            let key = self.key(id);
            // One about other data than its task's is a conflict, one of no task waits for it.
            if self.data.get(&id) == Some(&body["data"]) && !bucket.contains_key(&key) {
                self.under.insert(PUSHED);
                bucket.insert(key, body.clone());
            }
        }
        bucket
    }

    /// What must stand in `completions/`.
    fn completions(&mut self, snapshot: &Value, bucket: &Things) -> Things {
        let mut files = Things::new();
        for (name, text) in snapshot["completions_dir"].as_object().into_iter().flatten() {
            files.insert(name.clone(), recorded_thing(text.as_str().expect("a text")));
        }
        let keeps_none = self.case.0["params"]["create_local_copy"] == false;
        let were_there: BTreeSet<String> = self.case.objects().unwrap_or_default().into_iter().map(|o| o.0).collect();
        for (id, data) in &self.data {
            let (key, name) = (self.key(*id), format!("{id}.json"));
            let Some(body) = bucket.get(&key) else { continue };
            if files.contains_key(&name) || body.get("data") != Some(data) {
                continue;
            }
            if were_there.contains(&key) {
                if !keeps_none {
                    self.under.insert(BROUGHT_IN);
                    files.insert(name, body.clone());
                }
            } else {
                self.under.insert(LOCAL);
                files.insert(name, body.clone());
            }
        }
        files.retain(|name, _| {
            let id = name.strip_suffix(".json").and_then(|id| id.parse().ok());
            !id.is_some_and(|id| self.deleted.contains(&id))
        });
        files
    }

    fn far_things(&self) -> Things {
        if self.case.objects().is_none() {
            return Things::new();
        }
        let all = self.far.all().into_iter();
        // Whose the prefix is: labelsync's own mark at the bucket's root.
        all.filter(|(key, _)| !key.starts_with(".labelsync/")).map(|(key, body)| (key, thing(&body))).collect()
    }

    fn file_things(&self) -> Things {
        let mut files = Things::new();
        for entry in std::fs::read_dir(self.rig.path("cats/completions")).expect("read") {
            let entry = entry.expect("read");
            let name = entry.file_name().into_string().expect("UTF-8");
            if name.ends_with(".json") {
                files.insert(name, thing(&std::fs::read(entry.path()).unwrap_or_default()));
            }
        }
        files
    }
}

/// JSON with the time of the recording, or the bytes as they are.
pub fn thing(bytes: &[u8]) -> Value {
    let Some(mut value) = loose(bytes) else { return json!(bytes) };
    clocks(&mut value);
    value
}

pub fn recorded_thing(text: &str) -> Value {
    use base64::Engine as _;
    match text.strip_prefix("b64:") {
        Some(coded) => thing(&base64::engine::general_purpose::STANDARD.decode(coded).expect("base64")),
        None => thing(text.as_bytes()),
    }
}

fn clocks(value: &mut Value) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| {
            if key == "created_at" {
                *value = json!(1_600_000_000);
            }
            clocks(value);
        }),
        Value::Array(items) => items.iter_mut().for_each(clocks),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn reach(server: &Server, params: &Value) -> String {
    let mut all = params.as_object().cloned().unwrap_or_else(Map::new);
    all.insert("endpoint".to_owned(), json!(server.endpoint));
    all.insert("allow_http".to_owned(), json!(true));
    Value::Object(all).to_string()
}

fn init(rig: &Rig, words: &[&str]) -> Ran {
    let dir = rig.dir.path().display().to_string();
    let words = [&["init", "cats", "--config-dir", &dir][..], words].concat();
    Ran::of(&mut rig.labelsyncd(&words))
}
