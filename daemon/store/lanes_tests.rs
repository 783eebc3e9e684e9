//! What a listing by several pages at once promises, on a bucket that changes while it is listed, and on odd ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use crate::names::{ETag, Key};
use crate::store::listing::{ListingError, Marks, Order, PAGES_AHEAD, walk};
use crate::store::memory::MemoryStore;
use crate::store::{
    ListRequest, Listed, ListedRef, Object, Objects, Page, PageToken, Precondition, Store, StoreError, StoreErrorKind,
};

/// Numbers that are the same in every run.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What a bucket does with pages that are asked for by a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Odd {
    Not,
    /// It shows the first page.
    Ignores,
    /// It says of each that it is the last.
    Ends,
    /// It does, and gives no third one.
    EndsAndFails,
    /// It shows them backwards.
    Reverses,
    /// It shows what stands behind the first keys only.
    Skips,
    /// It answers with this.
    Fails(StoreErrorKind),
    /// It asks for fewer requests, also of other pages.
    Throttles,
}

/// A bucket in memory that takes its time, and changes meanwhile.
#[derive(Debug)]
struct Bucket {
    inner: MemoryStore,
    odd: Odd,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    dice: Dice,
    /// Keys that come and go.
    restless: Vec<String>,
    /// All that were there at any time.
    ever: BTreeSet<String>,
    requests: Vec<Option<PageToken>>,
    under_way: usize,
    most_under_way: usize,
}

impl Bucket {
    fn new(keys: impl IntoIterator<Item = String>, page_objects: usize, odd: Odd) -> Self {
        let inner = MemoryStore::new("s3://bucket").with_page_objects(page_objects);
        keys.into_iter().for_each(|key| drop(inner.insert(&Key::new(key), "")));
        let seen = Seen {
            dice: Dice(1),
            restless: Vec::new(),
            ever: BTreeSet::new(),
            requests: Vec::new(),
            under_way: 0,
            most_under_way: 0,
        };
        Self { inner, odd, seen: Mutex::new(seen) }
    }

