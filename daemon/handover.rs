//! Label Studio's own cloud storages: taken over by `labelsyncd init --adopt`, given back by `labelsyncd release`.
//!
//! Promise: every version of Label Studio goes on with the same ids; `config.json` is replaced whole, last, and keeps
//! everything else that stands in it; nothing is touched while a Label Studio is seen to run on the directory.
//! Not here: ids (`project/host` reads `source.json`), settings (`init`).

pub mod release;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::names::printable;
use crate::project::directory::{COMPLETIONS, CONFIG, CONFIG_MAX_BYTES, MAP_BEFORE, MAP_MAX_BYTES, SOURCE_MAP, TASKS};
use crate::project::files::{Dir, Expected, FileError};
use crate::settings::Problem;

/// The copy of `config.json` as it was before.
pub const CONFIG_BEFORE: &str = "config.json.before-labelsync";

/// A command line of the machine; a longer one is none of Label Studio's.
const COMMAND_LINE_MAX_BYTES: usize = 64 << 10;

/// Words of a command line among which the program's name stands: `python3`, its options, the script.
const PROGRAM_WORDS: usize = 5;

/// A cloud storage in `config.json`.
#[derive(Clone, PartialEq, Debug)]
pub struct CloudStorage {
    /// `s3`, `gcs-completions` …
    pub kind: String,
    /// The bucket.
    pub bucket: String,
    /// As Label Studio takes them.
    pub params: Map<String, Value>,
}

/// The cloud storages that `config.json` names: source, target. `None`: that side is local.
///
/// # Errors
/// There is no such file, or it is no JSON object.
pub fn cloud_storages(project: &Path) -> Result<[Option<CloudStorage>; 2], Problem> {
    let (_, config) = read_config(project)?;
    Ok(["source", "target"].map(|side| cloud_storage(&config, side)))
}

fn cloud_storage(config: &Map<String, Value>, side: &str) -> Option<CloudStorage> {
    let storage = config.get(side)?;
    let kind = storage.get("type")?.as_str()?;
    if !["s3", "gcs"].iter().any(|cloud| kind.starts_with(cloud)) {
        return None;
    }
    let bucket = storage.get("path").and_then(Value::as_str).unwrap_or_default();
    let params = storage.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(CloudStorage { kind: kind.to_owned(), bucket: bucket.to_owned(), params })
}

/// Sets the storages of a project to local ones, makes what these need, and keeps a copy of `config.json`.
///
/// # Errors
/// The disk. Run again, it goes on.
pub fn to_local(project: &Path) -> Result<(), Problem> {
    let (dir, mut config) = read_config(project)?;
    let failed = |error: FileError| failed(project, &error);
    let like = dir.attributes(CONFIG).map_err(failed)?;
    dir.sub(COMPLETIONS, true).map_err(failed)?;
    if dir.fingerprint(TASKS).map_err(failed)?.is_none() {
        let made = dir.replace(TASKS, Expected::Absent { like: like.as_ref() }, |out| out.write_all(b"{}"));
        drop(made.map_err(failed)?);
    }
    map_to_local(&dir, project).map_err(failed)?;
    // 0.7 writes absolute paths and takes no others; 0.8 joins them to the project directory.
    let absolute = config.get("label_config").and_then(Value::as_str).is_some_and(|path| path.starts_with('/'));
    let path = |name: &str| if absolute { project.join(name).display().to_string() } else { name.to_owned() };
    for (side, name, kind, file) in
        [("source", "Tasks", "tasks-json", TASKS), ("target", "Completions", "completions-dir", COMPLETIONS)]
    {
        if cloud_storage(&config, side).is_some() {
            config.insert(side.to_owned(), json!({"name": name, "type": kind, "path": path(file)}));
        }
    }
    config.insert("input_path".to_owned(), json!(path(TASKS)));
    config.insert("output_dir".to_owned(), json!(path(COMPLETIONS)));
    write_config(&dir, &config).map_err(failed)
}

