//! DECIDES: what to do, from what was seen. Pure.
//!
//! Promise: no tokio, no file, no network, no clock, no environment; same inputs, same plan.

pub mod canon;
pub mod pattern;
