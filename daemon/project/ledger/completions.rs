//! Completions in the ledger: what was last in step, and what is in dispute.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, damaged};
use super::{Ledger, LedgerError, Reader, set_meta};
use crate::clock::UnixMillis;
use crate::names::{ETag, TaskId};
use crate::project::files::Fingerprint;
use crate::sync::action::Dispute;
use crate::sync::completions::{Recorded, RecordedState, Resolution};

/// A recorded completion with the fingerprint of its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompletionRow {
    /// Its task.
    pub id: TaskId,
    /// What was in step.
    pub recorded: Recorded,
    /// The fingerprint of the file that was read last.
    pub print: Option<String>,
}

impl CompletionRow {
    /// Whether the file with this fingerprint is the one that the row tells of: it needs no reading then. Of a deleted one, or
    /// one whose push has no receipt, the row tells something else.
    pub fn tells_of(&self, print: &Fingerprint) -> bool {
        let is_receipt = self.recorded.begun.is_none() && self.recorded.state != RecordedState::Buried;
        is_receipt && self.print.as_deref() == Some(&print.to_string())
    }

    /// When the file that was read last was written, nanoseconds since 1970; `None`: there was none.
    pub fn last_written_ns(&self) -> Option<i64> {
        Some(self.print.as_ref()?.parse::<Fingerprint>().ok()?.mtime_ns)
    }
}

/// A receipt, or the note of a push that is going to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompletionWrite {
    /// The row as it should be.
    pub row: CompletionRow,
    /// Stable code, for `lsctl list`.
    pub reason: String,
    /// For a person.
    pub detail: String,
}

/// How many completions there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CompletionCounts {
    /// In step.
    pub in_step: u64,
    /// In dispute.
    pub disputed: u64,
    /// Gone from the target.
    pub missing: u64,
    /// Of those in dispute: older than what is in the target.
    pub older_here: u64,
}

/// The name under which they are kept.
const TARGET_PLACES: &str = "target_places";

/// The name of the place that was listed whole.
const TARGET_LISTED: &str = "target_listed";

/// The name of the place where the mark was made.
const TARGET_MARKED: &str = "target_marked";

/// Places that completions went to, remembered so that what stands there is never taken for a task; older ones than
/// these were changed by hand a hundred times ago.
const PLACES_MAX: usize = 100;

const COLUMNS: &str =
    "name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason";

impl Ledger {
    /// The first rows, as [`Reader::completion_rows`] gives them: where these are all, no connection is opened for them.
    pub fn first_completion_rows(&self, limit: usize) -> Result<Vec<CompletionRow>, LedgerError> {
        self.read(|connection| completion_rows(connection, "", limit))
    }

