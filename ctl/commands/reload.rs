//! `lsctl reload`.
//!
//! Promise: wrong settings change nothing, and every problem is printed.
//! Not here: who may; the daemon asks the kernel.

use super::{Nothing, Session, do_it};
use crate::failure::{Exit, Failure};

/// Does it.
pub async fn run(session: &mut Session) -> Result<Exit, Failure> {
    do_it(session, "/v1/reload", &Nothing {}).await
}
