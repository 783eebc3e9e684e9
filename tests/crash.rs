//! The real `labelsyncd` under fire: killed at system calls, cut off from power, on full and read-only disks, without
//! directory events, behind a network that breaks.
//!
//! Promise: whatever happens, no id is given twice, no object has two tasks, no completion is lost or torn, and nobody
//! has to do anything: it goes on by itself.
//! Not here: the same with a model and thousands of seeds (`histories`), single file operations (`files`).
//!
//! Each suite has a short form, and a long one where `SOAK` is set: `tests/soak`.

#[path = "crash/kill.rs"]
mod kill;
mod support;
#[path = "crash/world.rs"]
mod world;

use std::process::ExitCode;

/// Whether the long forms run.
pub fn soak() -> bool {
    std::env::var_os("SOAK").is_some()
}

fn main() -> ExitCode {
    support::trials_at_once(Some(3), |trials| {
        trials.test_unless(
            "l35_a_kill_at_any_system_call_loses_nothing",
            kill::no_strace,
            kill::l35_a_kill_at_any_system_call_loses_nothing,
        );
        trials.test_unless("l35_kills_at_any_time_lose_nothing", || None, kill::l35_kills_at_any_time_lose_nothing);
    })
}
