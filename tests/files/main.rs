//! What touches the disk in a project directory: reading, replacing, local copies, watching.
//!
//! Promise: a test that cannot run here is shown as ignored with its reason.
//! Not here: what files mean.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod attributes;
mod child;
mod copies;
mod faults;
mod reading;
mod replacing;
mod support;
mod watching;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(code) = child::run() {
        return code;
    }
    let trials: Vec<Trial> = [
        reading::trials(),
        replacing::trials(),
        faults::trials(),
        attributes::trials(),
        copies::trials(),
        watching::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
