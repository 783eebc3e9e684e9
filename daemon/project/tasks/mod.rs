//! `tasks.json`: what Label Studio did to it, and how it is replaced.

mod displaced;
mod edits;
pub mod file;
pub mod road;
mod seen;
