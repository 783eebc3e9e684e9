//! What must hold, judged by what the user, the operator and everybody else did: a naive model that knows nothing of
//! ledgers, receipts and reservations.
//!
//! Promise: promises 1, 6, 12, 13, 18, 21, 23, 26, 28, 29, 35 and contract C4, C8, C9.
//! Not here: making things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use labelsync::names::Key;
use labelsync::project::claim::Owner;
use labelsync::project::target::road::Look;
use labelsync::settings::{OnChanged, OnRemoved};
use labelsync::store::faulty::Requests;
use serde_json::Value;

use crate::mortal::Change;
use crate::who::{Brought, Who};
use crate::world::{TARGET_PREFIX, Verdict, World};

/// Cycles of both directions after which everything must have come to rest.
const ROUNDS_MAX: u32 = 8;

macro_rules! hold {
    ($what:expr, $($text:tt)*) => {
        if !$what {
            return Err(format!($($text)*));
        }
    };
}

/// At every moment.
pub fn always(world: &World) -> Verdict {
    ids(world)?;
    let label_studio = world.label_studio();
    hold!(!label_studio.torn_replaced, "a torn tasks.json was replaced");
    let mut seen = BTreeSet::new();
    for (id, task) in label_studio.tasks().unwrap_or_default() {
        let who = Who::of_task(&task);
        hold!(!matches!(who, Who::Unknown(_)), "task {id} is about nothing that was ever made: {task}");
        hold!(seen.insert(who.clone()), "{who:?} has two tasks");
    }
    drop(label_studio);
    brought_in(world)?;
    for change in world.target.changes.lock().unwrap().iter() {
        target_change(world, change)?;
    }
    hold!(world.source.changes.lock().unwrap().is_empty(), "the source was written to");
    Ok(())
}

/// No id for two keys, no second id for a key, no id of an import for a key.
fn ids(world: &World) -> Verdict {
    let label_studio = world.label_studio();
    if let Some((id, import, key)) = label_studio.taken.first() {
        return Err(format!("id {id} was {import:?}'s and was given to {key:?}"));
    }
    let mut ids_of: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (id, stood) in &label_studio.stood {
        let keys: BTreeSet<&str> = stood.iter().filter_map(key_of).collect();
        hold!(keys.len() <= 1, "id {id} stood for {keys:?}");
        keys.into_iter().for_each(|key| ids_of.entry(key).or_default().push(*id));
    }
    for (key, ids) in ids_of {
        let taken = |id: &&u64| label_studio.stood[*id].iter().any(|who| key_of(who).is_none());
        let taken = ids.iter().filter(taken).count();
        hold!(ids.len() <= taken + 1, "{key} had the ids {ids:?}, of which Label Studio took {taken}");
    }
    Ok(())
}

fn key_of(who: &Who) -> Option<&str> {
    match who {
        Who::Key(key) => Some(key),
        Who::Import(_) | Who::Unknown(_) => None,
    }
}

fn same_json(a: &[u8], b: &[u8]) -> bool {
    let value = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    a == b || value(a).is_some_and(|value_of_a| Some(value_of_a) == value(b))
}

/// Nothing of a user's is replaced that is not in the target, and only by what somebody put there.
fn brought_in(world: &World) -> Verdict {
    for Brought { id, before, after } in &world.label_studio().brought {
        let in_target = objects_of(world, *id);
        hold!(in_target.iter().any(|object| object == after), "completion {id} was brought from nowhere");
        let Some(before) = before else { continue };
        let kept = in_target.iter().any(|object| same_json(object, before)) || world.resolved.contains(id);
        hold!(kept, "completion {id} was overwritten: {}", String::from_utf8_lossy(before));
    }
    Ok(())
}

/// Everything that ever stood in the target under an id.
fn objects_of(world: &World, id: u64) -> Vec<Vec<u8>> {
    let key = format!("{TARGET_PREFIX}{id}");
    let mut all = world.touched.get(&id).cloned().unwrap_or_default();
    let changes = world.target.changes.lock().unwrap();
    let put = changes.iter().filter(|change| change.key == key).filter_map(|change| change.after.as_ref());
    all.extend(put.map(|after| after.to_vec()));
    all
}

