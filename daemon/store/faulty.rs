//! A store that fails on demand, around any other; for tests of everything above stores.
//!
//! Promise: deterministic; nothing fails that was not asked for through [`Faults`].
//! Not here: random choice of faults (the tests choose).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListRequest, Listed, ListedRef, Object, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind};
use crate::names::{ETag, Key};

/// The store in `inner`, with the faults of a shared plan.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S: Store> Faulty<S> {
    /// Wraps a store; the handle plans the faults and counts the requests.
    pub fn new(inner: S) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }

    /// The store that is wrapped, to look at or change behind its users' back.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with this kind and nothing happened.
    Before(StoreErrorKind),
    /// It happens, and its answer is lost: [`StoreErrorKind::OutcomeUnknown`].
    After,
    /// It happens, and this kind is reported all the same.
    AfterAs(StoreErrorKind),
}

/// How listings go wrong, for as long as it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ListingFault {
    /// Not at all.
    #[default]
    None,
    /// The objects of each page come in descending order.
    Reversed,
    /// Every page after the first names itself as the next one.
    RepeatToken,
    /// Pages without objects, each with a new token, for ever.
    EmptyPages,
}

/// The plan of faults and the counts of requests; clones share both. Operations are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    mutations: BTreeMap<u64, Fault>,
    pages: BTreeMap<u64, StoreErrorKind>,
    reads: BTreeMap<u64, StoreErrorKind>,
    listing: ListingFault,
    ignore_preconditions: bool,
    seen: Requests,
}

/// How many requests were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Requests {
    /// `put` and `delete`.
    pub mutations: u64,
    /// `list_page`.
    pub pages: u64,
    /// `get`, `get_to` and `head`.
    pub reads: u64,
}

impl Faults {
    /// The `nth` mutation counted from now (1 is the next one) fails.
    pub fn fail_mutation(&self, nth: u64, fault: Fault) {
        let mut plan = self.lock();
        let at = plan.seen.mutations + nth;
        plan.mutations.insert(at, fault);
    }

    /// The `nth` page counted from now fails.
    pub fn fail_page(&self, nth: u64, kind: StoreErrorKind) {
        let mut plan = self.lock();
        let at = plan.seen.pages + nth;
        plan.pages.insert(at, kind);
    }

    /// The `nth` read or look-up counted from now fails.
    pub fn fail_read(&self, nth: u64, kind: StoreErrorKind) {
        let mut plan = self.lock();
        let at = plan.seen.reads + nth;
        plan.reads.insert(at, kind);
    }

    /// From now on listings go wrong like this.
    pub fn listing(&self, fault: ListingFault) {
        self.lock().listing = fault;
    }

    /// From now on writes and deletes happen whatever their precondition says (Garage, rclone).
    pub fn ignore_preconditions(&self, ignore: bool) {
        self.lock().ignore_preconditions = ignore;
    }

    /// Forgets every fault; the counts go on.
    pub fn clear(&self) {
        let mut plan = self.lock();
        *plan = Plan { seen: plan.seen, ..Plan::default() };
    }

    /// The requests so far.
    pub fn requests(&self) -> Requests {
        self.lock().seen
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_mutation(&self) -> (Option<Fault>, bool) {
        let mut plan = self.lock();
        plan.seen.mutations += 1;
        let nth = plan.seen.mutations;
        (plan.mutations.remove(&nth), plan.ignore_preconditions)
    }

    fn next_page(&self) -> (Option<StoreErrorKind>, ListingFault, u64) {
        let mut plan = self.lock();
        plan.seen.pages += 1;
        let nth = plan.seen.pages;
        (plan.pages.remove(&nth), plan.listing, nth)
    }

    fn next_read(&self) -> Option<StoreErrorKind> {
        let mut plan = self.lock();
        plan.seen.reads += 1;
        let nth = plan.seen.reads;
        plan.reads.remove(&nth)
    }
}

/// What a faulty operation says in its error.
const DETAIL: &str = "a fault of the test";

impl<S: Store> Faulty<S> {
    fn read_fault(&self, operation: &'static str, key: &Key) -> Result<(), StoreError> {
        let Some(kind) = self.faults.next_read() else { return Ok(()) };
        Err(StoreError::new(kind, operation, self.url(key), DETAIL))
    }

    /// Does `effect` under the plan's fault for this mutation.
    async fn mutate<T>(
        &self,
        fault: Option<Fault>,
        operation: &'static str,
        key: &Key,
        effect: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let failed = |kind| Err(StoreError::new(kind, operation, self.url(key), DETAIL));
        match fault {
            None => effect.await,
            Some(Fault::Before(kind)) => failed(kind),
            Some(Fault::After) => {
                // Whatever the answer was, it is the one that is lost.
                drop(effect.await);
                failed(StoreErrorKind::OutcomeUnknown)
            }
            Some(Fault::AfterAs(kind)) => {
                drop(effect.await);
                failed(kind)
            }
        }
    }

    /// The precondition that holds right now, for a store that does not look at preconditions.
    async fn whatever_holds(&self, key: &Key) -> Result<Precondition, StoreError> {
        Ok(self.inner.head(key).await?.map_or(Precondition::Absent, |there| Precondition::Matches(there.etag)))
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn lists_after(&self) -> bool {
        self.inner.lists_after()
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let (fault, listing, nth) = self.faults.next_page();
        if let Some(kind) = fault {
            return Err(StoreError::new(kind, "list", self.root(), DETAIL));
        }
        if listing == ListingFault::EmptyPages {
            return Ok(Page { next: Some(PageToken::Next(format!("empty {nth}"))), ..Page::default() });
        }
        let mut page = self.inner.list_page(request, token).await?;
        match listing {
            ListingFault::None | ListingFault::EmptyPages => {}
            ListingFault::Reversed => page.objects = page.objects.iter().rev().map(ListedRef::to_listed).collect(),
            ListingFault::RepeatToken => page.next = token.cloned().or(page.next),
        }
        Ok(page)
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        self.read_fault("read", key)?;
        self.inner.get(key, limit_bytes).await
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        self.read_fault("read", key)?;
        self.inner.get_to(key, limit_bytes, sink).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.read_fault("look up", key)?;
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let (fault, ignore) = self.faults.next_mutation();
        let effect = async {
            if !ignore {
                return self.inner.put(key, bytes, precondition).await;
            }
            let holds = self.whatever_holds(key).await?;
            self.inner.put(key, bytes, &holds).await
        };
        self.mutate(fault, "write", key, effect).await
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let (fault, ignore) = self.faults.next_mutation();
        let effect = async {
            if !ignore {
                return self.inner.delete(key, etag).await;
            }
            match self.whatever_holds(key).await? {
                Precondition::Absent => Ok(()),
                Precondition::Matches(there) => self.inner.delete(key, &there).await,
            }
        };
        self.mutate(fault, "delete", key, effect).await
    }
}
