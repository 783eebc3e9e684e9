//! Source cases through the real daemon: the bucket and the parameters as recorded, the tasks as expected.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::cases::{self, Case};
use crate::expect::{Expect, Shown, refusal};
use crate::rules;
use crate::support::far::Far;
use crate::support::rig::{Ran, Rig};
use crate::support::{Server, environment};
use crate::tally::Tally;

/// Projects of one daemon: a machine gives a user some 128 watchers of directories.
const PROJECTS_AT_ONCE: usize = 64;

/// Cases at once: they mostly wait.
const AT_ONCE: usize = 8;

/// Every source case of a provider: those of one look share a daemon, those that go on have one of their own.
pub fn run(server: &Arc<Server>, provider: &str) {
    let (once, going_on): (Vec<Case>, Vec<Case>) =
        cases::of("source", provider).into_iter().partition(|case| case.steps().len() == 1);
    let tally = Tally::default();
    for some in once.chunks(PROJECTS_AT_ONCE) {
        together(server, some, &tally);
    }
    each(&going_on, |case| alone(server, case, &tally));
    tally.end(&format!("source-{provider}"));
}

/// Each case, several at once.
pub fn each(cases: &[Case], run: impl Fn(&Case) + Sync) {
    let next = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let case = next.lock().expect("no panic within").next();
                    let Some(case) = case else { break };
                    run(case);
                }
            });
        }
    });
}

/// A machine without projects.
pub fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.environment = environment();
    // A line for each task is more than anybody reads.
    rig.environment.push(("LABELSYNC_LOG", "warn".to_owned()));
    rig.settings("");
    rig
}

/// One look at each.
fn together(server: &Arc<Server>, cases: &[Case], tally: &Tally) {
    let mut rig = rig();
    for case in cases {
        make_bucket(server, case);
        let ran = init(&rig, server, case, &case.0["params"]);
        tally.refused(case, &ran);
    }
    rig.start();
    each(cases, |case| {
        let mut expect = Expect::new(case);
        if rig.path(case.id()).exists() {
            rig.lsctl(&["sync", case.id(), "--wait"]);
        }
        compare(&rig, case, &mut expect, "start", &case.0["expected"][0], tally);
        tally.add(case, &expect.under);
    });
    rig.stop();
}

/// Step by step.
fn alone(server: &Arc<Server>, case: &Case, tally: &Tally) {
    let far = make_bucket(server, case);
    let mut rig = rig();
    let ran = init(&rig, server, case, &case.0["params"]);
    tally.refused(case, &ran);
    let mut expect = Expect::new(case);
    let mut snapshots = case.0["expected"].as_array().expect("snapshots").iter();
    let mut runs = false;
    for step in case.steps() {
        expect.step(step);
        let op = step["op"].as_str().expect("an op");
        match op {
            "put" => far.put(&[(cases::key(step), cases::body(step))]),
            "del" => far.delete(&cases::key(step)),
            "wfile" => {
                let file = rig.path(case.id()).join(step["name"].as_str().expect("a name"));
                std::fs::write(file, case.text(step)).expect("written");
            }
            "rmfile" => {
                std::fs::remove_file(rig.path(case.id()).join(step["name"].as_str().expect("a name"))).ok();
            }
            "params" => {
                std::fs::remove_file(rig.path(&format!("conf.d/{}.toml", case.id()))).expect("it was there");
                let ran = init(&rig, server, case, &step["params"]);
                tally.refused(case, &ran);
            }
            "stop" => {
                rig.stop();
                runs = false;
            }
            "start" | "restart" => {
                if runs {
                    rig.stop();
                }
                rig.start();
                runs = true;
            }
            "list" | "wait31" => {}
            other => panic!("{}: unknown step {other}", case.id()),
        }
        if matches!(op, "start" | "restart" | "wait31") {
            rig.lsctl(&["sync", case.id(), "--wait"]);
        }
        if matches!(op, "start" | "restart" | "wait31" | "list") {
            compare(&rig, case, &mut expect, op, snapshots.next().expect("a snapshot"), tally);
        }
    }
    assert!(snapshots.next().is_none(), "{}: a snapshot more", case.id());
    tally.add(case, &expect.under);
}

fn make_bucket(server: &Arc<Server>, case: &Case) -> Far {
    let far = Far::new(server, case.bucket());
    if let Some(objects) = case.objects() {
        far.make();
        far.put(&objects);
    }
    far
}

