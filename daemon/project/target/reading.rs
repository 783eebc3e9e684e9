//! A completion's file, read whole, or what it is without being read.
//!
//! Promise: what was read is the version that was seen at rest.
//! Not here: what it means (`target::apply`).

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::names::{Sha256, TaskId};
use crate::project::error::CycleError;
use crate::project::files::{FileErrorKind, Fingerprint};
use crate::project::ledger::CompletionRow;
use crate::project::near::{Near, NearError, Reads};
use crate::project::rejected::{self, Rejected};
use crate::project::target::look::Wanted;
use crate::project::validate::{TaskLimits, completion_file};
use crate::sync::completions::{Local, goes_back};

/// What reading a file came to.
pub type FileRead = Result<(Local, Option<Bytes>), CycleError>;

/// What is known of a file before it is read.
pub fn first_local(wanted: &Wanted) -> Local {
    let Some(print) = wanted.print else {
        return if wanted.taken_back { Local::TakenBack } else { Local::Absent };
    };
    if wanted.row.as_ref().is_some_and(|row| row.tells_of(&print)) { Local::AsRecorded } else { Local::Unread }
}

/// Reads the files of these, where the first decision will ask for them. Blocks.
pub fn read_files(near: &dyn Near, wanted: &[Wanted], now: UnixMillis) -> Result<Vec<Option<FileRead>>, CycleError> {
    let reads = near.completion_reads()?;
    let is_asked_for = |wanted: &&Wanted| first_local(wanted) == Local::Unread;
    let read =
        |Wanted { id, row, print, .. }: &Wanted| read_file(&reads, &Standing::new(*id, row.as_ref(), *print, now));
    Ok(wanted.iter().map(|wanted| Some(wanted).filter(is_asked_for).map(read)).collect())
}

/// A file that is to be read.
#[derive(Debug)]
pub struct Standing {
    id: TaskId,
    print: Option<Fingerprint>,
    goes_back: bool,
}

impl Standing {
    /// In this version, beside what is recorded.
    pub fn new(id: TaskId, row: Option<&CompletionRow>, print: Option<Fingerprint>, now: UnixMillis) -> Self {
        let last_ns = row.and_then(CompletionRow::last_written_ns);
        let now_ns = now.0.saturating_mul(1_000_000);
        Self { id, print, goes_back: print.is_some_and(|print| goes_back(print.mtime_ns, last_ns, now_ns)) }
    }
}

/// Reads one. Blocks.
pub fn read_file(read: &Reads<'_>, file: &Standing) -> FileRead {
    let Standing { id, print, goes_back } = *file;
    let limits = TaskLimits::of_completions();
    let contents = match read(id, limits.body_bytes as u64) {
        Ok(Some(contents)) if Some(contents.print) == print => contents,
        // Another version than the one that was at rest.
        Ok(_) => return Ok((Local::Unsettled, None)),
        Err(error) if error.is_transient() => return Ok((Local::Unsettled, None)),
        Err(NearError::File(error)) if error.kind == FileErrorKind::TooLarge => {
            let (reason, detail) = (error.code().to_owned(), error.to_string());
            return Ok((Local::Bad { sha: None, reason, detail }, None));
        }
        Err(error) => return Err(error.into()),
    };
    let sha = Sha256::of(&contents.bytes);
    let local = match completion_file(&contents.bytes, id, &limits) {
        Ok(facts) => Local::File { sha, canonical: facts.canonical, data_hash: facts.data_hash, goes_back },
        Err(Rejected { code: rejected::TORN, .. }) => Local::Unsettled,
        Err(bad) => Local::Bad { sha: Some(sha), reason: bad.code.to_owned(), detail: bad.to_string() },
    };
    Ok((local, Some(Bytes::from(contents.bytes))))
}
