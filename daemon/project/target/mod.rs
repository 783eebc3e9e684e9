//! Completions, both ways.

pub mod apply;
mod batch;
mod holds;
pub mod look;
pub mod reading;
pub mod road;
