//! Beside a Label Studio that writes in place, from its memory; here simulated (issue 3 has the real one).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use serde_json::{Value, json};

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, until, write};

/// Label Studio 0.8's memory of one project.
struct LabelStudio {
    project: PathBuf,
    memory: BTreeMap<u64, Value>,
    /// Every id ever listed, but those that a user deleted.
    listed: BTreeMap<u64, ()>,
}

impl LabelStudio {
    fn new(rig: &Rig) -> Self {
        Self { project: rig.path("cats"), memory: BTreeMap::new(), listed: BTreeMap::new() }
    }

    /// A page is opened: reads `tasks.json`, writes `source.json`.
    fn list(&mut self) {
        self.memory = crate::support::rig::tasks_of(&self.project);
        self.listed.extend(self.memory.keys().map(|id| (*id, ())));
        self.write_map();
    }

    /// Without reading the file again; the map is written first, as in the real one.
    fn delete(&mut self, id: u64) {
        self.memory.remove(&id);
        self.listed.remove(&id);
        self.write_map();
        self.write_tasks();
    }

    /// From its memory, which may be stale; the new id.
    fn import(&mut self, url: &str) -> u64 {
        let id = self.listed.keys().next_back().map_or(0, |id| id + 1);
        self.memory.insert(id, json!({"id": id, "data": {"image": url}}));
        self.listed.insert(id, ());
        self.write_map();
        self.write_tasks();
        id
    }

    /// In place.
    fn write_tasks(&self) {
        let tasks: BTreeMap<String, &Value> = self.memory.iter().map(|(id, task)| (id.to_string(), task)).collect();
        write(&self.project.join("tasks.json"), &serde_json::to_string(&tasks).expect("JSON"));
    }

    fn write_map(&self) {
        let entry = |id: &u64| (id.to_string(), json!({"key": format!("tasks.json/{id}"), "exists": true}));
        let map: BTreeMap<String, Value> = self.listed.keys().map(entry).collect();
        write(&self.project.join("source.json"), &serde_json::to_string(&map).expect("JSON"));
    }
}

fn urls(rig: &Rig) -> BTreeMap<u64, String> {
    let url = |(id, task): (u64, Value)| {
        let url = task["data"]["image"].as_str().expect("a URL");
        // A file's URL has the directory after the name.
        let path = url.split('?').next().expect("a path");
        (id, path.rsplit('/').next().expect("a name").to_owned())
    };
    rig.tasks().into_iter().map(url).collect()
}

fn until_urls(rig: &Rig, wanted: &[(u64, &str)]) {
    let wanted: BTreeMap<u64, String> = wanted.iter().map(|(id, url)| (*id, (*url).to_owned())).collect();
    let mut last = BTreeMap::new();
    let end = std::time::Instant::now() + PATIENCE;
    while last != wanted {
        assert!(
            std::time::Instant::now() < end,
            "waited too long for {wanted:?}, there is {last:?}\n{}",
            rig.ok(&["events"])
        );
        std::thread::sleep(std::time::Duration::from_millis(25));
        last = urls(rig);
    }
}

/// One of these is told: after the file that a test has seen already, and after its receipt.
fn until_told(rig: &Rig, texts: &[&str]) {
    until(texts[0], PATIENCE, || {
        let events = rig.ok(&["events"]);
        texts.iter().any(|text| events.contains(text)).then_some(())
    });
}

