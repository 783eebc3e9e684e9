//! Recorded cases of Label Studio's own cloud storages: `tests/vectors/*.json`, or every `*.json` of the directory that
//! `LABELSYNC_VECTORS` names.
//!
//! Not here: what is done with them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;

use crate::rules;

/// Another directory of cases.
const VARIABLE: &str = "LABELSYNC_VECTORS";

/// One case: what stood where, what was done, what Label Studio came to.
#[derive(Clone, Debug)]
pub struct Case(pub Value);

impl Case {
    pub fn id(&self) -> &str {
        self.0["id"].as_str().expect("an id")
    }

    pub fn bucket(&self) -> &str {
        self.0["bucket_name"].as_str().expect("a bucket")
    }

    /// `s3` or `gcs`.
    pub fn provider(&self) -> &str {
        self.0["provider"].as_str().unwrap_or("s3")
    }

    pub fn scheme(&self) -> &'static str {
        if self.provider() == "gcs" { "gs://" } else { "s3://" }
    }

    pub fn config(&self) -> &str {
        self.0["label_config"].as_str().expect("a label config")
    }

    pub fn steps(&self) -> &[Value] {
        self.0["steps"].as_array().expect("steps")
    }

    /// What stood in the bucket at the start; `None`: there is no bucket.
    pub fn objects(&self) -> Option<Vec<(String, Vec<u8>)>> {
        let objects = self.0["objects"].as_array()?;
        Some(objects.iter().flat_map(expanded).collect())
    }

    /// A text of a step, with this case's bucket.
    pub fn text(&self, step: &Value) -> String {
        let text = step["text"].as_str().expect("a text");
        text.replace("%SCHEME%", self.scheme()).replace("%BUCKET%", self.bucket())
    }
}

/// `{key, body}`, `{key, body_b64}`, or `{gen, n}`: so many keys by a pattern such as `o/%05d.jpg`.
fn expanded(object: &Value) -> Vec<(String, Vec<u8>)> {
    let Some(pattern) = object["gen"].as_str() else { return vec![(key(object), body(object))] };
    let (before, after) = pattern.split_once('%').expect("a pattern");
    let (digits, after) = after.split_once('d').expect("a pattern");
    let width: usize = digits.parse().expect("a width");
    let count = object["n"].as_u64().expect("a number");
    (0..count).map(|n| (format!("{before}{n:0width$}{after}"), b"x".to_vec())).collect()
}

pub fn key(object: &Value) -> String {
    object["key"].as_str().expect("a key").to_owned()
}

pub fn body(object: &Value) -> Vec<u8> {
    match object["body_b64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).expect("base64"),
        None => object["body"].as_str().expect("a body").as_bytes().to_vec(),
    }
}

/// Whether these are the project's own cases, whose number under each rule is known.
pub fn are_own() -> bool {
    std::env::var_os(VARIABLE).is_none()
}

/// The cases of one kind (`source`, `target`, `local`) and provider.
pub fn of(kind: &str, provider: &str) -> Vec<Case> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let dir = std::env::var_os(VARIABLE).map_or(own, PathBuf::from);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let vectors = rules::loose(&std::fs::read(&file).expect("read")).expect("JSON");
        cases.extend(vectors["cases"].as_array().expect("cases").iter().cloned().map(Case));
    }
    cases.retain(|case| case.0["kind"] == kind && (kind == "local" || case.provider() == provider));
    cases
}
