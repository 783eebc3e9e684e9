//! Local cases: the real Label Studio with its local storages, labelsync beside it, against what Label Studio came to
//! alone. Each case twice: with a target only, and with a source as well, whose one task must neither be lost nor
//! change anything for the others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cases::{self, Case};
use crate::pair::{self, Pair, recorded_thing, task_of, thing, until_pushed};
use crate::rules::{loose, same};
use crate::source::each;
use crate::support::label_studio::{Installed, Zygote};
use crate::support::rig::find_code;
use crate::support::{ACCESS_KEY, SECRET_KEY};
use crate::tally::Tally;

/// What leaves `tasks.json` while Label Studio still lists it was lost, not deleted: Label Studio shows what is in the
/// file, whoever wrote it.
const COMES_BACK: &str = "c08_what_only_the_file_lost_comes_back";
/// Label Studio gives an import the id above all that it lists, and that is one of ours.
const ABOVE_OURS: &str = "c05_imports_come_above_mirrored_tasks";
/// What stands in `completions/` for other data than the task's is shown by Label Studio as if it were the task's.
const OTHER_DATA: &str = "c17_a_completion_of_other_data_stays_here";

/// Rules of local storages.
pub const LOCAL_RULES: [&str; 3] = [COMES_BACK, ABOVE_OURS, OTHER_DATA];

/// An id below which the source's task does not come: the cases name ids of their own (C9 has its own tests).
const USED: u64 = 1000;
/// The id that it has.
const OURS: u64 = USED + 1;

type Tasks = BTreeMap<u64, Value>;

