//! The service in a real systemd, booted for each test in a throw-away copy of this machine's root.
//!
//! Promise: the shipped units, the real programs, real hangs, kills and limits. Where no systemd can be booted the tests
//! are shown as ignored, with the reason.
//! Not here: what systemd is told, word by word (`daemon.rs`); the units as text (`docs.rs`).

#[path = "systemd/access.rs"]
mod access;
#[path = "systemd/boxes.rs"]
mod boxes;
#[path = "systemd/main_job.rs"]
mod main_job;
#[path = "systemd/package.rs"]
mod package;
#[path = "systemd/sandbox.rs"]
mod sandbox;
#[path = "systemd/service.rs"]
mod service;
mod support;

use std::process::ExitCode;

use boxes::SystemBox;
use support::Kind;

/// Each test has a box of its own, and mostly waits.
const AT_ONCE: usize = 3;

macro_rules! add {
    ($trials:ident: $($module:ident::$name:ident),* $(,)?) => {$(
        $trials.test_with(stringify!($name), SystemBox::installed, $module::$name);
    )*};
}

fn needs(program: &str) -> Result<(), String> {
    let found = std::process::Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    match found {
        Ok(found) if found.status.success() => Ok(()),
        _ => Err(format!("{program} is not installed")),
    }
}

fn main() -> ExitCode {
    let code = support::trials_at_once(Some(AT_ONCE), |trials| {
        add!(trials:
            main_job::l87_the_main_job_runs_in_the_hardened_unit,
            main_job::l71_the_journal_finds_what_it_should_with_hostile_keys,
            service::l65_no_request_is_lost_over_crashes,
            service::l84_a_reload_takes_good_settings_and_keeps_the_old_ones_over_bad,
            service::l85_what_a_restart_cannot_mend_does_not_loop,
            service::l73_what_takes_too_much_memory_is_started_again,
            access::l60_root_and_operators_may_ask_and_nobody_else,
            access::l89_a_project_that_is_not_let_in_is_named_with_its_remedy,
            sandbox::l85_a_state_directory_of_another_owner_is_taken_back,
        );
        trials.test_with(
            "l82_each_loop_that_hangs_is_started_again",
            || needs("strace").and_then(|()| SystemBox::installed()),
            service::l82_each_loop_that_hangs_is_started_again,
        );
        trials.test_with(
            "l83_a_stop_finishes_the_push_in_hand",
            || needs("strace").and_then(|()| SystemBox::installed()),
            service::l83_a_stop_finishes_the_push_in_hand,
        );
        trials.test_with(
            "l82_a_store_that_does_not_answer_is_no_hang",
            || needs("strace").and_then(|()| SystemBox::installed()),
            service::l82_a_store_that_does_not_answer_is_no_hang,
        );
        trials.test_with(
            "l82_a_start_that_never_ends_is_ended",
            || needs("strace").and_then(|()| SystemBox::installed()),
            sandbox::l82_a_start_that_never_ends_is_ended,
        );
        trials.test_with(
            "l83_a_stop_that_takes_too_long_is_ended_and_healed",
            || needs("strace").and_then(|()| SystemBox::installed()),
            sandbox::l83_a_stop_that_takes_too_long_is_ended_and_healed,
        );
        trials.test_with(
            "l87_what_the_unit_takes_away_is_away",
            || needs("python3").and_then(|()| SystemBox::installed()),
            sandbox::l87_what_the_unit_takes_away_is_away,
        );
        trials.test_with(
            "a_package_is_installed_upgraded_removed_and_purged",
            package::Packages::make,
            package::a_package_is_installed_upgraded_removed_and_purged,
        );
        trials.test_with(
            "cargo_deb_makes_the_same_package",
            package::cargo_deb,
            package::cargo_deb_makes_the_same_package,
        );
        trials.test_with(
            "the_operations_guide_is_what_happens",
            package::Packages::make,
            package::the_operations_guide_is_what_happens,
        );
        let servers = trials.servers();
        trials.test_with(
            "l87_s3_with_keys_that_only_the_service_sees",
            move || servers.get(Kind::Moto).and_then(|_| SystemBox::installed()),
            access::l87_s3_with_keys_that_only_the_service_sees,
        );
    });
    boxes::clean();
    code
}
