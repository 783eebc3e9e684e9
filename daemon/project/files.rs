//! What touches the disk in a project directory.
//!
//! Promise: every access is relative to an open directory and stays beneath it; links, fifos, sockets, devices are
//! never opened for content (promise 31); what is read is one version of the file, not a mixture (22); a replacement
//! is whole and durable or did not happen (19, 36 to 38), and keeps what Label Studio needs (89).
//! Not here: what any file means, when to look, whether to write. All calls block: use a blocking thread.

mod attributes;
mod error;
mod fill;
mod lock;
mod names;
mod print;
pub(crate) mod replace;
mod settle;
mod swap;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use rustix::io::Errno;

pub use attributes::Attributes;
pub use error::{FileError, FileErrorKind};
pub use fill::Filling;
pub use lock::{IfAbsent, Lock};
pub(crate) use names::is_temporary;
pub use names::{Entry, EntryKind, Leftover, Names};
pub use print::{Fingerprint, NotAFingerprint};
pub use replace::{Displaced, Expected, Replaced, Undone};
pub use settle::{PATIENCE, REST, Rest, Settler};

/// The end of the name of a file that is being written. Such a file is ours and worth nothing.
pub const TEMP_SUFFIX: &str = ".lsd-tmp";

/// The end (with an optional digit after it) of the name of a file that is being exchanged, or was displaced.
/// After a crash it may hold what Label Studio wrote last: see [`Dir::clean_leftovers`].
pub const OLD_SUFFIX: &str = ".lsd-old";

/// The longest name of a directory entry on Linux, bytes.
const NAME_MAX_BYTES: usize = 255;

/// An open directory. Clones share the descriptor.
///
/// It stays with the directory it was opened on: open it anew each cycle, or ask [`Dir::is_at`], to notice that
/// another one was put in its place. While it is open its file system cannot be unmounted.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Its bytes, all of one version.
    pub bytes: Vec<u8>,
    /// That version.
    pub print: Fingerprint,
}

