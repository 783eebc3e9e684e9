//! GCS on fake-gcs-server: buckets that are not there, objects of somebody else, credentials that change.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use labelsync::names::{ETag, Key};
use labelsync::settings::GcsSettings;
use labelsync::store::gcs::{GcsLimits, GcsStore};
use labelsync::store::{ListRequest, Precondition, Store, StoreError, StoreErrorKind as Of};

use crate::support::double::{Double, answer};
use crate::support::{Kind, SECRET_KEY, Server, Trials};

pub fn add(trials: &mut Trials) {
    trials.test_on(Kind::Gcs, "l5_a_missing_bucket_is_never_an_empty_one", |server| async move {
        l5_a_missing_bucket_is_never_an_empty_one(&server.gcs_settings("no-such-bucket")).await;
    });
    trials.test_on(Kind::Gcs, "the_checksum_of_a_write_is_kept", |server| async move {
        let bucket = server.new_bucket().await;
        the_checksum_of_a_write_is_kept(&server, &server.gcs_settings(&bucket)).await;
    });
    trials.test_on(Kind::Gcs, "l73_an_object_of_somebody_else_is_read_as_it_is", |server| async move {
        let bucket = server.new_bucket().await;
        l73_an_object_of_somebody_else_is_read_as_it_is(&server, &server.gcs_settings(&bucket)).await;
    });
    trials.test("gcs::l54_refused_credentials_are_named_and_read_again", l54_refused_credentials_are_named);
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> Of {
    outcome.expect_err("an error").kind
}

async fn l5_a_missing_bucket_is_never_an_empty_one(settings: &GcsSettings) {
    let store = GcsStore::connect(settings).await.expect("a store");
    let key = Key::new("x");
    assert_eq!(kind(store.list_page(&ListRequest::default(), None).await), Of::BucketMissing);
    assert_eq!(kind(store.get(&key, 100).await), Of::BucketMissing);
    assert_eq!(kind(store.head(&key).await), Of::BucketMissing);
    assert_eq!(kind(store.put(&key, Bytes::new(), &Precondition::Absent).await), Of::BucketMissing);
    assert_eq!(kind(store.delete(&key, &ETag::new("1")).await), Of::BucketMissing);
}

fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

async fn the_checksum_of_a_write_is_kept(server: &Server, settings: &GcsSettings) {
    let store = GcsStore::connect(settings).await.expect("a store");
    let etag = store.put(&Key::new("x"), Bytes::from("123456789"), &Precondition::Absent).await.expect("written");
    let url = format!("{}/storage/v1/b/{}/o/x", server.endpoint, settings.bucket);
    let said = client().get(url).send().await.expect("an answer").text().await.expect("a text");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    // The check value of CRC-32C, E3069283, in base 64.
    assert_eq!((&said["crc32c"], &said["size"]), (&"4waSgw==".into(), &"9".into()));
    assert_eq!(said["generation"], etag.as_str(), "the ETag is the generation");
}

async fn l73_an_object_of_somebody_else_is_read_as_it_is(server: &Server, settings: &GcsSettings) {
    let body = b"\x1f\x8b\x08 not really gzip";
    let url = format!("{}/upload/storage/v1/b/{}/o", server.endpoint, settings.bucket);
    let url = format!("{url}?uploadType=media&name=x&contentEncoding=gzip");
    let sent = client().post(url).body(&body[..]).send().await.expect("an answer");
    assert!(sent.status().is_success(), "{sent:?}");
    let store = GcsStore::connect(settings).await.expect("a store");
    assert_eq!(store.get(&Key::new("x"), 100).await.expect("read").bytes, &body[..]);
}

/// An `authorized_user` of a token server of ours.
fn write_credentials(path: &Path, token_server: &Double, refresh_token: &str) {
    let credentials = serde_json::json!({
        "type": "authorized_user", "client_id": "id", "client_secret": SECRET_KEY,
        "refresh_token": refresh_token, "token_uri": token_server.endpoint(),
    });
    std::fs::write(path, credentials.to_string()).expect("written");
}

async fn l54_refused_credentials_are_named() {
    let json = "Content-Type: application/json\r\n";
    let tokens = Double::start(move |_, request| {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let refresh = asked["refresh_token"].as_str().expect("a token");
        if refresh == "revoked" {
            let said = format!(r#"{{"error":"invalid_grant","error_description":"{SECRET_KEY}"}}"#);
            return answer("400 Bad Request", json, &said);
        }
        let token = serde_json::json!({"access_token": format!("{SECRET_KEY}-{refresh}"), "expires_in": 3600, "token_type": "Bearer"});
        answer("200 OK", json, &token.to_string())
    })
    .await;
    let bucket = Double::start(move |_, request| {
        let good = format!("Bearer {SECRET_KEY}-good");
        if request.header("authorization") != Some(good.as_str()) {
            let error = r#"{"error":{"code":401,"message":"Invalid Credentials","errors":[{"reason":"authError"}]}}"#;
            return answer("401 Unauthorized", json, error);
        }
        answer("200 OK", json, r#"{"kind":"storage#objects"}"#)
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("key.json");
    let settings = GcsSettings { credentials_file: Some(path.clone()), ..bucket.gcs_settings() };
    let limits = GcsLimits { renew_every: Duration::ZERO, attempts: 1, ..GcsLimits::default() };
    let request = ListRequest::default();
    for refresh_token in ["stale", "revoked"] {
        write_credentials(&path, &tokens, refresh_token);
        let store = GcsStore::connect_with(&settings, limits.clone()).await.expect("a store");
        let error = store.list_page(&request, None).await.expect_err(refresh_token);
        assert_eq!(error.kind, Of::Auth, "{refresh_token}: {error}");
        let shown = format!("{error} {error:?} {store:?}");
        assert!(!shown.contains(SECRET_KEY) && !shown.contains("127.0.0.1"), "{shown}");
        let put = store.put(&Key::new("x"), Bytes::new(), &Precondition::Absent).await;
        assert_eq!(kind(put), Of::Auth, "{refresh_token}: nothing was sent that may have happened");
        write_credentials(&path, &tokens, "good");
        store.list_page(&request, None).await.expect("the new credentials are read without a restart");
    }
    let anonymous = GcsSettings { anonymous: true, ..settings };
    let anonymous = GcsSettings { credentials_file: None, ..anonymous };
    let store = GcsStore::connect_with(&anonymous, limits).await.expect("a store");
    assert_eq!(kind(store.list_page(&request, None).await), Of::Auth);
    let last = bucket.requests().pop().expect("a request");
    assert_eq!(last.header("authorization"), None);
}
