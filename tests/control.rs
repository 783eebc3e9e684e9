//! The control socket and `lsctl`: a real server on a real socket, the real client, and a daemon that is a double.
//!
//! Promise: promises 60 to 64, 66 and 71, the exit codes of design.md 4.3 and the routes of 4.4.
//! Not here: what the real daemon does with a request.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "control/daemon.rs"]
mod daemon;
#[path = "control/exits.rs"]
mod exits;
#[path = "control/fake.rs"]
mod fake;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/pipes.rs"]
mod pipes;
#[path = "control/routes.rs"]
mod routes;
#[path = "control/socket.rs"]
mod socket;
#[path = "control/verbs.rs"]
mod verbs;
#[path = "control/waiting.rs"]
mod waiting;
