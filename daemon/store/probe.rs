//! A bucket looked at step by step, for the doctor: the way to it, the clock, who asks, region, list, read.
//!
//! Promise: every step ends in seconds and changes nothing; what is seen holds no secret, no address and no body.
//! Not here: writing (the owner's mark is the project's), what the steps mean for a project.

mod cors;
mod way;

use std::time::Duration;

pub use self::cors::cors;
use super::gcs::{GcsLimits, GcsStore};
use super::local::LocalStore;
use super::s3::{S3Limits, S3Store};
use super::{ListRequest, Page, Store, StoreError, StoreErrorKind as Kind};
use crate::names::Key;
use crate::settings::StoreSettings;

/// How long one request of a look may be silent: a person waits for the answer.
const SILENCE: Duration = Duration::from_secs(8);

/// The end of one step, whatever it waits for: its connection, its silence, and a region that is followed.
const STEP_MAX: Duration = Duration::from_secs(20);

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Works, or does not matter here, but somebody should know.
    Warn,
    /// Does not work.
    Fail,
}

/// One step of the look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// `dns`, `tls`, `clock`, `credentials`, `region`, `bucket`, `list`, `read` …; stable.
    pub step: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable code of what is wrong; empty where nothing is.
    pub code: &'static str,
    /// What was seen.
    pub seen: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

impl Step {
    /// All is well.
    pub fn ok(step: &'static str, seen: impl Into<String>) -> Self {
        Self { step, outcome: Outcome::Ok, code: "", seen: seen.into(), remedy: String::new() }
    }

    /// Somebody should know.
    pub fn warn(step: &'static str, code: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { step, outcome: Outcome::Warn, code, seen: seen.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub fn fail(step: &'static str, code: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { step, outcome: Outcome::Fail, code, seen: seen.into(), remedy: remedy.into() }
    }

    /// It does not work, as the store says.
    pub fn failed(step: &'static str, error: &StoreError) -> Self {
        Self::fail(step, error.kind.code(), error.to_string(), error.remedy())
    }
}

/// A store that was made for a look.
#[derive(Debug)]
pub enum Reached {
    /// S3.
    S3(S3Store),
    /// Google's.
    Gcs(GcsStore),
    /// A directory.
    Local(LocalStore),
}

impl Reached {
    /// A store with short limits; asks nothing of the network.
    pub async fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(match settings {
            StoreSettings::S3(s3) => {
                let limits = S3Limits { silence: SILENCE, attempts: 1, ..S3Limits::default() };
                Self::S3(S3Store::connect_with(s3, limits).await?)
            }
            StoreSettings::Gcs(gcs) => {
                let limits = GcsLimits { silence: SILENCE, attempts: 1, ..GcsLimits::default() };
                Self::Gcs(GcsStore::connect_with(gcs, limits).await?)
            }
            StoreSettings::Local { path } => Self::Local(LocalStore::open(path)?),
        })
    }

    /// As a store.
    pub fn store(&self) -> &dyn Store {
        match self {
            Self::S3(store) => store,
            Self::Gcs(store) => store,
            Self::Local(store) => store,
        }
    }

    /// DNS, TLS and the clock, without credentials.
    pub async fn way(&self) -> Vec<Step> {
        match self {
            Self::S3(store) => way::look(&store.public_url().await, way::SKEW_S3).await,
            Self::Gcs(store) => way::look(&store.public_url(), way::SKEW_GCS).await,
            Self::Local(_) => Vec::new(),
        }
    }

    /// Who asks, and where that was found. `None` for directories.
    pub async fn credentials(&self) -> Option<Step> {
        let who = match self {
            Self::S3(store) => bounded("look up the credentials of", store.root(), store.who()).await,
            Self::Gcs(store) => bounded("look up the credentials of", store.root(), store.who()).await,
            Self::Local(_) => return None,
        };
        Some(match who {
            Ok(who) => Step::ok("credentials", who),
            Err(error) => Step::failed("credentials", &error),
        })
    }

    /// The region that was asked, once something was. `None` where there are no regions.
    pub async fn region(&self) -> Option<Step> {
        let Self::S3(store) = self else { return None };
        let (region, origin, found) = store.region().await;
        Some(match found {
            None => Step::ok("region", format!("{region} (from {origin})")),
            Some(found) => Step::warn(
                "region",
                Kind::RegionMismatch.code(),
                format!("the bucket is in {found}, not in {region} (from {origin}); it is asked for there"),
                format!("set `region = \"{found}\"`"),
            ),
        })
    }

    /// The first page of the listing.
    pub async fn list(&self, request: &ListRequest) -> Result<Page, StoreError> {
        bounded("list", self.store().root(), self.store().list_page(request, None)).await
    }

    /// Whether the object may be read; its bytes are left there.
    pub async fn read(&self, key: &Key) -> Result<(), StoreError> {
        match bounded("read", &self.store().url(key), self.store().get(key, 0)).await {
            Ok(_) | Err(StoreError { kind: Kind::TooLarge, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The same, with an end.
pub async fn bounded<T>(
    operation: &'static str,
    url: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(STEP_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::new(Kind::Unreachable, operation, url, super::asked::SILENT)),
    }
}
