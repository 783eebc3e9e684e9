//! What is remembered of unchanged parts of listings.
//!
//! Promise: what is remembered is true of the rows as they are: the ledger's triggers forget a stretch with every write to
//! a row of it, in the same transaction, and nothing is remembered that was read before such a write. All of it can be
//! forgotten at any time: the next look walks everything.
//! Not here: what a stretch is, when it may be passed over (`sync::stretches`).

use std::collections::VecDeque;

use rusqlite::types::Type;
use rusqlite::{Row, params};

use super::rows::{damaged, hash};
use super::{Ledger, LedgerError, Reader};
use crate::sync::stretches::Stretch;

/// Stretches read at once: with the longest keys, 128 KiB.
const BATCH: i64 = 64;

impl Ledger {
    /// Moves with every write to a row that a listing is compared with. What a walk finds is remembered only if this stands
    /// still from before its first row until it is written down.
    pub fn stretch_clock(&self) -> Result<i64, LedgerError> {
        self.read(|connection| connection.query_row("SELECT moves FROM stretch_clock", [], |row| row.get(0)))
    }

    /// Remembers these in place of all of the same keys; the clock to go on with. `None`, and nothing is, where it has moved.
    pub fn remember(&self, origin: i64, clock: i64, stretches: &[Stretch]) -> Result<Option<i64>, LedgerError> {
        self.transact(|tx| {
            // Also without a write to a row: another walk may have cut otherwise.
            let moved = "UPDATE stretch_clock SET moves = moves + 1 WHERE moves = ?1";
            if tx.execute(moved, [clock])? == 0 {
                return Ok(None);
            }
            stretches.iter().try_for_each(|stretch| remember_one(tx, origin, stretch))?;
            Ok(Some(clock + 1))
        })
    }
}

fn remember_one(tx: &rusqlite::Transaction, origin: i64, stretch: &Stretch) -> rusqlite::Result<()> {
    let Stretch { after, last, digest, tally } = stretch;
    tx.prepare_cached(
        "DELETE FROM stretches WHERE origin = ?1 AND (last IS NULL OR last > ?2)
         AND after = (SELECT max(after) FROM stretches WHERE origin = ?1 AND after < ?2)",
    )?
    .execute((origin, after))?;
    tx.prepare_cached("DELETE FROM stretches WHERE origin = ?1 AND after >= ?2 AND (?3 IS NULL OR after < ?3)")?
        .execute((origin, after, last))?;
    let tally = serde_json::to_string(tally).expect("counts are JSON");
    tx.prepare_cached("INSERT INTO stretches (origin, after, last, digest, tally) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![origin, after, last, digest.as_bytes(), tally])
        .map(|_| ())
}

/// What is remembered of one bucket, in order; read in batches, so that memory stays flat and no read is held open.
#[derive(Debug)]
pub struct Remembered {
    reader: Reader,
    origin: i64,
    batch: VecDeque<Stretch>,
    /// The start of the last one of the batch.
    at: Option<String>,
    ended: bool,
}

impl Reader {
    /// What is remembered of one bucket.
    pub fn remembered(self, origin: i64) -> Remembered {
        Remembered { reader: self, origin, batch: VecDeque::new(), at: None, ended: false }
    }
}

impl Remembered {
    fn fetch(&mut self) -> rusqlite::Result<()> {
        let from = if self.at.is_some() { "AND after > ?3" } else { "" };
        let sql = format!(
            "SELECT after, last, digest, tally FROM stretches WHERE origin = ?1 {from} ORDER BY after LIMIT ?2"
        );
        let mut statement = self.reader.connection.prepare_cached(&sql)?;
        let rows = match &self.at {
            Some(at) => statement.query_map((self.origin, BATCH, at), stretch)?,
            None => statement.query_map((self.origin, BATCH), stretch)?,
        };
        self.batch = rows.collect::<rusqlite::Result<_>>()?;
        self.at = self.batch.back().map(|last| last.after.clone());
        self.ended = self.batch.is_empty();
        Ok(())
    }
}

impl Iterator for Remembered {
    type Item = Result<Stretch, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty()
            && !self.ended
            && let Err(error) = self.fetch()
        {
            self.ended = true;
            return Some(Err(self.reader.failed(error)));
        }
        self.batch.pop_front().map(Ok)
    }
}

fn stretch(row: &Row) -> rusqlite::Result<Stretch> {
    let tally: String = row.get(3)?;
    let tally = serde_json::from_str(&tally).map_err(|error| damaged(3, Type::Text, error.to_string()))?;
    Ok(Stretch { after: row.get(0)?, last: row.get(1)?, digest: hash(row, 2)?, tally })
}

#[cfg(test)]
#[path = "stretches_tests.rs"]
mod tests;
