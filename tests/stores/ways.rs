//! The way of S3's requests: the SDK's first read and first write, then our own on the same way (`store/s3/direct.rs`).
//!
//! Promise: which of the two made a request is seen on the wire: only the SDK names its invocation.
//! Not here: what any answer means (`errors`): most tests there go both ways.

use std::time::Duration;

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{Precondition, Store, StoreErrorKind as Of};

use crate::support::Trials;
use crate::support::double::{Double, Request, answer};

pub fn add(trials: &mut Trials) {
    trials.test("s3::only_the_first_read_and_write_are_the_sdks", only_the_first_read_and_write_are_the_sdks);
    trials.test("s3::both_ways_are_refused_alike", both_ways_are_refused_alike);
    trials.test("s3::l74_a_flipped_body_is_noticed_on_both_ways", l74_a_flipped_body_is_noticed_on_both_ways);
    trials.test("s3::l74_a_checksum_that_only_the_sdk_knows", l74_a_checksum_that_only_the_sdk_knows);
}

const BODY: &str = "123456789";

async fn store(double: &Double) -> S3Store {
    let limits = S3Limits { attempts: 1, silence: Duration::from_secs(5), ..S3Limits::default() };
    S3Store::connect_with(&double.settings(), limits).await.expect("a store")
}

fn is_the_sdks(request: &Request) -> bool {
    request.header("amz-sdk-invocation-id").is_some()
}

async fn only_the_first_read_and_write_are_the_sdks() {
    let double = Double::always(answer("200 OK", "ETag: \"1\"\r\n", BODY)).await;
    let store = store(&double).await;
    for key in ["a b/1", "a b/1", "\u{e9}+/2"].map(Key::new) {
        assert_eq!(store.get(&key, 100).await.expect("read").bytes, BODY);
        store.put(&key, Bytes::from(BODY), &Precondition::Absent).await.expect("written");
    }
    let requests = double.requests();
    let by_sdk: Vec<bool> = requests.iter().map(is_the_sdks).collect();
    assert_eq!(by_sdk, [true, true, false, false, false, false]);
    // Of one key, both are alike but for what each request has of its own.
    let common = |request: &Request| {
        let own = ["authorization", "amz-sdk-invocation-id", "x-amz-date"];
        let mut headers = request.headers.clone();
        headers.retain(|line| !own.iter().any(|name| line.to_ascii_lowercase().starts_with(&format!("{name}:"))));
        headers.iter_mut().for_each(|line| line.make_ascii_lowercase());
        headers.sort();
        (request.line.clone(), headers, request.body.clone())
    };
    assert_eq!(common(&requests[0]), common(&requests[2]));
    assert_eq!(common(&requests[1]), common(&requests[3]));
    assert!(requests[4].line.starts_with("GET /bucket/%C3%A9%2B/2?"), "{}", requests[4].line);
    for request in &requests {
        assert!(request.header("authorization").is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256 ")), "{request:?}");
    }
}

async fn both_ways_are_refused_alike() {
    for (status, code, expected) in [
        ("403 Forbidden", "AccessDenied", Of::AccessDenied),
        ("404 Not Found", "NoSuchKey", Of::ObjectMissing),
        ("404 Not Found", "NoSuchBucket", Of::BucketMissing),
        ("503 Slow Down", "SlowDown", Of::Throttled),
        ("500 Internal Server Error", "InternalError", Of::Unreachable),
    ] {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        let double = Double::always(answer(status, "Content-Type: application/xml\r\n", &body)).await;
        let store = store(&double).await;
        for _way in ["the SDK's", "ours"] {
            let error = store.get(&Key::new("x"), 100).await.expect_err(code);
            assert_eq!(error.kind, expected, "{error}");
        }
        let by_sdk: Vec<bool> = double.requests().iter().map(is_the_sdks).collect();
        assert_eq!(by_sdk, [true, false], "{code}");
    }
}

async fn l74_a_flipped_body_is_noticed_on_both_ways() {
    // The checksums of 123456789.
    for checksum in ["crc32: y/Q5Jg==", "crc32c: 4waSgw==", "crc64nvme: rosUhgp5mIg="] {
        let headers = format!("ETag: \"1\"\r\nx-amz-checksum-{checksum}\r\n");
        let flipped = answer("200 OK", &headers, "123456788");
        let right = answer("200 OK", &headers, BODY);
        let double = Double::start(move |n, _| if n < 2 { right.clone() } else { flipped.clone() }).await;
        let store = store(&double).await;
        for _way in ["the SDK's", "ours"] {
            assert_eq!(store.get(&Key::new("x"), 100).await.expect(checksum).etag, ETag::new("\"1\""));
        }
        let error = store.get(&Key::new("x"), 100).await.expect_err(checksum);
        assert_eq!(error.kind, Of::Malformed, "{error}");
        assert!(!is_the_sdks(double.requests().last().expect("three")));
    }
}

/// Ours cannot check it: the SDK asks again, and from then on at once.
async fn l74_a_checksum_that_only_the_sdk_knows() {
    let sha1 = "ETag: \"1\"\r\nx-amz-checksum-sha1: 98O8HYCOBHMq32eZZczDTKeuNEE=\r\n";
    let double = Double::always(answer("200 OK", sha1, BODY)).await;
    let store = store(&double).await;
    for _ in 0..3 {
        assert_eq!(store.get(&Key::new("x"), 100).await.expect("read").bytes, BODY);
    }
    let by_sdk: Vec<bool> = double.requests().iter().map(is_the_sdks).collect();
    assert_eq!(by_sdk, [true, false, true, true]);
}
