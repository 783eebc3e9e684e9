//! From what is written to what is meant: every value checked, every default filled in.
//!
//! Promise: all problems are found in one pass, each with its path, its place and a remedy; no value is guessed.
//! Not here: files (`file`), buckets and directories (`store`), what concerns several projects (`across`).

use std::net::SocketAddr;
use std::time::Duration;

use super::file::{Raw, RawProject, Table};
use super::section::{Report, Section};
use super::store::{self, Side};
use super::{
    BlobUrl, DaemonSettings, Fraction, LogFormat, OnChanged, OnDeleted, OnRemoved, Problem, ProjectSettings, Settings,
    SourceSettings, StoreSettings, TargetSettings, across,
};
use crate::names::{ProjectName, printable};

/// Default of `daemon.socket`.
pub const DEFAULT_SOCKET: &str = "/run/labelsyncd/control.sock";
/// Default of `daemon.state_dir`.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/labelsyncd";
/// Default of a source's `poll_interval`.
pub const DEFAULT_SOURCE_POLL: Duration = Duration::from_secs(30);
/// Default of a target's `poll_interval`.
pub const DEFAULT_TARGET_POLL: Duration = Duration::from_secs(300);
/// Shorter asks the store without end; every listing costs money.
pub const POLL_MIN: Duration = Duration::from_secs(1);
/// Longer and nobody would notice that it stands still.
pub const POLL_MAX: Duration = Duration::from_secs(86_400);
/// Default of `max_removed`.
pub const DEFAULT_MAX_REMOVED: Fraction = Fraction { percent: 50 };
/// Default of `max_changed`.
pub const DEFAULT_MAX_CHANGED: Fraction = Fraction { percent: 50 };
/// Default of `local_copy_max`.
pub const DEFAULT_LOCAL_COPY_MAX_BYTES: u64 = 50 << 30;
/// Less holds no picture.
pub const LOCAL_COPY_MAX_BYTES_MIN: u64 = 1 << 20;
/// A pebibyte: more is a slip of the finger.
pub const LOCAL_COPY_MAX_BYTES_MAX: u64 = 1 << 50;
/// Keys have at most 1024 bytes (S3 and GCS).
pub const KEY_BYTES_MAX: usize = 1_024;
/// A slash and the longest task id stand after a target's prefix.
pub const TARGET_PREFIX_BYTES_MAX: usize = KEY_BYTES_MAX - 20;
/// A data key is a name in a label config.
pub const DATA_KEY_BYTES_MAX: usize = 256;

/// Checks everything; `None` goes with at least one problem.
pub fn check(raw: &Raw, report: &mut Report) -> Option<Settings> {
    report.incomplete |= raw.incomplete;
    let before = report.problems.len();
    let daemon = daemon(&raw.daemon, report);
    let projects =
        raw.projects.iter().filter_map(|(name, project)| Some((name.clone(), self::project(name, project, report)?)));
    let settings = Settings { daemon, projects: projects.collect() };
    across::check(&settings, raw, report);
    if raw.projects.is_empty() && !report.incomplete {
        let remedy = "make one with `labelsyncd init NAME --source s3 --source-path BUCKET`";
        report.warnings.push(Problem::new("projects", "there is no project: nothing is to be done", remedy));
    }
    (report.problems.len() == before && !report.incomplete).then_some(settings)
}

fn daemon(table: &Table, report: &mut Report) -> DaemonSettings {
    let mut section = Section::new("daemon", table, report);
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    let daemon = DaemonSettings {
        socket: section.path("socket").unwrap_or_else(|| DEFAULT_SOCKET.into()),
        state_dir: section.path("state_dir").unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
        log_format: section.choice("log_format", &formats),
        metrics_listen: metrics_listen(&mut section),
    };
    let socket_bytes = daemon.socket.as_os_str().len();
    if socket_bytes > SOCKET_BYTES_MAX {
        let message = format!("has {socket_bytes} bytes; the kernel takes {SOCKET_BYTES_MAX} at most");
        section.problem("socket", message, "choose a shorter path");
    }
    daemon
}

