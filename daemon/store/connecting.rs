//! A store that is reached when it is first used, and tried again while it cannot be.
//!
//! Promise: a bucket that is down, or credentials that are missing, are an error of a look, never of the start.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::OnceCell;

use super::gcs::GcsStore;
use super::local::LocalStore;
use super::s3::S3Store;
use super::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError};
use crate::names::{ETag, Key};
use crate::settings::StoreSettings;

/// A bucket or directory by its settings.
#[derive(Debug)]
pub struct Connecting {
    settings: StoreSettings,
    root: String,
    reached: OnceCell<Arc<dyn Store>>,
}

impl Connecting {
    /// Nothing is reached yet.
    pub fn new(settings: StoreSettings) -> Self {
        Self { root: settings.root(), settings, reached: OnceCell::new() }
    }

    /// The settings it was made of.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    async fn store(&self) -> Result<&dyn Store, StoreError> {
        // Boxed: it happens once, and every request would carry its 10 KiB of state.
        let connect = || {
            Box::pin(async {
                Ok::<Arc<dyn Store>, StoreError>(match &self.settings {
                    StoreSettings::S3(s3) => Arc::new(S3Store::connect(s3).await?),
                    StoreSettings::Gcs(gcs) => Arc::new(GcsStore::connect(gcs).await?),
                    StoreSettings::Local { path } => Arc::new(LocalStore::open(path)?),
                })
            })
        };
        self.reached.get_or_try_init(connect).await.map(|store| &**store)
    }
}

#[async_trait]
impl Store for Connecting {
    fn root(&self) -> &str {
        &self.root
    }

    fn url(&self, key: &Key) -> String {
        match &self.settings {
            StoreSettings::S3(_) | StoreSettings::Gcs(_) => format!("{}/{}", self.root, key.as_str()),
            StoreSettings::Local { path } => super::local_url(&path.join(key.as_str())),
        }
    }

    fn clock_skew_seconds(&self) -> Option<i64> {
        self.reached.get()?.clock_skew_seconds()
    }

    fn lists_after(&self) -> bool {
        matches!(self.settings, StoreSettings::S3(_) | StoreSettings::Gcs(_))
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        self.store().await?.list_page(request, token).await
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        self.store().await?.get(key, limit_bytes).await
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        self.store().await?.get_to(key, limit_bytes, sink).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.store().await?.head(key).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        self.store().await?.put(key, bytes, precondition).await
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        self.store().await?.delete(key, etag).await
    }
}
