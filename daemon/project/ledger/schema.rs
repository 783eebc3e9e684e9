//! The ledger's tables, and how an older format becomes the present one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{LedgerError, sums};
use crate::settings::atomic;

/// The present format; `PRAGMA user_version` holds a file's.
const FORMAT: i64 = 5;

/// `PRAGMA application_id`: "LSYN", so that `file` and we know a ledger from any other database.
pub(super) const APPLICATION_ID: i64 = 0x4c53_594e;

/// Format 1; later ones are made of it in steps ([`STEPS`]). `state` of tasks: 0 live, 1 hidden, 2 retired (the user deleted
/// it), 3 foreign (Label Studio's own), 4 spent (gone; the id stays taken). `settled = 0`: reserved, and `tasks.json`
/// may not show it yet.
pub(super) const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE origins (id INTEGER PRIMARY KEY, root TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  settled INTEGER NOT NULL,
  seen INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 0,
  origin INTEGER REFERENCES origins (id),
  key TEXT,
  etag TEXT,
  form TEXT,
  body TEXT,
  data_hash BLOB NOT NULL,
  url TEXT,
  copied TEXT,
  bad TEXT,
  detail TEXT,
  CHECK (id >= 0),
  CHECK ((origin IS NULL) = (key IS NULL))
) STRICT;
CREATE UNIQUE INDEX one_id_a_key ON tasks (origin, key) WHERE key IS NOT NULL;
CREATE INDEX unsettled ON tasks (id) WHERE settled = 0;
CREATE INDEX unseen ON tasks (id) WHERE seen = 0 AND state = 0;
CREATE INDEX foreign_urls ON tasks (url) WHERE url IS NOT NULL;
CREATE INDEX states ON tasks (state, id);
CREATE TABLE older (
  id INTEGER NOT NULL,
  data_hash BLOB NOT NULL,
  nth INTEGER NOT NULL,
  PRIMARY KEY (id, data_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE keys_without_id (
  origin INTEGER NOT NULL REFERENCES origins (id),
  key TEXT NOT NULL,
  retired INTEGER NOT NULL,
  etag TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (origin, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE completions (
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  sha BLOB,
  etag TEXT,
  data_hash BLOB,
  print TEXT,
  disputed_sha BLOB,
  disputed_etag TEXT,
  resolution TEXT,
  begun BLOB,
  reason TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX completion_states ON completions (state, name);
CREATE TABLE holds (
  id TEXT PRIMARY KEY,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  consequence TEXT NOT NULL,
  since INTEGER NOT NULL,
  accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// SQLite's pages, set for every new ledger.
pub(super) const PAGE_BYTES: u64 = 4_096;

/// Statements kept ready: more than there are.
const STATEMENTS_KEPT: usize = 128;

/// What makes each older format the next one: the first makes format 2 of format 1. A released step never changes.
const STEPS: [&str; 4] = [
    // `orphan`: a task that stood in `tasks.json` when the ledger was rebuilt, and may be an object's.
    "ALTER TABLE tasks ADD COLUMN orphan INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX orphans ON tasks (data_hash) WHERE orphan = 1;",
    // What is remembered of unchanged parts of listings (`sync::stretches`), of keys after `after` up to `last` (NULL: all
    // that follow). None lies over another. Whoever writes a row that a listing is compared with makes it forgotten, in the
    // same transaction, and moves the clock, so that nobody remembers what was read before.
    "CREATE TABLE stretches (
       origin INTEGER NOT NULL REFERENCES origins (id),
       after TEXT NOT NULL,
       last TEXT,
       digest BLOB NOT NULL,
       tally TEXT NOT NULL,
       PRIMARY KEY (origin, after)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE stretch_clock (moves INTEGER NOT NULL) STRICT;
     INSERT INTO stretch_clock VALUES (0);
     CREATE VIEW written AS SELECT 0 AS origin, '' AS key;
     CREATE TRIGGER forget INSTEAD OF INSERT ON written WHEN NEW.key IS NOT NULL BEGIN
       UPDATE stretch_clock SET moves = moves + 1;
       DELETE FROM stretches WHERE origin = NEW.origin AND (last IS NULL OR last >= NEW.key)
         AND after = (SELECT max(after) FROM stretches WHERE origin = NEW.origin AND after < NEW.key);
     END;
     CREATE TRIGGER task_added AFTER INSERT ON tasks BEGIN
       INSERT INTO written VALUES (NEW.origin, NEW.key);
     END;
     CREATE TRIGGER task_changed AFTER UPDATE OF origin, key, etag, state, form, gone, copied, bad ON tasks BEGIN
       INSERT INTO written VALUES (OLD.origin, OLD.key), (NEW.origin, NEW.key);
     END;
     CREATE TRIGGER task_removed AFTER DELETE ON tasks BEGIN
       INSERT INTO written VALUES (OLD.origin, OLD.key);
     END;
     CREATE TRIGGER key_added AFTER INSERT ON keys_without_id BEGIN
       INSERT INTO written VALUES (NEW.origin, NEW.key);
     END;
     CREATE TRIGGER key_changed AFTER UPDATE ON keys_without_id BEGIN
       INSERT INTO written VALUES (OLD.origin, OLD.key), (NEW.origin, NEW.key);
     END;
     CREATE TRIGGER key_removed AFTER DELETE ON keys_without_id BEGIN
       INSERT INTO written VALUES (OLD.origin, OLD.key);
     END;",
    include_str!("format4.sql"),
    // Every cycle counts them.
    "CREATE INDEX bad_tasks ON tasks (id) WHERE bad IS NOT NULL;",
];

/// What every writing connection needs: nothing acknowledged is lost in a power cut.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    keep_plans(connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // INSERT OR REPLACE removes rows, and their triggers run only then.
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    sums::register(connection)?;
    // 8 MiB of pages: enough for the inner nodes of ten million rows.
    connection.pragma_update(None, "cache_size", -8192)
}

pub(super) fn configure_reader(connection: &Connection) -> rusqlite::Result<()> {
    keep_plans(connection)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "cache_size", -4096)
}

/// SQLite else makes the plan of a prepared statement anew whenever a value is bound that the plan could depend on: half
/// of what a look at a task cost. The ledger has no statistics that such a plan could use.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Where a database says, twice, how it is written: 1 with a journal that is gone afterwards, as backups and repaired
/// ledgers are; 2 with a log beside it, as a ledger in use is.
const WRITTEN_AT: u64 = 18;

/// Removes a log that lies beside a file that never had one: a backup was put in the place of a ledger whose daemon had
/// died. SQLite would take it for the backup's own, and what came out would be neither.
pub(super) fn drop_others_log(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut written = [0; 2];
    if file.read_at(&mut written, WRITTEN_AT)? < written.len() || written != [1, 1] {
        return Ok(());
    }
    ["-wal", "-shm"].iter().try_for_each(|end| super::remove_if_there(&super::beside(path, end)))
}

/// Whether the file says that it is a ledger. One whose tables never came to be, or were cut off, does not.
pub(super) fn is_ledger(path: &Path) -> Result<bool, LedgerError> {
    let fail = |source| super::failed(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    configure(&connection).map_err(fail)?;
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    Ok(tables > 0 || (pragma("application_id").map_err(fail)?, pragma("user_version").map_err(fail)?) != (0, 0))
}

/// Makes the tables where there are none, and an older format the present one; the old file stays beside it.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let fail = |source| super::failed(path, source);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("user_version").map_err(fail)?;
    let application = pragma("application_id").map_err(fail)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    let path_text = || path.display().to_string();
    if application == APPLICATION_ID && found > FORMAT {
        return Err(LedgerError::Newer { path: path_text(), found, known: FORMAT });
    }
    let is_ledger = application == APPLICATION_ID && found > 0;
    if is_ledger && found == FORMAT {
        return Ok(());
    }
    if !is_ledger && tables > 0 {
        return Err(LedgerError::Damaged { path: path_text(), detail: "it is a database, but no ledger".to_owned() });
    }
    if is_ledger {
        keep_old(connection, path, found)?;
    }
    let tx = connection.transaction().map_err(fail)?;
    steps(&tx, if is_ledger { found } else { 0 }).map_err(fail)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
    tx.pragma_update(None, "user_version", FORMAT).map_err(fail)?;
    tx.commit().map_err(fail)
}

/// From a format (0: nothing is there) to the present one.
fn steps(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    std::iter::once(&TABLES).chain(&STEPS).skip(done).try_for_each(|step| connection.execute_batch(step))
}

/// Whether the file says of its tables what we make them of. A letter of that which is another one changes what is read.
pub(super) fn is_as_made(connection: &Connection) -> rusqlite::Result<bool> {
    let fresh = Connection::open_in_memory()?;
    sums::register(&fresh)?;
    steps(&fresh, 0)?;
    Ok(told(connection)? == told(&fresh)?)
}

fn told(connection: &Connection) -> rusqlite::Result<Vec<[Option<String>; 4]>> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    rows.collect()
}

/// Where the ledger of an older format is kept.
pub(super) fn old_path(path: &Path, format: i64) -> PathBuf {
    super::beside(path, &format!(".format{format}"))
}

/// A whole copy of the ledger as it was, before anything is changed; one that is there already is the first try's.
fn keep_old(connection: &Connection, path: &Path, format: i64) -> Result<(), LedgerError> {
    let old = old_path(path, format);
    if old.exists() {
        return Ok(());
    }
    let unfinished = super::beside(&old, ".tmp");
    let kept = super::remove_if_there(&unfinished)
        .and_then(|()| {
            connection.backup("main", &unfinished, None::<fn(rusqlite::backup::Progress)>).map_err(io::Error::other)
        })
        .and_then(|()| File::open(&unfinished)?.sync_all())
        .and_then(|()| std::fs::rename(&unfinished, &old))
        .and_then(|()| atomic::sync_dir(old.parent().unwrap_or(Path::new("."))));
    kept.map_err(|source| LedgerError::File { path: old.display().to_string(), source })
}
