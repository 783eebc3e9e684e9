//! S3 buckets and what speaks their protocol, through the official SDK.
//!
//! Promise: keys are exact on the way out and in; a listing is whole or an error; every wait ends; a write is
//! sent once, under its precondition and with a checksum; refused credentials are read again without a restart.
//! Not here: whole listings (`listing`), what any object means.

mod amend;
mod checksum;
mod client;
mod credentials;
mod date;
mod direct;
mod error;
mod look;
mod page;
mod shape;
mod xml;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, EncodingType};
use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use self::amend::{ExactKey, explain_owner};
use self::checksum::Check;
use self::direct::{Learnt, Put};
use self::error::{Asked, chain, explain, is_without_reason};
use super::cloud::{Cloud, Pieces};
pub use super::session::CloudLimits as S3Limits;
use super::session::{Current, Sessions};
use super::skew::Skew;
use super::{ListRequest, Listed, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind as Kind};
use crate::names::{ETag, Key};
use crate::settings::S3Settings;

/// Keys on a page: S3 gives no more.
const PAGE_KEYS: i32 = 1000;

/// A bucket.
pub struct S3Store {
    settings: S3Settings,
    limits: S3Limits,
    root: String,
    skew: Arc<Skew>,
    sessions: Sessions<Session>,
    /// The server answered `NotImplemented` to a conditional delete.
    deletes_without_condition: AtomicBool,
}

/// The SDK's client, and what was learnt from it.
#[derive(Clone)]
pub(super) struct Session {
    client: Client,
    reads: Learnt,
    writes: Learnt,
    /// The bucket's region as the store told it, where it is not that of the settings.
    region: Option<String>,
}

impl Session {
    /// [`Kind::Configuration`] where none can be.
    async fn make(
        settings: &S3Settings,
        limits: &S3Limits,
        region: Option<String>,
        skew: &Arc<Skew>,
    ) -> Result<Self, StoreError> {
        let client = client::build(settings, limits, region.clone(), skew).await?;
        Ok(Self { client, reads: Learnt::reads(skew), writes: Learnt::writes(skew), region })
    }
}

impl S3Store {
    /// A store for this bucket; asks nothing of the network. [`Kind::Configuration`] where it can't work.
    pub async fn connect(settings: &S3Settings) -> Result<Self, StoreError> {
        Self::connect_with(settings, S3Limits::default()).await
    }

    /// The same with other limits.
    pub async fn connect_with(settings: &S3Settings, limits: S3Limits) -> Result<Self, StoreError> {
        let skew = Arc::default();
        let session = Session::make(settings, &limits, None, &skew).await?;
        Ok(Self {
            settings: settings.clone(),
            limits,
            root: format!("s3://{}", settings.bucket),
            sessions: Sessions::new(session),
            skew,
            deletes_without_condition: AtomicBool::new(false),
        })
    }

    async fn remade(&self, region: Option<String>) -> Option<Session> {
        Session::make(&self.settings, &self.limits, region, &self.skew).await.ok()
    }

    fn asked(&self, operation: &'static str, key: &Key) -> Asked {
        Asked { operation, url: self.url(key) }
    }

