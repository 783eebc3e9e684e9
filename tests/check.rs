//! Set-ups that are wrong, each in its way: `status` names the state within a poll, `lsctl check` the cause and its
//! remedy, and nothing else suffers.
//!
//! Promise: the real daemon and `lsctl`, on real servers where one can be wrong in this way, else on doubles.
//! Not here: which answer of a provider is which state (`daemon/store`), settings (`settings.rs`).

mod support;

#[path = "check/doubles.rs"]
mod doubles;
#[path = "check/setups.rs"]
mod setups;
#[path = "check/verify.rs"]
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    support::trials(|trials| {
        setups::add(trials);
        verify::add(trials);
    })
}
