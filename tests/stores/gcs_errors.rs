//! GCS against doubles: what goes out on the wire, and answers that no real server gives.

use std::time::Duration;

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::settings::GcsSettings;
use labelsync::store::gcs::{GcsLimits, GcsStore};
use labelsync::store::{Precondition, Store, StoreErrorKind as Of};

use crate::answers::{
    KEY, PATIENCE, is_no_listing, is_not_waited_for, is_unknown, is_unreachable, list, put, reads_as, silent,
};
use crate::contract::KEYS;
use crate::support::double::{Double, Reaction, answer, head_and_body};
use crate::support::{SECRET_KEY, Trials};

pub fn add(trials: &mut Trials) {
    trials.test("gcs::l70_keys_go_out_exactly", l70_keys_go_out_exactly);
    trials.test("gcs::l5_what_is_no_whole_listing_is_an_error", l5_what_is_no_whole_listing_is_an_error);
    trials.test("gcs::l74_a_body_that_is_not_whole_is_an_error", l74_a_body_that_is_not_whole_is_an_error);
    trials.test("gcs::l76_silence_ends_a_request", l76_silence_ends_a_request);
    trials.test("gcs::an_endpoint_that_is_not_there_is_unreachable", an_endpoint_that_is_not_there_is_unreachable);
    trials.test("gcs::l26_a_write_without_an_answer_is_unknown", l26_a_write_without_an_answer_is_unknown);
    trials.test("gcs::l26_a_write_is_sent_once", l26_a_write_is_sent_once);
    trials.test("gcs::l52_a_read_is_tried_a_few_times", l52_a_read_is_tried_a_few_times);
    trials.test("gcs::l53_a_long_wait_is_told_and_not_waited", l53_a_long_wait_is_told_and_not_waited);
    trials.test("gcs::l77_redirects_are_not_followed", l77_redirects_are_not_followed);
    trials.test("gcs::requests_carry_their_conditions", requests_carry_their_conditions);
    trials.test("gcs::a_version_of_another_store_matches_nothing", a_version_of_another_store_matches_nothing);
}

const JSON: &str = "Content-Type: application/json; charset=UTF-8\r\n";
const WHOLE: &str = r#"{"kind":"storage#objects","items":[{"name":"a+b c","generation":"17","size":"3"}]}"#;
const ONE: &str = r#"{"kind":"storage#object","name":"x","generation":"17","size":"3"}"#;

/// Short waits, so that a test of silence is short.
fn quick() -> GcsLimits {
    GcsLimits {
        connect: Duration::from_millis(500),
        silence: Duration::from_millis(500),
        attempts: 1,
        ..GcsLimits::default()
    }
}

async fn store(double: &Double) -> GcsStore {
    GcsStore::connect_with(&double.gcs_settings(), quick()).await.expect("a store")
}

