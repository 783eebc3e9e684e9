//! The load of `0.8.md`'s "Protocol prototype": imports and deletes one after the other, one page polling, labelling,
//! while blobs arrive; with labelsync, and the same without it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::beside::{Beside, read_tasks};
use crate::support::label_studio::{Installed, LabelStudio};

/// Between two deeds of the user.
const PAUSE: Duration = Duration::from_millis(120);
/// Between two looks of the page.
const POLL: Duration = Duration::from_millis(400);
/// Between two blobs.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Imports that Label Studio loses more or less from run to run, by races of its own threads.
const CHANCE: usize = 8;
const IMPORTS: usize = 100;
const DELETES: usize = 50;
const LABELS: usize = 50;
/// Blobs that are there at the start.
const BLOBS: usize = 60;

/// Tasks of the run without labelsync, as many as blobs arrive at most in the other one.
const ALONE: usize = 150;

/// A task is told by its picture: `blob-7.png`, `import-7.png`.
pub type Picture = String;

/// What the user did, by what Label Studio answered to it.
#[derive(Default)]
struct Done {
    imported: BTreeSet<Picture>,
    deleted: BTreeSet<Picture>,
    labelled: BTreeMap<Picture, u64>,
}

/// What it came to.
#[derive(Debug, Default)]
pub struct Numbers {
    mirrored: usize,
    mirrored_lost: Vec<Picture>,
    imports: usize,
    imports_lost: Vec<Picture>,
    /// Of these, such as had stood in `tasks.json`.
    imports_lost_again: Vec<Picture>,
    deletes: usize,
    undone: Vec<Picture>,
    /// What labelsync did with each of these, by the kinds of its events.
    undone_by: BTreeMap<Picture, BTreeSet<String>>,
    completions: usize,
    completions_lost: Vec<Picture>,
    elsewhere: Vec<Picture>,
    twice: Vec<Picture>,
    lists: u64,
    lists_failed: u64,
}

/// The picture of a task, wherever it is served from.
pub fn picture(task: &Value) -> Picture {
    let url = task["data"]["image"].as_str().unwrap_or_default();
    let name = regex::Regex::new(r"(blob|import)-\d+\.png").unwrap().find(url);
    name.unwrap_or_else(|| panic!("a strange task: {task}")).as_str().to_owned()
}

/// One page that is open, and what it showed last.
struct Page {
    shown: Arc<Mutex<Vec<(u64, Picture)>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u64, u64)>,
}

