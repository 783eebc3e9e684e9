//! From what was asked for and what is there to what will be written.
//!
//! Promise: [`plan_init`] is pure and finds every problem; [`apply`] writes the project directory first and the settings
//! last, so that settings never name a project that is not there. Run again after a crash it goes on.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::directory::{self, Found, NewDirectory};
use super::request::{Request, Side};
use super::unit::Needs;
use crate::handover;
use crate::names::{ProjectName, printable};
use crate::project::label_config::LabelConfig;
use crate::settings::check;
use crate::settings::file::{self, Origin, Raw, RawProject, Table};
use crate::settings::section::Report;
use crate::settings::{Problem, atomic};

/// Settings are for everybody to read: no secret stands in them.
const SETTINGS_MODE: u32 = 0o644;
/// The same for `conf.d`.
const SETTINGS_DIR_MODE: u32 = 0o755;

/// What was found on the disk.
#[derive(Clone, Debug)]
pub struct Seen {
    /// All settings as they are written now.
    raw: Raw,
    /// What is wrong with them already.
    raw_problems: Vec<Problem>,
    /// The project's own file; `Ok(None)`: there is none.
    own_text: Result<Option<String>, String>,
    /// What stands where the project is to be.
    directory: Found,
    /// Where that is.
    project_dir: PathBuf,
    /// The bytes of `--label-config`.
    label_config: Option<Result<String, String>>,
}

/// Looks at everything that the plan depends on; changes nothing.
pub fn look(request: &Request) -> Seen {
    let mut raw_problems = Vec::new();
    let raw = file::read(&request.config_dir.join("labelsyncd.toml"), false, &mut raw_problems);
    let own_text = match file::read_text(&request.settings_file()) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let project_dir = request.project_dir.clone().or_else(|| written_path(&raw, request));
    let project_dir = project_dir.unwrap_or_else(|| request.default_dir.clone());
    let label_config =
        request.label_config.as_deref().map(|file| file::read_text(file).map_err(|error| error.to_string()));
    Seen { raw, raw_problems, own_text, directory: directory::look(&project_dir), project_dir, label_config }
}

/// The directory that the settings name already.
fn written_path(raw: &Raw, request: &Request) -> Option<PathBuf> {
    let path = raw.projects.get(&request.name)?.own.entries.get("path")?;
    match &path.value {
        file::Value::Text(text) => Some(PathBuf::from(text)),
        file::Value::Flag(_) | file::Value::Unusable => None,
    }
}

/// What will be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitPlan {
    /// The project.
    pub name: ProjectName,
    /// What of the file system it reads and writes.
    pub needs: Needs,
    /// The project directory.
    pub project_dir: PathBuf,
    /// It is to be made; `None`: it is there and left as it is.
    pub directory: Option<NewDirectory>,
    /// The project's settings file.
    pub settings_file: PathBuf,
    /// Its whole new text; `None`: it says so already.
    pub settings_text: Option<String>,
    /// Label Studio's own cloud storages are set to local.
    pub adopts: bool,
    /// To be said.
    pub warnings: Vec<Problem>,
}

/// Decides; every problem at once.
///
/// # Errors
/// Whatever does not fit: the settings, the directory, the label config.
pub fn plan_init(request: &Request, seen: &Seen) -> Result<InitPlan, Vec<Problem>> {
    let mut report = Report { warnings: request.warnings.clone(), ..Report::default() };
    let directory = plan_directory(request, seen, &mut report);
    let settings_text = plan_settings(request, seen, &mut report);
    if !report.problems.is_empty() {
        return Err(report.problems);
    }
    let settings_file = request.settings_file();
    let local = |side: &Option<Side>| {
        let setting = side.as_ref()?.settings.iter().find(|setting| setting.key == "path")?;
        let value: toml::Table = format!("path = {}", setting.toml).parse().ok()?;
        Some(PathBuf::from(value.get("path")?.as_str()?))
    };
    let written = [Some(seen.project_dir.clone()), local(&request.target)].into_iter().flatten().collect();
    let needs = Needs { written, read: local(&request.source).into_iter().collect() };
    Ok(InitPlan {
        name: request.name.clone(),
        needs,
        project_dir: seen.project_dir.clone(),
        directory,
        settings_file,
        settings_text,
        adopts: request.adopt,
        warnings: report.warnings,
    })
}

