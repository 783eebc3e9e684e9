//! The log: the journal's own protocol, JSON lines, or text; chosen once at start.
//!
//! Promise: a key cannot forge a line; a log that cannot be written does not stop the daemon.
//! Not here: what is logged (`events`).

pub mod ids;
mod journal;
mod json;
mod unread;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::journal::{Journal, Sent};
use crate::control::api::Event;
use crate::settings::LogFormat;

/// How much an event matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Each thing that was done.
    Info,
    /// Settings, start, stop.
    Notice,
    /// Degraded; tried again.
    Warning,
    /// Needs a person.
    Error,
}

impl Level {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The journal, where events go there.
static JOURNAL: OnceLock<Journal> = OnceLock::new();

/// Only what we say ourselves is logged, whatever `filter` asks for: libraries quote requests, answers, and what a
/// credential process prints, in which secrets stand (seen at trace level and in warnings).
const OURS: &str = "labelsync";

/// Starts the log. `filter`: as `RUST_LOG` is written; ours is `info`.
pub fn start(format: LogFormat, filter: Option<&str>) {
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let ours = filter_fn(|meta| meta.target().starts_with(OURS));
    let registry = tracing_subscriber::registry().with(filter).with(ours);
    let stderr = std::io::stderr;
    let lines = || unread::Stderr;
    let text =
        || tracing_subscriber::fmt::layer().with_writer(lines).with_target(false).with_ansi(stderr().is_terminal());
    let json = || tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(false).event_format(json::Lines);
    let started = match format {
        LogFormat::Text => registry.with(text()).try_init(),
        LogFormat::Json => registry.with(json()).try_init(),
        LogFormat::Auto if stderr().is_terminal() => registry.with(text()).try_init(),
        LogFormat::Auto if !stderr_is_the_journal() => registry.with(json()).try_init(),
        LogFormat::Auto | LogFormat::Journald => match tracing_journald::layer() {
            Ok(layer) => {
                if let Some(journal) = Journal::open() {
                    let _first_stays = JOURNAL.set(journal);
                }
                // What is said beside events: those have fields and ids that it does not know.
                let layer = layer
                    .with_field_prefix(Some("LABELSYNC".to_owned()))
                    .with_syslog_identifier("labelsyncd".to_owned());
                registry.with(layer).try_init()
            }
            Err(_) => registry.with(json()).try_init(),
        },
    };
    // A second start (tests run several daemons in one process) keeps the first log.
    let _already_started = started;
}

/// systemd names the journal's stream by device and inode.
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// One event, one line.
pub(crate) fn log(level: Level, event: &Event) {
    match JOURNAL.get().map(|journal| to_journal(journal, level, event)) {
        Some(Sent::Taken | Sent::Lost) => return,
        // The other way to it has room for any, and is waited for.
        Some(Sent::TooLarge) | None => {}
    }
    if let Some(lines) = unread::lost() {
        tracing::warn!(lines, "lines of this log were not read, and are lost");
    }
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                project = event.project.as_deref(),
                kind = event.kind.as_str(),
                bucket = event.bucket.as_deref(),
                key = event.key.as_deref(),
                task = event.task,
                error = event.error.as_deref(),
                actor = event.actor.as_deref(),
                duration_usec = event.duration_usec,
                severity = (level == Level::Notice).then_some("notice"),
                "{}",
                event.message
            )
        };
    }
    match level {
        Level::Info | Level::Notice => line!(tracing::Level::INFO),
        Level::Warning => line!(tracing::Level::WARN),
        Level::Error => line!(tracing::Level::ERROR),
    }
}

/// Priorities as in syslog(3): an error needs a person, a warning is tried again, settings are notices.
fn to_journal(journal: &Journal, level: Level, event: &Event) -> Sent {
    let priority = match level {
        Level::Error => "3",
        Level::Warning => "4",
        Level::Notice => "5",
        Level::Info => "6",
    };
    let (task, took) = (event.task.map(|id| id.to_string()), event.duration_usec.map(|usec| usec.to_string()));
    let mut fields =
        vec![("MESSAGE", event.message.as_str()), ("PRIORITY", priority), ("SYSLOG_IDENTIFIER", "labelsyncd")];
    let optional = [
        ("MESSAGE_ID", ids::of(&event.kind)),
        ("LABELSYNC_OP", Some(event.kind.as_str())),
        ("LABELSYNC_PROJECT", event.project.as_deref()),
        ("LABELSYNC_BUCKET", event.bucket.as_deref()),
        ("LABELSYNC_KEY", event.key.as_deref()),
        ("LABELSYNC_TASK", task.as_deref()),
        ("LABELSYNC_ERROR", event.error.as_deref()),
        ("LABELSYNC_ACTOR", event.actor.as_deref()),
        ("LABELSYNC_DURATION_USEC", took.as_deref()),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    journal.send(&fields)
}
