//! `lsctl events`.
//!
//! Promise: one line an event, as soon as it is there; with `--json` the line as it came.
//! Not here: choosing; `jq` and `grep` do that.

use http_body_util::BodyExt;
use labelsync::control::api::Event;
use labelsync::names::printable;

use super::Session;
use crate::client::{Patience, broken_off, parse, quoted};
use crate::failure::{Exit, Failure};
use crate::print::Ink;

/// An event is a few hundred bytes and a key; a longer line is not an event.
const LINE_MAX_BYTES: usize = 1024 * 1024;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay, and print what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only this project's
    project: Option<String>,
    /// The same
    #[arg(long = "project", value_name = "NAME", conflicts_with = "project", id = "named")]
    named: Option<String>,
    /// Only events after the one of this number (`seq` in --json; it counts from 1 again when the daemon starts)
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let mut path = format!("/v1/events?follow={}", args.follow);
    if let Some(project) = args.project.as_ref().or(args.named.as_ref()) {
        path.push_str(&format!("&project={}", quoted(project)));
    }
    if let Some(since) = args.since {
        path.push_str(&format!("&since={since}"));
    }
    let mut body = session.client.stream(&path, Patience::Quick).await?.into_body();
    let mut pending = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = session.out.reader_gone() => return Ok(Exit::Ok),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken_off(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        pending.extend_from_slice(data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            print(session, &line)?;
        }
        if pending.len() > LINE_MAX_BYTES {
            return Err(broken_off(&"a line is too long"));
        }
        session.out.flush()?;
    }
    if args.follow {
        let hint = "follow again when it runs; `journalctl -u labelsyncd` has what happened meanwhile";
        return Err(Failure::failed("the daemon stopped, or starts again: it sends no more events", hint));
    }
    Ok(Exit::Ok)
}

fn print(session: &mut Session, line: &[u8]) -> Result<(), Failure> {
    let event: Event = parse(line)?;
    if session.json {
        return Ok(session.out.json(line)?);
    }
    let ink = match event.level.as_str() {
        "error" => Ink::Bad,
        "warning" => Ink::Warn,
        "notice" => Ink::Strong,
        _ => Ink::Faint,
    };
    let level = session.out.paint(ink, format_args!("{:<7}", printable(&event.level)));
    let project = event.project.as_deref().map_or("-".into(), printable);
    Ok(session.out.line(format_args!("{} {level} {project} {}", event.at.to_rfc3339(), printable(&event.message)))?)
}
