//! Writes and deletes in a directory, each under its precondition.
//!
//! Promise: a reader sees the old or the new object, whole; what is acknowledged is on the disk; a failed write
//! leaves nothing behind but an empty parent directory.
//! Not here: reading.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::super::{Precondition, StoreErrorKind as Kind};
use super::beneath::{self, LOCK_FILE, TEMPORARY_DIR};
use crate::names::ETag;

/// Files and directories are made as any program makes them: the umask decides.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIR_MODE: Mode = Mode::from_raw_mode(0o777);

/// Why a write came to nothing, or to nobody knows what.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: Kind,
    pub detail: &'static str,
    pub cause: Option<std::io::Error>,
}

fn refused(kind: Kind, detail: &'static str) -> Failure {
    Failure { kind, detail, cause: None }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { kind: Kind::Io, detail: "", cause: Some(error) }
    }
}

/// Writes the object; its new version.
pub(super) fn put(
    root: BorrowedFd<'_>,
    path: &str,
    bytes: &[u8],
    precondition: &Precondition,
) -> Result<ETag, Failure> {
    let (dir, name) = beneath::split(path);
    let parent = match precondition {
        Precondition::Absent => make_dirs(root, dir)?,
        Precondition::Matches(_) => match beneath::open_dir(root, dir) {
            Err(error) if beneath::is_absence(error) => {
                return Err(refused(Kind::PreconditionFailed, "there is no such object"));
            }
            opened => opened?,
        },
    };
    let temporary = Temporary::write(root, bytes)?;
    match precondition {
        Precondition::Absent => temporary.publish_new(&parent, name)?,
        Precondition::Matches(etag) => {
            let _lock = lock(root)?;
            compare(&parent, name, etag)?;
            rustix::fs::renameat(&temporary.dir, &temporary.name, &parent, name)?;
        }
    }
    settle(&parent)?;
    Ok(beneath::etag(&rustix::fs::fstat(&temporary.file).map_err(|_| unsettled(Errno::IO))?))
}

/// Removes the object if it has this version.
pub(super) fn delete(root: BorrowedFd<'_>, path: &str, etag: &ETag) -> Result<(), Failure> {
    let (dir, name) = beneath::split(path);
    let parent = match beneath::open_dir(root, dir) {
        Err(error) if beneath::is_absence(error) => return Ok(()),
        opened => opened?,
    };
    let _lock = lock(root)?;
    if beneath::stat_file(&parent, name)?.is_none() {
        return Ok(());
    }
    compare(&parent, name, etag)?;
    rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    settle(&parent)
}

/// Removes what writes left behind that a crash ended; nothing while any write is under way.
pub(super) fn sweep(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let dir = match beneath::open_dir(root, TEMPORARY_DIR) {
        Err(error) if beneath::is_absence(error) => return Ok(()),
        opened => opened?,
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(()),
        locked => locked?,
    }
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            rustix::fs::unlinkat(&dir, entry.file_name(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// An object that has no key yet.
struct Temporary {
    dir: OwnedFd,
    name: String,
    file: OwnedFd,
}

impl Temporary {
    fn write(root: BorrowedFd<'_>, bytes: &[u8]) -> Result<Self, Failure> {
        let dir = make_dir(root, TEMPORARY_DIR)?;
        // Kept until the write is over: nobody sweeps meanwhile.
        rustix::fs::flock(&dir, FlockOperation::LockShared)?;
        let name = uuid::Uuid::new_v4().to_string();
        let file = beneath::open(&dir, &name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        let temporary = Self { dir, name, file };
        let mut file = std::fs::File::from(temporary.file.try_clone()?);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }

    /// Gives it its key, if no object has it.
    fn publish_new(&self, parent: &OwnedFd, name: &str) -> Result<(), Failure> {
        let published = match rustix::fs::renameat_with(&self.dir, &self.name, parent, name, RenameFlags::NOREPLACE) {
            // A file system that cannot rename so can link so.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(&self.dir, &self.name, parent, name, AtFlags::empty())
            }
            renamed => renamed,
        };
        match published {
            Err(Errno::EXIST) if beneath::stat_file(parent, name)?.is_some() => {
                Err(refused(Kind::PreconditionFailed, "the object exists"))
            }
            Err(Errno::EXIST) => Err(refused(Kind::UnsupportedKey, "a directory or link has this name")),
            published => Ok(published?),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename the name is gone; after a failure or a link it must go. The next sweep gets the rest.
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}

/// Serialises everything that compares a version before it acts, over all stores of this directory.
fn lock(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let lock = beneath::open(root, LOCK_FILE, OFlags::RDWR | OFlags::CREATE, FILE_MODE)?;
    loop {
        match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            locked => return locked.map(|()| lock),
        }
    }
}

fn compare(parent: &OwnedFd, name: &str, etag: &ETag) -> Result<(), Failure> {
    match beneath::stat_file(parent, name)? {
        Some(stat) if beneath::etag(&stat) == *etag => Ok(()),
        Some(_) => Err(refused(Kind::PreconditionFailed, "the object has another version")),
        None => Err(refused(Kind::PreconditionFailed, "there is no such object")),
    }
}

/// The change of a directory reaches the disk. Where that fails the change was made, and may or may not last.
fn settle(dir: &OwnedFd) -> Result<(), Failure> {
    rustix::fs::fsync(dir).map_err(unsettled)
}

fn unsettled(cause: Errno) -> Failure {
    Failure { kind: Kind::OutcomeUnknown, detail: "the directory could not be synced", cause: Some(cause.into()) }
}

fn make_dirs(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let mut dir = beneath::open_dir(root, "")?;
    for name in path.split_terminator('/') {
        dir = match make_dir(dir.as_fd(), name) {
            Err(error) if beneath::is_absence(error) => {
                return Err(refused(Kind::UnsupportedKey, "a file or link stands where a directory is needed"));
            }
            made => made?,
        };
    }
    Ok(dir)
}

fn make_dir(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    match beneath::open_dir(parent, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(parent, name, DIR_MODE) {
        // Somebody else was faster.
        Err(Errno::EXIST) => {}
        made => {
            made?;
            rustix::fs::fsync(parent)?;
        }
    }
    beneath::open_dir(parent, name)
}
