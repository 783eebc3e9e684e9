//! `labelsyncd` and `lsctl` as an operator meets them: wrong settings, reloads, restarts, guards, a busy Label Studio.
//!
//! Promise: the real programs, on directories that stand for buckets; no server, no network.
//! Not here: S3 (`main_job.rs`), the socket's protocol (`control.rs`), what settings may say (`settings.rs`).

#[path = "daemon/changes.rs"]
mod changes;
#[path = "daemon/conflicts.rs"]
mod conflicts;
#[path = "daemon/guards.rs"]
mod guards;
#[path = "daemon/identity.rs"]
mod identity;
#[path = "daemon/label_studio.rs"]
mod label_studio;
#[path = "daemon/ledger.rs"]
mod ledger;
#[path = "daemon/metrics.rs"]
mod metrics;
#[path = "daemon/noise.rs"]
mod noise;
#[path = "daemon/odd.rs"]
mod odd;
#[path = "daemon/operator.rs"]
mod operator;
#[path = "daemon/polls.rs"]
mod polls;
#[path = "daemon/service.rs"]
mod service;
#[path = "daemon/size.rs"]
mod size;
#[path = "daemon/startup.rs"]
mod startup;
mod support;
#[path = "daemon/users.rs"]
mod users;

use std::process::ExitCode;

/// Most tests wait most of the time.
const AT_ONCE: usize = 8;

macro_rules! add {
    ($trials:ident: $($module:ident::$name:ident),* $(,)?) => {$(
        $trials.test_unless(stringify!($name), || None, $module::$name);
    )*};
}

/// What is polled and what is counted.
fn polls_and_metrics(trials: &mut support::Trials) {
    add!(trials:
        polls::projects_that_begin_together_poll_apart,
        polls::an_idle_bucket_is_polled_less_often_until_it_has_news,
        metrics::l90_what_waits_for_a_target_that_was_not_reached_yet_is_counted,
        metrics::l90_metrics_are_scraped_as_recorded,
        metrics::l50_saving_all_the_time_does_not_put_off_the_look_at_everything,
        metrics::l90_the_oldest_push_that_waits_is_in_the_metrics,
        metrics::l91_series_do_not_grow_with_the_bucket,
        metrics::l61_metrics_are_not_for_everybody_by_accident,
        metrics::a_taken_port_is_told_and_the_main_job_runs,
    );
}

fn main() -> ExitCode {
    support::trials_at_once(Some(AT_ONCE), |trials| {
        guards(trials);
        polls_and_metrics(trials);
        add!(trials:
            startup::l85_wrong_settings_are_said_all_at_once,
            startup::check_reads_and_changes_nothing,
            startup::wrong_arguments_are_a_usage_error,
            startup::without_a_daemon_lsctl_says_how_to_start_it,
            startup::one_daemon_a_state_directory_and_a_project,
            startup::init_then_check_then_run,
            changes::l56_a_reload_takes_a_good_file_and_refuses_a_bad_one,
            changes::l15_l52_looks_never_overlap,
            changes::l56_a_change_during_a_listing_waits_for_its_end,
            changes::a_reload_starts_and_stops_projects,
            changes::a_reload_takes_a_reminder_away_and_brings_it_back,
            changes::pause_lasts_over_a_restart,
            changes::l55_a_change_is_durable_when_it_is_acknowledged,
            changes::l55_runtime_changes_whose_directory_was_removed_are_written_again,
            changes::events_and_log_hold_each_thing_once_in_the_same_words,
            noise::l92_an_error_that_repeats_is_logged_once,
            size::l51_a_large_bucket_needs_no_more_memory_and_the_status_answers,
            service::l81_ready_comes_although_the_bucket_is_down,
            label_studio::c10_a_label_config_that_is_missing_or_wrong_adds_nothing,
            label_studio::c10_what_another_label_config_refused_is_tried_again,
            label_studio::c02_a_torn_tasks_json_is_never_overwritten,
            label_studio::c02_an_unusable_tasks_json_is_not_spun_on,
            label_studio::c02_a_torn_source_json_holds_adding,
            label_studio::c08_what_label_studio_loses_comes_back_and_what_a_user_deletes_stays_away,
            label_studio::c09_an_import_under_our_id_moves_ours,
            ledger::l45_a_damaged_ledger_stops_its_project_and_is_rebuilt_with_the_same_ids,
            ledger::l16_a_ledger_that_is_gone_is_no_project_without_tasks,
            ledger::l17_an_old_file_that_is_put_back_gives_no_id_again,
            ledger::l17_a_backup_that_is_put_back_gives_no_id_again,
            ledger::l45_a_ledger_that_vanishes_while_it_is_used_is_rebuilt_with_the_same_ids,
            ledger::l17_a_backup_that_is_put_back_while_it_is_used_gives_no_id_again,
            ledger::l16_the_ledger_of_another_project_is_refused,
            odd::l20_a_completion_that_stays_empty_or_torn_is_listed_as_unsettled,
            odd::l31_a_pipe_in_the_place_of_tasks_json_is_named_and_heals_at_once,
            odd::l31_a_link_or_directory_in_the_place_of_tasks_json_is_named_and_heals,
            odd::l31_what_is_no_file_in_the_place_of_a_completion_is_left_alone_and_no_deletion,
            odd::l33_one_bad_object_and_one_bad_file_stop_nothing_and_do_not_loop,
            operator::status_says_what_an_operator_asks,
            operator::status_names_the_state_and_what_to_do,
            operator::shell_completion_is_printed_without_a_daemon,
        );
        trials.test_unless(
            "sync_draws_a_bar_on_a_terminal",
            operator::no_script,
            operator::sync_draws_a_bar_on_a_terminal,
        );
        trials.test_unless(
            "l88_the_peers_user_id_decides_nothing",
            users::no_user_namespace,
            users::l88_the_peers_user_id_decides_nothing,
        );
        trials.test_unless(
            "l71_jq_finds_hostile_keys_in_the_json_log",
            operator::no_jq,
            operator::l71_jq_finds_hostile_keys_in_the_json_log,
        );
        trials.test_unless("l89_files_stay_label_studios", users::not_root, users::l89_files_stay_label_studios);
        trials.test_unless(
            "l89_a_daemon_that_cannot_keep_the_owner_refuses",
            users::not_root,
            users::l89_a_daemon_that_cannot_keep_the_owner_refuses,
        );
    })
}

