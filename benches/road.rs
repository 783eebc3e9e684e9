//! What the road costs from end to end: the real daemon beside `s5cmd` and `cp`, on our own S3 double.
//!
//! `cargo bench --bench road [-- mirror|push|one|status|latency|idle]`, all of them without a word; `-- mirror 20000` takes
//! another size; `-- mirror push --server seaweedfs` a real server. The tables are those of `BENCHMARKS.md`. Peers are looked for on the path and in the directory that `PEERS` names.

#[path = "support/bucket.rs"]
mod bucket;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "../tests/support/mod.rs"]
mod real;
#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use bucket::Bucket;
use daemon::{Daemon, Project};
use support::double::{self, Double, now_us};
use support::measure::{Bar, Cost, run_quietly, table};
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

/// Projects with nothing to do, how often each of them is polled, and how long they are looked at.
const PROJECTS: u64 = 50;
const POLLED_EVERY: Duration = Duration::from_secs(10);
const LOOKED_AT: Duration = Duration::from_secs(40);

/// Completions saved one by one.
const SAVES: u64 = 100;

/// What can be measured.
const ALL: [&str; 6] = ["mirror", "push", "one", "status", "latency", "idle"];

/// Wall and CPU of a mirror and a push, of those of `s5cmd`.
const HALF: f64 = 0.5;

/// How long a completion must be at rest before it is pushed (design, 4.6).
const SETTLING: Duration = Duration::from_millis(250);

/// Older files have settled without a look: what a push takes is measured, not how long it waits for that.
const SURELY_OLD: Duration = Duration::from_secs(11);

fn main() {
    double::serve_if_asked();
    say(machine());
    let chosen = |name: &str| {
        let words = || std::env::args().skip(1).filter(|word| ALL.contains(&word.as_str()));
        words().next().is_none() || words().any(|word| word == name)
    };
    let (mut beside, mut bars) = (Vec::new(), Vec::new());
    if chosen("mirror") || chosen("push") || chosen("latency") {
        small(number(0, OBJECTS), chosen("push"), chosen("latency"), &mut beside, &mut bars);
    }
    if chosen("one") {
        bars.push(one(number(0, TASKS)));
    }
    if chosen("status") {
        bars.push(status(number(0, KEYS)));
    }
    if chosen("idle") {
        bars.push(idle(number(0, PROJECTS)));
    }
    if !beside.is_empty() {
        say("\n| what | labelsync: CPU s, wall s, MiB | peer: CPU s, wall s, MiB | CPU, wall | bar | reached |");
        say("| --- | --- | --- | --- | --- | --- |");
        beside.iter().for_each(say);
    }
    table(&bars);
}

/// The first mirror of JSON tasks, then the first push of a completion for each, then saves one by one.
fn small(objects: u64, push: bool, latency: bool, beside: &mut Vec<String>, bars: &mut Vec<Bar>) {
    let bucket = Bucket::asked_for();
    bucket.add_json_tasks(objects);
    let source = "prefix = \"json\"\nregex = '.*'\nuse_blob_urls = false";
    let mut daemon = Daemon::new(&bucket.endpoint(), TEXT, source, true);
    bucket.requests();
    daemon.start();
    let wall = daemon.until_tasks(objects);
    let cost = Cost { cpu: daemon.cpu(), wall, peak_mib: daemon.peak(), output: String::new() };
    say(cost.line(&format!("labelsync: {objects} JSON tasks"), bucket.requests()));
    let to = daemon.dir.path().join("peer");
    fs::create_dir(&to).expect("made");
    let peer = s5cmd(&bucket, &[&format!("s3://{BUCKET}/json/*"), &format!("{}/", to.display())]);
    beside.extend(compare(&cost, peer, &bucket, &format!("first mirror of {objects} JSON tasks of 1 KB")));
    daemon.stop();
    if push {
        beside.extend(push_all(&bucket, &mut daemon, objects));
        daemon.stop();
    }
    if let (true, Bucket::Double(double)) = (latency, &bucket) {
        daemon.start();
        daemon.until("an answer", |daemon| daemon.lsctl(&["sync", "--wait"]).status.success());
        bars.extend(saves(double, &mut daemon));
    }
}

fn push_all(bucket: &Bucket, daemon: &mut Daemon, objects: u64) -> Option<String> {
    for id in 0..objects {
        fs::write(daemon.near(&format!("completions/{id}.json")), completion(id, "cat")).expect("written");
    }
    std::thread::sleep(SURELY_OLD);
    bucket.requests();
    daemon.start();
    let wall = daemon.until("pushes", |daemon| bucket.has(objects, "done/", || daemon.in_step() >= objects));
    let cost = Cost { cpu: daemon.cpu(), wall, peak_mib: daemon.peak(), output: String::new() };
    say(cost.line(&format!("labelsync: {objects} completions pushed"), bucket.requests()));
    let from = format!("{}/*", daemon.near("completions").display());
    let peer = s5cmd(bucket, &[&from, &format!("s3://{BUCKET}/peer/")]);
    compare(&cost, peer, bucket, &format!("push of {objects} completions"))
}

