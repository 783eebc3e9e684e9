//! A ledger rebuilt from what can still be read of a damaged one, and from `tasks.json`.
//!
//! Promise: no id changes: a row that can be read keeps its id, and a task that stands in `tasks.json` without a row is
//! an orphan, which the object that it is about gets back (`sync::action` `Adopt`). Nothing is thrown away: the damaged
//! file is moved aside, and a crash anywhere leaves either the old file or the new one, or both beside each other.
//! Not here: reading `tasks.json`, whether a repair is wanted (`project::repair`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::{self, sql_id};
use super::{IS_COPY, Ledger, LedgerError, beside, remove_if_there};
use crate::clock::UnixMillis;
use crate::names::{Sha256, TaskId};
use crate::settings::atomic;

/// A database is three files.
const ENDS: [&str; 3] = ["", "-wal", "-shm"];

/// What is read from a damaged ledger, in this order: rows refer to origins. Holds are seen again by themselves.
const TABLES: [(&str, &str); 6] = [
    ("meta", "name"),
    ("origins", "id"),
    ("tasks", "id"),
    ("older", "id, data_hash"),
    ("keys_without_id", "origin, key"),
    ("completions", "name"),
];

/// These must be learnt anew: what `tasks.json` and the target hold now counts.
const NOT_KEPT: &str = "DELETE FROM meta WHERE name IN ('tasks_print', 'target_listed')";

/// A ledger that is being built beside the one that it replaces.
#[derive(Debug)]
pub struct Rebuilding {
    path: PathBuf,
    new: PathBuf,
    ledger: Ledger,
    /// Rows that could be read.
    pub rows: u64,
}

impl Rebuilding {
    /// Reads what can be read of the ledger at `path`, which nobody may have open; `work_dir` takes a copy of it.
    pub fn begin(path: &Path, work_dir: &Path) -> Result<Self, LedgerError> {
        let fail = |source| LedgerError::File { path: path.display().to_string(), source };
        let new = beside(path, ".new");
        ENDS.iter().try_for_each(|end| remove_if_there(&beside(&new, end))).map_err(fail)?;
        let ledger = Ledger::open(&new)?;
        let mut this = Self { path: path.to_owned(), new, ledger, rows: 0 };
        if let Some(old) = this.readable().map_err(fail)? {
            // Opening a database changes it: what is damaged stays as it is.
            let copy = tempfile::Builder::new().prefix("repair-").tempdir_in(work_dir).map_err(fail)?;
            for end in ENDS {
                let (from, to) = (beside(&old, end), beside(&copy.path().join("old"), end));
                if from.exists() {
                    std::fs::copy(from, to).map_err(fail)?;
                }
            }
            let salvaged = this.ledger.transact(|tx| Ok(salvage(&copy.path().join("old"), tx)))?;
            this.rows = salvaged.rows;
            if let Some(highest) = salvaged.doubtful {
                this.ledger.note_highest(highest)?;
            }
        }
        this.ledger.transact(|tx| tx.execute(NOT_KEPT, []).map(drop))?;
        Ok(this)
    }

