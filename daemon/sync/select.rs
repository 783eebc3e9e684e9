//! Which objects a source takes, and why it leaves the others.
//!
//! Promise: the same key and policy, the same answer; every key left out has a stable reason.
//! Not here: listing, tasks.

use super::pattern::Pattern;
use crate::names::Key;
use crate::store::ListRequest;

/// Why an object is left out. The codes are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// No regex is set: nothing is taken (Label Studio's default).
    NoRegex,
    /// `regex` does not match.
    Regex,
    /// `exclude` matches.
    Exclude,
    /// A pattern with look-around or back references took too many steps on this key.
    RegexLimit,
    /// An empty object whose key ends in `/` (contract C13).
    DirectoryMarker,
    /// It is some project's target object: taking it would feed completions back as tasks.
    OwnTarget,
    /// Label Studio could not resolve the URL in a browser (contract C13: `?`, leading `/`, tab, newline).
    UnresolvableUrl,
    /// Somebody imported a task of the same URL by hand.
    Duplicate,
    /// The object cannot become a task; see `lsctl list --state quarantined`.
    Quarantined,
}

impl Skip {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRegex => "no_regex",
            Self::Regex => "regex",
            Self::Exclude => "exclude",
            Self::RegexLimit => "regex_limit",
            Self::DirectoryMarker => "directory_marker",
            Self::OwnTarget => "own_target",
            Self::UnresolvableUrl => "unresolvable_url",
            Self::Duplicate => "duplicate",
            Self::Quarantined => "quarantined",
        }
    }

    /// Why, and what to do where the object was meant to be taken.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::NoRegex => "no regex is set: set one, `.*` takes everything",
            Self::Regex => "the regex does not match from the start of the full key",
            Self::Exclude => "`exclude` finds something in the key",
            Self::RegexLimit => "regex or `exclude` takes too many steps on this key: make the pattern simpler",
            Self::DirectoryMarker => "an empty object that stands for a directory",
            Self::OwnTarget => "it stands where a target has its completions",
            Self::UnresolvableUrl => {
                "Label Studio cannot fetch a URL with this key (`?`, line break, leading `/`): rename it"
            }
            Self::Duplicate => "a task with the same URL was imported by hand",
            Self::Quarantined => "it cannot become a task: see `--state quarantined`",
        }
    }
}

/// The part of a bucket that a prefix names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// What is asked of the store.
    pub request: ListRequest,
    /// A key that stands for the prefix itself and is no object, whatever it holds.
    pub marker: Option<Key>,
}

impl Scope {
    /// S3 and directories: the prefix names a directory (`in`, `in/` and `in//` are one), as Label Studio's S3 storage takes it.
    pub fn directory(prefix: &str, recursive: bool) -> Self {
        if prefix.is_empty() {
            return Self { request: ListRequest { prefix: String::new(), one_level: false }, marker: None };
        }
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        Self { request: ListRequest { prefix, one_level: !recursive }, marker: None }
    }

    /// GCS: the prefix is a plain string (`in` takes `in/1.jpg` and `inbox.jpg`), as Label Studio's GCS storage takes
    /// it; only the key of the directory itself is left out.
    pub fn plain(prefix: &str, recursive: bool) -> Self {
        let marker = Key::new(format!("{}/", prefix.trim_end_matches('/')));
        Self { request: ListRequest { prefix: prefix.to_owned(), one_level: !recursive }, marker: Some(marker) }
    }

    /// Whether a listing of this scope would show the key.
    pub fn covers(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(&self.request.prefix) else { return false };
        !self.request.one_level || !rest.contains('/')
    }
}

/// The keys of some project's target in the same bucket: `{prefix}/{int}`, or `{int}` without prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnTarget {
    /// `done/`, or empty.
    pub prefix: String,
}

