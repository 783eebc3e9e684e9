//! Clauses of the contract, each shown on the real daemon, with a Label Studio that the test plays.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::beside::{Beside, PATIENCE, read_tasks};

/// What the daemon says when the map names its tasks, when it knows that Label Studio holds them, and when an id has
/// left the map; that there is none.
const LISTED: &str = "named by Label Studio's map";
pub const SEEN: &str = "in Label Studio's memory";
const LEFT: &str = "left Label Studio's map";
const GONE: &str = "Label Studio's map is gone";

/// Label Studio's files as it left them, labelsync, and a task of each of these objects: their ids begin at 0.
fn with_tasks(keys: &[&str]) -> (Beside, BTreeMap<u64, Value>) {
    let mut beside = Beside::played();
    keys.iter().for_each(|key| beside.put(key));
    beside.start_local();
    let ids: Vec<u64> = (0..).take(keys.len()).collect();
    let tasks = beside.until_ids(&ids);
    (beside, tasks)
}

fn select(beside: &Beside, regex: &str) {
    let (well, said) = beside.lsctl(&["set-source", "cats", "--regex", regex]);
    assert!(well, "{said}");
}

/// `source.json` as Label Studio writes it when it has listed these.
pub fn list(beside: &Beside, ids: impl IntoIterator<Item = u64>) {
    let path = beside.project().join("tasks.json").display().to_string();
    let entry = |id: u64| (id.to_string(), json!({"key": format!("{path}/{id}"), "exists": true}));
    let map = Value::Object(ids.into_iter().map(entry).collect());
    beside.write("source.json", &map.to_string().replace('/', "\\/"));
}

/// `tasks.json` as Label Studio writes it: these tasks, from its memory.
fn save(beside: &Beside, tasks: impl IntoIterator<Item = (u64, Value)>) {
    let tasks = Value::Object(tasks.into_iter().map(|(id, task)| (id.to_string(), task)).collect());
    beside.write("tasks.json", &tasks.to_string());
}

fn task(id: u64, image: &str) -> (u64, Value) {
    (id, json!({"id": id, "data": {"image": image}}))
}

