//! A project directory and buckets that die on demand: from then on everything fails, until the restart.
//!
//! Promise: the daemon dies before or after any call it makes, at the same place for the same history; the ledger is
//! put back to what it was at that instant. Label Studio may act in the middle of a replacement.
//! Not here: which call (the history says), what must hold afterwards (`judge`).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use labelsync::names::{ETag, Key, TaskId};
use labelsync::project::copies::{Copies, CopyLimits};
use labelsync::project::directory::Directory;
use labelsync::project::files::{Contents, Fingerprint};
use labelsync::project::ledger::Ledger;
use labelsync::project::near::{BroughtIn, Near, NearError, OwnStorages, SourceMap, Written};
use labelsync::project::tasks::file::{Edits, TasksFileError};
use labelsync::store::faulty::{Faults, Faulty};
use labelsync::store::memory::MemoryStore;
use labelsync::store::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind};
use rusqlite::{Connection, OpenFlags};

use crate::label_studio::{LabelStudio, Meanwhile, When};
use crate::tear::Kind;

/// Where calls are counted apart: a look walks the project and lists the bucket at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Near,
    Source,
    Target,
}

/// Whether the daemon lives, shared by everything that it calls.
#[derive(Clone, Default, Debug)]
pub struct Life(Arc<Mutex<Inner>>);

#[derive(Default, Debug)]
struct Inner {
    dead: bool,
    gaps: BTreeMap<u8, u64>,
    crash: Option<(Side, u64)>,
    ledger: Option<(Arc<Ledger>, PathBuf)>,
}

impl Life {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Dies in the `nth` gap from now (1: the next).
    pub fn crash(&self, side: Side, nth: u64) {
        let mut inner = self.lock();
        let at = inner.gaps.get(&(side as u8)).copied().unwrap_or(0) + nth;
        inner.crash = Some((side, at));
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Lives again with this ledger, whose copy is made at `snapshot` at the instant of the next death, which may be due.
    pub fn begin(&self, ledger: Arc<Ledger>, snapshot: PathBuf) {
        let mut inner = self.lock();
        let gap = |side| inner.gaps.get(&(side as u8)).copied().unwrap_or(0);
        let crash = inner.crash.map(|(side, at)| (side, at - gap(side)));
        *inner = Inner { ledger: Some((ledger, snapshot)), crash, ..Inner::default() };
    }

    pub fn end(&self) {
        let mut inner = self.lock();
        (inner.dead, inner.ledger) = (true, None);
    }

    pub fn forget_crash(&self) {
        self.lock().crash = None;
    }

    fn gap(&self, side: Side) -> Result<(), Dead> {
        let mut inner = self.lock();
        if inner.dead {
            return Err(Dead);
        }
        let gap = inner.gaps.entry(side as u8).or_default();
        *gap += 1;
        if inner.crash != Some((side, inner.gaps[&(side as u8)])) {
            return Ok(());
        }
        (inner.dead, inner.crash) = (true, None);
        let (ledger, snapshot) = inner.ledger.take().unwrap();
        // No backup, which would say that it is one.
        let reader = Connection::open_with_flags(ledger.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        reader.backup("main", &snapshot, None::<fn(rusqlite::backup::Progress)>).unwrap();
        Err(Dead)
    }
}

struct Dead;

impl From<Dead> for NearError {
    fn from(Dead: Dead) -> Self {
        TasksFileError::Io(io::Error::other("the daemon is dead")).into()
    }
}

/// A project directory whose daemon may die.
#[derive(Debug)]
pub struct MortalNear {
    pub inner: Directory,
    pub life: Life,
    pub label_studio: Arc<Mutex<LabelStudio>>,
}

impl MortalNear {
    fn gap(&self) -> Result<(), NearError> {
        self.life.gap(Side::Near)?;
        self.label_studio().looked();
        Ok(())
    }

    fn label_studio(&self) -> MutexGuard<'_, LabelStudio> {
        self.label_studio.lock().unwrap()
    }
}

impl Near for MortalNear {
    fn tasks_print(&self) -> Result<Option<Fingerprint>, NearError> {
        self.gap()?;
        self.inner.tasks_print()
    }

