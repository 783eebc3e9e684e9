//! What every store promises: functions over `&dyn Store`, run for each kind.
//!
//! Promise: one promise, one function, one name; where servers differ, the difference has a name.
//! Not here: errors of the network and of servers that break the protocol (`errors`).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use labelsync::names::{ETag, Key};
use labelsync::store::listing::{ListingError, Order, collect};
use labelsync::store::{ListRequest, Listed, PageToken, Precondition, Store, StoreError, StoreErrorKind};

/// Larger than any object of these tests.
const LIMIT_BYTES: u64 = 64 << 20;

/// How a kind of store differs from S3.
#[derive(Clone, Copy)]
pub struct Differences {
    /// Keys that it cannot hold, or not as they are.
    pub cannot_hold: fn(&str) -> bool,
    /// It lists in the order of directories: `a/b` before `a-b`.
    pub lists_directories_first: bool,
    /// Keys that cannot be held are refused with this kind; `None`: the server does what it likes.
    pub refuses_with: Option<StoreErrorKind>,
}

/// Keys that one system or another has lost, changed or read as another.
pub const KEYS: [&str; 50] = [
    "a//b",
    "a/b",
    "/x",
    "x",
    "//",
    "dir/",
    "dir/sub//",
    ".",
    "..",
    "a/./b",
    "a/../b",
    "../x",
    "a..b",
    "file..txt",
    "..backup",
    "%2F",
    "a%2Fb",
    "a%2fb",
    "%",
    "%%41",
    "%zz",
    "a%20b",
    "a+b",
    "a b",
    " ",
    " lead",
    "trail ",
    "a%2Bb",
    "~",
    "?q=1",
    "#f",
    "a&b<c>\"d'",
    "a\\b",
    "*",
    "(x)[y]{z}|^`",
    "a:b@c=d,e;f$g!",
    "tab\there",
    "new\nline",
    "return\rx",
    "esc\u{1b}[2J",
    "one\u{1}two",
    "del\u{7f}",
    "ü",
    "u\u{308}",
    "日本語",
    "😀",
    "rlo\u{202e}gpj",
    "\u{fffd}",
    "\u{fffe}",
    "img/a-b/c.d_e~f.jpg",
];

fn request(prefix: &str, one_level: bool) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), one_level }
}

/// The whole listing in byte order, whatever the store's own order is.
async fn list(store: &dyn Store, prefix: &str, one_level: bool) -> Vec<Listed> {
    let dir = tempfile::tempdir().expect("a directory");
    let order = Order::Sort(dir.path().to_owned());
    collect(store, &request(prefix, one_level), &order).await.expect("a listing")
}

fn keys(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|object| object.key.as_str()).collect()
}

async fn create(store: &dyn Store, key: &str, bytes: &str) -> Result<ETag, StoreError> {
    store.put(&Key::new(key), Bytes::from(bytes.to_owned()), &Precondition::Absent).await
}