impl Dir {
    /// Opens a directory that the settings name; links on the way to it are the operator's and are followed.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| FileError::system("open the directory", path, e))?;
        Ok(Self { fd: Arc::new(fd), path: path.into() })
    }

    /// Opens the sub-directory `name`, a plain directory and no link; made first where `create` says so
    /// (with mode, owner and group of this directory). [`FileErrorKind::Missing`] where it is not there.
    pub fn sub(&self, name: &str, create: bool) -> Result<Self, FileError> {
        let path = self.path_of(name);
        check_name(name, "open the directory", &path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || self.openat(name, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::NOENT) if create => {
                self.make_directory(name)?;
                open()
            }
            other => other,
        };
        let fd = fd.map_err(|e| FileError::system("open the directory", &path, e))?;
        Ok(Self { fd: Arc::new(fd.into()), path: path.into() })
    }

    /// The path this directory was opened by; for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `path` still leads to this directory.
    pub fn is_at(&self, path: &Path) -> bool {
        let (Ok(here), Ok(there)) = (rustix::fs::fstat(&*self.fd), rustix::fs::stat(path)) else { return false };
        (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    }

    /// The version of the file `name`; `None` where there is none.
    pub fn fingerprint(&self, name: &str) -> Result<Option<Fingerprint>, FileError> {
        Ok(self.stat("look at", name)?.map(|stat| Fingerprint::of(&stat)))
    }

    /// When a name was last added or removed, nanoseconds since 1970.
    pub fn changed_ns(&self) -> Result<i64, FileError> {
        let stat = rustix::fs::fstat(&*self.fd).map_err(|e| FileError::system("look at", &self.path, e))?;
        Ok(Fingerprint::of(&stat).mtime_ns)
    }

    /// When the file `name` was made, nanoseconds since 1970; `None` where there is none, or the file system does not say.
    pub fn born_ns(&self, name: &str) -> Result<Option<i64>, FileError> {
        let path = self.path_of(name);
        check_name(name, "look at", &path)?;
        match rustix::fs::statx(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME) {
            Ok(stat) if stat.stx_mask & StatxFlags::BTIME.bits() == 0 => Ok(None),
            Ok(stat) => Ok(Some(
                stat.stx_btime.tv_sec.saturating_mul(1_000_000_000).saturating_add(stat.stx_btime.tv_nsec.into()),
            )),
            Err(Errno::NOENT | Errno::NOSYS) => Ok(None),
            Err(errno) => Err(FileError::system("look at", &path, errno)),
        }
    }

    /// Owner, group, mode and ACL of the file `name`; `None` where there is none.
    pub fn attributes(&self, name: &str) -> Result<Option<Attributes>, FileError> {
        let Some((file, _)) = self.open_reader(name)? else { return Ok(None) };
        Attributes::of(&file, &self.path_of(name)).map(Some)
    }

    /// The whole file `name`, at most `limit_bytes`; `None` where there is none. [`FileErrorKind::Changing`] when it
    /// was written meanwhile: look again.
    ///
    /// A writer that began before this call may go unnoticed (a file's times are set when a write begins): the bytes
    /// are one version only when the fingerprint in the answer is the one that was found at rest ([`Settler`]).
    pub fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Contents>, FileError> {
        let Some((file, _)) = self.open_reader(name)? else { return Ok(None) };
        read_whole(&file, &self.path_of(name), limit_bytes).map(Some)
    }

    /// Opens the file `name` for reading in pieces. The reader compares the fingerprint with [`fingerprint_of`]
    /// the file at its end. The descriptor is non-blocking, which means nothing for plain files.
    pub fn open_reader(&self, name: &str) -> Result<Option<(File, Fingerprint)>, FileError> {
        // Looking first keeps a device from being opened at all, unless it is swapped in at this very moment.
        if self.stat("open", name)?.is_none() {
            return Ok(None);
        }
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match self.openat(name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(FileError::system("open", &path, errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| FileError::system("open", &path, e))?;
        let print = plain_file(&stat, "open", &path)?;
        Ok(Some((file, print)))
    }

    /// Opens the file `name` for adding at its end, made first with the attributes of `like` where it is not there.
    pub(crate) fn open_append(&self, name: &str, like: Option<&Attributes>) -> Result<File, FileError> {
        if self.stat("append to", name)?.is_none() {
            let _made = self.replace(name, Expected::Absent { like }, |_| Ok(()))?;
        }
        let path = self.path_of(name);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.openat(name, flags, Mode::empty()).map_err(|e| FileError::system("append to", &path, e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| FileError::system("append to", &path, e))?;
        plain_file(&stat, "append to", &path)?;
        Ok(file)
    }

    /// Makes all changes of names in this directory durable.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&*self.fd).map_err(|e| FileError::system("sync the directory", &self.path, e))
    }

    /// Bytes that the daemon may still fill on this file system.
    pub fn free_bytes(&self) -> Result<u64, FileError> {
        let stat = rustix::fs::fstatvfs(&*self.fd)
            .map_err(|e| FileError::system("ask for the free space of", &self.path, e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What stands at `name`, if it is a plain file.
    fn stat(&self, operation: &'static str, name: &str) -> Result<Option<Stat>, FileError> {
        let path = self.path_of(name);
        check_name(name, operation, &path)?;
        match rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => plain_file(&stat, operation, &path).map(|_| Some(stat)),
            Err(Errno::NOENT) => self.check_attached().map(|()| None),
            Err(errno) => Err(FileError::system(operation, &path, errno)),
        }
    }

    /// A removed directory shows no files: that must not be taken for "no files".
    fn check_attached(&self) -> Result<(), FileError> {
        let stat = rustix::fs::fstat(&*self.fd).map_err(|e| FileError::system("look at", &self.path, e))?;
        if stat.st_nlink == 0 {
            return Err(FileError::new(FileErrorKind::Missing, "look into", &self.path, "the directory was removed"));
        }
        Ok(())
    }

    fn openat(&self, name: &str, flags: OFlags, mode: Mode) -> Result<File, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::io::retry_on_intr(|| rustix::fs::openat2(&*self.fd, name, flags, mode, beneath)).map(File::from)
    }

    fn make_directory(&self, name: &str) -> Result<(), FileError> {
        let path = self.path_of(name);
        let fail = |e: Errno| FileError::system("make the directory", &path, e);
        check_name(name, "make the directory", &path)?;
        let parent = rustix::fs::fstat(&*self.fd).map_err(fail)?;
        match rustix::fs::mkdirat(&*self.fd, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(fail(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.openat(name, flags, Mode::empty()).map_err(fail)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(parent.st_mode & 0o7777)).map_err(fail)?;
        attributes::like_directory(&made, &parent);
        self.sync()
    }
}

/// The version of an open file now.
pub fn fingerprint_of(file: &File) -> io::Result<Fingerprint> {
    Ok(Fingerprint::of(&rustix::fs::fstat(file)?))
}

/// Names are single entries: what a key or a listing says never becomes a path.
fn check_name(name: &str, operation: &'static str, path: &Path) -> Result<(), FileError> {
    let single = !matches!(name, "" | "." | "..") && !name.bytes().any(|b| b == b'/' || b == 0);
    if !single || name.len() > NAME_MAX_BYTES {
        return Err(FileError::new(FileErrorKind::BadName, operation, path, "not one entry of a directory"));
    }
    Ok(())
}

fn plain_file(stat: &Stat, operation: &'static str, path: &Path) -> Result<Fingerprint, FileError> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(Fingerprint::of(stat)),
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown type",
    };
    Err(FileError::new(FileErrorKind::NotAFile, operation, path, format!("it is {what}")))
}

/// All bytes of one version of an open file; its position is neither used nor moved.
fn read_whole(file: &File, path: &Path, limit_bytes: u64) -> Result<Contents, FileError> {
    let fail = |e: io::Error| FileError::system("read", path, e);
    let print = fingerprint_of(file).map_err(fail)?;
    if print.size_bytes > limit_bytes {
        let detail = format!("{} bytes, the limit is {limit_bytes}", print.size_bytes);
        return Err(FileError::new(FileErrorKind::TooLarge, "read", path, detail));
    }
    let changing = |detail| Err(FileError::new(FileErrorKind::Changing, "read", path, detail));
    let size = usize::try_from(print.size_bytes).expect("a file within the limit fits into memory");
    let mut bytes = vec![0; size];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return changing("it became shorter"),
        Err(e) => return Err(fail(e)),
    }
    if fingerprint_of(file).map_err(fail)? != print {
        return changing("it was written while it was read");
    }
    Ok(Contents { bytes, print })
}