/// Every reader meets a whole file, each time another inode.
pub fn c01_tasks_json_is_replaced_whole() {
    let mut beside = Beside::played();
    beside.start_local();
    let project = beside.project();
    let (mut versions, mut looks) = (BTreeSet::new(), 0);
    let end = Instant::now() + PATIENCE;
    for number in 0.. {
        if versions.len() >= 3 && looks > 500 {
            break;
        }
        assert!(Instant::now() < end, "{} versions seen in {looks} looks", versions.len());
        beside.put(&format!("{number}.png"));
        let tasks = read_tasks(&project).expect("never torn");
        assert!(tasks.iter().all(|(id, task)| task["id"].as_u64() == Some(*id) && task["data"]["image"].is_string()));
        let file = std::fs::metadata(project.join("tasks.json")).unwrap();
        versions.insert((file.ino(), file.ctime(), file.ctime_nsec()));
        for entry in std::fs::read_dir(&project).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = ["tasks.json", "target.json", "config.json", "labelsync.json"];
            assert!(known.contains(&&*name) || !name.ends_with(".json"), "Label Studio could take {name} for its own");
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// While `tasks.json` is torn it is neither "no tasks" nor overwritten; what comes then is whole.
pub fn c02_a_torn_file_is_waited_for() {
    let mut beside = Beside::played();
    beside.put("a.png");
    beside.start_local();
    let before = beside.until_ids(&[0]);
    list(&beside, [0]);
    let whole = json!({"0": before[&0], "1": {"id": 1, "data": {"image": "http://localhost/x.png"}}}).to_string();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        beside.write("tasks.json", &whole[..cut]);
        beside.put(&format!("b{cut}.png"));
        std::thread::sleep(Duration::from_millis(700));
        let there = std::fs::read_to_string(beside.project().join("tasks.json")).unwrap();
        assert_eq!(there, whole[..cut], "left alone");
    }
    list(&beside, [0, 1]);
    beside.write("tasks.json", &whole);
    let tasks = beside.until_ids(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(tasks[&0], before[&0]);
    assert_eq!(tasks[&1]["data"]["image"], "http://localhost/x.png");
}

/// New ids are above all that anybody used, ascending, in the order of keys, at the end of the file.
pub fn c05_c06_new_ids_are_above_all_that_were_used() {
    let mut beside = Beside::played();
    save(&beside, [task(3, "http://localhost/x.png")]);
    list(&beside, [3, 9]);
    beside.write("completions/12.json", r#"{"id": 12, "data": {"image": "y"}, "completions": []}"#);
    for key in ["b.png", "é.png", "B.png", "a.png"] {
        beside.put(key);
    }
    beside.start_local();
    let tasks = beside.until_ids(&[3, 13, 14, 15, 16]);
    // As Label Studio serves a local file: `/data/NAME?d=DIRECTORY`.
    let image = |task: &Value| task["data"]["image"].as_str().unwrap().split('?').next().unwrap().to_owned();
    let images: Vec<_> = tasks.values().skip(1).map(image).collect();
    assert_eq!(images, ["/data/B.png", "/data/a.png", "/data/b.png", "/data/%C3%A9.png"]);
    let text = std::fs::read_to_string(beside.project().join("tasks.json")).unwrap();
    let places: Vec<_> = [3, 13, 14, 15, 16].map(|id| text.find(&format!("\"{id}\":")).unwrap()).to_vec();
    assert!(places.is_sorted(), "appended at the end: {text}");
}

/// A user who deletes a task that has just come into view is heard.
pub fn c08_a_delete_soon_after_the_first_listing_is_kept() {
    let (beside, tasks) = with_tasks(&["a.png", "b.png", "c.png"]);
    std::thread::sleep(Duration::from_millis(100));
    list(&beside, [0, 1, 2]);
    beside.until_said(LISTED, 1);
    list(&beside, [0, 2]);
    save(&beside, tasks.into_iter().filter(|(id, _)| *id != 1));
    beside.put("d.png");
    beside.until_ids(&[0, 2, 3]);
    beside.sync();
    assert_eq!(beside.tasks().into_keys().collect::<Vec<_>>(), [0, 2, 3], "it stays deleted");
}

/// What Label Studio lost, because it had not seen it or still lists it, comes back.
pub fn c08_a_clobbered_task_comes_back() {
    let (beside, tasks) = with_tasks(&["a.png", "b.png"]);
    list(&beside, [0]);
    save(&beside, tasks.clone().into_iter().filter(|(id, _)| *id == 0));
    assert_eq!(beside.until_ids(&[0, 1]), tasks, "never seen");
    list(&beside, [0, 1]);
    beside.until_said(SEEN, 1);
    save(&beside, tasks.clone().into_iter().filter(|(id, _)| *id == 0));
    assert_eq!(beside.until_ids(&[0, 1]), tasks, "seen, and still in Label Studio's map");
    std::fs::remove_file(beside.project().join("source.json")).unwrap();
    beside.write("tasks.json", "{}");
    assert_eq!(beside.until_ids(&[0, 1]), tasks, "made anew");
}

/// The map names a deleted task again, as another thread of Label Studio had listed the file of before: it stays deleted.
/// What only left the map, and stands in the next `tasks.json` of Label Studio's, is lost later like any other.
pub fn c08_a_delete_is_kept_though_the_map_names_it_again() {
    let (beside, tasks) = with_tasks(&["a.png", "b.png", "c.png"]);
    let without = |gone: &[u64]| tasks.clone().into_iter().filter(|(id, _)| !gone.contains(id)).collect::<Vec<_>>();
    list(&beside, [0, 1, 2]);
    beside.until_said(SEEN, 1);
    list(&beside, [0, 2]);
    beside.until_said(LEFT, 1);
    list(&beside, [0, 1, 2]);
    save(&beside, without(&[1]));
    beside.sync();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(beside.tasks().into_keys().collect::<Vec<_>>(), [0, 2], "it stays deleted");
    list(&beside, [0]);
    beside.until_said(LEFT, 2);
    list(&beside, [0, 1, 2]);
    beside.write("tasks.json", &format!("{} ", std::fs::read_to_string(beside.project().join("tasks.json")).unwrap()));
    beside.sync();
    save(&beside, without(&[1, 2]));
    beside.until_ids(&[0, 2]);
}

/// What a Label Studio that is gone had listed says nothing of the next one, which made its map anew: what that has not
/// listed is lost from `tasks.json`, not deleted, and its imports do not take our tasks' place.
pub fn c08_c09_a_map_that_is_made_anew_has_listed_nothing() {
    let (beside, tasks) = with_tasks(&["a.png", "b.png", "c.png"]);
    list(&beside, [0, 1, 2]);
    beside.until_said(SEEN, 1);
    let gone = beside.log().matches(GONE).count();
    // One is hidden, Label Studio starts without its map, and the task comes back unseen.
    select(&beside, ".*[ac].png");
    beside.until_ids(&[0, 2]);
    std::fs::remove_file(beside.project().join("source.json")).unwrap();
    beside.until_said(GONE, gone + 1);
    list(&beside, [0, 2]);
    beside.until_said(SEEN, 2);
    select(&beside, ".*");
    assert_eq!(beside.until_ids(&[0, 1, 2]), tasks);
    // The user deletes another.
    list(&beside, [0]);
    save(&beside, tasks.clone().into_iter().filter(|(id, _)| *id == 0));
    beside.until_ids(&[0, 1]);
    // All is lost, and the next Label Studio imports before it has listed what came back.
    list(&beside, [0, 1]);
    beside.until_said(SEEN, 3);
    std::fs::remove_file(beside.project().join("source.json")).unwrap();
    beside.write("tasks.json", "{}");
    beside.until_ids(&[0, 1]);
    list(&beside, [0]);
    save(&beside, [task(0, "http://localhost/import.png")]);
    let there = beside.until_ids(&[0, 1, 3]);
    assert_eq!(there[&0]["data"]["image"], "http://localhost/import.png");
    assert_eq!((&there[&1], &there[&3]["data"]), (&tasks[&1], &tasks[&0]["data"]));
}

/// The map is removed and made again before anybody can look, or while labelsync is down, and tasks.json with it: a Label
/// Studio that never listed our tasks has deleted none.
pub fn c08_c09_a_map_that_is_made_anew_at_once_or_while_nobody_looks_has_listed_nothing() {
    let (mut beside, tasks) = with_tasks(&["a.png", "b.png", "c.png"]);
    list(&beside, [0, 1, 2]);
    beside.until_said(SEEN, 1);
    let begin_anew = |beside: &Beside| {
        std::fs::remove_file(beside.project().join("source.json")).unwrap();
        beside.write("source.json", "{}");
        beside.write("tasks.json", "{}");
    };
    begin_anew(&beside);
    assert_eq!(beside.until_ids(&[0, 1, 2]), tasks, "at once");
    list(&beside, [0, 1, 2]);
    beside.until_said(SEEN, 2);
    beside.stop();
    begin_anew(&beside);
    beside.start_again();
    assert_eq!(beside.until_ids(&[0, 1, 2]), tasks, "while nobody looked");
    // What it has listed since is its user's to delete.
    list(&beside, [0, 1, 2]);
    beside.until_said(SEEN, 3);
    list(&beside, [0, 2]);
    save(&beside, tasks.into_iter().filter(|(id, _)| *id != 1));
    beside.sync();
    assert!(beside.tasks().keys().eq([0, 2].iter()), "it stays deleted");
}

/// An import under the id of a task that Label Studio had not seen keeps it; ours moves.
pub fn c09_an_import_keeps_its_id_and_ours_moves() {
    let mut beside = Beside::played();
    beside.put("a.png");
    beside.start_local();
    let ours = beside.until_ids(&[0])[&0]["data"].clone();
    // In the order in which Label Studio saves them, a moment apart: the map alone must not count as "seen".
    list(&beside, [0]);
    std::thread::sleep(Duration::from_millis(500));
    save(&beside, [task(0, "http://localhost/import.png")]);
    let tasks = beside.until_ids(&[0, 1]);
    assert_eq!(tasks[&0]["data"]["image"], "http://localhost/import.png");
    assert_eq!(tasks[&1]["data"], ours);
}

/// A removed object's task leaves, its completion and id stay: it comes back under the same id.
pub fn c15_a_removed_object_keeps_its_id_and_completion() {
    let (beside, before) = with_tasks(&["a.png", "b.png", "c.png"]);
    list(&beside, [0, 1, 2]);
    let completion = json!({"id": 1, "data": before[&1]["data"], "completions": [{"id": 1001, "result": []}]});
    beside.write("completions/1.json", &completion.to_string());
    select(&beside, ".*[ac].png");
    beside.until_ids(&[0, 2]);
    assert!(beside.project().join("completions/1.json").exists());
    select(&beside, ".*");
    assert_eq!(beside.until_ids(&[0, 1, 2]), before);
}