fn error_body(reason: &str, message: &str) -> String {
    let inner = format!(r#"{{"reason":"{reason}","message":"{SECRET_KEY}"}}"#);
    format!(r#"{{"error":{{"code":400,"message":"{message}{SECRET_KEY} 10.0.0.1","errors":[{inner}]}}}}"#)
}

async fn l70_keys_go_out_exactly() {
    let double = Double::always(answer("404 Not Found", JSON, &error_body("notFound", "No such object: "))).await;
    let store = store(&double).await;
    let keys: Vec<_> = KEYS.into_iter().filter(|key| !matches!(*key, "." | "..")).collect();
    for key in &keys {
        store.get(&Key::new(*key), 100).await.expect_err("nothing there");
    }
    let requests = double.requests();
    assert_eq!(requests.len(), keys.len());
    for (key, request) in keys.iter().zip(requests) {
        let segment = request.line.strip_prefix("GET /storage/v1/b/bucket/o/").expect("a GET of the bucket");
        let segment = segment.strip_suffix("?alt=media HTTP/1.1").expect("an object's bytes");
        assert!(!segment.contains(['/', '+', '?']), "{}", request.line);
        let sent = percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8");
        assert_eq!(sent, **key, "{}", request.line);
        assert_eq!(request.header("authorization"), None, "an emulator gets no token");
    }
}

async fn l5_what_is_no_whole_listing_is_an_error() {
    let page = "<html><body>Welcome to the hotel</body></html>";
    let html = "Content-Type: text/html\r\n";
    let cut = Reaction::Send(head_and_body("200 OK", JSON, WHOLE.len(), &WHOLE[..50]));
    let table = [
        ("a web page", answer("200 OK", html, page), Of::Malformed),
        ("a web page that calls itself JSON", answer("200 OK", JSON, page), Of::Malformed),
        ("a web page that says 403", answer("403 Forbidden", html, page), Of::Malformed),
        ("a gateway's page", answer("502 Bad Gateway", html, page), Of::Unreachable),
        ("200 with an error", answer("200 OK", JSON, &error_body("backendError", "")), Of::Malformed),
        ("nothing", answer("200 OK", JSON, ""), Of::Malformed),
        ("an empty object", answer("200 OK", JSON, "{}"), Of::Malformed),
        ("no content", Reaction::Send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()), Of::Malformed),
        ("cut", cut, Of::Unreachable),
        ("cut and not announced", answer("200 OK", JSON, &WHOLE[..50]), Of::Malformed),
        ("no generation", answer("200 OK", JSON, &WHOLE.replace("generation", "etag")), Of::Malformed),
        ("no bucket", answer("404 Not Found", JSON, &error_body("notFound", "")), Of::BucketMissing),
        ("denied", answer("403 Forbidden", JSON, &error_body("forbidden", "")), Of::AccessDenied),
        ("not signed in", answer("401 Unauthorized", JSON, &error_body("required", "")), Of::Auth),
        ("busy", answer("429 Too Many Requests", JSON, &error_body("rateLimitExceeded", "")), Of::Throttled),
        ("a reset", Reaction::Reset, Of::Unreachable),
        ("a closed connection", Reaction::Send(Vec::new()), Of::Unreachable),
        ("no HTTP", Reaction::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), Of::Unreachable),
    ];
    for (name, reaction, expected) in table {
        let double = Double::always(reaction).await;
        is_no_listing(&store(&double).await, name, expected).await;
    }
    let double = Double::always(answer("200 OK", JSON, WHOLE)).await;
    assert_eq!(list(&store(&double).await).await.expect("whole"), ["a+b c"]);
}

async fn l74_a_body_that_is_not_whole_is_an_error() {
    let head = "x-goog-generation: 17\r\n";
    // The check value of CRC-32C belongs to 123456789.
    let checked = "x-goog-generation: 17\r\nx-goog-hash: crc32c=4waSgw==,md5=AA==\r\n";
    let unpacked = "x-goog-generation: 17\r\nx-goog-hash: crc32c=AAAAAA==\r\nx-goog-stored-content-encoding: gzip\r\n";
    let table = [
        ("short", Reaction::Send(head_and_body("200 OK", head, 9, "12345678")), Some(Of::Unreachable)),
        ("silent", Reaction::Stall(head_and_body("200 OK", head, 9, "12345678")), Some(Of::Unreachable)),
        ("a part", answer("206 Partial Content", head, "12345678"), Some(Of::Malformed)),
        ("no version", answer("200 OK", "", "123456789"), Some(Of::Malformed)),
        ("a web page", answer("200 OK", "Content-Type: text/html\r\n", "<html>"), Some(Of::Malformed)),
        ("flipped", answer("200 OK", checked, "123456788"), Some(Of::Malformed)),
        ("too large", answer("200 OK", head, "12345678901"), Some(Of::TooLarge)),
        ("whole", answer("200 OK", checked, "123456789"), None),
        ("unpacked by the server", answer("200 OK", unpacked, "123456789"), None),
    ];
    for (name, reaction, expected) in table {
        let double = Double::always(reaction).await;
        reads_as(&store(&double).await, name, expected).await;
    }
}

