//! `lsctl show`.
//!
//! Promise: every setting in force, with its origin and what it hides.
//! Not here: changing them.

use comfy_table::{Table, presets};
use labelsync::control::api::Shown;
use labelsync::names::printable;

use super::{Session, words};
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};
use crate::print::value;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "")?;
    let answer = session.client.get(&path, Patience::Quick).await?;
    if session.json {
        session.out.json(&answer)?;
        return Ok(Exit::Ok);
    }
    let shown: Shown = parse(&answer)?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(["SETTING", "VALUE", "FROM"]);
    for setting in &shown.settings {
        let mut origin = printable(&setting.origin).into_owned();
        if let Some(hidden) = &setting.hidden {
            origin.push_str(&format!(" (hides the file's {})", value(hidden)));
        }
        table.add_row([printable(&setting.key).into_owned(), value(&setting.value), origin]);
    }
    session.out.line(format_args!("{}", printable(&shown.project)))?;
    session.out.line(table.trim_fmt())?;
    Ok(Exit::Ok)
}
