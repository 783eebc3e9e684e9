//! The near side as the road sees it: what can be looked at in a Label Studio project, and what can be done to it.
//!
//! Promise: a look that failed is an error, never "nothing there". `directory` is the implementation for 0.7/0.8;
//! a Label Studio 1.x server will be another.
//! Not here: deciding anything.

use std::fmt;

use super::copies::{Copies, CopyLimits};
use super::files::{Contents, Displaced, FileError, Fingerprint};
use super::tasks::file::{Edits, TasksFileError};
use crate::names::{Key, TaskId};

/// Label Studio's `source.json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceMap {
    /// No such file.
    Missing,
    /// Torn or damaged.
    Unreadable,
    /// Ids with the keys they stand for (`P/tasks.json/7`, `s3://bucket/key`), ascending by id.
    Ids(Vec<(TaskId, Key)>),
}

impl SourceMap {
    /// The ids with their keys; none where there is no whole map.
    pub fn ids(&self) -> &[(TaskId, Key)] {
        match self {
            Self::Ids(ids) => ids,
            Self::Missing | Self::Unreadable => &[],
        }
    }

    /// Every id that it names, ascending, also by a task's place in `tasks.json`; `None` where there is no whole map. Two
    /// threads of Label Studio that write it at once can leave a mixture, whole JSON too, with one id at another's key.
    pub fn named(&self) -> Option<Vec<TaskId>> {
        let Self::Ids(ids) = self else { return None };
        let place = |key: &Key| TaskId::parse(key.as_str().rsplit_once("tasks.json/")?.1);
        let mut named: Vec<TaskId> = ids.iter().flat_map(|(id, key)| [Some(*id), place(key)]).flatten().collect();
        named.sort_unstable();
        named.dedup();
        Some(named)
    }
}

/// What `tasks.json` was replaced by.
#[derive(Debug)]
pub struct Written {
    /// The new file.
    pub print: Fingerprint,
    /// The old one, in which Label Studio may still be writing.
    pub displaced: Option<Displaced>,
}

/// How bringing in a completion ended.
#[derive(Debug)]
pub enum BroughtIn {
    /// The file stands there; the displaced one must be looked at once more after a second.
    Done(Fingerprint, Option<Box<Displaced>>),
    /// Something else stood there than was expected: nothing was done.
    Overtaken,
}

/// Which storages Label Studio serves itself, by its `config.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnStorages {
    /// Its source is a cloud storage.
    pub source: bool,
    /// Its target is a cloud storage.
    pub target: bool,
}

/// Why the near side could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum NearError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// `tasks.json`.
    #[error(transparent)]
    Tasks(#[from] TasksFileError),
    /// It is not the project's directory any more.
    #[error("{path} has lost its marker labelsync.json while running: not mounted, emptied, or made anew")]
    Unmarked {
        /// The directory.
        path: String,
    },
    /// Another file of Label Studio's.
    #[error("{file} cannot be used: {detail}")]
    Invalid {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        detail: String,
    },
}

impl NearError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) => error.code(),
            Self::Tasks(TasksFileError::Torn) => "tasks_torn",
            Self::Tasks(TasksFileError::Invalid(_)) => "tasks_invalid",
            Self::Tasks(TasksFileError::Io(_)) => "io_error",
            Self::Unmarked { .. } => "marker_missing",
            Self::Invalid { .. } => "project_invalid",
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::File(error) => error.remedy().to_owned(),
            Self::Tasks(TasksFileError::Torn) => {
                "nothing while Label Studio is writing it; if it stays so, put back tasks.json from a backup: labelsync adds its own tasks again".to_owned()
            }
            Self::Tasks(TasksFileError::Invalid(_)) => {
                "repair tasks.json, or move it away: labelsync writes its own tasks again".to_owned()
            }
            Self::Tasks(TasksFileError::Io(_)) => "check the disk and the permissions of the project directory".to_owned(),
            Self::Unmarked { .. } => "mount or restore the project directory".to_owned(),
            Self::Invalid { file, .. } => format!("repair {file} in the project directory, as Label Studio needs it too"),
        }
    }

    /// Whether looking again is all that is needed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::File(error) => error.kind.is_transient(),
            Self::Tasks(error) => matches!(error, TasksFileError::Torn),
            Self::Unmarked { .. } | Self::Invalid { .. } => false,
        }
    }
}

/// Looks up versions of completion files.
pub type Prints<'n> = Box<dyn Fn(TaskId) -> Result<Option<Fingerprint>, NearError> + 'n>;

