//! `tasks.json`: what Label Studio did to it, and how it is replaced.

mod displaced;
mod edits;
mod entries;
pub mod file;
pub mod road;
mod seen;
