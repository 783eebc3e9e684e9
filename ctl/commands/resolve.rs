//! `lsctl resolve`.
//!
//! Promise: only the conflicts that are named end.
//! Not here: which side is right; the operator says.

use labelsync::control::api::{Keep, ResolveBody};

use super::{Session, do_it, words};
use crate::failure::{Exit, Failure};

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// [PROJECT] KEY…: task ids, target keys, or `older_here`, `target_missing`: all of these; the first word is the
    /// project if a project has that name
    #[arg(required = true, value_name = "PROJECT|KEY")]
    words: Vec<String>,
    /// Which side wins; the other is kept in the state directory
    #[arg(long, value_enum)]
    keep: Keep,
    /// The project; then all words are keys
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let (project, keys) = words::split(session, args.project, args.words).await?;
    if keys.is_empty() {
        return Err(Failure::usage("no conflict is named", "`lsctl list --state conflict` shows them"));
    }
    let path = words::path(project.as_deref(), "/resolve")?;
    do_it(session, &path, &ResolveBody { keys, keep: args.keep }).await
}
