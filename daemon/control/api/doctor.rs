//! What `check` and `verify` answer.
//!
//! Promise: as `api`.
//! Not here: logic.

use serde::{Deserialize, Serialize};

use super::{Item, Reason};

/// The body of `POST …/check`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckBody {
    /// Where browsers load Label Studio from (`https://label-studio.example`); `null`: `http://localhost:8080`, as Label
    /// Studio says it of itself.
    pub origin: Option<String>,
}

/// The answer to `POST …/check`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// The project.
    pub project: String,
    /// The worst of the findings.
    pub outcome: Outcome,
    /// Each step, in the order in which things depend on each other.
    pub findings: Vec<Finding>,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    #[default]
    Ok,
    /// Works, or does not matter here, but somebody should know.
    Warn,
    /// Does not work.
    Fail,
}

/// One step of `check`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Finding {
    /// `settings`, `project`, `source`, `target`.
    pub about: String,
    /// Stable: `settings`, `state`, `label_config`, `connect`, `dns`, `tls`, `clock`, `credentials`, `region`, `bucket`,
    /// `list`, `selection`, `read`, `write`, `preconditions`, `cors`, `label_studio`.
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable code of what is wrong; empty where nothing is.
    pub code: String,
    /// What was seen.
    pub seen: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

/// The answer to `POST …/verify`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The project.
    pub project: String,
    /// Completions compared.
    pub checked: u64,
    /// Of these, the same byte for byte.
    pub same: u64,
    /// Of these, different or gone; all of them are counted.
    pub different: u64,
    /// Of these, not readable, so that nothing is known of them.
    #[serde(default)]
    pub unread: u64,
    /// The first of those, each with its reason (`target_missing`, `target_differs`, `access_denied` …).
    pub differences: Vec<Item>,
    /// Why it ended before the last one.
    pub stopped: Option<Reason>,
}
