//! Label Studio 0.8.2 with local storages and its user, as measured (0.8.md, section 5): `tasks.json` read at every
//! listing and rewritten in place from memory; `source.json` rewritten from memory; ids given again; a write may be
//! torn (`tear`): the daemon then meets its first part.
//!
//! Promise: does to the files what the real one does; remembers what its user did, which is what the judge judges by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

pub use self::anew::Anew;
use crate::tear::{Kind, Step, Tear};
use crate::who::{Brought, Import, Who};

#[path = "anew.rs"]
mod anew;

/// The rest of a torn displaced file comes with this look of the daemon's: it waits 3 s for it, and must meet it torn.
const DISPLACED_LOOKS: u8 = 3;

/// A torn `tasks.json`, as a cycle says it.
pub const TASKS_TORN: &str = "tasks_torn";

/// When Label Studio acts, while the daemon replaces a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// After the daemon has looked, before it replaces.
    Before,
    /// It has the old file open, and writes into it once it is displaced.
    Into,
    /// Just after.
    After,
    /// While the daemon lists the source.
    Listing,
}

/// What its user does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    List,
    Import,
    Delete(u8),
    /// Somebody removes `tasks.json` and `source.json`.
    Lose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meanwhile {
    pub when: When,
    pub what: Act,
}

#[derive(Debug)]
pub struct LabelStudio {
    project: PathBuf,
    memory: BTreeMap<u64, Value>,
    map: BTreeSet<u64>,
    held: Option<File>,
    /// Every file that was ever asked for.
    files: Vec<File>,
    writes: u64,
    /// The next write of that kind is torn after so many 256ths.
    armed: Option<(Kind, u8)>,
    torn: Option<Tear>,
    /// The daemon replaced a `tasks.json` that was torn.
    pub torn_replaced: bool,
    /// How often `source.json` was written.
    pub saved_maps: i64,
    /// `source.json` is younger than `tasks.json`.
    pub listed_last: bool,
    /// To be done in the next replacement of `tasks.json`.
    pub meanwhile: Option<Meanwhile>,
    /// To be done in the next bringing in: the user labels that task.
    pub meanwhile_label: Option<When>,
    /// By their number.
    pub imports: BTreeMap<u64, Import>,
    /// Ids of imports that were lost before a cycle saw them.
    pub lost: BTreeSet<u64>,
    /// Its files were lost, copied or made anew.
    made_anew: bool,
    /// Keys whose task may be an import.
    pub taken_over: BTreeSet<String>,
    /// The `tasks.json` that the daemon knows.
    known_file: Option<i64>,
    /// Keys whose task the user deleted.
    pub deleted: BTreeSet<String>,
    /// Every content that ever stood at `completions/<id>.json`.
    pub versions: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Who ever stood under an id in `tasks.json`, in order.
    pub stood: BTreeMap<u64, Vec<Who>>,
    /// What the daemon put into `completions/`.
    pub brought: Vec<Brought>,
    /// Tasks that a cycle has seen in `tasks.json`, by id.
    pub looked_at: BTreeMap<u64, Vec<Value>>,
    /// Ids that the daemon gave to a key, and whose import they were when it had seen them last.
    pub taken: Vec<(u64, Who, Who)>,
}

impl LabelStudio {
    pub fn new(project: &Path) -> Self {
        Self {
            project: project.to_owned(),
            memory: BTreeMap::new(),
            map: BTreeSet::new(),
            held: None,
            files: Vec::new(),
            writes: 0,
            armed: None,
            torn: None,
            torn_replaced: false,
            saved_maps: 0,
            listed_last: false,
            meanwhile: None,
            meanwhile_label: None,
            imports: BTreeMap::new(),
            lost: BTreeSet::new(),
            made_anew: false,
            taken_over: BTreeSet::new(),
            known_file: None,
            deleted: BTreeSet::new(),
            versions: BTreeMap::new(),
            stood: BTreeMap::new(),
            brought: Vec::new(),
            looked_at: BTreeMap::new(),
            taken: Vec::new(),
        }
    }

