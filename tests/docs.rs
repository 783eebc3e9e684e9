//! Documentation, units and policies can fail: what they say is parsed, run and compared with the code.
//!
//! Promise: every command of the README is one, its settings are settings, its sample output is what `lsctl` prints;
//! the unit is one that systemd takes and scores well; the policies allow what the code calls and nothing else.
//! Not here: the example settings (`settings.rs`), the house rules (`architecture.rs`).

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "docs/alerts.rs"]
mod alerts;
#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/manual.rs"]
mod manual;
#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/policies.rs"]
mod policies;
#[path = "docs/tour.rs"]
mod tour;
#[path = "docs/units.rs"]
mod units;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (name, body) in [
        ("every_settings_block_is_good_settings", pages::settings_blocks as fn()),
        ("every_link_leads_to_a_file", pages::links),
        ("every_lsctl_verb_that_is_named_exists", pages::verbs),
        ("every_verb_is_in_the_readme", pages::all_verbs),
        ("the_release_is_in_the_changelog", pages::release),
        ("every_command_of_the_readme_is_one", commands::readme),
        ("init_and_the_settings_by_hand_say_the_same", commands::init_line),
        ("the_readmes_test_command_is_what_ci_runs", commands::scripts),
        ("the_tour_shows_what_lsctl_prints", tour::console_blocks),
        ("the_policies_allow_what_the_code_calls", policies::actions),
        ("the_roles_for_google_allow_what_the_code_calls", policies::google),
        ("objects_are_deleted_only_under_the_target_prefix", policies::deletes),
        ("the_owners_mark_may_be_written", policies::mark),
        ("browsers_may_read_and_nothing_else", policies::cors),
        ("units_name_what_is_shipped", units::names),
        ("a_wrong_setting_is_not_tried_again", units::restarts),
        ("every_alert_says_what_to_do", units::alerts),
        ("l90_each_alert_fires_in_its_situation_and_no_other", alerts::each_fires_in_its_situation_and_no_other),
        ("the_operations_guide_explains_each_alert", alerts::the_guide_explains_each),
        ("l91_the_operations_guide_names_every_metric", alerts::the_guide_names_every_metric),
        ("the_dashboard_asks_for_metrics_that_are_there", alerts::the_dashboard_asks_for_metrics_that_are_there),
        ("the_catalog_explains_every_event", alerts::the_catalog_explains_every_event),
        ("the_manual_has_every_option", alerts::the_manual_has_every_option),
    ] {
        trials.push(Trial::test(name, move || {
            body();
            Ok(())
        }));
    }
    for (name, body) in [
        ("systemd_takes_the_units", units::verify as fn() -> Option<String>),
        ("the_unit_scores_at_most_one_and_a_half", units::score),
        ("man_takes_the_manual_pages_without_a_word", manual::man),
        ("mandoc_takes_the_manual_pages_without_a_word", manual::mandoc),
        ("bash_completes", manual::bash),
        ("zsh_completes", manual::zsh),
        ("fish_completes", manual::fish),
    ] {
        trials.push(Trial::ignorable_test(name, move || {
            Ok(body().map_or(Completion::Completed, Completion::ignored_with))
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
