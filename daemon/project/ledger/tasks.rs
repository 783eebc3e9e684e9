//! Tasks and source keys in the ledger.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::{self, Moved, NearChange, PendingTask, StoredTask, facts, form_text, sql_id, unknown_data};
use super::{Ledger, LedgerError, meta, set_meta};
use crate::names::{ETag, Key, Sha256, TaskId};
use crate::sync::action::{HideReason, NearAction, TaskAction};
use crate::sync::completions::TaskFacts;
use crate::sync::near::{KnownTask, TaskState};

/// Older data hashes kept of a task: Label Studio writes back at most what it listed last, and a person may go back a few versions.
const OLDER_MAX: i64 = 16;

/// Shown tasks that Label Studio was not seen to hold: ours by their index, imports one by one, as they are few.
const UNSEEN: &str = "SELECT id FROM tasks WHERE seen = 0 AND state = 0
                      UNION ALL SELECT id FROM tasks WHERE seen = 0 AND state = 3";

/// How many tasks there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskCounts {
    /// Ours, shown.
    pub live: u64,
    /// Label Studio's own.
    pub foreign: u64,
    /// Objects in quarantine.
    pub quarantined: u64,
}

impl Ledger {
    /// The number of a bucket's root in this ledger.
    pub fn origin(&self, root: &str) -> Result<i64, LedgerError> {
        self.transact(|tx| {
            tx.execute("INSERT INTO origins (root) VALUES (?1) ON CONFLICT (root) DO NOTHING", [root])?;
            tx.query_row("SELECT id FROM origins WHERE root = ?1", [root], |row| row.get(0))
        })
    }

    /// The highest id that was ever given or seen anywhere.
    pub fn highest_id(&self) -> Result<Option<TaskId>, LedgerError> {
        let connection = self.lock();
        highest(&connection).map_err(|e| self.failed(e))
    }

    /// Records that an id was seen somewhere, so that it is never given.
    pub fn note_highest(&self, seen: TaskId) -> Result<(), LedgerError> {
        if !seen.is_given() || self.highest_id()?.is_some_and(|highest| highest >= seen) {
            return Ok(());
        }
        self.transact(|tx| set_meta(tx, "highest_id", &seen.to_string()))
    }

    /// Writes down what is going to be done about source objects, before it is done.
    pub fn reserve(&self, origin: i64, actions: &[TaskAction]) -> Result<(), LedgerError> {
        self.transact(|tx| actions.iter().try_for_each(|action| reserve_one(tx, origin, action)))
    }

