//! The status as Prometheus reads it. No label without bound: project, state, reason codes.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::UnixMillis;
use crate::control::api::{ProjectStatus, State, Status};

type Labels = Vec<(&'static str, String)>;
type Value = Gauge<f64, std::sync::atomic::AtomicU64>;

/// A family of the project's numbers: name, help, value.
type PerProject = (&'static str, &'static str, fn(&ProjectStatus) -> Option<f64>);

const PER_PROJECT: [PerProject; 8] = [
    ("tasks", "Tasks of labelsync's in tasks.json", |p| Some(p.tasks as f64)),
    ("conflicts", "Completions that need a person", |p| Some(p.conflicts as f64)),
    ("quarantined", "Items in quarantine", |p| Some(p.quarantined as f64)),
    ("held", "Things that wait for lsctl accept", |p| Some(p.holds.len() as f64)),
    ("project_ok", "1: in step, or on the way", |p| {
        Some(if matches!(p.state, State::Ok | State::Starting) { 1.0 } else { 0.0 })
    }),
    ("push_pending", "Completions that wait to be pushed", |p| Some(p.target.as_ref()?.pending as f64)),
    ("push_oldest_pending_timestamp_seconds", "When the oldest of them was saved", |p| {
        seconds(p.target.as_ref()?.oldest_pending_at)
    }),
    ("last_successful_poll_timestamp_seconds", "The source's last good look", |p| {
        seconds(p.source.as_ref()?.poll.last_success_at)
    }),
];

/// `GET /metrics`.
pub(super) fn text(status: &Status) -> String {
    let mut registry = Registry::with_prefix("labelsyncd");
    let build = Family::<Labels, Value>::default();
    build.get_or_create(&vec![("version", status.version.clone())]).set(1.0);
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
    let objects = Family::<Labels, Value>::default();
    let skipped = Family::<Labels, Value>::default();
    for project in &status.projects {
        let Some(source) = &project.source else { continue };
        let with = |name, value: &str| [of(project), vec![(name, value.to_owned())]].concat();
        objects.get_or_create(&with("state", "listed")).set(source.listed as f64);
        objects.get_or_create(&with("state", "selected")).set(source.selected as f64);
        for (reason, count) in &source.skipped {
            skipped.get_or_create(&with("reason", reason)).set(*count as f64);
        }
    }
    registry.register("source_objects", "Objects in the last complete listing", objects);
    registry.register("skipped_objects", "Objects left out, by reason", skipped);
    let mut out = String::new();
    // Writing to a String does not fail.
    let _encoded = encode(&mut out, &registry);
    out
}

fn of(project: &ProjectStatus) -> Labels {
    vec![("project", project.name.clone())]
}

fn seconds(at: Option<UnixMillis>) -> Option<f64> {
    at.map(|at| at.0 as f64 / 1000.0)
}