/// An address that others reach too must be meant: the metrics tell names of projects and how much is going on.
fn metrics_listen(section: &mut Section<'_>) -> Option<SocketAddr> {
    let allowed = section.flag("metrics_allow_remote", false);
    let text = section.text("metrics_listen")?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format!("`{}` is no address with a port", printable(text));
        section.problem("metrics_listen", message, "write it as \"127.0.0.1:9095\" or \"[::1]:9095\"");
        return None;
    };
    if !address.ip().is_loopback() && !allowed {
        let message = format!("{address} can be reached from elsewhere: metrics go to everybody who can reach it");
        let remedy = "use \"127.0.0.1:PORT\", or say `metrics_allow_remote = true`";
        section.problem("metrics_listen", message, remedy);
        return None;
    }
    Some(address)
}

/// `sockaddr_un` has 108 bytes, one of them the end.
const SOCKET_BYTES_MAX: usize = 107;

/// Checked as far as it goes, so that projects can be compared: with a problem, the whole is refused by [`check`].
fn project(name: &ProjectName, raw: &RawProject, report: &mut Report) -> Option<ProjectSettings> {
    let mut section = Section::new(format!("projects.{name}"), &raw.own, report);
    let path = section.path("path");
    if !section.has("path") {
        section.missing("path", "name the Label Studio project directory: `path = \"/srv/annotations/cats\"`");
    }
    let label_studio_has_credentials = section.flag("label_studio_has_credentials", false);
    if raw.source.is_none() && raw.target.is_none() && !section.is_incomplete() {
        let message = "has neither a source nor a target: nothing is to be done";
        let remedy = format!("add `[projects.{name}.source]`, `[projects.{name}.target]` or both");
        section.problem_at_section(message, remedy);
    }
    let source = raw.source.as_ref().map(|table| source(name, table, report));
    let target = raw.target.as_ref().map(|table| target(name, table, report));
    let source = source.flatten();
    if let Some(source) = &source {
        warn_of_label_studio(name, source, label_studio_has_credentials, report);
    }
    Some(ProjectSettings {
        name: name.clone(),
        path: path?,
        source,
        target: target.flatten(),
        label_studio_has_credentials,
    })
}

fn source(name: &ProjectName, table: &Table, report: &mut Report) -> Option<SourceSettings> {
    let mut section = Section::new(format!("projects.{name}.source"), table, report);
    let store = store::check(&mut section, Side::Source);
    let prefix = prefix(&mut section, store.as_ref(), KEY_BYTES_MAX);
    let regex = section.pattern("regex");
    let exclude = section.pattern("exclude");
    let one_level = matches!(store, Some(StoreSettings::S3(_))) && !prefix.is_empty();
    let create_local_copy = section.flag("create_local_copy", false);
    let blob_url = section.choice("blob_url", &[("cloud", BlobUrl::Cloud), ("local", BlobUrl::Local)]);
    if blob_url == BlobUrl::Local && !create_local_copy {
        let message = "`local` points tasks to copies, and there are none";
        section.problem("blob_url", message, "add `create_local_copy = true`, or leave `blob_url` out");
    }
    let poll_interval = section.interval("poll_interval", DEFAULT_SOURCE_POLL, POLL_MIN..=POLL_MAX);
    let source = SourceSettings {
        regex,
        exclude,
        recursive: section.flag("recursive", !one_level),
        use_blob_urls: section.flag("use_blob_urls", true),
        data_key: data_key(&mut section),
        create_local_copy,
        blob_url,
        poll_interval,
        poll_interval_idle: section.interval("poll_interval_idle", poll_interval, POLL_MIN..=POLL_MAX),
        on_removed: section.choice("on_removed", &[("keep", OnRemoved::Keep), ("hide", OnRemoved::Hide)]),
        on_changed: section.choice("on_changed", &[("update", OnChanged::Update), ("keep", OnChanged::Keep)]),
        max_removed: section.fraction("max_removed", DEFAULT_MAX_REMOVED),
        max_changed: section.fraction("max_changed", DEFAULT_MAX_CHANGED),
        local_copy_max_bytes: section.size(
            "local_copy_max",
            DEFAULT_LOCAL_COPY_MAX_BYTES,
            LOCAL_COPY_MAX_BYTES_MIN..=LOCAL_COPY_MAX_BYTES_MAX,
        ),
        prefix,
        store: store?,
    };
    Some(source)
}