async fn l76_silence_ends_a_request() {
    let headers = format!("{JSON}x-goog-generation: 17\r\n");
    for begun in [Vec::new(), b"HTTP/1.1 200 OK\r\n".to_vec(), head_and_body("200 OK", &headers, 1000, "{")] {
        let double = silent(&begun).await;
        is_not_waited_for(&store(&double).await).await;
    }
}

async fn an_endpoint_that_is_not_there_is_unreachable() {
    let gone = Double::always(Reaction::Reset).await;
    let refused = gone.gcs_settings();
    drop(gone);
    let unknown = GcsSettings { endpoint: Some("http://no-such-host.invalid:9".into()), ..refused.clone() };
    // Nothing answers TLS there.
    let silent = Double::always(Reaction::Send(b"no TLS".to_vec())).await;
    let endpoint = Some(silent.endpoint().replace("http://", "https://"));
    let clear = GcsSettings { endpoint, anonymous: true, ..refused.clone() };
    // On a busy machine both waits end at once, and only the one for the connection says that nothing was sent.
    let patient = GcsLimits { silence: PATIENCE, ..quick() };
    for settings in [refused, unknown, clear] {
        let store = GcsStore::connect_with(&settings, patient.clone()).await.expect("a store");
        is_unreachable(&store).await;
    }
}

async fn l26_a_write_without_an_answer_is_unknown() {
    let whole = head_and_body("200 OK", JSON, ONE.len(), ONE);
    for length in (0..whole.len()).step_by(3) {
        let double = Double::always(Reaction::Send(whole[..length].to_vec())).await;
        is_unknown(&store(&double).await, &format!("cut at {length}")).await;
    }
    for reaction in [
        Reaction::Reset,
        answer("200 OK", JSON, "{}"),
        answer("200 OK", "Content-Type: text/html\r\n", "<html>"),
        answer("500 Internal Server Error", JSON, &error_body("internalError", "")),
        answer("503 Service Unavailable", JSON, &error_body("backendError", "")),
        answer("504 Gateway Timeout", "Content-Type: text/html\r\n", "<html>"),
    ] {
        let double = Double::always(reaction.clone()).await;
        is_unknown(&store(&double).await, &format!("{reaction:?}")).await;
    }
    let double = Double::always(Reaction::Send(whole)).await;
    assert_eq!(put(&store(&double).await).await.expect("written"), ETag::new("17"));
}

async fn l26_a_write_is_sent_once() {
    let busy = answer("429 Too Many Requests", JSON, &error_body("rateLimitExceeded", ""));
    for reaction in [Reaction::Reset, Reaction::Send(Vec::new()), busy] {
        let double = Double::always(reaction).await;
        let limits = GcsLimits { attempts: 5, ..quick() };
        let store = GcsStore::connect_with(&double.gcs_settings(), limits).await.expect("a store");
        put(&store).await.expect_err("an error");
        assert_eq!(double.requests().len(), 1);
    }
}

async fn l52_a_read_is_tried_a_few_times() {
    let double = Double::start(|nth, _| match nth {
        0 => Reaction::Reset,
        1 => answer("503 Service Unavailable", JSON, &error_body("backendError", "")),
        _ => answer("200 OK", JSON, WHOLE),
    })
    .await;
    let limits = GcsLimits { attempts: 3, ..quick() };
    let store = GcsStore::connect_with(&double.gcs_settings(), limits.clone()).await.expect("a store");
    assert_eq!(list(&store).await.expect("the third try"), ["a+b c"]);
    assert_eq!(double.requests().len(), 3);
    for (reaction, tries) in [
        (answer("503 Service Unavailable", JSON, &error_body("backendError", "")), 3),
        (answer("403 Forbidden", JSON, &error_body("forbidden", "")), 1),
        (answer("404 Not Found", JSON, &error_body("notFound", "")), 1),
        (answer("401 Unauthorized", JSON, &error_body("authError", "")), 1),
    ] {
        let double = Double::always(reaction).await;
        let store = GcsStore::connect_with(&double.gcs_settings(), limits.clone()).await.expect("a store");
        list(&store).await.expect_err("an error");
        assert_eq!(double.requests().len(), tries);
    }
}