/// Lets `source.json` name the places in `tasks.json` under the ids of the objects: 0.7 gives a place that it does not
/// find there the next id, whatever its number. The map as it was stays beside it: labelsync takes its ids from there. One
/// that cannot be read stays as it is: `labelsyncd` says so.
fn map_to_local(dir: &Dir, project: &Path) -> Result<(), FileError> {
    let Some(before) = dir.read(SOURCE_MAP, MAP_MAX_BYTES)? else { return Ok(()) };
    let Ok(mut map) = serde_json::from_slice::<Map<String, Value>>(&before.bytes) else { return Ok(()) };
    let is_cloud = |key: &str| key.starts_with("s3://") || key.starts_with("gs://");
    let mut changed = false;
    for (id, entry) in &mut map {
        if entry["key"].as_str().is_some_and(is_cloud) {
            entry["key"] = json!(project.join(TASKS).join(id).display().to_string());
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    replace(dir, MAP_BEFORE, &String::from_utf8_lossy(&before.bytes))?;
    replace(dir, SOURCE_MAP, &Value::Object(map).to_string())
}

/// Replaces `config.json`; the first version that labelsync replaces is kept beside it.
fn write_config(dir: &Dir, config: &Map<String, Value>) -> Result<(), FileError> {
    let like = dir.attributes(CONFIG)?;
    let Some(before) = dir.read(CONFIG, CONFIG_MAX_BYTES)? else { return Ok(()) };
    if dir.fingerprint(CONFIG_BEFORE)?.is_none() {
        let kept =
            dir.replace(CONFIG_BEFORE, Expected::Absent { like: like.as_ref() }, |out| out.write_all(&before.bytes));
        drop(kept?);
    }
    replace(dir, CONFIG, &format!("{:#}", Value::Object(config.clone())))
}

/// Replaces a file of Label Studio's, or makes it like `config.json`. What is displaced is discarded: nobody writes.
fn replace(dir: &Dir, name: &str, text: &str) -> Result<(), FileError> {
    let (like, before) = (dir.attributes(CONFIG)?, dir.fingerprint(name)?);
    let expected = before.as_ref().map_or(Expected::Absent { like: like.as_ref() }, Expected::Is);
    let replaced = dir.replace(name, expected, |out| out.write_all(ascii(text).as_bytes()))?;
    replaced.displaced.map_or(Ok(()), |displaced| displaced.discard())
}

/// JSON in ASCII, as Label Studio writes it: it reads `config.json` in the encoding of its environment.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut units).iter().for_each(|unit| text += &format!("\\u{unit:04x}"));
        }
    }
    text
}

fn read_config(project: &Path) -> Result<(Dir, Map<String, Value>), Problem> {
    let dir = Dir::open(project).map_err(|error| failed(project, &error))?;
    let contents = dir.read(CONFIG, CONFIG_MAX_BYTES).map_err(|error| failed(project, &error))?;
    let path = printable(&project.display().to_string()).into_owned();
    let Some(contents) = contents else {
        let remedy = "name the Label Studio project with `--project-dir DIR`";
        return Err(Problem::new(path, "has no config.json: it is no Label Studio project", remedy));
    };
    match serde_json::from_slice(&contents.bytes) {
        Ok(Value::Object(config)) => Ok((dir, config)),
        Ok(_) | Err(_) => {
            let remedy = "restore it: Label Studio does not start with it either";
            Err(Problem::new(path, "has a config.json that is no JSON object", remedy))
        }
    }
}

fn failed(project: &Path, error: &FileError) -> Problem {
    let path = printable(&project.display().to_string()).into_owned();
    Problem::new(path, printable(&error.to_string()).into_owned(), error.remedy().to_owned())
}

/// What stops a takeover in either direction: a Label Studio that runs on the directory, which holds everything in its
/// memory and would write it back.
pub fn still_runs(project: &Path) -> Option<Problem> {
    let pid = label_studio_on(project).ok()??;
    let path = printable(&project.display().to_string()).into_owned();
    let message = format!("a Label Studio (process {pid}) runs on this directory");
    Some(Problem::new(path, message, format!("stop it (`kill {pid}`, or its service), then run this again")))
}

/// The process of a Label Studio that was started with this project, as far as this user may see.
fn label_studio_on(project: &Path) -> io::Result<Option<u32>> {
    let project = project.canonicalize()?;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        // It may have ended, or be somebody else's.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if is_label_studio_on(&line, &cwd, &project) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// `line`: words, each ended by a NUL.
fn is_label_studio_on(line: &[u8], cwd: &Path, project: &Path) -> bool {
    let words: Vec<&str> = match std::str::from_utf8(line) {
        Ok(line) if line.len() <= COMMAND_LINE_MAX_BYTES => line.split('\0').collect(),
        Ok(_) | Err(_) => return false,
    };
    let program = words.iter().take(PROGRAM_WORDS).position(|word| {
        let name = Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "label-studio" || name == "label_studio" || name.starts_with("label_studio.")
    });
    let Some(program) = program else { return false };
    let root = words.iter().position(|word| *word == "--root-dir").and_then(|at| words.get(at + 1));
    let bases = [Some(cwd.to_owned()), root.map(|root| cwd.join(root))];
    let is_project = |place: PathBuf| place.canonicalize().is_ok_and(|place| place == project);
    words[program + 1..]
        .iter()
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .any(|word| bases.iter().flatten().any(|base| is_project(base.join(word))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_studio_on_the_directory_is_seen_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("cats");
        std::fs::create_dir(&project).unwrap();
        let project = project.canonicalize().unwrap();
        let on = |line: &str| is_label_studio_on(line.replace(' ', "\0").as_bytes(), dir.path(), &project);
        assert!(on("/usr/bin/python3 /venv/bin/label-studio start cats --port 8080"));
        assert!(on(&format!("label-studio start {} -b", project.display())));
        assert!(on(&format!("python3 -m label_studio.server start cats --root-dir {}", dir.path().display())));
        assert!(!on("label-studio start dogs"));
        assert!(!on("vim cats/config.json"));
        assert!(!on("tail -f label-studio.log cats"));
    }

    #[test]
    fn json_is_ascii_as_label_studio_writes_it() {
        assert_eq!(ascii("{\"é\": \"😀\"}"), "{\"\\u00e9\": \"\\ud83d\\ude00\"}");
    }
}
