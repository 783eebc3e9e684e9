//! Target cases through the real Label Studio with local storages and labelsync: what Label Studio's own cloud target
//! left in the bucket and in `completions/`, against what the two leave there together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::cases::{self, Case};
use crate::expect::refusal;
use crate::pair::{self, Pair, Things, recorded_thing, task_of, thing, until_pushed};
use crate::source::each;
use crate::support::far::Far;
use crate::support::label_studio::{Installed, Zygote};
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

/// Every target case of a provider.
pub fn run(installed: &Installed, server: &Arc<Server>, provider: &str) {
    let zygote = installed.zygote(&[
        ("AWS_ENDPOINT_URL", server.endpoint.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ]);
    let tally = Tally::default();
    each(&cases::of("target", provider), |case| {
        if let Some(mut story) = Story::new(case, &zygote, server, &tally) {
            pair::tell(&mut story);
        }
    });
    tally.end(&format!("target-{provider}"));
}

struct Story<'a> {
    pair: Pair<'a>,
    far: Far,
    /// Tasks whose completions were deleted by a request that Label Studio's cloud target does not know.
    deleted: BTreeSet<u64>,
    /// Files that were put into `completions/`.
    files: Things,
    /// The data of each task.
    data: BTreeMap<u64, Value>,
}

impl<'a> Story<'a> {
    /// `None`: `init` refuses the parameters, on purpose.
    fn new(case: &'a Case, zygote: &'a Zygote, server: &Arc<Server>, tally: &'a Tally) -> Option<Self> {
        // With a cloud source Label Studio does not look at tasks.json.
        let tasks = case.0["tasks"].as_object().filter(|_| case.0["source"].is_null()).cloned().unwrap_or_default();
        let data = tasks.iter().map(|(id, task)| (id.parse().expect("an id"), task["data"].clone())).collect();
        let pair = Pair::new(case, zygote, tally, &Value::Object(tasks));
        let far = Far::new(server, case.bucket());
        if let Some(objects) = case.objects() {
            far.make();
            far.put(&objects);
        }
        let mut story = Self { pair, far, deleted: BTreeSet::new(), files: Things::new(), data };
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
        let ran = init(&story.pair.rig, &words);
        if let Some(rule) = refusal(&case.0["params"]) {
            assert_ne!(ran.code, 0, "{}: {}", case.id(), ran.out);
            tally.add(case, &BTreeSet::from([rule]));
            return None;
        }
        assert_eq!(ran.code, 0, "{}: {}", case.id(), ran.out);
        Some(story)
    }

    fn prefix(&self) -> &str {
        self.pair.case.0["params"]["prefix"].as_str().unwrap_or_default()
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
                self.pair.under.insert(SLASH);
            }
            bucket.insert(id.map_or(key.clone(), |id| self.key(id)), body);
        }
        for (file, body) in &self.files {
            let Some(id) = file.strip_suffix(".json").and_then(|id| id.parse::<u64>().ok()) else { continue };
            let key = self.key(id);
            // One about other data than its task's is a conflict, one of no task waits for it.
            if self.data.get(&id) == Some(&body["data"]) && !bucket.contains_key(&key) {
                self.pair.under.insert(PUSHED);
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
        let keeps_none = self.pair.case.0["params"]["create_local_copy"] == false;
        let were_there: BTreeSet<String> =
            self.pair.case.objects().unwrap_or_default().into_iter().map(|o| o.0).collect();
        for (id, data) in &self.data {
            let (key, name) = (self.key(*id), format!("{id}.json"));
            let Some(body) = bucket.get(&key) else { continue };
            let is_its_own = body.get("data") == Some(data) && body["id"] == *id;
            if files.contains_key(&name) || !is_its_own {
                continue;
            }
            if were_there.contains(&key) {
                if !keeps_none {
                    self.pair.under.insert(BROUGHT_IN);
                    files.insert(name, body.clone());
                }
            } else {
                self.pair.under.insert(LOCAL);
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
        if self.pair.case.objects().is_none() {
            return Things::new();
        }
        let all = self.far.all().into_iter();
        // Whose the prefix is: labelsync's own mark at the bucket's root.
        all.filter(|(key, _)| !key.starts_with(".labelsync/")).map(|(key, body)| (key, thing(&body))).collect()
    }

    fn file_things(&self) -> Things {
        self.pair.files("cats/completions", ".json")
    }
}

impl<'a> pair::Story<'a> for Story<'a> {
    fn pair(&mut self) -> &mut Pair<'a> {
        &mut self.pair
    }

    fn other(&mut self, step: &Value) {
        match step["op"].as_str() {
            Some("put") => self.far.put(&[(cases::key(step), cases::body(step))]),
            Some("del") => self.far.delete(&cases::key(step)),
            _ => panic!("{}: unknown step {step}", self.pair.case.id()),
        }
    }

    fn write(&mut self, name: &str, text: &str) {
        std::fs::write(self.pair.rig.path("cats").join(name), text).expect("written");
        if let Some(file) = name.strip_prefix("completions/") {
            self.files.insert(file.to_owned(), thing(text.as_bytes()));
        }
    }

    /// The same request to Label Studio with local storages; its answer must be the same, but where its cloud target
    /// cannot do it.
    fn http(&mut self, step: &'a Value, recorded: &Value) {
        let (method, path, mut answer) = self.pair.ask(step);
        let mut response = recorded["response"].clone();
        pair::forget_duration([&mut answer.body, &mut response[1]]);
        let id = task_of(path);
        if response[1]["exception"] == "NotImplementedError" {
            self.pair.under.insert(DELETES);
            self.deleted.extend(id.map_or_else(|| self.data.keys().copied().collect(), |id| vec![id]));
            if !matches!(answer.status, 200 | 201 | 204) {
                self.pair.differs(&format!("{method} {path}: {answer:?}"));
            }
            return;
        }
        // 0.8.2 tells more of an error than 0.8.2.post0.
        let same = response[0] == answer.status && (answer.status == 500 || response[1] == answer.body);
        if !same {
            self.pair.differs(&format!("{method} {path}: expected {response}, {answer:?}"));
        }
        // Label Studio's cloud target writes before it answers, labelsync when the file is at rest, a moment later.
        if let Some(id) = id.filter(|_| answer.status == 201) {
            let (key, file) = (self.key(id), format!("{id}.json"));
            until_pushed(|| self.far_things().get(&key) == self.file_things().get(&file));
        }
    }

    fn wrong(&mut self, snapshot: &Value) -> Option<String> {
        if self.pair.is_running() {
            self.pair.server().call("GET", "/api/tasks?page_size=100", None);
        }
        let bucket = self.bucket(snapshot);
        let files = self.completions(snapshot, &bucket);
        let (there, here) = (self.far_things(), self.file_things());
        if there != bucket {
            return Some(format!("in the bucket: expected {bucket:?}, there is {there:?}"));
        }
        if here != files {
            return Some(format!("in completions/: expected {files:?}, there is {here:?}"));
        }
        self.pair.tally.compared(bucket.len() + files.len());
        None
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
