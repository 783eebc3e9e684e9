//! What the ledger has reserved, as edits of `tasks.json`.
//!
//! Promise: exactly what is reserved is changed, in the order of ids; nothing is held in memory but ids.
//! Not here: when it is written (`tasks::road`), how (`tasks::file`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use crate::names::TaskId;
use crate::project::error::CycleError;
use crate::project::ledger::{Ledger, PendingTask};
use crate::project::tasks::file::{Edit, Edits, TasksFileError};
use crate::project::validate::{TaskBody, blob_task};
use crate::sync::action::Form;

/// The reserved changes as edits of the file.
pub(in crate::project) struct LedgerEdits<'l> {
    ledger: &'l Ledger,
    reserved: BTreeMap<TaskId, bool>,
    in_base: BTreeSet<TaskId>,
    after: Option<TaskId>,
    page: VecDeque<PendingTask>,
    /// Nothing that is reserved stands in the file.
    only_adds: bool,
    highest: Option<TaskId>,
}

/// Reserved tasks read at once.
const EDITS_PAGE: usize = 1_000;

impl<'l> LedgerEdits<'l> {
    /// Everything that is reserved now. `highest`: the highest id in the file, where it is known.
    pub(in crate::project) fn new(ledger: &'l Ledger, highest: Option<TaskId>) -> Result<Self, CycleError> {
        let reserved: BTreeMap<TaskId, bool> = ledger.pending_ids()?.into_iter().collect();
        let is_new = |(id, shown): (&TaskId, &bool)| *shown && highest.is_some_and(|highest| *id > highest);
        let only_adds = reserved.iter().all(is_new);
        let (in_base, page) = (BTreeSet::new(), VecDeque::new());
        Ok(Self { ledger, reserved, in_base, after: None, page, only_adds, highest })
    }

    /// No id in the file that was written is higher.
    pub(in crate::project) fn highest(&self) -> Option<TaskId> {
        self.highest
    }
}

impl Edits for LedgerEdits<'_> {
    fn edit(&mut self, id: TaskId) -> io::Result<Edit> {
        self.highest = self.highest.max(Some(id));
        let Some(shown) = self.reserved.get(&id) else { return Ok(Edit::Keep) };
        self.in_base.insert(id);
        if !shown {
            return Ok(Edit::Drop);
        }
        let before = id.get().checked_sub(1).and_then(TaskId::new);
        let page = self.ledger.pending(before, 1).map_err(io::Error::other)?;
        let task = page.first().ok_or_else(|| io::Error::other("a reserved task has gone"))?;
        render(task).map(Edit::Replace)
    }

    fn next_added(&mut self) -> io::Result<Option<(TaskId, String)>> {
        loop {
            if self.page.is_empty() {
                self.page = self.ledger.pending(self.after, EDITS_PAGE).map_err(io::Error::other)?.into();
            }
            let Some(task) = self.page.pop_front() else { return Ok(None) };
            let id = task.task.id;
            self.after = Some(id);
            if task.shown && !self.in_base.contains(&id) {
                self.highest = self.highest.max(Some(id));
                return Ok(Some((id, render(&task)?)));
            }
        }
    }

    fn only_adds(&self) -> bool {
        self.only_adds
    }
}

/// A task as it stands in `tasks.json`.
fn render(pending: &PendingTask) -> io::Result<String> {
    let task = &pending.task;
    match (&task.source, &task.form, &task.body) {
        (None, _, Some(body)) => Ok(body.clone()),
        (Some(_), _, Some(body)) => {
            TaskBody::from_stored(body).map(|body| body.to_json(task.id)).map_err(io::Error::other)
        }
        (Some((root, key)), Some(Form::Blob { data_key }), None) => {
            Ok(blob_task(&format!("{root}/{}", key.as_str()), data_key).to_json(task.id))
        }
        _ => Err(io::Error::other(TasksFileError::Invalid(format!("the ledger has no body for task {}", task.id)))),
    }
}