    /// One row.
    pub fn completion(&self, id: TaskId) -> Result<Option<CompletionRow>, LedgerError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM completions WHERE name = ?1");
            connection.prepare_cached(&sql)?.query_row([id.to_string()], completion).optional()
        })
    }

    /// Notes or receipts, all or none.
    pub fn record_completions(&self, writes: &[CompletionWrite], now: UnixMillis) -> Result<(), LedgerError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.transact(|tx| {
            let mut statement = tx.prepare_cached(
                "INSERT OR REPLACE INTO completions
                 (name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason, detail, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            for CompletionWrite { row, reason, detail } in writes {
                let b = &row.recorded;
                let (disputed_sha, disputed_etag) = b.disputed.clone().unwrap_or_default();
                statement.execute(params![
                    row.id.to_string(),
                    state_text(b.state),
                    b.sha.map(|s| *s.as_bytes()),
                    b.etag.as_ref().map(ETag::as_str),
                    b.data_hash.map(|s| *s.as_bytes()),
                    row.print,
                    disputed_sha.map(|s| *s.as_bytes()),
                    disputed_etag.as_ref().map(ETag::as_str),
                    b.resolution.map(resolution_text),
                    b.begun.map(|s| *s.as_bytes()),
                    reason,
                    detail,
                    now.0,
                ])?;
            }
            Ok(())
        })
    }

    /// Completions go to this place (`s3://bucket/done/`) from now on. True if it was another one before: what was in
    /// step there says nothing of this one, so only what was deleted here stays recorded.
    pub fn go_to_target(&self, place: &str) -> Result<bool, LedgerError> {
        let mut places = self.target_places()?;
        if places.last().is_some_and(|last| last == place) {
            return Ok(false);
        }
        let another = !places.is_empty();
        places.retain(|known| known != place);
        places.push(place.to_owned());
        let surplus = places.len().saturating_sub(PLACES_MAX);
        let text = serde_json::Value::from(places.split_off(surplus)).to_string();
        self.transact(|tx| {
            if another {
                tx.execute("DELETE FROM completions WHERE state <> 'buried'", [])?;
                tx.execute("UPDATE completions SET etag = NULL, begun = NULL", [])?;
            }
            set_meta(tx, TARGET_PLACES, &text)
        })?;
        Ok(another)
    }

    /// The target was listed whole: no new id is one that it holds a completion for (contract C5).
    pub fn note_target_listed(&self, place: &str, highest: Option<TaskId>) -> Result<(), LedgerError> {
        if let Some(highest) = highest {
            self.note_highest(highest)?;
        }
        if self.is_target_listed(place)? {
            return Ok(());
        }
        self.set_meta(TARGET_LISTED, place)
    }

    /// Whether this place was ever listed whole since completions go there.
    pub fn is_target_listed(&self, place: &str) -> Result<bool, LedgerError> {
        Ok(self.meta(TARGET_LISTED)?.is_some_and(|listed| listed == place))
    }

    /// The mark was made at this place.
    pub fn note_target_marked(&self, place: &str) -> Result<(), LedgerError> {
        if self.is_target_marked(place)? {
            return Ok(());
        }
        self.set_meta(TARGET_MARKED, place)
    }

    /// Whether the mark was made at this place since completions go there.
    pub fn is_target_marked(&self, place: &str) -> Result<bool, LedgerError> {
        Ok(self.meta(TARGET_MARKED)?.is_some_and(|marked| marked == place))
    }

    /// Every place that completions went to, the present one last.
    pub fn target_places(&self) -> Result<Vec<String>, LedgerError> {
        let Some(text) = self.meta(TARGET_PLACES)? else { return Ok(Vec::new()) };
        serde_json::from_str(&text).map_err(|error| LedgerError::Damaged {
            path: self.path.display().to_string(),
            detail: format!("{TARGET_PLACES}: {error}"),
        })
    }

    /// How a person ended a dispute, or that what is missing in the target is wanted there again. False where there is
    /// neither of this id.
    pub fn resolve(&self, id: TaskId, resolution: Resolution) -> Result<bool, LedgerError> {
        let sql = "UPDATE completions SET resolution = ?2
                   WHERE name = ?1 AND (state = 'disputed' OR (state = 'missing' AND ?2 = 'local'))";
        self.transact(|tx| Ok(tx.execute(sql, (id.to_string(), resolution_text(resolution)))? == 1))
    }

    /// All that are missing in the target are wanted there again; how many.
    pub fn push_missing_again(&self) -> Result<u64, LedgerError> {
        let sql = "UPDATE completions SET resolution = 'local' WHERE state = 'missing'";
        self.transact(|tx| Ok(tx.execute(sql, [])? as u64))
    }

    /// How a person ended all disputes about files that are older than what is in the target; how many.
    pub fn resolve_older(&self, resolution: Resolution) -> Result<u64, LedgerError> {
        let sql = "UPDATE completions SET resolution = ?1 WHERE state = 'disputed' AND reason = 'older_here'";
        self.transact(|tx| Ok(tx.execute(sql, [resolution_text(resolution)])? as u64))
    }

    /// Rows whose push has no receipt, or whose dispute a person has ended: these are looked at in every cycle.
    pub fn completions_in_hand(&self, limit: usize) -> Result<Vec<TaskId>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name FROM completions WHERE begun IS NOT NULL OR resolution IS NOT NULL ORDER BY name LIMIT ?1",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ids = statement.query_map([limit], |row| name(row, 0))?;
            ids.collect()
        })
    }

    /// Ids that have an object in the target, one in dispute too.
    pub fn pushed_ids(&self) -> Result<Vec<TaskId>, LedgerError> {
        self.ids_where(
            "CASE state WHEN 'missing' THEN 0 WHEN 'disputed' THEN disputed_etag IS NOT NULL ELSE etag IS NOT NULL END",
        )
    }

    /// Ids that are in dispute.
    pub fn disputed_ids(&self) -> Result<Vec<TaskId>, LedgerError> {
        self.ids_where("state = 'disputed'")
    }

    fn ids_where(&self, condition: &str) -> Result<Vec<TaskId>, LedgerError> {
        self.read(|connection| {
            let sql = format!("SELECT name FROM completions WHERE {condition} ORDER BY name");
            let mut statement = connection.prepare_cached(&sql)?;
            let ids = statement.query_map([], |row| name(row, 0))?;
            ids.collect()
        })
    }

    /// How many completions there are.
    pub fn completion_counts(&self) -> Result<CompletionCounts, LedgerError> {
        Ok(CompletionCounts {
            in_step: self.count("SELECT count(*) FROM completions WHERE state = 'in_step'")?,
            disputed: self.count("SELECT count(*) FROM completions WHERE state = 'disputed'")?,
            missing: self.count("SELECT count(*) FROM completions WHERE state = 'missing'")?,
            older_here: self
                .count("SELECT count(*) FROM completions WHERE state = 'disputed' AND reason = 'older_here'")?,
        })
    }
}

