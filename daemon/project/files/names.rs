//! What stands in a directory, and what a crash left there.
//!
//! Promise: entries come one by one, in bounded memory, each of the kind it is; labelsync's own temporary files are
//! never taken as data and never pile up (promise 42).
//! Not here: what a name means.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{ffi::OsString, iter};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{Dir, FileError, FileErrorKind, OLD_SUFFIX, TEMP_SUFFIX};

/// Displaced files that one start hands back at most: one crash leaves one, so more are an operator's to see.
pub const LEFTOVERS_MAX: usize = 1_000;

/// The digit that may follow [`OLD_SUFFIX`] goes to this number.
pub(super) const OLD_NAMES: u32 = 9;

/// What an entry of a directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A link, fifo, socket, device: never opened.
    Other,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name, as bytes: not always UTF-8.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
}

/// The entries of a directory, in the order of the file system, without `.` and `..`.
/// Entries made or removed meanwhile may be in it or not.
pub struct Names {
    dir: Dir,
    entries: rustix::fs::Dir,
    left: u64,
    limit: u64,
    over: bool,
}

/// A file that a crash left between two steps of a replacement: either the new version, not yet put in place, or the
/// displaced old one, in which Label Studio may have written last. Compare it before it is discarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    /// The name it has now (`7.json.lsd-old`).
    pub name: String,
    /// The name it is a version of (`7.json`).
    pub of: String,
}

impl Dir {
    /// The entries, lazily; after `limit_entries` an error of [`FileErrorKind::TooManyEntries`] ends them.
    pub fn names(&self, limit_entries: u64) -> Result<Names, FileError> {
        self.check_attached()?;
        let entries = rustix::fs::Dir::read_from(&*self.fd)
            .map_err(|e| FileError::system("list the directory", &self.path, e))?;
        Ok(Names { dir: self.clone(), entries, left: limit_entries, limit: limit_entries, over: false })
    }

    /// Removes files that were being written when the daemon died, and returns what may be more than that.
    /// Call it at start only, while nothing is being replaced.
    pub fn clean_leftovers(&self) -> Result<Vec<Leftover>, FileError> {
        let mut kept = Vec::new();
        for entry in self.names(u64::MAX)? {
            let Entry { name, kind } = entry?;
            let Some(name) = name.to_str() else { continue };
            if kind != EntryKind::File {
                continue;
            }
            if name.ends_with(TEMP_SUFFIX) {
                self.unlink(name)?;
                continue;
            }
            let Some(of) = displaced_name(name) else { continue };
            if kept.len() == LEFTOVERS_MAX {
                let detail = format!("more than {LEFTOVERS_MAX} files end in {OLD_SUFFIX}");
                return Err(FileError::new(FileErrorKind::TooManyEntries, "clean", &self.path, detail));
            }
            kept.push(Leftover { name: name.to_owned(), of: of.to_owned() });
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }

    /// Removes a leftover that was compared and is not needed.
    pub fn discard_leftover(&self, leftover: &Leftover) -> Result<(), FileError> {
        self.unlink(&leftover.name)?;
        self.sync()
    }

    /// Removes a name; one that is gone already is no error.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), FileError> {
        let path = self.path_of(name);
        super::check_name(name, "remove", &path)?;
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(FileError::system("remove", &path, errno)),
        }
    }
}

/// Whether a name is one of labelsync's own for the time of a replacement.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    name.ends_with(TEMP_SUFFIX) || displaced_name(name).is_some()
}

/// `7.json` of `7.json.lsd-old` or `7.json.lsd-old2`.
fn displaced_name(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(|c: char| c.is_ascii_digit()).unwrap_or(name);
    stem.strip_suffix(OLD_SUFFIX).filter(|of| !of.is_empty())
}

/// The names that a displaced version of `name` may get, in order.
pub(super) fn old_names(name: &str) -> impl Iterator<Item = String> {
    let first = format!("{name}{OLD_SUFFIX}");
    let further = (2..=OLD_NAMES).map({
        let first = first.clone();
        move |n| format!("{first}{n}")
    });
    iter::once(first).chain(further)
}

impl Iterator for Names {
    type Item = Result<Entry, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            let entry = match self.entries.read()? {
                Ok(entry) => entry,
                Err(e) => {
                    self.over = true;
                    return Some(Err(FileError::system("list the directory", &self.dir.path, e)));
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.left == 0 {
                self.over = true;
                let detail = format!("more than {}", self.limit);
                let full = FileError::new(FileErrorKind::TooManyEntries, "list", &self.dir.path, detail);
                return Some(Err(full));
            }
            self.left -= 1;
            let name = OsString::from_vec(name.to_vec());
            return match self.dir.kind_of(&name, entry.file_type()) {
                Ok(Some(kind)) => Some(Ok(Entry { name, kind })),
                Ok(None) => continue,
                Err(e) => Some(Err(e)),
            };
        }
        None
    }
}

impl Dir {
    /// Some file systems do not say in a listing what an entry is. `None`: it is gone.
    fn kind_of(&self, name: &OsStr, listed: FileType) -> Result<Option<EntryKind>, FileError> {
        let file_type = match listed {
            FileType::Unknown => match rustix::fs::statat(&*self.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(FileError::system("look at", &self.path.join(name), e)),
            },
            known => known,
        };
        Ok(Some(match file_type {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        }))
    }
}
