//! `lsctl check`.
//!
//! Promise: one line a step, the remedy below it; exit code 7 where a step fails.
//! Not here: the steps; the daemon takes them.

use hyper::Method;
use labelsync::control::api::{CheckBody, CheckReport, Finding, Outcome};
use labelsync::names::printable;

use super::{Session, words};
use crate::client::parse;
use crate::failure::{Exit, Failure};
use crate::print::Ink;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
    /// Where browsers load Label Studio from, for the look at CORS [default: http://localhost:8080]
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "/check")?;
    let origin = args.origin.map(|origin| origin.trim_end_matches('/').to_owned());
    let answer = session.client.send(Method::POST, &path, &CheckBody { origin }).await?;
    let report: CheckReport = parse(&answer)?;
    if session.json {
        session.out.json(&answer)?;
    } else {
        print(session, &report)?;
    }
    Ok(if report.outcome == Outcome::Fail { Exit::NeedsOperator } else { Exit::Ok })
}

fn print(session: &mut Session, report: &CheckReport) -> std::io::Result<()> {
    let out = &mut session.out;
    let of = |outcome| report.findings.iter().filter(|finding| finding.outcome == outcome).count();
    let project = out.paint(Ink::Strong, printable(&report.project));
    out.line(format_args!(
        "{project}: {} ok, {} to know, {} failed",
        of(Outcome::Ok),
        of(Outcome::Warn),
        of(Outcome::Fail)
    ))?;
    let mut about = "";
    for Finding { about: side, step, outcome, code, seen, remedy } in &report.findings {
        if side != about {
            out.line(printable(side))?;
            about = side;
        }
        let word = match outcome {
            Outcome::Ok => out.paint(Ink::Good, "ok  "),
            Outcome::Warn => out.paint(Ink::Warn, "warn"),
            Outcome::Fail => out.paint(Ink::Bad, "fail"),
        };
        let code = if code.is_empty() { String::new() } else { format!("{}: ", printable(code)) };
        out.line(format_args!("  {word} {:<13} {code}{}", printable(step), printable(seen)))?;
        if !remedy.is_empty() {
            let arrow = out.paint(Ink::Strong, "->");
            out.line(format_args!("       {arrow} {}", printable(remedy)))?;
        }
    }
    Ok(())
}
