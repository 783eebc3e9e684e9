//! Local copies of source objects, under `source/` in the project directory.
//!
//! Promise: no key leads outside that directory (promise 67), two keys never share a file (69), a copy is whole and of
//! one version of its object or not visible (74); size and the free space that must stay are bounded.
//! Not here: reading objects, deciding which are copied, the truth about them (the ledger's).

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::files::replace::Temp;
use super::files::{Attributes, Dir, EntryKind, Expected, FileError, FileErrorKind, Fingerprint, TEMP_SUFFIX};
use crate::names::{ETag, Key, Sha256};

/// The directory of the copies, in the project directory.
pub const COPIES_DIR: &str = "source";

/// Which file is a copy of which object, for people: JSON lines; the last line about a file holds.
pub const MANIFEST: &str = "manifest.jsonl";

/// Where copies are written; emptied at each start. Not two hexadecimal digits, so no key's directory.
const TEMP_DIR: &str = "tmp";

/// Free space that copies never use: Label Studio must be able to save completions, and a large `tasks.json` is
/// written anew beside the old one.
pub const FREE_KEPT_BYTES: u64 = 1 << 30;

/// Lines appended to the manifest before it is to be written anew: it must not grow with every change for ever.
pub const MANIFEST_APPENDS_MAX: u64 = 100_000;

/// The longest ending that is kept of a key: what guesses a type (`jpeg`, `geojson`) needs no more.
const ENDING_MAX_CHARS: usize = 8;

/// How much may be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyLimits {
    /// All copies together (`local_copy_max`).
    pub max_bytes: u64,
    /// Free space that must stay; [`FREE_KEPT_BYTES`] outside tests.
    pub free_kept_bytes: u64,
}

/// Where the copy of a key stands. `Display` is its path from the project directory:
/// `source/ab/<SHA-256 of the key>.jpg`.
///
/// The hash makes it injective for every key; the ending, kept for the content type, is ASCII letters and digits in
/// lower case, so that file systems that ignore case or normalise Unicode change nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CopyPath {
    shard: String,
    file: String,
}

impl CopyPath {
    /// The place of a key's copy.
    pub fn of(key: &Key) -> Self {
        let hash = Sha256::of(key.as_str().as_bytes()).to_string();
        let shard = hash[..2].to_owned();
        let file = match safe_ending(key.as_str()) {
            Some(ending) => format!("{hash}.{ending}"),
            None => hash,
        };
        Self { shard, file }
    }

    /// From `source/`: `ab/<hash>.jpg`.
    pub fn in_copies(&self) -> String {
        format!("{}/{}", self.shard, self.file)
    }
}

impl fmt::Display for CopyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COPIES_DIR}/{}/{}", self.shard, self.file)
    }
}

fn safe_ending(key: &str) -> Option<String> {
    let segment = key.rsplit('/').next().unwrap_or(key);
    let (_, ending) = segment.rsplit_once('.')?;
    let safe = (1..=ENDING_MAX_CHARS).contains(&ending.len()) && ending.bytes().all(|b| b.is_ascii_alphanumeric());
    safe.then(|| ending.to_ascii_lowercase())
}

/// One line of the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestLine {
    /// From `source/`.
    pub file: String,
    /// The object's key; `None`: the copy was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The version that was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
}

impl ManifestLine {
    /// The line of a copy.
    pub fn of(key: &Key, etag: &ETag) -> Self {
        Self { file: CopyPath::of(key).in_copies(), key: Some(key.clone()), etag: Some(etag.clone()) }
    }
}

/// A copy that is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Where it stands.
    pub path: CopyPath,
    /// Its version on the disk.
    pub print: Fingerprint,
}

/// The copies of one project.
#[derive(Debug)]
pub struct Copies {
    root: Dir,
    temp: Dir,
    like: Option<Attributes>,
    limits: CopyLimits,
    usage: Arc<Mutex<Usage>>,
    next_temp: AtomicU64,
    appended_lines: Mutex<u64>,
}

/// Counted under one lock: a check and its reservation are one step.
#[derive(Clone, Copy, Default, Debug)]
struct Usage {
    used_bytes: u64,
    reserved_bytes: u64,
}

/// A copy that is being written, not visible yet. Dropped before [`Copies::commit`] it leaves nothing.
#[derive(Debug)]
pub struct Pending {
    key: Key,
    size_bytes: u64,
    temp: Temp,
    usage: Arc<Mutex<Usage>>,
}