    /// Changes of `tasks.json` that are reserved and not receipted, by id, from after `after`; at most `limit`.
    pub fn pending(&self, after: Option<TaskId>, limit: usize) -> Result<Vec<PendingTask>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT t.id, t.state, o.root, t.key, t.form, t.body, t.data_hash FROM tasks t
                 LEFT JOIN origins o ON o.id = t.origin WHERE t.settled = 0 AND t.id > ?1 ORDER BY t.id LIMIT ?2",
            )?;
            let after = after.map_or(-1, sql_id);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map((after, limit), |row| {
                let task = stored(row)?;
                let shown = matches!(task.state, TaskState::Live | TaskState::Foreign);
                Ok(PendingTask { task, shown })
            })?;
            rows.collect()
        })
    }

    /// Ids with a reserved change, and whether they should stand in `tasks.json`.
    pub fn pending_ids(&self) -> Result<Vec<(TaskId, bool)>, LedgerError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, state IN (0, 3) FROM tasks WHERE settled = 0 ORDER BY id")?;
            let ids = statement.query_map([], |row| Ok((rows::id(row, 0)?, row.get(1)?)))?;
            ids.collect()
        })
    }

    /// How many changes of `tasks.json` are reserved.
    pub fn pending_count(&self) -> Result<u64, LedgerError> {
        self.count("SELECT count(*) FROM tasks WHERE settled = 0")
    }

    /// What is known of an id, for deciding what `tasks.json` means.
    pub fn known_task(&self, id: TaskId) -> Result<Option<KnownTask>, LedgerError> {
        let connection = self.lock();
        known_task(&connection, id).map_err(|e| self.failed(e))
    }

    /// Ids that should stand in `tasks.json`, ascending.
    pub fn shown_ids(&self) -> Result<Vec<TaskId>, LedgerError> {
        self.ids("SELECT id FROM tasks WHERE state IN (0, 3) ORDER BY id")
    }

    /// Ids of tasks that Label Studio was not seen to hold, ascending.
    pub fn unseen_ids(&self) -> Result<Vec<TaskId>, LedgerError> {
        self.ids(&format!("{UNSEEN} ORDER BY id"))
    }

    /// Whether there are any such.
    pub fn has_unseen(&self) -> Result<bool, LedgerError> {
        Ok(self.count(&format!("SELECT count(*) FROM ({UNSEEN} LIMIT 1)"))? > 0)
    }

    /// Label Studio's map is gone: whoever makes it anew has listed nothing yet.
    pub fn forget_seen(&self) -> Result<(), LedgerError> {
        self.transact(|tx| tx.execute("UPDATE tasks SET seen = 0 WHERE seen = 1 AND state IN (0, 3)", []).map(|_| ()))
    }

    /// Records that Label Studio holds these in its memory.
    pub fn mark_seen(&self, ids: &[TaskId]) -> Result<(), LedgerError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.transact(|tx| {
            let mut statement = tx.prepare_cached("UPDATE tasks SET seen = 1 WHERE id = ?1 AND seen = 0")?;
            ids.iter().try_for_each(|id| statement.execute([sql_id(*id)]).map(|_| ()))
        })
    }

    /// Records what `tasks.json` meant; tasks of ours whose id Label Studio took get new ones from `next`.
    pub fn record_near(
        &self,
        changes: &[NearChange],
        next: &mut crate::sync::ids::Ids,
    ) -> Result<Vec<Moved>, LedgerError> {
        self.transact(|tx| {
            let mut moved = Vec::new();
            for change in changes {
                moved.extend(near_one(tx, change, next)?);
            }
            Ok(moved)
        })
    }

    /// Whether this id stands, or stood, for a task.
    pub fn knows(&self, id: TaskId) -> Result<bool, LedgerError> {
        self.read(|connection| knows(connection, id))
    }

    /// What is known of a task, for deciding about its completion.
    pub fn task_facts(&self, id: TaskId) -> Result<TaskFacts, LedgerError> {
        Ok(self.known_task(id)?.map_or_else(TaskFacts::default, facts))
    }

    /// The same for many, in one read.
    pub fn facts_of(&self, ids: &[TaskId]) -> Result<Vec<TaskFacts>, LedgerError> {
        self.read(|connection| {
            let _one_read = connection.unchecked_transaction()?;
            let of = |id: &TaskId| Ok(known_task(connection, *id)?.map_or_else(TaskFacts::default, facts));
            ids.iter().map(of).collect()
        })
    }

    /// Whether a task of Label Studio's own has this URL.
    pub fn is_imported(&self, url: &str) -> Result<bool, LedgerError> {
        let connection = self.lock();
        let sql = "SELECT EXISTS (SELECT 1 FROM tasks WHERE url = ?1 AND state = 3)";
        let asked = connection.prepare_cached(sql).and_then(|mut asked| asked.query_row([url], |row| row.get(0)));
        asked.map_err(|e| self.failed(e))
    }

    /// Whether there are tasks that [`Ledger::orphan`] can answer with.
    pub fn has_orphans(&self) -> Result<bool, LedgerError> {
        Ok(self.count("SELECT count(*) FROM (SELECT 1 FROM tasks WHERE orphan = 1 LIMIT 1)")? > 0)
    }

    /// The task that stood in `tasks.json` with exactly these data when the ledger was rebuilt, and is no object's yet.
    pub fn orphan(&self, data_hash: Sha256) -> Result<Option<TaskId>, LedgerError> {
        self.read(|connection| {
            let sql = "SELECT id FROM tasks WHERE orphan = 1 AND data_hash = ?1 AND state = 3 ORDER BY id LIMIT 1";
            connection.prepare_cached(sql)?.query_row([data_hash.as_bytes()], |row| rows::id(row, 0)).optional()
        })
    }

    /// Shown tasks of buckets other than `origin` (`None`: of any), ascending, at most `limit`.
    pub fn shown_elsewhere(&self, origin: Option<i64>, limit: usize) -> Result<Vec<(TaskId, Key)>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                // By the index of the other buckets' keys: that of states would go through all tasks of this one.
                "SELECT id, key FROM tasks WHERE +state = 0 AND key IS NOT NULL
                 AND origin IN (SELECT id FROM origins WHERE id IS NOT ?1) ORDER BY id LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement
                .query_map((origin, limit), |row| Ok((rows::id(row, 0)?, Key::new(row.get::<_, String>(1)?))))?;
            rows.collect()
        })
    }

    /// Takes over the ids of Label Studio's own map of a bucket: hidden until a listing shows the object.
    pub fn adopt_ids(&self, origin: i64, ids: &[(TaskId, Key)], form: &str) -> Result<u64, LedgerError> {
        self.transact(|tx| {
            let mut statement = tx.prepare_cached(
                "INSERT INTO tasks (id, state, settled, seen, origin, key, etag, form, data_hash)
                 VALUES (?1, 1, 1, 1, ?2, ?3, '', ?4, ?5) ON CONFLICT DO NOTHING",
            )?;
            let mut taken = 0;
            for (id, key) in ids {
                let hash = unknown_data();
                taken += statement.execute(params![sql_id(*id), origin, key.as_str(), form, hash.as_bytes()])? as u64;
            }
            Ok(taken)
        })
    }

    /// Every id that was ever given, ascending, with its object's URL; `None`: an import, or one that moved away.
    pub fn all_ids(&self) -> Result<Vec<(TaskId, Option<String>)>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT tasks.id, root || '/' || key FROM tasks LEFT JOIN origins ON origins.id = origin ORDER BY tasks.id",
            )?;
            let rows = statement.query_map([], |row| Ok((rows::id(row, 0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// The receipt of a local copy.
    pub fn copied(&self, origin: i64, copies: &[(Key, ETag)]) -> Result<(), LedgerError> {
        self.transact(|tx| {
            let sql = "UPDATE tasks SET copied = ?3 WHERE origin = ?1 AND key = ?2";
            let mut statement = tx.prepare_cached(sql)?;
            copies
                .iter()
                .try_for_each(|(key, etag)| statement.execute((origin, key.as_str(), etag.as_str())).map(|_| ()))
        })
    }

    /// Lets quarantined objects be tried again; none named: all. How many there were, and which names are unknown.
    pub fn retry(&self, keys: &[String]) -> Result<(u64, Vec<String>), LedgerError> {
        const RETRY: [(&str, &str); 3] = [
            ("DELETE FROM keys_without_id WHERE retired = 0", "key"),
            ("UPDATE tasks SET bad = NULL, detail = NULL, etag = '' WHERE bad IS NOT NULL", "key"),
            ("DELETE FROM completions WHERE state = 'quarantined' AND etag IS NULL", "name"),
        ];
        self.transact(|tx| {
            let (mut count, mut unknown) = (0, Vec::new());
            let mut all = RETRY.iter().filter(|_| keys.is_empty());
            all.try_for_each(|(sql, _)| tx.execute(sql, []).map(|n| count += n))?;
            for key in keys {
                let before = count;
                for (sql, name) in RETRY {
                    count += tx.execute(&format!("{sql} AND {name} = ?1"), [key])?;
                }
                unknown.extend((count == before).then(|| key.clone()));
            }
            Ok((count as u64, unknown))
        })
    }

    /// Moves with every row that is written.
    pub fn writes(&self) -> u64 {
        self.lock().total_changes()
    }

    /// How many tasks there are.
    pub fn task_counts(&self) -> Result<TaskCounts, LedgerError> {
        Ok(TaskCounts {
            live: self.count("SELECT count(*) FROM tasks WHERE state = 0")?,
            foreign: self.count("SELECT count(*) FROM tasks WHERE state = 3")?,
            quarantined: self.count(
                "SELECT (SELECT count(*) FROM keys_without_id WHERE retired = 0)
                      + (SELECT count(*) FROM tasks WHERE bad IS NOT NULL)
                      + (SELECT count(*) FROM completions WHERE state = 'quarantined')",
            )?,
        })
    }

    pub(super) fn count(&self, sql: &str) -> Result<u64, LedgerError> {
        let count: i64 = self.read(|connection| connection.prepare_cached(sql)?.query_row([], |row| row.get(0)))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn ids(&self, sql: &str) -> Result<Vec<TaskId>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let ids = statement.query_map([], |row| rows::id(row, 0))?;
            ids.collect()
        })
    }
}

fn highest(connection: &Connection) -> rusqlite::Result<Option<TaskId>> {
    let last = TaskId::GIVEN_MAX.cast_signed();
    let mut given = connection.prepare_cached("SELECT max(id) FROM tasks WHERE id <= ?1")?;
    let given: Option<i64> = given.query_row([last], |row| row.get(0))?;
    let noted = meta(connection, "highest_id")?;
    let given = given.and_then(|id| u64::try_from(id).ok()).and_then(TaskId::new);
    Ok(given.max(noted.as_deref().and_then(TaskId::parse).filter(|id| id.is_given())))
}

fn reserve_one(tx: &Transaction, origin: i64, action: &TaskAction) -> rusqlite::Result<()> {
    match action {
        TaskAction::Add { id, key, etag, form, body, data_hash } => {
            forget_without_id(tx, origin, key)?;
            tx.prepare_cached(
                "INSERT INTO tasks (id, state, settled, origin, key, etag, form, body, data_hash)
                 VALUES (?1, 0, 0, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                sql_id(*id),
                origin,
                key.as_str(),
                etag.as_str(),
                form_text(form),
                body,
                data_hash.as_bytes()
            ])?;
        }
        // Only as long as it is nobody's: another object with the same data is looked at again.
        TaskAction::Adopt { id, key, etag, form, body, data_hash } => {
            forget_without_id(tx, origin, key)?;
            tx.prepare_cached(
                "UPDATE tasks SET state = 0, orphan = 0, origin = ?2, key = ?3, etag = ?4, form = ?5, body = ?6, url = NULL
                 WHERE id = ?1 AND orphan = 1 AND data_hash = ?7",
            )?
            .execute(params![sql_id(*id), origin, key.as_str(), etag.as_str(), form_text(form), body, data_hash.as_bytes()])?;
        }
        TaskAction::Update { id, etag, form, body, data_hash, .. } => {
            remember_older(tx, *id)?;
            tx.prepare_cached(
                "UPDATE tasks SET settled = 0, etag = ?2, form = ?3, body = ?4, data_hash = ?5, bad = NULL, detail = NULL
                 WHERE id = ?1",
            )?
            .execute(params![sql_id(*id), etag.as_str(), form_text(form), body, data_hash.as_bytes()])?;
        }
        TaskAction::Note { id, etag, .. } => {
            tx.prepare_cached("UPDATE tasks SET etag = ?2 WHERE id = ?1")?.execute((sql_id(*id), etag.as_str()))?;
        }
        TaskAction::Hide { id, why, .. } => {
            // What is hidden already is only known for another reason now.
            tx.prepare_cached(
                "UPDATE tasks SET settled = settled AND state = 1, state = 1, gone = ?2 WHERE id = ?1 AND state IN (0, 1)",
            )?
            .execute((sql_id(*id), *why == HideReason::Removed))?;
        }
        // Label Studio that was started meanwhile has not listed it.
        TaskAction::Show { id, .. } => {
            tx.prepare_cached(
                "UPDATE tasks SET state = 0, settled = 0, gone = 0, seen = 0 WHERE id = ?1 AND state = 1",
            )?
            .execute([sql_id(*id)])?;
        }
        TaskAction::Gone { id, .. } | TaskAction::Back { id, .. } => {
            let gone = matches!(action, TaskAction::Gone { .. });
            tx.prepare_cached("UPDATE tasks SET gone = ?2 WHERE id = ?1")?.execute((sql_id(*id), gone))?;
        }
        TaskAction::Quarantine { id: Some(id), etag, reason, detail, .. } => {
            tx.prepare_cached("UPDATE tasks SET etag = ?2, bad = ?3, detail = ?4 WHERE id = ?1")?.execute((
                sql_id(*id),
                etag.as_str(),
                reason,
                detail,
            ))?;
        }
        TaskAction::Quarantine { id: None, key, etag, reason, detail } => {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO keys_without_id (origin, key, retired, etag, reason, detail) VALUES (?1, ?2, 0, ?3, ?4, ?5)",
            )?
            .execute((origin, key.as_str(), etag.as_str(), reason, detail))?;
        }
        TaskAction::Release { key } => forget_without_id(tx, origin, key)?,
        // A copy changes nothing that must be known before it is made: its receipt is `copied`.
        TaskAction::Copy { .. } => {}
    }
    Ok(())
}