    /// `stale`: with what it listed before, into the file it has open.
    pub fn act(&mut self, act: Act, stale: bool) {
        self.finish();
        match act {
            Act::List => self.list(),
            Act::Import => self.import(None, stale),
            Act::Delete(nth) => self.delete(nth),
            Act::Lose => self.lose(),
        }
        self.held = None;
    }

    /// The daemon lists the source.
    pub fn while_listing(&mut self) {
        if let Some(Meanwhile { when: When::Listing, what }) = self.meanwhile {
            self.meanwhile = None;
            self.act(what, false);
        }
    }

    /// The tasks as they stand in the file; `None`: there is none, or it is torn by Label Studio at this moment.
    pub fn tasks(&self) -> Option<BTreeMap<u64, Value>> {
        let bytes = fs::read(self.project.join("tasks.json")).ok()?;
        if self.is_torn(Kind::Tasks) {
            return None;
        }
        let tasks: BTreeMap<String, Value> = serde_json::from_slice(&bytes).expect("tasks.json is always whole");
        Some(tasks.into_iter().map(|(id, task)| (id.parse().expect("ids are numbers"), task)).collect())
    }

    pub fn observe(&mut self) {
        for (id, task) in self.tasks().unwrap_or_default() {
            let who = Who::of_task(&task);
            let stood = self.stood.entry(id).or_default();
            if stood.last() != Some(&who) {
                stood.push(who);
            }
        }
    }

    /// The daemon has replaced `tasks.json`, in which this stood.
    pub fn replaced(&mut self, before: &BTreeMap<u64, Value>) {
        for (id, task) in self.tasks().unwrap_or_default() {
            let who = Who::of_task(&task);
            let gave = matches!(&who, Who::Key(key) if !self.taken_over.contains(key))
                && before.get(&id).is_none_or(|was| was["data"] != task["data"]);
            let seen = self.looked_at.get(&id).and_then(|seen| seen.last()).map(Who::of_task);
            if let Some(import @ Who::Import(_)) = seen.filter(|_| gave) {
                self.taken.push((id, import, who));
            }
        }
        self.observe();
    }

    /// A cycle looks at `tasks.json`.
    pub fn look_at(&mut self, tasks: &BTreeMap<u64, Value>) {
        self.knows_tasks();
        for (id, task) in tasks {
            self.looked_at.entry(*id).or_default().push(task.clone());
        }
    }

    pub fn list(&mut self) {
        self.finish();
        let Some(tasks) = self.tasks() else { return };
        self.map.extend(tasks.keys());
        self.memory = tasks;
        self.save_map();
    }

    /// The next import; `url` makes it a task of a blob that the source may hold too.
    pub fn import(&mut self, url: Option<String>, stale: bool) {
        let number = self.imports.len() as u64;
        let image = url.unwrap_or_else(|| format!("http://x/{number}"));
        self.import_data(json!({"image": image, "imp": number}), stale, false);
    }

    /// The id that the next import gets.
    pub fn next_id(&self) -> u64 {
        self.map.last().map_or(0, |id| id + 1)
    }

    /// The next import has the data that an object's task has.
    pub fn import_twin(&mut self, data: Value) {
        self.import_data(data, false, true);
    }

    fn import_data(&mut self, data: Value, stale: bool, twin: bool) {
        self.finish();
        if !stale {
            self.list();
        }
        let number = self.imports.len() as u64;
        let id = self.next_id();
        let mut task = json!({"id": id, "data": data});
        // Nobody could tell it from the object's task that stood there.
        if twin && self.stood.get(&id).is_some_and(|stood| stood.contains(&Who::of_data(&data))) {
            return;
        }
        let before = self.imports.values_mut().filter(|before| before.id == id);
        let is_again = before.map(|before| before.deleted = true).count() > 0;
        if twin {
            task["meta"] = json!({"imp": number});
        }
        self.memory.insert(id, task);
        self.map.insert(id);
        self.save_map();
        self.save_tasks();
        self.imports.insert(number, Import { id, data, deleted: false, in_doubt: is_again && self.made_anew, twin });
    }

