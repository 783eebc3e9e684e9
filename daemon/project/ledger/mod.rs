//! The ledger: the durable index of one project, and the truth about ids.
//!
//! Promise: an id is written down before it is used and never given to another key; what cannot be read is an error,
//! never an empty ledger. One writer (a lock, held for one transaction), any number of readers.
//! Not here: what should be written (`sync`), when (`run`).

mod asking;
mod completions;
mod known;
mod near_file;
mod repair;
mod rows;
mod scan;
mod schema;
mod stretches;
mod sums;
mod tasks;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

pub use self::asking::Asking;
pub use self::completions::{CompletionCounts, CompletionRow, CompletionWrite};
pub use self::known::KnownRows;
pub use self::repair::{Doubt, Rebuilding, StandingTask};
pub use self::rows::{Moved, NearChange, PendingTask, StoredTask};
pub use self::stretches::Remembered;
pub use self::tasks::TaskCounts;
use crate::clock::UnixMillis;
use crate::meters::errno;

/// The ledger of one project.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
    /// Held for the length of one transaction, never across a wait: both directions of a project write here.
    writer: Mutex<Connection>,
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Written by a newer labelsync.
    #[error("the ledger {path} has format {found}, this labelsync knows {known}")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The project is known and its ledger is not there, or empty: never taken for a project without tasks.
    #[error("the ledger {path} is not there, though its project is known")]
    Missing {
        /// The file.
        path: String,
    },
    /// Another file stands in its place: what is written here would be lost, what is read there is not what was written.
    #[error("the ledger {path} was replaced by another file while it was in use")]
    Replaced {
        /// The file.
        path: String,
    },
    /// It is sound, and another project's.
    #[error("the ledger {path} is the one of project {found}")]
    Foreign {
        /// The file.
        path: String,
        /// Whose it is.
        found: String,
    },
    /// A file beside it.
    #[error("{path} cannot be written")]
    File {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is there and is no ledger.
    #[error("the ledger {path} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// SQLite failed.
    #[error("the ledger {path} cannot be used")]
    Sqlite {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A rule that must hold does not: nothing was written.
    #[error("the ledger {path} refuses: {rule}")]
    Broken {
        /// The file.
        path: String,
        /// The rule and what would break it.
        rule: String,
    },
}

impl LedgerError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "ledger_newer",
            Self::Damaged { .. } => "ledger_damaged",
            Self::Missing { .. } => "ledger_missing",
            Self::Replaced { .. } => "ledger_replaced",
            Self::Foreign { .. } => "ledger_foreign",
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "disk_full",
            Self::File { .. } => "ledger_error",
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => "disk_full",
                Some(rusqlite::ErrorCode::ReadOnly) => "read_only",
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => "ledger_damaged",
                None if is_nonsense(source) => "ledger_damaged",
                _ => "ledger_error",
            },
            Self::Broken { .. } => "invariant_broken",
        }
    }

    /// The system's error behind it, by its name; `None`: the system had no part in it.
    pub fn errno(&self) -> Option<&'static str> {
        match self {
            Self::File { source, .. } => errno(source),
            Self::Sqlite { source, .. } => sqlite_errno(source),
            Self::Newer { .. }
            | Self::Missing { .. }
            | Self::Replaced { .. }
            | Self::Foreign { .. }
            | Self::Damaged { .. }
            | Self::Broken { .. } => None,
        }
    }

    /// Whether a repair is what it needs.
    pub fn is_repairable(&self) -> bool {
        matches!(self.code(), "ledger_damaged" | "ledger_missing")
    }

    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self.code() {
            "ledger_newer" => "start the labelsync that wrote it, or a newer one",
            "ledger_damaged" | "ledger_missing" => {
                "`lsctl repair` rebuilds it with the same ids from what can still be read of it and from the project"
            }
            "ledger_replaced" => {
                "nothing: labelsync opens the one that is there now; put ledgers back while labelsyncd is stopped"
            }
            "ledger_foreign" => {
                "put the project's own back; where it is lost, move this one away: `lsctl repair` makes a new one with the \
                 same ids"
            }
            "disk_full" => "free space in the state directory; labelsync goes on by itself",
            "read_only" => "make the state directory writable for labelsyncd",
            "invariant_broken" => "this is a fault of labelsync: keep the ledger and the log, and report it",
            _ => "check the state directory's disk and permissions; labelsync tries again",
        }
    }
}

