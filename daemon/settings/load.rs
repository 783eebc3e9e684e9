//! The settings as a whole: read, merged, checked; runtime changes laid over them.
//!
//! Promise: with a problem there are no settings, so that a bad reload changes nothing; the same checks serve the file
//! and every change over the socket.
//! Not here: the environment, the command line.

use std::collections::BTreeMap;
use std::path::Path;

use super::check;
use super::file::{self, Raw};
use super::section::Report;
use super::{Overrides, Problem, Settings};
use crate::names::ProjectName;

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files say, without runtime changes.
    pub settings: Settings,
    /// As it is written.
    pub raw: Raw,
    /// To be said; nothing stops for them.
    pub warnings: Vec<Problem>,
}

/// Reads `config_file` and `conf.d/*.toml` beside it.
///
/// # Errors
/// Every problem of every file, sorted by path.
pub fn load(config_file: &Path) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let raw = file::read(config_file, true, &mut problems);
    finish(raw, problems)
}

/// The same from texts, in their order, each with the name that messages give it.
///
/// # Errors
/// Every problem of every text, sorted by path.
pub fn load_texts(texts: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut raw = Raw::default();
    for (name, text) in texts {
        raw.merge(file::parse(name, text, &mut problems));
    }
    finish(raw, problems)
}

fn finish(raw: Raw, problems: Vec<Problem>) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report { problems, ..Report::default() };
    let settings = check::check(&raw, &mut report);
    let Report { mut problems, mut warnings, .. } = report;
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    warnings.sort_by(|a, b| a.path.cmp(&b.path));
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, raw, warnings }),
        _ => Err(problems),
    }
}

impl Loaded {
    /// What is in force: the runtime changes over the files. Changes of projects that are not in the files are left out.
    ///
    /// # Errors
    /// Every problem that the changes make.
    pub fn with_overrides(&self, overrides: &BTreeMap<ProjectName, Overrides>) -> Result<Settings, Vec<Problem>> {
        let mut raw = self.raw.clone();
        let mut report = Report::default();
        for (name, overrides) in overrides {
            let Some(project) = raw.projects.get_mut(name) else { continue };
            if let Err(mut problems) = overrides.apply(name, project) {
                report.problems.append(&mut problems);
            }
        }
        let settings = check::check(&raw, &mut report);
        let mut problems = report.problems;
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }

    /// Which values of the files are hidden by runtime changes, for `labelsyncd --check`.
    pub fn hidden(&self, overrides: &BTreeMap<ProjectName, Overrides>) -> Vec<Problem> {
        let mut hidden = Vec::new();
        for (name, overrides) in overrides {
            let Some(raw) = self.raw.projects.get(name) else { continue };
            for key in overrides.keys() {
                let table = if key.starts_with("source.") { &raw.source } else { &raw.target };
                let short = key.split_once('.').map_or(key.as_str(), |(_, short)| short);
                let Some(written) = table.as_ref().and_then(|table| table.entries.get(short)) else { continue };
                let message = format!("the value at {} is hidden by a runtime change", written.origin);
                let remedy = format!("`lsctl reset {name} {key}` brings it back, `lsctl show {name}` shows both");
                hidden.push(Problem::new(format!("projects.{name}.{key}"), message, remedy));
            }
        }
        hidden
    }
}