    pub fn delete(&mut self, nth: u8) {
        self.finish();
        let listed: Vec<u64> = self.memory.keys().copied().filter(|id| self.map.contains(id)).collect();
        let Some(id) = pick(&listed, nth) else { return };
        self.forget(id);
        self.save_map();
        self.memory.remove(&id);
        self.save_tasks();
        self.perform(Step::Remove(self.completion(id)));
    }

    pub fn delete_all(&mut self) {
        self.finish();
        let ids: Vec<u64> = self.memory.keys().copied().collect();
        ids.iter().for_each(|id| self.forget(*id));
        self.save_map();
        self.memory.clear();
        self.save_tasks();
        self.perform(Step::Empty(self.project.join("completions")));
    }

    fn forget(&mut self, id: u64) {
        self.map.remove(&id);
        match Who::of_task(&self.memory[&id]) {
            Who::Import(number) => self.imports.get_mut(&number).unwrap().deleted = true,
            Who::Key(key) => _ = self.deleted.insert(key),
            Who::Unknown(_) => {}
        }
    }

    /// Labels the task of this place in its list.
    pub fn label_nth(&mut self, nth: u8, what: u8) {
        let listed: Vec<u64> = self.memory.keys().copied().collect();
        if let Some(id) = pick(&listed, nth) {
            self.label(id, what);
        }
    }

    pub fn label(&mut self, id: u64, what: u8) {
        self.finish();
        let Some(task) = self.memory.get(&id) else {
            self.held = None;
            return;
        };
        self.writes += 1;
        let completion = json!({"id": id * 1000 + 1, "result": [{"choice": what, "nth": self.writes}]});
        let file = json!({"completions": [completion], "data": task["data"], "id": id});
        self.save_completion(id, &serde_json::to_vec_pretty(&file).unwrap());
    }

    /// Deletes the completions: the file goes (`all`), or stays with none.
    pub fn unlabel(&mut self, nth: u8, all: bool) {
        self.finish();
        let done: Vec<u64> = self.completed();
        let Some(id) = pick(&done, nth) else { return };
        if all {
            fs::remove_file(self.completion(id)).unwrap();
            return;
        }
        let mut file: Value = serde_json::from_slice(&fs::read(self.completion(id)).unwrap()).unwrap();
        file["completions"] = json!([]);
        self.save_completion(id, &serde_json::to_vec_pretty(&file).unwrap());
    }

