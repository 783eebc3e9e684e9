//! S3 against doubles: what goes out on the wire, and answers that no real server gives.

use std::time::Duration;

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::settings::S3Settings;
use labelsync::store::listing::{ListingError, Marks, Order};
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{ListRequest, PageToken, Precondition, Store, StoreError, StoreErrorKind as Of};

use crate::answers::{
    KEY, PATIENCE, is_no_listing, is_not_waited_for, is_unknown, is_unreachable, list, put, reads_as, silent,
};
use crate::contract::KEYS;
use crate::support::double::{Double, Reaction, answer, head_and_body};
use crate::support::{SECRET_KEY, Trials};

pub fn add(trials: &mut Trials) {
    trials.test("s3::l70_keys_go_out_exactly", l70_keys_go_out_exactly);
    trials.test("s3::l70_pages_are_asked_for_exactly", l70_pages_are_asked_for_exactly);
    trials.test("s3::l5_what_is_no_whole_listing_is_an_error", l5_what_is_no_whole_listing_is_an_error);
    trials.test("s3::l5_a_listing_cut_anywhere_is_an_error", l5_a_listing_cut_anywhere_is_an_error);
    trials.test("s3::a_server_that_does_not_encode_is_understood", a_server_that_does_not_encode_is_understood);
    trials.test("s3::l5_a_key_longer_than_s3_has_is_left_out", l5_a_key_longer_than_s3_has_is_left_out);
    trials
        .test("s3::a_count_or_prefix_of_a_servers_own_is_understood", a_count_or_prefix_of_a_servers_own_is_understood);
    trials.test("s3::one_bad_key_does_not_hide_the_others", one_bad_key_does_not_hide_the_others);
    trials.test("s3::l74_a_body_that_is_not_whole_is_an_error", l74_a_body_that_is_not_whole_is_an_error);
    trials.test("s3::l76_silence_ends_a_request", l76_silence_ends_a_request);
    trials.test("s3::an_endpoint_that_is_not_there_is_unreachable", an_endpoint_that_is_not_there_is_unreachable);
    trials.test("s3::l26_a_write_without_an_answer_is_unknown", l26_a_write_without_an_answer_is_unknown);
    trials.test("s3::l26_a_write_is_sent_once", l26_a_write_is_sent_once);
    trials.test("s3::l52_a_read_is_tried_a_few_times", l52_a_read_is_tried_a_few_times);
    trials.test("s3::l53_a_long_wait_is_told_and_not_waited", l53_a_long_wait_is_told_and_not_waited);
    trials.test("s3::l77_redirects_are_not_followed", l77_redirects_are_not_followed);
    trials.test("s3::a_write_carries_its_condition_and_checksum", a_write_carries_its_condition_and_checksum);
    trials.test("s3::a_server_without_conditional_deletes_is_served", a_server_without_conditional_deletes_is_served);
    trials.test(
        "s3::l07_every_request_names_the_owner_that_the_bucket_must_have",
        l07_every_request_names_the_owner_that_the_bucket_must_have,
    );
    trials.test("s3::l4_a_token_that_comes_again_ends_the_listing", l4_a_token_that_comes_again_ends_the_listing);
    trials.test("s3::l5_an_error_behind_a_200_is_no_write", l5_an_error_behind_a_200_is_no_write);
    trials.test("s3::l27_a_checksum_that_is_refused_is_no_write", l27_a_checksum_that_is_refused_is_no_write);
    trials.test("s3::l70_keys_with_line_breaks_come_whole", l70_keys_with_line_breaks_come_whole);
    trials.test("s3::wrong_endpoints_are_told_before_anything_is_sent", wrong_endpoints_are_told);
}

const XML: &str = "Content-Type: application/xml\r\n";

/// Short waits, so that a test of silence is short.
fn quick() -> S3Limits {
    S3Limits {
        connect: Duration::from_millis(500),
        silence: Duration::from_millis(500),
        attempts: 1,
        ..S3Limits::default()
    }
}

