//! Blobs to tasks: one look at the source, and what follows from it.

pub mod copies;
mod holds;
pub mod look;
mod nothing;
pub mod recheck;
pub mod road;
