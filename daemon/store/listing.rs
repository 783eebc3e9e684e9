//! One complete listing, in byte order, from a store that may fail, repeat itself or list out of order.
//!
//! Promise: [`Complete`] exists only when the last page was seen, every page was new, and every key came in
//! strictly ascending byte order. Memory does not grow with the bucket, requests are bounded.
//! Not here: sorting itself (`sorting`), why pages that were asked for at once make a whole listing (`splice`), what the
//! objects are for.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::lanes::Lanes;
pub use super::lanes::Marks;
use super::sorting::{self, SortError, SortingFile};
use super::splice::{Fit, Joined};
use super::{ListRequest, Listed, ListedRef, Objects, Page, PageToken, Store, StoreError, StoreErrorKind};
use crate::names::Key;

/// Empty pages in a row that are still believed: a server that filters after it counts may give some,
/// one that gives hundreds makes no progress.
const MAX_EMPTY_PAGES: u32 = 100;

/// Pages that are fetched ahead of who takes them: one in the channel while the next is on its way.
pub const PAGES_AHEAD: usize = 1;

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
        after: Key,
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
    Sort(PathBuf),
}

/// Lists everything that `request` names into `pages`; a full channel holds it back. `marks`: of the listings before it.
pub async fn walk(
    store: &dyn Store,
    request: &ListRequest,
    order: &Order,
    marks: &mut Marks,
    pages: mpsc::Sender<Objects>,
) -> Result<Complete, ListingError> {
    match order {
        Order::Check => checked(store, request, marks, &pages).await,
        Order::Sort(dir) => {
            sorted(store, request, dir.clone(), &pages).await.map_err(|error| error.in_dir(&dir.display().to_string()))
        }
    }
}

/// The whole listing in memory; for tests and for listings that are known to be small.
pub async fn collect(store: &dyn Store, request: &ListRequest, order: &Order) -> Result<Vec<Listed>, ListingError> {
    let (sender, mut receiver) = mpsc::channel::<Objects>(PAGES_AHEAD);
    let take = async {
        let mut all = Vec::new();
        while let Some(page) = receiver.recv().await {
            all.extend(page.iter().map(ListedRef::to_listed));
        }
        all
    };
    let mut marks = Marks::default();
    let (complete, all) = tokio::join!(walk(store, request, order, &mut marks, sender), take);
    complete.map(|Complete(())| all)
}

async fn checked(
    store: &dyn Store,
    request: &ListRequest,
    marks: &mut Marks,
    pages: &mpsc::Sender<Objects>,
) -> Result<Complete, ListingError> {
    let mut pager = Pager::new(store, request);
    let mut lanes = Lanes::new(store, request, marks);
    let mut joined = Joined::default();
    while let Some((mut page, from)) = next(&mut pager, &mut lanes, &joined).await? {
        joined.took(&page, from);
        if joined.has_ended() {
            lanes.end_at(joined.last());
        } else if page.is_throttled {
            lanes.ask_no_more();
        }
        page.objects.drop_first(from);
        send(pages, page.objects).await?;
    }
    lanes.finish(joined);
    Ok(Complete(()))
}

/// The page that comes next, and its first object that does: one that was asked for ahead where it joins, else the one that
/// the page before names. `None` after the last one.
async fn next(
    pager: &mut Pager<'_>,
    lanes: &mut Lanes<'_>,
    joined: &Joined,
) -> Result<Option<(Page, usize)>, ListingError> {
    while let Some(lane) = lanes.front().await? {
        in_order(None, &lane.page.objects)?;
        match joined.fit(lane.after.as_deref(), &lane.page) {
            Fit::Joins(from) => {
                let Some(page) = lanes.take_front() else { continue };
                pager.go_on_after(&page)?;
                return Ok(Some((page, from)));
            }
            Fit::Nothing => drop(lanes.take_front()),
            Fit::Apart => {
                lanes.front_is_apart();
                break;
            }
            Fit::Ignored => lanes.distrust("asked for the keys after a key, it shows keys before it"),
            Fit::Contradicts => {
                lanes.distrust("asked for the keys after a key, it shows some where the listing had ended");
                return Err(pager.malformed("the listing ends before keys that are there"));
            }
        }
    }
    let Some(page) = pager.next().await? else { return Ok(None) };
    in_order(joined.last(), &page.objects)?;
    Ok(Some((page, 0)))
}