async fn store(double: &Double) -> S3Store {
    S3Store::connect_with(&double.settings(), quick()).await.expect("a store")
}

fn listing(inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inside}</ListBucketResult>"
    )
}

const WHOLE: &str = "<Name>bucket</Name><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
    <Contents><Key>a%2Bb+c</Key><ETag>&quot;1&quot;</ETag><Size>3</Size></Contents>";

fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{SECRET_KEY} 10.0.0.1</Message></Error>")
}

async fn l70_keys_go_out_exactly() {
    let double = Double::always(answer("404 Not Found", XML, &error_body("NoSuchKey"))).await;
    let store = store(&double).await;
    for key in KEYS {
        store.get(&Key::new(key), 100).await.expect_err("nothing there");
    }
    let requests = double.requests();
    assert_eq!(requests.len(), KEYS.len());
    for (key, request) in KEYS.iter().zip(requests) {
        let path = request.line.strip_prefix("GET /bucket/").expect("a GET of the bucket");
        let path = path.split(['?', ' ']).next().expect("a path");
        let sent = percent_encoding::percent_decode_str(path).decode_utf8().expect("UTF-8");
        assert_eq!(sent, *key, "{}", request.line);
        assert!(!path.contains('+'), "a plus could be read as a space: {}", request.line);
        assert_eq!(path.matches('/').count(), key.matches('/').count(), "slashes stay slashes: {}", request.line);
    }
}