fn plan_directory(request: &Request, seen: &Seen, report: &mut Report) -> Option<NewDirectory> {
    let path = printable(&seen.project_dir.display().to_string()).into_owned();
    let problem = |message: String, remedy: &str| Problem::new(&path, message, remedy);
    let found = match &seen.directory {
        Found::Missing | Found::Empty if request.adopt => {
            problem("is no Label Studio project".to_owned(), "name the project to take over with `--project-dir DIR`")
        }
        Found::Missing | Found::Empty => {
            let label_config = plan_label_config(request, seen, report)?;
            return Some(NewDirectory { path: seen.project_dir.clone(), label_config });
        }
        Found::Project { cloud_source, cloud_target } => {
            warn_of_project(request, cloud_source.as_deref(), cloud_target.as_deref(), &path, report);
            return None;
        }
        Found::HalfMade { present, missing } => problem(
            format!("is half a Label Studio project: {} there, {} not", present.join(", "), missing.join(", ")),
            "restore what is missing, or move the directory away and run `labelsyncd init` again",
        ),
        Found::BadConfig(detail) => problem(
            format!("has a config.json that cannot be read: {detail}"),
            "restore it (Label Studio does not start either), or move the directory away",
        ),
        Found::Other { example } => problem(
            format!("is no Label Studio project (no config.json), and not empty (`{}`)", printable(example)),
            "name another directory with `--project-dir DIR`",
        ),
        Found::NoDirectory => problem("is no directory".to_owned(), "name another one with `--project-dir DIR`"),
        Found::Unreadable(detail) => problem(format!("cannot be looked at: {detail}"), "run as a user who may"),
    };
    report.problems.push(found);
    None
}

fn plan_label_config(request: &Request, seen: &Seen, report: &mut Report) -> Option<Vec<u8>> {
    let file = request.label_config.as_deref().map(|file| printable(&file.display().to_string()).into_owned());
    match (&seen.label_config, file) {
        (Some(Ok(text)), Some(file)) => match LabelConfig::parse(text) {
            Ok(_) => Some(text.clone().into_bytes()),
            Err(error) => {
                report.problems.push(Problem::new(file, format!("is no label config: {error}"), "correct it"));
                None
            }
        },
        (Some(Err(error)), Some(file)) => {
            let message = format!("cannot be read: {error}");
            report.problems.push(Problem::new(file, message, "name the label config's file"));
            None
        }
        _ => {
            let message = "none is named: the new project gets an empty one, which has no data key";
            let remedy = "set it in Label Studio (Settings), or name a file with `--label-config FILE`";
            report.warnings.push(Problem::new("label config", message, remedy));
            Some(directory::EMPTY_LABEL_CONFIG.as_bytes().to_vec())
        }
    }
}

fn warn_of_project(request: &Request, source: Option<&str>, target: Option<&str>, path: &str, report: &mut Report) {
    let sides = [("source", source, request.source.is_some()), ("target", target, request.target.is_some())];
    for (side, cloud, asked) in sides {
        let (Some(kind), true, false) = (cloud, asked, request.adopt) else { continue };
        let message = format!(
            "Label Studio itself serves the {side} from `{}` (config.json): labelsync holds this side \
             (label_studio_owns_{side})",
            printable(kind)
        );
        // Nothing is written: settings that stand there already would be in the way of what is to be taken over.
        let remedy = "stop Label Studio and run this again with `--adopt`: it takes bucket, prefix and ids over and sets \
                      Label Studio's storages to local. Nothing is written before";
        report.problems.push(Problem::new(path, message, remedy));
    }
    if request.label_config.is_some() {
        let message = "the project is there and keeps its own label config";
        report.warnings.push(Problem::new("--label-config", message, "change it in Label Studio"));
    }
}

