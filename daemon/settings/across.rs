//! What no project can be checked for alone: one directory, one target prefix, one owner.
//!
//! Promise: no two projects write into the same place, and none reads what labelsync itself writes into it.
//! A source that lies in a target is fine: the target's own objects are skipped (`own_target`).

use std::path::Path;

use super::file::{Raw, Table};
use super::section::{Report, section_place};
use super::{Problem, ProjectSettings, Settings, StoreSettings, resolved};

/// Checks projects against each other and directories against projects.
pub(super) fn check(settings: &Settings, raw: &Raw, report: &mut Report) {
    let projects: Vec<&ProjectSettings> = settings.projects.values().collect();
    for (index, project) in projects.iter().enumerate() {
        own_directories(project, raw, report);
        for earlier in &projects[..index] {
            same_path(earlier, project, raw, report);
            same_target(earlier, project, raw, report);
        }
    }
}

fn same_path(earlier: &ProjectSettings, later: &ProjectSettings, raw: &Raw, report: &mut Report) {
    if resolved(&earlier.path) != resolved(&later.path) {
        return;
    }
    let place = raw.projects.get(&later.name).map(|project| section_place(&project.own)).unwrap_or_default();
    let message = format!("is the directory of project `{}` too{place}", earlier.name);
    let remedy = "one directory belongs to one project: give both their own, or make them one";
    report.problems.push(Problem::new(format!("projects.{}.path", later.name), message, remedy));
}

fn same_target(earlier: &ProjectSettings, later: &ProjectSettings, raw: &Raw, report: &mut Report) {
    let (Some(a), Some(b)) = (&earlier.target, &later.target) else { return };
    let (first, second) = (parts(&a.store, &a.prefix), parts(&b.store, &b.prefix));
    let shorter = first.len().min(second.len());
    if first[..shorter] != second[..shorter] {
        return;
    }
    let how = if first == second { "is the target" } else { "overlaps with the target" };
    let message = format!("{how} of project `{}` too{}", earlier.name, target_place(later, raw));
    let remedy = "completions of both would stand under the same ids: give each project a prefix of its own, \
                  none below the other";
    report.problems.push(Problem::new(format!("projects.{}.target.prefix", later.name), message, remedy));
}

/// A place in a store as its levels, the store first; equal levels mean the same place.
fn parts(store: &StoreSettings, prefix: &str) -> Vec<String> {
    let levels = prefix.split('/').filter(|level| !level.is_empty()).map(str::to_owned);
    match store {
        StoreSettings::S3(s3) => {
            let endpoint = s3.endpoint.as_deref().unwrap_or_default().to_ascii_lowercase();
            [format!("s3 {endpoint}"), s3.bucket.clone()].into_iter().chain(levels).collect()
        }
        StoreSettings::Gcs(gcs) => {
            let endpoint = gcs.endpoint.as_deref().unwrap_or_default().to_ascii_lowercase();
            [format!("gcs {endpoint}"), gcs.bucket.clone()].into_iter().chain(levels).collect()
        }
        StoreSettings::Local { path } => {
            let path = resolved(path);
            let path = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
            std::iter::once("local".to_owned()).chain(path).chain(levels).collect()
        }
    }
}

/// A directory as storage must not be the project itself, hold it, or lie where labelsync or Label Studio write.
fn own_directories(project: &ProjectSettings, raw: &Raw, report: &mut Report) {
    let sides =
        [("source", project.source.as_ref().map(|s| &s.store)), ("target", project.target.as_ref().map(|t| &t.store))];
    for (side, store) in sides {
        let Some(StoreSettings::Local { path }) = store else { continue };
        if !collides(&resolved(path), &resolved(&project.path)) {
            continue;
        }
        let place = raw.projects.get(&project.name).and_then(|raw| match side {
            "source" => raw.source.as_ref(),
            _ => raw.target.as_ref(),
        });
        let place = place.map(section_place).unwrap_or_default();
        let message = format!("`{}` and the project directory lie in each other{place}", path.display());
        let remedy = "name a directory outside the project (and not above it)";
        report.problems.push(Problem::new(format!("projects.{}.{side}.path", project.name), message, remedy));
    }
}

fn collides(path: &Path, project: &Path) -> bool {
    project.starts_with(path) || ["completions", "source"].iter().any(|own| path.starts_with(project.join(own)))
}

fn target_place(project: &ProjectSettings, raw: &Raw) -> String {
    let table: Option<&Table> = raw.projects.get(&project.name).and_then(|project| project.target.as_ref());
    table.map(section_place).unwrap_or_default()
}
