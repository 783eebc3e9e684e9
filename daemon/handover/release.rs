//! `labelsyncd release`: hands a project back to Label Studio's own cloud storages, with the same ids.
//!
//! Promise: every id that anybody ever used stands in `source.json`, so that none is given again; `target.json` names
//! exactly the objects that are there; `config.json` comes last. Nobody is locked in.
//! Not here: Label Studio's way back to labelsync (`init --adopt`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{failed, read_config, replace, still_runs, write_config};
use crate::clock::{Clock, SystemClock};
use crate::names::{ProjectName, TaskId, printable};
use crate::project::adopted::ADOPTED;
use crate::project::directory::{Directory, MAP_MAX_BYTES, SOURCE_MAP, TARGET_MAP};
use crate::project::error::CycleError;
use crate::project::files::{Dir, FileErrorKind, IfAbsent};
use crate::project::identity::{Identity, MARKER, Registry, identify, ledger_path};
use crate::project::ledger::{Ledger, LedgerError};
use crate::project::near::{Near, NearError, SourceMap};
use crate::project::target::road::target_prefix;
use crate::settings::overrides::OverridesStore;
use crate::settings::{self, BlobUrl, Problem, ProjectSettings, SourceSettings, StoreSettings, TargetSettings};
use crate::sync::completions::RecordedState;

/// The words of `labelsyncd release`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReleaseArgs {
    /// The project's name
    pub name: String,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "/etc/labelsyncd/labelsyncd.toml")]
    pub config: PathBuf,
    /// The state directory, instead of the settings'
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Release it though completions are not in the target: Label Studio will not show them
    #[arg(long)]
    pub force: bool,
}

/// Ended well.
const OK: i32 = 0;
/// The disk, or whoever reads the output.
const FAILED: i32 = 1;
/// A person must do something first.
const OPERATOR: i32 = 7;
/// The daemon runs on it.
const LOCKED: i32 = 73;
/// The settings.
const CONFIGURATION: i32 = 78;

/// Waiting completions that are named; the rest is counted.
const NAMED_MAX: usize = 10;

/// Why it was not released, with the exit code.
struct Refused(i32, Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(FAILED, problem)
    }
}

/// Does it, says on `out` what was done or why not, and returns the exit code.
pub fn run(args: &ReleaseArgs, out: &mut dyn Write) -> i32 {
    let (code, text) = match release(args) {
        Ok(text) => (OK, text),
        Err(Refused(code, problem)) => (code, format!("error: {problem}\n")),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => code.max(FAILED),
    }
}

fn release(args: &ReleaseArgs) -> Result<String, Refused> {
    let (project, state_dir) = load(args)?;
    if let Some(problem) = still_runs(&project.path) {
        return Err(Refused(OPERATOR, problem));
    }
    let dir = Dir::open(&project.path).map_err(|error| failed(&project.path, &error))?;
    let ledger_file = identified(&dir, &project, &state_dir)?;
    let _lock = match dir.lock(MARKER, IfAbsent::Fail) {
        Ok(lock) => lock,
        Err(error) if error.kind == FileErrorKind::Locked => {
            let remedy =
                "stop labelsyncd, or take the project out of its settings and `lsctl reload`; then run this again";
            let problem = Problem::new(shown(&project.path), "labelsyncd serves this project", remedy);
            return Err(Refused(LOCKED, problem));
        }
        Err(error) => return Err(failed(&project.path, &error).into()),
    };
    let ledger = Ledger::open(&ledger_file).map_err(|error| of_ledger(&error))?;
    let near = Directory::new(&project.path);
    if project.target.as_ref().is_some_and(|target| target.store.is_cloud()) && !args.force {
        refuse_waiting(&ledger, &near, &project)?;
    }
    let mut said = String::new();
    for warning in warnings(&project) {
        said += &format!("warning: {warning}\n");
    }
    let (_, mut config) = read_config(&project.path)?;
    let source = project.source.as_ref().filter(|source| source.store.is_cloud());
    let target = project.target.as_ref().filter(|target| target.store.is_cloud());
    // Both before the first is written: a refusal leaves everything as it was.
    let source = source.map(|source| Ok::<_, Refused>((source, source_map(&ledger, &near, &project)?))).transpose()?;
    let target =
        target.map(|target| Ok::<_, Refused>((target, target_map(&ledger, &dir, &project, target)?))).transpose()?;
    if let Some((source, map)) = source {
        said += &format!("source.json: {} ids\n", map.len());
        replace(&dir, SOURCE_MAP, &text(&map)).map_err(|error| failed(&project.path, &error))?;
        config.insert("source".to_owned(), source_storage(source));
        config.insert("input_path".to_owned(), Value::Null);
    }
    if let Some((target, map)) = target {
        said += &format!("target.json: {} completions\n", map.len());
        replace(&dir, TARGET_MAP, &text(&map)).map_err(|error| failed(&project.path, &error))?;
        config.insert("target".to_owned(), target_storage(target));
    }
    // Ids that Label Studio gives from now on are taken over when the project comes back.
    ledger.set_meta(ADOPTED, "released").map_err(|error| of_ledger(&error))?;
    write_config(&dir, &config).map_err(|error| failed(&project.path, &error))?;
    said += &format!(
        "{} is Label Studio's own again: start Label Studio with its credentials in its environment.\n\
         labelsync holds the project from now on; `labelsyncd init {} --adopt` takes it back.\n",
        project.name, project.name
    );
    Ok(said)
}