    /// The answer to a GET, its body unread; its way is learnt.
    async fn ask(
        &self,
        session: &Session,
        key: &Key,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError, HttpResponse>> {
        let exact = ExactKey::of(key);
        let get = session.client.get_object().bucket(&self.settings.bucket).key(exact.key());
        let learning = session.reads.from(key, self.limits.connect);
        get.customize().interceptor(exact).interceptor(learning).send().await
    }

    /// The answer to a GET, by the way that was learnt. `None`: the SDK must ask, and check what comes.
    async fn ask_directly(&self, session: &Session, key: &Key) -> Result<Option<Answer>, StoreError> {
        let Some(way) = session.reads.way().filter(|_| direct::is_readable(key)) else { return Ok(None) };
        let asked = self.asked("read", key);
        let mut answer = match way.get(key, self.limits.transfer(0)).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = explain(&asked, &error);
                if error.kind == Kind::ClockSkew {
                    session.reads.forget();
                }
                return Err(error);
            }
        };
        let headers = answer.headers();
        let Some(check) = Check::announced(headers.iter()) else {
            session.reads.leave();
            return Ok(None);
        };
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let etag = page::version(headers.get("etag"));
        Ok(Some(Answer { length, etag, body: ByteStream::new(answer.take_body()), check }))
    }

    async fn answer(&self, session: &Session, key: &Key) -> Result<Answer, StoreError> {
        if let Some(answer) = self.ask_directly(session, key).await? {
            return Ok(answer);
        }
        let answer = Box::pin(self.ask(session, key)).await;
        let answer = answer.map_err(|error| explain(&self.asked("read", key), &error))?;
        let etag = page::version(answer.e_tag());
        // The SDK checks the body as it is read.
        Ok(Answer { length: announced(&answer), etag, body: answer.body, check: Check::default() })
    }

    /// The way of this write is learnt.
    async fn put_by_sdk(
        &self,
        session: &Session,
        key: &Key,
        bytes: &Bytes,
        precondition: &Precondition,
    ) -> Result<Option<ETag>, SdkError<PutObjectError, HttpResponse>> {
        let exact = ExactKey::of(key);
        let waits = aws_sdk_s3::Config::builder().timeout_config(self.limits.timeouts(bytes.len() as u64));
        let put = session
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(exact.key())
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .body(ByteStream::from(bytes.clone()));
        let put = match precondition {
            Precondition::Absent => put.if_none_match("*"),
            Precondition::Matches(etag) => put.if_match(etag.as_str()),
        };
        let put = put.customize().interceptor(exact).config_override(waits);
        let put = put.interceptor(session.writes.from(key, self.limits.connect));
        Ok(page::version(put.send().await?.e_tag()))
    }

    fn opened(&self, asked: Asked, body: ByteStream, announced_bytes: Option<u64>, limit_bytes: u64) -> Opened {
        let deadline = Instant::now() + self.limits.transfer(announced_bytes.unwrap_or(limit_bytes));
        let (silence, check) = (self.limits.silence, Check::default());
        Opened { asked, body, announced_bytes, limit_bytes, read_bytes: 0, check, silence, deadline }
    }
}

#[async_trait]
impl Cloud for S3Store {
    type Session = Session;
    type Opened = Opened;

    fn bucket_url(&self) -> &str {
        &self.root
    }

    fn attempts(&self) -> u32 {
        self.limits.attempts
    }

    fn skew(&self) -> &Skew {
        &self.skew
    }

    fn explain(&self, error: StoreError) -> StoreError {
        explain_owner(self.settings.expected_bucket_owner.as_deref(), error)
    }

    async fn session(&self) -> (Session, u64) {
        self.sessions.get().await
    }

    async fn renew(&self, generation: u64) -> bool {
        let make = |session: Session| async { self.remade(session.region).await };
        self.sessions.renew(generation, self.limits.renew_every, make).await
    }

    /// Said once.
    async fn follow(&self, generation: u64, region: &str) -> bool {
        let mut current = self.sessions.lock().await;
        if current.session.region.as_deref() == Some(region) {
            // Somebody else was told the same; who was told it of this very client has nothing left to try.
            return current.generation > generation;
        }
        let Some(session) = self.remade(Some(region.to_owned())).await else { return false };
        *current = Current { session, generation: current.generation + 1, since: current.since };
        tracing::warn!(
            root = self.root,
            region,
            "the bucket is in another region, and is asked for there from now on; set `region` to save a request"
        );
        true
    }

