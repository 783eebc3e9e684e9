//! DECIDES: what to do, from what was seen. Pure.
//!
//! Promise: no tokio, no file, no network, no clock, no environment; same inputs, same plan.

pub mod action;
pub mod canon;
pub mod completions;
mod counts;
pub mod flow;
pub mod holds;
pub mod ids;
pub mod index;
pub mod near;
pub mod pace;
pub mod pattern;
pub mod repeats;
pub mod select;
pub mod source;
pub mod stretches;
