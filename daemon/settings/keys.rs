//! Every key of the settings file: its name, its kind, an example.
//!
//! Promise: what is not in these tables is refused; the shipped example file names all of them (`tests/settings.rs`).
//! Not here: what a value may be (`check`), what it means (`Settings`).

/// What a value is in TOML.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Flag,
}

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// A value as one would write it, for remedies.
    pub example: &'static str,
    /// Whether `lsctl` may change it while the daemon runs.
    pub runtime: bool,
}

const fn text(name: &'static str, example: &'static str) -> Key {
    Key { name, kind: Kind::Text, example, runtime: false }
}

const fn flag(name: &'static str) -> Key {
    Key { name, kind: Kind::Flag, example: "true", runtime: false }
}

const fn runtime(key: Key) -> Key {
    Key { runtime: true, ..key }
}

/// `[daemon]`.
pub const DAEMON: &[Key] = &[
    text("socket", "\"/run/labelsyncd/control.sock\""),
    text("state_dir", "\"/var/lib/labelsyncd\""),
    text("log_format", "\"auto\""),
    text("metrics_listen", "\"127.0.0.1:9095\""),
    flag("metrics_allow_remote"),
];

/// `[projects.NAME]`.
pub const PROJECT: &[Key] = &[text("path", "\"/srv/annotations/cats\""), flag("label_studio_has_credentials")];

/// `[projects.NAME.source]`, in the order of the documentation.
pub const SOURCE: &[Key] = &[
    text("type", "\"s3\""),
    text("bucket", "\"my-s3-bucket\""),
    text("path", "\"/data/in\""),
    runtime(text("prefix", "\"incoming/\"")),
    runtime(text("regex", "'.*'")),
    runtime(text("exclude", "'\\.tmp$'")),
    runtime(flag("recursive")),
    runtime(flag("use_blob_urls")),
    runtime(text("data_key", "\"image\"")),
    runtime(flag("create_local_copy")),
    text("blob_url", "\"cloud\""),
    runtime(text("poll_interval", "\"30s\"")),
    text("poll_interval_idle", "\"10m\""),
    runtime(text("on_removed", "\"keep\"")),
    runtime(text("on_changed", "\"update\"")),
    text("region", "\"us-east-2\""),
    text("endpoint", "\"https://storage.example.org\""),
    flag("allow_http"),
    text("profile", "\"labeling\""),
    flag("path_style"),
    text("expected_bucket_owner", "\"111122223333\""),
    text("credentials_file", "\"key.json\""),
    flag("anonymous"),
    text("max_removed", "\"50%\""),
    text("max_changed", "\"50%\""),
    text("local_copy_max", "\"50GiB\""),
];

/// `[projects.NAME.target]`, in the order of the documentation.
pub const TARGET: &[Key] = &[
    text("type", "\"s3-completions\""),
    text("bucket", "\"my-results\""),
    text("path", "\"/data/out\""),
    runtime(text("prefix", "\"done\"")),
    runtime(flag("create_local_copy")),
    runtime(text("on_deleted", "\"keep\"")),
    text("poll_interval", "\"5m\""),
    text("region", "\"us-east-2\""),
    text("endpoint", "\"https://storage.example.org\""),
    flag("allow_http"),
    text("profile", "\"labeling\""),
    flag("path_style"),
    text("expected_bucket_owner", "\"111122223333\""),
    text("credentials_file", "\"key.json\""),
    flag("anonymous"),
];

/// Whether a key's name says that its value is a credential.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let parts = ["secret", "password", "passwd", "token", "access_key", "account_key", "api_key", "connection_string"];
    parts.iter().any(|part| name.contains(part)) || name == "credentials" || name == "private_key"
}

/// The key of `known` that was probably meant by `written`.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Names are short; a longer one is no slip of the finger.
    const WRITTEN_BYTES_MAX: usize = 64;
    let plain = written.to_ascii_lowercase().replace('-', "_");
    if plain.len() > WRITTEN_BYTES_MAX || plain.is_empty() {
        return None;
    }
    let near = |name: &str| {
        let name = name.replace('-', "_");
        let contains = plain.len() >= 4 && (name.contains(&plain) || (name.len() >= 4 && plain.contains(&name)));
        let distance = edits(&plain, &name);
        match (distance, contains) {
            (0, _) => Some(0),
            (d, _) if d <= (plain.chars().count() / 3).clamp(1, 3) => Some(d),
            (_, true) => Some(4),
            (_, false) => None,
        }
    };
    known.into_iter().filter_map(|name| near(name).map(|d| (d, name))).min().map(|(_, name)| name)
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour to come from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_named() {
        let source = || SOURCE.iter().map(|key| key.name);
        for (written, meant) in [
            ("regexp", "regex"),
            ("prefx", "prefix"),
            ("pre-fix", "prefix"),
            ("use_blob_url", "use_blob_urls"),
            ("interval", "poll_interval"),
            ("bukcet", "bucket"),
            ("Region", "region"),
            ("endpoint_url", "endpoint"),
        ] {
            assert_eq!(did_you_mean(written, source()), Some(meant), "{written}");
        }
        for none in ["", "zzz", "completely_different", "x"] {
            assert_eq!(did_you_mean(none, source()), None, "{none}");
        }
    }

    #[test]
    fn l78_keys_that_hold_secrets_are_known_by_name() {
        for secret in ["aws_access_key_id", "aws_secret_access_key", "aws-session-token", "Password", "account_key"] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in SOURCE.iter().chain(TARGET).chain(PROJECT).chain(DAEMON) {
            assert!(!is_secret(plain.name), "{}", plain.name);
        }
    }
}
