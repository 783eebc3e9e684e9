//! A bucket's JSON tasks in Label Studio: by its own sync (0.8.2.post0, 1.23.2), and by labelsync.
//!
//! `cargo bench --bench label_studio [-- 1000] [all]`: installs the real ones into `.test-tools/` (minutes, a Python 3.8 and a
//! 3.11 needed). `all`: 0.8 must show all tasks, which is when it reads and checks them; it takes ten minutes for 1,000. Each
//! reads the same objects from the same double, which takes next to nothing.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "../tests/support/mod.rs"]
mod real;
#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use daemon::Daemon;
use real::label_studio::installed;
use serde_json::json;
use support::double::{self, Double};
use support::floor;
use support::measure::{Bar, table};
use support::{BUCKET, CREDENTIALS, machine, number, say};

const TEXT: &str = "<View><Text name=\"t\" value=\"$text\"/><Choices name=\"c\" toName=\"t\"><Choice value=\"cat\"/>\
                    <Choice value=\"dog\"/></Choices></View>";

/// JSON tasks without another number: one page of a listing.
const OBJECTS: u64 = 1_000;

/// How often labelsync does it: it takes so little that one time says nothing.
const TIMES: usize = 7;

/// What issue and design ask for.
const FASTER_THAN_OLD: f64 = 50.0;
const FASTER_THAN_NEW: f64 = 200.0;

fn main() {
    double::serve_if_asked();
    say(machine());
    let objects = number(0, OBJECTS);
    let (double, ours) = ours(objects);
    let rows =
        [("0.8.2.post0", FASTER_THAN_OLD, old(&double, objects)), ("1.23.2", FASTER_THAN_NEW, new(&double, objects))];
    let mut bars = Vec::new();
    for (version, times, took) in rows {
        match took {
            Ok(wall) => bars.push(Bar {
                what: format!(
                    "{objects} JSON tasks by Label Studio {version} ({wall:.2} s), by labelsync ({ours:.3} s)"
                ),
                measured: wall / ours,
                least: Some(times),
                most: None,
            }),
            Err(why) => say(format_args!("Label Studio {version} is not measured: {why}")),
        }
    }
    table(&bars);
    floor(&double, objects);
}

/// The same reads by bare hyper, without anything else: what they take on this machine.
fn floor(double: &Double, objects: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let read = || runtime.block_on(runtime.spawn(floor::reads(double.endpoint(), objects))).expect("it ends");
    let mut took: Vec<_> = (0..TIMES).map(|_| read().as_secs_f64()).collect();
    took.sort_by(f64::total_cmp);
    say(format_args!(
        "the {objects} reads by bare hyper, nothing done with them, {TIMES} times: {:.3} to {:.3} s, middle {:.3} s",
        took[0],
        took[TIMES - 1],
        took[TIMES / 2]
    ));
}

/// From `lsctl sync` until all stand in `tasks.json`; the daemon runs, as the other programs do, and has listed an empty
/// prefix. The quickest and the slowest of some times are said, the middle one counts.
fn ours(objects: u64) -> (Double, f64) {
    let mut took = Vec::new();
    loop {
        let double = Double::start(0);
        let source = "prefix = \"json\"\nregex = '.*'\nuse_blob_urls = false";
        let mut daemon = Daemon::new(&double.endpoint(), TEXT, source, false);
        daemon.start();
        daemon.until("an empty listing", |daemon| daemon.lsctl(&["sync", "--wait"]).status.success());
        double.add_json_tasks(objects);
        let began = Instant::now();
        assert!(daemon.lsctl(&["sync"]).status.success());
        daemon.until_tasks(objects);
        took.push(began.elapsed().as_secs_f64());
        if took.len() == TIMES {
            took.sort_by(f64::total_cmp);
            say(format_args!("labelsync, {TIMES} times: {:.3} to {:.3} s", took[0], took[TIMES - 1]));
            return (double, took[TIMES / 2]);
        }
    }
}

fn variables(double: &Double) -> Vec<(&'static str, String)> {
    let mut variables: Vec<_> = CREDENTIALS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    variables.push(("AWS_ENDPOINT_URL", double.endpoint()));
    variables
}

/// From the first request, when it has started, until it has listed all of them and shows a page of ten, or, asked for
/// by `all`, every one: it reads and checks objects only when it shows them, and each time.
fn old(double: &Double, objects: u64) -> Result<f64, String> {
    let old = installed("0.8.2.post0")?;
    let dir = tempfile::tempdir().expect("a directory");
    let (project, variables) = (dir.path().join("p"), variables(double));
    let source = json!({"prefix": "json", "regex": ".*", "use_blob_urls": false}).to_string();
    old.init_with(&project, TEXT, &["--source", "s3", "--source-path", BUCKET, "--source-params", &source], &variables);
    let running = old.start(&project, &variables).patient();
    let began = Instant::now();
    while running.call("GET", "/api/project", None).body["task_count"].as_u64() < Some(objects) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let shown = if std::env::args().any(|word| word == "all") { objects } else { objects.min(10) };
    let page = running.call("GET", &format!("/api/tasks?page_size={shown}"), None);
    if page.body.as_array().map(|tasks| tasks.len() as u64) != Some(shown) {
        return Err(page.body.to_string());
    }
    Ok(began.elapsed().as_secs_f64())
}

/// The request that syncs; it answers when it is over.
fn new(double: &Double, objects: u64) -> Result<f64, String> {
    let running = installed("1.23.2")?.serve();
    let project = running.call("POST", "/api/projects", Some(&json!({"title": "bench", "label_config": TEXT})));
    let storage = json!({
        "project": project.body["id"], "title": "bench", "bucket": BUCKET, "prefix": "json", "region_name": "us-east-1",
        "s3_endpoint": double.endpoint(), "aws_access_key_id": "bench", "aws_secret_access_key": "bench",
        "use_blob_urls": false, "recursive_scan": true,
    });
    let storage = running.call("POST", "/api/storages/s3/", Some(&storage));
    let Some(id) = storage.body["id"].as_u64() else { return Err(format!("no storage: {}", storage.body)) };
    let began = Instant::now();
    let synced = running.call("POST", &format!("/api/storages/s3/{id}/sync"), None);
    let took = began.elapsed().as_secs_f64();
    let whole = synced.body["status"] == "completed" && synced.body["last_sync_count"] == objects;
    if whole { Ok(took) } else { Err(synced.body.to_string()) }
}
