//! The index of a source in the ledger, in byte order of keys.
//!
//! Promise: memory does not grow with the ledger, no read is held open, a row costs no allocation.
//! Not here: what a row means beside a listing (`sync::source`).

use std::ops::Range;

use rusqlite::Row;
use rusqlite::types::Type;

use super::rows::{damaged, form_of, id_of, state};
use super::{LedgerError, Reader};
use crate::sync::action::Form;
use crate::sync::index::{Index, KnownRef, KnownState};
use crate::sync::near::TaskState;

/// Rows read at once: enough that the query costs little, few enough that a look at one changed key does not read many.
const BATCH_ROWS: i64 = 1_024;

/// A key is in one of the two tables, never in both: `reserve_one` and `near_one` see to it.
const FIRST: &str = "SELECT key, etag, copied, id, state, form, gone, 0, bad IS NOT NULL FROM tasks
                     WHERE origin = ?1 AND key IS NOT NULL";
const SECOND: &str = "SELECT key, etag, NULL, NULL, 0, NULL, 0, retired, 0 FROM keys_without_id WHERE origin = ?1";

/// Rows of the index, read in batches so that memory stays flat and no read is held open.
#[derive(Debug)]
pub struct KnownRows {
    reader: Reader,
    origin: i64,
    batch: Batch,
    /// The row at hand, in the batch.
    at: usize,
    /// Rows after this key come next, when the batch is at its end.
    after: Option<String>,
    ended: bool,
}

/// Rows with their texts in one piece.
#[derive(Debug, Default)]
struct Batch {
    text: String,
    rows: Vec<Place>,
    /// Mostly one: tasks of a source are made in the same form.
    forms: Vec<(String, Form)>,
}

#[derive(Debug)]
struct Place {
    key: Range<usize>,
    etag: Range<usize>,
    copied: Option<Range<usize>>,
    /// The form by its place in `forms`.
    state: KnownState<usize>,
    bad: bool,
}

impl KnownRows {
    pub(super) fn new(reader: Reader, origin: i64) -> Self {
        Self { reader, origin, batch: Batch::default(), at: 0, after: None, ended: false }
    }

    /// Reads the rows after the last one of the batch, in its place.
    fn fetch(&mut self) -> rusqlite::Result<()> {
        let from = if self.after.is_some() { "AND key > ?3" } else { "" };
        let sql = format!("{FIRST} {from} UNION ALL {SECOND} {from} ORDER BY key LIMIT ?2");
        let mut statement = self.reader.connection.prepare_cached(&sql)?;
        let mut rows = match &self.after {
            Some(after) => statement.query((self.origin, BATCH_ROWS, after))?,
            None => statement.query((self.origin, BATCH_ROWS))?,
        };
        self.batch.text.clear();
        self.batch.rows.clear();
        while let Some(row) = rows.next()? {
            self.batch.take(row)?;
        }
        self.after =
            self.batch.rows.last().map(|last| self.batch.text[last.key.clone()].to_owned()).or(self.after.take());
        self.at = 0;
        self.ended = self.batch.rows.is_empty();
        Ok(())
    }
}

impl Index for KnownRows {
    type Error = LedgerError;

    fn row(&mut self) -> Result<Option<KnownRef<'_>>, LedgerError> {
        if self.at == self.batch.rows.len() && !self.ended {
            let fetched = self.fetch();
            self.ended |= fetched.is_err();
            fetched.map_err(|error| self.reader.failed(error))?;
        }
        Ok(self.batch.rows.get(self.at).map(|place| self.batch.row(place)))
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.batch.rows.len());
    }

    /// What is not in the batch is not read.
    fn skip_past(&mut self, last: Option<&str>) -> Result<(), LedgerError> {
        let rows = &self.batch.rows;
        let is_past = |place: &Place| last.is_none_or(|last| self.batch.text[place.key.clone()] <= *last);
        self.at += rows[self.at..].partition_point(is_past);
        match last {
            None => self.ended = true,
            Some(last) if self.at == rows.len() && self.after.as_deref().is_none_or(|after| after < last) => {
                self.after = Some(last.to_owned());
            }
            Some(_) => {}
        }
        Ok(())
    }
}

impl Batch {
    fn row(&self, place: &Place) -> KnownRef<'_> {
        let text = |range: &Range<usize>| &self.text[range.clone()];
        let state = match place.state {
            KnownState::Live { id, form, gone } => KnownState::Live { id, form: &self.forms[form].1, gone },
            KnownState::Hidden { id, removed } => KnownState::Hidden { id, removed },
            KnownState::Retired => KnownState::Retired,
            KnownState::Quarantined => KnownState::Quarantined,
        };
        let copied = place.copied.as_ref().map(text);
        KnownRef { key: text(&place.key), etag: text(&place.etag), state, copied, bad: place.bad }
    }

    /// `key, etag, copied, id, state, form, gone, retired, bad`; `id` is NULL in `keys_without_id`.
    fn take(&mut self, row: &Row) -> rusqlite::Result<()> {
        let key = self.text(row, 0)?.unwrap_or_default();
        let etag = self.text(row, 1)?.unwrap_or_default();
        let copied = self.text(row, 2)?;
        let Some(id) = row.get::<_, Option<i64>>(3)? else {
            let state = if row.get(7)? { KnownState::Retired } else { KnownState::Quarantined };
            self.rows.push(Place { key, etag, copied, state, bad: false });
            return Ok(());
        };
        let id = id_of(id, 3)?;
        let state = match state(row, 4)? {
            TaskState::Live => KnownState::Live { id, form: self.form(row)?, gone: row.get(6)? },
            // Without a version the object was never read.
            TaskState::Hidden => KnownState::Hidden { id, removed: row.get(6)? || etag.is_empty() },
            TaskState::Retired | TaskState::Foreign | TaskState::Spent => KnownState::Retired,
        };
        self.rows.push(Place { key, etag, copied, state, bad: row.get(8)? });
        Ok(())
    }

    fn text(&mut self, row: &Row, column: usize) -> rusqlite::Result<Option<Range<usize>>> {
        let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
        let start = self.text.len();
        self.text.push_str(text);
        Ok(Some(start..self.text.len()))
    }

    fn form(&mut self, row: &Row) -> rusqlite::Result<usize> {
        let Some(text) = row.get_ref(5)?.as_str_or_null()? else {
            return Err(damaged(5, Type::Null, "a task of ours without form".to_owned()));
        };
        if let Some(known) = self.forms.iter().rposition(|(known, _)| known == text) {
            return Ok(known);
        }
        self.forms.push((text.to_owned(), form_of(text, 5)?));
        Ok(self.forms.len() - 1)
    }
}
