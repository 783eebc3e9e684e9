//! Every way to hold credentials that can stand on the loopback: the real daemon signs with them, in their region.
//!
//! Promise: nothing of the developer's machine is asked; a credential that changes is taken without a restart.
//! Not here: what a refusal is called (`check.rs`, `stores.rs`).

mod support;

#[path = "credentials/canaries.rs"]
mod canaries;
#[path = "credentials/google.rs"]
mod google;
#[path = "credentials/s3.rs"]
mod s3;
#[path = "credentials/service.rs"]
mod service;

use std::process::ExitCode;

/// Most tests wait most of the time.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    support::trials_at_once(Some(AT_ONCE), |trials| {
        s3::add(trials);
        google::add(trials);
        service::add(trials);
        canaries::add(trials);
    })
}
