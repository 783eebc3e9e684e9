//! The near side: a Label Studio project, its ledger, and the loop.
pub mod label_config;
pub mod ledger;
