//! Why a command did not do what was asked, and the exit code that says so.
//!
//! Promise: each failure names the situation and what to do next.
//! Not here: the daemon's own refusals' words; they come with it.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use labelsync::control::api::{ErrorBody, Refusal};
use labelsync::names::printable;

use crate::print::{json_line, lines};

/// The exit codes of design.md 4.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// A retry may help.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Nobody answers at the socket.
    NoDaemon = 3,
    /// Nothing helps but a person.
    NeedsOperator = 7,
}

/// See the top.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens.
    NoDaemon {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Somebody listens, but not to us.
    NoPermission {
        /// Where.
        socket: PathBuf,
        /// Whom the socket lets in besides root, if that can be seen.
        group: Option<String>,
    },
    /// The daemon said no.
    Refused(Refusal),
    /// The answer cannot be had or used.
    Failed(Refusal),
    /// The words make no sense together.
    Usage(Refusal),
    /// Our own output cannot be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// An answer that cannot be had or used.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed(Refusal::new("failed", message, hint))
    }

    /// A wrong command line that clap cannot see.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Refusal::new("usage", message, hint))
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } | Self::NoPermission { .. } => Exit::NoDaemon,
            Self::Refused(refusal) => exit_of(&refusal.code),
            Self::Failed(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            // `lsctl list | head`: the reader has what it wanted.
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// Says it on `to`; a closed pipe needs no words.
    pub fn tell(&self, to: &mut impl Write, json: bool) -> io::Result<()> {
        if let Self::Output(error) = self
            && error.kind() == ErrorKind::BrokenPipe
        {
            return Ok(());
        }
        let refusal = self.refusal();
        if json {
            let body = serde_json::to_string(&ErrorBody { error: refusal })?;
            return writeln!(to, "{}", json_line(&body));
        }
        writeln!(to, "error: {}", printable(&refusal.message))?;
        for problem in &refusal.problems {
            writeln!(to, "  {}: {}", printable(&problem.path), lines(&problem.message, "  "))?;
            if !problem.remedy.is_empty() {
                writeln!(to, "    {}", printable(&problem.remedy))?;
            }
        }
        // What stands beside its problem is not said twice.
        let said = refusal.problems.iter().any(|problem| problem.remedy == refusal.hint);
        if !refusal.hint.is_empty() && !said {
            writeln!(to, "  hint: {}", printable(&refusal.hint))?;
        }
        Ok(())
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::NoDaemon { socket, cause } => {
                let message = format!("no labelsyncd answers at {}: {cause}", socket.display());
                let hint = "start it: `systemctl start labelsyncd`; or name its socket with --socket";
                Refusal::new("no_daemon", message, hint)
            }
            Self::NoPermission { socket, group } => {
                let message = format!("permission denied: you may not use the control socket {}", socket.display());
                let hint = match group {
                    Some(group) => format!(
                        "it is open to group `{group}`: run as root, or join the group \
                         (`usermod -aG {group} USER`) and log in again"
                    ),
                    // Nobody is told to join root's group.
                    None => {
                        "run as root; or start labelsyncd with systemd's labelsyncd.socket, which opens it to group \
                             `labelsync`, and join that (`usermod -aG labelsync USER`)"
                            .to_owned()
                    }
                };
                Refusal::new("no_permission", message, hint)
            }
            Self::Refused(refusal) | Self::Failed(refusal) | Self::Usage(refusal) => refusal.clone(),
            Self::Output(error) => Refusal::new("failed", format!("cannot write the output: {error}"), ""),
        }
    }
}

/// The exit code of a refusal's stable code.
fn exit_of(code: &str) -> Exit {
    match code {
        "invalid" | "project_needed" | "no_such_project" | "no_such_item" | "no_such_route" | "no_such_method"
        | "no_source" | "no_target" | "nothing_held" | "too_large" => Exit::Usage,
        "held" | "paused" | "not_root" | "project_failed" | "invalid_settings" => Exit::NeedsOperator,
        _ => Exit::Failed,
    }
}