    /// Ids with a completion file.
    pub fn completed(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.project.join("completions")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            ids.extend(name.strip_suffix(".json").map(|id| id.parse::<u64>().unwrap()));
        }
        ids.sort_unstable();
        ids
    }

    pub fn completion(&self, id: u64) -> PathBuf {
        self.project.join(format!("completions/{id}.json"))
    }

    /// Opens `tasks.json` now and writes it later.
    pub fn hold_tasks(&mut self) {
        self.list();
        self.held = OpenOptions::new().write(true).open(self.project.join("tasks.json")).ok();
    }

    /// Opens a completion now and writes it later.
    pub fn hold_completion(&mut self, id: u64) {
        self.held = OpenOptions::new().write(true).open(self.completion(id)).ok();
    }

    /// The daemon put these bytes at a completion's place.
    pub fn brought_in(&mut self, id: u64, before: Option<Vec<u8>>, bytes: &[u8]) {
        self.versions.entry(id).or_default().push(bytes.to_owned());
        self.brought.push(Brought { id, before, after: bytes.to_owned() });
    }

    fn save_map(&mut self) {
        let map: BTreeMap<String, Value> = self
            .map
            .iter()
            .map(|id| (id.to_string(), json!({"key": format!("P/tasks.json/{id}"), "exists": true})))
            .collect();
        let bytes = serde_json::to_vec(&map).unwrap();
        self.perform(Step::Write { kind: Kind::Map, path: self.project.join("source.json"), held: None, bytes });
    }

    fn save_tasks(&mut self) {
        let tasks: BTreeMap<String, &Value> = self.memory.iter().map(|(id, task)| (id.to_string(), task)).collect();
        let bytes = serde_json::to_vec(&tasks).unwrap();
        let held = self.held.take();
        self.perform(Step::Write { kind: Kind::Tasks, path: self.project.join("tasks.json"), held, bytes });
    }

    fn save_completion(&mut self, id: u64, bytes: &[u8]) {
        self.versions.entry(id).or_default().push(bytes.to_owned());
        let held = self.held.take();
        self.perform(Step::Write { kind: Kind::Completion, path: self.completion(id), held, bytes: bytes.to_owned() });
    }

    /// The next write of this kind is torn after `cut` 256ths.
    pub fn tear(&mut self, kind: Kind, cut: u8) {
        self.armed = Some((kind, cut));
    }

    pub fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether the file at that name is one whose rest is not written yet.
    pub fn is_torn(&self, kind: Kind) -> bool {
        let Some(torn) = self.torn.as_ref().filter(|torn| torn.kind == kind) else { return false };
        fs::metadata(&torn.path).is_ok_and(|there| there.ino() == torn.file.metadata().unwrap().ino())
    }

    /// What a cycle says to what is torn; empty: nothing is that it waits for.
    pub fn torn_code(&self) -> &'static str {
        if self.is_torn(Kind::Tasks) {
            TASKS_TORN
        } else if self.is_torn(Kind::Map) {
            "source_json_unreadable"
        } else {
            ""
        }
    }

    /// Writes the rest of what is torn, and does what waits for it.
    pub fn finish(&mut self) {
        while let Some(Tear { kind, mut file, rest, waiting, .. }) = self.torn.take() {
            file.write_all(&rest).unwrap();
            self.written(kind, &file);
            waiting.into_iter().for_each(|step| self.perform(step));
        }
    }

    /// The daemon has looked at something: the rest of a displaced file comes while it waits for it.
    pub fn looked(&mut self) {
        let Some(looks) = self.torn.as_mut().and_then(|torn| torn.looks.as_mut()) else { return };
        *looks -= 1;
        if *looks == 0 {
            self.finish();
        }
    }

    /// What an act does goes in its order: behind a torn write it waits.
    fn perform(&mut self, step: Step) {
        if let Some(torn) = &mut self.torn {
            torn.waiting.push(step);
            return;
        }
        match step {
            Step::Remove(path) => _ = fs::remove_file(path),
            Step::Empty(dir) => {
                let _none = fs::remove_dir_all(&dir);
                fs::create_dir(&dir).unwrap();
            }
            Step::Write { kind, path, held, bytes } => self.in_place(kind, path, held, &bytes),
        }
    }

    /// Truncates and writes, or only a part of it.
    fn in_place(&mut self, kind: Kind, path: PathBuf, held: Option<File>, bytes: &[u8]) {
        // It opens `tasks.json` when the map is written: one that it holds open has its map before it.
        let is_armed = self.armed.is_some_and(|(armed, _)| armed == kind) && (kind != Kind::Map || self.held.is_none());
        let cut = if is_armed { self.armed.take().map(|(_, cut)| bytes.len() * usize::from(cut) / 256) } else { None };
        let looks = (held.is_some() && kind == Kind::Tasks).then_some(DISPLACED_LOOKS);
        let mut file =
            held.unwrap_or_else(|| OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap());
        file.set_len(0).unwrap();
        let (first, rest) = bytes.split_at(cut.unwrap_or(bytes.len()));
        file.write_all(first).unwrap();
        if cut.is_some() {
            let file = file.try_clone().unwrap();
            self.torn = Some(Tear { kind, path, file, rest: rest.to_owned(), looks, waiting: Vec::new() });
        }
        self.written(kind, &file);
    }

    /// A time of its own stands for the time that passes between two writes.
    fn written(&mut self, kind: Kind, file: &File) {
        self.writes += 1;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + self.writes)).unwrap();
        match kind {
            Kind::Map => (self.saved_maps, self.listed_last) = (self.saved_maps + 1, true),
            Kind::Tasks => {
                self.listed_last = false;
                self.observe();
            }
            Kind::Completion => {}
        }
    }
}

pub fn pick<T: Copy>(of: &[T], nth: u8) -> Option<T> {
    if of.is_empty() { None } else { Some(of[usize::from(nth) % of.len()]) }
}