    async fn list_once(
        &self,
        session: &Session,
        request: &ListRequest,
        token: Option<&PageToken>,
    ) -> Result<Page, StoreError> {
        let asked = Asked { operation: "list", url: format!("{}/{}", self.root, request.prefix) };
        let unread = page::Unread::default();
        let (token, after) = match token {
            None => (None, None),
            Some(PageToken::Next(token)) => (Some(token.clone()), None),
            Some(PageToken::After(key)) => (None, Some(key.clone())),
        };
        session
            .client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .encoding_type(EncodingType::Url)
            .max_keys(PAGE_KEYS)
            .set_prefix(Some(request.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .set_delimiter(request.one_level.then(|| "/".to_owned()))
            .set_continuation_token(token)
            .set_start_after(after)
            .customize()
            .interceptor(unread.clone())
            .send()
            .await
            .map_err(|error| explain(&asked, &error))?;
        let Some(body) = unread.take() else { return Err(asked.failed(Kind::Malformed, "the answer has no body")) };
        let announced_bytes = body.content_length();
        let limit_bytes = page::PAGE_MAX_BYTES as u64;
        let mut opened = self.opened(asked, ByteStream::new(body), announced_bytes, limit_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(announced_bytes.unwrap_or(0).min(limit_bytes)).unwrap_or(0));
        while let Some(piece) = opened.next().await? {
            bytes.extend_from_slice(&piece);
        }
        page::read(&opened.asked, &self.settings.bucket, request, &bytes)
    }

    async fn open(&self, session: &Session, key: &Key, limit_bytes: u64) -> Result<(Opened, ETag), StoreError> {
        let asked = self.asked("read", key);
        let answer = self.answer(session, key).await?;
        if let Some(bytes) = answer.length.filter(|bytes| *bytes > limit_bytes) {
            return Err(asked.failed(Kind::TooLarge, format!("{bytes} bytes, the limit is {limit_bytes}")));
        }
        let Some(etag) = answer.etag else { return Err(asked.failed(Kind::Malformed, "the answer has no ETag")) };
        let opened = self.opened(asked, answer.body, answer.length, limit_bytes);
        Ok((Opened { check: answer.check, ..opened }, etag))
    }

    async fn head_once(&self, session: &Session, key: &Key) -> Result<Option<Listed>, StoreError> {
        let asked = self.asked("look up", key);
        let exact = ExactKey::of(key);
        let head = session.client.head_object().bucket(&self.settings.bucket).key(exact.key());
        let sent = head.customize().interceptor(exact).send().await;
        let (size, etag) = match sent {
            Ok(answer) => (answer.content_length(), page::version(answer.e_tag())),
            // An answer to HEAD has no body, so no reason: a missing bucket looks like a missing object.
            Err(error) if is_without_reason(&error) => {
                match self.ask(session, key).await.map_err(|error| explain(&asked, &error)) {
                    Ok(answer) => (answer.content_length(), page::version(answer.e_tag())),
                    Err(error) if error.kind == Kind::ObjectMissing => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(explain(&asked, &error)),
        };
        let size_bytes = size.and_then(|size| u64::try_from(size).ok());
        let (Some(size_bytes), Some(etag)) = (size_bytes, etag) else {
            return Err(asked.failed(Kind::Malformed, "the answer has no ETag or no length"));
        };
        Ok(Some(Listed { key: key.clone(), etag, size_bytes }))
    }

    async fn put_once(
        &self,
        session: &Session,
        key: &Key,
        bytes: &Bytes,
        precondition: &Precondition,
    ) -> Result<ETag, StoreError> {
        let asked = self.asked("write", key);
        let sent = match session.writes.way().filter(|_| direct::is_small(key, bytes)) {
            Some(way) => {
                let put = Put { key, bytes, precondition, limit: self.limits.transfer(bytes.len() as u64) };
                let sent = way.put(&put).await.map_err(|error| explain(&asked, &error));
                sent.map(|answer| page::version(answer.headers().get("etag")))
            }
            // Boxed: rare, and large.
            None => Box::pin(self.put_by_sdk(session, key, bytes, precondition))
                .await
                .map_err(|error| explain(&asked, &error)),
        };
        match sent {
            Ok(Some(etag)) => Ok(etag),
            Ok(None) => Err(asked.failed(Kind::OutcomeUnknown, "the answer has no ETag")),
            Err(mut error) => {
                match error.kind {
                    // `If-Match` where there is nothing to match.
                    Kind::ObjectMissing => error.kind = Kind::PreconditionFailed,
                    // The SDK learns the server's time from its answers.
                    Kind::ClockSkew => session.writes.forget(),
                    _ => {}
                }
                Err(error)
            }
        }
    }

    async fn delete_once(&self, session: &Session, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        let asked = self.asked("delete", key);
        // Many servers ignore the condition of a delete, so the version is compared here as well.
        let there = self.head_once(session, key).await.map_err(|error| StoreError { operation: "delete", ..error })?;
        let Some(there) = there else { return Ok(()) };
        if there.etag != *etag {
            return Err(asked.failed(Kind::PreconditionFailed, "the object has another version"));
        }
        let exact = ExactKey::of(key);
        let delete = session.client.delete_object().bucket(&self.settings.bucket).key(exact.key());
        let conditional = !self.deletes_without_condition.load(Ordering::Relaxed);
        let first = delete.clone().set_if_match(conditional.then(|| etag.as_str().to_owned()));
        let sent = first.customize().interceptor(exact.clone()).send().await;
        let Err(error) = sent else { return Ok(()) };
        let is_unknown_there = error.raw_response().is_some_and(|raw| raw.status().as_u16() == 501);
        if conditional && is_unknown_there {
            self.deletes_without_condition.store(true, Ordering::Relaxed);
            let sent = delete.customize().interceptor(exact).send().await;
            return sent.map(drop).map_err(|error| explain(&asked, &error));
        }
        match explain(&asked, &error) {
            gone if gone.kind == Kind::ObjectMissing => Ok(()),
            failed => Err(failed),
        }
    }
}

fn announced(answer: &GetObjectOutput) -> Option<u64> {
    answer.content_length().and_then(|length| u64::try_from(length).ok())
}

/// The head of an answer to a GET.
struct Answer {
    length: Option<u64>,
    etag: Option<ETag>,
    body: ByteStream,
    check: Check,
}

/// An answer whose body is being read.
pub(super) struct Opened {
    asked: Asked,
    body: ByteStream,
    announced_bytes: Option<u64>,
    limit_bytes: u64,
    read_bytes: u64,
    check: Check,
    silence: Duration,
    deadline: Instant,
}

impl Opened {
    fn end(&self) -> Result<Option<Bytes>, StoreError> {
        match self.announced_bytes {
            Some(bytes) if bytes != self.read_bytes => {
                Err(self.asked.failed(Kind::Unreachable, format!("{} of {bytes} bytes came", self.read_bytes)))
            }
            Some(_) | None if self.check.is_right() => Ok(None),
            Some(_) | None => Err(self.wrong()),
        }
    }

    fn wrong(&self) -> StoreError {
        self.asked.failed(Kind::Malformed, "the body does not have its checksum")
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> StoreError {
        if chain(error).any(|error| error.to_string().contains("checksum")) {
            return self.wrong();
        }
        self.asked.failed(Kind::Unreachable, "the body ended early")
    }
}

#[async_trait]
impl Pieces for Opened {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let waited = timeout_at(self.deadline, timeout(self.silence, self.body.next())).await;
        let Ok(Ok(piece)) = waited else {
            return Err(self.asked.failed(Kind::Unreachable, "the body stopped in the middle"));
        };
        let Some(piece) = piece else { return self.end() };
        let piece = piece.map_err(|error| self.broken(&error))?;
        self.read_bytes += piece.len() as u64;
        self.check.update(&piece);
        if self.read_bytes > self.limit_bytes {
            return Err(self.asked.failed(Kind::TooLarge, format!("the limit is {} bytes", self.limit_bytes)));
        }
        Ok(Some(piece))
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("root", &self.root).finish_non_exhaustive()
    }
}
