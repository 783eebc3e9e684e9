//! The status as Prometheus text. No label without bound: project, state, reason codes.

use std::fmt::Write;

use crate::control::api::{State, Status};

/// `GET /metrics`.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, f64)>| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    family(
        "labelsyncd_build_info",
        "gauge",
        "The version that runs.",
        vec![(format!("{{version=\"{version}\"}}"), 1.0)],
    );
    let started = status.started_at.0 as f64 / 1000.0;
    family("labelsyncd_start_time_seconds", "gauge", "When it started.", vec![(String::new(), started)]);
    let each = |value: &dyn Fn(&crate::control::api::ProjectStatus) -> Option<f64>| {
        let samples = status.projects.iter().filter_map(|p| Some((format!("{{project=\"{}\"}}", p.name), value(p)?)));
        samples.collect::<Vec<_>>()
    };
    let seconds = |at: Option<crate::clock::UnixMillis>| at.map(|at| at.0 as f64 / 1000.0);
    family("labelsyncd_tasks", "gauge", "Tasks of labelsync's in tasks.json.", each(&|p| Some(p.tasks as f64)));
    family("labelsyncd_conflicts", "gauge", "Completions that need a person.", each(&|p| Some(p.conflicts as f64)));
    family("labelsyncd_quarantined", "gauge", "Items in quarantine.", each(&|p| Some(p.quarantined as f64)));
    family("labelsyncd_held", "gauge", "Things that wait for lsctl accept.", each(&|p| Some(p.holds.len() as f64)));
    let ok = |state: State| if matches!(state, State::Ok | State::Starting) { 1.0 } else { 0.0 };
    family("labelsyncd_project_ok", "gauge", "1: in step, or on the way.", each(&|p| Some(ok(p.state))));
    let push = each(&|p| Some(p.target.as_ref()?.pending as f64));
    family("labelsyncd_push_pending", "gauge", "Completions that wait to be pushed.", push);
    let oldest = each(&|p| seconds(p.target.as_ref()?.oldest_pending_at));
    family("labelsyncd_push_oldest_pending_timestamp_seconds", "gauge", "When the oldest of them was saved.", oldest);
    let poll = each(&|p| seconds(p.source.as_ref()?.poll.last_success_at));
    family("labelsyncd_last_successful_poll_timestamp_seconds", "gauge", "The source's last good look.", poll);
    let mut objects = Vec::new();
    let mut skipped = Vec::new();
    for p in &status.projects {
        let Some(source) = &p.source else { continue };
        let name = &p.name;
        objects.push((format!("{{project=\"{name}\",state=\"listed\"}}"), source.listed as f64));
        objects.push((format!("{{project=\"{name}\",state=\"selected\"}}"), source.selected as f64));
        for (reason, count) in &source.skipped {
            skipped.push((format!("{{project=\"{name}\",reason=\"{reason}\"}}"), *count as f64));
        }
    }
    family("labelsyncd_source_objects", "gauge", "Objects in the last complete listing.", objects);
    family("labelsyncd_skipped_objects", "gauge", "Objects left out, by reason.", skipped);
    out
}
