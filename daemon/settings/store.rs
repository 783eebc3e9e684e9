//! Which bucket or directory, and how it is reached: the keys of both sides that say so.
//!
//! Promise: `http://` only with `allow_http`; no credential in a URL; what is not supported is said, not guessed.
//! Not here: whether the bucket is there.

use super::keys::did_you_mean;
use super::section::Section;
use super::{GcsSettings, S3Settings, StoreSettings};
use crate::names::printable;

/// Which side of a project a store is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// `[projects.NAME.source]`.
    Source,
    /// `[projects.NAME.target]`.
    Target,
}

/// What `type` may say.
enum Type {
    S3,
    Gcs,
    Local,
    /// Named in the documentation, not built yet.
    Later,
}

/// Keys that only a bucket has.
const BUCKET_KEYS: [&str; 9] = [
    "bucket",
    "region",
    "endpoint",
    "allow_http",
    "profile",
    "path_style",
    "expected_bucket_owner",
    "credentials_file",
    "anonymous",
];

/// Names have at most 63 bytes today, old ones had 255.
const BUCKET_BYTES_MAX: usize = 255;
/// Shorter names were never given.
const BUCKET_BYTES_MIN: usize = 3;
/// Region and profile are short names.
const NAME_BYTES_MAX: usize = 128;
/// AWS numbers its accounts so.
const ACCOUNT_DIGITS: usize = 12;

/// Checks the keys that name the store; `None` goes with a problem.
pub(super) fn check(section: &mut Section<'_>, side: Side) -> Option<StoreSettings> {
    match store_type(section, side)? {
        Type::S3 => s3(section).map(StoreSettings::S3),
        Type::Gcs => gcs(section).map(StoreSettings::Gcs),
        Type::Local => local(section),
        Type::Later => None,
    }
}

fn store_type(section: &mut Section<'_>, side: Side) -> Option<Type> {
    let (s3, all): (&str, &[&str]) = match side {
        Side::Source => ("s3", &["s3", "gcs", "azure", "local"]),
        Side::Target => ("s3-completions", &["s3-completions", "gcs-completions", "azure-completions", "local"]),
    };
    let Some(text) = section.text("type") else {
        if !section.has("type") {
            section.missing("type", format!("add `type = \"{s3}\"`; one of: {}", all.join(", ")));
        }
        return None;
    };
    match (text, side) {
        ("s3", _) | ("s3-completions", Side::Target) => Some(Type::S3),
        ("gcs", _) | ("gcs-completions", Side::Target) => Some(Type::Gcs),
        ("local", _) => Some(Type::Local),
        ("azure" | "azure-blob", _) | ("azure-completions", Side::Target) => {
            let remedy = format!("use `{s3}`, `{}` or `local`", s3.replacen("s3", "gcs", 1));
            section.problem("type", format!("`{text}` is not supported yet"), remedy);
            Some(Type::Later)
        }
        ("s3-completions" | "gcs-completions" | "azure-completions", Side::Source) => {
            let remedy = format!("a source says `{}`", text.trim_end_matches("-completions"));
            section.problem("type", format!("`{text}` is a target's type"), remedy);
            None
        }
        ("tasks-json" | "completions-dir", _) => {
            let message = format!("`{text}` is Label Studio's own storage, which labelsync always writes to and reads");
            section.problem("type", message, "name the bucket's type, or leave the whole table out");
            None
        }
        _ => {
            let remedy = match did_you_mean(text, all.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("one of: {}", all.join(", ")),
            };
            section.problem("type", format!("`{}` is no type of storage", printable(text)), remedy);
            None
        }
    }
}

fn local(section: &mut Section<'_>) -> Option<StoreSettings> {
    for key in BUCKET_KEYS {
        if section.has(key) {
            section.problem(key, "means nothing for the type `local`", "remove it; a directory is named by `path`");
        }
    }
    if !section.has("path") {
        section.missing("path", "name the directory: `path = \"/data/in\"`");
    }
    section.path("path").map(|path| StoreSettings::Local { path })
}

fn s3(section: &mut Section<'_>) -> Option<S3Settings> {
    if section.has("path") {
        section.problem("path", "means nothing for the type `s3`", "a bucket is named by `bucket`");
    }
    if section.has("anonymous") {
        let remedy = "remove it; requests to S3 are always signed";
        section.problem("anonymous", "means nothing for the type `s3`", remedy);
    }
    if section.has("credentials_file") {
        let remedy = "remove it; S3 takes a `profile` of ~/.aws/credentials, the environment, or an instance role";
        section.problem("credentials_file", "means nothing for the type `s3`", remedy);
    }
    let bucket = bucket(section, "S3");
    let endpoint = endpoint(section, bucket.as_deref());
    let region = name(section, "region");
    let profile = name(section, "profile");
    let path_style = section.flag("path_style", endpoint.is_some());
    let expected_bucket_owner = account(section);
    Some(S3Settings { bucket: bucket?, region, endpoint, profile, path_style, expected_bucket_owner })
}

fn account(section: &mut Section<'_>) -> Option<String> {
    const KEY: &str = "expected_bucket_owner";
    let text = section.text(KEY)?;
    if text.len() != ACCOUNT_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
        let remedy =
            "the 12 digits of the bucket's AWS account, in quotes: `aws sts get-caller-identity` in it says them";
        section.problem(KEY, format!("`{}` is no AWS account", printable(text)), remedy);
        return None;
    }
    Some(text.to_owned())
}

