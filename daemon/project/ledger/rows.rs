//! The ledger's rows as values.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::names::{ETag, Key, Sha256, TaskId};
use crate::sync::action::{Form, NearAction};
use crate::sync::completions::TaskFacts;
use crate::sync::near::{KnownTask, TaskState};

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
    id_of(row.get(index)?, index)
}

pub(super) fn id_of(number: i64, index: usize) -> rusqlite::Result<TaskId> {
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
    row.get::<_, Option<String>>(index)?.map(|text| form_of(&text, index)).transpose()
}

pub(super) fn form_of(text: &str, index: usize) -> rusqlite::Result<Form> {
    if text == "json" {
        return Ok(Form::Json);
    }
    match text.split_once(':') {
        Some(("blob", data_key)) => Ok(Form::Blob { data_key: data_key.to_owned() }),
        Some(("local", data_key)) => Ok(Form::Local { data_key: data_key.to_owned() }),
        Some(_) | None => Err(damaged(index, Type::Text, format!("no form of a task: {text}"))),
    }
}

pub(super) fn damaged(index: usize, kind: Type, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, kind, what.into())
}

/// The data of an id that was taken over, until its object was read: no JSON.
pub(super) fn unknown_data() -> Sha256 {
    Sha256::of(b"")
}

/// What is known of a task, for deciding about its completion.
pub(super) fn facts(task: KnownTask) -> TaskFacts {
    if task.data_hash == unknown_data() {
        return TaskFacts::default();
    }
    let present = matches!(task.state, TaskState::Live | TaskState::Foreign).then_some(task.data_hash);
    // What an import's id stood for before was another task.
    let mut hashes = if task.state == TaskState::Foreign { Vec::new() } else { task.older };
    hashes.push(task.data_hash);
    TaskFacts { known: true, present, hashes }
}
