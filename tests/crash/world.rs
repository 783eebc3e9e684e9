//! What a crash must not change: a project of JSON tasks with everything that was seen of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::support::Server;
use crate::support::rig::{PATIENCE, Rig, TEXT_CONFIG, completion, until};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What no name of a finished file has.
const UNFINISHED: [&str; 2] = [".lsd-", ".labelsync-"];

/// A rig and what was seen and done.
pub struct World {
    pub rig: Rig,
    /// The text of each id that was ever seen in `tasks.json`.
    seen: BTreeMap<u64, String>,
    /// The text of each object.
    objects: BTreeMap<String, String>,
    /// The last bytes of each completion.
    completions: BTreeMap<u64, Vec<u8>>,
    /// The regex that was acknowledged last, and one that was asked for.
    regex: (String, Option<String>),
    far: Option<Far>,
}

/// Buckets of a server in place of directories.
struct Far {
    runtime: tokio::runtime::Runtime,
    from: Bucket,
    to: Bucket,
}

impl World {
    /// JSON tasks from a directory, completions to another.
    pub fn new() -> Self {
        Self::of(Rig::new())
    }

    /// On a rig whose directories are made.
    pub fn of(rig: Rig) -> Self {
        rig.project("cats", TEXT_CONFIG);
        let json = "poll_interval = \"1s\"\nuse_blob_urls = false\n[";
        rig.settings(&rig.local_project("cats", ".*").replace("poll_interval = \"1s\"\n[", json));
        let (seen, objects, completions) = Default::default();
        Self { rig, seen, objects, completions, regex: (".*".to_owned(), None), far: None }
    }