/// Looks that must not be believed.
fn guards(trials: &mut support::Trials) {
    add!(trials:
        conflicts::l23_a_conflict_ends_with_its_object_and_what_cannot_win_is_refused,
        conflicts::l23_what_is_too_large_to_be_kept_is_not_overruled,
        conflicts::l29_what_is_missing_in_the_target_is_pushed_again_where_a_person_says_so,
        conflicts::l23_an_older_directory_that_is_put_back_overwrites_nothing,
        conflicts::l23_what_is_done_about_an_older_completion_loses_nothing,
        conflicts::l29_what_an_older_directory_does_not_hold_is_not_deleted,
        conflicts::what_the_ledger_knows_is_shown_while_the_target_does_not_answer,
        conflicts::c05_an_id_that_only_the_target_holds_moves_the_next_one_and_says_so_once,
        conflicts::l13_a_task_whose_object_is_gone_comes_back_when_it_is_selected_again,
        guards::l08_a_project_directory_that_is_missing_is_waited_for,
        guards::l08_without_its_marker_nothing_is_written_or_pushed,
        identity::l08_a_lost_marker_that_is_accepted_gives_no_object_a_second_task,
        guards::l08_an_empty_directory_in_its_place_is_not_the_project,
        guards::l03_a_mass_removal_is_held_until_it_is_accepted,
        guards::l07_another_bucket_with_the_same_keys_is_held,
        guards::l02_an_empty_listing_is_held,
        guards::l01_a_missing_bucket_is_no_empty_one,
        guards::l03_a_mass_deletion_of_completions_is_held,
        guards::l08_without_its_directory_no_completion_counts_as_deleted,
        guards::l07_a_bucket_replaced_by_another_of_its_name_gets_nothing,
        guards::l11_of_two_daemons_on_one_target_prefix_one_is_held,
        guards::l15_a_hundred_syncs_at_once_give_each_object_one_id,
        guards::c05_ids_that_the_target_holds_completions_for_are_not_given,
        guards::l10_one_bucket_for_both_directions_feeds_nothing_back,
        guards::l10_nothing_of_a_target_below_the_source_is_a_task,
        identity::l43_a_copy_of_a_project_is_not_served_beside_it,
        identity::l08_a_project_that_was_moved_goes_on,
        odd::c05_an_id_that_nobody_could_have_given_does_not_move_the_next_one,
        odd::l33_a_quarantined_file_that_is_gone_is_not_listed_any_more,
        odd::l38_a_project_that_cannot_be_begun_leaves_nothing_behind,
        odd::l39_a_log_that_nobody_reads_stops_nothing,
    );
}
