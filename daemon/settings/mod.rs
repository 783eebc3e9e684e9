//! What the operator may set: read, merged, checked once.
//!
//! Promise: a [`Settings`] value is complete and valid; nothing after it asks whether something is set.
//! Not here: what a setting causes.

pub mod across;
pub mod atomic;
pub mod check;
pub mod file;
pub mod keys;
pub mod load;
pub mod overrides;
pub mod patch;
pub mod section;
pub mod show;
pub mod store;
pub mod values;

pub use load::{Loaded, load, load_texts};

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::ProjectName;
use crate::sync::pattern::Pattern;

/// Everything, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// `[daemon]`.
    pub daemon: DaemonSettings,
    /// `[projects.NAME]`.
    pub projects: BTreeMap<ProjectName, ProjectSettings>,
}

/// `[daemon]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonSettings {
    /// The control socket.
    pub socket: PathBuf,
    /// Where ledgers, runtime changes and losers of conflicts are kept.
    pub state_dir: PathBuf,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Where Prometheus may ask for `/metrics`; `None`: nowhere but on the control socket.
    pub metrics_listen: Option<SocketAddr>,
}

/// `log_format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// journald where stderr is the journal, text on a terminal, JSON lines elsewhere.
    #[default]
    Auto,
    /// Text lines.
    Text,
    /// JSON lines.
    Json,
    /// The journal's native protocol.
    Journald,
}

/// `[projects.NAME]`.
#[derive(Clone, PartialEq, Debug)]
pub struct ProjectSettings {
    /// The project's name.
    pub name: ProjectName,
    /// The Label Studio project directory, absolute.
    pub path: PathBuf,
    /// Blobs to tasks; `None`: that direction is off.
    pub source: Option<SourceSettings>,
    /// Completions to and from the bucket; `None`: that direction is off.
    pub target: Option<TargetSettings>,
    /// The operator says that Label Studio's own environment can read the bucket.
    pub label_studio_has_credentials: bool,
}

/// `[projects.NAME.source]`, with runtime changes applied.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceSettings {
    /// Which bucket.
    pub store: StoreSettings,
    /// As Label Studio's: for S3 one directory, for GCS a plain string. Default `""`.
    pub prefix: String,
    /// `re.match` on the full key; `None` (also written `""`) selects nothing, as in Label Studio.
    pub regex: Option<Pattern>,
    /// `re.search` on the full key: what it finds is left out.
    pub exclude: Option<Pattern>,
    /// All levels below the prefix; default false for S3 with a prefix, true otherwise.
    pub recursive: bool,
    /// Tasks hold the blob's URL (default), or the object is a JSON task.
    pub use_blob_urls: bool,
    /// The task's data key for URLs; `None`: the label config's first.
    pub data_key: Option<String>,
    /// Keep a local copy of each object under `source/`.
    pub create_local_copy: bool,
    /// Whether tasks point to the bucket or to the copy as Label Studio serves it.
    pub blob_url: BlobUrl,
    /// A listing begins this often; see [`crate::sync::pace::next_poll`].
    pub poll_interval: Duration,
    /// As seldom as this while nothing changes, see [`crate::sync::pace::idle_poll`]; not longer than `poll_interval`: off.
    pub poll_interval_idle: Duration,
    /// What happens to the task of an object that is gone.
    pub on_removed: OnRemoved,
    /// What happens to the task of an object that has changed.
    pub on_changed: OnChanged,
    /// More than this vanished at once is held.
    pub max_removed: Fraction,
    /// More than this changed at once is held.
    pub max_changed: Fraction,
    /// The size that local copies may have in all, bytes.
    pub local_copy_max_bytes: u64,
}

impl StoreSettings {
    /// What Label Studio's own environment needs to resolve URLs of this bucket (0.8.2's `uri_resolver`): boto3 takes another
    /// endpoint than Amazon's from its environment only, since 1.28.
    pub fn label_studio_environment(&self) -> String {
        match self {
            Self::S3(S3Settings { endpoint: Some(endpoint), .. }) => format!(
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, S3_REGION and AWS_ENDPOINT_URL_S3={endpoint} (without it, it asks \
                 Amazon's; boto3 1.28 or newer reads it)"
            ),
            Self::S3(_) => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and S3_REGION".to_owned(),
            Self::Gcs(_) | Self::Local { .. } => {
                "GOOGLE_APPLICATION_CREDENTIALS with a service account's key file (URLs are signed with it)".to_owned()
            }
        }
    }
}

impl SourceSettings {
    /// Whether tasks hold URLs that Label Studio itself must resolve with credentials of its own.
    pub fn has_cloud_urls(&self) -> bool {
        self.use_blob_urls && self.blob_url == BlobUrl::Cloud && self.store.is_cloud()
    }
}

/// `[projects.NAME.target]`, with runtime changes applied.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetSettings {
    /// Which bucket.
    pub store: StoreSettings,
    /// Completions stand at `prefix/<id>`, or `<id>` without a prefix; no slash at its end.
    pub prefix: String,
    /// Bring completions found in the target into `completions/`. Default true.
    pub create_local_copy: bool,
    /// What happens to the object when the local completions are deleted.
    pub on_deleted: OnDeleted,
    /// A listing of the target begins this often.
    pub poll_interval: Duration,
}

