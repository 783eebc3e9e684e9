//! `lsctl status`.
//!
//! Promise: answers at three in the morning: state, since when, why, what to do; then the counts.
//! Not here: items; `list` has them.

use std::io;
use std::time::Duration;

use labelsync::clock::{Clock, SystemClock, UnixMillis};
use labelsync::control::api::{
    Poll, Progress, ProjectStatus, ReloadRefused, SourceStatus, State, Status, TargetStatus,
};
use labelsync::names::printable;

use super::plan::counts;
use super::{Session, words};
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};
use crate::print::{Ink, Out, relative, when};

/// How often `--watch` draws.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this project
    project: Option<String>,
    /// Draw again every second; in a pipe one report after the other
    #[arg(short, long)]
    pub watch: bool,
}

/// Does it. The exit code says whether there was an answer; `health` judges it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let project = args.project.as_deref().filter(|project| *project != "-");
    if project.is_some() {
        words::path(project, "")?;
    }
    once(session, project, args.watch && session.out.is_terminal()).await?;
    if args.watch {
        return watch(session, project).await;
    }
    Ok(Exit::Ok)
}

/// Ends when nobody reads any more.
async fn watch(session: &mut Session, project: Option<&str>) -> Result<Exit, Failure> {
    loop {
        session.out.flush()?;
        tokio::time::sleep(WATCH_EVERY).await;
        match once(session, project, true).await {
            Ok(()) => {}
            Err(Failure::Output(error)) => return Err(Failure::Output(error)),
            // Who watches wants to see the daemon come back.
            Err(failure) => {
                let mut words = Vec::new();
                failure.tell(&mut words, session.json)?;
                begin(session, true)?;
                session.out.line(String::from_utf8_lossy(&words).trim_end())?;
            }
        }
    }
}

async fn once(session: &mut Session, project: Option<&str>, again: bool) -> Result<(), Failure> {
    let answer = session.client.get("/v1/status", Patience::Quick).await?;
    let mut status: Status = parse(&answer)?;
    if let Some(name) = project {
        choose(session, &mut status, name).await?;
    }
    if session.json {
        let json = match project {
            None => answer.to_vec(),
            Some(name) => only(&answer, name)?,
        };
        return Ok(session.out.json(&json)?);
    }
    begin(session, again)?;
    Ok(print(&mut session.out, &status, SystemClock.now())?)
}

fn begin(session: &mut Session, again: bool) -> io::Result<()> {
    match (again, session.out.is_terminal()) {
        (false, _) => Ok(()),
        (true, true) => session.out.clear(),
        (true, false) if session.json => Ok(()),
        (true, false) => session.out.line(""),
    }
}

/// Leaves only the named project; where there is none, the daemon says so in its own words.
async fn choose(session: &Session, status: &mut Status, name: &str) -> Result<(), Failure> {
    status.projects.retain(|project| project.name == name);
    if status.projects.is_empty() {
        session.client.get(&words::path(Some(name), "")?, Patience::Quick).await?;
    }
    Ok(())
}

/// The API's document with one project, unknown fields kept.
fn only(answer: &[u8], name: &str) -> Result<Vec<u8>, Failure> {
    let mut document: serde_json::Value = parse(answer)?;
    if let Some(projects) = document.get_mut("projects").and_then(|projects| projects.as_array_mut()) {
        projects.retain(|project| project.get("name").is_some_and(|found| found == name));
    }
    serde_json::to_vec(&document).map_err(|error| Failure::failed(error.to_string(), ""))
}

fn print(out: &mut Out, status: &Status, now: UnixMillis) -> io::Result<()> {
    let head = format!(
        "labelsyncd {}, pid {}, running since {}",
        printable(&status.version),
        status.pid,
        when(status.started_at, now)
    );
    let head = out.paint(Ink::Faint, head);
    out.line(head)?;
    if let Some(refused) = &status.reload_refused {
        print_refused(out, refused, now)?;
    }
    if status.projects.is_empty() {
        out.line("no projects: `labelsyncd init` makes one")?;
    }
    status.projects.iter().try_for_each(|project| print_project(out, project, now))
}

/// Settings files that were read again and are wrong.
fn print_refused(out: &mut Out, refused: &ReloadRefused, now: UnixMillis) -> io::Result<()> {
    let at = when(refused.at, now);
    let text = format!("settings: refused when they were read again {at}; the old ones stay in force");
    let text = out.paint(Ink::Bad, text);
    out.line(text)?;
    refused.problems.iter().try_for_each(|problem| out.problem("  ", problem))
}

