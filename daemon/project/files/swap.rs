//! Exchanging and publishing names, on file systems that have renameat2's flags and on those that have not.
//!
//! Promise: nothing that stands at a name is lost: what is displaced keeps a name.
//! Not here: what the files hold.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::names::old_names;
use super::{Dir, FileError, FileErrorKind};

impl Dir {
    /// Exchanges the files at `staged` and `name`. A missing `name` is [`FileErrorKind::NotAsExpected`].
    ///
    /// Where the file system cannot exchange: the old file is linked to a second name, `staged` is renamed over
    /// `name`, and the second name becomes `staged`. Readers still see the old or the new file, never none. A file
    /// that somebody renames onto `name` between those steps is lost there; Label Studio writes in place, so it
    /// writes into the linked file, which is kept.
    pub(super) fn swap(&self, staged: &str, name: &str) -> Result<(), FileError> {
        match rustix::fs::renameat_with(&*self.fd, staged, &*self.fd, name, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            Err(errno) if lacks(errno) => self.swap_by_link(staged, name),
            Err(Errno::NOENT) => Err(self.gone(name)),
            Err(errno) => Err(FileError::system("exchange", &self.path_of(name), errno)),
        }
    }

    /// Renames `from` to `to` where nothing stands yet; otherwise [`FileErrorKind::NotAsExpected`].
    pub(super) fn rename_to_absent(&self, from: &str, to: &str) -> Result<(), FileError> {
        let done = match rustix::fs::renameat_with(&*self.fd, from, &*self.fd, to, RenameFlags::NOREPLACE) {
            Err(errno) if lacks(errno) => self.link(from, to).and_then(|()| {
                let unlink = |name| rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty());
                // A file that keeps its first name was not renamed: it must not stay visible under the second.
                unlink(from).inspect_err(|_| _ = unlink(to))
            }),
            other => other,
        };
        done.map_err(|errno| self.naming_error(errno, to))
    }

    /// Renames `from` here to `to` in another directory of the same file system, over what stands there.
    pub(crate) fn rename_into(&self, from: &str, other: &Dir, to: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&*self.fd, from, &*other.fd, to)
            .map_err(|e| FileError::system("rename", &other.path_of(to), e))
    }

    /// Moves `from` to the first free name for a displaced version of `name`.
    pub(super) fn stage(&self, from: &str, name: &str) -> Result<String, FileError> {
        for staged in old_names(name) {
            match self.rename_to_absent(from, &staged) {
                Ok(()) => return Ok(staged),
                Err(e) if e.kind == FileErrorKind::NotAsExpected => {}
                Err(e) => return Err(e),
            }
        }
        Err(self.no_free_name(name))
    }

    fn swap_by_link(&self, staged: &str, name: &str) -> Result<(), FileError> {
        let spare = old_names(name).find_map(|spare| match self.link(name, &spare) {
            Err(Errno::EXIST) => None,
            Ok(()) => Some(Ok(spare)),
            Err(errno) => Some(Err(errno)),
        });
        let spare = match spare {
            Some(Ok(spare)) => spare,
            Some(Err(Errno::NOENT)) => return Err(self.gone(name)),
            Some(Err(errno)) => return Err(self.naming_error(errno, name)),
            None => return Err(self.no_free_name(name)),
        };
        if let Err(errno) = rustix::fs::renameat(&*self.fd, staged, &*self.fd, name) {
            self.unlink(&spare)?;
            return Err(FileError::system("replace", &self.path_of(name), errno));
        }
        let moved = rustix::fs::renameat(&*self.fd, &spare, &*self.fd, staged);
        moved.map_err(|errno| {
            // The old file takes its name back; if that fails too it stays a leftover under the second name.
            let _restored = rustix::fs::renameat(&*self.fd, &spare, &*self.fd, name);
            FileError::system("replace", &self.path_of(name), errno)
        })
    }

    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        // EPERM is how most file systems say that they have no hard links.
        let linked = rustix::fs::linkat(&*self.fd, from, &*self.fd, to, AtFlags::empty());
        linked.map_err(|errno| if errno == Errno::PERM { Errno::NOTSUP } else { errno })
    }

    fn gone(&self, name: &str) -> FileError {
        FileError::new(FileErrorKind::NotAsExpected, "replace", &self.path_of(name), "it is gone")
    }

    fn no_free_name(&self, name: &str) -> FileError {
        let detail = "too many displaced versions of it stand beside it";
        FileError::new(FileErrorKind::TooManyEntries, "replace", &self.path_of(name), detail)
    }

    fn naming_error(&self, errno: Errno, to: &str) -> FileError {
        let error = FileError::system("rename", &self.path_of(to), errno);
        match errno {
            Errno::EXIST => error.with_kind(FileErrorKind::NotAsExpected, "a file is there already"),
            Errno::NOTSUP | Errno::NOSYS | Errno::MLINK => error.with_kind(FileErrorKind::Unsupported, ""),
            _ => error,
        }
    }
}

/// The answers of file systems without the flags of renameat2.
fn lacks(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}
