//! What labelsync must come to where Label Studio came to something: recorded snapshots of a source, turned by rules.
//!
//! Promise: every difference has a name and a predicate on what was put in and what Label Studio did; where no rule
//! applies, Label Studio's own outcome is expected, ids included.
//! Not here: running anything.

use std::collections::{BTreeMap, BTreeSet};

use labelsync::project::validate::BodyRules;
use serde_json::{Value, json};

use crate::cases::{self, Case};
use crate::rules::{self, Input, MadeFrom};

/// Label Studio answers 500 to everybody; labelsync sets that object aside and says so.
const QUARANTINED: &str = "c10_what_label_studio_fails_on_is_quarantined";
/// Label Studio puts the URL under a key without a name, and no tag can show it.
const NO_KEY: &str = "c10_a_url_needs_a_data_key";
/// An empty object whose key ends in `/` is a directory of some console, no picture.
const MARKER: &str = "c13_directory_markers_are_no_tasks";
/// What is no task takes no id.
const CLOSE_UP: &str = "c05_ids_close_up_where_an_object_is_no_task";
/// `on_removed = "keep"`.
const KEPT: &str = "l06_a_removed_object_keeps_its_task";
/// An object that was a task and is none any more.
const STAYS: &str = "l34_a_task_whose_object_goes_bad_stays_as_it_was";
/// Label Studio reads JSON objects anew at every request, labelsync when it looks.
const OWN_LOOK: &str = "c23_objects_are_read_when_labelsync_looks";
/// On S3 Label Studio lists `in/` for `in//`, and then does not find the prefix in its keys.
const SLASHES: &str = "c25_a_prefix_that_ends_in_slashes_is_that_directory";
/// The ledger is the truth about ids, Label Studio's memory is not.
const LEDGER: &str = "c05_ids_outlive_source_json";

/// Rules of a source besides those of one task.
pub const SOURCE_RULES: [&str; 9] = [QUARANTINED, NO_KEY, MARKER, CLOSE_UP, KEPT, STAYS, OWN_LOOK, SLASHES, LEDGER];

/// A rule, and the parameters that `labelsyncd init` refuses by it and Label Studio takes.
type Refusal = (&'static str, fn(&Value) -> bool);

/// All of them.
pub const REFUSALS: [Refusal; 3] = [
    ("l55_a_parameter_of_another_type_is_refused", has_another_type),
    ("l55_a_prefix_that_is_a_url_is_refused", has_a_url),
    ("l58_a_character_by_its_name_is_refused", names_a_character),
];

/// The rule by which `init` refuses these parameters.
pub fn refusal(params: &Value) -> Option<&'static str> {
    REFUSALS.iter().find(|(_, is_refused)| is_refused(params)).map(|(rule, _)| *rule)
}

fn has_another_type(params: &Value) -> bool {
    ["use_blob_urls", "create_local_copy"].iter().any(|name| params.get(name).is_some_and(|flag| !flag.is_boolean()))
        || ["prefix", "regex", "data_key"].iter().any(|name| !matches!(params[name], Value::Null | Value::String(_)))
}

fn has_a_url(params: &Value) -> bool {
    params["prefix"].as_str().is_some_and(|prefix| ["s3://", "gs://"].iter().any(|scheme| prefix.starts_with(scheme)))
}

fn names_a_character(params: &Value) -> bool {
    params["regex"].as_str().is_some_and(|regex| regex.contains(r"\N{"))
}

/// A task by its key; `None`: Label Studio's body was not recorded.
pub type Shown = BTreeMap<u64, (String, Option<Value>)>;

/// A case as it goes on.
pub struct Expect<'a> {
    case: &'a Case,
    pub objects: BTreeMap<String, Vec<u8>>,
    /// As they were when labelsync last looked.
    looked_at: BTreeMap<String, Vec<u8>>,
    params: Value,
    /// Our ids by key.
    known: BTreeMap<String, u64>,
    /// The next id that is free.
    next: u64,
    shown: Shown,
    started: bool,
    /// `source.json` was touched while Label Studio had it in its memory, or removed.
    map_lost: bool,
    /// `source.json` is no map of ids to keys: Label Studio does not load the project, and labelsync gives no ids.
    pub map_damaged: bool,
    /// Keys that were no tasks.
    dropped: BTreeSet<String>,
    pub under: BTreeSet<&'static str>,
}

