//! `lsctl accept`.
//!
//! Promise: releases exactly what the operator saw: a hold's id names one sight.
//! Not here: what is held and why; `status` shows it.

use labelsync::control::api::AcceptBody;

use super::{Session, do_it, words};
use crate::failure::{Exit, Failure};

/// Arguments of `accept`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// [PROJECT] [HOLD]: one word is the project if a project has that name, else the hold's id as `status` shows it
    #[arg(num_args = 0..=2, value_name = "PROJECT|HOLD")]
    words: Vec<String>,
    /// The project; then the one word is the hold's id
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let mut words = args.words;
    if args.project.is_some() && words.len() > 1 {
        return Err(Failure::usage("more than one hold is named", "`lsctl status` shows each hold's id"));
    }
    let (project, hold) = match words.len() {
        2 => (Some(words.remove(0)), words.pop()),
        _ => {
            let (project, mut words) = words::split(session, args.project, words).await?;
            (project, words.pop())
        }
    };
    let path = words::path(project.as_deref(), "/accept")?;
    do_it(session, &path, &AcceptBody { hold }).await
}
