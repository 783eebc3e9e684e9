//! Replacing a file whole, and looking at what was displaced.
//!
//! Promise: at each instant the name holds the old file or the new one, whole; success means durable; failure means
//! the old file as it was and no temporary file. A failed fsync is never tried again on the same file (promise 37).
//! Not here: whether to replace, and what a displaced file means.
//!
//! Steps: write `<name>.lsd-tmp` (owner, group, mode, ACL first, then bytes, then fsync); rename it to
//! `<name>.lsd-old`; exchange it with `<name>`; fsync the directory. From the exchange on `<name>.lsd-old` is the
//! displaced file, in which Label Studio may still be writing: so a `.lsd-tmp` is always worth nothing and a
//! `.lsd-old` never is without a look.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::fill::Filling;
use super::{Attributes, Contents, Dir, FileError, FileErrorKind, Fingerprint, TEMP_SUFFIX};
use super::{attributes, fingerprint_of, plain_file, read_whole};

/// What must stand at the name for a replacement to happen.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// Nothing. The new file is made like another one (Label Studio's `tasks.json`): its owner, group, mode and ACL.
    /// Without one it gets the directory's owner and group where the daemon may give it away, and 0664 less umask.
    Absent {
        /// Whose attributes to take.
        like: Option<&'a Attributes>,
    },
    /// This version; the new file keeps its owner, group, mode and ACL.
    Is(&'a Fingerprint),
}

/// A replacement that is durable.
#[must_use = "what was displaced may hold what somebody wrote last"]
#[derive(Debug)]
pub struct Replaced {
    /// The version that was written.
    pub print: Fingerprint,
    /// The old file; `None` where there was none.
    pub displaced: Option<Displaced>,
}

/// A file that lost its name to another one and stands beside it until it is discarded.
///
/// Dropping it leaves it on the disk: [`Dir::clean_leftovers`] finds it at the next start.
#[must_use = "look at it again, then `discard` or `undo`"]
#[derive(Debug)]
pub struct Displaced {
    dir: Dir,
    name: String,
    displaced_as: String,
    file: File,
    print: Fingerprint,
    replacement: Fingerprint,
    as_expected: bool,
}

/// How taking back a replacement ended.
#[derive(Debug)]
pub enum Undone {
    /// The displaced file has its name again. Here is the replacement, not visible any more.
    Restored(Displaced),
    /// Somebody has changed or removed the replacement already: everything is left as it was before.
    Overtaken(Displaced),
}