fn forget_without_id(tx: &Transaction, origin: i64, key: &Key) -> rusqlite::Result<()> {
    let sql = "DELETE FROM keys_without_id WHERE origin = ?1 AND key = ?2 AND retired = 0";
    tx.prepare_cached(sql)?.execute((origin, key.as_str())).map(|_| ())
}

/// The newest ones: Label Studio writes back what it listed last.
fn remember_older(tx: &Transaction, id: TaskId) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO older (id, data_hash, nth)
         SELECT id, data_hash, (SELECT coalesce(max(nth), 0) + 1 FROM older WHERE id = ?1) FROM tasks WHERE id = ?1
         ON CONFLICT (id, data_hash) DO UPDATE SET nth = excluded.nth",
    )?
    .execute([sql_id(id)])?;
    let sql = "DELETE FROM older WHERE id = ?1 AND nth <= (SELECT max(nth) FROM older WHERE id = ?1) - ?2";
    tx.prepare_cached(sql)?.execute((sql_id(id), OLDER_MAX)).map(|_| ())
}

fn near_one(
    tx: &Transaction,
    change: &NearChange,
    next: &mut crate::sync::ids::Ids,
) -> rusqlite::Result<Option<Moved>> {
    let id = sql_id(change.action.id());
    let set = |sql: &str| tx.prepare_cached(sql)?.execute([id]).map(|_| None);
    match change.action {
        NearAction::Adopt(_) => set("UPDATE tasks SET settled = 1 WHERE id = ?1"),
        NearAction::Restore(_) | NearAction::Rewrite(_) | NearAction::Withdraw(_) => {
            set("UPDATE tasks SET settled = 0 WHERE id = ?1")
        }
        NearAction::Retire(_) => set("UPDATE tasks SET state = 2, settled = 1 WHERE id = ?1"),
        NearAction::Revive(_) => set("UPDATE tasks SET state = 0, settled = 1 WHERE id = ?1"),
        NearAction::ForeignGone(_) => set("UPDATE tasks SET state = 4, settled = 1 WHERE id = ?1"),
        NearAction::Move(from) => {
            let Some(to) = next.take() else { return Ok(None) };
            // Ours goes to its new row first, without its key, which is unique; then the import takes the old row over.
            let key: (Option<i64>, Option<String>) =
                tx.query_row("SELECT origin, key FROM tasks WHERE id = ?1", [id], |r| Ok((r.get(0)?, r.get(1)?)))?;
            tx.execute(
                "INSERT INTO tasks (id, state, settled, etag, form, body, data_hash, copied)
                 SELECT ?1, 0, 0, etag, form, body, data_hash, copied FROM tasks WHERE id = ?2",
                [sql_id(to), id],
            )?;
            foreign(tx, id, change)?;
            tx.execute("UPDATE tasks SET origin = ?2, key = ?3 WHERE id = ?1", (sql_id(to), key.0, key.1))?;
            // Label Studio may have listed ours under this id, and write it back from memory.
            tx.execute(
                "INSERT OR REPLACE INTO older (id, data_hash, nth) SELECT ?1, data_hash, 1 FROM tasks WHERE id = ?2",
                [id, sql_id(to)],
            )?;
            Ok(Some(Moved { from, to }))
        }
        NearAction::Yield(_) => {
            // A key whose task the user deleted must not be made again; a hidden one may return under a new id.
            tx.execute(
                "INSERT OR REPLACE INTO keys_without_id (origin, key, retired, etag, reason, detail)
                 SELECT origin, key, 1, coalesce(etag, ''), 'deleted_by_user', '' FROM tasks
                 WHERE id = ?1 AND state IN (0, 2) AND key IS NOT NULL",
                [id],
            )?;
            foreign(tx, id, change).map(|()| None)
        }
        NearAction::Foreign(_) | NearAction::ForeignChanged(_) => foreign(tx, id, change).map(|()| None),
    }
}

