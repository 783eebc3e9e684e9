//! The near side: a Label Studio project, its ledger, and the loop.

pub mod board;
pub mod claim;
pub mod copies;
pub mod directory;
pub mod error;
pub mod files;
pub mod label_config;
pub mod ledger;
pub mod near;
pub mod rejected;
pub mod run;
pub mod shared;
pub mod source_look;
pub mod source_road;
pub mod spool;
pub mod strict_json;
pub mod target_apply;
pub mod target_look;
pub mod target_road;
pub mod task_url;
pub mod tasks_file;
pub mod tasks_road;
pub mod validate;
pub mod wakes;
pub mod watch;