/// Every local case, with a target and with both sides.
pub fn run(installed: &Installed) {
    let zygote = installed
        .zygote(&[("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned())]);
    for (group, mirrored) in [("local-target", false), ("local-both", true)] {
        let tally = Tally::default();
        each(&cases::of("local", "local"), |case| pair::tell(&mut Story::new(case, &zygote, &tally, mirrored)));
        tally.end(group);
    }
}

struct Story<'a> {
    pair: Pair<'a>,
    /// The source's task is there: until a user deletes all.
    mirrored: bool,
    /// Ids that imports were given when it was recorded, and are given here.
    imported: BTreeMap<u64, u64>,
    /// Tasks that somebody wrote out of `tasks.json`.
    lost: Tasks,
    /// What labelsync has pushed, by id.
    pushed: BTreeMap<u64, Value>,
}

impl<'a> Story<'a> {
    fn new(case: &'a Case, zygote: &'a Zygote, tally: &'a Tally, mirrored: bool) -> Self {
        let pair = Pair::new(case, zygote, tally, &case.0["tasks"]);
        let rig = &pair.rig;
        let all = rig.local_project("cats", ".*");
        let (head, rest) = all.split_once("[projects.cats.source]").expect("a source");
        let (_, target) = rest.split_once("[projects.cats.target]").expect("a target");
        if mirrored {
            rig.settings(&all);
            rig.put("ours.png", "a picture");
            let used = json!({"id": USED, "data": {"image": "gone"}, "completions": []});
            std::fs::write(rig.path(&format!("cats/completions/{USED}.json")), used.to_string()).expect("written");
        } else {
            rig.settings(&format!("{head}[projects.cats.target]{target}"));
        }
        Self { pair, mirrored, imported: BTreeMap::new(), lost: Tasks::new(), pushed: BTreeMap::new() }
    }

    fn ids(&self, list: &Value) -> Vec<u64> {
        list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    /// The completions of a directory by id.
    fn things(&self, dir: &str, suffix: &str) -> BTreeMap<u64, Value> {
        let files = self.pair.files(dir, suffix).into_iter();
        files.filter_map(|(name, body)| Some((name.strip_suffix(suffix)?.parse().ok()?, body))).collect()
    }

    fn here(&self, id: u64) -> u64 {
        self.imported.get(&id).copied().unwrap_or(id)
    }

    /// The same request with the ids that imports have here.
    fn translated(&self, step: &Value) -> Value {
        let mut step = step.clone();
        let mut words: Vec<String> = step["path"].as_str().expect("a path").split('/').map(str::to_owned).collect();
        let Some(theirs) = words.get(3).and_then(|id| id.parse().ok()) else { return step };
        let here = self.here(theirs);
        words[3] = here.to_string();
        if let Some(number) = words.get_mut(5)
            && let Some(nth) = number.parse::<u64>().ok().and_then(|number| number.checked_sub(theirs * 1000))
        {
            *number = (here * 1000 + nth).to_string();
        }
        step["path"] = json!(words.join("/"));
        step
    }

    /// Where a task of ours is listed, imports come above it, in the same order.
    fn number_imports(&mut self, wanted: &mut Value, said: &Value) {
        let (theirs, here) = (self.ids(&wanted["new_task_ids"]), self.ids(&said["new_task_ids"]));
        if theirs.is_empty() || !self.mirrored {
            return;
        }
        let highest = self.imported.values().copied().max().unwrap_or(OURS).max(OURS);
        // Label Studio gives the highest one again when it was deleted.
        let above = |first: u64| here.iter().copied().eq((first..).take(theirs.len()));
        if above(highest + 1) || (OURS + 1..=highest).any(above) {
            self.pair.under.insert(ABOVE_OURS);
            wanted["new_task_ids"] = json!(here);
        }
        self.imported.extend(theirs.into_iter().zip(here));
    }

    /// Completions are numbered by a thousand of the task's id.
    fn number_completion(&self, wanted: &mut Value, task: Option<u64>) {
        let theirs = task.and_then(|task| self.imported.iter().find(|(_, here)| **here == task));
        if let (Some((theirs, here)), Some(number)) = (theirs, wanted["id"].as_u64()) {
            wanted["id"] = json!(number + here * 1000 - theirs * 1000);
        }
    }

    /// In `tasks.json`.
    fn wrong_tasks(&self, snapshot: &Value) -> Option<String> {
        let text = snapshot["tasks_json"].as_str().expect("a text");
        let there = std::fs::read(self.pair.rig.path("cats/tasks.json")).expect("read");
        let Some(recorded) = tasks(text.as_bytes()) else {
            // What Label Studio itself cannot read any more is left alone, and said.
            let infinite = tasks(&there).is_none() && String::from_utf8_lossy(&there).contains("Infinity");
            let status = self.pair.rig.status();
            let said = find_code(&status, "tasks_invalid").is_some();
            return (!infinite || !said).then(|| format!("{status:#}; {}", String::from_utf8_lossy(&there)));
        };
        let mut wanted = self.lost.clone();
        for (theirs, mut task) in recorded {
            let id = self.here(theirs);
            // A task of another tool's names another id inside, or none, and stays as it is.
            if task["id"] == theirs {
                task["id"] = json!(id);
            }
            wanted.insert(id, task);
        }
        let Some(mut here) = tasks(&there) else {
            return Some(format!("tasks.json is {}", String::from_utf8_lossy(&there)));
        };
        if self.mirrored {
            let ours = here.remove(&OURS);
            let image = ours.as_ref().and_then(|task| task["data"]["image"].as_str());
            if !image.is_some_and(|image| image.contains("ours.png")) {
                return Some(format!("task {OURS} of ours is {ours:?}"));
            }
        }
        let are_same = wanted.len() == here.len()
            && wanted.iter().all(|(id, task)| here.get(id).is_some_and(|here| same(task, here)));
        (!are_same).then(|| format!("in tasks.json: expected {wanted:?}, there is {here:?}"))
    }

    /// What Label Studio answers for each task.
    fn wrong_bodies(&self, snapshot: &Value) -> Option<String> {
        let server = self.pair.server();
        // Where it cannot read its own file, what it answers is left over in its memory.
        tasks(snapshot["tasks_json"].as_str().expect("a text").as_bytes())?;
        for (id, task) in snapshot["tasks"].as_object().into_iter().flatten() {
            let id = self.here(id.parse().expect("an id"));
            let mut wanted = task["api"].clone();
            // Signed with the time, by the server of the recording; or no JSON.
            if wanted.is_null() || !wanted[1].is_object() || wanted.to_string().contains("<signed>") {
                continue;
            }
            renumber(&mut wanted[1], id);
            let answer = server.call("GET", &format!("/api/tasks/{id}"), None);
            let body = thing(answer.body.to_string().as_bytes());
            if wanted[0] != answer.status || !same(&wanted[1], &body) {
                return Some(format!("task {id}: expected {wanted}, there is {} {body}", answer.status));
            }
        }
        None
    }

    /// In `completions/`, and in the target.
    fn wrong_completions(&mut self, snapshot: &Value) -> Option<String> {
        let mut wanted = BTreeMap::new();
        for (name, text) in snapshot["completions_dir"].as_object().into_iter().flatten() {
            let id = self.here(name.strip_suffix(".json").and_then(|id| id.parse().ok()).expect("an id"));
            let mut body = recorded_thing(text.as_str().expect("a text"));
            renumber(&mut body, id);
            wanted.insert(id, body);
        }
        let mut here = self.things("cats/completions", ".json");
        if self.mirrored {
            here.remove(&USED);
        }
        let are_same = wanted.len() == here.len()
            && wanted.iter().all(|(id, body)| here.get(id).is_some_and(|here| same(body, here)));
        if !are_same {
            return Some(format!("in completions/: expected {wanted:?}, there is {here:?}"));
        }
        self.wrong_target(&here)
    }

    /// The target has every completion of a task's own data, also of tasks and files that are gone (`on_deleted` is
    /// "keep"), and nothing else.
    fn wrong_target(&mut self, here: &BTreeMap<u64, Value>) -> Option<String> {
        let tasks = tasks(&std::fs::read(self.pair.rig.path("cats/tasks.json")).expect("read")).unwrap_or_default();
        for (id, body) in here {
            match tasks.get(id) {
                Some(task) if task["data"] == body["data"] => {
                    self.pushed.insert(*id, body.clone());
                }
                Some(_) => {
                    self.pair.under.insert(OTHER_DATA);
                    let conflicts = self.pair.rig.list("conflict");
                    if !conflicts.iter().any(|item| item["id"] == *id) {
                        return Some(format!("completion {id} is no conflict: {conflicts:?}"));
                    }
                }
                None => {}
            }
        }
        let there = self.things("out/done", "");
        (there != self.pushed).then(|| format!("in the target: expected {:?}, there is {there:?}", self.pushed))
    }
}

impl<'a> pair::Story<'a> for Story<'a> {
    fn pair(&mut self) -> &mut Pair<'a> {
        &mut self.pair
    }

    /// Written in place, by somebody who does not know of our task.
    fn write(&mut self, name: &str, text: &str) {
        let path = self.pair.rig.path("cats").join(name);
        // Before the start nobody has listed anything.
        if name == "tasks.json" && self.pair.is_running() {
            let before = tasks(&std::fs::read(&path).expect("read")).expect("whole");
            let stays = tasks(text.as_bytes()).expect("tasks");
            self.lost.extend(before.into_iter().filter(|(id, _)| !stays.contains_key(id)));
            self.lost.retain(|id, _| !stays.contains_key(id));
            // Ours is held against what stands there at every look.
            self.lost.remove(&OURS);
            if self.mirrored || !self.lost.is_empty() {
                self.pair.under.insert(COMES_BACK);
            }
        }
        std::fs::write(path, text).expect("written");
    }

    fn http(&mut self, step: &'a Value, recorded: &Value) {
        let step = &self.translated(step);
        let (method, path, answer) = self.pair.ask(step);
        let mut said = answer.body.clone();
        let mut wanted = recorded["response"].clone();
        pair::forget_duration([&mut said, &mut wanted[1]]);
        self.number_imports(&mut wanted[1], &said);
        self.number_completion(&mut wanted[1], task_of(path));
        let id = task_of(path);
        if wanted[0] == 500 && id.is_some_and(|id| self.lost.contains_key(&id)) {
            // It is there.
            (wanted[0], said) = (json!(if method == "DELETE" { 204 } else { 200 }), Value::Null);
            if let Some(id) = id.filter(|_| method == "DELETE") {
                self.lost.remove(&id);
            }
        } else if wanted[0] == 500 {
            // 0.8.2 tells more of an error than 0.8.2.post0.
            said = Value::Null;
        }
        if wanted[0] != answer.status || (wanted[0] != 500 && !said.is_null() && wanted[1] != said) {
            self.pair.differs(&format!("{method} {path}: expected {wanted}, {answer:?}"));
        }
        if answer.status == 204 && method == "DELETE" && path == "/api/tasks" {
            // Ours was listed, and deleted with all others; ids begin anew.
            self.mirrored = false;
            self.imported.clear();
        }
        if answer.status == 201 && path.contains("/completions") {
            let id = id.expect("an id");
            let saved = || std::fs::read(self.pair.rig.path(&format!("cats/completions/{id}.json"))).expect("saved");
            until_pushed(|| {
                std::fs::read(self.pair.rig.path(&format!("out/done/{id}"))).is_ok_and(|there| there == saved())
            });
            // It stays there when it is deleted before the next look.
            self.pushed.insert(id, thing(&saved()));
        }
    }

    fn wrong(&mut self, snapshot: &Value) -> Option<String> {
        let server = self.pair.server();
        let answer = server.call("GET", "/api/tasks?page_size=1000", None);
        let mut listed = snapshot["api_tasks"].clone();
        if listed[0] == 200 {
            let mut ids: BTreeSet<u64> = self.ids(&listed[1]).into_iter().map(|id| self.here(id)).collect();
            ids.extend(self.mirrored.then_some(OURS));
            ids.extend(self.lost.keys());
            // An infinity, as Label Studio writes it.
            let body = match &answer.body {
                Value::String(text) => {
                    let text = text.replace("Infinity", "null").replace("Inf", "null");
                    loose(text.as_bytes()).unwrap_or_default()
                }
                body => body.clone(),
            };
            let here = body.as_array().into_iter().flatten().filter_map(|task| task["id"].as_u64());
            let here: BTreeSet<u64> = here.collect();
            if answer.status != 200 || here != ids {
                return Some(format!("listed: expected {ids:?}, there is {} {here:?}", answer.status));
            }
        } else {
            // Who is named may be another; that it cannot be listed is the same.
            listed[1].take();
            if listed[0] != answer.status {
                return Some(format!("listed: expected {listed}, {answer:?}"));
            }
        }
        let wrong = self.wrong_tasks(snapshot);
        let wrong = wrong.or_else(|| self.wrong_bodies(snapshot)).or_else(|| self.wrong_completions(snapshot));
        if wrong.is_none() {
            let tasks = snapshot["tasks"].as_object().map_or(0, serde_json::Map::len);
            self.pair.tally.compared(tasks + self.pushed.len() + 1);
        }
        wrong
    }
}

/// The same under another id; Label Studio numbers completions by a thousand of the task's id.
fn renumber(body: &mut Value, id: u64) {
    let Some(was) = body["id"].as_u64() else { return };
    body["id"] = json!(id);
    for completion in body.get_mut("completions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(number) = completion["id"].as_u64().and_then(|number| number.checked_sub(was * 1000)) {
            completion["id"] = json!(id * 1000 + number);
        }
    }
}

/// `None`: no JSON object of tasks.
fn tasks(bytes: &[u8]) -> Option<Tasks> {
    // Beyond a double, which Label Studio reads as an infinity.
    let text = String::from_utf8_lossy(bytes).replace("1e400", "\"1e400\"");
    loose(text.as_bytes())?.as_object()?.iter().map(|(id, task)| Some((id.parse().ok()?, task.clone()))).collect()
}