/// What SQLite makes of the system's error, as the system calls it.
pub(super) fn sqlite_errno(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        rusqlite::ErrorCode::DiskFull => Some("ENOSPC"),
        rusqlite::ErrorCode::ReadOnly => Some("EROFS"),
        rusqlite::ErrorCode::PermissionDenied => Some("EACCES"),
        rusqlite::ErrorCode::SystemIoFailure => Some("EIO"),
        rusqlite::ErrorCode::CannotOpen => Some("other"),
        _ => None,
    }
}

/// A value that nobody has written.
fn is_nonsense(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, Utf8Error(..) | FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..))
}

/// In a backup: the name under which it says so.
const IS_COPY: &str = "is_copy";

/// The file of this name with more at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Device and inode of the file at the path.
fn file_at(path: &Path) -> Result<(u64, u64), LedgerError> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok((meta.dev(), meta.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(LedgerError::Missing { path: path.display().to_string() })
        }
        Err(source) => Err(LedgerError::File { path: path.display().to_string(), source }),
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A hold as it is recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldRow {
    /// Names what was seen.
    pub id: String,
    /// Stable code.
    pub code: String,
    /// With its numbers.
    pub message: String,
    /// What accepting does.
    pub consequence: String,
    /// Since when.
    pub since: UnixMillis,
    /// The operator released it.
    pub accepted: bool,
}

impl Ledger {
    /// Opens the ledger, makes it where there is none, and brings an older format up to date.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        let fail = |source| LedgerError::Sqlite { path: path.display().to_string(), source };
        let mut connection = connection.map_err(fail)?;
        schema::configure(&connection).map_err(fail)?;
        schema::migrate(&mut connection, path)?;
        let file = file_at(path)?;
        Ok(Self { path: path.to_owned(), file, writer: Mutex::new(connection) })
    }

    /// Whether what stands at its path is what was opened: SQLite goes on with a file that has lost its name.
    pub fn is_in_place(&self) -> Result<(), LedgerError> {
        let path = || self.path.display().to_string();
        match file_at(&self.path)? {
            there if there == self.file => Ok(()),
            _ => Err(LedgerError::Replaced { path: path() }),
        }
    }

    /// Whether it is this project's; one that does not say whose it is becomes it.
    pub fn is_of(&self, project: &str) -> Result<(), LedgerError> {
        match self.meta_or_set("project", project)? {
            found if found == project => Ok(()),
            found => Err(LedgerError::Foreign { path: self.path.display().to_string(), found }),
        }
    }

    /// Removes a ledger that nobody has open.
    pub fn remove(path: &Path) -> std::io::Result<()> {
        repair::ENDS.iter().try_for_each(|end| remove_if_there(&beside(path, end)))
    }

    /// Opens the ledger of a project that is known: it must be there and sound. What is damaged, cut or missing is an
    /// error, never an empty ledger (promises 16, 41).
    pub fn open_known(path: &Path) -> Result<Self, LedgerError> {
        let path_text = || path.display().to_string();
        schema::drop_others_log(path).map_err(|source| LedgerError::File { path: path_text(), source })?;
        match std::fs::metadata(path) {
            // With its log beside it, the end may be on its way from there.
            Ok(meta) if meta.len() % schema::PAGE_BYTES != 0 && !beside(path, "-wal").exists() => {
                let detail = format!("it ends in the middle, after {} bytes", meta.len());
                return Err(LedgerError::Damaged { path: path_text(), detail });
            }
            Ok(meta) if meta.len() > 0 => {}
            Ok(_) => return Err(LedgerError::Missing { path: path_text() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LedgerError::Missing { path: path_text() });
            }
            Err(source) => return Err(LedgerError::File { path: path_text(), source }),
        }
        if !schema::is_ledger(path)? {
            return Err(LedgerError::Missing { path: path_text() });
        }
        let ledger = Self::open(path)?;
        ledger.check()?;
        Ok(ledger)
    }

    /// Reads the whole file for damage: rows are compared with indexes and with their sums.
    pub fn check(&self) -> Result<(), LedgerError> {
        let found: String =
            self.read(|connection| connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))?;
        let wrong = if found != "ok" {
            Some(found.replace('\n', " "))
        } else if !self.read(schema::is_as_made)? {
            Some("its tables are not as they were made".to_owned())
        } else {
            self.read(sums::first_wrong)?.map(|table| format!("a row of {table} is not as it was written"))
        };
        wrong.map_or(Ok(()), |detail| Err(LedgerError::Damaged { path: self.path.display().to_string(), detail }))
    }

    /// A connection of its own that only reads, for scans beside the writer.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        self.is_in_place()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(|e| self.failed(e))?;
        schema::configure_reader(&connection).map_err(|e| self.failed(e))?;
        Ok(Reader { path: self.path.clone(), connection })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A named value of the project.
    pub fn meta(&self, name: &str) -> Result<Option<String>, LedgerError> {
        self.read(|connection| meta(connection, name))
    }

    /// Sets a named value of the project.
    pub fn set_meta(&self, name: &str, value: &str) -> Result<(), LedgerError> {
        self.transact(|tx| set_meta(tx, name, value))
    }

    /// The named value; where there is none yet, it becomes this one.
    pub fn meta_or_set(&self, name: &str, value: &str) -> Result<String, LedgerError> {
        if let Some(there) = self.meta(name)? {
            return Ok(there);
        }
        self.set_meta(name, value)?;
        Ok(value.to_owned())
    }

    /// Every hold, released or not.
    pub fn holds(&self) -> Result<Vec<HoldRow>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, code, message, consequence, since, accepted FROM holds ORDER BY since, id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(HoldRow {
                    id: row.get(0)?,
                    code: row.get(1)?,
                    message: row.get(2)?,
                    consequence: row.get(3)?,
                    since: UnixMillis(row.get(4)?),
                    accepted: row.get(5)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Records what is held under `code` now, in place of what was held under it before; `None`: nothing is.
    /// A hold of the same id keeps its `since` and whether it was released.
    pub fn hold(&self, code: &str, hold: Option<&HoldRow>) -> Result<(), LedgerError> {
        self.transact(|tx| {
            let id = hold.map_or("", |h| h.id.as_str());
            tx.execute("DELETE FROM holds WHERE code = ?1 AND id <> ?2", (code, id))?;
            if let Some(h) = hold {
                tx.execute(
                    "INSERT INTO holds (id, code, message, consequence, since, accepted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (id) DO UPDATE SET message = excluded.message, consequence = excluded.consequence",
                    (&h.id, &h.code, &h.message, &h.consequence, h.since.0, h.accepted),
                )?;
            }
            Ok(())
        })
    }

    /// Releases the hold of this id. False where there is none.
    pub fn accept(&self, id: &str) -> Result<bool, LedgerError> {
        self.transact(|tx| Ok(tx.execute("UPDATE holds SET accepted = 1 WHERE id = ?1", [id])? == 1))
    }

    /// Writes a consistent copy of the whole ledger to a new file.
    pub fn backup_to(&self, file: &Path) -> Result<(), LedgerError> {
        let reader = self.reader()?;
        reader.connection.backup("main", file, None::<fn(rusqlite::backup::Progress)>).map_err(|e| self.failed(e))?;
        // Whoever opens the copy knows that it is one, and may be behind `tasks.json`.
        let copy = Connection::open(file).map_err(|e| self.failed(e))?;
        copy.pragma_update(None, "journal_mode", "DELETE").map_err(|e| self.failed(e))?;
        sums::register(&copy).map_err(|e| self.failed(e))?;
        set_meta(&copy, IS_COPY, "1").map_err(|e| self.failed(e))
    }

    /// One transaction; what it returns is durable when this returns.
    fn transact<T>(&self, work: impl FnOnce(&rusqlite::Transaction) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        let mut connection = self.lock();
        let done = (|| {
            let tx = connection.transaction()?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        })();
        done.map_err(|e| self.failed(e))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        work(&self.lock()).map_err(|e| self.failed(e))
    }

    /// The writer's connection. A panic inside a transaction rolled it back, so a poisoned lock holds a sound connection.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> LedgerError {
        failed(&self.path, source)
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> LedgerError {
    let path = path.display().to_string();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => LedgerError::Broken { path, rule: source.to_string() },
        _ => LedgerError::Sqlite { path, source },
    }
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute((name, value)).map(|_| ())
}

/// Reads beside the writer, from one consistent state a statement.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        work(&self.connection).map_err(|e| self.failed(e))
    }

    fn failed(&self, source: rusqlite::Error) -> LedgerError {
        failed(&self.path, source)
    }
}

#[cfg(test)]
mod tests;