    /// On two buckets of a server that the daemon reaches at `endpoint`; the name of the target's.
    pub fn behind(server: &Arc<Server>, endpoint: &str) -> (Self, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let source = "use_blob_urls = false\nregex = '.*'";
        let (rig, from, to) = runtime.block_on(crate::bucket::rig(server, TEXT_CONFIG, source));
        let settings = std::fs::read_to_string(rig.config()).expect("read");
        std::fs::write(rig.config(), settings.replace(&server.endpoint, endpoint)).expect("written");
        let (seen, objects, completions, name) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), to.name.clone());
        let far = Some(Far { runtime, from, to });
        (Self { rig, seen, objects, completions, regex: (".*".to_owned(), None), far }, name)
    }

    /// The name of the source's bucket.
    pub fn source(&self) -> String {
        self.far.as_ref().expect("it has buckets").from.name.clone()
    }

    /// The two buckets keep every version from now on.
    pub fn keep_versions(&self) {
        let far = self.far.as_ref().expect("it has buckets");
        for bucket in [&far.from, &far.to] {
            let how = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let ask = bucket.client.put_bucket_versioning().bucket(&bucket.name).versioning_configuration(how);
            far.runtime.block_on(ask.send()).expect("kept from now on");
        }
    }

    /// Deletes an object of the source (or of the target); the version that says so, where versions are kept.
    pub fn delete(&self, from_source: bool, key: &str) -> Option<String> {
        let far = self.far.as_ref().expect("it has buckets");
        far.runtime.block_on(if from_source { &far.from } else { &far.to }.delete(key, None))
    }

    /// Takes a deletion in the source back.
    pub fn undelete(&self, key: &str, marker: &str) {
        let far = self.far.as_ref().expect("it has buckets");
        far.runtime.block_on(far.from.delete(key, Some(marker)));
    }

    /// A new object.
    pub fn put(&mut self, key: &str) {
        let text = format!("the text of {key}");
        let body = serde_json::json!({ "text": text }).to_string();
        match &self.far {
            Some(far) => far.runtime.block_on(far.from.put(key, body.into_bytes())),
            None => self.rig.put(key, &body),
        }
        self.objects.insert(key.to_owned(), text);
    }

    /// Saves a completion as Label Studio does, in place.
    pub fn label(&mut self, id: u64, choice: &str) {
        let data = serde_json::json!({"text": self.seen[&id]});
        let bytes = completion(id, &data, choice);
        std::fs::write(self.rig.path("cats/completions").join(format!("{id}.json")), &bytes).expect("written");
        self.completions.insert(id, bytes);
    }

    /// The same, and a power cut does not take it away.
    pub fn label_durably(&mut self, id: u64, choice: &str) {
        self.label(id, choice);
        let dir = self.rig.path("cats/completions");
        for path in [dir.join(format!("{id}.json")), dir] {
            std::fs::File::open(path).and_then(|file| file.sync_all()).expect("synced");
        }
    }

    /// Changes the regex; whether that was acknowledged.
    pub fn set_regex(&mut self, regex: &str) {
        self.regex.1 = Some(regex.to_owned());
        if self.rig.lsctl(&["set-source", "cats", "--regex", regex]).code == 0 {
            self.regex = (regex.to_owned(), None);
        }
    }

    /// Looks at `tasks.json`: it is whole, and no id stands for anything else than before.
    pub fn look(&mut self) -> usize {
        let path = self.rig.path("cats/tasks.json");
        let bytes = std::fs::read(&path).expect("tasks.json is always there");
        let tasks: BTreeMap<u64, Value> = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("tasks.json is torn ({error}): {}", String::from_utf8_lossy(&bytes)));
        for (id, task) in &tasks {
            let text = task["data"]["text"].as_str().expect("a text");
            let before = self.seen.entry(*id).or_insert_with(|| text.to_owned());
            assert_eq!(before, text, "id {id} is another task now");
        }
        tasks.len()
    }

    /// Whether the target holds what was saved last.
    pub fn is_pushed(&self, id: u64) -> bool {
        let there = match &self.far {
            Some(far) => far.runtime.block_on(far.to.get(&format!("done/{id}"))),
            None => std::fs::read(self.rig.path("out/done").join(id.to_string())).ok(),
        };
        there.is_some() && there.as_ref() == self.completions.get(&id)
    }

    /// Waits for so many tasks; false when the daemon has ended.
    pub fn tasks_or_dead(&mut self, count: usize) -> bool {
        self.or_dead(|world| world.look() >= count)
    }

    /// Waits for a push; false when the daemon has ended.
    pub fn pushed_or_dead(&mut self, id: u64) -> bool {
        self.or_dead(|world| {
            world.look();
            world.is_pushed(id)
        })
    }

    fn or_dead(&mut self, mut reached: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            // First: what it did before it died counts.
            if reached(self) {
                return true;
            }
            if self.rig.is_over() {
                return false;
            }
            assert!(Instant::now() < end, "it neither goes on nor ends");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Nobody does anything, and everything is as it must be: each object has one task under the id that it had, each
    /// completion is in the target as it was saved, new work goes on, nothing is left over.
    pub fn goes_on(&mut self) {
        let count = self.objects.len() + 1;
        self.put(&format!("zz {count}.json"));
        until("all tasks", PATIENCE, || (self.look() >= self.objects.len()).then_some(()));
        if let Some(id) = self.seen.keys().next_back().copied() {
            self.label(id, "dog");
        }
        self.rig.until_status("ok", |status| status["state"] == "ok");
        let ids: Vec<u64> = self.completions.keys().copied().collect();
        for id in ids {
            until("every completion in the target", PATIENCE, || self.is_pushed(id).then_some(()));
        }
        assert_eq!(self.rig.sync(), 0);
        self.look();
        let tasks = self.rig.tasks();
        let texts: Vec<&str> = tasks.values().filter_map(|task| task["data"]["text"].as_str()).collect();
        for text in self.objects.values() {
            assert_eq!(texts.iter().filter(|there| *there == text).count(), 1, "`{text}` has one task");
        }
        assert_eq!(tasks.len(), self.objects.len(), "no other tasks");
        assert_eq!(self.seen.len(), tasks.len(), "no id was given up");
        assert_eq!(self.rig.list("conflict"), Vec::<Value>::new());
        let shown = self.rig.json(&["show", "cats"]).to_string();
        let (acknowledged, asked) = &self.regex;
        let is = |regex: &str| shown.contains(&format!("\"key\":\"source.regex\",\"value\":\"{regex}\""));
        assert!(is(acknowledged) || asked.as_deref().is_some_and(is), "{acknowledged} or {asked:?}: {shown}");
        self.nothing_is_left_over();
    }

    fn nothing_is_left_over(&self) {
        let dirs = ["cats", "cats/completions", "out/done", "state", "state/projects", "state/ledgers"];
        let unfinished = || {
            let names = dirs.iter().flat_map(|dir| names(&self.rig.path(dir)));
            names.filter(|name| UNFINISHED.iter().any(|start| name.starts_with(start))).collect::<Vec<_>>()
        };
        // The displaced tasks.json is kept for a second.
        until("nothing unfinished", PATIENCE, || unfinished().is_empty().then_some(()));
    }
}

/// What is in a directory.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect()
}
