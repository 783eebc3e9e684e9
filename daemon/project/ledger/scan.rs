//! Reading the ledger beside its writer: pages of items; the index in key order is `known`.
//!
//! Promise: memory does not grow with the ledger, and no read is held open.

use super::known::KnownRows;
use super::{LedgerError, Reader};
use crate::control::api::{ITEMS_PAGE_MAX, Item, ItemState, Items};
use crate::project::rejected::remedy_of;

impl Reader {
    /// The index of one bucket, in byte order of keys.
    pub fn known_rows(self, origin: i64) -> KnownRows {
        KnownRows::new(self, origin)
    }

    /// Items of one state, a page; `pending` and `skipped` live in memory and are not found here.
    pub fn items(&self, state: ItemState, after: Option<&str>) -> Result<Items, LedgerError> {
        let sql = match state {
            ItemState::Tasks => {
                "SELECT id, key, CASE state WHEN 0 THEN 'live' ELSE 'foreign' END, CASE gone WHEN 1 THEN 'object_gone' ELSE '' END, '',
                        printf('%020d', id) AS at FROM tasks WHERE state IN (0, 3) AND printf('%020d', id) > ?1 ORDER BY id LIMIT ?2"
            }
            ItemState::Removed => {
                "SELECT id, key, CASE state WHEN 0 THEN 'live' WHEN 1 THEN 'hidden' ELSE 'retired' END,
                        CASE WHEN state = 2 THEN 'deleted_by_user' WHEN gone = 1 THEN 'object_gone' ELSE 'deselected' END, '',
                        printf('%020d', id) AS at FROM tasks
                 WHERE (state IN (1, 2) OR (state = 0 AND gone = 1)) AND key IS NOT NULL AND printf('%020d', id) > ?1 ORDER BY id LIMIT ?2"
            }
            ItemState::Quarantined => {
                "SELECT * FROM (
                   SELECT NULL AS id, key, 'quarantined', reason, detail, 'k' || key AS at FROM keys_without_id WHERE retired = 0
                   UNION ALL SELECT id, key, 'quarantined', bad, coalesce(detail, ''), 't' || printf('%020d', id) FROM tasks WHERE bad IS NOT NULL
                   UNION ALL SELECT CAST(name AS INTEGER), NULL, 'quarantined', reason, detail, 'c' || name FROM completions WHERE state = 'quarantined'
                 ) WHERE at > ?1 ORDER BY at LIMIT ?2"
            }
            ItemState::Conflict => {
                "SELECT CAST(name AS INTEGER), NULL, CASE state WHEN 'missing' THEN 'target_missing' ELSE 'conflict' END,
                        CASE state WHEN 'missing' THEN 'target_missing' ELSE reason END, detail, name AS at
                 FROM completions WHERE state IN ('disputed', 'missing') AND name > ?1 ORDER BY name LIMIT ?2"
            }
            ItemState::Pending | ItemState::Skipped => return Ok(Items::default()),
        };
        self.page(sql, after.unwrap_or("")).map_err(|e| self.failed(e))
    }

    fn page(&self, sql: &str, after: &str) -> rusqlite::Result<Items> {
        let mut statement = self.connection.prepare(sql)?;
        let limit = i64::try_from(ITEMS_PAGE_MAX).unwrap_or(i64::MAX);
        let mut rows = statement.query((after, limit))?;
        let mut items = Items::default();
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id: Option<i64> = row.get(0)?;
            let (reason, mut detail): (String, String) = (row.get(3)?, row.get(4)?);
            if let Some(remedy) = remedy_of(&reason) {
                detail = format!("{detail}: {remedy}");
            }
            items.items.push(Item {
                key: row.get(1)?,
                id: id.and_then(|id| u64::try_from(id).ok()),
                state: row.get(2)?,
                reason,
                detail,
            });
            last = row.get(5)?;
        }
        items.next = last.filter(|_| items.items.len() == ITEMS_PAGE_MAX);
        Ok(items)
    }
}