/// Only bytes of that completion file, only over such bytes, only about the same thing.
fn target_change(world: &World, change: &Change) -> Verdict {
    let label_studio = world.label_studio();
    let versions = |key: &str| -> Verdict<(u64, Vec<Vec<u8>>)> {
        let id = key.strip_prefix(TARGET_PREFIX).and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| format!("{key} was written to in the target"))?;
        Ok((id, label_studio.versions.get(&id).cloned().unwrap_or_default()))
    };
    let Change { key, before, after } = change;
    let Some(after) = after else {
        let (_, versions) = versions(key)?;
        let known = before.as_ref().is_some_and(|before| versions.iter().any(|file| same_json(file, before)));
        hold!(world.ever_deleted_objects && known, "{key} was deleted");
        return Ok(());
    };
    if key.starts_with(".labelsync/") {
        let owner: Owner = serde_json::from_slice(after).unwrap();
        hold!(owner.name == "p", "the target is marked as {}'s", owner.name);
        return Ok(());
    }
    let (id, versions) = versions(key)?;
    hold!(versions.iter().any(|file| file == after), "{key} was never a content of completions/{id}.json");
    let Some(before) = before.as_ref().filter(|_| !world.resolved.contains(&id)) else { return Ok(()) };
    let merged = versions.iter().any(|file| same_json(file, before));
    hold!(merged, "somebody else's {key} was overwritten: {}", String::from_utf8_lossy(before));
    let (was, is) = (Who::of_file(before), Who::of_file(after));
    hold!(was == is, "{key} was about {was:?} and is about {is:?} now");
    Ok(())
}

/// Everything that a clean cycle must leave as it is.
#[derive(PartialEq, Eq)]
struct Sight {
    files: BTreeMap<String, (u64, i64, i64, Vec<u8>)>,
    ledger: Vec<String>,
    objects: BTreeMap<Key, bytes::Bytes>,
    mutations: u64,
}

fn if_there<T>(looked: std::io::Result<T>) -> Option<T> {
    match looked {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        looked => Some(looked.unwrap()),
    }
}

fn sight(world: &World) -> Sight {
    let mut files = BTreeMap::new();
    for dir in [world.project.clone(), world.project.join("completions")] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&world.project).unwrap().display().to_string();
            // `target.json` is written beside the cycles: its temporary file may be gone by now. The next sight differs then.
            let Some(meta) = if_there(fs::symlink_metadata(&path)).filter(fs::Metadata::is_file) else { continue };
            let Some(bytes) = if_there(fs::read(&path)) else { continue };
            files.insert(name, (meta.ino(), meta.mtime(), meta.mtime_nsec(), bytes));
        }
    }
    let ledger = dump(&world.ledger_path());
    let mutations = world.source_faults.requests().mutations + world.target_faults.requests().mutations;
    Sight { files, ledger, objects: world.target.memory().objects(), mutations }
}

/// Every row of the ledger.
pub fn dump(path: &Path) -> Vec<String> {
    let ledger = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = Vec::new();
    for table in ["meta", "origins", "tasks", "older", "keys_without_id", "completions", "holds"] {
        let mut statement = ledger.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let found = statement.query_map([], |row| {
            let values: Vec<_> = (0..columns).map(|n| row.get::<_, rusqlite::types::Value>(n).unwrap()).collect();
            Ok(format!("{table} {values:?}"))
        });
        rows.extend(found.unwrap().map(Result::unwrap));
    }
    rows
}

fn difference(before: &Sight, after: &Sight) -> String {
    let mut said = Vec::new();
    for row in before.ledger.iter().filter(|row| !after.ledger.contains(row)) {
        said.push(format!("- {row}"));
    }
    for row in after.ledger.iter().filter(|row| !before.ledger.contains(row)) {
        said.push(format!("+ {row}"));
    }
    for (name, file) in &after.files {
        if before.files.get(name) != Some(file) {
            said.push(format!("{name} was written"));
        }
    }
    said.extend(
        before.files.keys().filter(|name| !after.files.contains_key(*name)).map(|name| format!("{name} is gone")),
    );
    if before.mutations != after.mutations || before.objects != after.objects {
        said.push("the bucket was written to".to_owned());
    }
    said.join("\n  ")
}

