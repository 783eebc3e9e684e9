//! A checksum of each row: SQLite finds pages that make no sense, and not a byte of a value that is another one.
//!
//! Promise: whoever writes a row writes its sum with it, as a generated column; a row that does not fit its sum is found
//! when the ledger is opened (promise 41).
//! Not here: what a repair makes of such rows (`repair`).

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

use crate::store::crc32c::Crc32c;

/// The tables that have a column `sum`, and what it is made of: as `format4.sql` says. `origins` has none: its only value
/// stands in its index, too.
pub(super) const SUMS: [(&str, &str); 7] = [
    ("meta", "name, value"),
    (
        "tasks",
        "id, state, settled, seen, gone, origin, key, etag, form, body, data_hash, url, copied, bad, detail, orphan",
    ),
    ("older", "id, data_hash, nth"),
    ("keys_without_id", "origin, key, retired, etag, reason, detail"),
    (
        "completions",
        "name, state, sha, etag, data_hash, print, disputed_sha, disputed_etag, resolution, begun, reason, detail, at",
    ),
    ("holds", "id, code, message, consequence, since, accepted"),
    ("stretches", "origin, after, last, digest, tally"),
];

/// Every connection that writes or checks needs the function.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("row_sum", -1, flags, |row| {
        let mut sum = Crc32c::new();
        for index in 0..row.len() {
            take(&mut sum, row.get_raw(index));
        }
        Ok(i64::from(sum.number()))
    })
}

/// Kind and length first: no two rows are the same bytes.
fn take(sum: &mut Crc32c, value: ValueRef<'_>) {
    let mut take = |kind: u8, bytes: &[u8]| {
        let mut head = [kind; 9];
        head[1..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
        sum.update(&head);
        sum.update(bytes);
    };
    match value {
        ValueRef::Null => take(0, &[]),
        ValueRef::Integer(number) => take(1, &number.to_be_bytes()),
        ValueRef::Real(number) => take(2, &number.to_be_bytes()),
        ValueRef::Text(bytes) => take(3, bytes),
        ValueRef::Blob(bytes) => take(4, bytes),
    }
}

/// The first table that holds a row which is not as it was written.
pub(super) fn first_wrong(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    for (table, columns) in SUMS {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} NOT INDEXED WHERE sum IS NOT row_sum({columns}))");
        if connection.query_row(&sql, [], |row| row.get(0))? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}
