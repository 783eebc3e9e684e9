//! Google Cloud Storage through its JSON API, and what speaks it.
//!
//! Promise: keys are exact on the way out and in; a listing is whole or an error; every wait ends; a write is
//! sent once, under its precondition and with a checksum; refused credentials are read again without a restart.
//! An object's [`ETag`] is its generation as text: GCS's own etags also change with metadata, generations only
//! with the bytes, and preconditions take generations.
//! Not here: whole listings (`listing`), what any object means.

mod answer;
mod body;
mod client;
mod error;
mod look;
mod page;
mod path;
mod upload;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use google_cloud_auth::credentials::Credentials;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

pub use client::GcsLimits;

use self::body::Body;
use self::error::Refused;
use super::asked::{Asked, SILENT};
use super::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind as Kind};
use crate::names::{ETag, Key};
use crate::settings::GcsSettings;

/// The first wait before a request is made again; doubled each time, with jitter, so that many daemons do not
/// come back together.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait inside of a request. Whoever is asked to wait longer says so to the cycle instead.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A bucket.
pub struct GcsStore {
    settings: GcsSettings,
    limits: GcsLimits,
    root: String,
    reach: client::Reach,
    current: Mutex<Current>,
}

/// The credentials in use. They keep a token until it expires, and what they read from a file for ever; so they
/// are made anew when the store refuses them.
struct Current {
    credentials: Option<Credentials>,
    generation: u64,
    since: Instant,
}

/// One request.
struct Call {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn new(method: Method, url: String) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl GcsStore {
    /// A store for this bucket; asks nothing of the network. [`Kind::Configuration`] or [`Kind::Auth`] where it
    /// can't work. `STORAGE_EMULATOR_HOST` is heeded where the settings name no endpoint.
    pub async fn connect(settings: &GcsSettings) -> Result<Self, StoreError> {
        Self::connect_with(settings, GcsLimits::default()).await
    }

    /// The same with other limits.
    pub async fn connect_with(settings: &GcsSettings, limits: GcsLimits) -> Result<Self, StoreError> {
        let reach = client::Reach::of(settings, &limits)?;
        let credentials = reach.credentials(settings)?;
        Ok(Self {
            settings: settings.clone(),
            limits,
            root: format!("gs://{}", settings.bucket),
            reach,
            current: Mutex::new(Current { credentials, generation: 0, since: Instant::now() }),
        })
    }

    fn asked(&self, operation: &'static str, key: &Key) -> Asked {
        Asked { operation, url: self.url(key) }
    }

    /// Credentials newer than this generation, if they may be looked up again now.
    async fn renew(&self, generation: u64) -> bool {
        let mut current = self.current.lock().await;
        if current.generation > generation {
            return true;
        }
        if current.since.elapsed() < self.limits.renew_every {
            return false;
        }
        let Ok(credentials) = self.reach.credentials(&self.settings) else { return false };
        *current = Current { credentials, generation: generation + 1, since: Instant::now() };
        true
    }

    /// Sends the request; an answer other than 200 and 204 is an error.
    async fn send(&self, asked: &Asked, who: &Who, call: Call) -> Result<Response, Refused> {
        let authorization = client::authorization(asked, who.credentials.as_ref()).await?;
        let wait = self.limits.transfer(call.body.len() as u64);
        let request = self.reach.http.request(call.method, call.url).headers(call.headers).headers(authorization);
        let Ok(sent) = timeout(wait, request.body(call.body).send()).await else {
            return Err(asked.failed(asked.no_answer(), SILENT).into());
        };
        let response = sent.map_err(|error| error::undelivered(asked, &error))?;
        if matches!(response.status(), StatusCode::OK | StatusCode::NO_CONTENT) {
            return Ok(response);
        }
        Err(answer::refused(asked, response, &self.limits).await)
    }

