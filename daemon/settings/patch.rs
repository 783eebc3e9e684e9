//! Runtime changes: what `lsctl` laid over the file, merged and taken back key by key.
//!
//! Promise: a later change wins key by key; `reset` names exactly the keys that can be set.
//! Not here: whether a value is valid (`check`, over the file and the change together).

use serde::Serialize;

use super::file::{Origin, RawProject, Table, Value, Written};
use super::keys::{self, Key, did_you_mean};
use super::{Overrides, Problem, SourcePatch, TargetPatch};
use crate::names::{ProjectName, printable};

impl SourcePatch {
    /// This change and then `newer`: what `newer` names wins.
    pub fn merge(self, newer: Self) -> Self {
        Self {
            prefix: newer.prefix.or(self.prefix),
            regex: newer.regex.or(self.regex),
            exclude: newer.exclude.or(self.exclude),
            create_local_copy: newer.create_local_copy.or(self.create_local_copy),
            use_blob_urls: newer.use_blob_urls.or(self.use_blob_urls),
            data_key: newer.data_key.or(self.data_key),
            recursive: newer.recursive.or(self.recursive),
            poll_interval: newer.poll_interval.or(self.poll_interval),
            on_removed: newer.on_removed.or(self.on_removed),
            on_changed: newer.on_changed.or(self.on_changed),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its keys and values, as they would stand in the file.
    fn entries(&self) -> Vec<(&'static str, Value)> {
        let entries = [
            ("prefix", text(&self.prefix)),
            ("regex", text(&self.regex)),
            ("exclude", text(&self.exclude)),
            ("create_local_copy", self.create_local_copy.map(Value::Flag)),
            ("use_blob_urls", self.use_blob_urls.map(Value::Flag)),
            ("data_key", text(&self.data_key)),
            ("recursive", self.recursive.map(Value::Flag)),
            ("poll_interval", text(&self.poll_interval)),
            ("on_removed", self.on_removed.map(|v| Value::Text(word(v)))),
            ("on_changed", self.on_changed.map(|v| Value::Text(word(v)))),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn clear(&mut self, key: &str) {
        match key {
            "prefix" => self.prefix = None,
            "regex" => self.regex = None,
            "exclude" => self.exclude = None,
            "create_local_copy" => self.create_local_copy = None,
            "use_blob_urls" => self.use_blob_urls = None,
            "data_key" => self.data_key = None,
            "recursive" => self.recursive = None,
            "poll_interval" => self.poll_interval = None,
            "on_removed" => self.on_removed = None,
            "on_changed" => self.on_changed = None,
            other => unreachable!("`{other}` is no runtime key of a source"),
        }
    }
}

impl TargetPatch {
    /// This change and then `newer`: what `newer` names wins.
    pub fn merge(self, newer: Self) -> Self {
        Self {
            prefix: newer.prefix.or(self.prefix),
            create_local_copy: newer.create_local_copy.or(self.create_local_copy),
            on_deleted: newer.on_deleted.or(self.on_deleted),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn entries(&self) -> Vec<(&'static str, Value)> {
        let entries = [
            ("prefix", text(&self.prefix)),
            ("create_local_copy", self.create_local_copy.map(Value::Flag)),
            ("on_deleted", self.on_deleted.map(|v| Value::Text(word(v)))),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn clear(&mut self, key: &str) {
        match key {
            "prefix" => self.prefix = None,
            "create_local_copy" => self.create_local_copy = None,
            "on_deleted" => self.on_deleted = None,
            other => unreachable!("`{other}` is no runtime key of a target"),
        }
    }
}

fn text(value: &Option<String>) -> Option<Value> {
    value.clone().map(Value::Text)
}

/// A choice as it is written in the file.
pub(super) fn word(value: impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("a choice without data is a JSON string");
    json.as_str().expect("a choice without data is a JSON string").to_owned()
}

impl Overrides {
    /// Whether nothing is changed at runtime (a pause is a change too).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes runtime changes back: `source.regex`, `regex` where only one side has such a key, `source`, `target`;
    /// no key: all of them. A pause stays.
    ///
    /// # Errors
    /// Every key that is not known, means both sides, or is set in the file only; nothing is changed then.
    pub fn reset<K: AsRef<str>>(&mut self, keys: &[K]) -> Result<(), Vec<Problem>> {
        let (mut cleared, mut problems) = (Vec::new(), Vec::new());
        for key in keys {
            match resolve(key.as_ref()) {
                Ok(mut found) => cleared.append(&mut found),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if keys.is_empty() {
            cleared.extend([Reset::Source, Reset::Target].into_iter().flat_map(Reset::all));
        }
        for (side, key) in cleared {
            match side {
                Reset::Source => self.source.clear(key),
                Reset::Target => self.target.clear(key),
            }
        }
        Ok(())
    }

    /// Lays the changes over what the file says.
    pub(super) fn apply(&self, name: &ProjectName, raw: &mut RawProject) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        lay_over(name, "source", self.source.entries(), raw.source.as_mut(), &mut problems);
        lay_over(name, "target", self.target.entries(), raw.target.as_mut(), &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The keys that are changed at runtime: `source.regex` and so on.
    pub(super) fn keys(&self) -> Vec<String> {
        let source = self.source.entries().into_iter().map(|(key, _)| format!("source.{key}"));
        source.chain(self.target.entries().into_iter().map(|(key, _)| format!("target.{key}"))).collect()
    }
}

fn lay_over(
    name: &ProjectName,
    side: &str,
    entries: Vec<(&'static str, Value)>,
    table: Option<&mut Table>,
    problems: &mut Vec<Problem>,
) {
    let Some(table) = table else {
        for (key, _) in entries {
            let path = format!("projects.{name}.{side}.{key}");
            let message = format!("is changed at runtime, but project `{name}` has no {side}");
            let remedy =
                format!("add `[projects.{name}.{side}]` to the settings file, or `lsctl reset {name} {side}.{key}`");
            problems.push(Problem::new(path, message, remedy));
        }
        return;
    };
    for (key, value) in entries {
        table.entries.insert(key, Written { value, origin: Origin::Lsctl });
    }
}

/// A side, for `reset`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reset {
    Source,
    Target,
}

impl Reset {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    fn keys(self) -> &'static [Key] {
        match self {
            Self::Source => keys::SOURCE,
            Self::Target => keys::TARGET,
        }
    }

    fn runtime_key(self, name: &str) -> Option<&'static str> {
        self.keys().iter().find(|key| key.runtime && key.name == name).map(|key| key.name)
    }

    fn all(self) -> Vec<(Self, &'static str)> {
        self.keys().iter().filter(|key| key.runtime).map(|key| (self, key.name)).collect()
    }
}

fn resolve(written: &str) -> Result<Vec<(Reset, &'static str)>, Problem> {
    let sides = [Reset::Source, Reset::Target];
    if let Some(side) = sides.into_iter().find(|side| side.name() == written) {
        return Ok(side.all());
    }
    let (named, key) = match written.split_once('.') {
        Some((side, key)) => (sides.iter().copied().filter(|s| s.name() == side).collect(), key),
        None => (sides.to_vec(), written),
    };
    let found: Vec<_> = named.iter().filter_map(|side| Some((*side, side.runtime_key(key)?))).collect();
    if let [one] = found[..] {
        return Ok(vec![one]);
    }
    let path = printable(written).into_owned();
    if !found.is_empty() {
        let remedy = format!("say `source.{key}` or `target.{key}`");
        return Err(Problem::new(path, "means a source's and a target's setting", remedy));
    }
    if named.iter().any(|side| side.keys().iter().any(|known| known.name == key)) {
        let remedy = "change it there, then `lsctl reload` as root";
        return Err(Problem::new(path, "is set in the settings file only", remedy));
    }
    let known: Vec<String> =
        sides.iter().flat_map(|side| side.all()).map(|(side, key)| format!("{}.{key}", side.name())).collect();
    let short = known.iter().filter_map(|key| key.split_once('.')).map(|(_, key)| key);
    let meant = did_you_mean(written, known.iter().map(String::as_str)).or_else(|| did_you_mean(key, short));
    let remedy = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("one of: {}", known.join(", ")),
    };
    Err(Problem::new(path, "is no setting that lsctl changes", remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed() -> Overrides {
        let source = SourcePatch {
            prefix: Some("a/".into()),
            regex: Some(".*".into()),
            recursive: Some(true),
            ..SourcePatch::default()
        };
        let target = TargetPatch { prefix: Some("out".into()), ..TargetPatch::default() };
        Overrides { paused: true, source, target }
    }

    #[test]
    fn a_newer_change_wins_key_by_key() {
        let older = SourcePatch { prefix: Some("a".into()), regex: Some("x".into()), ..SourcePatch::default() };
        let newer = SourcePatch { regex: Some(String::new()), recursive: Some(false), ..SourcePatch::default() };
        let both = older.merge(newer);
        assert_eq!(both.prefix.as_deref(), Some("a"));
        assert_eq!(both.regex.as_deref(), Some(""));
        assert_eq!(both.recursive, Some(false));
    }

    #[test]
    fn reset_takes_back_what_is_named() {
        let mut overrides = changed();
        overrides.reset(&["regex", "target.prefix"]).unwrap();
        assert_eq!(overrides.keys(), ["source.prefix", "source.recursive"]);
        overrides.reset(&["source"]).unwrap();
        assert_eq!(overrides, Overrides { paused: true, ..Overrides::default() });
        let mut all = changed();
        all.reset::<&str>(&[]).unwrap();
        assert!(all.keys().is_empty() && all.paused);
    }

    #[test]
    fn reset_refuses_as_a_whole_what_it_does_not_know() {
        let mut overrides = changed();
        let keys = ["regex", "prefix", "source.bucket", "source.regxe", "nonsense", "target.regex", "sauce.regex"];
        let problems = overrides.reset(&keys).unwrap_err();
        assert_eq!(overrides, changed());
        let texts: Vec<String> = problems.iter().map(|p| format!("{}: {} ({})", p.path, p.message, p.remedy)).collect();
        assert_eq!(texts.len(), 6, "{texts:#?}");
        assert_eq!(
            texts[0],
            "prefix: means a source's and a target's setting (say `source.prefix` or `target.prefix`)"
        );
        assert_eq!(
            texts[1],
            "source.bucket: is set in the settings file only (change it there, then `lsctl reload` as root)"
        );
        assert_eq!(texts[2], "source.regxe: is no setting that lsctl changes (did you mean `source.regex`?)");
        assert!(texts[3].contains("one of: source.prefix, source.regex"), "{}", texts[3]);
        assert!(texts[5].contains("did you mean `source.regex`?"), "{}", texts[5]);
    }

    #[test]
    fn every_runtime_key_can_be_taken_back() {
        for side in [Reset::Source, Reset::Target] {
            for (_, key) in side.all() {
                Overrides::default().reset(&[format!("{}.{key}", side.name())]).unwrap();
            }
        }
    }
}