impl<'a> Expect<'a> {
    pub fn new(case: &'a Case) -> Self {
        Self {
            case,
            objects: case.objects().unwrap_or_default().into_iter().collect(),
            looked_at: BTreeMap::new(),
            params: case.0["params"].clone(),
            known: BTreeMap::new(),
            next: 0,
            shown: Shown::new(),
            started: false,
            map_lost: false,
            map_damaged: false,
            dropped: BTreeSet::new(),
            under: BTreeSet::new(),
        }
    }

    fn root(&self) -> String {
        format!("{}{}/", self.case.scheme(), self.case.bucket())
    }

    /// A step that changes something beside Label Studio.
    pub fn step(&mut self, step: &Value) {
        match step["op"].as_str().expect("an op") {
            "put" => drop(self.objects.insert(cases::key(step), cases::body(step))),
            "del" => drop(self.objects.remove(&cases::key(step))),
            "params" => self.params = step["params"].clone(),
            "rmfile" => self.map_lost |= step["name"] == "source.json",
            "wfile" if step["name"] == "source.json" => self.map(&self.case.text(step)),
            _ => {}
        }
    }

    /// Somebody wrote `source.json`: ids that stand there are taken; before the first start they are known, too.
    fn map(&mut self, text: &str) {
        let map: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let ids: Option<Vec<(u64, &str)>> =
            map.iter().map(|(id, entry)| Some((id.parse().ok()?, entry["key"].as_str()?))).collect();
        self.map_damaged = ids.is_none() || (map.is_empty() && text.trim() != "{}");
        let root = self.root();
        for (id, key) in ids.unwrap_or_default() {
            self.next = self.next.max(id + 1);
            if let (false, Some(key)) = (self.started, key.strip_prefix(&root)) {
                self.known.insert(key.to_owned(), id);
            }
        }
        self.map_lost |= self.started;
    }

    /// Objects that are there and no tasks.
    pub fn left_out(&self) -> Vec<&String> {
        let is_task = |key: &&String| self.shown.values().any(|(shown, _)| shown == *key);
        let there = self.dropped.iter().filter(|key| self.objects.contains_key(*key));
        there.filter(|key| !is_task(key)).collect()
    }

    /// What must stand there after a step with a snapshot.
    pub fn after(&mut self, op: &str, snapshot: &Value) -> Shown {
        self.started = true;
        let looks = op != "list";
        let root = self.root();
        let mut theirs: Vec<(u64, String)> = Vec::new();
        for entry in snapshot["selected"].as_array().into_iter().flatten() {
            let url = entry[1].as_str().expect("a URL");
            // `tasks.json` stands in the map as well.
            let Some(key) = url.strip_prefix(&root) else { continue };
            theirs.push((entry[0].as_u64().expect("an id"), key.to_owned()));
        }
        theirs.sort();
        let mut shown = Shown::new();
        let mut new: Vec<(u64, String, Option<Value>)> = Vec::new();
        for (id, key) in &theirs {
            let known = self.known.get(key).copied();
            let before = known.and_then(|ours| self.shown.get(&ours).cloned());
            if !looks && self.is_json() && self.objects.get(key) != self.looked_at.get(key) {
                self.under.insert(OWN_LOOK);
                shown.extend(known.zip(before));
                continue;
            }
            match (self.task(*id, key, snapshot), known, before) {
                (Some(task), Some(ours), _) => drop(shown.insert(ours, (key.clone(), task))),
                (Some(task), None, _) => new.push((*id, key.clone(), task)),
                (None, Some(ours), Some(before)) => {
                    self.under.insert(STAYS);
                    shown.insert(ours, before);
                }
                (None, _, _) => drop(self.dropped.insert(key.clone())),
            }
        }
        // Ids in the order of the listing: bytes.
        new.sort_by(|a, b| a.1.cmp(&b.1));
        for (id, key, task) in new {
            let ours = self.id(id, &key);
            shown.insert(ours, (key, task));
        }
        self.keep(&theirs, &mut shown);
        for (id, (_, task)) in &mut shown {
            // The id in a task is the one that it has.
            if let Some(task) = task.as_mut().and_then(Value::as_object_mut) {
                task.insert("id".to_owned(), json!(id));
            }
        }
        if looks {
            self.looked_at.clone_from(&self.objects);
        }
        self.shown.clone_from(&shown);
        shown
    }