fn load(args: &ReleaseArgs) -> Result<(ProjectSettings, PathBuf), Refused> {
    let wrong = |problem: Problem| Refused(CONFIGURATION, problem);
    let first = |problems: Vec<Problem>| {
        let none = || Problem::new("settings", "cannot be used", "run `labelsyncd --check`");
        wrong(problems.into_iter().next().unwrap_or_else(none))
    };
    let loaded = settings::load(&args.config).map_err(first)?;
    let state_dir = args.state_dir.clone().unwrap_or_else(|| loaded.settings.daemon.state_dir.clone());
    let overrides = OverridesStore::peek(&state_dir).load_all(loaded.settings.projects.keys());
    let overrides = overrides.map_err(|errors| first(errors.iter().map(|error| error.problem()).collect()))?;
    let settings = loaded.with_overrides(&overrides).map_err(first)?;
    let project = ProjectName::parse(&args.name).and_then(|name| settings.projects.get(&name).cloned());
    let unknown = || {
        let names: Vec<String> = settings.projects.keys().map(ToString::to_string).collect();
        let remedy = format!("the settings name: {}", names.join(", "));
        wrong(Problem::new(printable(&args.name), "is no project of the settings", remedy))
    };
    Ok((project.ok_or_else(unknown)?, state_dir))
}

/// The ledger of the project that stands there. Nothing is made where labelsync has never been.
fn identified(dir: &Dir, project: &ProjectSettings, state_dir: &Path) -> Result<PathBuf, Refused> {
    let unknown = |error: CycleError| {
        let reason = error.reason();
        Problem::new(shown(&project.path), reason.message, reason.hint)
    };
    let marked = dir.fingerprint(MARKER).map_err(|error| failed(&project.path, &error))?;
    if marked.is_none() {
        let message = format!("labelsyncd has never served it (no {MARKER}), or it is not mounted");
        let remedy = "nothing: its storages are Label Studio's affair already";
        return Err(Refused(OPERATOR, Problem::new(shown(&project.path), message, remedy)));
    }
    match identify(dir, &Registry::new(state_dir), &project.name, None, SystemClock.now()).map_err(unknown)? {
        Identity::Known(id) => {
            let ledger = ledger_path(state_dir, &id);
            if ledger.exists() {
                return Ok(ledger);
            }
            let remedy = "put back your last `lsctl backup`, or start labelsyncd and `lsctl repair`";
            let message = format!("its ledger {} is missing", printable(&ledger.display().to_string()));
            Err(Refused(OPERATOR, Problem::new(shown(&project.path), message, remedy)))
        }
        Identity::Held(hold) => {
            let remedy = "name the state directory of this project with --state-dir, or mount the right directory";
            Err(Refused(OPERATOR, Problem::new(shown(&project.path), hold.message, remedy)))
        }
    }
}

