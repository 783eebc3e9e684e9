//! JSON lines: one object a line with `ts` (RFC 3339), `level`, `msg`, and the event's fields.
//!
//! Promise: what comes from elsewhere stands in strings, escaped: it can neither end a line nor move a cursor.
//! Not here: which fields an event has (`telemetry`).

use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, SystemClock};
use crate::names::{json_line, printable};

/// The field that names a level which `tracing` does not have: `notice`.
pub(super) const SEVERITY: &str = "severity";

/// See the top.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warning",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG | tracing::Level::TRACE => "debug",
        };
        let level = fields.0.remove(SEVERITY).unwrap_or_else(|| level.into());
        let msg = fields.0.remove("message").unwrap_or_default();
        let ts = Value::from(SystemClock.now().to_rfc3339());
        let mut line = format!("{{\"ts\":{ts},\"level\":{level},\"msg\":{msg}");
        for (name, value) in &fields.0 {
            line.push_str(&format!(",\"{name}\":{value}"));
        }
        writeln!(to, "{}}}", json_line(&line))
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), printable(&format!("{value:?}")).into());
    }
}