impl Page {
    fn open(server: &Arc<LabelStudio>) -> Self {
        let (shown, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (server, seen, stopped) = (server.clone(), shown.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let (mut lists, mut failed) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let project = server.call("GET", "/api/project", None);
                let tasks = server.call("GET", "/api/tasks?page_size=100000&fields=id,data", None);
                lists += 2;
                failed += u64::from(project.status != 200) + u64::from(tasks.status != 200);
                if let (200, Some(tasks)) = (tasks.status, tasks.body.as_array()) {
                    *seen.lock().unwrap() =
                        tasks.iter().map(|task| (task["id"].as_u64().unwrap(), picture(task))).collect();
                }
                std::thread::sleep(POLL);
            }
            (lists, failed)
        });
        Self { shown, stop, thread }
    }

    /// A task that the page shows and `wanted` takes; another one each time.
    fn pick(&self, turn: usize, wanted: impl Fn(&Picture) -> bool) -> Option<(u64, Picture)> {
        let shown = self.shown.lock().unwrap();
        let fit: Vec<_> = shown.iter().filter(|(_, picture)| wanted(picture)).collect();
        // A step that meets every place of the list, old tasks and the newest.
        (!fit.is_empty()).then(|| fit[turn * 7919 % fit.len()].clone())
    }

    fn close(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn import(server: &LabelStudio, turn: usize, done: &mut Done) {
    let picture = format!("import-{turn}.png");
    let task = json!([{"image": format!("http://localhost/{picture}")}]);
    if server.call("POST", "/api/project/import", Some(&task)).status == 201 {
        done.imported.insert(picture);
    }
}

fn delete(server: &LabelStudio, page: &Page, turn: usize, done: &mut Done) {
    let free = |p: &Picture| !done.deleted.contains(p) && !done.labelled.contains_key(p);
    let Some((id, picture)) = page.pick(turn, free) else { return };
    if server.call("DELETE", &format!("/api/tasks/{id}"), None).status == 204 {
        done.deleted.insert(picture);
    }
}

fn label(server: &LabelStudio, page: &Page, turn: usize, done: &mut Done) {
    let free = |p: &Picture| !done.deleted.contains(p) && !done.labelled.contains_key(p);
    let Some((id, picture)) = page.pick(turn + 3, free) else { return };
    let result = json!([{"id": picture, "from_name": "is", "to_name": "image", "type": "choices",
                         "value": {"choices": ["cat"]}}]);
    let completion = json!({"lead_time": 1.5, "result": result});
    if server.call("POST", &format!("/api/tasks/{id}/completions"), Some(&completion)).status == 201 {
        done.labelled.insert(picture, id);
    }
}

/// The user, one deed after the other.
fn work(server: &LabelStudio, page: &Page) -> Done {
    let mut done = Done::default();
    for turn in 0.. {
        if done.imported.len() < IMPORTS {
            import(server, turn, &mut done);
            std::thread::sleep(PAUSE);
        }
        if turn % 2 == 0 && done.deleted.len() < DELETES {
            delete(server, page, turn, &mut done);
            std::thread::sleep(PAUSE);
        } else if turn % 2 == 1 && done.labelled.len() < LABELS {
            label(server, page, turn, &mut done);
            std::thread::sleep(PAUSE);
        }
        let over = done.imported.len() >= IMPORTS && done.deleted.len() >= DELETES && done.labelled.len() >= LABELS;
        if over || turn > 4 * IMPORTS {
            break;
        }
    }
    done
}

/// Blobs that come while the user works.
struct Arrivals {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Arrivals {
    fn begin(source: std::path::PathBuf) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) || number == ALONE {
                    return number;
                }
                std::fs::write(source.join(format!("blob-{number}.png")), b"a picture").unwrap();
                if number >= BLOBS {
                    std::thread::sleep(ARRIVAL);
                }
            }
            0
        });
        Self { stop, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Every import that ever stood in a whole `tasks.json`, as far as a quick eye can see.
struct Eye {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<BTreeSet<Picture>>,
}

impl Eye {
    fn open(project: std::path::PathBuf) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut stood, mut last) = (BTreeSet::new(), None);
            while !stopped.load(Ordering::Relaxed) {
                let now = std::fs::metadata(project.join("tasks.json")).and_then(|file| file.modified()).ok();
                if now != last {
                    last = now;
                    stood.extend(read_tasks(&project).unwrap_or_default().values().map(picture));
                }
                std::thread::sleep(Duration::from_millis(4));
            }
            stood
        });
        Self { stop, thread }
    }

    fn close(self) -> BTreeSet<Picture> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn run(installed: &Installed, labelsync: bool) -> Numbers {
    let mut beside = Beside::new(installed);
    if !labelsync {
        // As many tasks as the other one has: what a listing takes decides how often Label Studio loses a race with itself.
        let tasks = (0..ALONE).map(|id| {
            (id.to_string(), json!({"id": id, "data": {"image": format!("http://localhost/blob-{id}.png")}}))
        });
        let tasks = Value::Object(tasks.collect());
        std::fs::write(beside.project().join("tasks.json"), tasks.to_string()).unwrap();
    }
    let server = Arc::new(installed.start(&beside.project(), &[]));
    let arrivals = labelsync.then(|| {
        beside.start_local();
        Arrivals::begin(beside.path("in"))
    });
    let (page, eye) = (Page::open(&server), Eye::open(beside.project()));
    let done = work(&server, &page);
    let mirrored = arrivals.map_or(ALONE, Arrivals::end);
    let (lists, lists_failed) = page.close();
    if labelsync {
        beside.sync();
        beside.until_at_rest();
    }
    let mut numbers = Numbers { mirrored, lists, lists_failed, ..Numbers::default() };
    compare(&beside, &server, &done, labelsync, &mut numbers);
    let stood = eye.close();
    numbers.imports_lost_again = numbers.imports_lost.iter().filter(|p| stood.contains(*p)).cloned().collect();
    if labelsync {
        tell_events(&beside);
    }
    numbers
}

