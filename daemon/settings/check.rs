//! From what is written to what is meant: every value checked, every default filled in.
//!
//! Promise: all problems are found in one pass, each with its path, its place and a remedy; no value is guessed.
//! Not here: files (`file`), buckets and directories (`store`), what concerns several projects (`across`).

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::file::{Origin, Raw, RawProject, Table, Value};
use super::keys::did_you_mean;
use super::store::{self, Side};
use super::values::{format_duration, format_size, parse_duration, parse_fraction, parse_size};
use super::{
    BlobUrl, DaemonSettings, Fraction, LogFormat, OnChanged, OnDeleted, OnRemoved, Problem, ProjectSettings, Settings,
    SourceSettings, StoreSettings, TargetSettings, across,
};
use crate::names::{ProjectName, printable};
use crate::sync::pattern::{Pattern, PatternError};

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

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// They stop the daemon.
    pub problems: Vec<Problem>,
    /// They are said and nothing more.
    pub warnings: Vec<Problem>,
    /// Some file has syntax errors: nothing is said to be missing.
    pub incomplete: bool,
}

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
    if raw.source.is_none() && raw.target.is_none() && !section.report.incomplete {
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
    let source = SourceSettings {
        regex,
        exclude,
        recursive: section.flag("recursive", !one_level),
        use_blob_urls: section.flag("use_blob_urls", true),
        data_key: data_key(&mut section),
        create_local_copy,
        blob_url,
        poll_interval: section.interval("poll_interval", DEFAULT_SOURCE_POLL),
        on_removed: section.choice("on_removed", &[("keep", OnRemoved::Keep), ("hide", OnRemoved::Hide)]),
        on_changed: section.choice("on_changed", &[("update", OnChanged::Update), ("keep", OnChanged::Keep)]),
        max_removed: section.fraction("max_removed", DEFAULT_MAX_REMOVED),
        local_copy_max_bytes: section.size("local_copy_max", DEFAULT_LOCAL_COPY_MAX_BYTES),
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
        poll_interval: section.interval("poll_interval", DEFAULT_TARGET_POLL),
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
        "put credentials for the bucket into Label Studio's environment (its task list answers 500 without them), \
         then set `label_studio_has_credentials = true` under `[projects.{name}]`"
    );
    let path = format!("projects.{name}.label_studio_has_credentials");
    report.warnings.push(Problem::new(path, message, remedy));
}