/// Reads completion files of at most so many bytes.
pub type Reads<'n> = Box<dyn Fn(TaskId, u64) -> Result<Option<Contents>, NearError> + 'n>;

/// A Label Studio project.
pub trait Near: Send + Sync + fmt::Debug {
    /// The version of `tasks.json`; `None`: there is none.
    fn tasks_print(&self) -> Result<Option<Fingerprint>, NearError>;
    /// Walks `tasks.json`; the version that was walked, from start to end.
    fn scan_tasks(
        &self,
        each: &mut dyn FnMut(TaskId, &str) -> std::io::Result<()>,
    ) -> Result<Option<Fingerprint>, NearError>;
    /// The version of `source.json`.
    fn source_print(&self) -> Result<Option<Fingerprint>, NearError>;
    /// Label Studio's map of what it has listed.
    fn source_map(&self) -> Result<SourceMap, NearError>;
    /// When the file `tasks.json` was made, nanoseconds since 1970; `None`: there is none, or nobody knows. Label Studio
    /// writes its files in place: one that was made at another time is not the one that it had.
    fn tasks_born_ns(&self) -> Result<Option<i64>, NearError> {
        Ok(None)
    }
    /// The same of the map's file.
    fn map_born_ns(&self) -> Result<Option<i64>, NearError> {
        Ok(None)
    }
    /// What the map said before `labelsyncd init --adopt` made it a local storage's.
    fn map_before(&self) -> Result<SourceMap, NearError> {
        Ok(SourceMap::Missing)
    }
    /// The label config and its version.
    fn label_config(&self) -> Result<(String, Fingerprint), NearError>;
    /// Which storages Label Studio serves itself.
    fn own_storages(&self) -> Result<OwnStorages, NearError>;
    /// Ids that have a completion file, ascending; other names are left out.
    fn completions(&self) -> Result<Vec<TaskId>, NearError>;
    /// Whether there is a place for completions at all. Without one their absence says nothing.
    fn has_completions(&self) -> Result<bool, NearError> {
        Ok(true)
    }
    /// When a completion was last added or removed, or is said to have been, nanoseconds since 1970: who puts a directory
    /// back puts back its time. `None`: nobody knows.
    fn completions_changed_ns(&self) -> Result<Option<i64>, NearError> {
        Ok(None)
    }
    /// The version of a completion file; `None`: there is none.
    fn completion_print(&self, id: TaskId) -> Result<Option<Fingerprint>, NearError>;
    /// The same for many, in the directory that is there now. Who has looked at all asks [`Near::has_completions`] once
    /// more, which notices another directory in its place.
    fn completion_prints(&self) -> Result<Prints<'_>, NearError> {
        Ok(Box::new(|id| self.completion_print(id)))
    }
    /// A whole completion file; `None`: there is none.
    fn completion(&self, id: TaskId, limit_bytes: u64) -> Result<Option<Contents>, NearError>;
    /// The same for many, in the directory that is there now.
    fn completion_reads(&self) -> Result<Reads<'_>, NearError> {
        Ok(Box::new(|id, limit_bytes| self.completion(id, limit_bytes)))
    }

    /// At the start: versions of `tasks.json` that were displaced when the last daemon died. They stay until
    /// [`Near::forget_displaced`].
    fn displaced_at_start(&self) -> Result<Vec<Vec<u8>>, NearError> {
        Ok(Vec::new())
    }
    /// They were looked at and recorded.
    fn forget_displaced(&self) -> Result<(), NearError> {
        Ok(())
    }

    /// The URL of an object's local copy, as Label Studio serves it with `allow_serving_local_files`.
    fn copy_url(&self, key: &Key) -> String;
    /// The place for local copies.
    fn copies(&self, limits: CopyLimits) -> Result<Copies, NearError>;

    /// Replaces `tasks.json`, where it still is `base`, by `base` with the edits. Durable when it returns.
    fn write_tasks(&self, base: Option<&Fingerprint>, edits: &mut dyn Edits) -> Result<Written, NearError>;
    /// Puts an object's bytes at `completions/<id>.json`, where that is still as expected. Durable when it returns.
    fn bring_in(&self, id: TaskId, bytes: &[u8], expected: Option<&Fingerprint>) -> Result<BroughtIn, NearError>;
    /// Writes `target.json`: every entry of `ids` under `root_and_prefix`, others as they were.
    fn write_target_map(&self, root_and_prefix: &str, ids: &[TaskId]) -> Result<(), NearError>;
}