impl Dir {
    /// Replaces the file `name`, if what stands there is as `expected`, by what `write` writes.
    ///
    /// [`FileErrorKind::NotAsExpected`]: something else stands there, look again.
    /// [`FileErrorKind::CannotKeepOwner`]: the attributes cannot be kept. After any error the old file is in place.
    /// What slipped in at the last moment is in the result: see [`Displaced::as_expected`].
    pub fn replace(
        &self,
        name: &str,
        expected: Expected<'_>,
        write: impl FnOnce(&mut Filling<'_>) -> io::Result<()>,
    ) -> Result<Replaced, FileError> {
        match expected {
            Expected::Absent { like } => self.create(name, like, write),
            Expected::Is(print) => self.exchange(name, print, write),
        }
    }

    fn create(
        &self,
        name: &str,
        like: Option<&Attributes>,
        write: impl FnOnce(&mut Filling<'_>) -> io::Result<()>,
    ) -> Result<Replaced, FileError> {
        if self.fingerprint(name)?.is_some() {
            return Err(self.unexpected(name, "a file is there already"));
        }
        let mut temp = self.new_file(&format!("{name}{TEMP_SUFFIX}"), like)?;
        let written = temp.fill(write)?;
        self.rename_to_absent(&temp.name, name)?;
        temp.keep();
        if let Err(e) = self.sync() {
            self.withdraw(name, &written);
            return Err(e);
        }
        Ok(Replaced { print: settled_print(&temp.file, &written), displaced: None })
    }

    fn exchange(
        &self,
        name: &str,
        expected: &Fingerprint,
        write: impl FnOnce(&mut Filling<'_>) -> io::Result<()>,
    ) -> Result<Replaced, FileError> {
        let (old, kept) = self.open_to_keep(name, expected)?;
        let path = self.path_of(name);
        let mut temp = self.temp_file(&format!("{name}{TEMP_SUFFIX}"), Mode::RUSR | Mode::WUSR)?;
        kept.apply(&temp.file, &path)?;
        let written = temp.fill(write)?;
        if self.fingerprint(name)? != Some(*expected) {
            return Err(self.unexpected(name, "it changed while its replacement was written"));
        }
        temp.name = self.stage(&temp.name, name)?;
        self.swap(&temp.name, name)?;
        temp.keep();
        let displaced = Displaced::open(self, name, &temp.name, (old, expected), &written)
            .and_then(|displaced| displaced.checked(&kept))
            .and_then(|displaced| self.sync().map(|()| displaced));
        match displaced {
            Ok(displaced) => Ok(Replaced { print: settled_print(&temp.file, &written), displaced: Some(displaced) }),
            Err(e) => {
                // Not durable; or a link, fifo or directory was put there at the last moment.
                self.take_back(&temp.name, name, &written);
                Err(e)
            }
        }
    }

    /// A new file `name` with the attributes of `like`, or of the directory.
    pub(crate) fn new_file(&self, name: &str, like: Option<&Attributes>) -> Result<Temp, FileError> {
        let path = self.path_of(name);
        let Some(like) = like else {
            let temp = self.temp_file(name, Mode::from_raw_mode(attributes::NEW_FILE_MODE))?;
            let directory = rustix::fs::fstat(&*self.fd).map_err(|e| FileError::system("look at", &path, e))?;
            attributes::like_directory(&temp.file, &directory);
            return Ok(temp);
        };
        let temp = self.temp_file(name, Mode::RUSR | Mode::WUSR)?;
        like.apply_to_new(&temp.file, &path)?;
        Ok(temp)
    }

    fn temp_file(&self, name: &str, mode: Mode) -> Result<Temp, FileError> {
        let path = self.path_of(name);
        super::check_name(name, "write", &path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match self.openat(name, flags, mode) {
            Err(Errno::EXIST) => {
                // Left by a crash: such a file is ours and never whole.
                self.unlink(name)?;
                self.openat(name, flags, mode)
            }
            other => other,
        };
        let file = opened.map_err(|e| FileError::system("write", &path, e))?;
        Ok(Temp { dir: self.clone(), name: name.to_owned(), file, visible: false })
    }

    /// What is replaced, and its attributes; refused where they cannot even be read.
    fn open_to_keep(&self, name: &str, expected: &Fingerprint) -> Result<(File, Attributes), FileError> {
        let path = self.path_of(name);
        match self.open_reader(name) {
            Ok(Some((file, print))) if print == *expected => {
                let kept = Attributes::of(&file, &path)?;
                Ok((file, kept))
            }
            Ok(Some(_)) => Err(self.unexpected(name, "another version is there")),
            Ok(None) => Err(self.unexpected(name, "it is gone")),
            Err(e) if e.kind == FileErrorKind::PermissionDenied => match self.stat("replace", name)? {
                Some(stat) => Err(Attributes::of_stat(&stat).refusal(&path)),
                None => Err(e),
            },
            Err(e) => Err(e),
        }
    }

    /// Takes a new file back whose directory could not be made durable, unless somebody wrote it meanwhile.
    fn withdraw(&self, name: &str, written: &Fingerprint) {
        let hidden = format!("{name}{TEMP_SUFFIX}");
        if self.rename_to_absent(name, &hidden).is_err() {
            return;
        }
        let ours = self.fingerprint(&hidden).is_ok_and(|now| now.is_some_and(|now| now.same_content(written)));
        // The replacement is reported as failed either way; what is left of it here is a leftover.
        let _removed = if ours { self.unlink(&hidden) } else { self.rename_to_absent(&hidden, name) };
    }

    /// Gives what was displaced its name back, unless somebody wrote the replacement meanwhile.
    /// What cannot be tidied up now stays as a leftover for the next start; the caller reports why it came to this.
    fn take_back(&self, staged: &str, name: &str, written: &Fingerprint) {
        if self.swap(staged, name).is_err() {
            return;
        }
        let ours = self.fingerprint(staged).is_ok_and(|now| now.is_some_and(|now| now.same_content(written)));
        let _tidied = if ours { self.unlink(staged) } else { self.swap(staged, name) };
    }

    fn unexpected(&self, name: &str, detail: &str) -> FileError {
        FileError::new(FileErrorKind::NotAsExpected, "replace", &self.path_of(name), detail)
    }
}

impl Displaced {
    /// Looks at what stands at `displaced_as` now. Where that is the file that was opened as the old one, its
    /// descriptor serves: nothing can fail then for want of another.
    fn open(
        dir: &Dir,
        name: &str,
        displaced_as: &str,
        (old, expected): (File, &Fingerprint),
        replacement: &Fingerprint,
    ) -> Result<Self, FileError> {
        let gone = || dir.unexpected(displaced_as, "it is gone");
        let print = dir.fingerprint(displaced_as)?.ok_or_else(gone)?;
        let same = fingerprint_of(&old).is_ok_and(|old| (old.dev, old.ino) == (print.dev, print.ino));
        let (file, print) = if same { (old, print) } else { dir.open_reader(displaced_as)?.ok_or_else(gone)? };
        let as_expected = print.same_content(expected);
        let (dir, name, displaced_as) = (dir.clone(), name.to_owned(), displaced_as.to_owned());
        Ok(Self { dir, name, displaced_as, file, print, replacement: *replacement, as_expected })
    }

    /// Attributes that were changed after they were copied count as a change too.
    fn checked(mut self, kept: &Attributes) -> Result<Self, FileError> {
        self.as_expected &= Attributes::of(&self.file, &self.path())? == *kept;
        Ok(self)
    }

    /// Whether it was, when it was displaced, what the caller expected. If not: [`Displaced::undo`], or merge.
    pub fn as_expected(&self) -> bool {
        self.as_expected
    }

    /// The name it has now, beside the file that took its name.
    pub fn displaced_as(&self) -> &str {
        &self.displaced_as
    }

    /// Its version now. Somebody who had it open before may still be writing: see [`Displaced::is_unchanged`].
    pub fn fingerprint(&self) -> Result<Fingerprint, FileError> {
        fingerprint_of(&self.file).map_err(|e| FileError::system("look at", &self.path(), e))
    }

    /// Whether nobody has written into it since it was displaced.
    pub fn is_unchanged(&self) -> Result<bool, FileError> {
        Ok(self.fingerprint()?.same_content(&self.print))
    }

    /// Its bytes now, as [`Dir::read`].
    pub fn read(&self, limit_bytes: u64) -> Result<Contents, FileError> {
        read_whole(&self.file, &self.path(), limit_bytes)
    }

    /// Removes it for good.
    pub fn discard(self) -> Result<(), FileError> {
        self.dir.unlink(&self.displaced_as)
    }

    /// Exchanges it back, unless the replacement is not what was written any more.
    pub fn undo(self) -> Result<Undone, FileError> {
        let Some((new, _)) = self.dir.open_reader(&self.name)? else { return Ok(Undone::Overtaken(self)) };
        match self.dir.swap(&self.displaced_as, &self.name) {
            Ok(()) => {}
            Err(e) if e.kind == FileErrorKind::NotAsExpected => return Ok(Undone::Overtaken(self)),
            Err(e) => return Err(e),
        }
        match Self::open(&self.dir, &self.name, &self.displaced_as, (new, &self.replacement), &self.print) {
            Ok(replacement) if replacement.as_expected => {
                self.dir.sync()?;
                Ok(Undone::Restored(replacement))
            }
            Ok(_) => {
                self.dir.swap(&self.displaced_as, &self.name)?;
                Ok(Undone::Overtaken(self))
            }
            Err(e) => {
                self.dir.swap(&self.displaced_as, &self.name)?;
                Err(e)
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path_of(&self.displaced_as)
    }
}

/// The version that stands at the name, or, when somebody wrote into it already, the one before that:
/// so that their change is seen as a change.
fn settled_print(file: &File, written: &Fingerprint) -> Fingerprint {
    fingerprint_of(file).ok().filter(|now| now.same_content(written)).unwrap_or(*written)
}

/// A file that is being written; removed when dropped before it is kept.
#[derive(Debug)]
pub(crate) struct Temp {
    pub(crate) dir: Dir,
    pub(crate) name: String,
    pub(crate) file: File,
    visible: bool,
}

impl Temp {
    fn fill(&self, write: impl FnOnce(&mut Filling<'_>) -> io::Result<()>) -> Result<Fingerprint, FileError> {
        let mut filling = Filling::of(&self.file);
        let written = write(&mut filling).and_then(|()| filling.flush());
        filling.forget();
        written.map_err(|e| FileError::system("write", &self.dir.path_of(&self.name), e))?;
        self.make_durable()
    }

    /// Fsync, once: after an error the pages may be marked clean though they never reached the disk.
    pub(crate) fn make_durable(&self) -> Result<Fingerprint, FileError> {
        let path = self.dir.path_of(&self.name);
        rustix::fs::fsync(&self.file).map_err(|e| FileError::system("sync", &path, e))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|e| FileError::system("look at", &path, e))?;
        plain_file(&stat, "look at", &path)
    }

    /// Its version now.
    pub(crate) fn print(&self) -> Result<Fingerprint, FileError> {
        fingerprint_of(&self.file).map_err(|e| FileError::system("look at", &self.dir.path_of(&self.name), e))
    }

    /// It has its name now: it stays.
    pub(crate) fn keep(&mut self) {
        self.visible = true;
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.visible {
            // The error that led here is what is reported; a temp that cannot be removed is cleaned at the next start.
            let _removed = self.dir.unlink(&self.name);
        }
    }
}