/// What stands there in the end against what was done.
fn compare(beside: &Beside, server: &LabelStudio, done: &Done, labelsync: bool, numbers: &mut Numbers) {
    let listed: Vec<(u64, Picture)> =
        server.tasks().iter().map(|task| (task["id"].as_u64().unwrap(), picture(task))).collect();
    let in_file: Vec<(u64, Picture)> = beside.tasks().iter().map(|(id, task)| (*id, picture(task))).collect();
    assert_eq!(listed, in_file, "what Label Studio lists stands in the file");
    let mut shown = BTreeMap::new();
    for (id, picture) in listed {
        if shown.insert(picture.clone(), id).is_some() {
            numbers.twice.push(picture);
        }
    }
    let wanted = |p: &Picture| !done.deleted.contains(p);
    let blobs = (0..numbers.mirrored).map(|number| format!("blob-{number}.png"));
    numbers.mirrored_lost = blobs.filter(wanted).filter(|p| !shown.contains_key(p)).collect();
    numbers.imports = done.imported.len();
    numbers.imports_lost = done.imported.iter().filter(|p| wanted(p) && !shown.contains_key(*p)).cloned().collect();
    numbers.deletes = done.deleted.len();
    numbers.undone = done.deleted.iter().filter(|p| shown.contains_key(*p)).cloned().collect();
    if labelsync {
        let told = events(beside);
        numbers.undone_by = numbers.undone.iter().map(|p| (p.clone(), kinds_of(&told, shown[p]))).collect();
    }
    numbers.completions = done.labelled.len();
    for (picture, id) in &done.labelled {
        let file = std::fs::read(beside.project().join(format!("completions/{id}.json")));
        let text = file.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        if !text.contains(&format!("\"id\": \"{picture}\"")) {
            numbers.completions_lost.push(picture.clone());
            continue;
        }
        let about = serde_json::from_str(&text).map(|file: Value| self::picture(&file)).ok();
        if about.as_ref() != Some(picture) || shown.get(picture).is_some_and(|shown| shown != id) {
            numbers.elsewhere.push(picture.clone());
        }
        if labelsync {
            let object = std::fs::read(beside.path("out/done").join(id.to_string())).ok();
            assert_eq!(object, file.ok(), "the completion of {picture} is in the target, byte for byte");
        }
    }
}

fn events(beside: &Beside) -> Vec<Value> {
    let (well, said) = beside.lsctl(&["--json", "events"]);
    assert!(well, "{said}");
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The kinds of the events about one task.
fn kinds_of(events: &[Value], id: u64) -> BTreeSet<String> {
    let about = events.iter().filter(|event| event["task"] == id);
    about.filter_map(|event| event["kind"].as_str().map(str::to_owned)).collect()
}

/// What labelsync did, by kind.
fn tell_events(beside: &Beside) {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for event in events(beside) {
        if event["kind"] == "cycle_failed" {
            print(&format!("a cycle failed: {}", event["message"]));
        }
        *kinds.entry(event["kind"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    print(&format!("labelsync's events: {kinds:?}"));
}

/// One line, also where nobody reads any more.
fn print(line: &str) {
    let _gone = writeln!(std::io::stdout(), "{line}");
}

fn row(name: &str, n: &Numbers) {
    let of = |lost: &[Picture], all: usize| format!("{}/{all}", lost.len());
    let cells = [
        name.to_owned(),
        of(&n.mirrored_lost, n.mirrored),
        of(&n.imports_lost, n.imports),
        n.imports_lost_again.len().to_string(),
        of(&n.undone, n.deletes),
        of(&n.completions_lost, n.completions),
        n.elsewhere.len().to_string(),
        n.twice.len().to_string(),
        format!("{}/{}", n.lists_failed, n.lists),
    ];
    print(&format!("| {} |", cells.join(" | ")));
}

/// Prints the numbers, and fails where they are worse than they may be.
pub fn table(installed: Installed) {
    let other = installed.clone();
    let alone = std::thread::spawn(move || run(&other, false));
    let beside = run(&installed, true);
    let alone = alone.join().unwrap();
    print(
        "| | tasks lost | imports lost | had stood there | deletes undone | completions lost | on other tasks | twice | lists failed |",
    );
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    print("| prototype, 1 batch/s, 50 ms quiet rule | 0/155 | 0/100 | - | 1/25 | - | - | - | - |");
    row("Label Studio alone", &alone);
    row("with labelsyncd", &beside);
    print(&format!("alone: {alone:?}\nbeside: {beside:?}"));
    let none = Vec::<Picture>::new();
    assert_eq!((&beside.mirrored_lost, &beside.completions_lost), (&none, &none), "nothing is lost");
    assert_eq!((&beside.elsewhere, &beside.twice), (&none, &none), "no id stands for two things");
    let done = (beside.imports, beside.deletes, beside.completions);
    assert_eq!(done, (IMPORTS, DELETES, LABELS), "the load was done");
    assert_eq!(beside.imports_lost_again, none, "what Label Studio had saved is not lost");
    assert!(beside.imports_lost.len() <= alone.imports_lost.len() + CHANCE, "labelsync loses no imports");
    // In doubt is what has left the file while Label Studio's own map named it (another of its threads had listed the
    // file of before the delete), or what it wrote back itself: a delete that the map confirms stays.
    let doubts = ["task_restored", "task_revived"];
    for (picture, kinds) in &beside.undone_by {
        assert!(doubts.iter().any(|doubt| kinds.contains(*doubt)), "{picture} came back without a doubt: {kinds:?}");
    }
    assert!(beside.undone.len() * 5 <= beside.deletes, "a delete comes back only in doubt (C8)");
}