/// `labelsyncd init` with Label Studio's own parameters, the server's address beside them.
fn init(rig: &Rig, server: &Server, case: &Case, params: &Value) -> Ran {
    let mut params = params.clone();
    for (name, value) in
        [("endpoint", json!(server.endpoint)), ("allow_http", json!(true)), ("poll_interval", json!("1h"))]
    {
        params[name] = value;
    }
    let config = rig.path(&format!("{}.xml", case.id()));
    std::fs::write(&config, case.config()).expect("written");
    let mut command = rig.labelsyncd(&["init", case.id(), "--source", case.provider()]);
    command.args(["--source-path", case.bucket(), "--source-params", &params.to_string()]);
    command.args(["--config-dir", &rig.dir.path().display().to_string()]);
    command.args(["--label-config", &config.display().to_string()]);
    Ran::of(&mut command)
}

/// What stands in `tasks.json`, against what must.
fn compare(rig: &Rig, case: &Case, expect: &mut Expect<'_>, op: &str, snapshot: &Value, tally: &Tally) {
    let expected = expect.after(op, snapshot);
    let project = rig.path(case.id());
    if !project.exists() {
        // Refused by `init`: Label Studio does not load such a project.
        let loads = snapshot["api_tasks"][0] == 200 || !expected.is_empty();
        let refused = refusal(&case.0["params"]);
        if loads {
            expect.under.extend(refused);
        }
        if loads && refused.is_none() {
            tally.differs(format!("{}: init refuses what Label Studio takes: {snapshot:#}", case.id()));
        }
        return;
    }
    if expect.map_damaged {
        let said = crate::support::rig::find_code(&rig.status_of(case.id()), "source_json_unreadable");
        let there = std::fs::read_to_string(project.join("tasks.json")).expect("read");
        if !expected.is_empty() || said.is_none() || there.trim() != "{}" {
            tally.differs(format!("{} after {op}: a damaged map: expected {expected:?}, there is {there}", case.id()));
        }
        return tally.compared(1);
    }
    let ours = shown(rig, case);
    if let Some(text) = difference(&expected, &ours) {
        let status = rig.ok(&["status", case.id()]);
        tally.differs(format!("{} after {op}: {text}\n{status}", case.id()));
    }
    let unsaid = unsaid(rig, case, expect);
    if !unsaid.is_empty() {
        tally.differs(format!("{} after {op}: nothing is said of {unsaid:?}", case.id()));
    }
    tally.compared(ours.len());
}

/// The tasks with the keys that `lsctl list` gives them.
fn shown(rig: &Rig, case: &Case) -> Shown {
    let items = rig.json(&["list", case.id(), "--state", "tasks"]);
    let keys = items["items"].as_array().expect("items").iter();
    let key = |id: u64| {
        let item = keys.clone().find(|item| item["id"].as_u64() == Some(id));
        item.and_then(|item| item["key"].as_str()).unwrap_or_default().to_owned()
    };
    // Deeper than most readers go.
    let bytes = std::fs::read(rig.path(case.id()).join("tasks.json")).expect("read");
    let tasks = rules::loose(&bytes).unwrap_or_else(|| panic!("{}: tasks.json is no JSON", case.id()));
    let tasks = tasks.as_object().expect("an object").iter();
    tasks
        .map(|(id, task)| {
            let id = id.parse().expect("an id");
            (id, (key(id), Some(task.clone())))
        })
        .collect()
}

fn difference(expected: &Shown, ours: &Shown) -> Option<String> {
    let keys = |shown: &Shown| shown.iter().map(|(id, (key, _))| (*id, key.clone())).collect::<Vec<_>>();
    if keys(expected) != keys(ours) {
        return Some(format!("expected {:?}, there is {:?}", keys(expected), keys(ours)));
    }
    for (id, (_, task)) in expected {
        let (Some(theirs), Some(ours)) = (task, &ours[id].1) else { continue };
        if !rules::same(theirs, ours) {
            return Some(format!("task {id}: expected {theirs}, there is {ours}"));
        }
    }
    None
}

/// Objects that are no tasks and that neither a list nor a reason names.
fn unsaid(rig: &Rig, case: &Case, expect: &Expect<'_>) -> Vec<String> {
    let left_out = expect.left_out();
    if left_out.is_empty() {
        return Vec::new();
    }
    let mut said = Vec::new();
    for state in ["quarantined", "skipped"] {
        let items = rig.json(&["list", case.id(), "--state", state]);
        for item in items["items"].as_array().expect("items") {
            let reasoned = item["reason"].as_str().is_some_and(|reason| !reason.is_empty());
            said.extend(item["key"].as_str().filter(|_| reasoned).map(str::to_owned));
        }
    }
    let status = rig.status_of(case.id());
    let blocked = status["reasons"].as_array().expect("a list").iter().any(|reason| {
        let code = reason["code"].as_str();
        code.is_some_and(|code| ["no_data_key", "blob_tasks_do_not_fit", "label_config_invalid"].contains(&code))
    });
    left_out.into_iter().filter(|key| !said.contains(key) && !blocked).cloned().collect()
}