/// The id is Label Studio's own task as it stands in the file; what it stood for before explains nothing, once this is
/// settled.
fn foreign(tx: &Transaction, id: i64, change: &NearChange) -> rusqlite::Result<()> {
    let Some((body, hash, url)) = &change.file else { return Ok(()) };
    tx.prepare_cached("DELETE FROM older WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached("INSERT INTO older (id, data_hash, nth) SELECT id, data_hash, 0 FROM tasks WHERE id = ?1")?
        .execute([id])?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO tasks (id, state, settled, seen, body, data_hash, url) VALUES (?1, 3, 1, 1, ?2, ?3, ?4)",
    )?
    .execute(params![id, body, hash.as_bytes(), url])
    .map(|_| ())
}

pub(super) fn knows(connection: &Connection, id: TaskId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1)";
    connection.prepare_cached(sql)?.query_row([sql_id(id)], |row| row.get(0))
}

pub(super) fn known_task(connection: &Connection, id: TaskId) -> rusqlite::Result<Option<KnownTask>> {
    let mut statement = connection.prepare_cached("SELECT state, data_hash, seen, settled FROM tasks WHERE id = ?1")?;
    let task = statement
        .query_row([sql_id(id)], |row| {
            Ok(KnownTask {
                state: rows::state(row, 0)?,
                data_hash: rows::hash(row, 1)?,
                older: Vec::new(),
                seen: row.get(2)?,
                settled: row.get(3)?,
            })
        })
        .optional()?;
    let Some(mut task) = task else { return Ok(None) };
    let sql = "SELECT data_hash FROM older WHERE id = ?1 AND (nth > 0 OR ?2 = 0) ORDER BY data_hash";
    let mut statement = connection.prepare_cached(sql)?;
    let hashes = statement.query_map((sql_id(id), task.settled), |row| rows::hash(row, 0))?;
    task.older = hashes.collect::<rusqlite::Result<_>>()?;
    Ok(Some(task))
}

fn stored(row: &rusqlite::Row) -> rusqlite::Result<StoredTask> {
    let root: Option<String> = row.get(2)?;
    let key: Option<String> = row.get(3)?;
    Ok(StoredTask {
        id: rows::id(row, 0)?,
        state: rows::state(row, 1)?,
        source: root.zip(key).map(|(root, key)| (root, Key::new(key))),
        form: rows::form(row, 4)?,
        body: row.get(5)?,
        data_hash: rows::hash(row, 6)?,
    })
}