fn both(world: &mut World) -> Verdict {
    let source = world.source_cycle(true)?;
    let target = world.target_cycle(Look::Full)?;
    match source.or(target) {
        Some(error) => Err(format!("in quiet: {}", error.reason().message)),
        None => always(world),
    }
}

fn settle(world: &mut World) -> Verdict {
    let mut before = sight(world);
    for _ in 0..ROUNDS_MAX {
        both(world)?;
        world.accept();
        let after = sight(world);
        if before == after {
            return Ok(());
        }
        before = after;
    }
    let last = before;
    both(world)?;
    Err(format!("does not come to rest:\n  {}", difference(&last, &sight(world))))
}

/// Faults over, everybody quiet: it comes to rest, and then nothing is left to do, also after a restart.
pub fn at_the_end(world: &mut World) -> Verdict {
    world.calm();
    settle(world)?;
    world.label_studio().list();
    settle(world)?;
    let files = |sight: &Sight| {
        let others = sight.files.iter().filter(|(name, _)| *name != "target.json");
        others.map(|(name, file)| (name.clone(), file.clone())).collect::<BTreeMap<_, _>>()
    };
    let (before, requests) = (sight(world), requests(world));
    both(world)?;
    let after = sight(world);
    // `target.json` is written by the wall clock.
    let same = files(&before) == files(&after) && before.ledger == after.ledger && before.objects == after.objects;
    let same = same && before.mutations == after.mutations;
    hold!(same, "a clean cycle did something:\n  {}", difference(&before, &after));
    let now = self::requests(world);
    hold!(now.reads == requests.reads, "a clean cycle read {} objects", now.reads - requests.reads);
    world.restart();
    both(world)?;
    let restarted = sight(world);
    let mutations = restarted.mutations - after.mutations;
    hold!(files(&restarted) == files(&after), "a restart wrote:\n  {}", difference(&after, &restarted));
    // What only the map names is noted when the file is looked at the next time; ids come after it before, too.
    let rows = |sight: &Sight| {
        let others = sight.ledger.iter().filter(|row| !row.contains("highest_id"));
        others.cloned().collect::<Vec<_>>()
    };
    hold!(rows(&restarted) == rows(&after), "a restart changed the ledger:\n  {}", difference(&after, &restarted));
    // Claiming the prefix tries to write the mark that is there.
    hold!(mutations == 1, "a restart made {mutations} writes");
    let strays = after.files.keys().find(|name| name.contains(".lsd-"));
    hold!(strays.is_none(), "left behind: {strays:?}");
    tasks(world)?;
    completions(world)
}

fn requests(world: &World) -> Requests {
    let (source, target) = (world.source_faults.requests(), world.target_faults.requests());
    // A minute after the last time it is looked again whose the target is, also where a cycle has nothing to do.
    let marks = world.target.mark_reads.load(Ordering::Relaxed);
    Requests { reads: source.reads + target.reads - marks, ..source }
}

fn selects(world: &World, key: &str) -> bool {
    let settings = &world.source_settings;
    let prefix = settings.prefix.trim_end_matches('/');
    let covered = prefix.is_empty() || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let matches = match settings.regex.as_ref().map(|regex| regex.as_str()) {
        None => false,
        Some(".*") => true,
        Some(r".*\.png") => key.contains(".png"),
        Some("a") => key.starts_with('a'),
        Some(other) => panic!("the model does not know {other}"),
    };
    covered && matches
}

