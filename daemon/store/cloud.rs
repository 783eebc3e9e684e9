//! What stores behind HTTP have in common: a request is made again where that can help.
//!
//! Promise: a request that changes nothing is sent a few times, with growing waits; a write is sent again only where
//! the store refused it as it stood; refused credentials are looked up again, a region that the bucket names is followed.
//! Not here: the requests themselves (`s3`, `gcs`).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::asked::{Asked, SILENT};
use super::skew::Skew;
use super::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind as Kind};
use crate::names::{ETag, Key};

/// The first wait before a request is made again; doubled each time, with jitter, so that many daemons do not
/// come back together.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait inside of a request. Whoever is asked to wait longer says so to the cycle instead.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A bucket behind HTTP: each request once.
#[async_trait]
pub(super) trait Cloud: fmt::Debug + Send + Sync {
    /// As whom requests are sent.
    type Session: Send + Sync;
    /// An object whose body is being read.
    type Opened: Pieces;

    /// What [`Store::root`] says.
    fn bucket_url(&self) -> &str;

    /// How often a request that changes nothing is sent.
    fn attempts(&self) -> u32;

    /// What the answers said of the time.
    fn skew(&self) -> &Skew;

    /// The session in use, and its generation.
    async fn session(&self) -> (Self::Session, u64);

    /// The store refused the credentials of this generation: whether there are newer ones now.
    async fn renew(&self, generation: u64) -> bool;

    /// The bucket named its region to this generation: whether it is asked for there now.
    async fn follow(&self, _generation: u64, _region: &str) -> bool {
        false
    }

    /// What a failure means to this bucket.
    fn explain(&self, error: StoreError) -> StoreError {
        error
    }

    async fn list_once(
        &self,
        session: &Self::Session,
        request: &ListRequest,
        token: Option<&PageToken>,
    ) -> Result<Page, StoreError>;

    /// The answer's head; the body is still to be read, and is no larger than the limit if its length is known.
    async fn open(
        &self,
        session: &Self::Session,
        key: &Key,
        limit_bytes: u64,
    ) -> Result<(Self::Opened, ETag), StoreError>;

    async fn head_once(&self, session: &Self::Session, key: &Key) -> Result<Option<Listed>, StoreError>;

    async fn put_once(
        &self,
        session: &Self::Session,
        key: &Key,
        bytes: &Bytes,
        precondition: &Precondition,
    ) -> Result<ETag, StoreError>;

    async fn delete_once(&self, session: &Self::Session, key: &Key, etag: &ETag) -> Result<(), StoreError>;
}

/// A body, piece by piece.
#[async_trait]
pub(super) trait Pieces: Send {
    /// The next piece; `None` when all of the body was read and its length is right.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError>;
}

/// The tries of one request.
struct Tries<'a, C> {
    cloud: &'a C,
    waits: ExponentialBackoff,
    generation: u64,
    renewed: bool,
    followed: bool,
    throttled: bool,
}

impl<'a, C: Cloud> Tries<'a, C> {
    /// A request that changes nothing.
    fn new(cloud: &'a C) -> Self {
        Self::of(cloud, cloud.attempts())
    }

    /// A write.
    fn once(cloud: &'a C) -> Self {
        Self::of(cloud, 1)
    }

    fn of(cloud: &'a C, attempts: u32) -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(MAX_WAIT)
            .with_max_times(attempts.saturating_sub(1) as usize)
            .with_jitter()
            .build();
        Self { cloud, waits, generation: 0, renewed: false, followed: false, throttled: false }
    }

    async fn session(&mut self) -> C::Session {
        let (session, generation) = self.cloud.session().await;
        self.generation = generation;
        session
    }

    /// Waits until the request may be made again, or gives the error back.
    async fn again_after(&mut self, error: StoreError) -> Result<(), StoreError> {
        let error = self.cloud.explain(error);
        if matches!(error.kind, Kind::Auth | Kind::Configuration) && !self.renewed {
            // The store refused the request as it stood: it can be sent again, writes too.
            self.renewed = true;
            return if self.cloud.renew(self.generation).await { Ok(()) } else { Err(error) };
        }
        if let Some(region) = error.region.as_deref().filter(|_| !self.followed) {
            self.followed = true;
            return if self.cloud.follow(self.generation, region).await { Ok(()) } else { Err(error) };
        }
        if !matches!(error.kind, Kind::Unreachable | Kind::Throttled) || error.detail == SILENT {
            return Err(error);
        }
        self.throttled |= error.kind == Kind::Throttled;
        let Some(wait) = self.waits.next() else { return Err(error) };
        let wait = wait.max(error.retry_after.unwrap_or_default());
        if wait > 2 * MAX_WAIT {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The object, once.
async fn get_once<C: Cloud>(
    cloud: &C,
    session: &C::Session,
    key: &Key,
    limit_bytes: u64,
) -> Result<Object, StoreError> {
    let (mut opened, etag) = cloud.open(session, key, limit_bytes).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = opened.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Object { bytes: bytes.freeze(), etag })
}

#[async_trait]
impl<C: Cloud> Store for C {
    fn root(&self) -> &str {
        self.bucket_url()
    }

    fn clock_skew_seconds(&self) -> Option<i64> {
        self.skew().seconds()
    }

    fn lists_after(&self) -> bool {
        true
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let mut tries = Tries::new(self);
        loop {
            match self.list_once(&tries.session().await, request, token).await {
                Ok(page) => return Ok(Page { is_throttled: tries.throttled, ..page }),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let mut tries = Tries::new(self);
        loop {
            match get_once(self, &tries.session().await, key, limit_bytes).await {
                Ok(object) => return Ok(object),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        let mut tries = Tries::new(self);
        let (mut opened, etag) = loop {
            match self.open(&tries.session().await, key, limit_bytes).await {
                Ok(opened) => break opened,
                Err(error) => tries.again_after(error).await?,
            }
        };
        let failed =
            |cause| Asked { operation: "read", url: self.url(key) }.failed(Kind::Io, "the copy").because(cause);
        // From here on the sink holds pieces: no second try.
        while let Some(piece) = opened.next().await? {
            sink.write_all(&piece).await.map_err(failed)?;
        }
        sink.flush().await.map_err(failed)?;
        Ok(etag)
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let mut tries = Tries::new(self);
        loop {
            match self.head_once(&tries.session().await, key).await {
                Ok(listed) => return Ok(listed),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let mut tries = Tries::once(self);
        loop {
            match self.put_once(&tries.session().await, key, &bytes, precondition).await {
                Ok(etag) => return Ok(etag),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let mut tries = Tries::once(self);
        loop {
            match self.delete_once(&tries.session().await, key, etag).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }
}