    fn scan_tasks(
        &self,
        each: &mut dyn FnMut(TaskId, &str) -> io::Result<()>,
    ) -> Result<Option<Fingerprint>, NearError> {
        self.gap()?;
        self.inner.scan_tasks(each)
    }

    /// The order of `source.json` and `tasks.json` is told, not measured: both are written within one tick.
    fn source_print(&self) -> Result<Option<Fingerprint>, NearError> {
        self.gap()?;
        let (Some(map), Some(tasks)) = (self.inner.source_print()?, self.inner.tasks_print()?) else { return Ok(None) };
        let label_studio = self.label_studio();
        let mtime_ns = if label_studio.listed_last { tasks.ctime_ns + 1 } else { tasks.ctime_ns - 1 };
        Ok(Some(Fingerprint { mtime_ns, ctime_ns: label_studio.saved_maps, ..map }))
    }

    fn source_map(&self) -> Result<SourceMap, NearError> {
        self.gap()?;
        self.inner.source_map()
    }

    /// Told, not measured: two files may be made within one tick.
    fn tasks_born_ns(&self) -> Result<Option<i64>, NearError> {
        self.gap()?;
        Ok(self.label_studio().born("tasks.json"))
    }

    fn map_born_ns(&self) -> Result<Option<i64>, NearError> {
        self.gap()?;
        Ok(self.label_studio().born("source.json"))
    }

    fn copy_url(&self, key: &Key) -> String {
        self.inner.copy_url(key)
    }

    fn copies(&self, limits: CopyLimits) -> Result<Copies, NearError> {
        self.gap()?;
        self.inner.copies(limits)
    }

    fn has_completions(&self) -> Result<bool, NearError> {
        self.gap()?;
        self.inner.has_completions()
    }

    fn label_config(&self) -> Result<(String, Fingerprint), NearError> {
        self.gap()?;
        self.inner.label_config()
    }

    fn own_storages(&self) -> Result<OwnStorages, NearError> {
        self.gap()?;
        self.inner.own_storages()
    }

    fn completions(&self) -> Result<Vec<TaskId>, NearError> {
        self.gap()?;
        self.inner.completions()
    }

    fn completion_print(&self, id: TaskId) -> Result<Option<Fingerprint>, NearError> {
        self.gap()?;
        self.inner.completion_print(id)
    }

    fn completion(&self, id: TaskId, limit_bytes: u64) -> Result<Option<Contents>, NearError> {
        self.gap()?;
        self.inner.completion(id, limit_bytes)
    }

    fn displaced_at_start(&self) -> Result<Vec<Vec<u8>>, NearError> {
        self.gap()?;
        self.inner.displaced_at_start()
    }

    fn forget_displaced(&self) -> Result<(), NearError> {
        self.gap()?;
        let forgotten = self.inner.forget_displaced();
        self.gap()?;
        forgotten
    }

    fn write_tasks(&self, base: Option<&Fingerprint>, edits: &mut dyn Edits) -> Result<Written, NearError> {
        self.gap()?;
        let meanwhile = self.label_studio().meanwhile.take();
        match meanwhile {
            Some(Meanwhile { when: When::Before, what }) => self.label_studio().act(what, false),
            Some(Meanwhile { when: When::Into, .. }) => self.label_studio().hold_tasks(),
            Some(Meanwhile { when: When::After | When::Listing, .. }) | None => {}
        }
        let before = self.label_studio().tasks().unwrap_or_default();
        let torn = self.label_studio().is_torn(Kind::Tasks);
        let written = self.inner.write_tasks(base, edits);
        if written.is_ok() {
            self.label_studio().torn_replaced |= torn;
            self.label_studio().listed_last = false;
            self.label_studio().replaced(&before);
            self.label_studio().knows_tasks();
        }
        match meanwhile {
            Some(Meanwhile { when: When::Into, what }) => self.label_studio().act(what, true),
            Some(Meanwhile { when: When::After | When::Listing, what }) => self.label_studio().act(what, false),
            Some(Meanwhile { when: When::Before, .. }) | None => {}
        }
        self.gap()?;
        written
    }