/// Every object that labelsync knows of, in dispute too, under the id of its key: Label Studio gives one that its map does
/// not name another id, and shows it for another task (D10). What only Label Studio knows of stays as it named it: a
/// completion of a task whose object is gone.
fn target_map(
    ledger: &Ledger,
    dir: &Dir,
    project: &ProjectSettings,
    target: &TargetSettings,
) -> Result<BTreeMap<TaskId, Value>, Refused> {
    let place = format!("{}/{}", target.store.root(), target_prefix(&target.prefix));
    let entry = |id: TaskId| (id, json!({"key": format!("{place}{id}"), "exists": true}));
    let mut map: BTreeMap<TaskId, Value> =
        ledger.pushed_ids().map_err(|error| of_ledger(&error))?.into_iter().map(entry).collect();
    let before = dir.read(TARGET_MAP, MAP_MAX_BYTES).map_err(|error| failed(&project.path, &error))?;
    let before = before.map_or(Ok(Map::new()), |before| serde_json::from_slice(&before.bytes));
    let before: Map<String, Value> = before.map_err(|_| {
        let remedy = "put it back from a backup, or remove it: then the ids that only Label Studio knew of are not kept; \
                      run this again";
        let problem = Problem::new(shown(&project.path), "target.json ends in the middle or is damaged", remedy);
        Refused(OPERATOR, problem)
    })?;
    for (id, named) in before.iter().filter_map(|(id, named)| Some((TaskId::parse(id)?, named))) {
        let is_known = ledger.completion(id).map_err(|error| of_ledger(&error))?.is_some();
        if !is_known && named["key"] == entry(id).1["key"] {
            map.extend([entry(id)]);
        }
    }
    Ok(map)
}

/// A completion that is not in the target would not be seen by Label Studio's own storage; one that is in dispute would be
/// shown for a task that it may not be about.
fn refuse_waiting(ledger: &Ledger, near: &Directory, project: &ProjectSettings) -> Result<(), Refused> {
    let of = |error: NearError| Problem::new(shown(&project.path), error.to_string(), error.remedy());
    let mut waiting = ledger.disputed_ids().map_err(|error| of_ledger(&error))?;
    for id in near.completions().map_err(of)? {
        let print = near.completion_print(id).map_err(of)?.map(|print| print.to_string());
        let row = ledger.completion(id).map_err(|error| of_ledger(&error))?;
        let in_step = row.is_some_and(|row| row.recorded.state == RecordedState::InStep && row.print == print);
        if !in_step {
            waiting.push(id);
        }
    }
    waiting.sort_unstable();
    waiting.dedup();
    if waiting.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = waiting.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let message = format!("{} completions are not in the target as they are here: {}", waiting.len(), named.join(", "));
    let remedy = format!(
        "start labelsyncd, `lsctl sync {0} --wait`, `lsctl list {0} --state conflict`, stop it and run this again; \
         or add --force: Label Studio will not show them",
        project.name
    );
    Err(Refused(OPERATOR, Problem::new(shown(&project.path), message, remedy)))
}

