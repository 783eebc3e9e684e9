//! A directory as a store: keys are the relative paths of its regular files.
//!
//! Promise: nothing outside of the directory is touched, links and devices are no objects; a file that changes
//! while it is read is not given out; writes are whole and durable; a listing is in byte order.
//! Not here: watching.

mod beneath;
mod walk;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use tokio::io::{AsyncWrite, AsyncWriteExt};

pub(crate) use self::beneath::contents;
use self::walk::{Unreadable, Walk};
use super::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind as Kind};
use crate::clock::{Clock, SystemClock, UnixMillis};
use crate::names::{ETag, Key};

/// Objects on a page: as S3 has it.
const PAGE_OBJECTS: usize = 1000;

/// Listings under way that are remembered: a source and a target listing for each of a few projects on one
/// directory. One that is forgotten starts again behind its last key.
const MAX_WALKS: usize = 8;

/// How often a file is read again that changes under our eyes.
const MAX_READS: u32 = 3;

/// A file changed less than this ago may change again without another time stamp: file systems stamp with the
/// kernel's tick, 4 to 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// Most that is reserved for a file before its bytes came; its size is only announced.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// A directory as a store; it may be missing or replaced while the store exists.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    root: String,
    walks: Mutex<Walks>,
}

#[derive(Default)]
struct Walks {
    under_way: BTreeMap<u64, (String, Walk)>,
    last_id: u64,
}

impl LocalStore {
    /// A store for this directory, by its absolute path. [`Kind::Configuration`] where the path cannot be one;
    /// a directory that is not there is an error of each operation ([`Kind::BucketMissing`]), not of this.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let root = format!("file://{}", dir.display());
        if !dir.is_absolute() || dir.to_str().is_none() {
            let detail = "the path must be absolute and UTF-8";
            return Err(StoreError::new(Kind::Configuration, "open", root, detail));
        }
        if let Err(error) = beneath::open_root(dir).and_then(|root| write::sweep(root.as_fd())) {
            tracing::debug!(%root, %error, "unfinished writes were not removed");
        }
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), root, walks: Mutex::default() }) })
    }

    /// Does work that waits for the disk, away from the runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        asked: Asked,
        work: impl FnOnce(&Inner, &Asked) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking({
            let asked = asked.clone();
            move || work(&inner, &asked)
        });
        // The work does not panic: what is left is a runtime that shuts down.
        done.await.unwrap_or_else(|_| Err(asked.interrupted()))
    }

    fn asked(&self, operation: &'static str, key: &Key) -> Asked {
        Asked { operation, url: self.url(key) }
    }
}

/// What was asked of the store.
#[derive(Clone)]
struct Asked {
    operation: &'static str,
    url: String,
}

impl Asked {
    fn failed(&self, kind: Kind, detail: &str) -> StoreError {
        StoreError::new(kind, self.operation, self.url.clone(), detail)
    }

    fn io(&self, cause: impl Into<std::io::Error>) -> StoreError {
        let cause = cause.into();
        self.failed(io_kind(&cause), &cause.kind().to_string()).because(cause)
    }

    fn interrupted(&self) -> StoreError {
        let changes_something = matches!(self.operation, "write" | "delete");
        self.failed(if changes_something { Kind::OutcomeUnknown } else { Kind::Io }, "interrupted")
    }
}

/// What the cause of a failed call means.
fn io_kind(cause: &std::io::Error) -> Kind {
    let is_full = matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    if is_full { Kind::DiskFull } else { Kind::Io }
}

impl Inner {
    fn root(&self, asked: &Asked) -> Result<OwnedFd, StoreError> {
        beneath::open_root(&self.dir).map_err(|error| match error {
            // Not the key: it is the directory that a person has to see to.
            Errno::NOENT | Errno::NOTDIR => Asked { url: self.root.clone(), ..asked.clone() }
                .failed(Kind::BucketMissing, "there is no such directory"),
            other => asked.io(other),
        })
    }

