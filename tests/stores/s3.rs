//! S3 on real servers: buckets that are not there, credentials that are wrong or change.

use std::time::Duration;

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::settings::S3Settings;
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{ListRequest, Precondition, Store, StoreError, StoreErrorKind};

use crate::support::{self, Kind, SECRET_KEY, Trials};

pub fn add(trials: &mut Trials) {
    for kind in Kind::S3 {
        trials.test_on(kind, "l5_a_missing_bucket_is_never_an_empty_one", move |server| async move {
            l5_a_missing_bucket_is_never_an_empty_one(&server.settings("no-such-bucket")).await;
        });
        trials.test_on(kind, "the_checksum_of_a_write_is_kept", move |server| async move {
            let bucket = server.new_bucket().await;
            the_checksum_of_a_write_is_kept(&server.settings(&bucket), &server.client()).await;
        });
        trials.test_on(kind, "l73_an_object_of_somebody_else_is_read_as_it_is", move |server| async move {
            let bucket = server.new_bucket().await;
            l73_an_object_of_somebody_else_is_read_as_it_is(&server.settings(&bucket), &server.client()).await;
        });
    }
    // moto checks no signatures.
    trials.test_on(Kind::SeaweedFs, "l54_wrong_credentials_are_named", |server| async move {
        let bucket = server.new_bucket().await;
        l54_wrong_credentials_are_named(server.settings(&bucket)).await;
    });
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreErrorKind {
    outcome.expect_err("an error").kind
}

async fn l5_a_missing_bucket_is_never_an_empty_one(settings: &S3Settings) {
    let store = S3Store::connect(settings).await.expect("a store");
    let key = Key::new("x");
    assert_eq!(kind(store.list_page(&ListRequest::default(), None).await), StoreErrorKind::BucketMissing);
    assert_eq!(kind(store.get(&key, 100).await), StoreErrorKind::BucketMissing);
    assert_eq!(kind(store.head(&key).await), StoreErrorKind::BucketMissing);
    assert_eq!(kind(store.put(&key, Bytes::new(), &Precondition::Absent).await), StoreErrorKind::BucketMissing);
    assert_eq!(kind(store.delete(&key, &ETag::new("\"x\"")).await), StoreErrorKind::BucketMissing);
}

async fn the_checksum_of_a_write_is_kept(settings: &S3Settings, client: &aws_sdk_s3::Client) {
    let store = S3Store::connect(settings).await.expect("a store");
    store.put(&Key::new("x"), Bytes::from("123456789"), &Precondition::Absent).await.expect("written");
    let head = client
        .head_object()
        .bucket(&settings.bucket)
        .key("x")
        .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
        .send()
        .await
        .expect("looked up");
    // The check value of CRC-32C, E3069283, in base 64.
    assert_eq!(head.checksum_crc32_c(), Some("4waSgw=="));
}

async fn l73_an_object_of_somebody_else_is_read_as_it_is(settings: &S3Settings, client: &aws_sdk_s3::Client) {
    let body = Bytes::from_static(b"\x1f\x8b\x08 not really gzip");
    client
        .put_object()
        .bucket(&settings.bucket)
        .key("x")
        .content_encoding("gzip")
        .body(body.clone().into())
        .send()
        .await
        .expect("written");
    let store = S3Store::connect(settings).await.expect("a store");
    assert_eq!(store.get(&Key::new("x"), 100).await.expect("read").bytes, body);
}

async fn l54_wrong_credentials_are_named(settings: S3Settings) {
    support::write_profiles("nobody");
    let with = |profile: &str| S3Settings { profile: Some(profile.to_owned()), ..settings.clone() };
    let limits = S3Limits { renew_every: Duration::ZERO, ..S3Limits::default() };
    let request = ListRequest::default();
    for (profile, expected) in [
        ("unknown-key", StoreErrorKind::Auth),
        ("wrong-secret", StoreErrorKind::Auth),
        ("no-keys", StoreErrorKind::Auth),
        ("not-there", StoreErrorKind::Configuration),
    ] {
        let store = S3Store::connect_with(&with(profile), limits.clone()).await.expect("a store");
        let error = store.list_page(&request, None).await.expect_err(profile);
        assert_eq!(error.kind, expected, "{profile}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET_KEY) && !shown.contains("canary-wrong"), "{shown}");
        let put = store.put(&Key::new("x"), Bytes::new(), &Precondition::Absent).await;
        assert_eq!(kind(put), expected, "{profile}: nothing was sent that may have happened");
    }
    let good = S3Store::connect(&with("good")).await.expect("a store");
    assert!(good.list_page(&request, None).await.is_ok());
    let rotating = S3Store::connect_with(&with("rotating"), limits).await.expect("a store");
    assert_eq!(kind(rotating.list_page(&request, None).await), StoreErrorKind::Auth);
    support::write_profiles(support::ACCESS_KEY);
    rotating.list_page(&request, None).await.expect("the new key is read without a restart");
}
