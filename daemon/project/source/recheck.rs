//! What stands in `tasks.json` against a label config that has changed (contract C10).
//!
//! Promise: tasks that Label Studio cannot show with the label config of now are said with their ids, imports too; what
//! was quarantined under another one is tried again, also where it changed while labelsync was down.
//! Not here: objects that are to become tasks (`source::look`).

use crate::control::api::Reason;
use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::project::error::CycleError;
use crate::project::files::Fingerprint;
use crate::project::label_config::LabelConfig;
use crate::project::shared::Shared;
use crate::project::strict_json::{Duplicates, JsonLimits, MAX_OWN_DEPTH, parse};
use crate::project::validate::check_task;

/// The code of the warning.
const DO_NOT_FIT: &str = "tasks_do_not_fit";

/// The ledger's note of the label config that all tasks fitted: a start does not read them all again.
const FITTED: &str = "label_config_fitted";

/// Ids that are named; the rest is counted.
const NAMED_MAX: usize = 10;

/// The label config that the tasks were last held against.
#[derive(Debug, Default)]
pub struct Recheck {
    checked: Option<Fingerprint>,
    /// The `tasks.json` in which some did not fit.
    misfits_in: Option<Fingerprint>,
    /// What was told of them last.
    said: String,
}

impl Recheck {
    /// Holds `tasks.json` against the label config, where that is another one than before, or some did not fit and the file
    /// is another one now: tasks that are corrected or deleted end the warning. Blocks.
    pub fn look(&mut self, shared: &Shared, config: &LabelConfig, print: Fingerprint) -> Result<(), CycleError> {
        let tasks = shared.near.tasks_print()?;
        if self.checked.is_none() {
            self.checked = shared.ledger.meta(FITTED)?.and_then(|print| print.parse().ok());
        }
        if self.checked == Some(print) && (self.misfits_in.is_none() || self.misfits_in == tasks) {
            return Ok(());
        }
        let mut misfits: Vec<TaskId> = Vec::new();
        let (mut count, mut first) = (0_u64, None);
        let scanned = shared.near.scan_tasks(&mut |id, text| {
            let limits = JsonLimits { depth: MAX_OWN_DEPTH, values: usize::MAX };
            // What is no task at all is Label Studio's own affair; it is said when it is read.
            let Ok(task) = parse(text, &limits, Duplicates::TakeLast) else { return Ok(()) };
            let Some(fields) = task.as_object() else { return Ok(()) };
            if let Err(rejected) = check_task(fields, config) {
                count += 1;
                first.get_or_insert(rejected);
                if misfits.len() < NAMED_MAX {
                    misfits.push(id);
                }
            }
            Ok(())
        });
        match scanned {
            Ok(_) => {}
            // Label Studio is writing it: the next cycle looks again.
            Err(error) if error.is_transient() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let before = self.checked.replace(print);
        if before.is_some_and(|before| before != print) {
            shared.ledger.retry(&[])?;
        }
        self.misfits_in = tasks.filter(|_| first.is_some());
        let fitted = if first.is_none() { print.to_string() } else { String::new() };
        shared.ledger.set_meta(FITTED, &fitted)?;
        let Some(first) = first else {
            shared.board.unwarn(shared.now(), DO_NOT_FIT);
            self.said.clear();
            return Ok(());
        };
        let ids: Vec<String> = misfits.iter().map(ToString::to_string).collect();
        let more = if count > misfits.len() as u64 { " …" } else { "" };
        let message = format!(
            "{count} tasks of tasks.json do not fit the label config, and Label Studio fails on them for everybody: {}{more} ({first})",
            ids.join(", ")
        );
        let hint =
            "put the label config back, or one that these tasks fit; or correct the objects, or delete the tasks";
        let reason = Reason { code: DO_NOT_FIT.to_owned(), message: message.clone(), hint: hint.to_owned() };
        shared.board.warn(shared.now(), reason);
        // Told once, though the file changes with every task that comes.
        if self.said != message {
            shared.tell(Happened::new(Level::Warning, DO_NOT_FIT, message.clone()).error(first.code));
            self.said = message;
        }
        Ok(())
    }
}