    fn of(count: usize, page_objects: usize, odd: Odd) -> Self {
        Self::new((0..count).map(|n| format!("k/{n:05}")), page_objects, odd)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn keys(&self) -> BTreeSet<String> {
        self.inner.objects().into_keys().map(|key| key.as_str().to_owned()).collect()
    }

    /// Some of the restless keys come or go.
    fn change(&self) {
        let mut seen = self.seen();
        if seen.restless.is_empty() {
            return;
        }
        for _ in 0..seen.dice.below(4) {
            let count = seen.restless.len() as u64;
            let nth = seen.dice.below(count) as usize;
            let key = seen.restless[nth].clone();
            if !self.inner.remove(&Key::new(key.as_str())) {
                self.inner.insert(&Key::new(key.as_str()), "");
                seen.ever.insert(key);
            }
        }
    }

    async fn rest(&self) {
        let turns = self.seen().dice.below(6);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    /// The requests since the last call: all of them, and those by a key.
    fn take_requests(&self) -> (usize, usize) {
        let requests = std::mem::take(&mut self.seen().requests);
        let by_key = requests.iter().filter(|token| matches!(token, Some(PageToken::After(_)))).count();
        (requests.len(), by_key)
    }

    /// All keys that one listing shows, in its order.
    async fn list(&self, request: &ListRequest, marks: &mut Marks) -> Result<Vec<String>, ListingError> {
        self.seen().ever = self.keys();
        let (sender, mut receiver) = mpsc::channel::<Objects>(PAGES_AHEAD);
        let take = async {
            let mut all = Vec::new();
            while let Some(page) = receiver.recv().await {
                all.extend(page.iter().map(|object| object.key.to_owned()));
                self.rest().await;
            }
            all
        };
        let (walked, all) = tokio::join!(walk(self, request, &Order::Check, marks, sender), take);
        walked.map(|_| all)
    }

    async fn all(&self, marks: &mut Marks) -> Result<Vec<String>, ListingError> {
        self.list(&ListRequest::default(), marks).await
    }

    async fn answer(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        let by_key = matches!(token, Some(PageToken::After(_)));
        let failed = |kind| Err(StoreError::new(kind, "list", self.root(), "a fault of the test"));
        match self.odd {
            Odd::Fails(kind) if by_key => failed(kind),
            Odd::EndsAndFails if is_after(token, "k/00020") => failed(StoreErrorKind::Unreachable),
            Odd::Ignores if by_key => self.inner.list_page(request, None).await,
            Odd::Throttles => {
                self.inner.list_page(request, token).await.map(|page| Page { is_throttled: true, ..page })
            }
            odd => {
                let mut page = self.inner.list_page(request, token).await?;
                match odd {
                    Odd::Ends | Odd::EndsAndFails if by_key => page.next = None,
                    Odd::Reverses if by_key => {
                        page.objects = page.objects.iter().rev().map(ListedRef::to_listed).collect();
                    }
                    Odd::Skips if by_key => page.objects.drop_first(3),
                    _ => {}
                }
                Ok(page)
            }
        }
    }
}

#[async_trait]
impl Store for Bucket {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn lists_after(&self) -> bool {
        true
    }

    async fn list_page(&self, request: &ListRequest, token: Option<&PageToken>) -> Result<Page, StoreError> {
        {
            let mut seen = self.seen();
            seen.requests.push(token.cloned());
            seen.under_way += 1;
            seen.most_under_way = seen.most_under_way.max(seen.under_way);
        }
        self.rest().await;
        self.change();
        let page = self.answer(request, token).await;
        self.change();
        self.rest().await;
        self.seen().under_way -= 1;
        page
    }

    async fn get(&self, _: &Key, _: u64) -> Result<Object, StoreError> {
        unreachable!("it is only listed")
    }

    async fn get_to(&self, _: &Key, _: u64, _: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<ETag, StoreError> {
        unreachable!("it is only listed")
    }

    async fn head(&self, _: &Key) -> Result<Option<Listed>, StoreError> {
        unreachable!("it is only listed")
    }

    async fn put(&self, _: &Key, _: Bytes, _: &Precondition) -> Result<ETag, StoreError> {
        unreachable!("it is only listed")
    }

    async fn delete(&self, _: &Key, _: &ETag) -> Result<(), StoreError> {
        unreachable!("it is only listed")
    }
}

fn is_after(token: Option<&PageToken>, key: &str) -> bool {
    matches!(token, Some(PageToken::After(after)) if after.as_str() > key)
}

fn is_malformed(error: &ListingError) -> bool {
    matches!(error, ListingError::Store(error) if error.kind == StoreErrorKind::Malformed)
}

#[tokio::test]
async fn l1_no_key_that_stays_is_missed_or_comes_twice_while_others_come_and_go() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (most, page) = (20 + dice.below(120), 2 + dice.below(8) as usize);
        let stay: BTreeSet<String> = (0..most).filter(|_| dice.below(3) > 0).map(|n| format!("k/{n:03}")).collect();
        let bucket = Bucket::new(stay.iter().cloned(), page, Odd::Not);
        let restless = match dice.below(3) {
            0 => Vec::new(),
            1 => (0..most).map(|n| format!("k/{n:03}x")).collect(),
            // All of them in one place: a crowd that comes, or a part that goes.
            _ => (0..30).map(|n| format!("k/{:03}y{n:02}", most / 2)).collect(),
        };
        {
            let mut seen = bucket.seen();
            seen.restless = restless;
            seen.dice = dice;
        }
        let mut marks = Marks::default();
        for _ in 0..5 {
            match bucket.all(&mut marks).await {
                Ok(all) => {
                    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {all:?}");
                    let (all, ever): (BTreeSet<_>, _) = (all.into_iter().collect(), bucket.seen().ever.clone());
                    assert!(stay.is_subset(&all), "seed {seed}: missed {:?}", stay.difference(&all));
                    assert!(all.is_subset(&ever), "seed {seed}");
                    *counts.entry("whole").or_default() += 1;
                }
                // What ended has begun again meanwhile: nobody can tell it from a bucket that ends too early.
                Err(error) => {
                    assert!(is_malformed(&error), "seed {seed}: {error}");
                    *counts.entry("given up").or_default() += 1;
                }
            }
            *counts.entry("by key").or_default() += bucket.take_requests().1;
        }
    }
    assert!(counts["by key"] > 5_000 && counts.get("given up").is_none_or(|times| *times < 20), "{counts:?}");
}

#[tokio::test]
async fn what_has_not_changed_is_listed_by_as_many_requests_a_few_at_once() {
    for (count, first, then) in [(1_000, 100, 111), (1_001, 101, 112), (9_991, 1_000, 1_110)] {
        let bucket = Bucket::of(count, 10, Odd::Not);
        let mut marks = Marks::default();
        for (expected, at_once) in [(first, 1), (then, 4), (then, 4)] {
            bucket.seen().most_under_way = 0;
            assert_eq!(bucket.all(&mut marks).await.unwrap().len(), count);
            // One key of each page is seen twice: of pages of 1,000 keys that is a thousandth.
            assert_eq!(bucket.take_requests().0, expected, "{count}");
            assert_eq!(bucket.seen().most_under_way, at_once);
        }
    }
    for small in [0, 1, 10, 11, 28] {
        let (bucket, mut marks) = (Bucket::of(small, 10, Odd::Not), Marks::default());
        for _ in 0..3 {
            assert_eq!(bucket.all(&mut marks).await.unwrap().len(), small);
        }
        assert_eq!(bucket.take_requests(), (3 * small.div_ceil(10).max(1), 0), "{small} keys");
    }
}

#[tokio::test]
async fn what_has_come_or_gone_costs_few_requests() {
    let (bucket, mut marks) = (Bucket::of(1_000, 10, Odd::Not), Marks::default());
    bucket.all(&mut marks).await.unwrap();
    bucket.all(&mut marks).await.unwrap();
    bucket.take_requests();
    bucket.inner.insert(&Key::new("k/00500x"), "");
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 1_001);
    assert_eq!(bucket.take_requests().0, 112, "one page goes on by its token");
    bucket.all(&mut marks).await.unwrap();
    assert_eq!(bucket.take_requests().0, 112, "the pages start elsewhere now");
    // New ones everywhere: it is given up after a few, and goes on by tokens.
    (0..1_000).for_each(|n| drop(bucket.inner.insert(&Key::new(format!("k/{n:05}y")), "")));
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 2_001);
    let (all, by_key) = bucket.take_requests();
    assert!((201..=220).contains(&all) && (8..16).contains(&by_key), "{all} {by_key}");
    // Nearly nothing is left: not every key of the last listing is asked for.
    bucket.keys().iter().skip(35).for_each(|key| _ = bucket.inner.remove(&Key::new(key.as_str())));
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 35);
    assert!(bucket.take_requests().0 < 12);
}

