//! The real `labelsyncd` under fire: killed at system calls, cut off from power, on full and read-only disks, without
//! directory events, behind a network that breaks.
//!
//! Promise: whatever happens, no id is given twice, no object has two tasks, no completion is lost or torn, and nobody
//! has to do anything: it goes on by itself.
//! Not here: the same with a model and thousands of seeds (`histories`), single file operations (`files`).
//!
//! Each suite has a short form, and a long one where `SOAK` is set: `tests/soak`.

#[path = "main_job/bucket.rs"]
#[expect(dead_code, reason = "the main job uses more of it")]
mod bucket;
#[path = "crash/clock.rs"]
mod clock;
#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/network.rs"]
mod network;
#[path = "crash/odd.rs"]
mod odd;
#[path = "crash/power.rs"]
mod power;
mod support;
#[path = "crash/world.rs"]
mod world;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use support::Kind;

/// Whether the long forms run.
pub fn soak() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Mounts of the tests are seen by nobody else, and end with this program.
const PRIVATE: &str = "LABELSYNC_TEST_MOUNTS";

/// Starts this program again in a mount namespace of its own, where it may.
fn with_private_mounts() {
    if std::env::var_os(PRIVATE).is_some() {
        return;
    }
    let mut may = Command::new("unshare");
    let may = may.args(["--mount", "--propagation", "private", "true"]).stderr(Stdio::null()).status();
    let how: &[&str] = if may.is_ok_and(|status| status.success()) { &["yes"] } else { &[] };
    let this = std::env::current_exe().expect("the test program");
    let mut again = match how {
        [] => Command::new(this),
        _ => {
            let mut again = Command::new("unshare");
            again.args(["--mount", "--propagation", "private"]).arg(this);
            again
        }
    };
    let error = again.args(std::env::args_os().skip(1)).env(PRIVATE, how.first().unwrap_or(&"no")).exec();
    panic!("the test program cannot be started again: {error}");
}

/// Why a test cannot mount anything.
pub fn no_mounts() -> Option<String> {
    let may = std::env::var_os(PRIVATE).is_some_and(|how| how == "yes");
    (!may).then(|| "needs a mount namespace of its own (root)".to_owned())
}

fn main() -> ExitCode {
    with_private_mounts();
    support::trials_at_once(Some(5), |trials| {
        trials.test_unless(
            "l35_a_kill_at_any_system_call_loses_nothing",
            kill::no_strace,
            kill::l35_a_kill_at_any_system_call_loses_nothing,
        );
        trials.test_unless("l35_kills_at_any_time_lose_nothing", || None, kill::l35_kills_at_any_time_lose_nothing);
        trials.test_unless(
            "l36_after_a_power_cut_all_that_was_acknowledged_is_there",
            power::no_ext4,
            power::l36_after_a_power_cut_all_that_was_acknowledged_is_there,
        );
        for (name, body) in [
            ("l38_a_full_state_directory_heals", disk::l38_a_full_state_directory_heals as fn()),
            ("l38_a_state_directory_without_inodes_heals", disk::l38_a_state_directory_without_inodes_heals),
            ("l38_a_full_project_heals", disk::l38_a_full_project_heals),
            ("l38_a_full_target_heals", disk::l38_a_full_target_heals),
            ("l38_a_read_only_project_heals", disk::l38_a_read_only_project_heals),
        ] {
            trials.test_unless(name, no_mounts, body);
        }
        trials.test_unless(
            "l38_a_state_directory_that_refuses_writes_heals",
            kill::no_strace,
            disk::l38_a_state_directory_that_refuses_writes_heals,
        );
        trials.test_unless("l38_no_descriptors_heal", disk::no_prlimit, disk::l38_no_descriptors_heal);
        trials.test_unless("l50_what_no_event_tells_is_found", kill::no_strace, disk::l50_what_no_event_tells_is_found);
        trials.test_unless("l49_without_any_watch_it_polls", disk::no_limits, disk::l49_without_any_watch_it_polls);
        trials.test_unless(
            "l46_a_clock_that_jumps_loses_nothing",
            clock::no_faketime,
            clock::l46_a_clock_that_jumps_loses_nothing,
        );
        trials.test_unless("l48_an_overflow_loses_nothing", || None, disk::l48_an_overflow_loses_nothing);
        for (name, body) in [
            ("l26_a_push_whose_answer_breaks_anywhere", network::l26_a_push_whose_answer_breaks_anywhere as fn(_)),
            (
                "l74_a_byte_that_flips_on_its_way_becomes_no_task",
                network::l74_a_byte_that_flips_on_its_way_becomes_no_task,
            ),
            ("l32_an_outage_loses_nothing", network::l32_an_outage_loses_nothing),
            ("l01_l76_connections_that_break_anywhere", network::l01_l76_connections_that_break_anywhere),
            ("l05_a_bucket_that_answers_oddly_loses_nothing", odd::l05_a_bucket_that_answers_oddly_loses_nothing),
            (
                "l06_delete_markers_are_deletions_that_can_be_undone",
                odd::l06_delete_markers_are_deletions_that_can_be_undone,
            ),
        ] {
            trials.test_on(Kind::Moto, name, move |server| async move {
                tokio::task::spawn_blocking(move || body(server))
                    .await
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            });
        }
    })
}