fn print_project(out: &mut Out, project: &ProjectStatus, now: UnixMillis) -> io::Result<()> {
    let name = out.paint(Ink::Strong, printable(&project.name));
    let state = out.state(project.state, project.named_state());
    out.line(format_args!("\n{name}: {state} since {}", when(project.since, now)))?;
    // What is held may be the cause of the rest.
    for hold in &project.holds {
        out.hold("  ", &project.name, hold)?;
    }
    if !project.holds.is_empty() {
        let arrow = out.paint(Ink::Strong, "->");
        out.line(format_args!(
            "    {arrow} where that is not meant: put right what is wrong, and it goes on by itself"
        ))?;
    }
    for reason in &project.reasons {
        out.reason("  ", reason)?;
    }
    row(out, "directory", printable(&project.path))?;
    let foreign = match project.foreign_tasks {
        0 => String::new(),
        tasks => format!(", {tasks} of Label Studio's own"),
    };
    row(out, "tasks", format_args!("{}{foreign}; the next id is {}", project.tasks, project.next_id))?;
    if let Some(source) = &project.source {
        print_source(out, project, source, now)?;
    }
    if let Some(target) = &project.target {
        print_target(out, project, target, now)?;
    }
    todo(out, "quarantine", project.quarantined, &project.name, "quarantined")?;
    todo(out, "conflicts", project.conflicts, &project.name, "conflict")
}

/// A count that wants a look.
fn todo(out: &mut Out, label: &str, count: u64, project: &str, state: &str) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let count = out.paint(Ink::Warn, count);
    row(out, label, format_args!("{count}: `lsctl list {} --state {state}`", printable(project)))
}

fn print_source(out: &mut Out, project: &ProjectStatus, source: &SourceStatus, now: UnixMillis) -> io::Result<()> {
    let regex = match &source.regex {
        Some(regex) => format!("regex {}", printable(regex)),
        None => out.paint(Ink::Warn, "no regex: nothing is selected"),
    };
    row(out, "source", format_args!("{}  {regex}", place(&source.url, &source.prefix)))?;
    let skipped_objects: u64 = source.skipped.values().sum();
    let reasons = if skipped_objects == 0 { String::new() } else { format!(": {}", counts(&source.skipped)) };
    let (listed, selected) = (source.listed, source.selected);
    row(out, "", format_args!("{listed} listed, {selected} selected, {skipped_objects} skipped{reasons}"))?;
    print_progress(out, source.progress.as_ref())?;
    print_poll(out, project, &source.poll, now)
}

fn print_target(out: &mut Out, project: &ProjectStatus, target: &TargetStatus, now: UnixMillis) -> io::Result<()> {
    row(out, "target", place(&target.url, &target.prefix))?;
    let oldest = match target.oldest_pending_at {
        Some(at) => format!(" (the oldest since {})", when(at, now)),
        None => String::new(),
    };
    let mut line = format!("{} in step, {} pending{oldest}", target.in_step, target.pending);
    for (count, what) in [(target.unsettled, "unsettled"), (target.target_missing, "missing in the target")] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    row(out, "", line)?;
    if let Some(at) = target.last_push_at {
        row(out, "", format_args!("last push {}", when(at, now)))?;
    }
    print_progress(out, target.progress.as_ref())?;
    print_poll(out, project, &target.poll, now)
}

fn print_progress(out: &mut Out, progress: Option<&Progress>) -> io::Result<()> {
    let Some(progress) = progress else { return Ok(()) };
    let total = progress.total.map_or(String::new(), |total| format!(" of {total}"));
    row(out, "", format_args!("now {}: {}{total}", printable(&progress.phase), progress.done))
}

fn print_poll(out: &mut Out, project: &ProjectStatus, poll: &Poll, now: UnixMillis) -> io::Result<()> {
    let last = poll.last_success_at.map_or("never".to_owned(), |at| when(at, now));
    let took = poll.last_duration_ms.map_or(String::new(), |ms| format!(", took {ms} ms"));
    let next = match poll.next_at {
        _ if project.state == State::Paused => "; no next one until it is resumed".to_owned(),
        _ if project.state == State::Failed => String::new(),
        // It is due, or on its way.
        Some(at) => format!("; next {}", relative(at.max(now), now)),
        None => String::new(),
    };
    row(out, "", format_args!("last complete look {last}{took}{next}"))?;
    let Some(error) = &poll.error else { return Ok(()) };
    let times = if poll.failures > 1 { format!("failed {} times in a row", poll.failures) } else { "failed".into() };
    let failed = out.paint(Ink::Bad, times);
    let started = poll.last_started_at.map_or(String::new(), |at| format!(", last {}", when(at, now)));
    // What is said at the top is not said twice.
    if project.reasons.contains(error) {
        return row(out, "", format_args!("{failed}{started}: {}", printable(&error.code)));
    }
    row(out, "", format_args!("{failed}{started}"))?;
    out.reason(&" ".repeat(LABEL_WIDTH + 3), error)
}

/// The longest label.
const LABEL_WIDTH: usize = 10;

fn row(out: &mut Out, label: &str, text: impl std::fmt::Display) -> io::Result<()> {
    out.line(format_args!("  {label:<LABEL_WIDTH$} {text}"))
}

/// `s3://bucket/prefix`.
fn place(url: &str, prefix: &str) -> String {
    let (url, prefix) = (printable(url), printable(prefix));
    if prefix.is_empty() { url.into_owned() } else { format!("{url}/{prefix}") }
}
