//! A bucket in memory, for tests and for the demo that runs without network.
//!
//! Promise: the whole contract of [`Store`], each operation at one instant; versions never repeat.
//! Not here: faults (`faulty`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{ListRequest, Listed, Object, Objects, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind};
use crate::names::{ETag, Key};

/// Objects on a page where nothing else is said: what S3 gives.
const PAGE_OBJECTS: usize = 1000;

/// A bucket in memory; share it in an `Arc`.
pub struct MemoryStore {
    root: String,
    page_objects: usize,
    bucket: Mutex<Bucket>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<Key, Version>,
    versions: u64,
}

#[derive(Clone)]
struct Version {
    bytes: Bytes,
    etag: ETag,
}

impl MemoryStore {
    /// An empty bucket; `root` is what stands before the keys in URLs (`s3://bucket`).
    pub fn new(root: impl Into<String>) -> Self {
        Self { root: root.into(), page_objects: PAGE_OBJECTS, bucket: Mutex::default() }
    }

    /// The same with another page size, at least 1.
    pub fn with_page_objects(mut self, page_objects: usize) -> Self {
        self.page_objects = page_objects.max(1);
        self
    }

    /// Writes without a precondition, as somebody else would; the new version.
    pub fn insert(&self, key: &Key, bytes: impl Into<Bytes>) -> ETag {
        self.lock().write(key, bytes.into())
    }

    /// Removes without a precondition, as somebody else would; whether it was there.
    pub fn remove(&self, key: &Key) -> bool {
        self.lock().objects.remove(key).is_some()
    }

    /// All objects, for comparing.
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.lock().objects.iter().map(|(key, version)| (key.clone(), version.bytes.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        // A test that panicked between two operations leaves a whole bucket: no operation stops half way.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, kind: StoreErrorKind, operation: &'static str, key: &Key) -> StoreError {
        StoreError::new(kind, operation, self.url(key), "")
    }
}

impl Bucket {
    fn write(&mut self, key: &Key, bytes: Bytes) -> ETag {
        self.versions += 1;
        let etag = ETag::new(format!("\"{}\"", self.versions));
        self.objects.insert(key.clone(), Version { bytes, etag: etag.clone() });
        etag
    }

    fn etag(&self, key: &Key) -> Option<&ETag> {
        self.objects.get(key).map(|version| &version.etag)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("root", &self.root).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn root(&self) -> &str {
        &self.root
    }

    fn lists_after(&self) -> bool {
        true
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let bucket = self.lock();
        let start = match token {
            None => Bound::Included(Key::new(request.prefix.as_str())),
            Some(PageToken::Next(after) | PageToken::After(after)) => Bound::Excluded(Key::new(after.as_str())),
        };
        let mut found = bucket
            .objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(&request.prefix))
            .filter(|(key, _)| !request.one_level || !key.as_str()[request.prefix.len()..].contains('/'));
        let objects: Objects =
            found.by_ref().take(self.page_objects).map(|(key, version)| version.listed(key)).collect();
        let more = found.next().is_some();
        let next = objects.last().filter(|_| more).map(|last| PageToken::Next(last.key.to_owned()));
        Ok(Page { objects, next, ..Page::default() })
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let Some(version) = self.lock().objects.get(key).cloned() else {
            return Err(self.failed(StoreErrorKind::ObjectMissing, "read", key));
        };
        if version.bytes.len() as u64 > limit_bytes {
            return Err(self.failed(StoreErrorKind::TooLarge, "read", key));
        }
        Ok(Object { bytes: version.bytes, etag: version.etag })
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        let object = self.get(key, limit_bytes).await?;
        let written = async {
            sink.write_all(&object.bytes).await?;
            sink.flush().await
        };
        written.await.map_err(|cause| self.failed(StoreErrorKind::Io, "read", key).because(cause))?;
        Ok(object.etag)
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        Ok(self.lock().objects.get(key).map(|version| version.listed(key)))
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let mut bucket = self.lock();
        let holds = match precondition {
            Precondition::Absent => bucket.etag(key).is_none(),
            Precondition::Matches(etag) => bucket.etag(key) == Some(etag),
        };
        if !holds {
            return Err(self.failed(StoreErrorKind::PreconditionFailed, "write", key));
        }
        Ok(bucket.write(key, bytes))
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let mut bucket = self.lock();
        match bucket.etag(key) {
            None => Ok(()),
            Some(there) if there == etag => {
                bucket.objects.remove(key);
                Ok(())
            }
            Some(_) => Err(self.failed(StoreErrorKind::PreconditionFailed, "delete", key)),
        }
    }
}

impl Version {
    fn listed(&self, key: &Key) -> Listed {
        Listed { key: key.clone(), etag: self.etag.clone(), size_bytes: self.bytes.len() as u64 }
    }
}
