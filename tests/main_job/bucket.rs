//! A bucket as somebody else uses it, and a rig on two of them.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::StreamExt;

use crate::support::rig::Rig;
use crate::support::{Server, environment};

/// Requests at once: enough for a server to be busy.
const AT_ONCE: usize = 32;

#[derive(Clone)]
pub struct Bucket {
    pub client: Client,
    pub name: String,
}

impl Bucket {
    pub async fn new(server: &Server) -> Self {
        Self { client: server.client(), name: server.new_bucket().await }
    }

    pub async fn put(&self, key: &str, body: impl Into<ByteStream>) {
        let put = self.client.put_object().bucket(&self.name).key(key).body(body.into());
        put.send().await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }

    /// As tools put what is large: in parts, whose number stands in the version (`…-2`).
    pub async fn put_in_parts(&self, key: &str, parts: &[&[u8]]) {
        let (bucket, client) = (&self.name, &self.client);
        let begun = client.create_multipart_upload().bucket(bucket).key(key).send().await.expect("begun");
        let upload = begun.upload_id().expect("an upload");
        let mut whole = CompletedMultipartUpload::builder();
        for (nth, part) in (1..).zip(parts) {
            let put = client.upload_part().bucket(bucket).key(key).upload_id(upload).part_number(nth);
            let put = put.body(part.to_vec().into()).send().await.expect("a part");
            whole = whole.parts(CompletedPart::builder().part_number(nth).set_e_tag(put.e_tag).build());
        }
        let end = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
        let put = end.multipart_upload(whole.build()).send().await.expect("put together");
        let version = put.e_tag().expect("a version");
        assert!(version.trim_matches('"').ends_with(&format!("-{}", parts.len())), "{version}");
    }

    pub async fn put_all(&self, objects: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let puts = objects.into_iter().map(|(key, body)| async move { self.put(&key, body).await });
        futures::stream::iter(puts).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(&self.name).key(key).send().await {
            Ok(object) => Some(object.body.collect().await.expect("a whole body").to_vec()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => None,
            Err(error) => panic!("{key}: {error:?}"),
        }
    }

    /// Deletes an object, or this version of it; where versions are kept, the version that says that it is deleted.
    pub async fn delete(&self, key: &str, version: Option<&str>) -> Option<String> {
        let delete = self.client.delete_object().bucket(&self.name).key(key);
        let deleted = delete.set_version_id(version.map(str::to_owned)).send().await.expect("deleted");
        deleted.version_id
    }

    /// Waits until an object holds exactly these bytes.
    pub async fn until_holds(&self, key: &str, bytes: &[u8]) {
        let end = std::time::Instant::now() + crate::support::rig::PATIENCE;
        while self.get(key).await.as_deref() != Some(bytes) {
            assert!(std::time::Instant::now() < end, "waited too long for {key}");
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }
}

/// A project `cats`, from one bucket of its own to another; the lines are more of the source's.
pub async fn rig(server: &Arc<Server>, label_config: &str, source: &str) -> (Rig, Bucket, Bucket) {
    let (from, to) = (Bucket::new(server).await, Bucket::new(server).await);
    let mut rig = Rig::new();
    rig.environment = environment();
    rig.project("cats", label_config);
    let (dir, endpoint) = (rig.dir.path().display(), &server.endpoint);
    let (from_name, to_name) = (&from.name, &to.name);
    rig.settings(&format!(
        "[projects.cats]\npath = \"{dir}/cats\"\nlabel_studio_has_credentials = true\n\
         [projects.cats.source]\ntype = \"s3\"\nbucket = \"{from_name}\"\nendpoint = \"{endpoint}\"\nallow_http = true\n\
         poll_interval = \"2s\"\n{source}\n\
         [projects.cats.target]\ntype = \"s3-completions\"\nbucket = \"{to_name}\"\nendpoint = \"{endpoint}\"\n\
         allow_http = true\nprefix = \"done\"\npoll_interval = \"2s\"\n"
    ));
    (rig, from, to)
}
