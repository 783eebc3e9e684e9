//! What both S3 and GCS answer to a server that is cut, silent, wrong or not there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::store::{ListRequest, Precondition, Store, StoreError, StoreErrorKind as Of};

use crate::support::SECRET_KEY;
use crate::support::double::{Double, Reaction};

pub const KEY: &str = "x";

/// Far more than connecting takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn list(store: &impl Store) -> Result<Vec<String>, StoreError> {
    let page = store.list_page(&ListRequest::default(), None).await?;
    Ok(page.objects.iter().map(|object| object.key.to_owned()).collect())
}

pub async fn put(store: &impl Store) -> Result<ETag, StoreError> {
    store.put(&Key::new(KEY), Bytes::from("body"), &Precondition::Absent).await
}

/// The answer is no listing: an error of this kind, which says nothing of what it must not.
pub async fn is_no_listing(store: &impl Store, name: &str, expected: Of) {
    let error = list(store).await.expect_err(name);
    assert_eq!(error.kind, expected, "{name}: {error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET_KEY), "{name}: {shown}");
    assert!(!shown.contains("127.0.0.1") && !shown.contains("hotel"), "{name}: {shown}");
}

/// An object of at most 10 bytes, read at once and as a stream, is this error or none.
pub async fn reads_as(store: &impl Store, name: &str, expected: Option<Of>) {
    let read = store.get(&Key::new(KEY), 10).await;
    let mut sink = Vec::new();
    let streamed = store.get_to(&Key::new(KEY), 10, &mut sink).await;
    assert_eq!(read.as_ref().err().map(|error| error.kind), expected, "{name}: {read:?}");
    assert_eq!(streamed.as_ref().err().map(|error| error.kind), expected, "{name}: {streamed:?}");
}

/// A server that begins like this and then is silent.
pub async fn silent(begun: &[u8]) -> Double {
    Double::always(Reaction::Stall(begun.to_vec())).await
}

/// Silence ends every request.
pub async fn is_not_waited_for(store: &impl Store) {
    let start = Instant::now();
    assert_eq!(list(store).await.expect_err("silence").kind, Of::Unreachable);
    assert_eq!(store.get(&Key::new(KEY), 1000).await.expect_err("silence").kind, Of::Unreachable);
    assert_eq!(put(store).await.expect_err("silence").kind, Of::OutcomeUnknown);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// Nothing was sent, and no address is told.
pub async fn is_unreachable(store: &impl Store) {
    let error = list(store).await.expect_err("nobody there");
    assert_eq!(error.kind, Of::Unreachable, "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    let error = put(store).await.expect_err("nobody there");
    assert_eq!(error.kind, Of::Unreachable, "nothing was sent: {error}");
}

/// A write that has no whole answer is neither done nor failed.
pub async fn is_unknown(store: &impl Store, what: &str) {
    let error = put(store).await.expect_err("no answer");
    assert_eq!(error.kind, Of::OutcomeUnknown, "{what}: {error}");
}
