//! A bucket that keeps objects and does one thing as no server of the tests does: it ignores preconditions, or gets damaged
//! bodies.
//!
//! Promise: only what is named is wrong with it; all else is as S3 does it, checksums above all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use labelsync::names::Key;
use labelsync::project::claim::{Claim, Owner, claim, mark_key};
use labelsync::store::s3::S3Store;
use labelsync::store::{Precondition, Store, StoreErrorKind as Of};

use crate::support::Trials;
use crate::support::double::{Double, Reaction, Request, answer};

pub fn add(trials: &mut Trials) {
    trials.test("s3::l25_a_claim_of_a_bucket_that_ignores_preconditions", || l25_a_claim(Fault::IgnoresPreconditions));
    trials.test("s3::l25_a_claim_of_a_bucket_that_honours_them", || l25_a_claim(Fault::None));
    trials.test("s3::l27_a_body_damaged_on_its_way_is_no_write", l27_a_body_damaged_on_its_way_is_no_write);
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    IgnoresPreconditions,
    /// One bit of the body is another one when it arrives: this byte's lowest.
    Flips(usize),
}

type Objects = BTreeMap<String, Vec<u8>>;

/// The ETag of these bytes.
fn etag(bytes: &[u8]) -> String {
    format!("\"{:08x}\"", checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

async fn bucket(fault: Fault) -> Double {
    let objects = Mutex::new(Objects::new());
    Double::start(move |_, request| react(&mut objects.lock().unwrap_or_else(PoisonError::into_inner), request, fault))
        .await
}

fn refused(status: &str, code: &str) -> Reaction {
    answer(status, "Content-Type: application/xml\r\n", &format!("<Error><Code>{code}</Code></Error>"))
}

fn react(objects: &mut Objects, request: &Request, fault: Fault) -> Reaction {
    let mut words = request.line.split(['?', ' ']);
    let (method, key) = (words.next().expect("a method"), words.next().expect("a path").to_owned());
    let there = objects.get(&key);
    match (method, there) {
        ("GET", Some(bytes)) => {
            let body = std::str::from_utf8(bytes).expect("the tests write text");
            answer("200 OK", &format!("ETag: {}\r\n", etag(bytes)), body)
        }
        ("HEAD", Some(bytes)) => answer("200 OK", &format!("ETag: {}\r\n", etag(bytes)), ""),
        ("PUT", there) => {
            let matches = request.header("if-match").is_none_or(|wanted| there.is_some_and(|is| etag(is) == wanted));
            let absent = request.header("if-none-match").is_none_or(|_| there.is_none());
            if fault != Fault::IgnoresPreconditions && !(matches && absent) {
                return refused("412 Precondition Failed", "PreconditionFailed");
            }
            let mut body = request.body.clone();
            if let Fault::Flips(at) = fault {
                body[at] ^= 1;
            }
            let sum = u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, &body)).expect("32 bits");
            let said = request.header("x-amz-checksum-crc32c");
            if said.is_some_and(|said| said != STANDARD.encode(sum.to_be_bytes())) {
                return refused("400 Bad Request", "BadDigest");
            }
            let tag = etag(&body);
            objects.insert(key, body);
            answer("200 OK", &format!("ETag: {tag}\r\n"), "")
        }
        _ => refused("404 Not Found", "NoSuchKey"),
    }
}

fn owner(name: &str) -> Owner {
    Owner { project: name.to_owned(), installation: "one".to_owned(), name: name.to_owned() }
}

/// Promises 11, 25: the mark is ours once and stays ours, and what the bucket does with conditions is known.
async fn l25_a_claim(fault: Fault) {
    let double = bucket(fault).await;
    let store = S3Store::connect(&double.settings()).await.expect("a store");
    for _ in 0..2 {
        let claimed = claim(&store, "done/", &owner("ours"), false).await.expect("an answer");
        let Claim::Ours { preconditions } = claimed else { panic!("{claimed:?}") };
        assert_eq!(preconditions, fault == Fault::None);
    }
    let before = store.get(&mark_key("done/"), 1_000).await.expect("the mark").bytes;
    let other = claim(&store, "done/", &owner("other"), false).await.expect("an answer");
    assert!(matches!(&other, Claim::Foreign(owner) if owner.name == "ours"), "{other:?}");
    assert_eq!(store.get(&mark_key("done/"), 1_000).await.expect("the mark").bytes, before, "it was not written over");
    let taken = claim(&store, "done/", &owner("other"), true).await.expect("an answer");
    assert!(matches!(taken, Claim::Ours { .. }), "the operator said so: {taken:?}");
    let lost = claim(&store, "done/", &owner("ours"), false).await.expect("an answer");
    assert!(matches!(lost, Claim::Foreign(_)), "{lost:?}");
}

/// Promise 27: whichever byte it is.
async fn l27_a_body_damaged_on_its_way_is_no_write() {
    let body = Bytes::from("{\"id\": 1, \"completions\": []}");
    for at in 0..body.len() {
        let double = bucket(Fault::Flips(at)).await;
        let store = S3Store::connect(&double.settings()).await.expect("a store");
        let put = store.put(&Key::new("1"), body.clone(), &Precondition::Absent).await;
        assert_eq!(put.expect_err("damaged").kind, Of::Malformed, "byte {at}");
        assert_eq!(store.head(&Key::new("1")).await.expect("an answer"), None, "nothing was written");
    }
}