/// Every good object has its task, every import is there.
fn tasks(world: &World) -> Verdict {
    let label_studio = world.label_studio();
    let tasks = label_studio.tasks().unwrap_or_default();
    let objects = world.source.memory().objects();
    for key in crate::world::KEYS {
        let task = tasks.values().find(|task| Who::of_task(task) == Who::Key(key.to_owned()));
        let object = objects.get(&Key::new(key));
        if !selects(world, key) {
            hold!(task.is_none(), "{key} is not selected and has a task");
            continue;
        }
        let Some(object) = object else {
            let hidden = world.source_settings.on_removed == OnRemoved::Keep || task.is_none();
            hold!(hidden, "{key} is gone and has a task");
            continue;
        };
        let body = serde_json::from_slice::<Value>(object).ok().filter(|body| body["image"].is_string());
        if !world.blobs && body.is_none() {
            continue;
        }
        let url = format!("s3://src/{key}");
        let imported =
            label_studio.imports.values().any(|import| !import.deleted && import.data["image"] == url.as_str());
        // An import that was deleted may have come back, as any deleted task may (C8).
        let imported = imported
            || tasks
                .values()
                .any(|task| matches!(Who::of_task(task), Who::Import(_)) && task["data"]["image"] == url.as_str());
        let excused =
            label_studio.deleted.contains(key) || label_studio.taken_over.contains(key) || (world.blobs && imported);
        let Some(task) = task else {
            hold!(excused, "{key} has no task");
            continue;
        };
        let follows = !world.blobs && world.source_settings.on_changed == OnChanged::Update && !world.ever_kept;
        let version = body.map(|body| body["v"].clone());
        hold!(!follows || Some(&task["data"]["v"]) == version.as_ref(), "{key} has an old task: {task}");
    }
    for (number, import) in label_studio.imports.iter().filter(|(_, import)| !import.deleted) {
        let task = tasks.get(&import.id);
        let stands = task.is_some_and(|task| import.is(task));
        hold!(stands || import.in_doubt, "import {number} is not under its id {}: {task:?}", import.id);
    }
    Ok(())
}

/// Every completion is in the target byte for byte, or is listed with a reason that the model knows.
fn completions(world: &World) -> Verdict {
    let label_studio = world.label_studio();
    let rows = rows(&world.ledger_path());
    let objects = world.target.memory().objects();
    let entangled = |id: u64| {
        let stood = label_studio.stood.get(&id).map_or(0, |stood| stood.iter().collect::<BTreeSet<_>>().len());
        stood > 1 || world.touched.contains_key(&id)
    };
    for id in label_studio.completed() {
        let file = fs::read(label_studio.completion(id)).unwrap();
        let object = objects.get(&Key::new(format!("{TARGET_PREFIX}{id}")));
        let row = rows.get(&id).map_or("", String::as_str);
        let pushed = object.is_some_and(|object| same_json(object, &file));
        let last = label_studio.versions.get(&id).and_then(|versions| versions.last());
        let stays = last.is_none_or(|last| *last == file || objects_of(world, id).iter().any(|object| object == last));
        hold!(stays || world.resolved.contains(&id), "what was saved last of completion {id} is lost");
        let lost = label_studio.lost.contains(&id);
        hold!(pushed || entangled(id) || lost, "completion {id} is not in the target; the ledger says `{row}`");
        let listed = matches!(row, "disputed" | "missing" | "quarantined");
        // Not brought in by the operator's will, or while the task is not shown: the next change of the file makes it
        // a conflict.
        let shown = label_studio.tasks().is_some_and(|tasks| tasks.contains_key(&id));
        let listed = listed || ((world.ever_without_copies || !shown) && world.touched.contains_key(&id));
        hold!(pushed || listed || lost, "completion {id} is not in the target, and nothing says so: `{row}`");
    }
    for (id, state) in rows {
        hold!(state != "begun", "the push of completion {id} is begun for ever");
        hold!(state != "disputed" || entangled(id), "a conflict about completion {id} that nobody made");
    }
    let map = fs::read(world.project.join("target.json")).ok();
    let map: BTreeMap<u64, Value> = map.map_or_else(BTreeMap::new, |map| serde_json::from_slice(&map).unwrap());
    let mine = objects.keys().filter_map(|key| key.as_str().strip_prefix(TARGET_PREFIX)?.parse::<u64>().ok());
    for id in mine.filter(|id| !entangled(*id)) {
        hold!(map.contains_key(&id), "target.json does not name {id}");
    }
    Ok(())
}

fn rows(path: &Path) -> BTreeMap<u64, String> {
    let ledger = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = ledger
        .prepare("SELECT name, iif(begun IS NULL, replace(state, 'begun', ''), 'begun') FROM completions")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).unwrap();
    rows.map(|row| row.map(|(name, state)| (name.parse().unwrap(), state)).unwrap()).collect()
}