fn target(name: &ProjectName, table: &Table, report: &mut Report) -> Option<TargetSettings> {
    let mut section = Section::new(format!("projects.{name}.target"), table, report);
    let store = store::check(&mut section, Side::Target);
    // `out/` means `out`: Label Studio writes `out//7` there and never finds it again (its defect D11).
    let prefix = prefix(&mut section, store.as_ref(), TARGET_PREFIX_BYTES_MAX).trim_end_matches('/').to_owned();
    let target = TargetSettings {
        prefix,
        create_local_copy: section.flag("create_local_copy", true),
        on_deleted: section.choice("on_deleted", &[("keep", OnDeleted::Keep), ("delete", OnDeleted::Delete)]),
        poll_interval: section.interval("poll_interval", DEFAULT_TARGET_POLL, POLL_MIN..=POLL_MAX),
        store: store?,
    };
    Some(target)
}

fn prefix(section: &mut Section<'_>, store: Option<&StoreSettings>, bytes_max: usize) -> String {
    let Some(prefix) = section.text("prefix") else { return String::new() };
    if prefix.len() > bytes_max {
        let message = format!("has {} bytes; {bytes_max} is the most that a key has room for", prefix.len());
        section.problem("prefix", message, "choose a shorter prefix");
    }
    if prefix.starts_with("s3://") || prefix.starts_with("gs://") {
        section.problem(
            "prefix",
            "is a URL",
            "a prefix begins after the bucket: `incoming/`, not `s3://bucket/incoming/`",
        );
    }
    let levels: Vec<&str> = prefix.strip_suffix('/').unwrap_or(prefix).split('/').collect();
    let in_directory = matches!(store, Some(StoreSettings::Local { .. })) && !prefix.is_empty();
    if in_directory && levels.iter().any(|level| matches!(*level, "" | "." | "..") || level.contains('\0')) {
        let message = format!("`{}` is no path below a directory", printable(prefix));
        section.problem("prefix", message, "write it as `incoming/` or `a/b`, without `..`, `.` or empty parts");
    }
    prefix.to_owned()
}

fn data_key(section: &mut Section<'_>) -> Option<String> {
    let key = section.text("data_key").filter(|key| !key.is_empty())?;
    if key.len() > DATA_KEY_BYTES_MAX {
        section.problem("data_key", format!("has {} bytes", key.len()), "name a data key of the label config");
    }
    if key.contains('$') {
        let message = format!("`{}` has a `$`, which no data key has", printable(key));
        let remedy = "a label config says `value=\"$image\"`, its data key is `image`";
        section.warning("data_key", message, remedy);
    }
    Some(key.to_owned())
}

/// With `s3://` and `gs://` URLs in tasks, Label Studio itself asks the bucket (its task list is a 500 without credentials).
fn warn_of_label_studio(name: &ProjectName, source: &SourceSettings, has_credentials: bool, report: &mut Report) {
    if !source.has_cloud_urls() || has_credentials {
        return;
    }
    let message =
        format!("tasks will hold {}/… URLs, which Label Studio itself must be able to read", source.store.root());
    let remedy = format!(
        "put {} into Label Studio's environment (its task list answers 500 without credentials), then set \
         `label_studio_has_credentials = true` under `[projects.{name}]`",
        source.store.label_studio_environment()
    );
    let path = format!("projects.{name}.label_studio_has_credentials");
    report.warnings.push(Problem::new(path, message, remedy));
}
