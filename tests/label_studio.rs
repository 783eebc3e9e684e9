//! labelsync beside Label Studio on one project directory: the contract C1 to C25 on the real daemon.
//!
//! Promise: the numbers of a load with labelsync are printed beside those of the same load without it; where a real
//! Label Studio cannot be installed its tests are shown as ignored with the reason.
//! Not here: what is decided from which state (`sync::near`); random histories (`histories`).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

#[path = "label_studio/beside.rs"]
mod beside;
#[path = "label_studio/clauses.rs"]
mod clauses;
#[path = "label_studio/contract.rs"]
mod contract;
#[path = "label_studio/danger.rs"]
mod danger;
#[path = "label_studio/down.rs"]
mod down;
#[path = "label_studio/handover.rs"]
mod handover;
#[path = "label_studio/live.rs"]
mod live;
#[path = "label_studio/load.rs"]
mod load;
#[path = "label_studio/release.rs"]
mod release;
mod support;
#[path = "label_studio/torn.rs"]
mod torn;

use support::Kind;
use support::label_studio::installed;

/// The real daemon with a Label Studio that the test plays.
const PLAYED: [(&str, fn()); 19] = [
    ("c01_tasks_json_is_replaced_whole", clauses::c01_tasks_json_is_replaced_whole),
    ("c02_a_torn_file_is_waited_for", clauses::c02_a_torn_file_is_waited_for),
    ("c05_c06_new_ids_are_above_all_that_were_used", clauses::c05_c06_new_ids_are_above_all_that_were_used),
    ("c08_a_delete_soon_after_the_first_listing_is_kept", clauses::c08_a_delete_soon_after_the_first_listing_is_kept),
    ("c08_a_delete_is_kept_though_the_map_names_it_again", clauses::c08_a_delete_is_kept_though_the_map_names_it_again),
    ("c08_a_clobbered_task_comes_back", clauses::c08_a_clobbered_task_comes_back),
    ("c08_c09_a_map_that_is_made_anew_has_listed_nothing", clauses::c08_c09_a_map_that_is_made_anew_has_listed_nothing),
    (
        "c08_c09_a_map_that_is_made_anew_at_once_or_while_nobody_looks_has_listed_nothing",
        clauses::c08_c09_a_map_that_is_made_anew_at_once_or_while_nobody_looks_has_listed_nothing,
    ),
    ("c09_an_import_keeps_its_id_and_ours_moves", clauses::c09_an_import_keeps_its_id_and_ours_moves),
    ("c02_source_json_cut_anywhere_is_unreadable", contract::c02_source_json_cut_anywhere_is_unreadable),
    ("c03_own_state_is_elsewhere", contract::c03_own_state_is_elsewhere),
    (
        "c10_a_label_config_that_is_replaced_is_held_against_the_tasks",
        contract::c10_a_label_config_that_is_replaced_is_held_against_the_tasks,
    ),
    (
        "c20_nothing_is_deleted_in_a_target_that_label_studio_reads",
        contract::c20_nothing_is_deleted_in_a_target_that_label_studio_reads,
    ),
    (
        "c23_objects_come_without_any_request_of_label_studio",
        contract::c23_objects_come_without_any_request_of_label_studio,
    ),
    ("c21_label_studio_is_never_called", contract::c21_label_studio_is_never_called),
    ("c22_written_in_a_quiet_moment_and_in_batches", contract::c22_written_in_a_quiet_moment_and_in_batches),
    ("c02_tasks_json_written_in_pieces_loses_nothing", torn::c02_tasks_json_written_in_pieces_loses_nothing),
    (
        "c10_a_label_config_that_is_half_written_is_said_and_heals",
        torn::c10_a_label_config_that_is_half_written_is_said_and_heals,
    ),
    ("c15_a_removed_object_keeps_its_id_and_completion", clauses::c15_a_removed_object_keeps_its_id_and_completion),
];

fn main() -> std::process::ExitCode {
    support::trials(|t| {
        for (name, body) in PLAYED {
            t.test_with(name, || Ok(()), move |()| body());
        }
        let servers = t.servers();
        let both = move || Ok((installed("0.8.2")?, servers.get(Kind::Moto)?));
        t.test_with("c18_label_studio_0_8_shows_and_fills_a_bucket", both, live::s3);
        for (name, story) in [
            ("c18_a_target_of_another_project_is_held", danger::owned as fn(_)),
            ("c18_objects_of_a_project_without_labelsync_are_conflicts", danger::unmarked),
        ] {
            let servers = t.servers();
            let both = move || Ok((installed("0.8.2")?, servers.get(Kind::Moto)?));
            t.test_with(name, both, story);
        }
        for (name, version, kind) in [
            ("c19_adopted_from_label_studios_own_storages_and_released_to_them", "0.8.2.post0", Kind::Moto),
            ("c19_adopted_from_gcs_storages_and_released_to_them", "0.8.2.post0", Kind::Gcs),
            ("c19_adopted_from_label_studio_0_7_and_released_to_it", "0.7.5.post1", Kind::Moto),
        ] {
            let servers = t.servers();
            t.test_with(name, move || Ok((installed(version)?, servers.get(kind)?)), handover::there_and_back);
        }
        for (name, kind) in [
            ("c19_a_release_to_s3_names_what_waits_and_changes_no_id", Kind::Moto),
            ("c19_a_release_to_gcs_names_what_waits_and_changes_no_id", Kind::Gcs),
        ] {
            let servers = t.servers();
            t.test_with(name, move || servers.get(kind), release::names_what_waits);
        }
        let name = "c09_imports_that_equal_an_object_while_labelsync_is_down_keep_their_ids";
        t.test_with(name, || installed("0.8.2"), down::imports_equal_to_objects);
        t.test_with("c05_label_studio_0_7_counts_as_labelsync_does", || installed("0.7.5.post1"), live::dense_ids);
        t.test_with("c07_c08_c09_nothing_is_lost_beside_label_studio_0_8", || installed("0.8.2"), load::table);
    })
}
