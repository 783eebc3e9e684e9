//! Listings by several pages at once, over the wire: what is asked of S3 and GCS, and servers that cannot do it.

use std::fmt::Write as _;

use labelsync::store::gcs::GcsStore;
use labelsync::store::listing::{Marks, Order, walk};
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{ListRequest, Objects, Store};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::sync::mpsc;

use crate::support::Trials;
use crate::support::double::{Double, Reaction, Request, answer};

pub fn add(trials: &mut Trials) {
    trials.test("s3::pages_are_asked_for_at_once_and_joined", s3_pages_are_asked_for_at_once_and_joined);
    trials.test("gcs::pages_are_asked_for_at_once_and_joined", gcs_pages_are_asked_for_at_once_and_joined);
    trials.test("s3::a_server_that_cannot_start_after_a_key", a_server_that_cannot_start_after_a_key);
    trials.test("s3::l52_a_page_says_that_it_was_throttled", l52_a_page_says_that_it_was_throttled);
}

/// Keys on a page: the servers give fewer than they are asked for.
const PAGE_KEYS: usize = 10;

const XML: &str = "Content-Type: application/xml\r\n";

/// Keys that must be encoded on the way out and in.
fn keys() -> Vec<String> {
    (0..95).map(|n| format!("k +&%ü<\n/{n:03}")).collect()
}

fn value(request: &Request, name: &str) -> Option<String> {
    let query = request.line.split(' ').nth(1)?.split_once('?')?.1;
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(percent_decode_str(value).decode_utf8().expect("UTF-8").into_owned())
}

/// The page that starts with this key.
fn s3_page(from: usize) -> Reaction {
    let keys = keys();
    let end = keys.len().min(from + PAGE_KEYS);
    let mut inside = "<Name>bucket</Name><EncodingType>url</EncodingType>".to_owned();
    for key in &keys[from..end] {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        write!(inside, "<Contents><Key>{key}</Key><ETag>&quot;1&quot;</ETag><Size>3</Size></Contents>").expect("text");
    }
    let token = format!("<NextContinuationToken>{end}</NextContinuationToken>");
    let (more, token) = if end < keys.len() { (true, token.as_str()) } else { (false, "") };
    let body = format!("<ListBucketResult>{inside}{token}<IsTruncated>{more}</IsTruncated></ListBucketResult>");
    answer("200 OK", XML, &body)
}

/// As S3 lists.
fn s3(request: &Request) -> Reaction {
    let token = value(request, "continuation-token").map(|token| token.parse().expect("our token"));
    let after = value(request, "start-after").map(|after| keys().partition_point(|key| *key <= after));
    assert!(token.is_none() || after.is_none(), "one or the other: {}", request.line);
    s3_page(token.or(after).unwrap_or(0))
}

fn by_key(double: &Double, name: &str) -> usize {
    double.requests().iter().filter(|request| value(request, name).is_some()).count()
}

async fn list(store: &dyn Store, marks: &mut Marks) -> Vec<String> {
    let (sender, mut receiver) = mpsc::channel::<Objects>(1);
    let take = async {
        let mut all = Vec::new();
        while let Some(page) = receiver.recv().await {
            all.extend(page.iter().map(|object| object.key.to_owned()));
        }
        all
    };
    let request = ListRequest::default();
    let (walked, all) = tokio::join!(walk(store, &request, &Order::Check, marks, sender), take);
    walked.expect("a whole listing");
    all
}

async fn s3_pages_are_asked_for_at_once_and_joined() {
    let double = Double::start(|_, request| s3(request)).await;
    let store = S3Store::connect(&double.settings()).await.expect("a store");
    let mut marks = Marks::default();
    for expected in [0, 10, 20] {
        assert_eq!(list(&store, &mut marks).await, keys());
        assert_eq!(by_key(&double, "start-after"), expected);
    }
    assert_eq!(double.requests().len(), 10 + 2 * 11);
}

async fn gcs_pages_are_asked_for_at_once_and_joined() {
    let react = |_, request: &Request| {
        let keys = keys();
        let token = value(request, "pageToken").map(|token| token.parse().expect("our token"));
        let at = value(request, "startOffset").map(|at| keys.partition_point(|key| *key < at));
        let from = token.or(at).unwrap_or(0);
        let end = keys.len().min(from + PAGE_KEYS);
        let items: Vec<_> = keys[from..end]
            .iter()
            .map(|key| serde_json::json!({"name": key, "generation": "17", "size": "3"}))
            .collect();
        let mut page = serde_json::json!({"kind": "storage#objects", "items": items});
        if end < keys.len() {
            page["nextPageToken"] = end.to_string().into();
        }
        answer("200 OK", "Content-Type: application/json\r\n", &page.to_string())
    };
    let double = Double::start(react).await;
    let store = GcsStore::connect(&double.gcs_settings()).await.expect("a store");
    let mut marks = Marks::default();
    for expected in [0, 10, 20] {
        assert_eq!(list(&store, &mut marks).await, keys());
        assert_eq!(by_key(&double, "startOffset"), expected);
    }
}

/// The listing is whole all the same; who says that it cannot, or does something else, is not asked so again.
async fn a_server_that_cannot_start_after_a_key() {
    let refused = |status: &str, code: &str| {
        answer(status, XML, &format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
    };
    for (reaction, again) in [
        (refused("501 Not Implemented", "NotImplemented"), true),
        (refused("400 Bad Request", "InvalidArgument"), false),
        (s3_page(0), false),
        (refused("503 Service Unavailable", "SlowDown"), true),
        (Reaction::Reset, true),
    ] {
        let what = format!("{reaction:?}");
        let react = move |_, request: &Request| {
            if value(request, "start-after").is_some() { reaction.clone() } else { s3(request) }
        };
        let double = Double::start(react).await;
        let limits = S3Limits { attempts: 1, ..S3Limits::default() };
        let store = S3Store::connect_with(&double.settings(), limits).await.expect("a store");
        let (mut marks, mut before) = (Marks::default(), 0);
        for asks in [false, true, again] {
            assert_eq!(list(&store, &mut marks).await, keys(), "{what}");
            let seen = by_key(&double, "start-after");
            assert_eq!(seen > before, asks, "{what}");
            before = seen;
        }
    }
}

async fn l52_a_page_says_that_it_was_throttled() {
    let react = |nth, request: &Request| {
        if nth == 1 {
            return answer("503 Slow Down", XML, "<Error><Code>SlowDown</Code></Error>");
        }
        s3(request)
    };
    let double = Double::start(react).await;
    let store = S3Store::connect(&double.settings()).await.expect("a store");
    for throttled in [false, true, false] {
        let page = store.list_page(&ListRequest::default(), None).await.expect("a page");
        assert_eq!((page.is_throttled, page.objects.len()), (throttled, PAGE_KEYS));
    }
    assert_eq!(double.requests().len(), 4);
}
