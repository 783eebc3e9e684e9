//! The table of answers and what they are called.

use super::*;

fn asked(operation: &'static str) -> Asked {
    Asked { operation, url: "gs://bucket/key".into() }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, ..Answer::of_body(body.as_bytes()) }
}

fn json(reason: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":1,"message":"{message}","errors":[{{"reason":"{reason}","message":"canary"}}]}}}}"#)
}

const PAGE: &str = " <!DOCTYPE html><title>Welcome</title>";

#[test]
fn l5_every_answer_of_the_api_has_its_state() {
    let missing_bucket = json("notFound", "The specified bucket does not exist.");
    let missing_object = json("notFound", "No such object: bucket/key");
    let table = [
        ("list", 401, json("authError", "Invalid Credentials"), Kind::Auth),
        ("list", 401, json("required", "Anonymous caller does not have access"), Kind::Auth),
        ("list", 403, json("forbidden", "canary"), Kind::AccessDenied),
        ("read", 403, "canary@x does not have storage.objects.get access".into(), Kind::AccessDenied),
        ("list", 403, json("rateLimitExceeded", ""), Kind::Throttled),
        ("list", 403, json("userRateLimitExceeded", ""), Kind::Throttled),
        ("list", 404, missing_bucket.clone(), Kind::BucketMissing),
        ("read", 404, missing_bucket, Kind::BucketMissing),
        ("list", 404, String::new(), Kind::BucketMissing),
        ("write", 404, String::new(), Kind::BucketMissing),
        ("read", 404, missing_object, Kind::ObjectMissing),
        ("read", 404, "No such object: bucket/key".into(), Kind::ObjectMissing),
        ("delete", 404, String::new(), Kind::ObjectMissing),
        ("write", 412, json("conditionNotMet", "canary"), Kind::PreconditionFailed),
        ("write", 409, json("conflict", ""), Kind::PreconditionFailed),
        ("list", 429, json("rateLimitExceeded", ""), Kind::Throttled),
        ("write", 429, String::new(), Kind::Throttled),
        ("list", 500, json("internalError", ""), Kind::Unreachable),
        ("list", 503, json("backendError", ""), Kind::Unreachable),
        ("list", 408, String::new(), Kind::Unreachable),
        ("write", 500, json("internalError", ""), Kind::OutcomeUnknown),
        ("write", 503, json("backendError", ""), Kind::OutcomeUnknown),
        ("write", 504, PAGE.into(), Kind::OutcomeUnknown),
        ("write", 408, String::new(), Kind::OutcomeUnknown),
        ("list", 206, String::new(), Kind::Malformed),
        ("write", 201, String::new(), Kind::OutcomeUnknown),
        ("list", 307, String::new(), Kind::Malformed),
        ("list", 403, PAGE.into(), Kind::Malformed),
        ("list", 404, PAGE.into(), Kind::Malformed),
        ("read", 401, PAGE.into(), Kind::Malformed),
        ("list", 502, PAGE.into(), Kind::Unreachable),
        ("read", 400, json("invalid", ""), Kind::UnsupportedKey),
        ("list", 400, json("invalid", ""), Kind::Configuration),
        ("write", 413, json("uploadTooLarge", ""), Kind::TooLarge),
    ];
    for (operation, status, body, kind) in table {
        let error = answer(status, &body).explain(&asked(operation)).error;
        assert_eq!(error.kind, kind, "{operation} {status} {body}");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(error.detail.starts_with(&status.to_string()), "{error}");
    }
}

#[test]
fn only_an_unclear_answer_leaves_open_whether_the_bucket_is_there() {
    assert!(answer(404, "Not Found").explain(&asked("read")).is_bucket_unsure);
    assert!(!answer(404, "No such object: b/k").explain(&asked("read")).is_bucket_unsure);
    assert!(!answer(404, "Not Found").explain(&asked("list")).is_bucket_unsure);
    assert!(!answer(403, "").explain(&asked("read")).is_bucket_unsure);
}

#[test]
fn a_clock_that_is_off_is_named_where_a_token_is_refused() {
    for (skew_seconds, kind) in [(1200, Kind::ClockSkew), (-1200, Kind::ClockSkew), (200, Kind::Auth)] {
        let refused = Answer { skew_seconds, ..answer(401, "") };
        assert_eq!(refused.explain(&asked("list")).error.kind, kind, "{skew_seconds}");
    }
    let listed = Answer { skew_seconds: 1200, ..answer(403, "") };
    assert_eq!(listed.explain(&asked("list")).error.kind, Kind::AccessDenied);
}

#[test]
fn l53_the_wait_that_a_store_asks_for_is_passed_on() {
    let wait = Some(Duration::from_secs(7));
    let busy = Answer { retry_after: wait, ..answer(503, "") }.explain(&asked("list")).error;
    assert_eq!((busy.kind, busy.retry_after), (Kind::Throttled, wait));
}

#[test]
fn l80_what_a_token_server_says_is_not_repeated() {
    let canary = "canary-refresh-token";
    for (transient, said, kind) in [
        (false, "body=<{\"error\":\"invalid_grant\"}> canary-refresh-token", Kind::Auth),
        (false, "Token must be in a reasonable timeframe. canary-refresh-token", Kind::ClockSkew),
        (false, "you are not running in a Google Cloud Environment", Kind::Auth),
        (true, "canary-refresh-token timed out", Kind::Unreachable),
        (false, "canary-refresh-token", Kind::Auth),
    ] {
        let error = no_token(&asked("write"), &CredentialsError::from_msg(transient, said));
        assert_eq!(error.kind, kind, "{said}");
        assert!(!format!("{error} {error:?}").contains(canary), "{error:?}");
    }
}
