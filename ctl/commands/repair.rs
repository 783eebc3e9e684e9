//! `lsctl repair`.
//!
//! Promise: only a ledger that is damaged or gone is touched, and it is kept.
//! Not here: how; the daemon does it.

use super::{Nothing, Session, do_it, words};
use crate::failure::{Exit, Failure};

/// Arguments of `repair`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), "/repair")?;
    do_it(session, &path, &Nothing {}).await
}