fn gcs(section: &mut Section<'_>) -> Option<GcsSettings> {
    if section.has("path") {
        section.problem("path", "means nothing for the type `gcs`", "a bucket is named by `bucket`");
    }
    for key in ["region", "profile", "path_style", "expected_bucket_owner"] {
        if section.has(key) {
            let remedy = "remove it; a bucket of Google's is found by its name, credentials by `credentials_file` or \
                          Google's application default credentials";
            section.problem(key, "means nothing for the type `gcs`", remedy);
        }
    }
    let bucket = bucket(section, "GCS");
    let endpoint = endpoint(section, bucket.as_deref());
    let credentials_file = section.file("credentials_file");
    let anonymous = section.flag("anonymous", false);
    if anonymous && section.has("credentials_file") {
        section.problem("anonymous", "goes without credentials, and a file names some", "remove one of the two");
    }
    Some(GcsSettings { bucket: bucket?, endpoint, credentials_file, anonymous })
}

fn bucket(section: &mut Section<'_>, provider: &str) -> Option<String> {
    let Some(bucket) = section.text("bucket") else {
        if !section.has("bucket") {
            section.missing("bucket", "add `bucket = \"my-bucket\"`");
        }
        return None;
    };
    // A URL may hold a secret: it is not repeated.
    if bucket.contains("://") {
        let remedy = "the name alone: `bucket = \"my-bucket\"`; what follows it in the URL is the `prefix`";
        section.problem("bucket", "is a URL", remedy);
        return None;
    }
    let shown = printable(bucket);
    if let Some((plain, rest)) = bucket.split_once('/') {
        let remedy = format!("`bucket = \"{}\"` and `prefix = \"{}\"`", printable(plain), printable(rest));
        section.problem("bucket", format!("`{shown}` is more than a bucket's name"), remedy);
        return None;
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = (BUCKET_BYTES_MIN..=BUCKET_BYTES_MAX).contains(&bucket.len())
        && bucket.bytes().all(allowed)
        && !bucket.contains("..")
        && !bucket.starts_with('.')
        && !bucket.ends_with('.');
    if !fits {
        let remedy = "3 to 63 of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter or digit";
        section.problem("bucket", format!("`{shown}` is no bucket's name"), remedy);
        return None;
    }
    let modern = match provider {
        "GCS" => !bucket.bytes().any(|b| b.is_ascii_uppercase()),
        _ => bucket.len() <= 63 && !bucket.bytes().any(|b| b.is_ascii_uppercase() || b == b'_'),
    };
    if !modern && !section.has("endpoint") {
        let message = format!("`{shown}` is a name that {provider} no longer gives to new buckets");
        section.warning("bucket", message, "nothing if the bucket is an old one; else correct the name");
    }
    Some(bucket.to_owned())
}

fn endpoint(section: &mut Section<'_>, bucket: Option<&str>) -> Option<String> {
    let text = section.text("endpoint")?;
    let remedy = "write it as `https://host:port`";
    // A secret may stand in a URL that is no good: it is not repeated.
    let Ok(uri) = text.parse::<hyper::Uri>() else {
        section.problem("endpoint", "is no URL", remedy);
        return None;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        section.problem("endpoint", "is no URL with a scheme and a host", remedy);
        return None;
    };
    let before = section.problems();
    if authority.as_str().contains('@') {
        let remedy = "remove what stands before the `@`; credentials come from the environment or a `profile`";
        section.problem("endpoint", "has credentials in it", remedy);
    }
    if uri.query().is_some() || text.contains('#') {
        section.problem("endpoint", "has a query or a fragment", remedy);
    }
    if uri.host().unwrap_or_default().is_empty() {
        section.problem("endpoint", "names no host", remedy);
    }
    if uri.host().unwrap_or_default().contains("s3-website") {
        let remedy = "use the storage API's endpoint, or leave `endpoint` out for AWS";
        section.problem("endpoint", "is a website endpoint, which cannot list or write", remedy);
    }
    if bucket.is_some_and(|bucket| uri.path().trim_matches('/') == bucket) {
        section.problem("endpoint", "ends in the bucket's name", "leave it off: labelsync adds it");
    }
    match scheme {
        "https" => {}
        "http" if section.flag("allow_http", false) => {}
        "http" => {
            let remedy = "use https://, or add `allow_http = true` where the way to the store is trusted";
            section.problem("endpoint", "is http:// without `allow_http`", remedy);
        }
        other => section.problem("endpoint", format!("`{}://` is no scheme for it", printable(other)), remedy),
    }
    (section.problems() == before).then(|| text.trim_end_matches('/').to_owned())
}

fn name(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    let fits = match key {
        // A region becomes part of a host's name.
        "region" => text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')),
        _ => !text.chars().any(char::is_control),
    };
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !fits {
        let remedy = format!("write its name, or leave `{key}` out: environment and profile are asked then");
        section.problem(key, format!("`{}` is no {key}", printable(text)), remedy);
        return None;
    }
    Some(text.to_owned())
}