    /// The damaged ledger; where a repair died half-way, the one that it had moved aside.
    fn readable(&self) -> io::Result<Option<PathBuf>> {
        if self.path.metadata().is_ok_and(|meta| meta.len() > 0) {
            return Ok(Some(self.path.clone()));
        }
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(None) };
        let start = format!("{}.damaged-", name.to_string_lossy());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?.file_name().to_string_lossy().into_owned();
            if entry.starts_with(&start) && !entry.ends_with("-wal") && !entry.ends_with("-shm") {
                found.push(dir.join(entry));
            }
        }
        Ok(found.into_iter().max())
    }

    /// The new ledger, to be brought to what `tasks.json` holds.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Puts the new ledger in the old one's place; where the old one is now.
    pub fn finish(self, now: UnixMillis) -> Result<PathBuf, LedgerError> {
        let Self { path, new, ledger, .. } = self;
        ledger.read(|connection| connection.pragma_update(None, "journal_mode", "DELETE"))?;
        drop(ledger);
        let aside = beside(&path, &format!(".damaged-{}", now.0));
        let moved = File::open(&new).and_then(|file| file.sync_all()).and_then(|()| {
            for end in ENDS {
                match std::fs::rename(beside(&path, end), beside(&aside, end)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            std::fs::rename(&new, &path)?;
            atomic::sync_dir(path.parent().unwrap_or(Path::new(".")))
        });
        moved.map_err(|source| LedgerError::File { path: path.display().to_string(), source })?;
        Ok(aside)
    }
}

impl Ledger {
    /// Whether this is an `lsctl backup` that was put back: `tasks.json` may be ahead of it.
    pub fn is_copy(&self) -> Result<bool, LedgerError> {
        Ok(self.meta(IS_COPY)?.is_some())
    }

    /// What was to be learnt from `tasks.json` is.
    pub fn is_no_copy_now(&self) -> Result<(), LedgerError> {
        self.transact(|tx| {
            tx.execute(NOT_KEPT, [])?;
            tx.execute("DELETE FROM meta WHERE name = ?1", [IS_COPY]).map(drop)
        })
    }

    /// Takes note of tasks as they stand in `tasks.json`; how many had no row.
    pub fn reconcile(&self, tasks: &[StandingTask]) -> Result<u64, LedgerError> {
        self.transact(|tx| {
            let mut orphans = 0;
            for task in tasks {
                orphans += u64::from(reconcile_one(tx, task)?);
            }
            Ok(orphans)
        })
    }
}

/// A task as it stands in `tasks.json`.
#[derive(Clone, Debug)]
pub struct StandingTask {
    /// Its id.
    pub id: TaskId,
    /// Its JSON.
    pub text: String,
    /// Hash of its data.
    pub data_hash: Sha256,
    /// The first cloud URL of its data.
    pub url: Option<String>,
}

/// True: it had no row, and is an orphan now.
fn reconcile_one(tx: &Transaction, task: &StandingTask) -> rusqlite::Result<bool> {
    let id = sql_id(task.id);
    let known: Option<(Vec<u8>, i64, Option<String>)> = tx
        .prepare_cached("SELECT data_hash, state, form FROM tasks WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((data_hash, state, form)) = known else {
        tx.prepare_cached(
            "INSERT INTO tasks (id, state, settled, seen, body, data_hash, url, orphan) VALUES (?1, 3, 1, 1, ?2, ?3, ?4, 1)",
        )?
        .execute(params![id, task.text, task.data_hash.as_bytes(), task.url])?;
        return Ok(true);
    };
    // A JSON task follows its object: a later version than the ledger remembers is no other task. It is read again.
    if state == 0 && form.as_deref() == Some("json") && data_hash != task.data_hash.as_bytes() {
        tx.prepare_cached(
            "INSERT OR IGNORE INTO older (id, data_hash, nth)
             VALUES (?1, ?2, (SELECT coalesce(max(nth), 0) + 1 FROM older WHERE id = ?1))",
        )?
        .execute(params![id, task.data_hash.as_bytes()])?;
        tx.prepare_cached("UPDATE tasks SET etag = '' WHERE id = ?1")?.execute([id])?;
    }
    Ok(false)
}

/// What could be read of a damaged ledger.
#[derive(Default)]
struct Salvaged {
    /// Rows that were kept.
    rows: u64,
    /// The highest id whose row says another key than its index.
    doubtful: Option<TaskId>,
}

/// Copies every row that can be read and fits.
fn salvage(old: &Path, into: &Transaction) -> Salvaged {
    let Ok(connection) = Connection::open(old) else { return Salvaged::default() };
    let doubtful = doubtful(&connection).unwrap_or_default();
    let ids: Vec<String> = doubtful.iter().map(TaskId::to_string).collect();
    // Before any is copied: its key may be another row's.
    let believed = format!("WHERE id NOT IN ({})", ids.join(", "));
    let salvage = |(table, order): &(&str, &str)| {
        let which = if *table == "tasks" { believed.as_str() } else { "" };
        salvage_table(&connection, into, (table, which), order).unwrap_or(0)
    };
    Salvaged { rows: TABLES.iter().map(salvage).sum(), doubtful: doubtful.last().copied() }
}

/// Tasks whose key is another one in the row than in the index: nobody knows which is right. As orphans of `tasks.json`
/// their objects find them again.
fn doubtful(old: &Connection) -> rusqlite::Result<Vec<TaskId>> {
    let mut statement = old.prepare(
        "SELECT id FROM tasks AS r NOT INDEXED WHERE r.key IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM tasks AS i INDEXED BY one_id_a_key WHERE i.origin = r.origin AND i.key = r.key AND i.id = r.id)
         ORDER BY id",
    )?;
    let ids = statement.query_map([], |row| rows::id(row, 0))?;
    ids.collect()
}

/// From both ends: a damaged page in the middle costs its own rows and no others.
fn salvage_table(
    old: &Connection,
    into: &Transaction,
    (table, which): (&str, &str),
    order: &str,
) -> rusqlite::Result<u64> {
    let theirs = columns(old, table)?;
    let common: Vec<String> = columns(into, table)?.into_iter().filter(|name| theirs.contains(name)).collect();
    let (names, marks) = (common.join(", "), vec!["?"; common.len()].join(", "));
    let mut insert = into.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"))?;
    let mut kept = 0;
    for direction in ["ASC", "DESC"] {
        let order: Vec<String> = order.split(", ").map(|column| format!("{column} {direction}")).collect();
        let mut statement =
            old.prepare(&format!("SELECT {names} FROM {table} {which} ORDER BY {}", order.join(", ")))?;
        let mut rows = statement.query([])?;
        let end = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let values: rusqlite::Result<Vec<rusqlite::types::Value>> =
                (0..common.len()).map(|column| row.get(column)).collect();
            // What does not fit the rules is damage, too.
            let Ok(values) = values else { continue };
            kept += insert.execute(rusqlite::params_from_iter(values)).unwrap_or(0) as u64;
        };
        if end {
            break;
        }
    }
    Ok(kept)
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}
