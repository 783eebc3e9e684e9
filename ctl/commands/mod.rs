//! The verbs of `lsctl`, one file each.
//!
//! Promise: every verb has a file of its name.
//! Not here: the connection (`client.rs`), the looks (`print.rs`).

mod accept;
mod backup;
mod check;
mod events;
mod health;
mod list;
mod man;
mod metrics;
mod pause;
mod plan;
mod reload;
mod repair;
mod reset;
mod resolve;
mod resume;
mod retry;
mod set;
mod set_source;
mod set_target;
mod shell_completion;
mod show;
mod status;
mod sync;
mod verify;
mod version;
mod words;

use clap::Subcommand;
use hyper::Method;
use labelsync::control::api::{Changed, Done};
use labelsync::names::printable;
use serde::Serialize;

use crate::client::{Client, parse};
use crate::failure::{Exit, Failure};
use crate::print::{Ink, Out, value};

/// What every verb works with.
pub struct Session {
    /// The daemon.
    pub client: Client,
    /// Standard output.
    pub out: Out,
    /// `--json`.
    pub json: bool,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What each project is doing, why, and what to do
    Status(status::Args),
    /// Change the source storage's settings now and durably
    SetSource(set::Args<set_source::Settings>),
    /// Change the target storage's settings now and durably
    SetTarget(set::Args<set_target::Settings>),
    /// Effective settings, and where each comes from (default, file, lsctl)
    Show(show::Args),
    /// Drop changes made with set-source and set-target
    Reset(reset::Args),
    /// What the next cycle would do; changes nothing
    Plan(plan::Args),
    /// Look now
    Sync(sync::Args),
    /// Stop looking and pushing until `resume`, over restarts too
    Pause(pause::Args),
    /// Go on after `pause`
    Resume(resume::Args),
    /// Release what is held, exactly as `status` showed it
    Accept(accept::Args),
    /// End conflicts; the loser is kept in the state directory
    Resolve(resolve::Args),
    /// Items of one state, each with its id, key and reason
    List(list::Args),
    /// Try quarantined items again
    Retry(retry::Args),
    /// Rebuild a damaged ledger without changing an id
    Repair(repair::Args),
    /// Look at everything the project needs, step by step, each finding with its remedy
    Check(check::Args),
    /// Compare every pushed completion with the target
    Verify(verify::Args),
    /// What happened, one line each
    Events(events::Args),
    /// A consistent copy of a project's ledger
    Backup(backup::Args),
    /// Let the daemon read its settings files again (as root)
    Reload,
    /// The worst state, why, and an exit code: 0 ok, 1 not quite, 7 held or failed
    Health,
    /// The daemon's metrics as Prometheus text, also with --json
    Metrics,
    /// Versions of lsctl and of the daemon
    Version,
    /// Print a manual page: `lsctl man | man -l -`
    Man(man::Args),
    /// Print the completion script of a shell
    ShellCompletion(shell_completion::Args),
}

impl Command {
    /// Does it.
    pub async fn run(self, session: &mut Session) -> Result<Exit, Failure> {
        match self {
            Self::Status(args) if args.watch => until_interrupted(status::run(session, args)).await,
            Self::Status(args) => status::run(session, args).await,
            Self::SetSource(args) => set::run(session, args).await,
            Self::SetTarget(args) => set::run(session, args).await,
            Self::Show(args) => show::run(session, args).await,
            Self::Reset(args) => reset::run(session, args).await,
            Self::Plan(args) => plan::run(session, args).await,
            Self::Sync(args) => sync::run(session, args).await,
            Self::Pause(args) => pause::run(session, args).await,
            Self::Resume(args) => resume::run(session, args).await,
            Self::Accept(args) => accept::run(session, args).await,
            Self::Resolve(args) => resolve::run(session, args).await,
            Self::List(args) => list::run(session, args).await,
            Self::Retry(args) => retry::run(session, args).await,
            Self::Repair(args) => repair::run(session, args).await,
            Self::Check(args) => check::run(session, args).await,
            Self::Verify(args) => verify::run(session, args).await,
            Self::Events(args) if args.follow => until_interrupted(events::run(session, args)).await,
            Self::Events(args) => events::run(session, args).await,
            Self::Backup(args) => backup::run(session, args).await,
            Self::Reload => reload::run(session).await,
            Self::Health => health::run(session).await,
            Self::Metrics => metrics::run(session).await,
            Self::Version => version::run(session).await,
            Self::Man(args) => man::run(session, &args),
            Self::ShellCompletion(args) => shell_completion::run(session, &args),
        }
    }
}

/// What has no end of its own ends well with Ctrl-C.
async fn until_interrupted(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Ok),
        ended = verb => ended,
    }
}

/// An empty body.
#[derive(Serialize)]
struct Nothing {}

/// Posts and prints a [`Done`].
async fn do_it(session: &mut Session, path: &str, body: &impl Serialize) -> Result<Exit, Failure> {
    let answer = session.client.send(Method::POST, path, body).await?;
    let done: Done = parse(&answer)?;
    let exit = if done.refused.is_empty() { Exit::Ok } else { Exit::Failed };
    if session.json {
        session.out.json(&answer)?;
        return Ok(exit);
    }
    session.out.line(printable(&done.message))?;
    for item in &done.refused {
        let mut line = format!("  not touched: {}", list::name(item));
        for part in [&item.reason, &item.detail] {
            if !part.is_empty() {
                line.push_str(": ");
                line.push_str(&printable(part));
            }
        }
        session.out.line(line)?;
    }
    Ok(exit)
}

/// Lines of the plan that a change of settings shows; `lsctl plan` shows the rest.
const PLAN_PREVIEW_LINES: usize = 20;

/// Prints old → new, and what the next cycle will do.
fn print_changed(session: &mut Session, answer: &[u8]) -> Result<Exit, Failure> {
    if session.json {
        session.out.json(answer)?;
        return Ok(Exit::Ok);
    }
    let changed: Changed = parse(answer)?;
    let project = printable(&changed.project).into_owned();
    let what = match (changed.changes.is_empty(), changed.applied) {
        (true, _) => "nothing to change: these are the settings already",
        (false, true) => "changed, now and for restarts",
        (false, false) => "would change (dry run: nothing is changed)",
    };
    let out = &mut session.out;
    let project_name = out.paint(Ink::Strong, &project);
    out.line(format_args!("{project_name}: {what}"))?;
    for change in &changed.changes {
        let (key, old, new) = (printable(&change.key), value(&change.old), value(&change.new));
        let new = out.paint(Ink::Strong, new);
        out.line(format_args!("  {key}  {old} → {new}"))?;
    }
    if let Some(plan) = &changed.plan {
        out.line(format_args!("the next cycle: {}", printable(&plan.summary)))?;
        plan::print_body(out, plan, PLAN_PREVIEW_LINES)?;
    }
    if let Some(reason) = &changed.plan_error {
        out.line("what the next cycle will do cannot be said now:")?;
        out.reason("  ", reason)?;
    }
    Ok(Exit::Ok)
}
