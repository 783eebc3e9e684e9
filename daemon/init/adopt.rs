//! `labelsyncd init --adopt`: what Label Studio's own cloud storages say, as if it stood on the command line.
//!
//! Promise: what the command line says itself comes first; credentials of `config.json` are left out, and said.
//! Not here: setting the storages to local (`handover`), the ids (`project/host`).

use std::path::Path;

use serde_json::{Map, Value};

use super::InitArgs;
use crate::handover::{CloudStorage, cloud_storages, still_runs};
use crate::names::printable;
use crate::settings::Problem;
use crate::settings::keys::is_secret;

/// The words with the storages that `config.json` names.
///
/// # Errors
/// Label Studio runs, there is no project, or its storages are local already.
pub fn fill(args: &InitArgs, cwd: &Path, warnings: &mut Vec<Problem>) -> Result<InitArgs, Problem> {
    let name = args.words.last().map_or("", String::as_str);
    let project = cwd.join(args.project_dir.as_deref().unwrap_or(Path::new(name)));
    let shown = printable(&project.display().to_string()).into_owned();
    if !project.exists() {
        let remedy = "name the project to take over with `--project-dir DIR`";
        return Err(Problem::new(shown, "there is no such directory", remedy));
    }
    if let Some(problem) = still_runs(&project) {
        return Err(problem);
    }
    let [source, target] = cloud_storages(&project)?;
    if source.is_none() && target.is_none() {
        let message = "its storages are local already (config.json): there is nothing to take over";
        return Err(Problem::new(shown, message, "leave --adopt out"));
    }
    let mut filled = args.clone();
    filled.project_dir = Some(project);
    if let Some(storage) = source {
        filled.source_params = params("--source-params", args.source_params.as_deref(), &storage, warnings);
        filled.source.get_or_insert(storage.kind);
        filled.source_path.get_or_insert(storage.bucket);
    }
    if let Some(mut storage) = target {
        if storage.params.remove("create_local_copy") == Some(Value::Bool(false)) {
            let message = "was false: local storages of Label Studio show only what stands in completions/";
            warnings.push(Problem::new("create_local_copy", message, "completions are brought in from the target"));
        }
        filled.target_params = params("--target-params", args.target_params.as_deref(), &storage, warnings);
        filled.target.get_or_insert(storage.kind);
        filled.target_path.get_or_insert(storage.bucket);
    }
    Ok(filled)
}

/// Label Studio's parameters, with those of the command line over them.
fn params(option: &str, given: Option<&str>, storage: &CloudStorage, warnings: &mut Vec<Problem>) -> Option<String> {
    let mut params = Map::new();
    for (name, value) in &storage.params {
        // Label Studio's own pages repeat these beside the parameters.
        if ["name", "type", "path"].contains(&name.as_str()) {
            continue;
        }
        if is_secret(name) {
            let message = "stands in config.json, and is not taken over";
            let remedy = "give credentials through the environment, ~/.aws or systemd's LoadCredential=";
            warnings.push(Problem::new(format!("{option} {}", printable(name)), message, remedy));
            continue;
        }
        params.insert(name.clone(), value.clone());
    }
    match given.map(serde_json::from_str::<Value>) {
        None => {}
        Some(Ok(Value::Object(given))) => params.extend(given),
        // It is answered as it stands.
        Some(Ok(_) | Err(_)) => return given.map(str::to_owned),
    }
    Some(Value::Object(params).to_string())
}