/// Every id that was ever used: with its object, or with the place in `tasks.json` where an import stands or stood.
fn source_map(
    ledger: &Ledger,
    near: &Directory,
    project: &ProjectSettings,
) -> Result<BTreeMap<TaskId, Value>, Refused> {
    let of = |error: NearError| Problem::new(shown(&project.path), error.to_string(), error.remedy());
    let entry = |key: &str| json!({"key": key, "exists": true});
    let in_file = |id: TaskId| format!("{}/tasks.json/{id}", project.path.display());
    let mut map = BTreeMap::new();
    match near.source_map().map_err(of)? {
        SourceMap::Missing => {}
        SourceMap::Ids(ids) => map.extend(ids.into_iter().map(|(id, key)| (id, entry(key.as_str())))),
        SourceMap::Unreadable => {
            let remedy =
                "start Label Studio once and open a page, which writes it anew; then stop it and run this again";
            let problem = Problem::new(shown(&project.path), "source.json ends in the middle or is damaged", remedy);
            return Err(Refused(OPERATOR, problem));
        }
    }
    for (id, url) in ledger.all_ids().map_err(|error| of_ledger(&error))? {
        match url {
            Some(url) => drop(map.insert(id, entry(&url))),
            None => drop(map.entry(id).or_insert_with(|| entry(&in_file(id)))),
        }
    }
    // Imported since labelsync was stopped.
    let note = &mut |id, _: &str| {
        map.entry(id).or_insert_with(|| entry(&in_file(id)));
        Ok(())
    };
    near.scan_tasks(note).map_err(of)?;
    if let Some(highest) = ledger.highest_id().map_err(|error| of_ledger(&error))? {
        map.entry(highest).or_insert_with(|| entry(&in_file(highest)));
    }
    Ok(map)
}

fn text(map: &BTreeMap<TaskId, Value>) -> String {
    let map: Map<String, Value> = map.iter().map(|(id, entry)| (id.to_string(), entry.clone())).collect();
    Value::Object(map).to_string()
}

/// As `label-studio init --source … --source-params …` writes it.
fn source_storage(source: &SourceSettings) -> Value {
    let mut params = json!({"prefix": source.prefix, "use_blob_urls": source.use_blob_urls});
    if let Some(regex) = &source.regex {
        params["regex"] = json!(regex.as_str());
    }
    if let Some(data_key) = &source.data_key {
        params["data_key"] = json!(data_key);
    }
    storage(&source.store, "", params)
}

fn target_storage(target: &TargetSettings) -> Value {
    let params = json!({"prefix": target.prefix, "create_local_copy": target.create_local_copy});
    storage(&target.store, "-completions", params)
}

fn storage(store: &StoreSettings, suffix: &str, mut params: Value) -> Value {
    let (kind, bucket) = match store {
        StoreSettings::S3(s3) => {
            if let Some(region) = &s3.region {
                params["region"] = json!(region);
            }
            ("s3", s3.bucket.clone())
        }
        StoreSettings::Gcs(gcs) => ("gcs", gcs.bucket.clone()),
        // Never asked for: that side stays local.
        StoreSettings::Local { path } => ("local", path.display().to_string()),
    };
    json!({"type": format!("{kind}{suffix}"), "path": bucket, "params": params})
}

/// What Label Studio's own storages cannot do.
fn warnings(project: &ProjectSettings) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(source) = project.source.as_ref().filter(|source| source.store.is_cloud()) {
        let s3 = matches!(source.store, StoreSettings::S3(_));
        let own = !s3 || source.prefix.is_empty();
        for (wrong, what) in [
            (source.exclude.is_some(), "exclude: Label Studio knows none and will take these objects too"),
            (
                source.recursive != own,
                "recursive: Label Studio lists this prefix in its own way and shows other objects",
            ),
            (source.regex.is_none(), "regex: there is none, and Label Studio takes nothing without one"),
            (
                source.blob_url == BlobUrl::Local,
                "blob_url: Label Studio's own tasks point to the bucket, not to copies",
            ),
        ] {
            if wrong {
                said.push(what.to_owned());
            }
        }
    }
    let stores = [project.source.as_ref().map(|s| &s.store), project.target.as_ref().map(|t| &t.store)];
    let endpoint = stores.into_iter().flatten().find_map(|store| match store {
        StoreSettings::S3(s3) => Some(("AWS_ENDPOINT_URL", s3.endpoint.as_ref()?)),
        StoreSettings::Gcs(gcs) => Some(("STORAGE_EMULATOR_HOST", gcs.endpoint.as_ref()?)),
        StoreSettings::Local { .. } => None,
    });
    if let Some((variable, endpoint)) = endpoint {
        said.push(format!("endpoint: give Label Studio {variable}={} in its environment", printable(endpoint)));
    }
    said
}

fn of_ledger(error: &LedgerError) -> Problem {
    Problem::new("ledger", error.to_string(), error.remedy())
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string()).into_owned()
}
