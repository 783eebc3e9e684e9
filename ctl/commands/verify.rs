//! `lsctl verify`.
//!
//! Promise: every difference is counted, the first are listed; exit code 7 where there is one, 1 where it
//! stopped or could not read all.
//! Not here: the comparison; the daemon makes it.

use hyper::Method;
use labelsync::control::api::VerifyReport;
use labelsync::names::printable;

use super::{Nothing, Session, list, words};
use crate::client::parse;
use crate::failure::{Exit, Failure};
use crate::print::Ink;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "/verify")?;
    let answer = session.client.send(Method::POST, &path, &Nothing {}).await?;
    let report: VerifyReport = parse(&answer)?;
    if session.json {
        session.out.json(&answer)?;
    } else {
        print(session, &report)?;
    }
    Ok(match (&report.stopped, report.different) {
        (Some(_), _) => Exit::Failed,
        (None, 0) if report.unread > 0 => Exit::Failed,
        (None, 0) => Exit::Ok,
        (None, _) => Exit::NeedsOperator,
    })
}

fn print(session: &mut Session, report: &VerifyReport) -> std::io::Result<()> {
    let out = &mut session.out;
    let project = out.paint(Ink::Strong, printable(&report.project));
    let VerifyReport { checked, same, different, .. } = report;
    let unread = match report.unread {
        0 => String::new(),
        unread => format!(", {unread} could not be compared"),
    };
    out.line(format_args!(
        "{project}: {checked} pushed completions compared, {same} the same, {different} different{unread}"
    ))?;
    for item in &report.differences {
        let (name, reason, detail) = (list::name(item), printable(&item.reason), printable(&item.detail));
        out.line(format_args!("  {name}: {reason}: {detail}"))?;
    }
    let more = (report.different + report.unread).saturating_sub(report.differences.len() as u64);
    if more > 0 {
        out.line(format_args!("  … and {more} more"))?;
    }
    if let Some(reason) = &report.stopped {
        out.line("it stopped before the last one:")?;
        out.reason("  ", reason)?;
    }
    Ok(())
}
