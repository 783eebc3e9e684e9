//! `lsctl plan`.
//!
//! Promise: changes nothing; prints each action in its one wording.
//! Not here: the wording; actions have their own.

use std::io;

use labelsync::control::api::{PLAN_LINES_MAX, PlanView};
use labelsync::names::printable;

use super::{Session, words};
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};
use crate::print::{Ink, Out};

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "/plan")?;
    let answer = session.client.get(&path, Patience::Long).await?;
    if session.json {
        session.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let plan: PlanView = parse(&answer)?;
    let project = session.out.paint(Ink::Strong, printable(&plan.project));
    session.out.line(format_args!("{project}: {}", printable(&plan.summary)))?;
    print_body(&mut session.out, &plan, PLAN_LINES_MAX)?;
    Ok(Exit::Ok)
}

/// The first `lines_max` actions, what would be held, what is left out.
pub fn print_body(out: &mut Out, plan: &PlanView, lines_max: usize) -> io::Result<()> {
    for action in plan.actions.iter().take(lines_max) {
        out.line(format_args!("  {}", printable(action)))?;
    }
    let shown_actions = plan.actions.len().min(lines_max) as u64;
    if plan.total > shown_actions {
        out.line(format_args!("  … and {} more", plan.total - shown_actions))?;
    }
    for hold in &plan.holds {
        out.hold("  ", &plan.project, hold)?;
    }
    if !plan.skipped.is_empty() {
        out.line(format_args!("  skipped: {}", counts(&plan.skipped)))?;
    }
    Ok(())
}

/// `regex 90, directory_marker 10`.
pub fn counts(by_reason: &std::collections::BTreeMap<String, u64>) -> String {
    let counts: Vec<String> =
        by_reason.iter().map(|(reason, count)| format!("{} {count}", printable(reason))).collect();
    counts.join(", ")
}
