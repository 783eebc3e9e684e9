//! Locks: one daemon a project, one daemon a state directory.
//!
//! Promise: a lock dies with its process (flock): no stale lock file blocks a start, and another path or bind mount
//! of the same file meets the same lock.
//! Not here: what is locked, and what a locked-out daemon does.

use std::fs::File;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, FileError, FileErrorKind, Fingerprint, attributes};

/// How often a lock file may be replaced between opening and locking it before we give up.
const ATTEMPTS: u32 = 8;

/// What to do when the file to lock is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfAbsent {
    /// An error: a project's marker is never made by locking it.
    Fail,
    /// Make it, empty.
    Create,
}

/// A held lock; released when dropped, or when the process ends.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    _file: File,
}

impl Dir {
    /// Locks the file `name` for this process; [`FileErrorKind::Locked`] when another one holds it.
    pub fn lock(&self, name: &str, if_absent: IfAbsent) -> Result<Lock, FileError> {
        for _ in 0..ATTEMPTS {
            let file = self.open_to_lock(name, if_absent)?;
            let path = self.path_of(name);
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|e| FileError::system("lock", &path, e))?;
            let stat = rustix::fs::fstat(&file).map_err(|e| FileError::system("lock", &path, e))?;
            // A file that was replaced meanwhile locks nobody else out.
            let locked = Fingerprint::of(&stat);
            if self.fingerprint(name)?.is_some_and(|now| (now.dev, now.ino) == (locked.dev, locked.ino)) {
                return Ok(Lock { _file: file });
            }
        }
        Err(FileError::new(FileErrorKind::Changing, "lock", &self.path_of(name), "it is replaced again and again"))
    }

    fn open_to_lock(&self, name: &str, if_absent: IfAbsent) -> Result<File, FileError> {
        if let Some((file, _)) = self.open_reader(name)? {
            return Ok(file);
        }
        let path = self.path_of(name);
        if if_absent == IfAbsent::Fail {
            return Err(FileError::system("lock", &path, Errno::NOENT));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(attributes::NEW_FILE_MODE);
        self.openat(name, flags, mode).map_err(|e| FileError::system("create", &path, e))
    }
}