async fn l53_a_long_wait_is_told_and_not_waited() {
    let headers = format!("{JSON}Retry-After: 120\r\n");
    let double = Double::always(answer("429 Too Many Requests", &headers, &error_body("rateLimitExceeded", ""))).await;
    let limits = GcsLimits { attempts: 3, ..quick() };
    let store = GcsStore::connect_with(&double.gcs_settings(), limits).await.expect("a store");
    let error = list(&store).await.expect_err("busy");
    assert_eq!((error.kind, error.retry_after), (Of::Throttled, Some(Duration::from_secs(120))));
    assert_eq!(double.requests().len(), 1, "nothing is asked before the time is over");
}

async fn l77_redirects_are_not_followed() {
    let other = Double::always(answer("200 OK", JSON, WHOLE)).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let headers = format!("{JSON}Location: {}/storage/v1/b/bucket/o\r\n", other.endpoint());
        let double = Double::always(answer(status, &headers, "")).await;
        let error = list(&store(&double).await).await.expect_err("elsewhere");
        assert_eq!(error.kind, Of::Malformed, "{error}");
    }
    assert_eq!(other.requests().len(), 0);
}

async fn requests_carry_their_conditions() {
    let double = Double::always(answer("200 OK", JSON, ONE)).await;
    let store = store(&double).await;
    store.put(&Key::new(KEY), Bytes::from("123456789"), &Precondition::Absent).await.expect("written");
    let matches = Precondition::Matches(ETag::new("17"));
    store.put(&Key::new(KEY), Bytes::from("123456789"), &matches).await.expect("written");
    store.delete(&Key::new(KEY), &ETag::new("17")).await.expect("deleted");
    let [create, replace, looked, delete] = &double.requests()[..] else { panic!("four requests") };
    let upload = "POST /upload/storage/v1/b/bucket/o?uploadType=multipart&";
    assert!(create.line.starts_with(&format!("{upload}ifGenerationMatch=0&")), "{}", create.line);
    assert!(replace.line.starts_with(&format!("{upload}ifGenerationMatch=17&")), "{}", replace.line);
    assert!(looked.line.starts_with("GET /storage/v1/b/bucket/o/x?fields="), "{}", looked.line);
    assert_eq!(delete.line, "DELETE /storage/v1/b/bucket/o/x?ifGenerationMatch=17 HTTP/1.1");
    for request in [create, replace] {
        let kind = request.header("content-type").expect("a type");
        assert!(kind.starts_with("multipart/related; boundary="), "{kind}");
        let body = String::from_utf8(request.body.clone()).expect("UTF-8");
        assert!(body.contains(r#""crc32c":"4waSgw==""#) && body.contains("\r\n\r\n123456789\r\n--"), "{body}");
    }
}

async fn a_version_of_another_store_matches_nothing() {
    let double = Double::always(answer("200 OK", JSON, ONE)).await;
    let store = store(&double).await;
    // 0 would mean "no object".
    for etag in ["\"0123\"", "0", "x", ""] {
        let matches = Precondition::Matches(ETag::new(etag));
        let error = store.put(&Key::new(KEY), Bytes::from("x"), &matches).await.expect_err(etag);
        assert_eq!(error.kind, Of::PreconditionFailed, "{etag}");
    }
    assert_eq!(double.requests().len(), 0, "nothing was written");
    let error = store.delete(&Key::new(KEY), &ETag::new("\"17\"")).await.expect_err("another version");
    assert_eq!(error.kind, Of::PreconditionFailed);
    assert_eq!(double.requests().len(), 1, "it was looked up and not deleted");
}
