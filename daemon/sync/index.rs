//! What is recorded of a source's objects, as the planner walks it beside a listing.
//!
//! Promise: rows come in byte order of their keys; a row that says that nothing changed costs no allocation.
//! Not here: where rows are kept.

use std::iter::Peekable;

use super::action::Form;
use crate::names::{ETag, Key, TaskId};

/// A row of the index: an object that has, or had, a task, or is quarantined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// The object.
    pub key: Key,
    /// The version last seen.
    pub etag: ETag,
    /// What became of it.
    pub state: KnownState,
    /// The version of its local copy.
    pub copied: Option<ETag>,
    /// It has a task, and this version of the object could not become one.
    pub bad: bool,
}

/// What became of a known object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownState<F = Form> {
    /// It has a task that should stand in `tasks.json`.
    Live {
        /// Its id.
        id: TaskId,
        /// How the task was made.
        form: F,
        /// The object had vanished, the task stayed.
        gone: bool,
    },
    /// It has a task that is hidden.
    Hidden {
        /// Its id, kept.
        id: TaskId,
        /// There is nothing to show without its object: that had vanished (`on_removed = "hide"`), or was never read, as of
        /// an id that was taken over. False: it was deselected.
        removed: bool,
    },
    /// The user deleted its task: it is never made again.
    Retired,
    /// It cannot become a task.
    Quarantined,
}

/// A row where it lies; [`Known`] says what its parts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownRef<'a> {
    /// The object.
    pub key: &'a str,
    /// The version last seen.
    pub etag: &'a str,
    /// What became of it.
    pub state: KnownState<&'a Form>,
    /// The version of its local copy.
    pub copied: Option<&'a str>,
    /// It has a task, and this version of the object could not become one.
    pub bad: bool,
}

impl KnownState {
    /// The same where it lies.
    pub fn as_ref(&self) -> KnownState<&Form> {
        match self {
            Self::Live { id, form, gone } => KnownState::Live { id: *id, form, gone: *gone },
            Self::Hidden { id, removed } => KnownState::Hidden { id: *id, removed: *removed },
            Self::Retired => KnownState::Retired,
            Self::Quarantined => KnownState::Quarantined,
        }
    }
}

impl Known {
    /// The same where it lies.
    pub fn as_ref(&self) -> KnownRef<'_> {
        KnownRef {
            key: self.key.as_str(),
            etag: self.etag.as_str(),
            state: self.state.as_ref(),
            copied: self.copied.as_ref().map(ETag::as_str),
            bad: self.bad,
        }
    }
}

/// The index, walked once.
pub trait Index {
    /// Why it cannot be read.
    type Error;

    /// The row at hand; `None` after the last.
    fn row(&mut self) -> Result<Option<KnownRef<'_>>, Self::Error>;

    /// Goes to the next row.
    fn advance(&mut self);

    /// Goes to the first row after this key; `None`: after all.
    fn skip_past(&mut self, last: Option<&str>) -> Result<(), Self::Error> {
        while self.row()?.is_some_and(|row| last.is_none_or(|last| row.key <= last)) {
            self.advance();
        }
        Ok(())
    }
}

impl<E: 'static, I: Iterator<Item = Result<Known, E>>> Index for Peekable<I> {
    type Error = E;

    fn row(&mut self) -> Result<Option<KnownRef<'_>>, E> {
        match self.next_if(Result::is_err) {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => match self.peek() {
                Some(Ok(row)) => Ok(Some(row.as_ref())),
                Some(Err(_)) | None => Ok(None),
            },
        }
    }

    fn advance(&mut self) {
        self.next();
    }
}
