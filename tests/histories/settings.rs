//! What a history begins with.
//!
//! Not here: what the operator makes of it (`world`).

use std::time::Duration;

use labelsync::settings::{
    BlobUrl, Fraction, OnChanged, OnDeleted, OnRemoved, S3Settings, SourceSettings, StoreSettings, TargetSettings,
};
use labelsync::sync::pattern::Pattern;

pub fn source_settings(blobs: bool) -> SourceSettings {
    SourceSettings {
        store: StoreSettings::S3(S3Settings { bucket: "src".to_owned(), ..S3Settings::default() }),
        prefix: String::new(),
        regex: Some(Pattern::compile(".*").unwrap()),
        exclude: None,
        recursive: true,
        use_blob_urls: blobs,
        data_key: None,
        create_local_copy: false,
        blob_url: BlobUrl::Cloud,
        poll_interval: Duration::from_secs(30),
        poll_interval_idle: Duration::from_secs(30),
        on_removed: OnRemoved::Keep,
        on_changed: OnChanged::Update,
        max_removed: Fraction { percent: 50 },
        max_changed: Fraction { percent: 50 },
        local_copy_max_bytes: 0,
    }
}

pub fn target_settings() -> TargetSettings {
    TargetSettings {
        store: StoreSettings::S3(S3Settings { bucket: "dst".to_owned(), ..S3Settings::default() }),
        prefix: "done".to_owned(),
        create_local_copy: true,
        on_deleted: OnDeleted::Keep,
        poll_interval: Duration::from_secs(300),
    }
}
