//! Clauses of the contract that are about what labelsync leaves alone: files, the target, Label Studio's API, its quiet.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use labelsync::project::directory::Directory;
use labelsync::project::near::{Near, SourceMap};

use crate::beside::Beside;
use crate::support::rig::{PATIENCE, Rig, until, write};

/// Own state is elsewhere: in the project directory labelsync makes its marker, `target.json` and nothing else, and
/// never touches `source.json`.
pub fn c03_own_state_is_elsewhere() {
    let mut beside = Beside::played();
    let map = r#"{"7":{"key":"elsewhere","exists":true}}"#;
    beside.write("source.json", map);
    beside.put("a.png");
    beside.start_local();
    beside.until_ids(&[8]);
    beside.put("b.png");
    beside.until_ids(&[8, 9]);
    beside.sync();
    let expected =
        ["completions", "config.json", "config.xml", "labelsync.json", "source.json", "target.json", "tasks.json"];
    // A displaced file is kept for a second.
    beside.until("no other names", || {
        let entries = std::fs::read_dir(beside.project()).unwrap();
        let names: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.iter().all(|name| expected.contains(&name.as_str()) || name.starts_with('.')).then_some(())
    });
    assert_eq!(std::fs::read_to_string(beside.project().join("source.json")).unwrap(), map);
}

/// An object of a target that Label Studio itself reads is never deleted: its task list would answer 500 for ever.
pub fn c20_nothing_is_deleted_in_a_target_that_label_studio_reads() {
    let mut rig = Rig::new();
    let project = rig.project("cats", crate::beside::IMAGE_CONFIG);
    rig.settings(&(rig.local_project("cats", ".*") + "on_deleted = \"delete\"\n"));
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    assert_eq!(rig.sync(), 0);
    let cloud = r#"{"label_config": "config.xml", "target": {"type": "s3-completions", "path": "b", "params": {}}}"#;
    write(&project.join("config.json"), cloud);
    std::fs::remove_file(project.join("completions/0.json")).unwrap();
    rig.sync();
    let reason = rig.until_code("label_studio_owns_target");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("--adopt")), "{reason}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(std::fs::read(rig.path("out/done/0")).unwrap(), saved, "it is still there");
    // Label Studio gives it back: the delete is heard.
    write(&project.join("config.json"), "{\"label_config\": \"config.xml\"}");
    until("the delete", PATIENCE, || {
        rig.sync();
        (!rig.path("out/done/0").exists()).then_some(())
    });
}

/// Label Studio's API is never called: it races with itself.
pub fn c21_label_studio_is_never_called() {
    let listener = TcpListener::bind("localhost:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut beside = Beside::played();
    let config =
        format!(r#"{{"label_config": "config.xml", "protocol": "http://", "host": "localhost", "port": {port}}}"#);
    beside.write("config.json", &config);
    beside.put("a.png");
    beside.start_local();
    beside.until_ids(&[0]);
    beside.put("b.png");
    beside.until_ids(&[0, 1]);
    beside.sync();
    assert!(listener.accept().is_err(), "somebody called");
}

/// Nobody opens a page, and the object comes: by the project's own poll.
pub fn c23_objects_come_without_any_request_of_label_studio() {
    let mut beside = Beside::played();
    beside.start_local();
    beside.until_ids(&[]);
    beside.put("a.png");
    beside.until_ids(&[0]);
    assert!(!beside.project().join("source.json").exists(), "nobody listed");
}

/// Written in a quiet moment, and once a cycle: not while Label Studio goes on writing its map, and many objects at once.
pub fn c22_written_in_a_quiet_moment_and_in_batches() {
    let mut beside = Beside::played();
    beside.put("a.png");
    beside.start_local();
    let tasks = beside.until_ids(&[0]);
    beside.until_at_rest();
    let inode = || std::fs::metadata(beside.project().join("tasks.json")).unwrap().ino();
    let before = inode();
    for number in 0..50 {
        beside.put(&format!("b{number:02}.png"));
    }
    // A page that is open: the map is written again and again, for less than a write is put off.
    let map = r#"{"0":{"key":"tasks.json\/0","exists":true}}"#;
    let end = Instant::now() + Duration::from_millis(1_500);
    let (mut written_at_once, mut touched) = (0, 0);
    while Instant::now() < end {
        let was = inode();
        beside.write("source.json", map);
        std::thread::sleep(Duration::from_millis(15));
        touched += 1;
        written_at_once += u32::from(inode() != was);
    }
    assert!(written_at_once <= 1, "replaced {written_at_once} times in the middle of {touched} writes");
    let ids: Vec<u64> = (0..51).collect();
    let mut versions = BTreeSet::from([before]);
    let end = Instant::now() + PATIENCE;
    while beside.tasks().len() < ids.len() {
        versions.insert(inode());
        assert!(Instant::now() < end, "{}", beside.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(versions.len() <= 4, "{} versions for one batch", versions.len());
    assert_eq!(beside.until_ids(&ids)[&0], tasks[&0]);
}

/// `source.json` cut anywhere is unreadable: never a map without ids, never no map.
pub fn c02_source_json_cut_anywhere_is_unreadable() {
    let beside = Beside::played();
    let near = Directory::new(&beside.project());
    let whole = r#"{"0":{"key":"s3:\/\/b\/é.png","exists":true},"12":{"key":"P\/tasks.json\/12","exists":true}}"#;
    for end in 0..whole.len() {
        std::fs::write(beside.project().join("source.json"), &whole.as_bytes()[..end]).unwrap();
        assert_eq!(near.source_map().unwrap(), SourceMap::Unreadable, "cut at {end}");
    }
    beside.write("source.json", whole);
    assert!(matches!(near.source_map().unwrap(), SourceMap::Ids(ids) if ids.len() == 2));
    std::fs::remove_file(beside.project().join("source.json")).unwrap();
    assert_eq!(near.source_map().unwrap(), SourceMap::Missing);
}

/// The label config is replaced while labelsync runs: what does not fit any more is said, what fits now comes.
pub fn c10_a_label_config_that_is_replaced_is_held_against_the_tasks() {
    let mut rig = Rig::new();
    let project = rig.project("cats", crate::beside::IMAGE_CONFIG);
    rig.settings(&rig.local_project("cats", ".*").replace("regex = ", "use_blob_urls = false\nregex = "));
    rig.put("a.json", r#"{"image": "http://localhost/a.png"}"#);
    rig.put("b.json", r#"{"text": "no picture"}"#);
    rig.start();
    rig.until_tasks(1);
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.list("quarantined")[0]["reason"], "data_missing_key");
    let text = "<View><Text name=\"text\" value=\"$text\"/></View>";
    write(&project.join("config.xml"), text);
    let reason = rig.until_code("tasks_do_not_fit");
    assert!(
        reason["message"].as_str().is_some_and(|said| said.contains("1 tasks") && said.contains(": 0 (")),
        "{reason}"
    );
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("label config back")), "{reason}");
    // The other object fits now.
    let tasks = rig.until_tasks(2);
    assert_eq!(tasks[&1]["data"]["text"], "no picture");
    // What does not fit is corrected: the warning ends with it.
    rig.put("a.json", r#"{"text": "a picture no more"}"#);
    until("they fit", PATIENCE, || rig.status()["reasons"].as_array().is_some_and(Vec::is_empty).then_some(()));
    write(&project.join("config.xml"), crate::beside::IMAGE_CONFIG);
    rig.until_code("tasks_do_not_fit");
    write(&project.join("config.xml"), "<View/>");
    until("both fit", PATIENCE, || rig.status()["reasons"].as_array().is_some_and(Vec::is_empty).then_some(()));
}