/// Which bucket or directory, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreSettings {
    /// `s3`, `s3-completions`.
    S3(S3Settings),
    /// `gcs`, `gcs-completions`.
    Gcs(GcsSettings),
    /// `local`: a directory.
    Local {
        /// Absolute.
        path: PathBuf,
    },
}

impl StoreSettings {
    /// `s3`, `gcs`, `local`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Local { .. } => "local",
        }
    }

    /// The root as it stands in URLs: `s3://bucket`, `gs://bucket`, `file:///dir`.
    pub fn root(&self) -> String {
        match self {
            Self::S3(s3) => format!("s3://{}", s3.bucket),
            Self::Gcs(gcs) => format!("gs://{}", gcs.bucket),
            Self::Local { path } => format!("file://{}", path.display()),
        }
    }

    /// Which it is, by whatever path a directory is named: its root, with links resolved.
    pub fn place(&self) -> String {
        match self {
            Self::Local { path } => format!("file://{}", resolved(path).display()),
            Self::S3(_) | Self::Gcs(_) => self.root(),
        }
    }

    /// Whether it is a bucket, with `s3://` or `gs://` URLs.
    pub fn is_cloud(&self) -> bool {
        match self {
            Self::S3(_) | Self::Gcs(_) => true,
            Self::Local { .. } => false,
        }
    }
}

/// The path without links; as it is, where it is not there.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// How an S3 bucket is reached. What is `None` comes from the provider chain (environment, profile).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// Region; default: environment, profile, then us-east-1.
    pub region: Option<String>,
    /// Custom endpoint, `http://` only with `allow_http` (checked).
    pub endpoint: Option<String>,
    /// Profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// `endpoint/bucket/key`; default true for custom endpoints.
    pub path_style: bool,
    /// The AWS account that the bucket must belong to, twelve digits.
    pub expected_bucket_owner: Option<String>,
}

/// How a GCS bucket is reached. Without a file, credentials are Google's application default credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GcsSettings {
    /// The bucket's name.
    pub bucket: String,
    /// Custom endpoint, `http://` only with `allow_http` (checked).
    pub endpoint: Option<String>,
    /// A key or another description of credentials as Google gives it, JSON.
    pub credentials_file: Option<PathBuf>,
    /// Requests carry no credentials, also where some are found: public buckets, emulators.
    pub anonymous: bool,
}

/// `blob_url`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobUrl {
    /// `s3://bucket/key`.
    #[default]
    Cloud,
    /// The local copy as Label Studio serves it with `allow_serving_local_files`.
    Local,
}

/// `on_removed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRemoved {
    /// The task stays.
    #[default]
    Keep,
    /// The task leaves `tasks.json`; its id stays taken.
    Hide,
}

/// `on_changed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChanged {
    /// The task's data follow the object, under the same id.
    #[default]
    Update,
    /// The task stays as it was.
    Keep,
}

/// `on_deleted`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDeleted {
    /// The object stays.
    #[default]
    Keep,
    /// The object is deleted if it is still the one that was pushed.
    Delete,
}

/// A share of one hundred, 0 to 100 (`"50%"`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fraction {
    /// 0 to 100.
    pub percent: u8,
}

/// What `lsctl set-source` may change; `None`: not named. Also the stored form of runtime changes.
/// An empty string resets an optional value to "none" (`regex`, `exclude`, `data_key`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each has the meaning of its namesake in `SourceSettings`")]
pub struct SourcePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_local_copy: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_blob_urls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// As in the file: `"30s"`, `"5m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_removed: Option<OnRemoved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_changed: Option<OnChanged>,
}

/// What `lsctl set-target` may change; `None`: not named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each has the meaning of its namesake in `TargetSettings`")]
pub struct TargetPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_local_copy: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_deleted: Option<OnDeleted>,
}

/// The runtime changes of one project, as they are kept in the state directory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// `lsctl pause`.
    pub paused: bool,
    /// `lsctl set-source`.
    pub source: SourcePatch,
    /// `lsctl set-target`.
    pub target: TargetPatch,
}

/// One thing wrong with the settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `projects.cats.source.regex`, or a file and line.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A problem with its path and remedy.
    pub fn new(path: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), remedy: remedy.into() }
    }
}

/// `1 problem`, `3 problems`.
pub fn count(problems: &[Problem]) -> String {
    crate::names::counted(problems.len() as u64, "problem")
}

/// Two lines or more: `path: message`, then the remedy.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  hint: {}", self.remedy)?;
        }
        Ok(())
    }
}
