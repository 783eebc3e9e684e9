//! What a poll of unchanged keys costs, beside the same listing by `s5cmd`, `rclone` and a floor that does no work.
//!
//! `cargo bench --bench poll [-- KEYS]` (1,000,000 without it); `-- --latency 50ms`: of a bucket that answers so late; `--
//! --grow` polls 1 k to 10 M keys and draws the cost.
//! The bucket is our own double, a process of its own; each program that is compared is one too, and its whole life is
//! measured. Peers are looked for on the path and in the directory that `PEERS` names.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use labelsync::clock::{Clock, SystemClock};
use labelsync::events::EventLog;
use labelsync::names::{ETag, Key, ProjectName, Sha256, TaskId};
use labelsync::project::board::Board;
use labelsync::project::directory::Directory;
use labelsync::project::ledger::Ledger;
use labelsync::project::shared::Shared;
use labelsync::project::source::look::SourceSide;
use labelsync::project::source::road::SourceRoad;
use labelsync::settings::{self, StoreSettings};
use labelsync::store::s3::S3Store;
use labelsync::sync::action::{Form, TaskAction};
use labelsync::sync::pace::Pace;
use support::double::{self, Double};
use support::floor;
use support::measure::{Cost, run, run_quietly};
use support::{BUCKET, CREDENTIALS, etag, key, machine, number, option, peer, say};

/// Sizes of `--grow`.
const SIZES: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

fn main() {
    double::serve_if_asked();
    match option("--role").as_deref() {
        None if std::env::args().any(|arg| arg == "--grow") => grow(),
        None => compare(number(0, 1_000_000)),
        Some("fill") => fill(&dir(), number(0, 0)),
        Some("poll") => say(block_on(poll(dir(), endpoint(), number(0, 1)))),
        Some("floor") => say(block_on(floor::listing(endpoint(), true))),
        Some("fetch") => say(block_on(floor::listing(endpoint(), false))),
        Some(role) => panic!("no role: {role}"),
    }
}

fn compare(keys: u64) {
    say(machine());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::start(keys);
    run(&mut role("fill", dir.path(), &double, Some(keys)));
    say(format_args!("\nPoll of {keys} unchanged keys:\n\n| program | CPU s | wall s | peak MiB | requests |"));
    say("| --- | --- | --- | --- | --- |");
    let mut costs: Vec<(&str, Cost)> = Vec::new();
    // The first poll remembers what it saw, the second one needs it. Whoever has polled before asks for pages at once.
    for name in ["fetch", "floor", "first poll", "poll", "two polls"] {
        double.requests();
        let (words, times) = match name {
            "first poll" => ("poll", None),
            "two polls" => ("poll", Some(2)),
            name => (name, None),
        };
        let cost = run(&mut role(words, dir.path(), &double, times));
        let expected = if words == "poll" { "0".to_owned() } else { keys.to_string() };
        assert!(name == "fetch" || cost.output.trim() == expected, "{name}: {}", cost.output);
        say(cost.row(label(name), double.requests()));
        costs.push((name, cost));
    }
    for (name, command) in [("s5cmd", s5cmd(&double)), ("rclone", rclone(&double))] {
        let Some(mut command) = command else {
            say(format_args!("{name} is not installed: not measured"));
            continue;
        };
        double.requests();
        let cost = run_quietly(&mut command);
        say(cost.row(label(name), double.requests()));
        costs.push((name, cost));
    }
    let cpu = |wanted| costs.iter().find(|(name, _)| *name == wanted).map(|(_, cost)| cost.cpu.max(0.01));
    let poll = cpu("poll").expect("measured above");
    say("\n| bar | measured | reached |\n| --- | --- | --- |");
    let bars = [("floor", "3 times the floor", 3.0), ("s5cmd", "0.100 of `s5cmd ls`", 0.1)];
    for (name, words, bar) in bars.into_iter().chain([("rclone", "0.143 of `rclone lsf`", 0.143)]) {
        let Some(other) = cpu(name) else { continue };
        row(&format!("CPU at most {words}"), poll / other, bar);
    }
    let peak = costs.iter().find(|(name, _)| *name == "poll").map_or(0.0, |(_, cost)| cost.peak_mib);
    row("memory at most 64 MiB (96 of 10,000,000 keys)", peak, if keys > 1_000_000 { 96.0 } else { 64.0 });
}

fn row(bar: &str, measured: f64, most: f64) {
    say(format_args!("| {bar} | {measured:.3} | {} |", if measured <= most { "yes" } else { "**no**" }));
}

fn label(name: &str) -> &'static str {
    match name {
        "fetch" => "the same requests, unread",
        "floor" => "floor",
        "first poll" => "labelsync: the first poll",
        "poll" => "**labelsync: poll**",
        "two polls" => "labelsync: two polls by one process",
        "s5cmd" => "`s5cmd ls`",
        _ => "`rclone lsf`",
    }
}

