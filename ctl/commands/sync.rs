//! `lsctl sync`.
//!
//! Promise: with `--wait` it ends when the cycles that the request caused have ended, and its exit code says how:
//! 0 in step, 1 failed, 7 needs an operator. Progress is shown on standard error, a bar on a terminal, else lines.
//! Not here: the cycle.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use labelsync::control::api::{ProjectStatus, State, Status, SyncTicket};
use labelsync::names::{counted, printable};

use super::{Nothing, Session, words};
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};

/// Often enough for a bar that moves, seldom enough not to be felt.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
    /// Wait until the cycle is over; with --json the project's status is printed then
    #[arg(long)]
    wait: bool,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "/sync")?;
    let before = if args.wait { Some(status(session).await?) } else { None };
    let answer = session.client.send(Method::POST, &path, &Nothing {}).await?;
    let ticket: SyncTicket = parse(&answer)?;
    let Some(before) = before else {
        if session.json {
            session.out.json(&answer)?;
        } else {
            session.out.line("looking now; `lsctl status` shows how far it is")?;
        }
        return Ok(Exit::Ok);
    };
    let mut meter = Meter::new(session.json);
    let project = loop {
        let now = status(session).await?;
        if (now.pid, now.started_at) != (before.pid, before.started_at) {
            return Err(Failure::failed("the daemon was restarted meanwhile", "run it again"));
        }
        let project = find(now, args.project.as_deref())?;
        if is_over(&project, ticket) {
            break project;
        }
        meter.show(&project);
        tokio::time::sleep(ASK_EVERY).await;
    };
    meter.finish();
    conclude(session, &project, ticket)
}

async fn status(session: &Session) -> Result<Status, Failure> {
    parse(&session.client.get("/v1/status", Patience::Quick).await?)
}

fn find(status: Status, name: Option<&str>) -> Result<ProjectStatus, Failure> {
    let named = name.filter(|name| *name != "-");
    let mut projects = status.projects.into_iter();
    let found = match named {
        Some(name) => projects.find(|project| project.name == name),
        None => projects.next(),
    };
    found.ok_or_else(|| Failure::failed("the project is gone from the settings", "see `lsctl status`"))
}

/// A project that is paused or failed begins no cycle, so there is nothing to wait for.
fn is_over(project: &ProjectStatus, ticket: SyncTicket) -> bool {
    is_done(project, ticket) || matches!(project.state, State::Paused | State::Failed)
}

fn is_done(project: &ProjectStatus, ticket: SyncTicket) -> bool {
    project.cycles.source_ended >= ticket.source && project.cycles.target_ended >= ticket.target
}

fn conclude(session: &mut Session, project: &ProjectStatus, ticket: SyncTicket) -> Result<Exit, Failure> {
    let source_error = project.source.as_ref().and_then(|source| source.poll.error.as_ref());
    let target_error = project.target.as_ref().and_then(|target| target.poll.error.as_ref());
    let errors: Vec<_> = source_error.into_iter().chain(target_error).collect();
    let (exit, result) = match project.state {
        State::Held => (Exit::NeedsOperator, "held"),
        State::Failed => (Exit::NeedsOperator, "failed: needs a person"),
        State::Paused if !is_done(project, ticket) => (Exit::NeedsOperator, "paused: `lsctl resume` goes on"),
        State::Starting | State::Ok | State::Degraded | State::Paused if errors.is_empty() => (Exit::Ok, "done"),
        State::Starting | State::Ok | State::Degraded | State::Paused => (Exit::Failed, "failed"),
    };
    if session.json {
        let json = serde_json::to_vec(project).map_err(|error| Failure::failed(error.to_string(), ""))?;
        session.out.json(&json)?;
        return Ok(exit);
    }
    let pending = project.target.as_ref().map_or(0, |target| target.pending);
    let counts = format!(
        "{}, {} pending, {}, {} in quarantine",
        counted(project.tasks, "task"),
        counted(pending, "completion"),
        counted(project.conflicts, "conflict"),
        project.quarantined
    );
    session.out.line(format_args!("{}: {result}: {counts}", printable(&project.name)))?;
    for error in errors {
        session.out.reason("  ", error)?;
    }
    for hold in &project.holds {
        session.out.hold("  ", &project.name, hold)?;
    }
    if exit == Exit::NeedsOperator && project.holds.is_empty() {
        for reason in &project.reasons {
            session.out.reason("  ", reason)?;
        }
    }
    Ok(exit)
}

/// How far it is.
enum Meter {
    Silent,
    Bar(ProgressBar),
    /// The last line, so that none is printed twice.
    Lines(String),
}

impl Meter {
    fn new(silent: bool) -> Self {
        if silent {
            return Self::Silent;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines(String::new());
        }
        Self::Bar(ProgressBar::new_spinner())
    }

    fn show(&mut self, project: &ProjectStatus) {
        let source = project.source.as_ref().and_then(|source| source.progress.as_ref());
        let target = project.target.as_ref().and_then(|target| target.progress.as_ref());
        let going_on = source.map(|source| ("source", source)).or(target.map(|target| ("target", target)));
        let phase = going_on.map_or("waiting for the cycle".to_owned(), |(side, progress)| {
            format!("{side}: {}", printable(&progress.phase))
        });
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_message(phase);
                bar.set_style(style(going_on.and_then(|(_, progress)| progress.total)));
                bar.set_length(going_on.and_then(|(_, progress)| progress.total).unwrap_or(0));
                bar.set_position(going_on.map_or(0, |(_, progress)| progress.done));
                bar.tick();
            }
            Self::Lines(last) if *last == phase => {}
            Self::Lines(last) => {
                // Progress is a courtesy: where it cannot be written the answer still counts.
                let _ = writeln!(io::stderr(), "{phase}");
                *last = phase;
            }
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// A bar where the end is known; else what is counted so far.
fn style(total: Option<u64>) -> ProgressStyle {
    let template = if total.is_some() { "{spinner} {msg} {wide_bar} {pos}/{len}" } else { "{spinner} {msg} {pos}" };
    ProgressStyle::with_template(template).expect("a template of indicatif's own words")
}
