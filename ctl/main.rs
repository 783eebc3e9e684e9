//! `lsctl`: asks and tells a running `labelsyncd`, over its control socket.
//!
//! Promise: exit codes 0 ok, 1 failed and a retry may help, 2 usage, 3 no daemon, 7 needs an operator; a closed pipe is
//! no error; nothing that comes from a bucket can move the terminal's cursor.
//! Not here: any decision; the daemon makes them.

mod client;
mod commands;
mod failure;
mod print;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::client::Client;
use crate::commands::{Command, Session};
use crate::failure::{Exit, Failure};
use crate::print::{ColorWhen, Out};

/// Where the daemon listens unless its settings say otherwise.
const DEFAULT_SOCKET: &str = "/run/labelsyncd/control.sock";

const EXIT_CODES: &str = "Exit codes:
  0  ok
  1  failed; a retry may help
  2  wrong usage: an option, a name or a value
  3  no daemon at the socket, or no permission to use it
  7  needs an operator (held, failed, paused, not root; of `health` only held and failed)

PROJECT may be left out where there is only one. Before KEY… or HOLD the first word is PROJECT if a project has that
name; `--project NAME` says it without a doubt.";

/// Asks and tells a running labelsyncd.
#[derive(Debug, Parser)]
#[command(name = "lsctl", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, env = "LABELSYNC_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Print the API's JSON as it is: one document, or one a line for events; errors too, on standard error (metrics stay text)
    #[arg(long, global = true)]
    json: bool,
    /// Colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    color: ColorWhen,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let exit = run(cli).unwrap_or_else(|failure| {
        // Where not even this can be written, the exit code still says it.
        let _ = failure.tell(&mut std::io::stderr().lock(), json);
        failure.exit()
    });
    ExitCode::from(exit as u8)
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}"), "try again"))?;
    let mut session = Session { client: Client::new(cli.socket), out: Out::new(cli.color), json: cli.json };
    let exit = runtime.block_on(cli.command.run(&mut session));
    // Also after a failure: what was printed before it belongs to the answer.
    let flushed = session.out.flush();
    let exit = exit?;
    flushed?;
    Ok(exit)
}