fn grow() {
    say(machine());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let double = Double::start(0);
    let mut costs = Vec::new();
    for keys in SIZES.into_iter().filter(|size| *size <= number(0, u64::MAX)) {
        let dir = dir.path().join(keys.to_string());
        std::fs::create_dir(&dir).expect("a directory");
        double.set_keys(keys);
        run(&mut role("fill", &dir, &double, Some(keys)));
        run(&mut role("poll", &dir, &double, None));
        double.requests();
        let cost = run(&mut role("poll", &dir, &double, None));
        assert_eq!(cost.output.trim(), "0", "nothing has changed");
        say(cost.line(&format!("{keys} keys"), double.requests()));
        costs.push((keys, cost));
        std::fs::remove_dir_all(&dir).expect("removed");
    }
    say("\nkeys        CPU ms                                     MiB");
    for (keys, cost) in &costs {
        let stars = "#".repeat(((cost.cpu * 1000.0).max(1.0).log10() * 8.0) as usize);
        let mib = "#".repeat((cost.peak_mib / 4.0) as usize);
        say(format_args!("{keys:>10} {:>7.0} {stars:<36} {:>5.0} {mib}", cost.cpu * 1000.0, cost.peak_mib));
    }
    say("CPU is drawn on a logarithmic scale, 8 # for each factor of ten; memory on a linear one, # for 4 MiB.");
}

fn role(name: &str, dir: &Path, double: &Double, keys: Option<u64>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--role", name, "--endpoint", &double.endpoint(), "--dir"]).arg(dir);
    command.args(keys.map(|keys| keys.to_string())).envs(CREDENTIALS);
    command
}

fn s5cmd(double: &Double) -> Option<Command> {
    let mut command = Command::new(peer("s5cmd")?);
    command.args(["--endpoint-url", &double.endpoint(), "ls", &format!("s3://{BUCKET}/incoming/*")]).envs(CREDENTIALS);
    Some(command)
}

fn rclone(double: &Double) -> Option<Command> {
    let mut command = Command::new(peer("rclone")?);
    command.args(["--config", "/dev/null", "lsf", "-R", "--fast-list", "--s3-provider", "Other", "--s3-env-auth"]);
    command.args(["--s3-list-version", "2", "--s3-endpoint", &double.endpoint()]);
    command.arg(format!(":s3:{BUCKET}/incoming")).envs(CREDENTIALS);
    Some(command)
}

fn dir() -> PathBuf {
    option("--dir").expect("--dir").into()
}

fn endpoint() -> String {
    option("--endpoint").expect("--endpoint")
}

/// As the daemon does it: a task of a runtime with all its threads.
fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runtime.spawn(work)).expect("it ends")
}

/// So many looks at the bucket, matched, merged with the ledger, decided; the number of things to do.
async fn poll(dir: PathBuf, endpoint: String, times: u64) -> u64 {
    let (shared, side) = (shared(&dir), side(&endpoint).await);
    let mut road = SourceRoad::new(shared);
    let mut total = 0;
    for _ in 0..times {
        total += road.plan(&side).await.expect("a plan").total;
    }
    total
}

fn shared(dir: &Path) -> Shared {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Shared {
        name: ProjectName::parse("bench").expect("a name"),
        near: Arc::new(Directory::new(dir)),
        ledger: Arc::new(Ledger::open(&dir.join("ledger.sqlite")).expect("a ledger")),
        board: Arc::new(Board::new("bench", "", clock.now())),
        events: Arc::new(EventLog::new(clock.clone())),
        clock,
        pace: Pace::default(),
        map_eye: Arc::default(),
        work_dir: dir.to_owned(),
    }
}

/// As many tasks as objects: nothing is left to do.
fn fill(dir: &Path, keys: u64) {
    std::fs::write(dir.join("config.xml"), "<View><Image name=\"i\" value=\"$image\"/></View>").expect("config");
    let shared = shared(dir);
    let origin = shared.ledger.origin(&format!("s3://{BUCKET}")).expect("an origin");
    let mut batch = Vec::new();
    for n in 0..keys {
        batch.push(TaskAction::Add {
            id: TaskId::new(n).expect("an id"),
            key: Key::new(key(n)),
            etag: ETag::new(etag(n)),
            form: Form::Blob { data_key: "image".to_owned() },
            body: None,
            data_hash: Sha256::of(&n.to_le_bytes()),
        });
        if batch.len() == 50_000 || n + 1 == keys {
            shared.ledger.reserve(origin, &batch).expect("reserved");
            shared.ledger.settle("", None).expect("settled");
            batch.clear();
        }
    }
}

async fn side(endpoint: &str) -> SourceSide {
    let text = format!(
        "[projects.bench]\npath = \"/p\"\n[projects.bench.source]\ntype = \"s3\"\nbucket = \"{BUCKET}\"\n\
         prefix = \"incoming/\"\nrecursive = true\nendpoint = \"{endpoint}\"\nallow_http = true\nregex = '.*\\.jpg'\n"
    );
    let loaded = settings::load_texts(&[("bench", &text)]).expect("good settings");
    let project = loaded.settings.projects.into_values().next().expect("one project");
    let settings = project.source.expect("a source");
    let StoreSettings::S3(s3) = &settings.store else { panic!("an S3 source") };
    let store = Arc::new(S3Store::connect(s3).await.expect("a store"));
    SourceSide { settings, store, targets: Vec::new() }
}