#[tokio::test]
async fn a_bucket_that_lists_from_the_start_all_the_same_is_noticed_and_listed_page_after_page() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Ignores), Marks::default());
    for by_key in [0, 4, 0, 0] {
        assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
        let seen = bucket.take_requests().1;
        assert!(seen <= by_key && (seen > 0) == (by_key > 0), "{seen}");
    }
}

#[tokio::test]
async fn l5_a_bucket_that_ends_too_early_is_no_whole_listing() {
    for count in [29, 40, 41, 55, 200] {
        let (bucket, mut marks) = (Bucket::of(count, 10, Odd::Ends), Marks::default());
        assert_eq!(bucket.all(&mut marks).await.unwrap().len(), count);
        let error = bucket.all(&mut marks).await.expect_err("it contradicts itself");
        assert!(is_malformed(&error), "{count}: {error}");
        bucket.take_requests();
        assert_eq!(bucket.all(&mut marks).await.unwrap().len(), count);
        assert_eq!(bucket.take_requests().1, 0, "it is not asked so again");
    }
}

#[tokio::test]
async fn l5_a_listing_that_ends_without_its_witness_is_not_complete() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::EndsAndFails), Marks::default());
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
    bucket.all(&mut marks).await.expect_err("nobody says that nothing comes after it");
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
}

