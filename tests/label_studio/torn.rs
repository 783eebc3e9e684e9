//! Files of the project that are read in the middle of being written, by the real daemon.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::beside::Beside;
use crate::clauses::list;
use crate::support::rig::{Rig, write};

/// Cut points, each in another place of the file.
const CUTS: u64 = 24;
/// A writer that stops in the middle: for less, and for longer than a torn file is waited for.
const STOPS: [Duration; 3] = [Duration::from_millis(30), Duration::from_millis(150), Duration::from_millis(400)];
const HANGS: Duration = Duration::from_secs(5);

/// Label Studio writes `tasks.json` in place, from memory, in two pieces, while blobs arrive: an import each time.
pub fn c02_tasks_json_written_in_pieces_loses_nothing() {
    let mut beside = Beside::played();
    beside.put("first.png");
    beside.start_local();
    beside.until_ids(&[0]);
    let mut imports = BTreeMap::new();
    for round in 0..CUTS {
        // What it has listed is what it has in memory.
        let mut memory = beside.tasks();
        let id = memory.keys().max().unwrap() + 1;
        let image = format!("http://localhost/import-{round}.png");
        memory.insert(id, json!({"id": id, "data": {"image": &image}}));
        list(&beside, memory.keys().copied());
        let tasks = memory.into_iter().map(|(id, task)| (id.to_string(), task)).collect();
        let text = Value::Object(tasks).to_string();
        let cut = text.len() * usize::try_from(round).unwrap() / usize::try_from(CUTS).unwrap();
        let mut file = std::fs::File::create(beside.project().join("tasks.json")).unwrap();
        file.write_all(&text.as_bytes()[..cut]).unwrap();
        beside.put(&format!("blob-{round:02}.png"));
        if round == CUTS / 2 {
            beside.until("it is said", || {
                let (well, said) = beside.lsctl(&["status", "cats"]);
                (well && said.contains("tasks_torn") && said.contains("put back tasks.json from a backup"))
                    .then_some(())
            });
            std::thread::sleep(HANGS);
        }
        std::thread::sleep(STOPS[usize::try_from(round).unwrap() % STOPS.len()]);
        file.write_all(&text.as_bytes()[cut..]).unwrap();
        drop(file);
        imports.insert(id, image);
        // It does not list again before it has written: what comes then is in its memory.
        std::thread::sleep(Duration::from_millis(100));
    }
    let blobs = usize::try_from(CUTS).unwrap() + 1;
    beside.until("all of them", || (beside.tasks().len() == blobs + imports.len()).then_some(()));
    beside.sync();
    beside.until_at_rest();
    let tasks = beside.tasks();
    let image = |task: &Value| task["data"]["image"].as_str().unwrap().to_owned();
    for (id, import) in &imports {
        assert_eq!(tasks.get(id).map(image).as_ref(), Some(import), "task {id}");
    }
    let shown: Vec<String> = tasks.values().map(image).collect();
    for round in 0..CUTS {
        let name = format!("blob-{round:02}.png");
        assert_eq!(shown.iter().filter(|image| image.contains(&name)).count(), 1, "{name}");
    }
    assert_eq!(image(&tasks[&0]).split('?').next(), Some("/data/first.png"));
}

/// The label config is half written at some moment: nothing leaves, the message says what to do, and it heals.
pub fn c10_a_label_config_that_is_half_written_is_said_and_heals() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    let before = rig.until_tasks(1);
    assert_eq!(rig.sync(), 0);
    let config = crate::beside::IMAGE_CONFIG;
    for cut in [config.len() - 3, config.len() / 2, 9] {
        write(&rig.path("cats/config.xml"), &config[..cut]);
        rig.put(&format!("{cut}.png"), "a picture");
        rig.sync();
        let reason = rig.until_code("label_config_invalid");
        assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("mend config.xml")), "{reason}");
        assert_eq!(rig.tasks(), before, "cut at {cut}: nothing comes and nothing leaves");
    }
    write(&rig.path("cats/config.xml"), config);
    let tasks = rig.until_tasks(4);
    assert_eq!(tasks[&0], before[&0]);
    assert_eq!(rig.sync(), 0);
    assert_eq!(rig.status()["reasons"], json!([]));
}
