//! A file that puts a listing into byte order: a temporary SQLite table, outside memory.
//!
//! Promise: memory is bounded by [`CACHE_KIB`]; nothing stays on disk, also after a crash.
//! Not here: whether a listing is complete (`listing`).

use std::path::Path;

use rusqlite::{Connection, params};

use super::Objects;

/// Pages of the table that SQLite keeps in memory: enough that a nearly sorted million of keys is written
/// once, small beside the daemon's budget.
const CACHE_KIB: i64 = 8 * 1024;

/// Objects that are read back at once: as many as a page of S3.
const PAGE_OBJECTS: i64 = 1000;

/// What sorting files are called; leftovers of this name are removed.
const FILE_PREFIX: &str = "listing-";

/// A failure of the disk or of SQLite.
pub(super) type SortError = Box<dyn std::error::Error + Send + Sync>;

/// The failure of a runtime that is shutting down.
pub(super) fn interrupted() -> SortError {
    "sorting was interrupted".into()
}

/// A listing being sorted; dropping it removes it.
pub(super) struct SortingFile {
    table: Connection,
}

impl SortingFile {
    /// A new one in this directory, which has no name any more when this returns.
    pub(super) fn create(dir: &Path) -> Result<Self, SortError> {
        remove_leftovers(dir)?;
        let path = dir.join(format!("{FILE_PREFIX}{}", uuid::Uuid::new_v4()));
        let table = Connection::open(&path)?;
        // The file is nobody's once the process ends, so nothing in it has to survive anything.
        table.pragma_update(None, "journal_mode", "OFF")?;
        table.pragma_update(None, "synchronous", "OFF")?;
        table.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        table.pragma_update(None, "cache_size", -CACHE_KIB)?;
        table.execute_batch(
            "CREATE TABLE listed (key TEXT PRIMARY KEY, etag TEXT NOT NULL, size TEXT NOT NULL) WITHOUT ROWID;",
        )?;
        match std::fs::remove_file(&path) {
            // Another listing's clean-up was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        table.execute_batch("BEGIN")?;
        Ok(Self { table })
    }

    /// Adds a page; a key that comes again counts as it came last.
    pub(super) fn add(&self, objects: &Objects) -> Result<(), SortError> {
        let mut insert = self.table.prepare_cached("INSERT OR REPLACE INTO listed VALUES (?1, ?2, ?3)")?;
        for object in objects.iter() {
            // SQLite's integers end at 2^63-1: as text every size fits.
            insert.execute(params![object.key, object.etag, object.size_bytes.to_string()])?;
        }
        Ok(())
    }

    /// The next page in byte order, after this key; empty at the end.
    pub(super) fn page(&self, after: Option<&str>) -> Result<Objects, SortError> {
        let mut select = match after {
            None => self.table.prepare_cached("SELECT key, etag, size FROM listed ORDER BY key LIMIT ?1"),
            Some(_) => {
                self.table.prepare_cached("SELECT key, etag, size FROM listed WHERE key > ?2 ORDER BY key LIMIT ?1")
            }
        }?;
        let mut rows = match after {
            None => select.query(params![PAGE_OBJECTS]),
            Some(key) => select.query(params![PAGE_OBJECTS, key]),
        }?;
        let mut objects = Objects::default();
        while let Some(row) = rows.next()? {
            let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
            objects.push(text(0)?, text(1)?, text(2)?.parse()?);
        }
        Ok(objects)
    }
}

/// A crash between creating a file and taking its name away leaves it behind.
fn remove_leftovers(dir: &Path) -> Result<(), SortError> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(FILE_PREFIX.as_bytes()) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}
