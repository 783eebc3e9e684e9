//! labelsync beside the real Label Studio, on one project directory: the contract C1 to C25, live.
//!
//! Promise: the numbers of a load with labelsync are printed beside those of the same load without it; where a real
//! Label Studio cannot be installed these tests are shown as ignored with the reason.
//! Not here: what is decided from which state (`sync::near`).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

#[path = "label_studio/beside.rs"]
mod beside;
#[path = "label_studio/load.rs"]
mod load;
mod support;

fn main() -> std::process::ExitCode {
    support::trials(|t| {
        t.test_with(
            "c07_c08_c09_nothing_is_lost_beside_label_studio_0_8",
            || support::label_studio::installed("0.8.2"),
            load::table,
        );
    })
}
