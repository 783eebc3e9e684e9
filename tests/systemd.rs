//! The service in a real systemd, booted for each test in a throw-away copy of this machine's root.
//!
//! Promise: the shipped units, the real programs, real hangs, kills and limits. Where no systemd can be booted the tests
//! are shown as ignored, with the reason.
//! Not here: what systemd is told, word by word (`daemon.rs`); the units as text (`docs.rs`).

#[path = "systemd/boxes.rs"]
mod boxes;
#[path = "systemd/main_job.rs"]
mod main_job;
mod support;

use std::process::ExitCode;

use boxes::SystemBox;

/// Each test has a box of its own, and mostly waits.
const AT_ONCE: usize = 3;

macro_rules! add {
    ($trials:ident: $($module:ident::$name:ident),* $(,)?) => {$(
        $trials.test_with(stringify!($name), SystemBox::installed, $module::$name);
    )*};
}

fn main() -> ExitCode {
    let code = support::trials_at_once(Some(AT_ONCE), |trials| {
        add!(trials:
            main_job::l87_the_main_job_runs_in_the_hardened_unit,
            main_job::l71_the_journal_finds_what_it_should_with_hostile_keys,
        );
    });
    boxes::clean();
    code
}
