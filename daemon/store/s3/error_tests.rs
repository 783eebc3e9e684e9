//! The table of answers and what they are called.

use super::*;
use crate::store::asked::MAX_RETRY_AFTER;

fn asked(operation: &'static str) -> Asked {
    Asked { operation, url: "s3://bucket/key".into() }
}

fn answer(status: u16, code: &str) -> Answer {
    Answer { status, code: code.into(), is_page: false, region: None, retry_after: None }
}

#[test]
fn l5_every_answer_of_a_provider_has_its_state() {
    let table = [
        ("list", 403, "InvalidAccessKeyId", Kind::Auth),
        ("list", 403, "SignatureDoesNotMatch", Kind::Auth),
        ("list", 400, "ExpiredToken", Kind::Auth),
        ("list", 403, "AccessDenied", Kind::AccessDenied),
        ("look up", 403, "", Kind::AccessDenied),
        ("list", 301, "PermanentRedirect", Kind::RegionMismatch),
        ("list", 400, "AuthorizationHeaderMalformed", Kind::RegionMismatch),
        ("look up", 301, "", Kind::RegionMismatch),
        ("list", 404, "NoSuchBucket", Kind::BucketMissing),
        ("read", 404, "NoSuchBucket", Kind::BucketMissing),
        ("list", 404, "", Kind::BucketMissing),
        ("read", 404, "NoSuchKey", Kind::ObjectMissing),
        ("write", 412, "PreconditionFailed", Kind::PreconditionFailed),
        ("write", 409, "ConditionalRequestConflict", Kind::PreconditionFailed),
        ("write", 412, "", Kind::PreconditionFailed),
        ("list", 403, "RequestTimeTooSkewed", Kind::ClockSkew),
        ("list", 503, "SlowDown", Kind::Throttled),
        ("write", 503, "SlowDown", Kind::Throttled),
        ("list", 429, "", Kind::Throttled),
        ("list", 500, "InternalError", Kind::Unreachable),
        ("write", 500, "InternalError", Kind::OutcomeUnknown),
        ("write", 503, "", Kind::OutcomeUnknown),
        ("write", 504, "", Kind::OutcomeUnknown),
        ("list", 200, "", Kind::Malformed),
        ("write", 200, "", Kind::OutcomeUnknown),
        ("read", 400, "InvalidRequest", Kind::UnsupportedKey),
        ("list", 400, "InvalidRequest", Kind::Configuration),
        ("write", 400, "BadDigest", Kind::Malformed),
        ("write", 400, "KeyTooLongError", Kind::UnsupportedKey),
    ];
    for (operation, status, code, kind) in table {
        assert_eq!(answer(status, code).explain(&asked(operation)).kind, kind, "{operation} {status} {code}");
    }
}

#[test]
fn l5_a_web_page_is_no_answer_of_a_storage() {
    for (status, kind) in
        [(200, Kind::Malformed), (302, Kind::Malformed), (403, Kind::Malformed), (404, Kind::Malformed)]
    {
        let page = Answer { is_page: true, ..answer(status, "") };
        assert_eq!(page.explain(&asked("list")).kind, kind, "{status}");
    }
    let gateway = Answer { is_page: true, ..answer(502, "") };
    assert_eq!(gateway.explain(&asked("list")).kind, Kind::Unreachable);
}

#[test]
fn the_buckets_own_region_is_told() {
    let moved = Answer { region: Some("eu-west-1".into()), ..answer(301, "PermanentRedirect") };
    let error = moved.explain(&asked("list"));
    assert_eq!(error.detail, "301 PermanentRedirect; the bucket is in eu-west-1");
}

#[test]
fn l53_the_wait_that_a_store_asks_for_is_passed_on() {
    let busy = Answer { retry_after: seconds("7"), ..answer(503, "SlowDown") };
    assert_eq!(busy.explain(&asked("list")).retry_after, Some(Duration::from_secs(7)));
    assert_eq!(seconds("99999999"), Some(MAX_RETRY_AFTER));
    assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), None);
}

#[test]
fn l80_only_words_of_the_answer_are_shown() {
    assert_eq!(word("KMS.DisabledException").as_deref(), Some("KMS.DisabledException"));
    for bad in ["", "a b", "<x>", "a\nb", "10.0.0.1:9000", &"x".repeat(65)] {
        assert_eq!(word(bad), None, "{bad:?}");
    }
}