    fn list(&self, asked: &Asked, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let unreadable = |failure: Unreadable| {
            let url = format!("{}/{}", self.root, failure.path);
            Asked { url, ..asked.clone() }.io(failure.cause)
        };
        let root = self.root(asked)?;
        let (id, mut walk) = match token {
            None => (None, Walk::start(root.as_fd(), request, None).map_err(unreadable)?),
            Some(token) => {
                let parts = match token {
                    PageToken::Next(text) => text.split_once(':'),
                    PageToken::After(_) => None,
                };
                let Some((id, after)) = parts else {
                    return Err(asked.failed(Kind::Malformed, "not a page token of a directory"));
                };
                match self.under_way(id, after) {
                    Some((id, walk)) => (Some(id), walk),
                    None => (None, Walk::start(root.as_fd(), request, Some(after)).map_err(unreadable)?),
                }
            }
        };
        let objects = walk.page(root.as_fd(), PAGE_OBJECTS).map_err(unreadable)?;
        if walk.is_over() {
            if walk.skipped > 0 {
                let skipped = walk.skipped;
                tracing::warn!(url = %asked.url, skipped, "entries that are no objects (links, devices, names not UTF-8) are left out");
            }
            return Ok(Page { objects, ..Page::default() });
        }
        let next = objects.last().map(|last| self.keep(id, last.key, walk));
        Ok(Page { objects, next, ..Page::default() })
    }

    fn under_way(&self, id: &str, after: &str) -> Option<(u64, Walk)> {
        let id = id.parse().ok()?;
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        if walks.under_way.get(&id)?.0 != after {
            return None;
        }
        walks.under_way.remove(&id).map(|(_, walk)| (id, walk))
    }

    fn keep(&self, id: Option<u64>, last: &str, walk: Walk) -> PageToken {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        let id = id.unwrap_or_else(|| {
            walks.last_id += 1;
            walks.last_id
        });
        while walks.under_way.len() >= MAX_WALKS {
            walks.under_way.pop_first();
        }
        walks.under_way.insert(id, (last.to_owned(), walk));
        PageToken::Next(format!("{id}:{last}"))
    }

    /// The file of a key, open for reading, and its version before anything was read.
    fn file(&self, asked: &Asked, key: &Key, limit_bytes: u64) -> Result<(std::fs::File, Stat), StoreError> {
        let missing = || asked.failed(Kind::ObjectMissing, "there is no such file");
        let root = self.root(asked)?;
        let Some(path) = beneath::path_of(key) else {
            return Err(asked.failed(Kind::UnsupportedKey, "a directory cannot hold this key"));
        };
        // A pipe without a writer must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = beneath::open(&root, path, flags, Mode::empty())
            .map_err(|error| if beneath::is_absence(error) { missing() } else { asked.io(error) })?;
        let mut stat = rustix::fs::fstat(&file).map_err(|error| asked.io(error))?;
        if !beneath::is_file(&stat) {
            return Err(missing());
        }
        let mut looks = 0;
        while is_fresh(&stat, SystemClock.now()) {
            looks += 1;
            if looks > MAX_READS {
                return Err(asked.changing());
            }
            std::thread::sleep(TICK);
            stat = rustix::fs::fstat(&file).map_err(|error| asked.io(error))?;
        }
        let bytes = beneath::size_bytes(&stat);
        if bytes > limit_bytes {
            return Err(asked.failed(Kind::TooLarge, &format!("{bytes} bytes, the limit is {limit_bytes}")));
        }
        Ok((file.into(), stat))
    }

    fn get(&self, asked: &Asked, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        for _ in 0..MAX_READS {
            let (mut file, before) = self.file(asked, key, limit_bytes)?;
            let size_bytes = beneath::size_bytes(&before);
            let reserved = usize::try_from(size_bytes.min(MAX_RESERVED_BYTES)).unwrap_or_default();
            let mut bytes = Vec::with_capacity(reserved);
            // One more than there should be, to see that a file has grown.
            file.by_ref().take(size_bytes + 1).read_to_end(&mut bytes).map_err(|error| asked.io(error))?;
            let after = rustix::fs::fstat(&file).map_err(|error| asked.io(error))?;
            let etag = beneath::etag(&before);
            if bytes.len() as u64 == size_bytes && beneath::etag(&after) == etag {
                return Ok(Object { bytes: bytes.into(), etag });
            }
        }
        Err(asked.changing())
    }