impl OwnTarget {
    fn holds(&self, key: &str) -> bool {
        let name = key.strip_prefix(&self.prefix);
        name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// What is taken.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The listed part of the bucket.
    pub scope: Scope,
    /// `re.match`; `None` takes nothing.
    pub regex: Option<Pattern>,
    /// `re.search`.
    pub exclude: Option<Pattern>,
    /// Target prefixes in the same bucket, of all projects, before and after a change.
    pub own_targets: Vec<OwnTarget>,
    /// Tasks hold cloud URLs that Label Studio must resolve.
    pub cloud_urls: bool,
}

/// The root folder of labelsync's own marks in a bucket.
pub const MARKS_PREFIX: &str = ".labelsync/";

impl Selection {
    /// Whether an object is taken. `size_bytes`: `None` where only the key is known.
    pub fn judge(&self, key: &str, size_bytes: Option<u64>) -> Result<(), Skip> {
        if self.own_targets.iter().any(|target| target.holds(key)) || is_mark(key) {
            return Err(Skip::OwnTarget);
        }
        if self.scope.marker.as_ref().is_some_and(|marker| marker.as_str() == key) {
            return Err(Skip::DirectoryMarker);
        }
        if key.ends_with('/') && size_bytes.unwrap_or(0) == 0 {
            return Err(Skip::DirectoryMarker);
        }
        let regex = self.regex.as_ref().ok_or(Skip::NoRegex)?;
        if !regex.is_match(key).map_err(|_| Skip::RegexLimit)? {
            return Err(Skip::Regex);
        }
        if let Some(exclude) = &self.exclude
            && exclude.is_found(key).map_err(|_| Skip::RegexLimit)?
        {
            return Err(Skip::Exclude);
        }
        if self.cloud_urls && !is_resolvable(key) {
            return Err(Skip::UnresolvableUrl);
        }
        Ok(())
    }
}

/// The mark of a target may stand below a source that is a directory (promise 10).
fn is_mark(key: &str) -> bool {
    key.starts_with(MARKS_PREFIX) || key.contains("/.labelsync/owner/")
}

/// Label Studio 0.8 cuts a URL at `?`, strips a leading `/` and drops tabs and newlines (0.8.md, section 7).
fn is_resolvable(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('/') && !key.contains(['?', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of 0.8.md, section 3.
    const KEYS: [&str; 13] = [
        "/lead.jpg",
        "a",
        "a/",
        "a//6.jpg",
        "a/1.jpg",
        "a/2.json",
        "a/b/",
        "a/b/3.jpg",
        "a/b/c/4.jpg",
        "ab/5.jpg",
        "b.jpg",
        "dir/",
        "z.jpg",
    ];

    fn selected(scope: Scope) -> Vec<&'static str> {
        let regex = Pattern::compile(".*").expect("a pattern");
        let selection =
            Selection { scope, regex: Some(regex), exclude: None, own_targets: Vec::new(), cloud_urls: false };
        let taken = |key: &str| {
            // None is empty: that markers are left out is another rule (C13).
            selection.scope.covers(key) && selection.judge(key, Some(1)).is_ok()
        };
        KEYS.into_iter().filter(|key| taken(key)).collect()
    }

    #[test]
    fn c25_a_gcs_prefix_is_a_plain_string() {
        let below_a = ["a//6.jpg", "a/1.jpg", "a/2.json", "a/b/", "a/b/3.jpg", "a/b/c/4.jpg"];
        let all_a = [&["a"][..], &below_a, &["ab/5.jpg"]].concat();
        for (prefix, expected) in [
            ("", &KEYS[..]),
            ("a", &all_a),
            ("a/", &below_a),
            ("a/b", &["a/b/3.jpg", "a/b/c/4.jpg"]),
            ("a/b/", &["a/b/3.jpg", "a/b/c/4.jpg"]),
            ("a//", &["a//6.jpg"]),
            ("/", &["/lead.jpg"]),
            ("a/1", &["a/1.jpg"]),
            ("z.jpg", &["z.jpg"]),
            ("dir", &[]),
        ] {
            assert_eq!(selected(Scope::plain(prefix, true)), expected, "{prefix:?}");
        }
        assert_eq!(selected(Scope::plain("a", false)), ["a"]);
        assert_eq!(selected(Scope::plain("a/", false)), ["a/1.jpg", "a/2.json"]);
    }

    #[test]
    fn c25_an_s3_prefix_is_one_directory() {
        for (prefix, expected) in [
            ("", &KEYS[..]),
            ("a", &["a/", "a/1.jpg", "a/2.json"]),
            ("a//", &["a/", "a/1.jpg", "a/2.json"]),
            ("a/b", &["a/b/", "a/b/3.jpg"]),
            ("/", &["/lead.jpg"]),
            ("a/1", &[]),
            ("dir", &["dir/"]),
        ] {
            assert_eq!(selected(Scope::directory(prefix, false)), expected, "{prefix:?}");
        }
    }
}