pub fn c08_what_label_studio_loses_comes_back_and_what_a_user_deletes_stays_away() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.put("b.png", "a picture");
    rig.start();
    rig.until_tasks(2);
    let mut label_studio = LabelStudio::new(&rig);
    label_studio.list();
    let import = label_studio.import("http://x/own.png");
    assert_eq!(import, 2);
    rig.put("c.png", "a picture");
    rig.put("d.png", "a picture");
    until_urls(&rig, &[(0, "a.png"), (1, "b.png"), (2, "own.png"), (3, "c.png"), (4, "d.png")]);

    // A user deletes 0; Label Studio has not seen 3 and 4, and writes the file without them.
    assert_eq!(rig.sync(), 0);
    label_studio.delete(0);
    until_urls(&rig, &[(1, "b.png"), (2, "own.png"), (3, "c.png"), (4, "d.png")]);
    until_told(&rig, &["+ task 3 restored (Label Studio lost it)"]);
    until_told(&rig, &["x task 0 deleted by the user"]);

    // It lists, and a stale writer loses an import of its own and a task of ours.
    label_studio.list();
    let kept = label_studio.import("http://x/second.png");
    assert_eq!(rig.sync(), 0);
    label_studio.memory.remove(&kept);
    label_studio.memory.remove(&1);
    label_studio.write_tasks();
    until_urls(&rig, &[(1, "b.png"), (2, "own.png"), (3, "c.png"), (4, "d.png"), (5, "second.png")]);
    rig.kill();
    rig.start();
    assert_eq!(rig.sync(), 0);
    until_urls(&rig, &[(1, "b.png"), (2, "own.png"), (3, "c.png"), (4, "d.png"), (5, "second.png")]);
    rig.put("e.png", "a picture");
    until_urls(&rig, &[(1, "b.png"), (2, "own.png"), (3, "c.png"), (4, "d.png"), (5, "second.png"), (6, "e.png")]);
}

pub fn c09_an_import_under_our_id_moves_ours() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let mut label_studio = LabelStudio::new(&rig);
    label_studio.list();
    rig.put("b.png", "a picture");
    rig.until_tasks(2);
    assert_eq!(rig.sync(), 0);
    // It has not listed since: its import gets id 1 as well.
    assert_eq!(label_studio.import("http://x/own.png"), 1);
    until_urls(&rig, &[(0, "a.png"), (1, "own.png"), (2, "b.png")]);
    until_told(&rig, &["> task 1 moved to id 2", "> task 1 moves to a new id"]);
    label_studio.list();
    rig.put("c.png", "a picture");
    until_urls(&rig, &[(0, "a.png"), (1, "own.png"), (2, "b.png"), (3, "c.png")]);
}

pub fn c10_a_label_config_that_is_missing_or_wrong_adds_nothing() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    let config = rig.path("cats/config.xml");
    std::fs::remove_file(&config).expect("removed");
    rig.start();
    let reason = rig.until_code("project_invalid");
    assert!(reason["message"].as_str().is_some_and(|text| text.contains("config.xml")), "{reason}");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("config.xml")), "{reason}");
    write(&config, "<View><Image name=\"image\" value=\"$image\"></View>");
    let reason = rig.until_code("label_config_invalid");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("mend config.xml")), "{reason}");
    assert_eq!(rig.tasks().len(), 0);
    write(&config, "<View/>");
    rig.until_code("no_data_key");
    assert_eq!(rig.tasks().len(), 0);
    write(&config, IMAGE_CONFIG);
    rig.until_tasks(1);
    rig.until_status("ok", |status| status["state"] == "ok");
}

/// Also where the label config is mended while labelsync is down; one that is the same is no reason to try again.
pub fn c10_what_another_label_config_refused_is_tried_again() {
    let mut rig = Rig::local(".*");
    let settings = rig.local_project("cats", ".*");
    let json = "poll_interval = \"1s\"\nuse_blob_urls = false\n[";
    rig.settings(&settings.replace("poll_interval = \"1s\"\n[", json));
    let both = "<View><Image name=\"image\" value=\"$image\"/><Text name=\"text\" value=\"$text\"/></View>";
    write(&rig.path("cats/config.xml"), both);
    rig.put("both.json", "{\"image\": \"http://x/a.png\", \"text\": \"a\"}");
    rig.put("one.json", "{\"image\": \"http://x/b.png\"}");
    let refused = |status: &serde_json::Value| status["quarantined"] == 1;
    rig.start();
    rig.until_tasks(1);
    rig.until_status("one in quarantine", refused);
    for restart in 1..=2 {
        rig.stop();
        rig.start();
        assert_eq!(rig.sync(), 0);
        assert!(refused(&rig.status()), "after restart {restart}");
    }
    let told = rig.log().lines().filter(|line| line.contains("one.json")).count();
    assert_eq!(told, 1, "{}", rig.log());
    rig.stop();
    write(&rig.path("cats/config.xml"), IMAGE_CONFIG);
    rig.start();
    rig.until_tasks(2);
    rig.until_status("ok", |status| status["quarantined"] == 0);
}

