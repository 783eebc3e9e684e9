//! A ledger rebuilt from what can still be read of a damaged one, and from `tasks.json`.
//!
//! Promise: no id changes: a row that can be read keeps its id, and a task that stands in `tasks.json` without a row is
//! an orphan, which the object that it is about gets back (`sync::action` `Adopt`). Nothing is thrown away: the damaged
//! file is moved aside, and a crash anywhere leaves either the old file or the new one, or both beside each other.
//! Not here: reading `tasks.json`, whether a repair is wanted (`project::repair`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::{self, sql_id};
use super::{IS_COPY, Ledger, LedgerError, beside, remove_if_there, sums};
use crate::clock::UnixMillis;
use crate::names::{Sha256, TaskId};
use crate::settings::atomic;

/// A database is three files.
pub(super) const ENDS: [&str; 3] = ["", "-wal", "-shm"];

/// Damaged ledgers that are kept: a person asks for each repair, and a ledger may be some hundred MB.
const DAMAGED_KEPT: usize = 8;

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
const NOT_KEPT: &str = "DELETE FROM meta WHERE name IN ('tasks_print', 'tasks_born_ns', 'target_listed')";

/// A ledger that is being built beside the one that it replaces.
#[derive(Debug)]
pub struct Rebuilding {
    path: PathBuf,
    new: PathBuf,
    ledger: Ledger,
    /// Rows that could be read.
    pub rows: u64,
    /// Whose rows were kept though they do not fit their sums.
    pub doubt: Doubt,
}

impl Rebuilding {
    /// Reads what can be read of the ledger at `path`, which nobody may have open; `work_dir` takes a copy of it.
    pub fn begin(path: &Path, work_dir: &Path) -> Result<Self, LedgerError> {
        let fail = |source| LedgerError::File { path: path.display().to_string(), source };
        let new = beside(path, ".new");
        ENDS.iter().try_for_each(|end| remove_if_there(&beside(&new, end))).map_err(fail)?;
        let ledger = Ledger::open(&new)?;
        let mut this = Self { path: path.to_owned(), new, ledger, rows: 0, doubt: Doubt::default() };
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
            this.doubt.suspects = salvaged.suspects;
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
        Ok(moved_aside(&self.path)?.pop())
    }

    /// The new ledger, to be brought to what `tasks.json` holds.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Puts the new ledger in the old one's place; where the old one is now, if there was one.
    pub fn finish(self, now: UnixMillis) -> Result<Option<PathBuf>, LedgerError> {
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
        moved
            .and_then(|()| forget_oldest(&path))
            .map_err(|source| LedgerError::File { path: path.display().to_string(), source })?;
        Ok(aside.exists().then_some(aside))
    }
}

/// Damaged ledgers beside this one, oldest first.
fn moved_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let start = format!("{}.damaged-", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?.file_name().to_string_lossy().into_owned();
        if entry.starts_with(&start) && !entry.ends_with("-wal") && !entry.ends_with("-shm") {
            found.push(dir.join(entry));
        }
    }
    found.sort();
    Ok(found)
}

fn forget_oldest(path: &Path) -> io::Result<()> {
    let aside = moved_aside(path)?;
    let surplus = &aside[..aside.len().saturating_sub(DAMAGED_KEPT)];
    surplus.iter().flat_map(|old| ENDS.map(|end| beside(old, end))).try_for_each(|old| remove_if_there(&old))
}

impl Ledger {
    /// Whether this is an `lsctl backup` that was put back, or was begun anew: `tasks.json` may be ahead of it.
    pub fn is_copy(&self) -> Result<bool, LedgerError> {
        Ok(self.meta(IS_COPY)?.is_some())
    }

    /// `tasks.json` is ahead of it, as it is of a backup that was put back.
    pub fn note_behind(&self) -> Result<(), LedgerError> {
        self.set_meta(IS_COPY, "1")
    }