impl Reader {
    /// Every row in the order of its decimal name (`10` before `2`), as the target lists.
    pub fn completion_rows(&self, after: &str, limit: usize) -> Result<Vec<CompletionRow>, LedgerError> {
        self.read(|connection| completion_rows(connection, after, limit))
    }
}

fn completion_rows(connection: &Connection, after: &str, limit: usize) -> rusqlite::Result<Vec<CompletionRow>> {
    let sql = format!("SELECT {COLUMNS} FROM completions WHERE name > ?1 ORDER BY name LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_map((after, limit), completion)?.collect()
}

fn name(row: &Row, index: usize) -> rusqlite::Result<TaskId> {
    let text: String = row.get(index)?;
    TaskId::parse(&text).ok_or_else(|| damaged(index, rusqlite::types::Type::Text, format!("no task id: {text}")))
}

fn completion(row: &Row) -> rusqlite::Result<CompletionRow> {
    let text: String = row.get(1)?;
    let reason: String = row.get(10)?;
    let disputed = (rows::optional_hash(row, 6)?, rows::etag(row, 7)?);
    let state =
        state(&text, &reason).ok_or_else(|| damaged(1, rusqlite::types::Type::Text, format!("no state: {text}")))?;
    let resolution = match row.get::<_, Option<String>>(8)?.as_deref() {
        Some("local") => Some(Resolution::Local),
        Some("remote") => Some(Resolution::Remote),
        _ => None,
    };
    let recorded = Recorded {
        state,
        sha: rows::optional_hash(row, 2)?,
        etag: rows::etag(row, 3)?,
        data_hash: rows::optional_hash(row, 4)?,
        disputed: matches!(state, RecordedState::Disputed(_) | RecordedState::Quarantined).then_some(disputed),
        resolution,
        begun: rows::optional_hash(row, 9)?,
    };
    Ok(CompletionRow { id: name(row, 0)?, recorded, print: row.get(5)? })
}

fn state_text(state: RecordedState) -> &'static str {
    match state {
        RecordedState::InStep => "in_step",
        RecordedState::Buried => "buried",
        RecordedState::Missing => "missing",
        RecordedState::Disputed(_) => "disputed",
        RecordedState::Quarantined => "quarantined",
        RecordedState::Begun => "begun",
    }
}

fn state(text: &str, reason: &str) -> Option<RecordedState> {
    Some(match text {
        "in_step" => RecordedState::InStep,
        "buried" => RecordedState::Buried,
        "missing" => RecordedState::Missing,
        "disputed" => RecordedState::Disputed(Dispute::parse(reason)?),
        "quarantined" => RecordedState::Quarantined,
        "begun" => RecordedState::Begun,
        _ => return None,
    })
}

fn resolution_text(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Local => "local",
        Resolution::Remote => "remote",
    }
}
