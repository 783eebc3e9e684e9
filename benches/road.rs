//! What the road costs from end to end: the real daemon beside `s5cmd` and `cp`, on our own S3 double.
//!
//! `cargo bench --bench road [-- mirror|push|one|status|latency]`, all of them without a word; `-- mirror 20000` takes
//! another size. Peers are looked for on the path and in the directory that `PEERS` names.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::Daemon;
use support::double::{self, Double, now_us};
use support::measure::{Cost, run_quietly};
use support::{BUCKET, CREDENTIALS, machine, number, peer, say};

const TEXT: &str = "<View><Text name=\"t\" value=\"$text\"/><Choices name=\"c\" toName=\"t\"><Choice value=\"cat\"/>\
                    <Choice value=\"dog\"/></Choices></View>";
const IMAGE: &str = "<View><Image name=\"i\" value=\"$image\"/></View>";

/// JSON tasks and completions without another number.
const OBJECTS: u64 = 20_000;

/// Tasks of the large project.
const TASKS: u64 = 1_000_000;

/// Keys of the listing beside which the status is asked for.
const KEYS: u64 = 10_000_000;

/// Completions saved one by one.
const SAVES: u64 = 100;

/// How long a completion must be at rest before it is pushed (design, 4.6).
const SETTLING: Duration = Duration::from_millis(250);

fn main() {
    double::serve_if_asked();
    say(machine());
    let chosen = |name: &str| {
        let mut words = std::env::args().skip(1).filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        let first = words.next();
        first.is_none_or(|first| first == name || words.any(|word| word == name))
    };
    if chosen("mirror") || chosen("push") || chosen("latency") {
        small(number(0, OBJECTS), chosen("push"), chosen("latency"));
    }
    if chosen("one") {
        one(number(0, TASKS));
    }
    if chosen("status") {
        status(number(0, KEYS));
    }
}

/// The first mirror of JSON tasks, then the first push of a completion for each, then saves one by one.
fn small(objects: u64, push: bool, latency: bool) {
    let double = Double::start(0);
    double.add_json_tasks(objects);
    let source = "prefix = \"json\"\nregex = '.*'\nuse_blob_urls = false";
    let mut daemon = Daemon::new(&double, TEXT, source, true);
    double.requests();
    daemon.start();
    let wall = daemon.until_tasks(objects);
    let cost = Cost { cpu: daemon.cpu(), wall, peak_mib: daemon.peak(), output: String::new() };
    say(cost.line(&format!("labelsync: {objects} JSON tasks"), double.requests()));
    let to = daemon.dir.path().join("peer");
    fs::create_dir(&to).expect("made");
    let peer = s5cmd(&double, &[&format!("s3://{BUCKET}/json/*"), &format!("{}/", to.display())]);
    compare(&cost, peer, &double, "s5cmd cp of the same to disk");
    daemon.stop();
    if push {
        push_all(&double, &mut daemon, objects);
        daemon.stop();
    }
    if latency {
        daemon.start();
        daemon.until("an answer", |daemon| daemon.lsctl(&["sync", "--wait"]).status.success());
        saves(&double, &mut daemon);
    }
}

fn push_all(double: &Double, daemon: &mut Daemon, objects: u64) {
    for id in 0..objects {
        fs::write(daemon.near(&format!("completions/{id}.json")), completion(id, "cat")).expect("written");
    }
    std::thread::sleep(SETTLING);
    double.requests();
    daemon.start();
    let wall = daemon.until("pushes", |_| double.count("done/") >= objects);
    let cost = Cost { cpu: daemon.cpu(), wall, peak_mib: daemon.peak(), output: String::new() };
    say(cost.line(&format!("labelsync: {objects} completions pushed"), double.requests()));
    let from = format!("{}/*", daemon.near("completions").display());
    let peer = s5cmd(double, &[&from, &format!("s3://{BUCKET}/peer/")]);
    compare(&cost, peer, double, "s5cmd cp of the same to the bucket");
}

/// Saved one by one, as Label Studio does; how long after the settling rule each was in the bucket.
fn saves(double: &Double, daemon: &mut Daemon) {
    let mut after: Vec<f64> = Vec::new();
    for id in 0..SAVES {
        let saved = now_us();
        fs::write(daemon.near(&format!("completions/{id}.json")), completion(id, "dog")).expect("written");
        daemon.until("the push", |_| double.last_write_us() > saved);
        after.push((double.last_write_us() - saved) as f64 / 1_000.0 - SETTLING.as_secs_f64() * 1_000.0);
    }
    after.sort_by(f64::total_cmp);
    let at = |percent: usize| after[(after.len() * percent / 100).min(after.len() - 1)];
    say(format_args!(
        "saved -> in the bucket, beyond the {} ms of settling: p50 {:.0} ms (under 50), p99 {:.0} ms (under 200), most {:.0} ms",
        SETTLING.as_millis(),
        at(50),
        at(99),
        at(100)
    ));
}