async fn l70_pages_are_asked_for_exactly() {
    let double = Double::always(answer("200 OK", XML, &listing(WHOLE))).await;
    let store = store(&double).await;
    let token = PageToken::Next("a+b/=%2F &é".to_owned());
    let request = ListRequest { prefix: "img 1/+%".to_owned(), one_level: true };
    store.list_page(&request, Some(&token)).await.expect_err("a key that does not start with the prefix");
    let line = &double.requests()[0].line;
    for part in [
        "list-type=2",
        "encoding-type=url",
        "delimiter=%2F",
        "prefix=img%201%2F%2B%25",
        "continuation-token=a%2Bb%2F%3D%252F%20%26%C3%A9",
        "max-keys=1000",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

async fn l5_what_is_no_whole_listing_is_an_error() {
    let page = "<html><body>Welcome to the hotel</body></html>";
    let html = "Content-Type: text/html\r\n";
    let truncated = |rest: &str| WHOLE.replace("false</IsTruncated>", &format!("true</IsTruncated>{rest}"));
    let twice = |part: &str| WHOLE.replace(part, &part.repeat(2));
    let table = [
        ("a web page", answer("200 OK", html, page), Of::Malformed),
        ("a web page that calls itself XML", answer("200 OK", XML, page), Of::Malformed),
        ("a web page that says 403", answer("403 Forbidden", html, page), Of::Malformed),
        ("a gateway's page", answer("502 Bad Gateway", html, page), Of::Unreachable),
        ("200 with an error", answer("200 OK", XML, &error_body("InternalError")), Of::Malformed),
        ("nothing", answer("200 OK", XML, ""), Of::Malformed),
        ("no XML", answer("200 OK", XML, "ok"), Of::Malformed),
        ("another bucket", answer("200 OK", XML, &listing(&WHOLE.replace("bucket", "other"))), Of::Malformed),
        ("no name", answer("200 OK", XML, &listing("<IsTruncated>false</IsTruncated>")), Of::Malformed),
        ("no end told", answer("200 OK", XML, &listing("<Name>bucket</Name>")), Of::Malformed),
        ("no token", answer("200 OK", XML, &listing(&truncated(""))), Of::Malformed),
        (
            "an empty token",
            answer("200 OK", XML, &listing(&truncated("<NextContinuationToken></NextContinuationToken>"))),
            Of::Malformed,
        ),
        ("no ETag", answer("200 OK", XML, &listing(&WHOLE.replace("ETag", "Tag"))), Of::Malformed),
        (
            "fewer keys than it says",
            answer("200 OK", XML, &listing(&format!("{WHOLE}<KeyCount>2</KeyCount>"))),
            Of::Malformed,
        ),
        ("another prefix", answer("200 OK", XML, &listing(&format!("{WHOLE}<Prefix>a</Prefix>"))), Of::Malformed),
        ("no size", answer("200 OK", XML, &listing(&WHOLE.replace("Size", "Length"))), Of::Malformed),
        ("two ends told", answer("200 OK", XML, &listing(&twice("<IsTruncated>false</IsTruncated>"))), Of::Malformed),
        ("two names", answer("200 OK", XML, &listing(&twice("<Name>bucket</Name>"))), Of::Malformed),
        ("two keys of an object", answer("200 OK", XML, &listing(&twice("<Key>a%2Bb+c</Key>"))), Of::Malformed),
        ("two listings", answer("200 OK", XML, &(listing(WHOLE) + &listing(WHOLE))), Of::Malformed),
        ("too deep", answer("200 OK", XML, &listing(&format!("{WHOLE}{}", "<a>".repeat(100_000)))), Of::Malformed),
        (
            "an entity of its own",
            answer("200 OK", XML, &format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", listing(WHOLE))),
            Of::Malformed,
        ),
        ("an entity that is not known", answer("200 OK", XML, &listing(&WHOLE.replace("a%2B", "&a;"))), Of::Malformed),
        ("a size below zero", answer("200 OK", XML, &listing(&WHOLE.replace(">3<", ">-3<"))), Of::Malformed),
        ("no bucket", answer("404 Not Found", XML, &error_body("NoSuchBucket")), Of::BucketMissing),
        ("denied", answer("403 Forbidden", XML, &error_body("AccessDenied")), Of::AccessDenied),
        ("expired", answer("400 Bad Request", XML, &error_body("ExpiredToken")), Of::Auth),
        ("skewed", answer("403 Forbidden", XML, &error_body("RequestTimeTooSkewed")), Of::ClockSkew),
        ("busy", answer("503 Slow Down", XML, &error_body("SlowDown")), Of::Throttled),
        ("a reset", Reaction::Reset, Of::Unreachable),
        ("a closed connection", Reaction::Send(Vec::new()), Of::Unreachable),
    ];
    for (name, reaction, expected) in table {
        let double = Double::always(reaction).await;
        is_no_listing(&store(&double).await, name, expected).await;
    }
}

async fn l5_a_listing_cut_anywhere_is_an_error() {
    let whole = listing(WHOLE);
    let cut = whole.clone();
    // The answer announces what it sends: only its XML ends early.
    let double = Double::start(move |nth, _| answer("200 OK", XML, &cut[..nth])).await;
    let store = store(&double).await;
    for length in 0..whole.len() {
        let error = list(&store).await.expect_err("cut");
        assert_eq!(error.kind, Of::Malformed, "cut at {length}: {error}");
    }
    // And here the connection ends before the announced length.
    let cut = whole.clone();
    let double =
        Double::start(move |nth, _| Reaction::Send(head_and_body("200 OK", XML, cut.len(), &cut[..nth * 20]))).await;
    let store = self::store(&double).await;
    for length in (0..whole.len()).step_by(20) {
        let error = list(&store).await.expect_err("cut");
        assert_eq!(error.kind, Of::Unreachable, "cut at {length}: {error}");
    }
    let double = Double::always(answer("200 OK", XML, &whole)).await;
    assert_eq!(list(&self::store(&double).await).await.expect("whole"), ["a+b c"]);
}

async fn l5_a_key_longer_than_s3_has_is_left_out() {
    for (length, taken) in [(1_024, true), (1_025, false)] {
        let key = "k".repeat(length);
        let double = Double::always(answer("200 OK", XML, &listing(&WHOLE.replace("a%2Bb+c", &key)))).await;
        assert_eq!(list(&store(&double).await).await.expect("a listing").contains(&key), taken, "{length}");
    }
}

async fn a_server_that_does_not_encode_is_understood() {
    let raw = WHOLE.replace("<EncodingType>url</EncodingType>", "");
    let double = Double::always(answer("200 OK", XML, &listing(&raw))).await;
    assert_eq!(list(&store(&double).await).await.expect("a listing"), ["a%2Bb+c"]);
}

/// Servers differ in what they count, and in whether they encode what was asked for.
async fn a_count_or_prefix_of_a_servers_own_is_understood() {
    let one_more = "<KeyCount>2</KeyCount><CommonPrefixes><Prefix>z/</Prefix></CommonPrefixes>";
    for fine in ["<KeyCount>1</KeyCount><Prefix/>", "<KeyCount>0</KeyCount>", "<KeyCount>x</KeyCount>", one_more] {
        let double = Double::always(answer("200 OK", XML, &listing(&format!("{WHOLE}{fine}")))).await;
        assert_eq!(list(&store(&double).await).await.expect(fine), ["a+b c"]);
    }
    let empty = "<Name>bucket</Name><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";
    for prefix in ["img 1/+%/", "img+1%2F%2B%25%2F", "img%201/%2B%25/"] {
        let page = listing(&format!("{empty}<Prefix>{prefix}</Prefix>"));
        let double = Double::always(answer("200 OK", XML, &page)).await;
        let request = ListRequest { prefix: "img 1/+%/".to_owned(), one_level: true };
        assert!(store(&double).await.list_page(&request, None).await.expect(prefix).objects.is_empty());
    }
}

async fn one_bad_key_does_not_hide_the_others() {
    let bad = "<Contents><Key>a%FF</Key><ETag>&quot;1&quot;</ETag><Size>3</Size></Contents>";
    let double = Double::always(answer("200 OK", XML, &listing(&format!("{WHOLE}{bad}")))).await;
    assert_eq!(list(&store(&double).await).await.expect("a listing"), ["a+b c"]);
}

async fn l74_a_body_that_is_not_whole_is_an_error() {
    let head = "ETag: \"1\"\r\n";
    // The check value of CRC-32C belongs to 123456789.
    let checked = "ETag: \"1\"\r\nx-amz-checksum-crc32c: 4waSgw==\r\n";
    let table = [
        ("short", Reaction::Send(head_and_body("200 OK", head, 9, "12345678")), Some(Of::Unreachable)),
        ("silent", Reaction::Stall(head_and_body("200 OK", head, 9, "12345678")), Some(Of::Unreachable)),
        ("no version", answer("200 OK", "", "123456789"), Some(Of::Malformed)),
        ("flipped", answer("200 OK", checked, "123456788"), Some(Of::Malformed)),
        ("too large", answer("200 OK", head, "12345678901"), Some(Of::TooLarge)),
        ("whole", answer("200 OK", checked, "123456789"), None),
    ];
    for (name, reaction, expected) in table {
        let double = Double::always(reaction).await;
        reads_as(&store(&double).await, name, expected).await;
    }
}

async fn l76_silence_ends_a_request() {
    let headers = format!("{XML}ETag: \"1\"\r\n");
    for begun in [Vec::new(), b"HTTP/1.1 200 OK\r\n".to_vec(), head_and_body("200 OK", &headers, 1000, "<?xml")] {
        let double = silent(&begun).await;
        is_not_waited_for(&store(&double).await).await;
    }
}

async fn an_endpoint_that_is_not_there_is_unreachable() {
    let gone = Double::always(Reaction::Reset).await;
    let refused = gone.settings();
    drop(gone);
    let unknown = S3Settings { endpoint: Some("http://no-such-host.invalid:9".into()), ..refused.clone() };
    // On a busy machine both waits end at once, and only the one for the connection says that nothing was sent.
    let patient = S3Limits { silence: PATIENCE, ..quick() };
    for settings in [refused, unknown] {
        let store = S3Store::connect_with(&settings, patient.clone()).await.expect("a store");
        is_unreachable(&store).await;
    }
}

async fn l26_a_write_without_an_answer_is_unknown() {
    let whole = head_and_body("200 OK", "ETag: \"1\"\r\n", 0, "");
    for length in 0..whole.len() {
        let double = Double::always(Reaction::Send(whole[..length].to_vec())).await;
        is_unknown(&store(&double).await, &format!("cut at {length}")).await;
    }
    for reaction in [
        Reaction::Reset,
        answer("200 OK", "", ""),
        answer("500 Internal Server Error", XML, &error_body("InternalError")),
        answer("504 Gateway Timeout", "Content-Type: text/html\r\n", "<html>"),
    ] {
        let double = Double::always(reaction.clone()).await;
        let store = store(&double).await;
        let error = put(&store).await.expect_err("no answer");
        assert_eq!(error.kind, Of::OutcomeUnknown, "{reaction:?}: {error}");
    }
    let double = Double::always(Reaction::Send(whole)).await;
    assert_eq!(put(&store(&double).await).await.expect("written"), ETag::new("\"1\""));
}

async fn l26_a_write_is_sent_once() {
    for reaction in [Reaction::Reset, answer("503 Slow Down", XML, &error_body("SlowDown"))] {
        let double = Double::always(reaction).await;
        let limits = S3Limits { attempts: 5, ..quick() };
        let store = S3Store::connect_with(&double.settings(), limits).await.expect("a store");
        put(&store).await.expect_err("an error");
        assert_eq!(double.requests().len(), 1);
    }
}

async fn l52_a_read_is_tried_a_few_times() {
    let busy = answer("503 Slow Down", XML, &error_body("SlowDown"));
    let double = Double::start(move |nth, _| match nth {
        0 => Reaction::Reset,
        1 => busy.clone(),
        _ => answer("200 OK", XML, &listing(WHOLE)),
    })
    .await;
    let limits = S3Limits { attempts: 3, ..quick() };
    let store = S3Store::connect_with(&double.settings(), limits.clone()).await.expect("a store");
    assert_eq!(list(&store).await.expect("the third try"), ["a+b c"]);
    assert_eq!(double.requests().len(), 3);
    for (reaction, tries) in [
        (answer("503 Slow Down", XML, &error_body("SlowDown")), 3),
        (answer("403 Forbidden", XML, &error_body("AccessDenied")), 1),
        (answer("404 Not Found", XML, &error_body("NoSuchBucket")), 1),
        (answer("403 Forbidden", XML, &error_body("InvalidAccessKeyId")), 1),
    ] {
        let double = Double::always(reaction).await;
        let store = S3Store::connect_with(&double.settings(), limits.clone()).await.expect("a store");
        list(&store).await.expect_err("an error");
        assert_eq!(double.requests().len(), tries);
    }
}

async fn l53_a_long_wait_is_told_and_not_waited() {
    let headers = format!("{XML}Retry-After: 120\r\n");
    let double = Double::always(answer("503 Slow Down", &headers, &error_body("SlowDown"))).await;
    let limits = S3Limits { attempts: 3, ..quick() };
    let store = S3Store::connect_with(&double.settings(), limits).await.expect("a store");
    let error = list(&store).await.expect_err("busy");
    assert_eq!((error.kind, error.retry_after), (Of::Throttled, Some(Duration::from_secs(120))));
    assert_eq!(double.requests().len(), 1, "nothing is asked before the time is over");
}

async fn l77_redirects_are_not_followed() {
    let other = Double::always(answer("200 OK", XML, &listing(WHOLE))).await;
    for (status, code, expected) in [
        ("301 Moved Permanently", "PermanentRedirect", Of::RegionMismatch),
        ("307 Temporary Redirect", "TemporaryRedirect", Of::RegionMismatch),
    ] {
        let headers = format!("{XML}Location: {}/bucket\r\nx-amz-bucket-region: eu-west-1\r\n", other.endpoint());
        let double = Double::always(answer(status, &headers, &error_body(code))).await;
        let store = store(&double).await;
        let error = list(&store).await.expect_err("elsewhere");
        assert_eq!(error.kind, expected, "{error}");
        assert!(error.to_string().contains("eu-west-1"), "{error}");
        let looked_up = store.head(&Key::new(KEY)).await.expect_err("elsewhere");
        assert_eq!(looked_up.kind, expected, "{looked_up}");
    }
    assert_eq!(other.requests().len(), 0);
}

async fn a_write_carries_its_condition_and_checksum() {
    let double = Double::always(answer("200 OK", "ETag: \"2\"\r\n", "")).await;
    let store = store(&double).await;
    store.put(&Key::new(KEY), Bytes::from("123456789"), &Precondition::Absent).await.expect("written");
    let matches = Precondition::Matches(ETag::new("\"1\""));
    store.put(&Key::new(KEY), Bytes::from("123456789"), &matches).await.expect("written");
    let [create, replace] = &double.requests()[..] else { panic!("two requests") };
    assert_eq!((create.header("if-none-match"), create.header("if-match")), (Some("*"), None));
    assert_eq!((replace.header("if-none-match"), replace.header("if-match")), (None, Some("\"1\"")));
    for request in [create, replace] {
        assert_eq!(request.header("x-amz-checksum-crc32c"), Some("4waSgw=="), "{request:?}");
        assert_eq!(request.body, b"123456789", "the body is not wrapped in chunks");
        assert!(request.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256")));
    }
}

async fn a_server_without_conditional_deletes_is_served() {
    let double = Double::start(|_, request| match (&request.line[..3], request.header("if-match")) {
        ("HEA", _) => answer("200 OK", "ETag: \"1\"\r\n", ""),
        (_, Some(_)) => answer("501 Not Implemented", XML, &error_body("NotImplemented")),
        (_, None) => answer("204 No Content", "", ""),
    })
    .await;
    let store = store(&double).await;
    for _ in 0..2 {
        store.delete(&Key::new(KEY), &ETag::new("\"1\"")).await.expect("deleted");
    }
    let lines: Vec<_> = double.requests().iter().map(|request| request.line[..4].to_owned()).collect();
    assert_eq!(lines, ["HEAD", "DELE", "DELE", "HEAD", "DELE"], "it is asked once whether it can");
    let other = store.delete(&Key::new(KEY), &ETag::new("\"2\"")).await.expect_err("another version");
    assert_eq!(other.kind, Of::PreconditionFailed);
}

async fn wrong_endpoints_are_told() {
    for endpoint in ["", "minio:9000", "ftp://host"] {
        let settings = S3Settings { bucket: "b".into(), endpoint: Some(endpoint.into()), ..S3Settings::default() };
        let error = S3Store::connect(&settings).await.expect_err(endpoint);
        assert_eq!(error.kind, Of::Configuration, "{endpoint}: {error}");
    }
}

/// Promise 7, as S3 keeps it: it compares the account itself, and answers 403.
async fn l07_every_request_names_the_owner_that_the_bucket_must_have() {
    const OURS: &str = "111122223333";
    let double = Double::start(|_, request| {
        let ours = request.header("x-amz-expected-bucket-owner") == Some(OURS);
        match (&request.line[..3], ours) {
            (_, false) => answer("403 Forbidden", XML, &error_body("AccessDenied")),
            ("GET", true) if request.line.contains("list-type") => answer("200 OK", XML, &listing(WHOLE)),
            ("DEL", true) => answer("204 No Content", "", ""),
            (_, true) => answer("200 OK", "ETag: \"1\"\r\n", ""),
        }
    })
    .await;
    let of = |owner: &str| S3Settings { expected_bucket_owner: Some(owner.to_owned()), ..double.settings() };
    let (key, etag) = (Key::new(KEY), ETag::new("\"1\""));
    let store = S3Store::connect_with(&of(OURS), quick()).await.expect("a store");
    list(&store).await.expect("ours");
    store.get(&key, 10).await.expect("ours");
    store.head(&key).await.expect("ours");
    put(&store).await.expect("ours");
    store.delete(&key, &etag).await.expect("ours");
    let signed = double.requests().iter().all(|request| {
        request.header("authorization").is_some_and(|value| value.contains("x-amz-expected-bucket-owner"))
    });
    assert!(signed, "and nobody on the way can take it out");

    let other = S3Store::connect_with(&of("444455556666"), quick()).await.expect("a store");
    for error in [
        list(&other).await.expect_err("another's"),
        put(&other).await.expect_err("another's"),
        store_error(other.get(&key, 10).await),
        store_error(other.head(&key).await),
        store_error(other.delete(&key, &etag).await),
    ] {
        assert_eq!(error.kind, Of::AccessDenied, "{error}");
        let text = error.to_string();
        assert!(text.contains("not account 444455556666's (`expected_bucket_owner`)"), "{text}");
    }
    let plain = list(&self::store(&double).await).await.expect_err("no owner named");
    assert!(!plain.to_string().contains("expected_bucket_owner"), "{plain}");
}

fn store_error<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreError {
    result.expect_err("another's")
}

async fn l4_a_token_that_comes_again_ends_the_listing() {
    let again =
        WHOLE.replace("false</IsTruncated>", "true</IsTruncated><NextContinuationToken>t</NextContinuationToken>");
    // Other keys on each page: nothing but the token tells.
    let double =
        Double::start(move |nth, _| answer("200 OK", XML, &listing(&again.replace("a%2Bb+c", &format!("{nth:03}")))))
            .await;
    let (store, request) = (store(&double).await, ListRequest::default());
    let (pages, mut taken) = tokio::sync::mpsc::channel(4);
    let mut marks = Marks::default();
    let walked = labelsync::store::listing::walk(&store, &request, &Order::Check, &mut marks, pages);
    let (walked, ()) = tokio::join!(walked, async { while taken.recv().await.is_some() {} });
    let ListingError::Store(error) = walked.expect_err("a circle") else { panic!("the store is to blame") };
    assert_eq!(error.kind, Of::Malformed, "{error}");
    assert_eq!(double.requests().len(), 2);
}

/// S3 sends the head of an answer before it is sure (`CopyObject`, multipart); gateways do so for everything.
async fn l5_an_error_behind_a_200_is_no_write() {
    for (headers, body) in [
        (XML.to_owned(), error_body("InternalError")),
        ("Content-Type: text/html\r\n".to_owned(), "<html>Please log in</html>".to_owned()),
    ] {
        let double = Double::always(answer("200 OK", &headers, &body)).await;
        let error = put(&store(&double).await).await.expect_err("nothing says that it was written");
        assert_eq!(error.kind, Of::OutcomeUnknown, "{error}");
        assert!(!error.to_string().contains(SECRET_KEY), "{error}");
    }
}

async fn l27_a_checksum_that_is_refused_is_no_write() {
    for code in ["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest"] {
        let double = Double::always(answer("400 Bad Request", XML, &error_body(code))).await;
        let error = put(&store(&double).await).await.expect_err(code);
        assert_eq!(error.kind, Of::Malformed, "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

async fn l70_keys_with_line_breaks_come_whole() {
    for (raw, key) in [("a%0Ab", "a\nb"), ("a%0D%0Ab", "a\r\nb"), ("%0A", "\n"), ("%1B%5B2J", "\u{1b}[2J")] {
        let double = Double::always(answer("200 OK", XML, &listing(&WHOLE.replace("a%2Bb+c", raw)))).await;
        assert_eq!(list(&store(&double).await).await.expect("a listing"), [key]);
    }
}
