//! What can go wrong with a file, as an operator names it.
//!
//! Promise: every error names the file, the operation, the cause and what to do; codes are stable.
//! Not here: whether anything is tried again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::names::printable;

/// The situation. Codes are stable: status, logs, metrics and API use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileErrorKind {
    /// No space or quota left (ENOSPC, EDQUOT; also inodes).
    DiskFull,
    /// The file system is mounted read-only.
    ReadOnly,
    /// No file descriptors left (EMFILE, ENFILE).
    TooManyFiles,
    /// The daemon's user may not do this.
    PermissionDenied,
    /// A link, fifo, socket, device or directory stands where a file is expected (or no directory where one is).
    NotAFile,
    /// The directory that is needed is not there.
    Missing,
    /// The file was written while it was read: look again.
    Changing,
    /// Another version of the file than the expected one is there: look again.
    NotAsExpected,
    /// The file is larger than the limit.
    TooLarge,
    /// The directory has more entries than the limit.
    TooManyEntries,
    /// Owner, group, mode or ACL of the file could not be kept; nothing was changed.
    CannotKeepOwner,
    /// Somebody else holds the lock.
    Locked,
    /// The local copies have reached the size that the settings allow.
    CopiesFull,
    /// The name cannot be one entry of a directory.
    BadName,
    /// The file system can neither exchange two files nor link one.
    Unsupported,
    /// Anything else that the disk says.
    Io,
}

impl FileErrorKind {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::TooManyFiles => "too_many_files",
            Self::PermissionDenied => "permission_denied",
            Self::NotAFile => "not_a_file",
            Self::Missing => "directory_missing",
            Self::Changing => "changing",
            Self::NotAsExpected => "not_as_expected",
            Self::TooLarge => "too_large",
            Self::TooManyEntries => "too_many_entries",
            Self::CannotKeepOwner => "cannot_keep_owner",
            Self::Locked => "locked",
            Self::CopiesFull => "copies_full",
            Self::BadName => "bad_name",
            Self::Unsupported => "unsupported_file_system",
            Self::Io => "io_error",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::DiskFull => "free space (or inodes, or quota) on this file system; labelsync goes on by itself",
            Self::ReadOnly => {
                "with systemd: let the unit write there by a drop-in, which `labelsyncd init` writes \
                 (/etc/systemd/system/labelsyncd.service.d/PROJECT.conf: [Service], ReadWritePaths=DIRECTORY), then \
                 `systemctl daemon-reload && systemctl restart labelsyncd`; else remount the file system for writing"
            }
            Self::TooManyFiles => "raise LimitNOFILE= of the service",
            Self::PermissionDenied => "give the daemon's user access to this path",
            Self::NotAFile => "replace it with a plain file (a plain directory); links are never followed",
            Self::Missing => "check that the project's file system is mounted and its path is right",
            Self::Changing | Self::NotAsExpected => "nothing: labelsync looks again",
            Self::TooLarge => "make the file smaller or move it away",
            Self::TooManyEntries => "move what does not belong there out of the directory",
            Self::CannotKeepOwner => "run the daemon as root, or as the user who owns the file",
            Self::Locked => "stop the other daemon that serves this project or state directory",
            Self::CopiesFull => "raise `local_copy_max`, or narrow what is selected",
            Self::BadName => "rename it: one entry of a directory, at most 255 bytes with labelsync's own ending",
            Self::Unsupported => "put the project on a file system with hard links (ext4, xfs, btrfs, NFS)",
            Self::Io => "check the disk (dmesg) and the file system",
        }
    }

    /// Whether looking again is all that is needed.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Changing | Self::NotAsExpected)
    }

    fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::DiskFull,
            Errno::ROFS => Self::ReadOnly,
            Errno::MFILE | Errno::NFILE => Self::TooManyFiles,
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied,
            Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::ISDIR | Errno::NOTDIR => Self::NotAFile,
            Errno::NOENT => Self::Missing,
            Errno::NAMETOOLONG => Self::BadName,
            Errno::WOULDBLOCK => Self::Locked,
            _ => Self::Io,
        }
    }
}

/// A failed operation on a file.
#[derive(Debug, thiserror::Error)]
pub struct FileError {
    /// The situation.
    pub kind: FileErrorKind,
    /// The operation as a person says it: `open`, `read`, `replace`, `lock` …
    pub operation: &'static str,
    /// The file or directory it was about.
    pub path: PathBuf,
    detail: String,
    remedy: Option<String>,
    #[source]
    source: Option<io::Error>,
}

impl FileError {
    /// An error that labelsync itself finds.
    pub fn new(kind: FileErrorKind, operation: &'static str, path: &Path, detail: impl Into<String>) -> Self {
        Self { kind, operation, path: path.into(), detail: detail.into(), remedy: None, source: None }
    }

    /// An error that the system reports.
    pub fn system(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = Errno::from_io_error(&error).map_or(FileErrorKind::Io, FileErrorKind::of);
        Self { kind, operation, path: path.into(), detail: String::new(), remedy: None, source: Some(error) }
    }

    /// The same with a remedy that knows more than its kind.
    pub(crate) fn with_remedy(mut self, remedy: String) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The same as another kind: where the caller knows what the system's answer means.
    pub(crate) fn with_kind(mut self, kind: FileErrorKind, detail: impl Into<String>) -> Self {
        self.kind = kind;
        self.detail = detail.into();
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// What a person does next.
    pub fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_else(|| self.kind.remedy())
    }
}

/// The situation and the thing; the cause is the error's source, the remedy is [`FileError::remedy`].
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        write!(f, "cannot {} {}: {}", self.operation, printable(&path), self.code().replace('_', " "))?;
        if !self.detail.is_empty() {
            write!(f, " ({})", printable(&self.detail))?;
        }
        Ok(())
    }
}
