//! A store whose requests are counted, and whose silence is not taken for a hang of the loop that waits for it.
//!
//! Promise: changes nothing that is asked or answered.
//! Not here: time limits; every store has its own.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListRequest, Listed, Object, Page, PageToken, Precondition, Store, StoreError};
use crate::meters::{Flow, Meters};
use crate::names::{ETag, Key};
use crate::pulse::Pulse;

/// See the top.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    kind: &'static str,
    meters: Arc<Meters>,
    pulse: Arc<Pulse>,
}

impl<S: Store> Metered<S> {
    /// `kind`: `s3`, `gcs`, `local`. `pulse`: of the loop that uses it.
    pub fn new(inner: S, kind: &'static str, meters: Arc<Meters>, pulse: Arc<Pulse>) -> Self {
        Self { inner, kind, meters, pulse }
    }

    async fn counted<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let waiting = self.pulse.wait();
        let answer = request.await;
        drop(waiting);
        let status = answer.as_ref().err().map_or("ok", |error| error.kind.code());
        self.meters.request(self.kind, operation, status, begun.elapsed());
        if let Some(seconds) = self.inner.clock_skew_seconds() {
            self.meters.clock_skew(seconds);
        }
        answer
    }
}

#[async_trait]
impl<S: Store> Store for Metered<S> {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn url(&self, key: &Key) -> String {
        self.inner.url(key)
    }

    fn clock_skew_seconds(&self) -> Option<i64> {
        self.inner.clock_skew_seconds()
    }

    fn lists_after(&self) -> bool {
        self.inner.lists_after()
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        self.counted("list", self.inner.list_page(request, token)).await
    }

    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Object, StoreError> {
        let object = self.counted("read", self.inner.get(key, limit_bytes)).await?;
        self.meters.bytes(self.kind, Flow::Read, object.bytes.len() as u64);
        Ok(object)
    }

    async fn get_to(
        &self,
        key: &Key,
        limit_bytes: u64,
        sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<ETag, StoreError> {
        let mut sink = Counting { sink, bytes: 0 };
        let etag = self.counted("read", self.inner.get_to(key, limit_bytes, &mut sink)).await;
        self.meters.bytes(self.kind, Flow::Read, sink.bytes);
        etag
    }

    async fn head(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.counted("look_up", self.inner.head(key)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, precondition: &Precondition) -> Result<ETag, StoreError> {
        let count = bytes.len() as u64;
        let etag = self.counted("write", self.inner.put(key, bytes, precondition)).await?;
        self.meters.bytes(self.kind, Flow::Written, count);
        Ok(etag)
    }

    async fn delete(&self, key: &Key, etag: &ETag) -> Result<(), StoreError> {
        self.counted("delete", self.inner.delete(key, etag)).await
    }
}

/// Counts what goes into a sink.
struct Counting<'a> {
    sink: &'a mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    bytes: u64,
}

impl tokio::io::AsyncWrite for Counting<'_> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let written = std::pin::Pin::new(&mut *self.sink).poll_write(context, bytes);
        if let std::task::Poll::Ready(Ok(count)) = &written {
            self.bytes += *count as u64;
        }
        written
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut *self.sink).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut *self.sink).poll_shutdown(context)
    }
}
