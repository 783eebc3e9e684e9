//! A bucket of a test server, as somebody else uses it: S3 by the SDK, Google's by plain HTTP.
//!
//! Not here: what labelsync does in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Kind, Server};

/// One bucket.
pub struct Far {
    server: Arc<Server>,
    name: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Far {
    /// A handle; the bucket is made by [`Far::make`].
    pub fn new(server: &Arc<Server>, name: &str) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { server: server.clone(), name: name.to_owned(), http, runtime }
    }

    /// A bucket that no other test has.
    pub fn new_bucket(server: &Arc<Server>) -> Self {
        let far = Self::new(server, "");
        let name = far.runtime.block_on(server.new_bucket());
        Self { name, ..far }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn url(&self, rest: &str) -> String {
        format!("{}{rest}", self.server.endpoint)
    }

    fn object_url(&self, key: &str) -> String {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        self.url(&format!("/storage/v1/b/{}/o/{key}", self.name))
    }

    pub fn make(&self) {
        self.runtime.block_on(async {
            if self.server.kind == Kind::Gcs {
                let body = json!({"name": self.name}).to_string();
                let made = self.http.post(self.url("/storage/v1/b")).body(body).send().await.expect("an answer");
                assert!(made.status().is_success(), "{made:?}");
            } else {
                self.server.client().create_bucket().bucket(&self.name).send().await.expect("a bucket");
            }
        });
    }

    pub fn put(&self, objects: &[(String, Vec<u8>)]) {
        self.runtime.block_on(async {
            let client = (self.server.kind != Kind::Gcs).then(|| self.server.client());
            for (key, body) in objects {
                if let Some(client) = &client {
                    let put = client.put_object().bucket(&self.name).key(key).body(body.clone().into());
                    put.send().await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                } else {
                    let name = utf8_percent_encode(key, NON_ALPHANUMERIC);
                    let path = format!("/upload/storage/v1/b/{}/o?uploadType=media&name={name}", self.name);
                    let put = self.http.post(self.url(&path)).body(body.clone()).send().await.expect("an answer");
                    assert!(put.status().is_success(), "{key}: {put:?}");
                }
            }
        });
    }

    pub fn delete(&self, key: &str) {
        self.runtime.block_on(async {
            if self.server.kind == Kind::Gcs {
                self.http.delete(self.object_url(key)).send().await.expect("deleted");
            } else {
                self.server.client().delete_object().bucket(&self.name).key(key).send().await.expect("deleted");
            }
        });
    }

    /// Every object with its bytes; for buckets of a few.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.runtime.block_on(async {
            let mut all = BTreeMap::new();
            if self.server.kind == Kind::Gcs {
                let listed = self.http.get(self.url(&format!("/storage/v1/b/{}/o", self.name)));
                let listed = listed.send().await.expect("an answer").bytes().await.expect("a body");
                let listed: Value = serde_json::from_slice(&listed).expect("JSON");
                for object in listed["items"].as_array().into_iter().flatten() {
                    let key = object["name"].as_str().expect("a name");
                    let got = self.http.get(format!("{}?alt=media", self.object_url(key)));
                    let body = got.send().await.expect("an answer").bytes().await.expect("a body");
                    all.insert(key.to_owned(), body.to_vec());
                }
            } else {
                let client = self.server.client();
                let listed = client.list_objects_v2().bucket(&self.name).send().await.expect("a listing");
                for object in listed.contents() {
                    let key = object.key().expect("a key");
                    let got = client.get_object().bucket(&self.name).key(key).send().await.expect("an object");
                    all.insert(key.to_owned(), got.body.collect().await.expect("a body").to_vec());
                }
            }
            all
        })
    }
}
