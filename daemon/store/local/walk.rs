//! The objects of a directory in the byte order of their keys, page after page.
//!
//! Promise: each directory is read once and only when its turn comes, so memory is bounded by the entries of
//! the directories on the way down; a directory that cannot be read is an error, never an empty one.
//! Not here: which walk a page token belongs to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::super::{ListRequest, Listed, Objects};
use super::beneath;
use crate::names::Key;

/// A listing under way.
pub(super) struct Walk {
    request: ListRequest,
    /// Only keys after this one.
    after: Option<String>,
    frames: Vec<Frame>,
    ahead: Option<Listed>,
    /// Entries that cannot be objects: links, devices, names that are not UTF-8.
    pub skipped: u64,
}

/// A directory on the way down.
struct Frame {
    /// From the root, empty or with a slash at its end.
    path: String,
    /// Open while the walk is in this very directory, so that depth costs no descriptors.
    dir: Option<OwnedFd>,
    entries: std::vec::IntoIter<Entry>,
}

struct Entry {
    name: String,
    is_dir: bool,
}

impl Entry {
    /// What decides the order: everything in a directory has its name and a slash in front.
    fn order(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.bytes().chain(self.is_dir.then_some(b'/'))
    }
}

/// A directory or file that could not be looked at.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// From the root.
    pub path: String,
    /// Why.
    pub cause: Errno,
}

impl Walk {
    /// Starts after the key `after`, or at the start.
    pub fn start(root: BorrowedFd<'_>, request: &ListRequest, after: Option<&str>) -> Result<Self, Unreadable> {
        let mut walk = Self {
            request: request.clone(),
            after: after.map(str::to_owned),
            frames: Vec::new(),
            ahead: None,
            skipped: 0,
        };
        let (top, _) = beneath::split(&request.prefix);
        let is_possible = top.is_empty() || beneath::path_of(&Key::new(top.trim_end_matches('/'))).is_some();
        if is_possible && !top.ends_with("//") {
            walk.enter(root, top.to_owned())?;
        }
        walk.ahead = walk.find(root)?;
        Ok(walk)
    }

    /// The next objects, at most so many.
    pub fn page(&mut self, root: BorrowedFd<'_>, max_objects: usize) -> Result<Objects, Unreadable> {
        let mut objects = Objects::default();
        while objects.len() < max_objects {
            let Some(object) = self.ahead.take() else { break };
            objects.push(object.key.as_str(), object.etag.as_str(), object.size_bytes);
            self.ahead = self.find(root)?;
        }
        Ok(objects)
    }

    /// Whether every object was given.
    pub fn is_over(&self) -> bool {
        self.ahead.is_none()
    }

    fn find(&mut self, root: BorrowedFd<'_>) -> Result<Option<Listed>, Unreadable> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(entry) = frame.entries.next() else {
                self.frames.pop();
                continue;
            };
            let mut path = format!("{}{}", frame.path, entry.name);
            if entry.is_dir {
                path.push('/');
                frame.dir = None;
                self.enter(root, path)?;
                continue;
            }
            match frame.stat(root, &entry.name) {
                Ok(Some(stat)) => {
                    let (etag, size_bytes) = (beneath::etag(&stat), beneath::size_bytes(&stat));
                    return Ok(Some(Listed { key: Key::new(path), etag, size_bytes }));
                }
                // Gone since the directory was read, or no regular file any more.
                Ok(None) => {}
                Err(cause) => return Err(Unreadable { path, cause }),
            }
        }
        Ok(None)
    }

    /// Reads a directory; one that is gone or too deep for a path is passed over.
    fn enter(&mut self, root: BorrowedFd<'_>, path: String) -> Result<(), Unreadable> {
        let dir = match beneath::open_dir(root, &path) {
            Ok(dir) => dir,
            Err(cause) if beneath::is_absence(cause) => return Ok(()),
            Err(Errno::NAMETOOLONG) => {
                self.skipped += 1;
                return Ok(());
            }
            Err(cause) => return Err(Unreadable { path, cause }),
        };
        match self.read(&dir, &path) {
            Ok(entries) => {
                self.frames.push(Frame { path, dir: Some(dir), entries: entries.into_iter() });
                Ok(())
            }
            Err(cause) => Err(Unreadable { path, cause }),
        }
    }

    fn read(&mut self, dir: &OwnedFd, path: &str) -> Result<Vec<Entry>, Errno> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                self.skipped += 1;
                continue;
            };
            if matches!(name, "." | "..") || beneath::is_own(name) {
                continue;
            }
            let is_dir = match file_type(dir, name, entry.file_type())? {
                Some(FileType::RegularFile) => false,
                Some(FileType::Directory) => true,
                Some(_) => {
                    self.skipped += 1;
                    continue;
                }
                None => continue,
            };
            if self.is_wanted(path, name, is_dir) {
                entries.push(Entry { name: name.to_owned(), is_dir });
            }
        }
        entries.sort_unstable_by(|a, b| a.order().cmp(b.order()));
        Ok(entries)
    }

    fn is_wanted(&self, path: &str, name: &str, is_dir: bool) -> bool {
        let mut full = format!("{path}{name}");
        if !is_dir {
            let is_after = self.after.as_ref().is_none_or(|after| full > *after);
            return is_after && full.starts_with(&self.request.prefix);
        }
        full.push('/');
        let is_after = self.after.as_ref().is_none_or(|after| full > *after || after.starts_with(&full));
        // The walk starts in the prefix's own directory, so what it wants of others lies deeper.
        is_after && !self.request.one_level && full.starts_with(&self.request.prefix)
    }
}

impl Frame {
    fn stat(&mut self, root: BorrowedFd<'_>, name: &str) -> Result<Option<rustix::fs::Stat>, Errno> {
        if self.dir.is_none() {
            match beneath::open_dir(root, &self.path) {
                Ok(dir) => self.dir = Some(dir),
                Err(cause) if beneath::is_absence(cause) => return Ok(None),
                Err(cause) => return Err(cause),
            }
        }
        let Some(dir) = &self.dir else { return Ok(None) };
        beneath::stat_file(dir, name)
    }
}

/// The entry's type; `None` where it is gone. Some file systems do not tell it in the directory.
fn file_type(dir: impl AsFd, name: &str, told: FileType) -> Result<Option<FileType>, Errno> {
    if told != FileType::Unknown {
        return Ok(Some(told));
    }
    match rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