impl Copies {
    /// Opens (and makes, where needed) the directory of the copies, removes what a crash left half written, and
    /// measures what is there. New files take the attributes of `like` (Label Studio's `tasks.json`): it serves them.
    pub fn open(project: &Dir, limits: CopyLimits, like: Option<Attributes>) -> Result<Self, FileError> {
        let root = project.sub(COPIES_DIR, true)?;
        let temp = root.sub(TEMP_DIR, true)?;
        temp.clean_leftovers()?;
        let used_bytes = measure(&root)?;
        let usage = Arc::new(Mutex::new(Usage { used_bytes, reserved_bytes: 0 }));
        let (next_temp, appended_lines) = (AtomicU64::new(0), Mutex::new(0));
        Ok(Self { root, temp, like, limits, usage, next_temp, appended_lines })
    }

    /// The size of all copies, bytes.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.usage).used_bytes
    }

    /// The version of a key's copy; `None` where there is none.
    pub fn fingerprint(&self, key: &Key) -> Result<Option<Fingerprint>, FileError> {
        let path = CopyPath::of(key);
        match self.root.sub(&path.shard, false) {
            Ok(shard) => shard.fingerprint(&path.file),
            Err(e) if e.kind == FileErrorKind::Missing => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Begins a copy of `size_bytes` as the listing announced them. [`FileErrorKind::CopiesFull`] or
    /// [`FileErrorKind::DiskFull`] where there is no room; the old copy counts until the new one has its place.
    pub fn begin(&self, key: &Key, size_bytes: u64) -> Result<Pending, FileError> {
        self.reserve(size_bytes)?;
        let number = self.next_temp.fetch_add(1, Ordering::Relaxed);
        match self.temp.new_file(&format!("{number}{TEMP_SUFFIX}"), self.like.as_ref()) {
            Ok(temp) => Ok(Pending { key: key.clone(), size_bytes, temp, usage: Arc::clone(&self.usage) }),
            Err(e) => {
                release(&self.usage, size_bytes);
                Err(e)
            }
        }
    }

    /// Puts a written copy in its place: durable, with exactly the bytes that were announced, of the version
    /// `expected`; otherwise [`FileErrorKind::Changing`], and what stood there before stays.
    pub fn commit(&self, mut pending: Pending, expected: &ETag, read: &ETag) -> Result<Copied, FileError> {
        let path = CopyPath::of(&pending.key);
        let shown = self.root.path_of(&path.shard).join(&path.file);
        let changing = |detail: String| Err(FileError::new(FileErrorKind::Changing, "copy to", &shown, detail));
        if expected != read {
            return changing("the object changed while it was read".to_owned());
        }
        let written = pending.temp.make_durable()?.size_bytes;
        if written != pending.size_bytes {
            return changing(format!("{written} bytes came, {} were announced", pending.size_bytes));
        }
        let shard = self.root.sub(&path.shard, true)?;
        let replaced_bytes = shard.fingerprint(&path.file)?.map_or(0, |old| old.size_bytes);
        self.temp.rename_into(&pending.temp.name, &shard, &path.file)?;
        pending.temp.keep();
        let mut usage = lock(&self.usage);
        usage.used_bytes = usage.used_bytes.saturating_sub(replaced_bytes).saturating_add(written);
        drop(usage);
        shard.sync()?;
        self.append(&ManifestLine::of(&pending.key, expected));
        let print = pending.temp.print()?;
        Ok(Copied { path, print })
    }

    /// Begins, writes and commits. `write` gets no more than `size_bytes` into its writer and returns the version
    /// that it read.
    pub fn store(
        &self,
        key: &Key,
        expected: &ETag,
        size_bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<ETag>,
    ) -> Result<Copied, FileError> {
        let pending = self.begin(key, size_bytes)?;
        let mut bounded = Bounded { file: &pending.temp.file, left_bytes: size_bytes };
        let shown = self.root.path_of(&CopyPath::of(key).in_copies());
        let read = write(&mut bounded).map_err(|e| FileError::system("copy to", &shown, e))?;
        self.commit(pending, expected, &read)
    }

    /// Removes the copy of a key; one that is gone already is no error. Not durable by itself: a copy that comes
    /// back with a power cut is measured and removed again like any other.
    pub fn remove(&self, key: &Key) -> Result<(), FileError> {
        let path = CopyPath::of(key);
        let Some(print) = self.fingerprint(key)? else { return Ok(()) };
        self.root.sub(&path.shard, false)?.unlink(&path.file)?;
        let mut usage = lock(&self.usage);
        usage.used_bytes = usage.used_bytes.saturating_sub(print.size_bytes);
        drop(usage);
        self.append(&ManifestLine { file: path.in_copies(), key: None, etag: None });
        Ok(())
    }

    /// Whether the manifest has grown (or failed to) so that [`Copies::rewrite_manifest`] is due.
    pub fn manifest_is_long(&self) -> bool {
        *lock(&self.appended_lines) >= MANIFEST_APPENDS_MAX
    }

    /// Writes the manifest anew from what the ledger knows.
    pub fn rewrite_manifest(&self, lines: impl Iterator<Item = ManifestLine>) -> Result<(), FileError> {
        // Held while writing: a line appended to the old manifest meanwhile would be lost.
        let mut appended = lock(&self.appended_lines);
        let print = self.root.fingerprint(MANIFEST)?;
        let expected = match &print {
            Some(print) => Expected::Is(print),
            None => Expected::Absent { like: self.like.as_ref() },
        };
        let replaced = self.root.replace(MANIFEST, expected, |out| {
            for line in lines {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
        *appended = 0;
        replaced.displaced.map_or(Ok(()), |old| old.discard())
    }

    fn reserve(&self, size_bytes: u64) -> Result<(), FileError> {
        let free_bytes = self.root.free_bytes()?;
        let mut usage = lock(&self.usage);
        let reserved = usage.reserved_bytes.saturating_add(size_bytes);
        let full = |kind, detail| Err(FileError::new(kind, "copy into", self.root.path(), detail));
        if usage.used_bytes.saturating_add(reserved) > self.limits.max_bytes {
            let detail = format!("{} bytes are there, {size_bytes} more are too many", usage.used_bytes);
            return full(FileErrorKind::CopiesFull, detail);
        }
        if reserved.saturating_add(self.limits.free_kept_bytes) > free_bytes {
            let detail = format!("{free_bytes} bytes are free, {} must stay", self.limits.free_kept_bytes);
            return full(FileErrorKind::DiskFull, detail);
        }
        usage.reserved_bytes = reserved;
        Ok(())
    }

    /// The manifest is for people and is rebuilt from the ledger: a line that cannot be written fails no copy, it
    /// makes the rebuilding due.
    fn append(&self, line: &ManifestLine) {
        let mut appended = lock(&self.appended_lines);
        let mut text = serde_json::to_string(line).expect("strings can be written as JSON");
        text.push('\n');
        let done = self.root.open_append(MANIFEST, self.like.as_ref()).map(|mut file| file.write_all(text.as_bytes()));
        *appended = match done {
            Ok(Ok(())) => appended.saturating_add(1),
            Ok(Err(_)) | Err(_) => MANIFEST_APPENDS_MAX,
        };
    }
}

impl Pending {
    /// The file to write into, from its start, no more than the announced size (an asynchronous writer takes it as
    /// `tokio::fs::File::from_std`).
    pub fn file(&self) -> io::Result<File> {
        self.temp.file.try_clone()
    }

    /// The size that was announced, bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        release(&self.usage, self.size_bytes);
    }
}

/// Refuses more bytes than were announced before they fill the disk.
struct Bounded<'a> {
    file: &'a File,
    left_bytes: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if u64::try_from(bytes.len()).is_ok_and(|n| n > self.left_bytes) {
            return Err(io::Error::other("more bytes came than were announced"));
        }
        let written_bytes = self.file.write(bytes)?;
        self.left_bytes -= u64::try_from(written_bytes).expect("a length fits into 64 bits");
        Ok(written_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The size of all copies: a walk over at most 256 directories, nothing kept in memory.
fn measure(root: &Dir) -> Result<u64, FileError> {
    let shards: BTreeSet<String> = (0..=u8::MAX).map(|n| format!("{n:02x}")).collect();
    let mut used_bytes: u64 = 0;
    for entry in root.names(u64::MAX)? {
        let entry = entry?;
        let Some(shard) = entry.name.to_str().filter(|name| shards.contains(*name)) else { continue };
        if entry.kind != EntryKind::Directory {
            continue;
        }
        let shard = root.sub(shard, false)?;
        for entry in shard.names(u64::MAX)? {
            let entry = entry?;
            let Some(name) = entry.name.to_str().filter(|_| entry.kind == EntryKind::File) else { continue };
            let size_bytes = shard.fingerprint(name)?.map_or(0, |print| print.size_bytes);
            used_bytes = used_bytes.saturating_add(size_bytes);
        }
    }
    Ok(used_bytes)
}

fn release(usage: &Mutex<Usage>, size_bytes: u64) {
    let mut usage = lock(usage);
    usage.reserved_bytes = usage.reserved_bytes.saturating_sub(size_bytes);
}

/// Numbers stay right when a thread panics: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
