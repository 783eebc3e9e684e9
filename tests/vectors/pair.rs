//! A recorded case told by the real Label Studio with local storages and labelsync beside it, step by step.
//!
//! Promise: what is right once must stay so; what differs is told with labelsync's own words about it.
//! Not here: what must stand there (`local`, `target`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::Case;
use crate::rules::loose;
use crate::source::rig;
use crate::support::label_studio::{Answer, LabelStudio, Zygote};
use crate::support::rig::Rig;
use crate::tally::Tally;

/// Until both sides show what is expected: a completion is pushed when its file is at rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// Objects, or files, as JSON where they are JSON.
pub type Things = BTreeMap<String, Value>;

/// The two on one project directory `cats`.
pub struct Pair<'a> {
    pub case: &'a Case,
    zygote: &'a Zygote,
    pub tally: &'a Tally,
    pub rig: Rig,
    runs: Option<LabelStudio>,
    pub under: BTreeSet<&'static str>,
}

impl<'a> Pair<'a> {
    /// The project with these tasks; neither runs yet.
    pub fn new(case: &'a Case, zygote: &'a Zygote, tally: &'a Tally, tasks: &Value) -> Self {
        let rig = rig();
        let project = rig.project("cats", case.config());
        let config = labelsync::init::directory::config_json();
        std::fs::write(project.join("config.json"), config).expect("written");
        std::fs::write(project.join("tasks.json"), tasks.to_string()).expect("written");
        Self { case, zygote, tally, rig, runs: None, under: BTreeSet::new() }
    }

    fn restart(&mut self) {
        if self.runs.take().is_some() {
            self.rig.stop();
        }
        self.rig.start();
        self.rig.sync();
        self.runs = Some(self.zygote.start(&self.rig.path("cats")));
    }

    pub fn is_running(&self) -> bool {
        self.runs.is_some()
    }

    pub fn server(&self) -> &LabelStudio {
        self.runs.as_ref().expect("it runs")
    }

    /// The request of a step, and Label Studio's answer to it.
    pub fn ask<'s>(&self, step: &'s Value) -> (&'s str, &'s str, Answer) {
        let (method, path) = (step["method"].as_str().expect("a method"), step["path"].as_str().expect("a path"));
        let body = Some(&step["body"]).filter(|body| !body.is_null());
        (method, path, self.server().call(method, path, body))
    }

    pub fn differs(&self, text: &str) {
        self.tally.differs(format!("{}: {text}", self.case.id()));
    }

    /// The files of a directory whose names end so, as JSON.
    pub fn files(&self, dir: &str, suffix: &str) -> Things {
        files(&self.rig.path(dir), suffix)
    }
}

/// What a group of cases adds to the steps that all have.
pub trait Story<'a> {
    fn pair(&mut self) -> &mut Pair<'a>;
    /// Somebody writes a file of the project.
    fn write(&mut self, name: &str, text: &str);
    /// A request to Label Studio, and what it answered when it was recorded.
    fn http(&mut self, step: &'a Value, recorded: &Value);
    /// What differs from what must stand there now.
    fn wrong(&mut self, snapshot: &Value) -> Option<String>;
    /// A step that no other group has.
    fn other(&mut self, step: &Value) {
        panic!("{}: unknown step {step}", self.pair().case.id());
    }
}

/// Tells a case to its end.
pub fn tell<'a>(story: &mut dyn Story<'a>) {
    let case = story.pair().case;
    let mut snapshots = case.0["expected"].as_array().expect("snapshots").iter();
    for step in case.steps() {
        let op = step["op"].as_str().expect("an op");
        match op {
            "wfile" => story.write(step["name"].as_str().expect("a name"), &case.text(step)),
            "start" | "restart" => story.pair().restart(),
            "http" => story.http(step, snapshots.next().expect("a response")),
            "list" | "wait31" => {}
            _ => story.other(step),
        }
        if matches!(op, "start" | "restart" | "list" | "wait31") {
            settle(story, op, snapshots.next().expect("a snapshot"));
        }
    }
    assert!(snapshots.next().is_none(), "{}: a snapshot more", case.id());
    let pair = story.pair();
    pair.tally.add(case, &pair.under);
}

/// Waits until nothing is wrong, and stays so.
fn settle<'a>(story: &mut dyn Story<'a>, op: &str, snapshot: &Value) {
    let end = Instant::now() + PATIENCE;
    loop {
        let wrong = (0..2).find_map(|_| {
            story.pair().rig.sync();
            story.wrong(snapshot)
        });
        let Some(text) = wrong else { return };
        if Instant::now() > end {
            let pair = story.pair();
            let status = pair.rig.lsctl(&["status", "cats"]).out;
            let conflicts = pair.rig.lsctl(&["list", "cats", "--state", "conflict"]).out;
            return pair.differs(&format!("after {op}: {text}\n{status}{conflicts}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits for the push of a completion that was just saved.
pub fn until_pushed(mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_there() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How long an import took is another number each time.
pub fn forget_duration(answers: [&mut Value; 2]) {
    for answer in answers.into_iter().filter_map(Value::as_object_mut) {
        answer.remove("duration");
    }
}

/// The task that a request is about.
pub fn task_of(path: &str) -> Option<u64> {
    path.split('/').nth(3)?.parse().ok()
}

fn files(dir: &Path, suffix: &str) -> Things {
    let Ok(entries) = std::fs::read_dir(dir) else { return Things::new() };
    let of = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        let is_asked_for = name.ends_with(suffix) && !name.starts_with('.');
        is_asked_for.then(|| (name, thing(&std::fs::read(entry.path()).unwrap_or_default())))
    };
    entries.filter_map(|entry| of(entry.expect("read"))).collect()
}

/// JSON with the time of the recording, or the bytes as they are.
pub fn thing(bytes: &[u8]) -> Value {
    let Some(mut value) = loose(bytes) else { return json!(bytes) };
    clocks(&mut value);
    value
}

pub fn recorded_thing(text: &str) -> Value {
    use base64::Engine as _;
    match text.strip_prefix("b64:") {
        Some(coded) => thing(&base64::engine::general_purpose::STANDARD.decode(coded).expect("base64")),
        None => thing(text.as_bytes()),
    }
}

fn clocks(value: &mut Value) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| {
            if key == "created_at" {
                *value = json!(1_600_000_000);
            }
            clocks(value);
        }),
        Value::Array(items) => items.iter_mut().for_each(clocks),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