pub fn c02_a_torn_tasks_json_is_never_overwritten() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let whole = std::fs::read_to_string(rig.path("cats/tasks.json")).expect("read");
    for torn in ["", &whole[..whole.len() / 2], "[]"] {
        write(&rig.path("cats/tasks.json"), torn);
        rig.put("b.png", "a picture");
        let code = if torn == "[]" { "tasks_invalid" } else { "tasks_torn" };
        let reason = rig.until_code(code);
        assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("tasks.json")), "{reason}");
        assert_eq!(std::fs::read_to_string(rig.path("cats/tasks.json")).expect("read"), torn);
        write(&rig.path("cats/tasks.json"), &whole);
        rig.until_tasks(2);
        rig.until_status("ok", |status| status["state"] == "ok");
    }
    assert_eq!(urls(&rig), BTreeMap::from([(0, "a.png".to_owned()), (1, "b.png".to_owned())]));
}

/// A `tasks.json` that cannot be used is looked at now and then: all else of the project goes on beside it.
pub fn c02_an_unusable_tasks_json_is_not_spun_on() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let tasks = rig.path("cats/tasks.json");
    for (text, code, looks_per_second) in
        [("[]", "tasks_invalid", INVALID_LOOKS_MAX), ("{", "tasks_torn", TORN_LOOKS_MAX)]
    {
        write(&tasks, text);
        rig.until_code(code);
        let looks = opened(&tasks, Duration::from_secs(COUNTED_S));
        assert!((1..=looks_per_second * COUNTED_S).contains(&looks), "{text}: looked at {looks} times");
    }
}

/// Every quarter of a second, and for each event and each look at the bucket; once it was 1,700.
const INVALID_LOOKS_MAX: u64 = 20;
/// Waited for in steps of 20 ms.
const TORN_LOOKS_MAX: u64 = 100;
/// Seconds.
const COUNTED_S: u64 = 3;

/// How often a file is opened meanwhile.
fn opened(path: &Path, meanwhile: Duration) -> u64 {
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
    inotify::add_watch(&events, path, inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE).expect("watched");
    std::thread::sleep(meanwhile);
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64 << 10];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    let mut count = 0;
    // Closing it is watched too: equal events in a row would be one.
    while let Ok(event) = reader.next() {
        count += u64::from(event.events().contains(inotify::ReadFlags::OPEN));
    }
    count
}

pub fn c02_a_torn_source_json_holds_adding() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    let map = json!({"40": {"key": format!("file://{}/a.png", rig.path("in").display()), "exists": true}}).to_string();
    let file = rig.path("cats/source.json");
    write(&file, &map[..map.len() - 3]);
    rig.start();
    let reason = rig.until_code("source_json_unreadable");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("Label Studio")), "{reason}");
    assert_eq!(rig.tasks().len(), 0, "no id is given");
    // Whole: its ids stay with their keys, new ones come after them.
    write(&file, &map);
    rig.put("0.png", "a picture");
    until_urls(&rig, &[(40, "a.png"), (41, "0.png")]);

    // Torn later: adding waits, what is there stays.
    write(&file, "");
    rig.put("b.png", "a picture");
    rig.until_code("source_json_unreadable");
    assert_eq!(rig.tasks().len(), 2);
    write(&file, &map);
    until("the third task", PATIENCE, || (urls(&rig).get(&42)? == "b.png").then_some(()));
}
