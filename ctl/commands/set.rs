//! What `lsctl set-source` and `lsctl set-target` have in common.
//!
//! Promise: prints old → new and what the next cycle will do; with `--dry-run` nothing is changed.
//! Not here: which values are valid; the daemon knows and says every problem at once.

use hyper::Method;
use serde::Serialize;

use super::{Session, print_changed, words};
use crate::failure::{Exit, Failure};

/// Arguments of a verb that changes settings `S`.
#[derive(Debug, clap::Args)]
pub struct Args<S: clap::Args> {
    /// The project; may be left out where there is only one
    project: Option<String>,
    #[command(flatten)]
    settings: S,
    /// Only say what would change and what the next cycle would do
    #[arg(long)]
    dry_run: bool,
}

/// The settings of one side, as arguments.
pub trait Settings: clap::Args {
    /// The side's word in the route.
    const SIDE: &'static str;
    /// As the daemon is told.
    type Patch: Serialize;

    /// What was said.
    fn patch(self) -> Self::Patch;
}

/// Does it.
pub async fn run<S: Settings>(session: &mut Session, args: Args<S>) -> Result<Exit, Failure> {
    let path = words::path(args.project.as_deref(), &format!("/{}?dry_run={}", S::SIDE, args.dry_run))?;
    let answer = session.client.send(Method::PATCH, &path, &args.settings.patch()).await?;
    print_changed(session, &answer)
}