    /// What was to be learnt from `tasks.json` is.
    pub fn is_no_copy_now(&self) -> Result<(), LedgerError> {
        self.transact(|tx| {
            tx.execute(NOT_KEPT, [])?;
            tx.execute("DELETE FROM meta WHERE name = ?1", [IS_COPY]).map(drop)
        })
    }

    /// Takes note of tasks as they stand in `tasks.json`; how many had no row.
    pub fn reconcile(&self, tasks: &[StandingTask], doubt: &Doubt) -> Result<u64, LedgerError> {
        self.transact(|tx| {
            let mut orphans = 0;
            for task in tasks {
                orphans += u64::from(reconcile_one(tx, task, doubt.is_guess)?);
                if doubt.suspects.contains(&task.id) {
                    let sql =
                        "UPDATE tasks SET data_hash = ?2, body = CASE state WHEN 3 THEN ?3 ELSE body END WHERE id = ?1";
                    tx.prepare_cached(sql)?.execute((sql_id(task.id), task.data_hash.as_bytes(), &task.text))?;
                }
            }
            Ok(orphans)
        })
    }
}

/// What of the ledger is not believed, or not for certain.
#[derive(Default, Debug)]
pub struct Doubt {
    /// What the rows of these say.
    pub suspects: BTreeSet<TaskId>,
    /// That it is behind is only concluded: somebody may have made `tasks.json` anew, and Label Studio given ids again.
    pub is_guess: bool,
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

/// True: it is an orphan now.
fn reconcile_one(tx: &Transaction, task: &StandingTask, is_guess: bool) -> rusqlite::Result<bool> {
    let id = sql_id(task.id);
    // Whether it is a JSON task of ours with data that it never had.
    let is_later: Option<bool> = tx
        .prepare_cached(
            "SELECT state = 0 AND form IS 'json' AND data_hash <> ?2
             AND NOT EXISTS (SELECT 1 FROM older WHERE older.id = tasks.id AND older.data_hash = ?2)
             FROM tasks WHERE id = ?1",
        )?
        .query_row(params![id, task.data_hash.as_bytes()], |row| row.get(0))
        .optional()?;
    let (is_known, is_later) = (is_later.is_some(), is_later == Some(true));
    if !is_known || (is_later && is_guess) {
        // The object that holds these data gets the id back; where none does, it is an import under that id.
        tx.prepare_cached("DELETE FROM older WHERE id = ?1")?.execute([id])?;
        tx.prepare_cached(
            "INSERT OR REPLACE INTO tasks (id, state, settled, seen, body, data_hash, url, orphan)
             VALUES (?1, 3, 1, 1, ?2, ?3, ?4, 1)",
        )?
        .execute(params![id, task.text, task.data_hash.as_bytes(), task.url])?;
        return Ok(true);
    }
    // A JSON task follows its object: a later version than the ledger remembers is no other task. It is read again.
    if is_later {
        tx.prepare_cached(
            "INSERT INTO older (id, data_hash, nth)
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
    /// The highest id whose row says another key or state than its index.
    doubtful: Option<TaskId>,
    /// Rows of tasks that do not fit their sums, and whose keys and states do fit their indexes.
    suspects: BTreeSet<TaskId>,
}

/// Copies every row that can be read and fits.
fn salvage(old: &Path, into: &Transaction) -> Salvaged {
    let Ok(connection) = Connection::open(old) else { return Salvaged::default() };
    // Rows of a format without sums are all believed.
    let has_sums = sums::register(&connection).is_ok() && has_sums(&connection).unwrap_or(false);
    let doubtful = doubtful(&connection).unwrap_or_default();
    let ids: Vec<String> = doubtful.iter().map(TaskId::to_string).collect();
    // Before any is copied: its key may be another row's.
    let believed = format!("WHERE id NOT IN ({})", ids.join(", "));
    let mut salvaged = Salvaged { doubtful: doubtful.last().copied(), ..Salvaged::default() };
    for (table, order) in TABLES {
        let which = if table == "tasks" { believed.as_str() } else { "" };
        let is_sound = sums::SUMS.iter().find(|(with, _)| has_sums && *with == table);
        let is_sound = is_sound.map_or("1".to_owned(), |(_, columns)| format!("sum IS row_sum({columns})"));
        // What could be read until then is kept.
        let _ = salvage_table(&connection, into, &Part { table, which, order, is_sound }, &mut salvaged);
    }
    // Their objects are looked at again.
    for id in &salvaged.suspects {
        let _ = into.execute("UPDATE tasks SET etag = '' WHERE id = ?1 AND key IS NOT NULL", [sql_id(*id)]);
    }
    salvaged
}

fn has_sums(old: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM pragma_table_xinfo('tasks') WHERE name = 'sum'";
    old.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|columns| columns == 1)
}

/// Tasks whose key or state is another one in the row than in the index: nobody knows which is right. As orphans of `tasks.json`
/// their objects find them again.
fn doubtful(old: &Connection) -> rusqlite::Result<Vec<TaskId>> {
    let mut statement = old.prepare(
        "SELECT id FROM tasks AS r NOT INDEXED WHERE (r.key IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM tasks AS i INDEXED BY one_id_a_key WHERE i.origin = r.origin AND i.key = r.key AND i.id = r.id))
         OR NOT EXISTS (SELECT 1 FROM tasks AS s INDEXED BY states WHERE s.state = r.state AND s.id = r.id)
         ORDER BY id",
    )?;
    let ids = statement.query_map([], |row| rows::id(row, 0))?;
    ids.collect()
}

/// Which rows of a damaged ledger are read, and how.
struct Part<'a> {
    table: &'a str,
    which: &'a str,
    order: &'a str,
    is_sound: String,
}

/// From both ends: a damaged page in the middle costs its own rows and no others.
fn salvage_table(
    old: &Connection,
    into: &Transaction,
    Part { table, which, order, is_sound }: &Part,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let theirs = columns(old, table)?;
    let common: Vec<String> = columns(into, table)?.into_iter().filter(|name| theirs.contains(name)).collect();
    let (names, marks) = (common.join(", "), vec!["?"; common.len()].join(", "));
    let mut insert = into.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"))?;
    for direction in ["ASC", "DESC"] {
        let order: Vec<String> = order.split(", ").map(|column| format!("{column} {direction}")).collect();
        let mut statement =
            old.prepare(&format!("SELECT {names}, {is_sound} FROM {table} {which} ORDER BY {}", order.join(", ")))?;
        let mut rows = statement.query([])?;
        let end = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let values: rusqlite::Result<Vec<Value>> = (0..common.len()).map(|column| row.get(column)).collect();
            // What does not fit the rules is damage, too.
            let Ok(values) = values else { continue };
            if !row.get::<_, bool>(common.len())? && !is_kept_though_wrong(table, &common, &values, salvaged) {
                continue;
            }
            salvaged.rows += insert.execute(rusqlite::params_from_iter(values)).unwrap_or(0) as u64;
        };
        if end {
            break;
        }
    }
    Ok(())
}

/// Of a row that does not fit its sum. What was in step is found out anew from file and object, names and numbers of the
/// project from the project; an id or a deletion that were forgotten would be lost.
fn is_kept_though_wrong(table: &str, columns: &[String], values: &[Value], salvaged: &mut Salvaged) -> bool {
    let value = |name: &str| columns.iter().position(|column| column == name).and_then(|at| values.get(at));
    match table {
        "tasks" => {
            let Some(Value::Integer(id)) = value("id") else { return false };
            let Ok(id) = rows::id_of(*id, 0) else { return false };
            salvaged.suspects.insert(id);
            true
        }
        "keys_without_id" | "older" => true,
        "completions" => value("state") == Some(&Value::Text("buried".to_owned())),
        _ => false,
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}
