//! `lsctl reset`.
//!
//! Promise: drops only what is named, or with `--all` everything that `set-source` and `set-target` changed.
//! Not here: the file's settings.

use hyper::Method;
use labelsync::control::api::KeysBody;

use super::{Session, print_changed, words};
use crate::failure::{Exit, Failure};

/// Arguments of `reset`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// [PROJECT] KEY…: such as source.regex, as `show` prints them; no project's name has a dot
    #[arg(value_name = "PROJECT|KEY")]
    words: Vec<String>,
    /// All runtime changes of the project
    #[arg(long)]
    all: bool,
    /// The project; then all words are keys
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let (project, keys) = words::split(session, args.project, args.words).await?;
    if keys.is_empty() != args.all {
        let hint = "`lsctl show` prints the keys, such as source.regex; `--all` stands for all of them";
        let message = if args.all { "`--all` and single settings are named" } else { "no setting is named" };
        return Err(Failure::usage(message, hint));
    }
    let path = words::path(project.as_deref(), "/reset")?;
    let answer = session.client.send(Method::POST, &path, &KeysBody { keys }).await?;
    print_changed(session, &answer)
}
