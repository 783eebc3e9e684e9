//! Questions about many tasks, one after the other.
//!
//! Promise: an answer is of a moment ago ([`READ_MAX`]), or of now; the writer's connection stays free.
//! Not here: what is asked about a single one (`tasks`).

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::rows::facts;
use super::tasks::{known_task, knows};
use super::{Ledger, LedgerError, Reader};
use crate::names::TaskId;
use crate::sync::completions::TaskFacts;
use crate::sync::near::KnownTask;

/// How long one read goes on. One for each question costs more in locks of the file than its answer does; one that is
/// held for long says what was, and keeps SQLite's log from being written back.
const READ_MAX: Duration = Duration::from_millis(20);

/// See the top.
#[derive(Debug)]
pub struct Asking {
    reader: Reader,
    reading_since: Option<Instant>,
}

impl Ledger {
    /// Asks with a connection of its own, which costs as much as some ten questions.
    pub fn asking(&self) -> Result<Asking, LedgerError> {
        Ok(Asking { reader: self.reader()?, reading_since: None })
    }
}

impl Asking {
    /// As [`Ledger::known_task`].
    pub fn known_task(&mut self, id: TaskId) -> Result<Option<KnownTask>, LedgerError> {
        self.ask(|connection| known_task(connection, id))
    }

    /// As [`Ledger::knows`].
    pub fn knows(&mut self, id: TaskId) -> Result<bool, LedgerError> {
        self.ask(|connection| knows(connection, id))
    }

    /// As [`Ledger::task_facts`].
    pub fn task_facts(&mut self, id: TaskId) -> Result<TaskFacts, LedgerError> {
        Ok(self.known_task(id)?.map_or_else(TaskFacts::default, facts))
    }

    fn ask<T>(&mut self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        let reading = self.reading_since;
        let goes_on = reading.is_some_and(|since| since.elapsed() < READ_MAX);
        if !goes_on {
            let sql = if reading.is_some() { "COMMIT; BEGIN" } else { "BEGIN" };
            self.reader.read(|connection| connection.execute_batch(sql))?;
            self.reading_since = Some(Instant::now());
        }
        self.reader.read(question)
    }
}
