//! Which `tasks.json` the ledger knows: its version, and which file that is.
//!
//! Promise: both are written in one transaction, with what else the look or the write comes to.
//! Not here: what is compared with them (`tasks::road`, `repair`).

use rusqlite::Transaction;

use super::{Ledger, LedgerError, set_meta};

/// Which file the version is of.
const TASKS_BORN: &str = "tasks_born_ns";

fn note_tasks_file(tx: &Transaction<'_>, print: &str, born_ns: Option<i64>) -> rusqlite::Result<()> {
    set_meta(tx, "tasks_print", print)?;
    born_ns.map_or(Ok(()), |born| set_meta(tx, TASKS_BORN, &born.to_string()))
}

impl Ledger {
    /// The receipt of writing `tasks.json`: everything reserved stands there; `print` names the file that was written.
    pub fn settle(&self, print: &str, born_ns: Option<i64>) -> Result<(), LedgerError> {
        self.transact(|tx| {
            tx.execute("UPDATE tasks SET settled = 1 WHERE settled = 0", [])?;
            note_tasks_file(tx, print, born_ns)
        })
    }

    /// This version of `tasks.json` was looked at; `born_ns`: when that file was made, nanoseconds since 1970, where
    /// anybody knows. What Label Studio adds to the file that the ledger knows, also while labelsync is down, is its own.
    pub fn note_tasks_file(&self, print: &str, born_ns: Option<i64>) -> Result<(), LedgerError> {
        self.transact(|tx| note_tasks_file(tx, print, born_ns))
    }

    /// When the `tasks.json` was made that was looked at or written last.
    pub fn tasks_born_ns(&self) -> Result<Option<i64>, LedgerError> {
        Ok(self.meta(TASKS_BORN)?.and_then(|born| born.parse().ok()))
    }
}