/// One table while it is checked.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    report: &'a mut Report,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: impl Into<String>, table: &'a Table, report: &'a mut Report) -> Self {
        Self { path: path.into(), table, report }
    }

    /// Whether the key is written, usable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// How many problems there are by now.
    pub(super) fn problems(&self) -> usize {
        self.report.problems.len()
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match &self.table.entries.get(key)?.value {
            Value::Text(text) => Some(text),
            Value::Flag(_) | Value::Unusable => None,
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.table.entries.get(key).map(|written| &written.value) {
            Some(Value::Flag(flag)) => *flag,
            Some(Value::Text(_) | Value::Unusable) | None => default,
        }
    }

    /// An absolute path without `.`, `..` and a slash at its end.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let path = Path::new(text);
        let remedy = "write it from the root, as in `/srv/annotations/cats`";
        if text.contains('\0') {
            self.problem(key, "has a NUL byte", remedy);
        } else if !path.is_absolute() {
            self.problem(key, format!("`{}` is no absolute path", printable(text)), remedy);
        } else if path.components().any(|part| part == Component::ParentDir) {
            self.problem(key, format!("`{}` has a `..`", printable(text)), remedy);
        } else {
            return Some(path.components().collect());
        }
        None
    }

    /// A file, from the root or from the directory of the settings file that names it.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() || text.contains('\0') {
            let remedy = "name a file: `/etc/labelsyncd/key.json`, or `key.json` beside this one";
            self.problem(key, format!("`{}` is no path of a file", printable(text)), remedy);
            return None;
        }
        let beside = match self.table.entries.get(key).map(|written| &written.origin) {
            Some(Origin::File { file, .. }) => Path::new(&**file).parent(),
            Some(Origin::Lsctl) | None => None,
        };
        Some(beside.unwrap_or(Path::new("")).join(text))
    }

    fn pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        match Pattern::compile(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let place = self.place(key);
                let message = format!("{error}{place}\n{}", caret(text, &error));
                let remedy = "Python's `re` syntax, matched from the start of the full key; `.*` takes everything";
                self.report.problems.push(Problem::new(self.at(key), message, remedy));
                None
            }
        }
    }

    pub(super) fn choice<T: Copy + Default>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> T {
        let Some(text) = self.text(key) else { return T::default() };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let remedy = match did_you_mean(text, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("one of: {}", names.join(", ")),
        };
        self.problem(key, format!("`{}` is no value of it", printable(text)), remedy);
        T::default()
    }

    fn interval(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some(text) = self.text(key) else { return default };
        let remedy =
            format!("from {} to {}, as in `30s`, `5m`, `1h30m`", format_duration(POLL_MIN), format_duration(POLL_MAX));
        match parse_duration(text) {
            Some(interval) if (POLL_MIN..=POLL_MAX).contains(&interval) => return interval,
            Some(_) => self.problem(key, format!("`{}` is out of range", printable(text)), remedy),
            None => self.problem(key, format!("`{}` is no duration", printable(text)), remedy),
        }
        default
    }

    fn size(&mut self, key: &'static str, default: u64) -> u64 {
        let Some(text) = self.text(key) else { return default };
        let range = LOCAL_COPY_MAX_BYTES_MIN..=LOCAL_COPY_MAX_BYTES_MAX;
        let remedy = format!("from {} to {}, as in `50GiB`", format_size(*range.start()), format_size(*range.end()));
        match parse_size(text) {
            Some(bytes) if range.contains(&bytes) => return bytes,
            Some(_) => self.problem(key, format!("`{}` is out of range", printable(text)), remedy),
            None => self.problem(key, format!("`{}` is no size", printable(text)), remedy),
        }
        default
    }

    fn fraction(&mut self, key: &'static str, default: Fraction) -> Fraction {
        let Some(text) = self.text(key) else { return default };
        if let Some(fraction) = parse_fraction(text) {
            return fraction;
        }
        let message = format!("`{}` is no share of one hundred", printable(text));
        self.problem(key, message, "a whole number from `0%` to `100%`");
        default
    }

    pub(super) fn problem(&mut self, key: &str, message: impl std::fmt::Display, remedy: impl Into<String>) {
        let place = self.place(key);
        self.report.problems.push(Problem::new(self.at(key), format!("{message}{place}"), remedy));
    }

    pub(super) fn warning(&mut self, key: &str, message: impl std::fmt::Display, remedy: impl Into<String>) {
        let place = self.place(key);
        self.report.warnings.push(Problem::new(self.at(key), format!("{message}{place}"), remedy));
    }

    /// A key that must be there is not; said only where every file could be read.
    pub(super) fn missing(&mut self, key: &str, remedy: impl Into<String>) {
        if !self.report.incomplete {
            let place = section_place(self.table);
            self.report.problems.push(Problem::new(self.at(key), format!("is missing{place}"), remedy));
        }
    }

    fn problem_at_section(&mut self, message: &str, remedy: impl Into<String>) {
        let place = section_place(self.table);
        self.report.problems.push(Problem::new(self.path.clone(), format!("{message}{place}"), remedy));
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn place(&self, key: &str) -> String {
        place(self.table.entries.get(key).map(|written| &written.origin))
    }
}

pub(super) fn section_place(table: &Table) -> String {
    place(table.origin.as_ref())
}

fn place(origin: Option<&Origin>) -> String {
    origin.map(|origin| format!(" ({origin})")).unwrap_or_default()
}

/// The pattern with a caret below the place that an error names, cut to what fits on a line.
pub fn caret(pattern: &str, error: &PatternError) -> String {
    /// What is shown on each side of the place.
    const SIDE_CHARS: usize = 30;
    let chars: Vec<char> = pattern.chars().collect();
    let at = error.position.min(chars.len());
    let from = at.saturating_sub(SIDE_CHARS);
    let to = (at + SIDE_CHARS).min(chars.len());
    let shown = |range: &[char]| printable(&range.iter().collect::<String>()).into_owned();
    let (before, after) = (shown(&chars[from..at]), shown(&chars[at..to]));
    let lead = if from > 0 { "…" } else { "" };
    let tail = if to < chars.len() { "…" } else { "" };
    let indent = " ".repeat(lead.chars().count() + before.chars().count());
    format!("    {lead}{before}{after}{tail}\n    {indent}^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_problem_points_to_its_place() {
        let error = |position| PatternError { message: "unbalanced parenthesis".into(), position };
        assert_eq!(caret("a(b", &error(1)), "    a(b\n     ^");
        assert_eq!(caret("é\n(b", &error(2)), "    é\\n(b\n       ^");
        assert_eq!(caret("ab", &error(99)), "    ab\n      ^");
        let long = "x".repeat(100);
        assert_eq!(caret(&long, &error(50)), format!("    …{}…\n{}^", "x".repeat(60), " ".repeat(35)));
    }
}