/// Saved one by one, as Label Studio does; how long after the settling rule each was in the bucket.
fn saves(double: &Double, daemon: &mut Daemon) -> [Bar; 2] {
    let mut after: Vec<f64> = Vec::new();
    for id in 0..SAVES {
        let saved = now_us();
        fs::write(daemon.near(&format!("completions/{id}.json")), completion(id, "dog")).expect("written");
        daemon.until("the push", |_| double.last_write_us() > saved);
        after.push((double.last_write_us() - saved) as f64 / 1_000.0 - SETTLING.as_secs_f64() * 1_000.0);
    }
    after.sort_by(f64::total_cmp);
    let bar = |percent: usize, most: f64| {
        let what = format!("a completion saved, until it is in the bucket, beyond the settling: p{percent}, ms");
        Bar { what, measured: after[(after.len() * percent / 100).min(after.len() - 1)], least: None, most: Some(most) }
    };
    [bar(50, 50.0), bar(99, 200.0)]
}

/// One new blob in a large project.
fn one(tasks: u64) -> Bar {
    let double = Double::start(tasks);
    let mut daemon = Daemon::new(&double.endpoint(), IMAGE, "prefix = \"incoming\"\nregex = '.*'", false);
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
    let (file, copy) = (daemon.near("tasks.json"), daemon.dir.path().join("copy"));
    let script = format!("cp '{}' '{}' && sync '{}'", file.display(), copy.display(), copy.display());
    let peer = run_quietly(Command::new("sh").args(["-c", &script]));
    say(peer.line("cp and sync of tasks.json", 0));
    let what = format!(
        "one new blob in a project of {tasks} tasks: the cycle ({:.2} s; without news {:.2} s) / `cp` and `sync` ({:.2} s)",
        cost.wall, nothing.wall, peer.wall
    );
    Bar { what, measured: cost.wall / peer.wall, least: None, most: Some(3.0) }
}

/// The status, asked for while a long listing runs.
fn status(keys: u64) -> Bar {
    let double = Double::start(keys);
    let mut daemon = Daemon::new(&double.endpoint(), IMAGE, "prefix = \"incoming\"\nregex = 'nothing'", false);
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
    let over = if listing { "" } else { "; THE LISTING WAS OVER" };
    let p50 = took[took.len() / 2];
    let what = format!("`lsctl status` while {keys} keys are listed{over}: most of 50 (p50 {p50:.0}), ms");
    Bar { what, measured: took[took.len() - 1], least: None, most: Some(50.0) }
}

/// Projects with 1,000 unchanging keys each, polled and not polled: what is no listing must cost less than the listings.
fn idle(projects: u64) -> Bar {
    let double = Double::start(1_000);
    let mut costs = [0.0; 2];
    for (cost, interval) in costs.iter_mut().zip(["1h", &format!("{}s", POLLED_EVERY.as_secs())]) {
        let mut daemon = Daemon::without_projects();
        for n in 0..projects {
            // A prefix of its own: those of the run before are another project's.
            let (name, target) = (format!("p{n}"), format!("done/{interval}/{n}"));
            let (endpoint, source) = (&double.endpoint(), "prefix = \"incoming\"\nregex = '.*'");
            let target = Some(target.as_str());
            daemon.add(&Project {
                name: &name,
                endpoint,
                label_config: IMAGE,
                source,
                target,
                poll_interval: interval,
            });
        }
        daemon.start();
        daemon.until_tasks_of(&format!("p{}", projects - 1), 1_000);
        // Until the first polls are over, and the second ones are spread.
        std::thread::sleep(2 * POLLED_EVERY);
        double.requests();
        let (cpu, began) = (daemon.cpu(), Instant::now());
        let (mut requests, mut most) = (0, 0);
        while began.elapsed() < LOOKED_AT {
            std::thread::sleep(Duration::from_secs(1));
            let of_this_second = double.requests();
            requests += of_this_second;
            most = most.max(of_this_second);
        }
        *cost = (daemon.cpu() - cpu) / began.elapsed().as_secs_f64() * 1_000.0;
        say(format_args!(
            "labelsync: {projects} idle projects, polled every {interval}: {cost:.1} ms CPU a second, {:.1} MiB peak, \
             {requests} requests, at most {most} in a second",
            daemon.peak()
        ));
    }
    let [idle, polled] = costs;
    let what = format!("CPU of {projects} idle projects without listings / with them");
    Bar { what, measured: idle / polled.max(0.001), least: None, most: Some(0.5) }
}

/// A line of the table; `None`: there is no peer here.
fn compare(cost: &Cost, peer: Option<Command>, bucket: &Bucket, what: &str) -> Option<String> {
    let Some(mut peer) = peer else {
        say("s5cmd is not installed: not measured");
        return None;
    };
    bucket.requests();
    let peer = run_quietly(&mut peer);
    say(peer.line("s5cmd cp of the same, 64 at once", bucket.requests()));
    let (cpu, wall) = (cost.cpu / peer.cpu.max(0.01), cost.wall / peer.wall);
    let reached = if cpu <= HALF && wall <= HALF { "yes" } else { "**no**" };
    let figures = |cost: &Cost| format!("{:.2}, {:.2}, {:.1}", cost.cpu, cost.wall, cost.peak_mib);
    let (ours, theirs) = (figures(cost), figures(&peer));
    Some(format!("| {what} | {ours} | `s5cmd cp`, 64 at once: {theirs} | {cpu:.2}, {wall:.2} | {HALF} | {reached} |"))
}

fn s5cmd(bucket: &Bucket, words: &[&str]) -> Option<Command> {
    let mut command = Command::new(peer("s5cmd")?);
    command.args(["--endpoint-url", &bucket.endpoint(), "--numworkers", "64", "--log", "error", "cp"]);
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