    fn bring_in(&self, id: TaskId, bytes: &[u8], expected: Option<&Fingerprint>) -> Result<BroughtIn, NearError> {
        self.gap()?;
        let when = self.label_studio().meanwhile_label.take();
        match when {
            Some(When::Before) => self.label_studio().label(id.get(), 7),
            Some(When::Into) => self.label_studio().hold_completion(id.get()),
            Some(When::After | When::Listing) | None => {}
        }
        let before = std::fs::read(self.label_studio().completion(id.get())).ok();
        let brought = self.inner.bring_in(id, bytes, expected);
        if let Ok(BroughtIn::Done(..)) = &brought {
            self.label_studio().brought_in(id.get(), before, bytes);
        }
        if matches!(when, Some(When::Into | When::After | When::Listing)) {
            self.label_studio().label(id.get(), 8);
        }
        self.gap()?;
        brought
    }

    fn write_target_map(&self, root_and_prefix: &str, ids: &[TaskId]) -> Result<(), NearError> {
        self.gap()?;
        let written = self.inner.write_target_map(root_and_prefix, ids);
        self.gap()?;
        written
    }
}

/// A change that the daemon made in a bucket: what stood there before, what stands there now.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: String,
    pub before: Option<Bytes>,
    pub after: Option<Bytes>,
}

/// A bucket whose daemon may die.
#[derive(Debug)]
pub struct MortalStore {
    pub inner: Faulty<MemoryStore>,
    pub life: Life,
    pub side: Side,
    pub label_studio: Arc<Mutex<LabelStudio>>,
    pub changes: Mutex<Vec<Change>>,
    /// How often it was read whose the target is: by the wall clock.
    pub mark_reads: AtomicU64,
}

impl MortalStore {
    pub fn new(root: &str, side: Side, life: &Life, label_studio: &Arc<Mutex<LabelStudio>>) -> (Arc<Self>, Faults) {
        let (inner, faults) = Faulty::new(MemoryStore::new(root).with_page_objects(2));
        let store = Self {
            inner,
            life: life.clone(),
            side,
            label_studio: label_studio.clone(),
            changes: Mutex::default(),
            mark_reads: AtomicU64::default(),
        };
        (Arc::new(store), faults)
    }

    pub fn memory(&self) -> &MemoryStore {
        self.inner.inner()
    }

    fn gap(&self, operation: &'static str) -> Result<(), StoreError> {
        let dead =
            |Dead: Dead| StoreError::new(StoreErrorKind::Unreachable, operation, self.root(), "the daemon is dead");
        self.life.gap(self.side).map_err(dead)
    }

    fn at(&self, key: &Key) -> Option<Bytes> {
        self.memory().objects().get(key).cloned()
    }

    /// Between two gaps; what it changed is noted also where it says that it failed.
    async fn mutate<T>(
        &self,
        operation: &'static str,
        key: &Key,
        effect: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.gap(operation)?;
        let (before, version) = (self.at(key), self.memory().head(key).await?);
        let answer = effect.await;
        if self.memory().head(key).await? != version {
            let change = Change { key: key.as_str().to_owned(), before, after: self.at(key) };
            self.changes.lock().unwrap().push(change);
        }
        self.gap(operation)?;
        answer
    }
}

#[async_trait]
impl Store for MortalStore {
    fn root(&self) -> &str {
        self.inner.root()
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        self.gap("list")?;
        if self.side == Side::Source {
            self.label_studio.lock().unwrap().while_listing();
        }
        self.inner.list_page(request, token).await
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        self.gap("read")?;
        if key.as_str().starts_with(".labelsync/") {
            self.mark_reads.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.get(key, limit_bytes).await
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        self.gap("read")?;
        self.inner.get_to(key, limit_bytes, sink).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.gap("look up")?;
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        self.mutate("write", key, self.inner.put(key, bytes, precondition)).await
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        self.mutate("delete", key, self.inner.delete(key, etag)).await
    }
}