    /// The same; where it is not said whether the bucket or the object is missing, the bucket is asked for.
    async fn send_about(&self, asked: &Asked, who: &Who, call: Call) -> Result<Response, StoreError> {
        match self.send(asked, who, call).await {
            Ok(response) => Ok(response),
            Err(Refused { error, is_bucket_unsure: true }) => Err(self.which_is_missing(asked, who, error).await),
            Err(Refused { error, .. }) => Err(error),
        }
    }

    async fn which_is_missing(&self, asked: &Asked, who: &Who, missing: StoreError) -> StoreError {
        let list = Asked { operation: "list", url: asked.url.clone() };
        let url = path::listing(&self.reach.base, &self.settings.bucket, &ListRequest::default(), None, 1);
        match self.send(&list, who, Call::new(Method::GET, url)).await {
            // Whoever may read but not list is not told more.
            Ok(_) => missing,
            Err(Refused { error, .. }) if error.kind == Kind::AccessDenied => missing,
            Err(Refused { error, .. }) => StoreError { operation: asked.operation, ..error },
        }
    }

    async fn list_once(&self, who: &Who, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let asked = Asked { operation: "list", url: format!("{}/{}", self.root, request.prefix) };
        let url = path::listing(&self.reach.base, &self.settings.bucket, request, token, page::PAGE_KEYS);
        let response = self.send(&asked, who, Call::new(Method::GET, url)).await?;
        let bytes = answer::whole(&asked, response, &self.limits).await?;
        page::read(&asked, request, &bytes)
    }

    /// The answer's head; the body is still to be read, and is no larger than the limit if its length is known.
    async fn open(&self, who: &Who, key: &Key, limit_bytes: u64) -> Result<Opened, StoreError> {
        let asked = self.asked("read", key);
        let url = path::media(&asked, &self.reach.base, &self.settings.bucket, key)?;
        let mut call = Call::new(Method::GET, url);
        // Objects that are stored compressed come as they are stored, and not unpacked by the server.
        call.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let response = self.send_about(&asked, who, call).await?;
        let Some(etag) = answer::generation(response.headers()) else {
            return Err(asked.failed(Kind::Malformed, "the answer has no generation"));
        };
        let body = Body::of(asked, response, limit_bytes, &self.limits)?;
        Ok(Opened { body, etag })
    }

    async fn get_once(&self, who: &Who, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let mut opened = self.open(who, key, limit_bytes).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = opened.body.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Object { bytes: bytes.freeze(), etag: opened.etag })
    }

    async fn head_once(&self, who: &Who, key: &Key) -> Result<Option<Listed>, StoreError> {
        let asked = self.asked("look up", key);
        let url = path::metadata(&asked, &self.reach.base, &self.settings.bucket, key)?;
        let response = match self.send_about(&asked, who, Call::new(Method::GET, url)).await {
            Ok(response) => response,
            Err(error) if error.kind == Kind::ObjectMissing => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = answer::whole(&asked, response, &self.limits).await?;
        page::read_one(&asked, key, &bytes).map(Some)
    }

    async fn put_once(
        &self,
        who: &Who,
        key: &Key,
        bytes: &Bytes,
        precondition: &Precondition,
    ) -> Result<ETag, StoreError> {
        let asked = self.asked("write", key);
        let generation = match precondition {
            Precondition::Absent => 0,
            Precondition::Matches(etag) => page::generation(etag.as_str())
                .ok_or_else(|| asked.failed(Kind::PreconditionFailed, "the expected version is no generation"))?,
        };
        let url = path::upload(&asked, &self.reach.base, &self.settings.bucket, key, generation)?;
        let upload = upload::multipart(key, bytes);
        let mut call = Call::new(Method::POST, url);
        call.headers.insert(CONTENT_TYPE, upload.content_type);
        call.body = upload.body;
        let response = self.send(&asked, who, call).await?;
        let answer = answer::whole(&asked, response, &self.limits).await?;
        page::read_version(&asked, &answer)
    }

    async fn delete_once(&self, who: &Who, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let asked = self.asked("delete", key);
        // Emulators ignore the condition of a delete, so the version is compared here as well.
        let there = self.head_once(who, key).await.map_err(|error| StoreError { operation: "delete", ..error })?;
        let Some(there) = there else { return Ok(()) };
        let generation = page::generation(etag.as_str()).filter(|_| there.etag == *etag);
        let Some(generation) = generation else {
            return Err(asked.failed(Kind::PreconditionFailed, "the object has another version"));
        };
        let url = path::deletion(&asked, &self.reach.base, &self.settings.bucket, key, generation)?;
        match self.send(&asked, who, Call::new(Method::DELETE, url)).await {
            Ok(_) => Ok(()),
            Err(Refused { error, .. }) if error.kind == Kind::ObjectMissing => Ok(()),
            Err(Refused { error, .. }) => Err(error),
        }
    }
}

/// An object whose body is being read.
struct Opened {
    body: Body,
    etag: ETag,
}

/// As whom a request is sent.
struct Who {
    credentials: Option<Credentials>,
}

/// The tries of one request.
struct Tries<'a> {
    store: &'a GcsStore,
    waits: ExponentialBackoff,
    generation: u64,
    renewed: bool,
}

