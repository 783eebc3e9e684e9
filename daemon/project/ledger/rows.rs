//! The ledger's rows as values.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::names::{ETag, Key, Sha256, TaskId};
use crate::sync::action::{Form, NearAction};
use crate::sync::near::TaskState;
use crate::sync::source::{Known, KnownState};

/// A task as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub state: TaskState,
    /// The root of its bucket and its key, where it is ours.
    pub source: Option<(String, Key)>,
    /// How it was made.
    pub form: Option<Form>,
    /// Its JSON: ours without the id, Label Studio's own whole; `None`: it follows from key and form.
    pub body: Option<String>,
    /// Hash of its data.
    pub data_hash: Sha256,
}

/// A change of `tasks.json` that is reserved and not yet receipted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingTask {
    /// The task as it should be.
    pub task: StoredTask,
    /// It should stand in the file.
    pub shown: bool,
}

/// What a [`NearAction`] needs to be recorded.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct NearChange {
    /// What was decided.
    pub action: NearAction,
    /// The task as it stands in the file, where the file's becomes the truth.
    pub file: Option<(String, Sha256, Option<String>)>,
}

/// A task of ours that moved to another id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The id that Label Studio took.
    pub from: TaskId,
    /// The new one.
    pub to: TaskId,
}

/// Rows of the index in byte order of their keys, read in batches so that memory stays flat and no read is held open.
#[derive(Debug)]
pub struct KnownRows {
    pub(super) reader: super::Reader,
    pub(super) origin: i64,
    pub(super) after: Option<String>,
    pub(super) batch: std::vec::IntoIter<Known>,
    pub(super) ended: bool,
}

pub(super) fn state(row: &Row, index: usize) -> rusqlite::Result<TaskState> {
    match row.get::<_, i64>(index)? {
        0 => Ok(TaskState::Live),
        1 => Ok(TaskState::Hidden),
        2 => Ok(TaskState::Retired),
        3 => Ok(TaskState::Foreign),
        4 => Ok(TaskState::Spent),
        other => Err(damaged(index, Type::Integer, format!("no task state: {other}"))),
    }
}

pub(super) fn id(row: &Row, index: usize) -> rusqlite::Result<TaskId> {
    let number: i64 = row.get(index)?;
    let id = u64::try_from(number).ok().and_then(TaskId::new);
    id.ok_or_else(|| damaged(index, Type::Integer, format!("no task id: {number}")))
}

/// SQLite holds ids as signed numbers; every [`TaskId`] fits.
pub(super) fn sql_id(id: TaskId) -> i64 {
    i64::try_from(id.get()).expect("TaskId::MAX is i64::MAX")
}

pub(super) fn hash(row: &Row, index: usize) -> rusqlite::Result<Sha256> {
    optional_hash(row, index)?.ok_or_else(|| damaged(index, Type::Blob, "no hash".to_owned()))
}

pub(super) fn optional_hash(row: &Row, index: usize) -> rusqlite::Result<Option<Sha256>> {
    let Some(bytes) = row.get::<_, Option<Vec<u8>>>(index)? else { return Ok(None) };
    let hash =
        Sha256::from_slice(&bytes).ok_or_else(|| damaged(index, Type::Blob, "a hash of another length".to_owned()))?;
    Ok(Some(hash))
}

pub(super) fn etag(row: &Row, index: usize) -> rusqlite::Result<Option<ETag>> {
    Ok(row.get::<_, Option<String>>(index)?.map(ETag::new))
}

pub(super) fn form_text(form: &Form) -> String {
    match form {
        Form::Json => "json".to_owned(),
        Form::Blob { data_key } => format!("blob:{data_key}"),
        Form::Local { data_key } => format!("local:{data_key}"),
    }
}

pub(super) fn form(row: &Row, index: usize) -> rusqlite::Result<Option<Form>> {
    let Some(text) = row.get::<_, Option<String>>(index)? else { return Ok(None) };
    if text == "json" {
        return Ok(Some(Form::Json));
    }
    match text.split_once(':') {
        Some(("blob", data_key)) => Ok(Some(Form::Blob { data_key: data_key.to_owned() })),
        Some(("local", data_key)) => Ok(Some(Form::Local { data_key: data_key.to_owned() })),
        Some(_) | None => Err(damaged(index, Type::Text, format!("no form of a task: {text}"))),
    }
}

/// `key, etag, copied, id, state, form, gone, retired, bad` as [`Known`]; `id` is NULL in `keys_without_id`.
pub(super) fn known(row: &Row) -> rusqlite::Result<Known> {
    let key = Key::new(row.get::<_, String>(0)?);
    let etag = etag(row, 1)?.unwrap_or_else(|| ETag::new(""));
    let copied = self::etag(row, 2)?;
    if row.get::<_, Option<i64>>(3)?.is_none() {
        let state = if row.get(7)? { KnownState::Retired } else { KnownState::Quarantined };
        return Ok(Known { key, etag, state, copied, bad: false });
    }
    let id = id(row, 3)?;
    let state = match state(row, 4)? {
        TaskState::Live => {
            let form = form(row, 5)?.ok_or_else(|| damaged(5, Type::Null, "a task of ours without form".to_owned()))?;
            KnownState::Live { id, form, gone: row.get(6)? }
        }
        TaskState::Hidden => KnownState::Hidden { id },
        TaskState::Retired | TaskState::Foreign | TaskState::Spent => KnownState::Retired,
    };
    Ok(Known { key, etag, state, copied, bad: row.get(8)? })
}

pub(super) fn damaged(index: usize, kind: Type, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, kind, what.into())
}
