//! What happens to a project while labelsync is down, with the real Label Studio.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::beside::Beside;
use crate::clauses::SEEN;
use crate::handover::{chosen, label};
use crate::support::label_studio::Installed;
use crate::support::rig::put_whole;

fn data(name: &str) -> Value {
    json!({"image": format!("http://localhost/{name}.png")})
}

/// Imports whose data equal an object's, through the API and written into the file, while nobody mirrors: each keeps its id
/// and its completion, the object's task its own.
pub fn imports_equal_to_objects(installed: Installed) {
    let mut beside = Beside::new(&installed);
    let put = |beside: &Beside, name: &str, body: &Value| {
        put_whole(&beside.path("in").join(name), body.to_string().as_bytes());
    };
    put(&beside, "a.json", &data("a"));
    put(&beside, "b.json", &data("b"));
    beside.start_json();
    beside.until_ids(&[0, 1]);
    let server = installed.start(&beside.project(), &[]);
    assert_eq!(server.tasks().len(), 2);
    beside.sync();
    beside.until_said(SEEN, 1);
    beside.stop();

    // One equals a task that is there, one an object that comes meanwhile, one a task that the user deletes just now.
    let import = |task: Value| {
        let answer = server.call("POST", "/api/project/import", Some(&json!([task])));
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["new_task_ids"][0].as_u64().unwrap()
    };
    assert_eq!(import(data("a")), 2);
    assert_eq!(import(data("c")), 3);
    put(&beside, "c.json", &data("c"));
    label(&server, 2, "cat");
    label(&server, 0, "dog");
    assert_eq!(server.call("DELETE", "/api/tasks/1", None).status, 204);
    assert_eq!(import(data("b")), 4);
    // And one that somebody writes into the file.
    let mut tasks: serde_json::Map<String, Value> =
        beside.tasks().into_iter().map(|(id, task)| (id.to_string(), task)).collect();
    tasks.insert("5".to_owned(), json!({"id": 5, "data": data("d")}));
    put(&beside, "d.json", &data("d"));
    beside.write("tasks.json", &Value::Object(tasks).to_string());
    server.tasks();

    beside.start_again();
    let shown = beside.until_ids(&[0, 2, 3, 4, 5, 6, 7]);
    let images: BTreeMap<u64, &Value> = shown.iter().map(|(id, task)| (*id, &task["data"])).collect();
    let names =
        [(0, "a"), (2, "a"), (3, "c"), (4, "b"), (5, "d"), (6, "c"), (7, "d")].map(|(id, name)| (id, data(name)));
    assert!(names.iter().all(|(id, data)| images[id] == data), "{images:?}");
    // What is the object's follows it, what is the user's does not.
    put(&beside, "a.json", &data("new-a"));
    put(&beside, "c.json", &data("new-c"));
    beside.until("the objects' tasks", || {
        let tasks = beside.tasks();
        let is = |id, name| tasks[&id]["data"] == data(name);
        (is(0, "new-a") && is(2, "a") && is(3, "c") && is(6, "new-c")).then_some(())
    });
    assert_eq!(server.tasks().len(), 7);
    assert_eq!([0, 2].map(|id| chosen(&server, id)), ["dog", "cat"]);
    label(&server, 3, "cat");
    for id in [0, 2, 3] {
        let saved = std::fs::read(beside.project().join(format!("completions/{id}.json"))).unwrap();
        beside
            .until("the push", || (std::fs::read(beside.path(&format!("out/done/{id}"))).ok()? == saved).then_some(()));
    }
    beside.sync();
    assert!(beside.tasks().keys().eq([0, 2, 3, 4, 5, 6, 7].iter()), "the deleted one stays deleted");
}
