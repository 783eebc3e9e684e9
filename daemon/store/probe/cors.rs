//! Whether a browser on Label Studio's page may read an object: its preflight, asked as a browser asks.
//!
//! Promise: asks without credentials, and for nothing but the headers of the answer.
//! Not here: whether the object may be read at all.

use reqwest::header::{ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN};
use reqwest::{Method, Url};
use tokio::time::timeout;

use super::way::client;
use super::{Reached, STEP_MAX, Step};
use crate::names::{Key, printable};

/// The stable code of missing rules.
const MISSING: &str = "cors_missing";

/// Whether a page of `origin` (`https://label-studio.example`) may read the object. `None` for directories.
pub async fn cors(reached: &Reached, key: &Key, origin: &str) -> Option<Step> {
    let (url, rule) = match reached {
        Reached::S3(store) => (store.object_url(key).await, s3_rule(origin, store_name(reached))),
        Reached::Gcs(store) => (store.object_url(key), gcs_rule(origin, store_name(reached))),
        Reached::Local(_) => return None,
    };
    let origin_shown = printable(origin).into_owned();
    let unsure = |why: &str| Step::warn("cors", MISSING, format!("{why} for {origin_shown}"), rule.clone());
    let Ok(url) = url.parse::<Url>() else { return Some(unsure("no URL can be made to ask with")) };
    let Ok(client) = client(&url) else { return Some(unsure("nothing can be asked")) };
    let preflight =
        client.request(Method::OPTIONS, url).header("Origin", origin).header("Access-Control-Request-Method", "GET");
    let Ok(Ok(answer)) = timeout(STEP_MAX, preflight.send()).await else {
        return Some(unsure("the bucket did not answer a browser's question"));
    };
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allowed = header(ACCESS_CONTROL_ALLOW_ORIGIN);
    let methods = header(ACCESS_CONTROL_ALLOW_METHODS).to_ascii_uppercase();
    let may =
        (allowed == "*" || allowed == origin) && methods.split(',').any(|method| matches!(method.trim(), "GET" | "*"));
    if may {
        return Some(Step::ok("cors", format!("pages of {origin_shown} may read objects")));
    }
    let seen = format!(
        "pages of {origin_shown} may not read objects: audio, time series and image tools that read pixels stay empty"
    );
    Some(Step::warn("cors", MISSING, seen, rule))
}

fn store_name(reached: &Reached) -> &str {
    let root = reached.store().root();
    root.split_once("://").map_or(root, |(_, name)| name)
}

fn s3_rule(origin: &str, bucket: &str) -> String {
    let rule = serde_json::json!({"CORSRules": [{
        "AllowedOrigins": [origin], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "Content-Range"], "MaxAgeSeconds": 3000,
    }]});
    let bucket = printable(bucket);
    format!(
        "put this into a file (config/s3-cors.json has one): {rule} and run `aws s3api put-bucket-cors --bucket {bucket} \
             --cors-configuration file://FILE`; another address of Label Studio: `lsctl check --origin URL`"
    )
}

fn gcs_rule(origin: &str, bucket: &str) -> String {
    let rule = serde_json::json!([{
        "origin": [origin], "method": ["GET"], "responseHeader": ["Content-Type", "Content-Range", "ETag"],
        "maxAgeSeconds": 3000,
    }]);
    let bucket = printable(bucket);
    format!(
        "put this into a file (config/gcs-cors.json has one): {rule} and run `gcloud storage buckets update \
             gs://{bucket} --cors-file=FILE`; another address of Label Studio: `lsctl check --origin URL`"
    )
}
