//! What is counted since the start: polls, pushes, requests, bytes, errors.
//!
//! Promise: no label without bound: projects, operations, stable codes; never a key, an id or a URL.
//! Not here: what is read from the status (`supervisor::metrics`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustix::io::Errno;

/// Names and values.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

type Counts = Family<Labels, Counter>;
type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// A look at a bucket: from a small directory to ten million keys.
const POLL_SECONDS: [f64; 9] = [0.05, 0.2, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0];

/// A request to a store: from a disk beside us to a large copy over a slow line.
const REQUEST_SECONDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 120.0];

/// Kinds of stores: each has its own families, `s3_requests` and so on.
const STORES: [&str; 3] = ["gcs", "local", "s3"];

/// Why the state could not be written, as operators know it; all else is [`OTHER_ERRNO`].
const ERRNOS: [(Errno, &str); 8] = [
    (Errno::ACCESS, "EACCES"),
    (Errno::DQUOT, "EDQUOT"),
    (Errno::FBIG, "EFBIG"),
    (Errno::IO, "EIO"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::PERM, "EPERM"),
    (Errno::ROFS, "EROFS"),
];

const OTHER_ERRNO: &str = "other";

/// The name of an error of the system, one of a few; `None`: the system had no part in it.
pub fn errno(error: &io::Error) -> Option<&'static str> {
    let errno = Errno::from_io_error(error)?;
    Some(ERRNOS.iter().find(|(known, _)| *known == errno).map_or(OTHER_ERRNO, |(_, name)| name))
}

/// Which way bytes went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// From a store.
    Read,
    /// To a store.
    Written,
}

/// What was asked of one kind of store.
#[derive(Debug)]
struct StoreMeters {
    requests: Counts,
    seconds: Times,
    bytes: Counts,
}

/// Counters of one daemon.
#[derive(Debug)]
pub struct Meters {
    polls: Counts,
    poll_seconds: Times,
    skipped: Counts,
    pushes: Counts,
    stores: BTreeMap<&'static str, StoreMeters>,
    clock_skew: Family<Labels, Gauge<f64, AtomicU64>>,
    watch_overflows: Counter,
    rescans: Counts,
    state_write_errors: Counts,
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
            skipped: Family::default(),
            pushes: Family::default(),
            stores: STORES.map(|kind| (kind, StoreMeters::default())).into(),
            clock_skew: Family::default(),
            watch_overflows: Counter::default(),
            rescans: Family::default(),
            state_write_errors: Family::default(),
            errors: Family::default(),
            events: Family::default(),
            reloads: Family::default(),
            control: Family::default(),
        };
        // What is known beforehand begins at zero: an increase from nothing is none to Prometheus.
        for result in ["ok", "error"] {
            drop(meters.reloads.get_or_create(&labels([("result", result)])));
        }
        for errno in ERRNOS.map(|(_, name)| name).into_iter().chain([OTHER_ERRNO]) {
            drop(meters.state_write_errors.get_or_create(&labels([("errno", errno)])));
        }
        meters
    }
}

impl Default for StoreMeters {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            bytes: Family::default(),
        }
    }
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, Cow::Owned(value.to_owned()))).to_vec()
}

/// The same of what is known beforehand, which every request counts.
fn known<const N: usize>(pairs: [(&'static str, &'static str); N]) -> Labels {
    pairs.map(|(name, value)| (name, Cow::Borrowed(value))).to_vec()
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

    /// Objects that the last complete look left out for a reason and the one before did not. Nothing is there before
    /// the first look, so that a restart does not look like an increase.
    pub fn skipped(&self, project: &str, reason: &str, more: u64) {
        self.skipped.get_or_create(&labels([("project", project), ("reason", reason)])).inc_by(more);
    }

    /// A request to a store of this kind ended: `ok`, or the code of its error.
    pub fn request(&self, store: &str, operation: &'static str, status: &'static str, took: Duration) {
        let Some(meters) = self.stores.get(store) else { return };
        meters.seconds.get_or_create(&known([("operation", operation)])).observe(took.as_secs_f64());
        meters.requests.get_or_create(&known([("operation", operation), ("status", status)])).inc();
    }

    /// Bodies of objects that went over the line to or from a store of this kind.
    pub fn bytes(&self, store: &str, flow: Flow, count: u64) {
        let Some(meters) = self.stores.get(store) else { return };
        let direction = if flow == Flow::Read { "read" } else { "written" };
        meters.bytes.get_or_create(&known([("direction", direction)])).inc_by(count);
    }

    /// How far this machine's clock was ahead of a server's when it last answered; behind it: less than zero.
    pub fn clock_skew(&self, seconds: i64) {
        self.clock_skew.get_or_create(&Labels::new()).set(seconds as f64);
    }

    /// A whole project directory is looked at again, for this stable reason.
    pub fn rescan(&self, cause: &str) {
        self.rescans.get_or_create(&labels([("cause", cause)])).inc();
    }

    /// The kernel's queue of changes in a project directory was full.
    pub fn watch_overflow(&self) {
        self.watch_overflows.inc();
    }

    /// The state directory could not be written: the name of the system's error ([`errno`]).
    pub fn state_write_error(&self, errno: &'static str) {
        self.state_write_errors.get_or_create(&labels([("errno", errno)])).inc();
    }

    /// An error with its stable code; each time, also where it is not told again.
    pub fn error(&self, code: &str) {
        self.errors.get_or_create(&labels([("code", code)])).inc();
    }

    /// An event was told.
    pub fn event(&self, level: &'static str) {
        self.events.get_or_create(&known([("level", level)])).inc();
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
        registry.register("skipped_objects", "Objects newly left out, by reason", self.skipped.clone());
        for (kind, of) in &self.stores {
            let store = registry.sub_registry_with_prefix(kind);
            store.register("requests", "Requests, by status: ok or an error's code", of.requests.clone());
            store.register("request_duration_seconds", "How long they took", of.seconds.clone());
            store.register("bytes", "Bytes of objects read and written", of.bytes.clone());
        }
        registry.register(
            "clock_skew_seconds",
            "This machine's clock ahead of a store's at its last answer",
            self.clock_skew.clone(),
        );
        registry.register(
            "watch_overflows",
            "Times the kernel lost events of a project directory",
            self.watch_overflows.clone(),
        );
        registry.register("rescans", "Whole looks at a project directory, by cause", self.rescans.clone());
        registry.register(
            "state_write_errors",
            "Failed writes in the state directory",
            self.state_write_errors.clone(),
        );
        registry.register("errors", "Errors by code, also those that are not logged again", self.errors.clone());
        registry.register("events", "Events told, by level", self.events.clone());
        registry.register("config_reloads", "Times the settings files were read again", self.reloads.clone());
        registry.register("control_requests", "Requests on the control socket", self.control.clone());
    }
}
