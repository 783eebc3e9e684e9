//! The status and the counters as Prometheus reads them (OpenMetrics text).
//!
//! Promise: no label without bound: projects, states, stable codes.
//! Not here: what is counted (`meters`).

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::UnixMillis;
use crate::control::api::{ProjectStatus, State, Status};
use crate::meters::{Labels, Meters};

type Value = Gauge<f64, std::sync::atomic::AtomicU64>;

/// What can be held: at zero while it is not, so that an alert sees it come and go.
const HELD: [&str; 8] = [
    "mass_change",
    "mass_deletion",
    "mass_removal",
    "project_reinitialised",
    "source_empty",
    "target_mass_removal",
    "target_owned",
    "target_replaced",
];

/// A family of the project's numbers: name, help, value.
type PerProject = (&'static str, &'static str, fn(&ProjectStatus) -> Option<f64>);

const PER_PROJECT: [PerProject; 9] = [
    ("tasks", "Tasks of labelsync's in tasks.json", |p| Some(p.tasks as f64)),
    ("conflicts", "Completions that need a person", |p| Some(p.conflicts as f64)),
    ("quarantined", "Items in quarantine", |p| Some(p.quarantined as f64)),
    ("unsettled", "Completion files that do not come to rest", |p| Some(p.target.as_ref()?.unsettled as f64)),
    ("target_missing", "Pushed completions that are gone from the target", |p| {
        Some(p.target.as_ref()?.target_missing as f64)
    }),
    ("disk_full", "1: no space where the project, the state or a local bucket is", |p| {
        Some(if p.reasons.iter().any(|reason| reason.code == "disk_full") { 1.0 } else { 0.0 })
    }),
    ("project_ok", "1: in step, or on the way", |p| {
        Some(if matches!(p.state, State::Ok | State::Starting) { 1.0 } else { 0.0 })
    }),
    ("push_pending", "Completions that wait to be pushed", |p| Some(p.target.as_ref()?.pending as f64)),
    ("last_successful_poll_timestamp_seconds", "The source's last good look", |p| {
        seconds(p.source.as_ref()?.poll.last_success_at)
    }),
];

/// `GET /metrics`.
pub(super) fn text(status: &Status, meters: &Meters, now: UnixMillis) -> String {
    let mut registry = Registry::with_prefix("labelsyncd");
    let build = Family::<Labels, Value>::default();
    let revision = option_env!("LABELSYNC_REVISION").unwrap_or("unknown").to_owned();
    build.get_or_create(&vec![("version", status.version.clone().into()), ("revision", revision.into())]).set(1.0);
    registry.register("build_info", "The version that runs", build);
    let started = Value::default();
    started.set(status.started_at.0 as f64 / 1000.0);
    registry.register("start_time_seconds", "When it started", started);
    for (name, help, value) in PER_PROJECT {
        let family = Family::<Labels, Value>::default();
        for project in &status.projects {
            if let Some(value) = value(project) {
                family.get_or_create(&of(project)).set(value);
            }
        }
        registry.register(name, help, family);
    }
    registry.register(
        "push_oldest_pending_seconds",
        "For how long the oldest completion waits to be pushed; 0: none waits",
        oldest_pending(status, now),
    );
    registry.register("held", "1: waits for lsctl accept, by reason", held(status));
    let objects = Family::<Labels, Value>::default();
    let skipped = Family::<Labels, Value>::default();
    for project in &status.projects {
        let Some(source) = &project.source else { continue };
        let with = |name, value: &str| [of(project), vec![(name, value.to_owned().into())]].concat();
        objects.get_or_create(&with("state", "listed")).set(source.listed as f64);
        objects.get_or_create(&with("state", "selected")).set(source.selected as f64);
        let left_out: u64 = source.skipped.values().sum();
        objects.get_or_create(&with("state", "skipped")).set(left_out as f64);
        for (reason, count) in &source.skipped {
            skipped.get_or_create(&with("reason", reason)).set(*count as f64);
        }
    }
    registry.register("source_objects", "Objects in the last complete listing", objects);
    registry.register("source_skipped_objects", "Objects that the last complete listing left out, by reason", skipped);
    meters.register(&mut registry);
    let mut out = String::new();
    // The names that every program has stand without our prefix. Writing to a String does not fail.
    let mut whole = Registry::default();
    process(&mut whole);
    let _encoded = encode_registry(&mut out, &registry);
    let _encoded = encode_registry(&mut out, &whole);
    let _ended = encode_eof(&mut out);
    out
}

fn oldest_pending(status: &Status, now: UnixMillis) -> Family<Labels, Value> {
    let oldest = Family::<Labels, Value>::default();
    for project in &status.projects {
        let Some(target) = &project.target else { continue };
        let waits_ms = target.oldest_pending_at.map_or(0, |at| now.0.saturating_sub(at.0).max(0));
        oldest.get_or_create(&of(project)).set(waits_ms as f64 / 1000.0);
    }
    oldest
}

fn held(status: &Status) -> Family<Labels, Value> {
    let held = Family::<Labels, Value>::default();
    for project in &status.projects {
        let reasons = HELD.into_iter().chain(project.holds.iter().map(|hold| hold.code.as_str()));
        for reason in reasons {
            let stands = project.holds.iter().any(|hold| hold.code == reason);
            let labels = [of(project), vec![("reason", reason.to_owned().into())]].concat();
            held.get_or_create(&labels).set(if stands { 1.0 } else { 0.0 });
        }
    }
    held
}

fn of(project: &ProjectStatus) -> Labels {
    vec![("project", project.name.clone().into())]
}

fn seconds(at: Option<UnixMillis>) -> Option<f64> {
    at.map(|at| at.0 as f64 / 1000.0)
}

/// What Prometheus' own clients say of a process. /proc/self is there also with `ProcSubset=pid`.
fn process(registry: &mut Registry) {
    // USER_HZ and the page's size: 100 and 4096 on what labelsync is built for.
    const TICKS_A_SECOND: f64 = 100.0;
    const PAGE_BYTES: f64 = 4096.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let cpu = Counter::<f64, std::sync::atomic::AtomicU64>::default();
    // proc(5): utime and stime are fields 14 and 15, rss is 24; the first here is the third.
    cpu.inc_by((number(11) + number(12)) / TICKS_A_SECOND);
    registry.register("process_cpu_seconds", "Processor time used", cpu);
    let gauge = |value: f64| {
        let gauge = Value::default();
        gauge.set(value);
        gauge
    };
    registry.register("process_resident_memory_bytes", "Memory in use", gauge(number(21) * PAGE_BYTES));
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    registry.register("process_open_fds", "Open files", gauge(open as f64));
}
