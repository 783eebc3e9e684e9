//! `lsctl version`.
//!
//! Promise: the client's version is printed also where no daemon answers (exit code 3 then).
//! Not here: whether the two fit; fields are only ever added.

use labelsync::clock::{Clock, SystemClock};
use labelsync::control::api::Status;
use labelsync::names::printable;

use super::Session;
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};
use crate::print::when;

const OURS: &str = env!("CARGO_PKG_VERSION");

/// Does it.
pub async fn run(session: &mut Session) -> Result<Exit, Failure> {
    if session.json {
        let status = daemon(session).await;
        let theirs = status.as_ref().ok().map(|status| status.version.clone());
        let versions = serde_json::json!({"lsctl": OURS, "labelsyncd": theirs});
        session.out.json(versions.to_string().as_bytes())?;
        return status.map(|_| Exit::Ok);
    }
    session.out.line(format_args!("lsctl {OURS}"))?;
    let status = daemon(session).await?;
    let since = when(status.started_at, SystemClock.now());
    let version = printable(&status.version);
    session.out.line(format_args!("labelsyncd {version}, pid {}, running since {since}", status.pid))?;
    Ok(Exit::Ok)
}

async fn daemon(session: &Session) -> Result<Status, Failure> {
    parse(&session.client.get("/v1/status", Patience::Quick).await?)
}