async fn bytes_of(store: &dyn Store, key: &Key) -> Bytes {
    store.get(key, LIMIT_BYTES).await.expect("the object").bytes
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreErrorKind {
    outcome.expect_err("an error").kind
}

/// Promise 70: what was put is listed under exactly its key, and what is listed can be read.
pub async fn l70_every_listed_key_can_be_read(store: &dyn Store, differences: &Differences) {
    // On a directory `x` and `x/…` exclude each other; the corpus has no such pair but these.
    let mut there = BTreeMap::new();
    for key in KEYS.into_iter().filter(|key| !(differences.cannot_hold)(key)) {
        let body = format!("the object of {key:?}");
        let etag = create(store, key, &body).await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
        there.insert(key, (body, etag));
    }
    assert!(there.len() >= 25, "the corpus is not empty here: {}", there.len());
    let listed = list(store, "", false).await;
    assert_eq!(keys(&listed), there.keys().copied().collect::<Vec<_>>());
    for object in &listed {
        let (body, etag) = &there[object.key.as_str()];
        let read = store.get(&object.key, LIMIT_BYTES).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.bytes, body.as_bytes(), "{}", object.key);
        assert_eq!((&read.etag, &object.etag), (etag, etag), "{}", object.key);
        assert_eq!(object.size_bytes, body.len() as u64, "{}", object.key);
        let looked_up = store.head(&object.key).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(looked_up.as_ref(), Some(object));
        store.delete(&object.key, &object.etag).await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(list(store, "", false).await, []);
}

/// A key that a store cannot hold is refused by its own kind of error, on both ways.
pub async fn l67_a_key_that_cannot_be_held_is_refused(store: &dyn Store, differences: &Differences) {
    let Some(refused) = differences.refuses_with else { return };
    let mut seen = 0;
    for key in KEYS.into_iter().filter(|key| (differences.cannot_hold)(key)) {
        seen += 1;
        assert_eq!(kind(create(store, key, "x").await), refused, "{key:?}");
        assert_eq!(kind(store.get(&Key::new(key), LIMIT_BYTES).await), refused, "{key:?}");
    }
    assert!(seen > 0, "the corpus has such keys");
}

/// Promise 24: of eight that create the same key at once, one does.
pub async fn l24_create_only_has_exactly_one_winner(store: &dyn Store, _: &Differences) {
    for round in 0..5 {
        let key = format!("race/{round}");
        let bodies: Vec<String> = (0..8).map(|writer| format!("writer {writer}")).collect();
        let racing = bodies.iter().map(|body| create(store, &key, body));
        let outcomes = futures::future::join_all(racing).await;
        let winners: Vec<_> = (0..8).filter(|&writer| outcomes[writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for loser in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(loser.kind, StoreErrorKind::PreconditionFailed, "{loser}");
        }
        assert_eq!(bytes_of(store, &Key::new(key)).await, bodies[winners[0]]);
    }
}

/// Promise 23: a replacement happens only over the version that it names.
pub async fn l23_a_replacement_needs_the_version_it_replaces(store: &dyn Store, _: &Differences) {
    let key = Key::new("done/1");
    let matches = |etag: &ETag| Precondition::Matches(etag.clone());
    let nothing_yet = store.put(&key, Bytes::from("0"), &matches(&ETag::new("\"0123\""))).await;
    assert_eq!(kind(nothing_yet), StoreErrorKind::PreconditionFailed);
    assert_eq!(store.head(&key).await.expect("looked up"), None);
    let first = create(store, key.as_str(), "first").await.expect("created");
    assert_eq!(kind(create(store, key.as_str(), "again").await), StoreErrorKind::PreconditionFailed);
    let second = store.put(&key, Bytes::from("second"), &matches(&first)).await.expect("replaced");
    assert_ne!(first, second);
    let stale = store.put(&key, Bytes::from("stale"), &matches(&first)).await;
    assert_eq!(kind(stale), StoreErrorKind::PreconditionFailed);
    let read = store.get(&key, LIMIT_BYTES).await.expect("read");
    assert_eq!((read.bytes, read.etag), (Bytes::from("second"), second));
}

/// Promise 23, at once: of eight that replace the same version, one does.
pub async fn l23_of_eight_replacements_of_one_version_one_wins(store: &dyn Store, _: &Differences) {
    let key = Key::new("done/race");
    let mut etag = create(store, key.as_str(), "first").await.expect("created");
    for round in 0..5 {
        let replace = |writer: usize| {
            let (key, precondition) = (key.clone(), Precondition::Matches(etag.clone()));
            async move { store.put(&key, Bytes::from(format!("{round} by {writer}")), &precondition).await }
        };
        let outcomes = futures::future::join_all((0..8).map(replace)).await;
        let winners: Vec<_> = (0..8).filter(|&writer| outcomes[writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let read = store.get(&key, LIMIT_BYTES).await.expect("read");
        assert_eq!(read.bytes, format!("{round} by {}", winners[0]));
        assert_eq!(outcomes[winners[0]].as_ref().expect("the winner"), &read.etag);
        etag = read.etag;
    }
}

/// Only the version that is named is deleted; what is gone already is no error.
pub async fn a_delete_needs_the_version_it_removes(store: &dyn Store, _: &Differences) {
    let key = Key::new("gone/1");
    let first = create(store, key.as_str(), "first").await.expect("created");
    let second = store.put(&key, Bytes::from("second"), &Precondition::Matches(first.clone())).await.expect("replaced");
    assert_eq!(kind(store.delete(&key, &first).await), StoreErrorKind::PreconditionFailed);
    assert_eq!(bytes_of(store, &key).await, "second");
    store.delete(&key, &second).await.expect("deleted");
    assert_eq!(store.head(&key).await.expect("looked up"), None);
    assert_eq!(kind(store.get(&key, LIMIT_BYTES).await), StoreErrorKind::ObjectMissing);
    store.delete(&key, &second).await.expect("gone already");
    create(store, key.as_str(), "third").await.expect("created again");
}

/// Promise 34: an object over the limit is refused, one at the limit is read.
pub async fn l34_an_object_over_the_limit_is_not_read(store: &dyn Store, _: &Differences) {
    let key = Key::new("large");
    create(store, key.as_str(), "0123456789").await.expect("created");
    assert_eq!(kind(store.get(&key, 9).await), StoreErrorKind::TooLarge);
    assert_eq!(store.get(&key, 10).await.expect("at the limit").bytes, "0123456789");
    let mut sink = Vec::new();
    assert_eq!(kind(store.get_to(&key, 9, &mut sink).await), StoreErrorKind::TooLarge);
    assert_eq!(sink, b"", "nothing was read");
}

/// Streaming gives the same bytes and version as reading; empty and large objects are whole.
pub async fn bodies_are_whole_whatever_their_size(store: &dyn Store, _: &Differences) {
    for size in [0, 1, 100_000, 9 << 20] {
        let key = Key::new(format!("size/{size}"));
        let body: Bytes = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let etag = store.put(&key, body.clone(), &Precondition::Absent).await.expect("written");
        let read = store.get(&key, LIMIT_BYTES).await.expect("read");
        assert!(read.bytes == body, "{size} bytes");
        let mut sink = Vec::new();
        let streamed = store.get_to(&key, LIMIT_BYTES, &mut sink).await.expect("streamed");
        assert!(sink == body, "{size} bytes streamed");
        assert_eq!((&read.etag, &streamed), (&etag, &etag));
        let looked_up = store.head(&key).await.expect("looked up").expect("there");
        assert_eq!((looked_up.size_bytes, looked_up.etag), (u64::from(size), etag));
    }
}

/// A prefix is a plain string; one level leaves out what lies deeper.
pub async fn a_prefix_is_a_plain_string(store: &dyn Store, _: &Differences) {
    let all = ["a-b", "a/b", "a/c/d", "a0", "b/a", "img 1/x+y", "img 1/x/z"];
    for key in all {
        create(store, key, key).await.expect("created");
    }
    for (prefix, one_level, expected) in [
        ("", false, &all[..]),
        ("", true, &["a-b", "a0"]),
        ("a", false, &["a-b", "a/b", "a/c/d", "a0"]),
        ("a", true, &["a-b", "a0"]),
        ("a/", false, &["a/b", "a/c/d"]),
        ("a/", true, &["a/b"]),
        ("a/c", false, &["a/c/d"]),
        ("img 1/x", false, &["img 1/x+y", "img 1/x/z"]),
        ("img 1/", true, &["img 1/x+y"]),
        ("none", false, &[]),
    ] {
        assert_eq!(keys(&list(store, prefix, one_level).await), expected, "{prefix:?} {one_level}");
    }
}

/// A listing of several pages has every key once.
pub async fn a_listing_of_many_pages_is_whole(store: &dyn Store, _: &Differences) {
    let expected: Vec<String> = (0..2100).map(|number| format!("many/{:02}/{number:04}", number % 70)).collect();
    let puts = expected.iter().map(|key| create(store, key, ""));
    let created: Vec<_> = futures::stream::iter(puts).buffer_unordered(16).collect().await;
    assert!(created.iter().all(Result::is_ok), "{:?}", created.iter().find(|outcome| outcome.is_err()));
    let mut sorted: Vec<_> = expected.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(keys(&list(store, "many/", false).await), sorted);
    let first = store.list_page(&request("many/", false), None).await.expect("a page");
    assert!(!first.objects.is_empty() && first.objects.len() <= 1000, "{}", first.objects.len());
    let again = store.list_page(&request("many/", false), first.next.as_ref()).await.expect("a page");
    let twice = store.list_page(&request("many/", false), first.next.as_ref()).await.expect("the same page");
    assert_eq!(again.objects, twice.objects, "a token can be used again");
    assert_ne!(first.objects.last(), again.objects.last());
}

/// Several pages are asked for at once by keys that were listed before: each must start where it was asked to.
pub async fn a_page_can_start_after_any_key(store: &dyn Store, differences: &Differences) {
    if !store.lists_after() {
        return;
    }
    let is_flat = |key: &&str| !key.contains('/') && !(differences.cannot_hold)(key);
    let mut there: Vec<&str> = KEYS.into_iter().filter(is_flat).collect();
    there.sort_unstable();
    assert!(there.len() > 20, "the corpus has such keys");
    for key in &there {
        create(store, key, "x").await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    for (nth, key) in there.iter().enumerate() {
        let mut token = PageToken::After((*key).to_owned());
        let mut listed = Vec::new();
        loop {
            let page = store.list_page(&ListRequest::default(), Some(&token)).await.expect("a page");
            listed.extend(page.objects.iter().map(|object| object.key.to_owned()));
            let Some(next) = page.next else { break };
            token = next;
        }
        // With the key itself or without it, as it comes from a provider.
        let after = if listed.first().is_some_and(|first| first == key) { &listed[1..] } else { &listed };
        assert_eq!(after, &there[nth + 1..], "after {key:?}");
    }
}

/// Keys come in byte order, or the disorder is noticed.
pub async fn l5_byte_order_is_kept_or_noticed(store: &dyn Store, differences: &Differences) {
    for key in ["a/b", "a-b", "a0", "Z", "é"] {
        create(store, key, "x").await.expect("created");
    }
    let checked = collect(store, &ListRequest::default(), &Order::Check).await;
    if differences.lists_directories_first {
        let error = checked.expect_err("an order that is not of bytes");
        assert!(matches!(&error, ListingError::OutOfOrder { after } if after.as_str() == "a-b"), "{error}");
    } else {
        assert_eq!(keys(&checked.expect("in order")), ["Z", "a-b", "a/b", "a0", "é"]);
    }
    assert_eq!(keys(&list(store, "", false).await), ["Z", "a-b", "a/b", "a0", "é"]);
}

/// What is not there is told apart from what cannot be read.
pub async fn a_missing_object_is_named_so(store: &dyn Store, _: &Differences) {
    let key = Key::new("not/there");
    let error = store.get(&key, LIMIT_BYTES).await.expect_err("nothing there");
    assert_eq!(error.kind, StoreErrorKind::ObjectMissing);
    assert_eq!(error.url, store.url(&key));
    assert_eq!(store.head(&key).await.expect("looked up"), None);
    store.delete(&key, &ETag::new("\"x\"")).await.expect("gone already");
    assert_eq!(list(store, "", false).await, []);
}
