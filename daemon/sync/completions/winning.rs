//! Whether an object may win over the file, where a person wants it to.
//!
//! Promise: what would make Label Studio fail, or be attached to another task, never wins.
//! Not here: that somebody wants it (`decide`).

use super::{Remote, TaskFacts};
use crate::sync::action::Dispute;

/// Why an object that was looked into cannot win over the file: a stable code and its words; `None`: it can. What is no
/// completion would make Label Studio fail for everybody (C16); what is about other data would be attached to another task.
pub fn why_not_remote(r: &Remote, task: &TaskFacts) -> Option<(&'static str, &'static str)> {
    let Remote::Object { meaning, .. } = r else {
        return Some(("no_object", "there is no object in the target"));
    };
    match (meaning, task.present) {
        (None, _) => Some((Dispute::NoCompletion.code(), Dispute::NoCompletion.text())),
        (_, None) => Some(("task_not_shown", "its task is not in tasks.json now")),
        (Some(meaning), Some(present)) if meaning.data_hash == present => None,
        (Some(_), Some(_)) => Some((Dispute::DataMismatch.code(), Dispute::DataMismatch.text())),
    }
}