/// One new blob in a large project.
fn one(tasks: u64) {
    let double = Double::start(tasks);
    let mut daemon = Daemon::new(&double, IMAGE, "prefix = \"incoming\"\nregex = '.*'", false);
    daemon.start();
    let wall = daemon.until_tasks(tasks);
    let first = Cost { cpu: daemon.cpu(), wall, peak_mib: daemon.peak(), output: String::new() };
    say(first.line(&format!("labelsync: first mirror of {tasks} blobs"), double.requests()));
    let sync = |daemon: &Daemon| {
        let (cpu, began) = (daemon.cpu(), Instant::now());
        let ended = daemon.lsctl(&["sync", "--wait"]);
        assert!(ended.status.success(), "{ended:?}");
        Cost {
            cpu: daemon.cpu() - cpu,
            wall: began.elapsed().as_secs_f64(),
            peak_mib: daemon.peak(),
            output: String::new(),
        }
    };
    // What was displaced by the first mirror is looked at for a second.
    std::thread::sleep(Duration::from_secs(3));
    sync(&daemon);
    double.requests();
    let nothing = sync(&daemon);
    say(nothing.line("labelsync: a cycle without news", double.requests()));
    double.set_keys(tasks + 1);
    let cost = sync(&daemon);
    say(cost.line("labelsync: a cycle with one new blob", double.requests()));
    daemon.until_tasks(tasks + 1);
    let (tasks, copy) = (daemon.near("tasks.json"), daemon.dir.path().join("copy"));
    let script = format!("cp '{}' '{}' && sync '{}'", tasks.display(), copy.display(), copy.display());
    let peer = run_quietly(Command::new("sh").args(["-c", &script]));
    say(peer.line("cp and sync of tasks.json", 0));
    let write = (cost.cpu - nothing.cpu, cost.wall - nothing.wall);
    say(format_args!(
        "the cycle / cp and sync: CPU {:.1}, wall {:.1} (at most 3); without the listing: CPU {:.1}, wall {:.1}",
        cost.cpu / peer.cpu.max(0.01),
        cost.wall / peer.wall,
        write.0 / peer.cpu.max(0.01),
        write.1 / peer.wall
    ));
}

/// The status, asked for while a long listing runs.
fn status(keys: u64) {
    let double = Double::start(keys);
    let mut daemon = Daemon::new(&double, IMAGE, "prefix = \"incoming\"\nregex = 'nothing'", false);
    daemon.start();
    daemon.until("an answer", |daemon| daemon.lsctl(&["status"]).status.success());
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let ended = daemon.lsctl(&["status"]);
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        assert!(ended.status.success(), "{ended:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    took.sort_by(f64::total_cmp);
    let listing = String::from_utf8_lossy(&daemon.lsctl(&["--json", "status"]).stdout).contains("listing");
    say(format_args!(
        "lsctl status while {keys} keys are listed: p50 {:.0} ms, most {:.0} ms (under 50){}",
        took[took.len() / 2],
        took[took.len() - 1],
        if listing { "" } else { "; THE LISTING WAS OVER" }
    ));
}

fn compare(cost: &Cost, peer: Option<Command>, double: &Double, name: &str) {
    let Some(mut peer) = peer else { return say("s5cmd is not installed: not measured") };
    double.requests();
    let peer = run_quietly(&mut peer);
    say(peer.line(name, double.requests()));
    say(format_args!(
        "labelsync / s5cmd: CPU {:.2}, wall {:.2} (at most 0.5)",
        cost.cpu / peer.cpu.max(0.01),
        cost.wall / peer.wall
    ));
}

fn s5cmd(double: &Double, words: &[&str]) -> Option<Command> {
    let mut command = Command::new(peer("s5cmd")?);
    command.args(["--endpoint-url", &double.endpoint(), "--numworkers", "64", "--log", "error", "cp"]);
    command.args(words).envs(CREDENTIALS);
    Some(command)
}

/// As Label Studio 0.8 saves it.
fn completion(id: u64, choice: &str) -> String {
    let data = double::json_task(id);
    format!(
        "{{\"id\": {id}, \"data\": {data}, \"completions\": [{{\"id\": {}, \"lead_time\": 2.5, \"created_at\": 1790000000, \
         \"result\": [{{\"id\": \"r{id}\", \"from_name\": \"c\", \"to_name\": \"t\", \"type\": \"choices\", \
         \"value\": {{\"choices\": [\"{choice}\"]}}}}]}}]}}",
        id * 1_000 + 1
    )
}