impl<'a> Tries<'a> {
    /// A request that changes nothing may be sent a few times, a write once.
    fn new(store: &'a GcsStore, attempts: u32) -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(MAX_WAIT)
            .with_max_times(attempts.saturating_sub(1) as usize)
            .with_jitter()
            .build();
        Self { store, waits, generation: 0, renewed: false }
    }

    async fn who(&mut self) -> Who {
        let current = self.store.current.lock().await;
        self.generation = current.generation;
        Who { credentials: current.credentials.clone() }
    }

    /// Waits until the request may be made again, or gives the error back.
    async fn again_after(&mut self, error: StoreError) -> Result<(), StoreError> {
        if matches!(error.kind, Kind::Auth | Kind::Configuration) && !self.renewed {
            // The store refused the request as it stood: it can be sent again, writes too.
            self.renewed = true;
            return if self.store.renew(self.generation).await { Ok(()) } else { Err(error) };
        }
        if !matches!(error.kind, Kind::Unreachable | Kind::Throttled) || error.detail == SILENT {
            return Err(error);
        }
        let Some(wait) = self.waits.next() else { return Err(error) };
        let wait = wait.max(error.retry_after.unwrap_or_default());
        if wait > 2 * MAX_WAIT {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

impl fmt::Debug for GcsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsStore").field("root", &self.root).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for GcsStore {
    fn root(&self) -> &str {
        &self.root
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let mut tries = Tries::new(self, self.limits.attempts);
        loop {
            match self.list_once(&tries.who().await, request, token).await {
                Ok(page) => return Ok(page),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let mut tries = Tries::new(self, self.limits.attempts);
        loop {
            match self.get_once(&tries.who().await, key, limit_bytes).await {
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
        let mut tries = Tries::new(self, self.limits.attempts);
        let mut opened = loop {
            match self.open(&tries.who().await, key, limit_bytes).await {
                Ok(opened) => break opened,
                Err(error) => tries.again_after(error).await?,
            }
        };
        // From here on the sink holds pieces: no second try.
        while let Some(piece) = opened.body.next().await? {
            let written = sink.write_all(&piece).await;
            written.map_err(|cause| self.asked("read", key).failed(Kind::Io, "the copy").because(cause))?;
        }
        let flushed = sink.flush().await;
        flushed.map_err(|cause| self.asked("read", key).failed(Kind::Io, "the copy").because(cause))?;
        Ok(opened.etag)
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let mut tries = Tries::new(self, self.limits.attempts);
        loop {
            match self.head_once(&tries.who().await, key).await {
                Ok(listed) => return Ok(listed),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let mut tries = Tries::new(self, 1);
        loop {
            match self.put_once(&tries.who().await, key, &bytes, precondition).await {
                Ok(etag) => return Ok(etag),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let mut tries = Tries::new(self, 1);
        loop {
            match self.delete_once(&tries.who().await, key, etag).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again_after(error).await?,
            }
        }
    }
}