    fn head(&self, asked: &Asked, key: &Key) -> Result<Option<Listed>, StoreError> {
        let root = self.root(asked)?;
        let Some(path) = beneath::path_of(key) else { return Ok(None) };
        let (dir, name) = beneath::split(path);
        let dir = match beneath::open_dir(root.as_fd(), dir) {
            Ok(dir) => dir,
            Err(error) if beneath::is_absence(error) => return Ok(None),
            Err(error) => return Err(asked.io(error)),
        };
        let stat = beneath::stat_file(&dir, name).map_err(|error| asked.io(error))?;
        Ok(stat.map(|stat| Listed {
            key: key.clone(),
            etag: beneath::etag(&stat),
            size_bytes: beneath::size_bytes(&stat),
        }))
    }
}

/// Whether a change of the file right now could leave its time stamps as they are.
fn is_fresh(stat: &Stat, now: UnixMillis) -> bool {
    let changed_millis = stat.st_ctime * 1000 + i64::try_from(stat.st_ctime_nsec).unwrap_or(0) / 1_000_000;
    let age_millis = now.0 - changed_millis;
    (0..TICK.as_millis() as i64).contains(&age_millis)
}

impl Asked {
    /// Transient: the next look may find it at rest.
    fn changing(&self) -> StoreError {
        self.failed(Kind::Malformed, "the file changed while it was read")
    }

    fn written<T>(&self, outcome: Result<T, write::Failure>) -> Result<T, StoreError> {
        outcome.map_err(|failure| match failure.cause {
            Some(cause) if failure.detail.is_empty() => self.io(cause),
            Some(cause) => self.failed(failure.kind, failure.detail).because(cause),
            None => self.failed(failure.kind, failure.detail),
        })
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for LocalStore {
    fn root(&self) -> &str {
        &self.inner.root
    }

    /// Label Studio does not resolve `file://`; it serves local files itself.
    fn url(&self, key: &Key) -> String {
        let root = self.root().strip_prefix("file://").unwrap_or_default();
        super::local_url(&std::path::Path::new(root).join(key.as_str()))
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let asked = Asked { operation: "list", url: format!("{}/{}", self.inner.root, request.prefix) };
        let (request, token) = (request.clone(), token.cloned());
        self.blocking(asked, move |inner, asked| inner.list(asked, &request, token.as_ref())).await
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let (asked, key) = (self.asked("read", key), key.clone());
        self.blocking(asked, move |inner, asked| inner.get(asked, &key, limit_bytes)).await
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        let (asked, key) = (self.asked("read", key), key.clone());
        let opened = self.blocking(asked.clone(), move |inner, asked| inner.file(asked, &key, limit_bytes)).await?;
        let (file, before) = opened;
        let mut file = tokio::fs::File::from_std(file);
        let size_bytes = beneath::size_bytes(&before);
        let copied = tokio::io::copy(&mut tokio::io::AsyncReadExt::take(&mut file, size_bytes + 1), sink).await;
        let copied_bytes = copied.map_err(|error| asked.io(error))?;
        sink.flush().await.map_err(|error| asked.io(error))?;
        let after = rustix::fs::fstat(&file).map_err(|error| asked.io(error))?;
        let etag = beneath::etag(&before);
        if copied_bytes != size_bytes || beneath::etag(&after) != etag {
            return Err(asked.changing());
        }
        Ok(etag)
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let (asked, key) = (self.asked("look up", key), key.clone());
        self.blocking(asked, move |inner, asked| inner.head(asked, &key)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let (asked, key, precondition) = (self.asked("write", key), key.clone(), precondition.clone());
        self.blocking(asked, move |inner, asked| {
            let root = inner.root(asked)?;
            let Some(path) = beneath::path_of(&key) else {
                return Err(asked.failed(Kind::UnsupportedKey, "a directory cannot hold this key"));
            };
            asked.written(write::put(root.as_fd(), path, &bytes, &precondition))
        })
        .await
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let (asked, key, etag) = (self.asked("delete", key), key.clone(), etag.clone());
        self.blocking(asked, move |inner, asked| {
            let root = inner.root(asked)?;
            // What cannot be there is gone already.
            let Some(path) = beneath::path_of(&key) else { return Ok(()) };
            asked.written(write::delete(root.as_fd(), path, &etag))
        })
        .await
    }
}

#[cfg(test)]
#[path = "local/tests.rs"]
mod tests;
