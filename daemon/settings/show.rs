//! Settings for people: each with its value, where it comes from, and what it hides.
//!
//! Promise: what is shown is what is in force, in one spelling; every key of a project's tables is there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::file::{Origin, Table, Value as FileValue};
use super::keys::{self, Key};
use super::load::Loaded;
use super::patch::word;
use super::values::{format_duration, format_size};
use super::{
    GcsSettings, Overrides, Problem, ProjectSettings, S3Settings, SourceSettings, StoreSettings, TargetSettings,
};
use crate::control::api::{SettingChange, Shown, ShownSetting};
use crate::names::ProjectName;

impl Loaded {
    /// Every setting of a project: its value, its origin (`default`, `file`, `lsctl`) and the file's value that a
    /// runtime change hides.
    ///
    /// # Errors
    /// The project is not in the files, or the runtime changes do not fit them.
    pub fn shown(&self, project: &ProjectName, overrides: &Overrides) -> Result<Shown, Vec<Problem>> {
        let all = BTreeMap::from([(project.clone(), overrides.clone())]);
        let effective = self.with_overrides(&all)?;
        let (Some(raw), Some(of_file), Some(effective)) =
            (self.raw.projects.get(project), self.settings.projects.get(project), effective.projects.get(project))
        else {
            let message = "there is no such project in the settings files";
            return Err(vec![Problem::new(format!("projects.{project}"), message, "`lsctl status` lists them")]);
        };
        let mut raw = raw.clone();
        overrides.apply(project, &mut raw)?;
        let in_file = &self.raw.projects[project];
        let sections = [
            ("", keys::PROJECT, Some(&raw.own), Some(&in_file.own)),
            ("source", keys::SOURCE, raw.source.as_ref(), in_file.source.as_ref()),
            ("target", keys::TARGET, raw.target.as_ref(), in_file.target.as_ref()),
        ];
        let mut settings = Vec::new();
        for (section, keys, table, file_table) in sections {
            let Some(table) = table else { continue };
            for key in keys {
                let Some(mut value) = value_of(effective, section, key) else { continue };
                if let ("allow_http", Some(FileValue::Flag(flag))) =
                    (key.name, table.entries.get(key.name).map(|written| &written.value))
                {
                    value = json!(flag);
                }
                let origin = origin(table, key);
                let written = file_table.is_some_and(|table| table.entries.contains_key(key.name));
                let hidden = if origin == "lsctl" && written { value_of(of_file, section, key) } else { None };
                let key = if section.is_empty() { key.name.to_owned() } else { format!("{section}.{}", key.name) };
                settings.push(ShownSetting { key, value, origin: origin.to_owned(), hidden });
            }
        }
        Ok(Shown { project: project.to_string(), settings })
    }
}

/// What differs between two sights of a project.
pub fn diff(old: &Shown, new: &Shown) -> Vec<SettingChange> {
    let value = |shown: &Shown, key: &str| {
        shown.settings.iter().find(|setting| setting.key == key).map_or(Value::Null, |setting| setting.value.clone())
    };
    let gone = old.settings.iter().filter(|setting| !new.settings.iter().any(|other| other.key == setting.key));
    let keys = new.settings.iter().chain(gone).map(|setting| setting.key.as_str());
    keys.map(|key| SettingChange { key: key.to_owned(), old: value(old, key), new: value(new, key) })
        .filter(|change| change.old != change.new)
        .collect()
}

fn origin(table: &Table, key: &Key) -> &'static str {
    match table.entries.get(key.name).map(|written| &written.origin) {
        Some(Origin::Lsctl) => "lsctl",
        Some(Origin::File { .. }) => "file",
        None => "default",
    }
}

/// `None`: the key means nothing for this type of storage.
fn value_of(project: &ProjectSettings, section: &str, key: &Key) -> Option<Value> {
    match section {
        "source" => source_value(project.source.as_ref()?, key.name),
        "target" => target_value(project.target.as_ref()?, key.name),
        _ => match key.name {
            "path" => Some(json!(project.path.to_string_lossy())),
            "label_studio_has_credentials" => Some(json!(project.label_studio_has_credentials)),
            other => unreachable!("`{other}` is in keys::PROJECT and not shown"),
        },
    }
}

fn source_value(source: &SourceSettings, key: &str) -> Option<Value> {
    let pattern = |pattern: &Option<crate::sync::pattern::Pattern>| json!(pattern.as_ref().map(|p| p.as_str()));
    Some(match key {
        "prefix" => json!(source.prefix),
        "regex" => pattern(&source.regex),
        "exclude" => pattern(&source.exclude),
        "recursive" => json!(source.recursive),
        "use_blob_urls" => json!(source.use_blob_urls),
        "data_key" => json!(source.data_key),
        "create_local_copy" => json!(source.create_local_copy),
        "blob_url" => json!(source.blob_url),
        "poll_interval" => json!(format_duration(source.poll_interval)),
        "poll_interval_idle" => json!(format_duration(source.poll_interval_idle)),
        "on_removed" => json!(source.on_removed),
        "on_changed" => json!(source.on_changed),
        "max_removed" => json!(format!("{}%", source.max_removed.percent)),
        "max_changed" => json!(format!("{}%", source.max_changed.percent)),
        "local_copy_max" => json!(format_size(source.local_copy_max_bytes)),
        "type" => json!(store_type(&source.store, "s3", "gcs")),
        other => return store_value(&source.store, other),
    })
}

fn target_value(target: &TargetSettings, key: &str) -> Option<Value> {
    Some(match key {
        "prefix" => json!(target.prefix),
        "create_local_copy" => json!(target.create_local_copy),
        "on_deleted" => json!(word(target.on_deleted)),
        "poll_interval" => json!(format_duration(target.poll_interval)),
        "type" => json!(store_type(&target.store, "s3-completions", "gcs-completions")),
        other => return store_value(&target.store, other),
    })
}

fn store_type(store: &StoreSettings, s3: &'static str, gcs: &'static str) -> &'static str {
    match store {
        StoreSettings::S3(_) => s3,
        StoreSettings::Gcs(_) => gcs,
        StoreSettings::Local { .. } => "local",
    }
}

fn store_value(store: &StoreSettings, key: &str) -> Option<Value> {
    match store {
        StoreSettings::S3(s3) => s3_value(s3, key),
        StoreSettings::Gcs(gcs) => gcs_value(gcs, key),
        StoreSettings::Local { path } => (key == "path").then(|| json!(path.to_string_lossy())),
    }
}

fn s3_value(s3: &S3Settings, key: &str) -> Option<Value> {
    match key {
        "bucket" => Some(json!(s3.bucket)),
        "region" => Some(json!(s3.region)),
        "endpoint" => Some(json!(s3.endpoint)),
        "allow_http" => Some(json!(false)),
        "profile" => Some(json!(s3.profile)),
        "path_style" => Some(json!(s3.path_style)),
        "expected_bucket_owner" => Some(json!(s3.expected_bucket_owner)),
        _ => None,
    }
}

fn gcs_value(gcs: &GcsSettings, key: &str) -> Option<Value> {
    match key {
        "bucket" => Some(json!(gcs.bucket)),
        "endpoint" => Some(json!(gcs.endpoint)),
        "allow_http" => Some(json!(false)),
        "credentials_file" => Some(json!(gcs.credentials_file.as_ref().map(|path| path.to_string_lossy()))),
        "anonymous" => Some(json!(gcs.anonymous)),
        _ => None,
    }
}
