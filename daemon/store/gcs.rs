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

use async_trait::async_trait;
use bytes::Bytes;
use google_cloud_auth::credentials::Credentials;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;

use self::body::Body;
use self::error::Refused;
use super::asked::{Asked, SILENT};
use super::cloud::Cloud;
pub use super::session::CloudLimits as GcsLimits;
use super::session::Sessions;
use super::skew::Skew;
use super::{ListRequest, Listed, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind as Kind};
use crate::names::{ETag, Key};
use crate::settings::GcsSettings;

/// A bucket.
pub struct GcsStore {
    settings: GcsSettings,
    limits: GcsLimits,
    root: String,
    reach: client::Reach,
    skew: Skew,
    credentials: Sessions<Option<Credentials>>,
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
            skew: Skew::default(),
            credentials: Sessions::new(credentials),
        })
    }

    fn asked(&self, operation: &'static str, key: &Key) -> Asked {
        Asked { operation, url: self.url(key) }
    }

    /// Sends the request; an answer other than 200 and 204 is an error.
    async fn send(&self, asked: &Asked, who: &Option<Credentials>, call: Call) -> Result<Response, Refused> {
        let authorization = client::authorization(asked, who.as_ref()).await?;
        let wait = self.limits.transfer(call.body.len() as u64);
        let request = self.reach.http.request(call.method, call.url).headers(call.headers).headers(authorization);
        let Ok(sent) = timeout(wait, request.body(call.body).send()).await else {
            return Err(asked.failed(asked.no_answer(), SILENT).into());
        };
        let response = sent.map_err(|error| error::undelivered(asked, &error))?;
        self.skew.saw(response.headers().get(DATE).and_then(|date| date.to_str().ok()));
        if matches!(response.status(), StatusCode::OK | StatusCode::NO_CONTENT) {
            return Ok(response);
        }
        Err(answer::refused(asked, response, &self.limits).await)
    }

    /// The same; where it is not said whether the bucket or the object is missing, the bucket is asked for.
    async fn send_about(&self, asked: &Asked, who: &Option<Credentials>, call: Call) -> Result<Response, StoreError> {
        match self.send(asked, who, call).await {
            Ok(response) => Ok(response),
            Err(Refused { error, is_bucket_unsure: true }) => Err(self.which_is_missing(asked, who, error).await),
            Err(Refused { error, .. }) => Err(error),
        }
    }

    async fn which_is_missing(&self, asked: &Asked, who: &Option<Credentials>, missing: StoreError) -> StoreError {
        let list = Asked { operation: "list", url: asked.url.clone() };
        let url = path::listing(&self.reach.base, &self.settings.bucket, &ListRequest::default(), None, 1);
        match self.send(&list, who, Call::new(Method::GET, url)).await {
            // Whoever may read but not list is not told more.
            Ok(_) => missing,
            Err(Refused { error, .. }) if error.kind == Kind::AccessDenied => missing,
            Err(Refused { error, .. }) => StoreError { operation: asked.operation, ..error },
        }
    }
}

#[async_trait]
impl Cloud for GcsStore {
    type Session = Option<Credentials>;
    type Opened = Body;

    fn bucket_url(&self) -> &str {
        &self.root
    }

    fn attempts(&self) -> u32 {
        self.limits.attempts
    }

    fn skew(&self) -> &Skew {
        &self.skew
    }

    async fn session(&self) -> (Option<Credentials>, u64) {
        self.credentials.get().await
    }

    async fn renew(&self, generation: u64) -> bool {
        let make = |_| async { self.reach.credentials(&self.settings).ok() };
        self.credentials.renew(generation, self.limits.renew_every, make).await
    }

    async fn list_once(
        &self,
        who: &Option<Credentials>,
        request: &ListRequest,
        token: Option<&PageToken>,
    ) -> Result<Page, StoreError> {
        let asked = Asked { operation: "list", url: format!("{}/{}", self.root, request.prefix) };
        let url = path::listing(&self.reach.base, &self.settings.bucket, request, token, page::PAGE_KEYS);
        let response = self.send(&asked, who, Call::new(Method::GET, url)).await?;
        let bytes = answer::whole(&asked, response, &self.limits).await?;
        page::read(&asked, request, &bytes)
    }

    async fn open(&self, who: &Option<Credentials>, key: &Key, limit_bytes: u64) -> Result<(Body, ETag), StoreError> {
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
        Ok((body, etag))
    }

    async fn head_once(&self, who: &Option<Credentials>, key: &Key) -> Result<Option<Listed>, StoreError> {
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
        who: &Option<Credentials>,
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

    async fn delete_once(&self, who: &Option<Credentials>, key: &Key, etag: &ETag) -> Result<(), StoreError> {
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

impl fmt::Debug for GcsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsStore").field("root", &self.root).finish_non_exhaustive()
    }
}