/// Whether these come in byte order, after this key.
fn in_order<'a>(mut last: Option<&'a str>, objects: &'a Objects) -> Result<(), ListingError> {
    for object in objects.iter() {
        if last.is_some_and(|last| last >= object.key) {
            return Err(ListingError::OutOfOrder { after: Key::new(object.key) });
        }
        last = Some(object.key);
    }
    Ok(())
}

async fn sorted(
    store: &dyn Store,
    request: &ListRequest,
    dir: PathBuf,
    pages: &mpsc::Sender<Objects>,
) -> Result<Complete, SortedError> {
    let mut pager = Pager::new(store, request);
    let mut file = blocking(move || SortingFile::create(&dir)).await?;
    while let Some(page) = pager.next().await? {
        file = blocking(move || file.add(&page.objects).map(|()| file)).await?;
    }
    let mut after: Option<String> = None;
    loop {
        let from = after.take();
        let (back, objects) = blocking(move || file.page(from.as_deref()).map(|page| (file, page))).await?;
        file = back;
        let Some(last) = objects.last() else { return Ok(Complete(())) };
        after = Some(last.key.to_owned());
        send(pages, objects).await?;
    }
}

/// A failure of the sorted walk before it is known where the sorting file was.
enum SortedError {
    Listing(ListingError),
    Sort(SortError),
}

impl SortedError {
    fn in_dir(self, dir: &str) -> ListingError {
        match self {
            Self::Listing(error) => error,
            Self::Sort(error) => ListingError::Sort { dir: dir.to_owned(), source: error },
        }
    }
}

impl From<ListingError> for SortedError {
    fn from(error: ListingError) -> Self {
        Self::Listing(error)
    }
}

impl From<SortError> for SortedError {
    fn from(error: SortError) -> Self {
        Self::Sort(error)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SortError> + Send + 'static,
) -> Result<T, SortError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(sorting::interrupted()),
    }
}

async fn send(pages: &mpsc::Sender<Objects>, objects: Objects) -> Result<(), ListingError> {
    if objects.is_empty() {
        return Ok(());
    }
    pages.send(objects).await.map_err(|_| ListingError::GivenUp)
}

/// Asks for page after page and ends by itself where a store goes round in circles.
struct Pager<'a> {
    store: &'a dyn Store,
    request: &'a ListRequest,
    next: Next,
    circle: Circle,
    empty_pages: u32,
}

enum Next {
    Start,
    At(PageToken),
    End,
}

impl<'a> Pager<'a> {
    fn new(store: &'a dyn Store, request: &'a ListRequest) -> Self {
        Self { store, request, next: Next::Start, circle: Circle::default(), empty_pages: 0 }
    }

    /// `None` after the last page.
    async fn next(&mut self) -> Result<Option<Page>, ListingError> {
        let token = match &self.next {
            Next::Start => None,
            Next::At(token) => Some(token),
            Next::End => return Ok(None),
        };
        let page = self.store.list_page(self.request, token).await?;
        self.go_on_after(&page)?;
        Ok(Some(page))
    }

    /// The next page is the one that this one names.
    fn go_on_after(&mut self, page: &Page) -> Result<(), ListingError> {
        self.empty_pages = if page.objects.is_empty() { self.empty_pages + 1 } else { 0 };
        let Some(token) = &page.next else {
            self.next = Next::End;
            return Ok(());
        };
        if self.circle.closes(token) {
            return Err(self.malformed("the same page token came twice"));
        }
        if self.empty_pages >= MAX_EMPTY_PAGES {
            return Err(self.malformed("page after page is empty and none is the last"));
        }
        self.next = Next::At(token.clone());
        Ok(())
    }

    fn malformed(&self, detail: &str) -> ListingError {
        let url = format!("{}/{}", self.store.root(), self.request.prefix);
        StoreError::new(StoreErrorKind::Malformed, "list", url, detail).into()
    }
}

/// Finds a repeated token without keeping all of them (Brent): an immediate repeat at once, a circle of any
/// length before it was walked three times.
#[derive(Default)]
struct Circle {
    last: Option<PageToken>,
    kept: Option<PageToken>,
    steps: u64,
}

impl Circle {
    fn closes(&mut self, token: &PageToken) -> bool {
        if self.last.as_ref() == Some(token) || self.kept.as_ref() == Some(token) {
            return true;
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.kept = Some(token.clone());
        }
        self.last = Some(token.clone());
        false
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
