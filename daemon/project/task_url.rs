//! Which `s3://` and `gs://` URLs Label Studio can turn into something that a browser can fetch.
//!
//! Promise: what passes is resolved to exactly the object that it names; one URL that does not pass would answer 500,
//! or another object, to everybody who lists tasks (C12, C13).
//! Not here: whether the object exists, or whether Label Studio has credentials.

use super::rejected::{Rejected, UNRESOLVABLE_URL, named};

/// S3 clients (botocore, which Label Studio signs with) take bucket names up to this length.
const MAX_S3_BUCKET_BYTES: usize = 255;

/// Of an AWS account's number.
const ACCOUNT_DIGITS: usize = 12;

/// As long as botocore takes the name of an access point.
const ACCESS_POINT_BYTES_MAX: usize = 63;

/// GCS allows 63 bytes, and up to this many in names with dots.
const MAX_GS_BUCKET_BYTES: usize = 222;

/// Refuses an `s3://` or `gs://` URL that Label Studio 0.8 cannot resolve. Every other text passes: Label Studio
/// leaves it alone, also `S3://…` and one that starts with a space.
pub fn check_url(url: &str) -> Result<(), Rejected> {
    let (name, is_bucket): (_, fn(&str) -> bool) = if let Some(name) = url.strip_prefix("s3://") {
        (name, is_s3_bucket)
    } else if let Some(name) = url.strip_prefix("gs://") {
        (name, is_gs_bucket)
    } else {
        return Ok(());
    };
    let (bucket, key) = name.split_once('/').unwrap_or((name, ""));
    let refused = |why: &str| Err(Rejected::new(UNRESOLVABLE_URL, format_args!("{}: {why}", named(url))));
    if bucket.is_empty() {
        return refused("no bucket");
    }
    if !is_bucket(bucket) {
        return refused("this is no bucket name");
    }
    if key.is_empty() {
        return refused("no key after the bucket");
    }
    if key.starts_with('/') {
        return refused("the key starts with `/`, which Label Studio drops");
    }
    if key.contains('?') {
        return refused("the key holds a `?`, where Label Studio cuts it");
    }
    if key.contains(['\t', '\n', '\r']) {
        return refused("the key holds a tab or a line break, which Label Studio drops");
    }
    Ok(())
}

fn is_s3_bucket(bucket: &str) -> bool {
    bucket.len() <= MAX_S3_BUCKET_BYTES && bucket.bytes().all(is_bucket_byte) || is_access_point(bucket)
}

/// `arn:aws:s3:REGION:ACCOUNT:accesspoint:NAME`, which botocore takes for a bucket. Its other form has a `/`, where the
/// key begins for Label Studio.
fn is_access_point(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", partition, "s3" | "s3-object-lambda", region, account, "accesspoint", name] = parts[..] else {
        return false;
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    partition.starts_with("aws")
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && account.len() == ACCOUNT_DIGITS
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=ACCESS_POINT_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_name)
}

fn is_gs_bucket(bucket: &str) -> bool {
    let has_ends = bucket.starts_with(|c: char| c.is_ascii_alphanumeric())
        && bucket.ends_with(|c: char| c.is_ascii_alphanumeric());
    has_ends && bucket.len() <= MAX_GS_BUCKET_BYTES && bucket.bytes().all(is_bucket_byte)
}

fn is_bucket_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}
