//! What is counted since the start: polls, pushes, requests, bytes, errors.
//!
//! Promise: no label without bound: projects, operations, stable codes; never a key, an id or a URL.
//! Not here: what is read from the status (`supervisor::metrics`).

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

type Counts = Family<Labels, Counter>;
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// A look at a bucket: from a small directory to ten million keys.
const POLL_SECONDS: [f64; 9] = [0.05, 0.2, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0];

/// A request to a store: from a disk beside us to a large copy over a slow line.
const REQUEST_SECONDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 120.0];

/// Which way bytes went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// From a store.
    Read,
    /// To a store.
    Written,
}

/// Counters of one daemon.
#[derive(Debug)]
pub struct Meters {
    polls: Counts,
    poll_seconds: Times,
    pushes: Counts,
    requests: Counts,
    request_seconds: Times,
    bytes: Counts,
    errors: Counts,
    events: Counts,
    reloads: Counts,
    control: Counts,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            polls: Family::default(),
            poll_seconds: Family::new_with_constructor(|| Histogram::new(POLL_SECONDS)),
            pushes: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            bytes: Family::default(),
            errors: Family::default(),
            events: Family::default(),
            reloads: Family::default(),
            control: Family::default(),
        };
        // What is known beforehand begins at zero: an increase from nothing is none to Prometheus.
        for result in ["ok", "error"] {
            drop(meters.reloads.get_or_create(&labels([("result", result)])));
        }
        for direction in ["read", "written"] {
            drop(meters.bytes.get_or_create(&labels([("direction", direction)])));
        }
        meters
    }
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

impl Meters {
    /// A project is there: what counts for it begins at zero.
    pub fn project(&self, project: &str) {
        for result in ["ok", "error", "held"] {
            for direction in ["source", "target"] {
                drop(self.polls.get_or_create(&labels([
                    ("project", project),
                    ("direction", direction),
                    ("result", result),
                ])));
            }
        }
        for result in ["ok", "conflict", "error"] {
            drop(self.pushes.get_or_create(&labels([("project", project), ("result", result)])));
        }
    }

    /// A whole look at one side ended: `ok`, `error` or `held`.
    pub fn poll(&self, project: &str, direction: &str, result: &str, took: Duration) {
        let of = [("project", project), ("direction", direction)];
        self.poll_seconds.get_or_create(&labels(of)).observe(took.as_secs_f64());
        self.polls.get_or_create(&[labels(of), labels([("result", result)])].concat()).inc();
    }

    /// A completion was pushed (`ok`), cannot be without a person (`conflict`), or failed (`error`).
    pub fn push(&self, project: &str, result: &str) {
        self.pushes.get_or_create(&labels([("project", project), ("result", result)])).inc();
    }

    /// A request to a store of this kind ended: `ok`, or the code of its error.
    pub fn request(&self, store: &str, operation: &str, status: &str, took: Duration) {
        let of = [("store", store), ("operation", operation)];
        self.request_seconds.get_or_create(&labels(of)).observe(took.as_secs_f64());
        self.requests.get_or_create(&[labels(of), labels([("status", status)])].concat()).inc();
    }

    /// Bodies of objects that went over the line.
    pub fn bytes(&self, flow: Flow, count: u64) {
        let direction = if flow == Flow::Read { "read" } else { "written" };
        self.bytes.get_or_create(&labels([("direction", direction)])).inc_by(count);
    }

    /// An error with its stable code; each time, also where it is not told again.
    pub fn error(&self, code: &str) {
        self.errors.get_or_create(&labels([("code", code)])).inc();
    }

    /// An event was told.
    pub fn event(&self, level: &str) {
        self.events.get_or_create(&labels([("level", level)])).inc();
    }

    /// The settings files were read again.
    pub fn reload(&self, good: bool) {
        self.reloads.get_or_create(&labels([("result", if good { "ok" } else { "error" })])).inc();
    }

    /// A request on the control socket was answered: its verb, and the class of its status (`2xx` …).
    pub fn control(&self, verb: &str, result: &str) {
        self.control.get_or_create(&labels([("verb", verb), ("result", result)])).inc();
    }

    /// For a scrape.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("polls", "Whole looks at a side, by result", self.polls.clone());
        registry.register("poll_duration_seconds", "How long whole looks took", self.poll_seconds.clone());
        registry.register("pushes", "Completions by what became of them", self.pushes.clone());
        registry.register(
            "store_requests",
            "Requests to buckets and directories, by status: ok or an error's code",
            self.requests.clone(),
        );
        registry.register("store_request_duration_seconds", "How long they took", self.request_seconds.clone());
        registry.register("store_bytes", "Bytes of objects read and written", self.bytes.clone());
        registry.register("errors", "Errors by code, also those that are not logged again", self.errors.clone());
        registry.register("events", "Events told, by level", self.events.clone());
        registry.register("config_reloads", "Times the settings files were read again", self.reloads.clone());
        registry.register("control_requests", "Requests on the control socket", self.control.clone());
    }
}
