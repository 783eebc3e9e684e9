//! The main job, end to end, with the real programs: a bucket's blobs become tasks, and completions reach the target.
//!
//! Promise: every test runs on moto and on SeaweedFS, or is shown as ignored with its reason.
//! Not here: what needs no bucket server (`daemon.rs`), the real Label Studio.

#[path = "main_job/blobs.rs"]
mod blobs;
#[path = "main_job/bucket.rs"]
mod bucket;
#[path = "main_job/completions.rs"]
mod completions;
#[path = "main_job/existing.rs"]
mod existing;
#[path = "main_job/json_tasks.rs"]
mod json_tasks;
mod support;
#[path = "main_job/urls.rs"]
mod urls;

use std::process::ExitCode;

use self::support::Kind;

/// Most tests wait most of the time.
const AT_ONCE: usize = 6;

macro_rules! on_every_server {
    ($trials:ident: $($module:ident::$name:ident),* $(,)?) => {$(
        for kind in Kind::S3 {
            $trials.test_on(kind, stringify!($name), $module::$name);
        }
    )*};
}

fn main() -> ExitCode {
    support::trials_at_once(Some(AT_ONCE), |trials| {
        on_every_server!(trials:
            blobs::a_thousand_objects_are_tasks_under_lasting_ids,
            completions::l20_l21_a_saved_completion_is_in_the_target_byte_for_byte_and_never_torn,
            completions::what_others_put_or_take_is_brought_in_disputed_or_listed,
            completions::l23_objects_that_were_put_in_parts_are_as_others,
            existing::the_ids_of_label_studios_own_s3_storage_stay_with_their_keys,
            existing::the_documentations_lines_make_a_project_that_runs,
            urls::l75_no_url_on_disk_carries_a_credential,
            json_tasks::l05_one_bad_object_does_not_stop_the_others,
        );
    })
}
