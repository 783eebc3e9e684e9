//! The near side: a Label Studio project, its ledger, and the loop.

pub mod label_config;
pub mod ledger;
pub mod rejected;
pub mod strict_json;
pub mod task_url;
pub mod validate;