/// The new text of the project's settings file; `None` where nothing is to be written.
fn plan_settings(request: &Request, seen: &Seen, report: &mut Report) -> Option<String> {
    let file = request.settings_file().display().to_string();
    let own_text = match &seen.own_text {
        Ok(text) => text.as_deref(),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            report.problems.push(Problem::new(printable(&file), message, "run as a user who may"));
            return None;
        }
    };
    let new = new_text(request, seen, own_text, report)?;
    let mut problems = seen.raw_problems.clone();
    let mut merged = seen.raw.clone();
    merged.merge(file::parse(&file, &new, &mut problems));
    check_merged(request, seen, merged, problems, &file, report);
    if let Some(source) = &request.source
        && !source.settings.iter().any(|setting| setting.key == "regex")
    {
        let message = "no regex: nothing is taken, as in Label Studio";
        let remedy = format!(
            "`--source-params '{{\"regex\": \".*\"}}'`, or later `lsctl set-source {} --regex '.*'`",
            request.name
        );
        report.warnings.push(Problem::new(format!("projects.{}.source.regex", request.name), message, remedy));
    }
    (own_text != Some(&new)).then_some(new)
}

/// What the file will say; what it says already stays as it is.
fn new_text(request: &Request, seen: &Seen, own_text: Option<&str>, report: &mut Report) -> Option<String> {
    let before = report.problems.len();
    let existing = seen.raw.projects.get(&request.name);
    let mut text = own_text.unwrap_or("# Written by `labelsyncd init`; yours to edit.\n").to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    match existing {
        None => {
            let path = toml::Value::String(seen.project_dir.to_string_lossy().into_owned());
            text += &format!("\n[projects.{}]\npath = {path}\n", request.name);
        }
        Some(existing) => check_path(request, seen, existing, report),
    }
    let mut added = existing.is_none();
    for (name, side) in [("source", &request.source), ("target", &request.target)] {
        let Some(side) = side else { continue };
        let wanted = render(request, name, side);
        match existing.and_then(|project| side_of(project, name)) {
            None => {
                text += &wanted;
                added = true;
            }
            Some(table) => compare(request, name, table, &wanted, report),
        }
    }
    if let (Some(existing), None, true) = (existing, own_text, added) {
        let place = existing.own.origin.as_ref().map(Origin::to_string).unwrap_or_default();
        let message = format!("is set up already at {place}");
        let remedy = "add the missing side there by hand, or choose another name";
        report.problems.push(Problem::new(format!("projects.{}", request.name), message, remedy));
    }
    if report.problems.len() > before {
        return None;
    }
    if added { Some(text) } else { own_text.map(str::to_owned) }
}

fn side_of<'a>(project: &'a RawProject, side: &str) -> Option<&'a Table> {
    if side == "source" { project.source.as_ref() } else { project.target.as_ref() }
}

fn check_path(request: &Request, seen: &Seen, existing: &RawProject, report: &mut Report) {
    let same = written_path(&seen.raw, request).is_none_or(|path| path.components().eq(seen.project_dir.components()));
    if !same {
        let place = existing.own.origin.as_ref().map(Origin::to_string).unwrap_or_default();
        let message = format!("another directory than --project-dir is set at {place}");
        let remedy = "leave --project-dir out, edit the file, or choose another name";
        report.problems.push(Problem::new(format!("projects.{}.path", request.name), message, remedy));
    }
}

fn render(request: &Request, side: &str, wanted: &Side) -> String {
    let lines: String = wanted.settings.iter().map(|setting| format!("{} = {}\n", setting.key, setting.toml)).collect();
    format!("\n[projects.{}.{side}]\n{lines}", request.name)
}