    fn id(&mut self, theirs: u64, key: &str) -> u64 {
        let mut ours = theirs;
        if !self.dropped.is_empty() && theirs != self.next {
            self.under.insert(CLOSE_UP);
            ours = self.next;
        }
        if self.map_lost && ours != self.next {
            self.under.insert(LEDGER);
            ours = self.next;
        }
        self.known.insert(key.to_owned(), ours);
        self.next = self.next.max(ours + 1);
        ours
    }

    /// Tasks whose object is gone stay; what the settings do not take any more is hidden, as in Label Studio.
    fn keep(&mut self, theirs: &[(u64, String)], shown: &mut Shown) {
        for (id, (key, task)) in self.shown.clone() {
            let listed = theirs.iter().any(|(_, listed)| *listed == key);
            if !listed && !self.objects.contains_key(&key) {
                self.under.insert(KEPT);
                shown.insert(id, (key, task));
            }
        }
        if self.map_lost && theirs.iter().any(|(id, key)| self.known.get(key).is_some_and(|ours| ours != id)) {
            self.under.insert(LEDGER);
        }
    }

    fn is_lost_in_slashes(&mut self, task: &Value) -> bool {
        let is_lost = task.is_null()
            && self.case.provider() == "s3"
            && self.params["prefix"].as_str().is_some_and(|prefix| prefix.ends_with("//"));
        if is_lost {
            self.under.insert(SLASHES);
        }
        is_lost
    }

    fn is_json(&self) -> bool {
        self.params["use_blob_urls"] == false
    }

    /// `None`: no task for us. `Some(None)`: a task whose body was not recorded.
    fn task(&mut self, id: u64, key: &str, snapshot: &Value) -> Option<Option<Value>> {
        let body = self.objects.get(key).cloned().unwrap_or_default();
        if key.ends_with('/') && body.is_empty() {
            self.under.insert(MARKER);
            return None;
        }
        let names_a_key = self.params["data_key"].as_str().is_some_and(|key| !key.is_empty());
        if !self.is_json() && !names_a_key && rules::keys_of(self.case.config()).is_empty() {
            self.under.insert(NO_KEY);
            return None;
        }
        let url = format!("{}{key}", self.root());
        let data_key = self.params["data_key"].as_str().unwrap_or("").to_owned();
        let made_from = if self.is_json() { MadeFrom::Json { body } } else { MadeFrom::Blob { url, data_key } };
        let encoding = if self.case.provider() == "gcs" { BodyRules::AnyUnicode } else { BodyRules::Utf8 };
        let (case, config) = (self.case.id().to_owned(), self.case.config().to_owned());
        let input = Input { case, encoding, config, id, made_from };
        let recorded = snapshot["tasks"].get(id.to_string());
        if recorded.is_some_and(|task| task.get("error").is_some()) {
            self.under.insert(QUARANTINED);
            return None;
        }
        // A body that was not recorded is turned as well: the rules look at the input.
        let there = recorded.map(|task| task["ok"].clone()).filter(|task| !self.is_lost_in_slashes(task));
        let (turned, under) = rules::turn(&input, Some(there.clone().unwrap_or_else(|| json!({}))));
        self.under.extend(under);
        turned.map(|turned| there.map(|_| turned))
    }
}
