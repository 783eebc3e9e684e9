//! `lsctl retry`.
//!
//! Promise: without KEY all quarantined items are tried again.
//! Not here: whether they are good now; the next cycle sees.

use labelsync::control::api::KeysBody;

use super::{Session, do_it, words};
use crate::failure::{Exit, Failure};

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// [PROJECT] [KEY…]: the first word is the project if a project has that name; no KEY: all quarantined items
    #[arg(value_name = "PROJECT|KEY")]
    words: Vec<String>,
    /// The project; then all words are keys
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let (project, keys) = words::split(session, args.project, args.words).await?;
    let path = words::path(project.as_deref(), "/retry")?;
    do_it(session, &path, &KeysBody { keys }).await
}