/// The side is there already: it must say the same.
fn compare(request: &Request, side: &str, existing: &Table, wanted: &str, report: &mut Report) {
    let parsed = file::parse("", wanted, &mut Vec::new());
    let wanted = parsed.projects.get(&request.name).and_then(|project| side_of(project, side));
    let value = |table: &Table, key: &str| table.entries.get(key).map(|written| written.value.clone());
    let wanted = wanted.cloned().unwrap_or_default();
    let keys = existing.entries.keys().chain(wanted.entries.keys());
    let mut differing: Vec<&str> = keys.filter(|key| value(existing, key) != value(&wanted, key)).copied().collect();
    differing.sort_unstable();
    differing.dedup();
    if differing.is_empty() {
        return;
    }
    let place = existing.origin.as_ref().map(Origin::to_string).unwrap_or_default();
    let message = format!("is set up already at {place}, with another {}", differing.join(", "));
    // The ids that are taken over are those of a bucket; what of it is taken is the operator's to say.
    if request.adopt && !differing.iter().any(|key| ["type", "bucket", "path"].contains(key)) {
        let remedy = "what stands there stays in force; edit it if Label Studio's own value is meant";
        report.warnings.push(Problem::new(format!("projects.{}.{side}", request.name), message, remedy));
        return;
    }
    let remedy = "edit that file and run `lsctl reload`, or choose another name; nothing is overwritten";
    report.problems.push(Problem::new(format!("projects.{}.{side}", request.name), message, remedy));
}

/// The settings as they will be, checked; what is wrong elsewhere already is only said.
fn check_merged(
    request: &Request,
    seen: &Seen,
    merged: Raw,
    parse_problems: Vec<Problem>,
    file: &str,
    report: &mut Report,
) {
    let checked = |raw: &Raw, problems: Vec<Problem>| {
        let mut report = Report { problems, ..Report::default() };
        let settings = check::check(raw, &mut report);
        (settings, report)
    };
    let (_, before) = checked(&seen.raw, seen.raw_problems.clone());
    let (settings, after) = checked(&merged, parse_problems);
    let own = format!("projects.{}.", request.name);
    let whole = format!("projects.{}", request.name);
    let mine =
        |problem: &Problem| problem.path.starts_with(&own) || problem.path == whole || problem.path.starts_with(file);
    for problem in after.problems {
        if mine(&problem) || !before.problems.contains(&problem) {
            report.problems.push(problem);
        } else {
            report.warnings.push(problem);
        }
    }
    // Where Label Studio needs credentials of its own is said by the check; without a bucket there is nothing to say.
    let bucket = settings.is_some_and(|settings| {
        let source = settings.projects.get(&request.name).and_then(|project| project.source.as_ref());
        source.is_some_and(|source| source.store.is_cloud())
    });
    let asked = bucket && request.source.is_some();
    report.warnings.extend(
        after
            .warnings
            .into_iter()
            .filter(|warning| mine(warning) && (asked || !warning.path.ends_with(".label_studio_has_credentials"))),
    );
}

/// Writes: the directory, then the settings.
///
/// # Errors
/// The disk. Nothing is half-made: run again, it goes on.
pub fn apply(plan: &InitPlan) -> Result<(), Problem> {
    let failed = |path: &Path, what: &str, error: io::Error| {
        let remedy = "check the permissions and the free space (root may write there), then run it again";
        Problem::new(printable(&path.display().to_string()), format!("cannot be {what}: {error}"), remedy)
    };
    if let Some(new) = &plan.directory {
        directory::make(new).map_err(|error| failed(&new.path, "made", error))?;
    }
    if let Some(text) = &plan.settings_text {
        if let Some(dir) = plan.settings_file.parent() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(SETTINGS_DIR_MODE).create(dir);
            made.map_err(|error| failed(dir, "made", error))?;
        }
        atomic::replace(&plan.settings_file, text.as_bytes(), SETTINGS_MODE)
            .map_err(|error| failed(&plan.settings_file, "written", error))?;
    }
    // Last: from now on Label Studio leaves both sides to labelsync.
    if plan.adopts { handover::to_local(&plan.project_dir) } else { Ok(()) }
}
