//! What `config/` allows in buckets, against what the code calls.

use std::collections::BTreeSet;

use labelsync::project::claim::mark_key;
use serde_json::Value;

use crate::pages::{path, text};

/// The permission that each operation of S3's needs; HEAD is a GET to S3.
const PERMISSIONS: [(&str, &str); 5] = [
    ("list_objects_v2", "s3:ListBucket"),
    ("get_object", "s3:GetObject"),
    ("head_object", "s3:GetObject"),
    ("put_object", "s3:PutObject"),
    ("delete_object", "s3:DeleteObject"),
];

/// The permissions that each request to Google's API needs; replacing an object is deleting it too.
const GOOGLE_PERMISSIONS: [(&str, &[&str]); 5] = [
    ("listing", &["storage.objects.list"]),
    ("media", &["storage.objects.get"]),
    ("metadata", &["storage.objects.get"]),
    ("upload", &["storage.objects.create", "storage.objects.delete"]),
    ("deletion", &["storage.objects.delete"]),
];

struct Statement {
    actions: BTreeSet<String>,
    resource: String,
}

fn statements(name: &str) -> Vec<Statement> {
    let policy: Value = serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(policy["Version"], "2012-10-17", "{name}");
    let statements = policy["Statement"].as_array().unwrap();
    statements
        .iter()
        .map(|statement| {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            let actions = statement["Action"].as_array().unwrap();
            Statement {
                actions: actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
                resource: statement["Resource"].as_str().unwrap().to_owned(),
            }
        })
        .collect()
}

fn allowed(name: &str) -> BTreeSet<String> {
    statements(name).into_iter().flat_map(|statement| statement.actions).collect()
}

/// The operations that the S3 store calls.
fn called() -> BTreeSet<String> {
    let call = regex::Regex::new(r"\.([a-z0-9_]+)\(\)\s*\.bucket\(").unwrap();
    let mut code = text("daemon/store/s3.rs");
    for entry in std::fs::read_dir(path("daemon/store/s3")).unwrap() {
        code += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let called: BTreeSet<String> = call.captures_iter(&code).map(|found| found[1].to_owned()).collect();
    assert!(called.len() >= 4, "only {called:?}: does the pattern still see them?");
    called
}

pub fn actions() {
    let needed: BTreeSet<String> = called()
        .iter()
        .map(|operation| {
            let known = PERMISSIONS.iter().find(|(name, _)| name == operation);
            known.unwrap_or_else(|| panic!("which permission does {operation} need?")).1.to_owned()
        })
        .collect();
    let (source, target) = (allowed("config/s3-source-policy.json"), allowed("config/s3-target-policy.json"));
    assert_eq!(target, needed);
    assert!(source.is_subset(&target));
    assert_eq!(source, BTreeSet::from(["s3:GetObject".to_owned(), "s3:ListBucket".to_owned()]));
}

pub fn deletes() {
    let statements = statements("config/s3-target-policy.json");
    let with_delete: Vec<&Statement> =
        statements.iter().filter(|statement| statement.actions.contains("s3:DeleteObject")).collect();
    let [only] = with_delete.as_slice() else { panic!("one statement, so that it can be left out") };
    assert_eq!(only.actions.len(), 1);
    assert!(only.resource.ends_with("/done/*"), "{}", only.resource);
}

pub fn mark() {
    let key = mark_key("done");
    let statements = statements("config/s3-target-policy.json");
    let of_marks = |statement: &&Statement| {
        let pattern = statement.resource.split_once('/').map_or("", |(_, pattern)| pattern);
        pattern.strip_suffix('*').is_some_and(|start| !start.is_empty() && key.as_str().starts_with(start))
    };
    let marks = statements.iter().find(of_marks).unwrap_or_else(|| panic!("no statement lets {key} be written"));
    assert!(marks.actions.contains("s3:PutObject") && marks.actions.contains("s3:GetObject"));
}

pub fn cors() {
    let rules: Value = serde_json::from_str(&text("config/s3-cors.json")).unwrap();
    for rule in rules["CORSRules"].as_array().unwrap() {
        assert_eq!(rule["AllowedMethods"], serde_json::json!(["GET"]));
        let origins = rule["AllowedOrigins"].as_array().unwrap();
        assert!(origins.iter().all(|origin| origin.as_str().unwrap().starts_with("https://")), "{origins:?}");
    }
}

/// What a custom role of Google's includes.
fn included(name: &str) -> BTreeSet<String> {
    let text = text(name);
    let (_, list) = text.split_once("\nincludedPermissions:\n").unwrap();
    list.lines().map(|line| line.strip_prefix("- ").unwrap().to_owned()).collect()
}

pub fn google() {
    let request = regex::Regex::new(r"path::([a-z_]+)\(").unwrap();
    let code = text("daemon/store/gcs.rs");
    let called: BTreeSet<&str> = request.captures_iter(&code).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(called.len() >= 5, "only {called:?}: does the pattern still see them?");
    let needs = |name: &&str| {
        let known = GOOGLE_PERMISSIONS.iter().find(|(request, _)| request == name);
        known.unwrap_or_else(|| panic!("which permission does {name} need?")).1.iter().map(|p| (*p).to_owned())
    };
    let needed: BTreeSet<String> = called.iter().flat_map(needs).collect();
    assert_eq!(included("config/gcs-target-role.yaml"), needed);
    let reads = ["storage.objects.get".to_owned(), "storage.objects.list".to_owned()];
    assert_eq!(included("config/gcs-source-role.yaml"), BTreeSet::from(reads));
    let rules: Value = serde_json::from_str(&text("config/gcs-cors.json")).unwrap();
    for rule in rules.as_array().unwrap() {
        assert_eq!(rule["method"], serde_json::json!(["GET"]));
        assert!(
            rule["origin"].as_array().unwrap().iter().all(|origin| origin.as_str().unwrap().starts_with("https://"))
        );
    }
}
