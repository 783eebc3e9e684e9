//! `lsctl shell-completion`.
//!
//! Promise: needs no daemon.
//! Not here: where a shell looks for it; the packages know.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Session;
use crate::Cli;
use crate::failure::{Exit, Failure};

/// Arguments of `shell-completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Does it.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lsctl", &mut script);
    session.out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
}