#[tokio::test]
async fn l5_a_part_that_is_gone_hides_no_end_that_comes_too_early() {
    let (bucket, mut marks) = (Bucket::of(400, 10, Odd::Ends), Marks::default());
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 400);
    // A page reaches over more keys of the last listing than are asked for at once.
    let gone = bucket.keys().into_iter().enumerate().filter(|(nth, _)| nth % 9 > 0);
    gone.for_each(|(_, key)| _ = bucket.inner.remove(&Key::new(key)));
    let error = bucket.all(&mut marks).await.expect_err("it contradicts itself");
    assert!(is_malformed(&error), "{error}");
}

#[tokio::test]
async fn l5_pages_that_start_too_late_are_not_joined() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Skips), Marks::default());
    for _ in 0..3 {
        assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
    }
    assert!(bucket.take_requests().1 > 8, "they were asked for");
}

#[tokio::test]
async fn pages_out_of_order_are_noticed_wherever_they_come_from() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Reverses), Marks::default());
    bucket.all(&mut marks).await.unwrap();
    let error = bucket.all(&mut marks).await.expect_err("disorder");
    assert!(matches!(error, ListingError::OutOfOrder { .. }), "{error}");
}

#[tokio::test]
async fn a_page_that_cannot_be_had_ahead_is_no_failure_of_the_listing() {
    // What can pass is tried again by the next listing.
    for (kind, again) in [(StoreErrorKind::Unreachable, true), (StoreErrorKind::Configuration, false)] {
        let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Fails(kind)), Marks::default());
        for by_key in [false, true, again, again] {
            assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
            assert_eq!(bucket.take_requests().1 > 0, by_key, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn l52_who_asks_for_fewer_requests_gets_one_after_the_other() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Throttles), Marks::default());
    bucket.all(&mut marks).await.unwrap();
    bucket.take_requests();
    assert_eq!(bucket.all(&mut marks).await.unwrap().len(), 200);
    let (all, by_key) = bucket.take_requests();
    assert!(by_key <= 4 && all <= 24, "{all} {by_key}");
}

#[tokio::test]
async fn what_is_known_of_a_listing_is_of_this_one_and_of_a_whole_one() {
    let (bucket, mut marks) = (Bucket::of(200, 10, Odd::Not), Marks::default());
    let part = ListRequest { prefix: "k/000".to_owned(), one_level: true };
    for (request, by_key) in [(&ListRequest::default(), false), (&part, false), (&part, true)] {
        bucket.take_requests();
        bucket.list(request, &mut marks).await.unwrap();
        assert_eq!(bucket.take_requests().1 > 0, by_key, "{request:?}");
    }
    let (faulty, faults) = crate::store::faulty::Faulty::new(bucket);
    faults.fail_page(1, StoreErrorKind::Unreachable);
    let (sender, mut receiver) = mpsc::channel(PAGES_AHEAD);
    let take = async { while receiver.recv().await.is_some() {} };
    let (walked, ()) = tokio::join!(walk(&faulty, &part, &Order::Check, &mut marks, sender), take);
    walked.expect_err("its first page fails");
    faulty.inner().take_requests();
    faulty.inner().list(&part, &mut marks).await.unwrap();
    assert_eq!(faulty.inner().take_requests().1, 0, "a listing that failed leaves nothing");
}
