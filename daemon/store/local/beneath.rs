//! Everything that a key names is opened beneath the store's root, without following a link.
//!
//! Promise: no key and no directory entry leads outside of the root; keys that a directory can't hold are told
//! apart from keys that are not there.
//! Not here: listing, reading, writing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::names::{ETag, Key};

/// Longest name of a file or directory, bytes (NAME_MAX).
const MAX_SEGMENT_BYTES: usize = 255;

/// Longest path that one system call takes, bytes (PATH_MAX less the final NUL).
const MAX_PATH_BYTES: usize = 4095;

/// How often an open is tried again while somebody renames directories beside it.
const MAX_RENAME_RACES: u32 = 16;

/// Where unfinished writes are, in the root: the names that a local store keeps for itself.
pub(super) const TEMPORARY_DIR: &str = ".labelsync-tmp";

/// The file that conditional replacements and deletes lock, in the root.
pub(super) const LOCK_FILE: &str = ".labelsync-lock";

/// Whether a name in the root is the store's own and never an object.
pub(super) fn is_own(name: &str) -> bool {
    name == TEMPORARY_DIR || name == LOCK_FILE
}

/// The key as a path from the root; `None` where a directory cannot hold such a key.
pub(super) fn path_of(key: &Key) -> Option<&str> {
    let path = key.as_str();
    let fits = path.len() <= MAX_PATH_BYTES
        && !path.contains('\0')
        && !path.split('/').next().is_some_and(is_own)
        && path.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.len() <= MAX_SEGMENT_BYTES);
    fits.then_some(path)
}

/// The directory (empty or with a slash at its end) and the name of a path.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

/// The root itself; the operator's own path may lead over links.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` beneath `dir`; a link anywhere in it is `ELOOP`.
pub(super) fn open(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut races = 0;
    loop {
        match rustix::fs::openat2(&dir, path, flags | OFlags::CLOEXEC, mode, within) {
            Err(Errno::AGAIN | Errno::INTR) if races < MAX_RENAME_RACES => races += 1,
            opened => return opened,
        }
    }
}

/// Opens the directory `path` (empty: the root) beneath the root.
pub(super) fn open_dir(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// The regular file of this name; `None` for anything else, links included.
pub(super) fn stat_file(dir: impl AsFd, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_file(&stat) => Ok(Some(stat)),
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it is a regular file.
pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether the failure means that nothing of this name is there: no file, or a link, or a file on the way.
pub(super) fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO)
}

/// The file's version: any write, replacement, change of mode or link changes it.
pub(super) fn etag(stat: &Stat) -> ETag {
    ETag::new(format!(
        "\"{:x}-{:x}-{:x}.{:09}-{:x}.{:09}\"",
        stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec
    ))
}

/// What of such a version stands for the contents, size and time of the last write: a file that was moved, copied with
/// its times or given another mode holds what it held.
pub(crate) fn contents(version: &str) -> &str {
    let written = version.split_once('-').and_then(|(_, rest)| rest.rsplit_once('-'));
    written.map_or(version, |(written, _)| written)
}

/// The file's size, bytes.
pub(super) fn size_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l67_keys_that_a_directory_cannot_hold_are_no_paths() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(2048) + "x";
        let bad = [
            "",
            "/",
            "/x",
            "x/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a/..",
            "./a",
            "nul\0",
            &long,
            &deep,
            ".labelsync-tmp/x",
            ".labelsync-lock",
        ];
        for key in bad {
            assert_eq!(path_of(&Key::new(key)), None, "{key:?}");
        }
    }

    #[test]
    fn l68_names_that_only_look_odd_are_allowed() {
        let longest = "x".repeat(255);
        for key in [
            "a",
            "a/b",
            "file..txt",
            "..backup",
            "a..b",
            "...",
            ".hidden",
            "%2F",
            "a\\b",
            "a\nb",
            "~",
            &longest,
            ".labelsync/owner/x",
            "a/.labelsync-tmp",
        ] {
            assert_eq!(path_of(&Key::new(key)), Some(key));
        }
    }

    #[test]
    fn l07_a_version_holds_what_stands_for_the_contents() {
        assert_eq!(contents("\"1-2-3.000000004-5.000000006\""), "2-3.000000004");
        assert_eq!(contents("other"), "other");
    }
}
