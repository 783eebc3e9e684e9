//! A Label Studio 0.7/0.8 project directory.
//!
//! Promise: looks are whole or errors; what is written is whole, durable, and still Label Studio's to use.
//! Not here: deciding anything; how a file is replaced (`files`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::copies::{COPIES_DIR, Copies, CopyLimits, CopyPath};
use super::files::{Contents, Dir, EntryKind, Expected, FileErrorKind, Fingerprint, fingerprint_of};
use super::identity::MARKER;
use super::near::{BroughtIn, Near, NearError, OwnStorages, Prints, Reads, SourceMap, Written};
use super::tasks::file::{self, Edits, TasksFileError};
use crate::names::{Key, TaskId, printable};
use crate::store::local_url;

/// Label Studio's tasks.
pub const TASKS: &str = "tasks.json";
/// Label Studio's map of what it has listed.
pub const SOURCE_MAP: &str = "source.json";
/// The map as Label Studio's own cloud source left it, kept by `labelsyncd init --adopt`.
pub const MAP_BEFORE: &str = "source.json.before-labelsync";
/// Label Studio's map of its cloud target, kept by us.
pub const TARGET_MAP: &str = "target.json";
/// Label Studio's settings of the project.
pub const CONFIG: &str = "config.json";
/// The label config, where `config.json` names no other.
pub const LABEL_CONFIG: &str = "config.xml";
/// Where completions are.
pub const COMPLETIONS: &str = "completions";

/// Label Studio's own files besides `tasks.json`: at ten million ids `source.json` has 700 MB; it is read whole.
pub const MAP_MAX_BYTES: u64 = 1 << 30;
/// A displaced `tasks.json`, read whole.
const TASKS_MAX_BYTES: u64 = 4 << 30;
/// `config.json` and the label config.
pub const CONFIG_MAX_BYTES: u64 = 16 << 20;
/// Entries of `completions/`: ten million completions and as many names that are not ours to judge.
const COMPLETIONS_MAX_ENTRIES: u64 = 20_000_000;

/// A project directory. Opened anew where it was moved or mounted over.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Device and inode of its marker.
    marker: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct SourceEntry {
    key: String,
}

#[derive(Serialize)]
struct TargetEntry {
    key: String,
    exists: bool,
}

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    source: Option<Storage>,
    #[serde(default)]
    target: Option<Storage>,
    #[serde(default)]
    label_config: Option<String>,
}

#[derive(Deserialize)]
struct Storage {
    #[serde(default, rename = "type")]
    kind: String,
}

impl Directory {
    /// The project at an absolute path. Nothing is opened yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), marker: None }
    }

    /// The same, and every look and write first makes sure that the marker `print` still stands there (promise 8):
    /// another directory in its place, or nothing mounted, is an error, never an empty project.
    pub fn marked(path: &Path, print: &Fingerprint) -> Self {
        Self { path: path.to_owned(), marker: Some((print.dev, print.ino)) }
    }

    /// The open directory.
    pub fn dir(&self) -> Result<Dir, NearError> {
        let dir = Dir::open(&self.path)?;
        if let Some(marker) = self.marker {
            let there = dir.fingerprint(MARKER)?.map(|print| (print.dev, print.ino));
            if there != Some(marker) {
                return Err(NearError::Unmarked { path: printable(&self.path.to_string_lossy()).into_owned() });
            }
        }
        Ok(dir)
    }

    fn completions_dir(&self) -> Result<Option<Dir>, NearError> {
        match self.dir()?.sub(COMPLETIONS, false) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind == FileErrorKind::Missing => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn config(&self) -> Result<Config, NearError> {
        let Some(contents) = self.dir()?.read(CONFIG, CONFIG_MAX_BYTES)? else { return Ok(Config::default()) };
        serde_json::from_slice(&contents.bytes)
            .map_err(|error| NearError::Invalid { file: CONFIG, detail: error.to_string() })
    }

    fn map(&self, name: &str) -> Result<SourceMap, NearError> {
        let contents = match self.dir()?.read(name, MAP_MAX_BYTES) {
            Ok(Some(contents)) => contents,
            Ok(None) => return Ok(SourceMap::Missing),
            Err(error) if error.kind == FileErrorKind::Changing => return Ok(SourceMap::Unreadable),
            Err(error) => return Err(error.into()),
        };
        let Ok(entries) = serde_json::from_slice::<BTreeMap<String, SourceEntry>>(&contents.bytes) else {
            return Ok(SourceMap::Unreadable);
        };
        let ids: Option<BTreeMap<TaskId, Key>> =
            entries.into_iter().map(|(id, entry)| Some((TaskId::parse(&id)?, Key::new(entry.key)))).collect();
        Ok(ids.map_or(SourceMap::Unreadable, |ids| SourceMap::Ids(ids.into_iter().collect())))
    }
}

/// The last entry's `}` and what may stand between it and the map's; with more in between, the file is written anew.
const MAP_END_BYTES: usize = 64;

/// Where the map's last `}` is; `None`: the file does not end with it, or no entry with its own `}` stands before it, as
/// in an empty map: nothing can be appended there.
fn before_end(tasks: &File) -> io::Result<Option<u64>> {
    let length = tasks.metadata()?.len();
    let mut end = [0; MAP_END_BYTES];
    let end = &mut end[..usize::try_from(length).unwrap_or(MAP_END_BYTES).min(MAP_END_BYTES)];
    tasks.read_exact_at(end, length - end.len() as u64)?;
    let Some((b'}', before)) = end.split_last() else { return Ok(None) };
    Ok((before.trim_ascii_end().last() == Some(&b'}')).then(|| length - 1))
}

/// `completions/7.json`: `7.json`.
fn completion_name(id: TaskId) -> String {
    format!("{id}.json")
}

impl Near for Directory {
    fn tasks_print(&self) -> Result<Option<Fingerprint>, NearError> {
        Ok(self.dir()?.fingerprint(TASKS)?)
    }

    fn scan_tasks(
        &self,
        each: &mut dyn FnMut(TaskId, &str) -> io::Result<()>,
    ) -> Result<Option<Fingerprint>, NearError> {
        let dir = self.dir()?;
        let Some((file, print)) = dir.open_reader(TASKS)? else { return Ok(None) };
        let scanned = file::scan(&file, each);
        // Label Studio writes in place: a version that changed under the walk was no version at all, whatever it read as.
        let changed = fingerprint_of(&file).map_err(TasksFileError::Io)? != print;
        match scanned {
            Ok(()) | Err(TasksFileError::Invalid(_)) if changed => Err(TasksFileError::Torn.into()),
            scanned => Ok(scanned.map(|()| Some(print))?),
        }
    }

    fn source_print(&self) -> Result<Option<Fingerprint>, NearError> {
        Ok(self.dir()?.fingerprint(SOURCE_MAP)?)
    }

    fn source_map(&self) -> Result<SourceMap, NearError> {
        self.map(SOURCE_MAP)
    }

    fn tasks_born_ns(&self) -> Result<Option<i64>, NearError> {
        Ok(self.dir()?.born_ns(TASKS)?)
    }

    fn map_born_ns(&self) -> Result<Option<i64>, NearError> {
        Ok(self.dir()?.born_ns(SOURCE_MAP)?)
    }

    fn map_before(&self) -> Result<SourceMap, NearError> {
        self.map(MAP_BEFORE)
    }

    fn label_config(&self) -> Result<(String, Fingerprint), NearError> {
        let named = self.config()?.label_config.unwrap_or_else(|| LABEL_CONFIG.to_owned());
        // Label Studio joins the name to the project directory; 0.7 writes it absolute.
        let name = Path::new(&named).strip_prefix(&self.path).unwrap_or(Path::new(&named));
        let name = name.to_str().unwrap_or(LABEL_CONFIG);
        let missing = || NearError::Invalid { file: LABEL_CONFIG, detail: "there is no label config".to_owned() };
        let contents = self.dir()?.read(name, CONFIG_MAX_BYTES)?.ok_or_else(missing)?;
        let text = String::from_utf8(contents.bytes)
            .map_err(|_| NearError::Invalid { file: LABEL_CONFIG, detail: "it is not UTF-8".to_owned() })?;
        Ok((text, contents.print))
    }

    fn own_storages(&self) -> Result<OwnStorages, NearError> {
        let config = self.config()?;
        let cloud = |storage: &Option<Storage>| {
            storage.as_ref().is_some_and(|s| ["s3", "gcs"].iter().any(|cloud| s.kind.starts_with(cloud)))
        };
        Ok(OwnStorages { source: cloud(&config.source), target: cloud(&config.target) })
    }

    fn completions(&self) -> Result<Vec<TaskId>, NearError> {
        let Some(dir) = self.completions_dir()? else { return Ok(Vec::new()) };
        let mut ids = Vec::new();
        for entry in dir.names(COMPLETIONS_MAX_ENTRIES)? {
            let entry = entry?;
            let name = entry.name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let (EntryKind::File, Some(id)) = (entry.kind, name.and_then(TaskId::parse)) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn has_completions(&self) -> Result<bool, NearError> {
        Ok(self.completions_dir()?.is_some())
    }

    fn completions_changed_ns(&self) -> Result<Option<i64>, NearError> {
        let Some(dir) = self.completions_dir()? else { return Ok(None) };
        Ok(Some(dir.changed_ns()?))
    }

    fn completion_print(&self, id: TaskId) -> Result<Option<Fingerprint>, NearError> {
        let Some(dir) = self.completions_dir()? else { return Ok(None) };
        Ok(dir.fingerprint(&completion_name(id))?)
    }

    fn completion_prints(&self) -> Result<Prints<'_>, NearError> {
        let Some(dir) = self.completions_dir()? else { return Ok(Box::new(|_| Ok(None))) };
        Ok(Box::new(move |id| Ok(dir.fingerprint(&completion_name(id))?)))
    }

    fn completion(&self, id: TaskId, limit_bytes: u64) -> Result<Option<Contents>, NearError> {
        self.completion_reads()?(id, limit_bytes)
    }

    fn completion_reads(&self) -> Result<Reads<'_>, NearError> {
        let Some(dir) = self.completions_dir()? else { return Ok(Box::new(|_, _| Ok(None))) };
        Ok(Box::new(move |id, limit_bytes| Ok(dir.read(&completion_name(id), limit_bytes)?)))
    }

    fn displaced_at_start(&self) -> Result<Vec<Vec<u8>>, NearError> {
        let dir = self.dir()?;
        let mut displaced = Vec::new();
        for leftover in dir.clean_leftovers()? {
            if leftover.of == TASKS
                && let Some(contents) = dir.read(&leftover.name, TASKS_MAX_BYTES)?
            {
                displaced.push(contents.bytes);
            }
        }
        Ok(displaced)
    }

    fn forget_displaced(&self) -> Result<(), NearError> {
        let dir = self.dir()?;
        for leftover in dir.clean_leftovers()? {
            dir.discard_leftover(&leftover)?;
        }
        Ok(())
    }

    fn copy_url(&self, key: &Key) -> String {
        let place = self.path.join(COPIES_DIR).join(CopyPath::of(key).in_copies());
        local_url(&place)
    }

    fn copies(&self, limits: CopyLimits) -> Result<Copies, NearError> {
        let dir = self.dir()?;
        let like = dir.attributes(TASKS)?;
        Ok(Copies::open(&dir, limits, like)?)
    }

    fn write_tasks(&self, base: Option<&Fingerprint>, edits: &mut dyn Edits) -> Result<Written, NearError> {
        let dir = self.dir()?;
        let mut source = None;
        if let Some(base) = base {
            let Some((file, print)) = dir.open_reader(TASKS)? else { return Err(TasksFileError::Torn.into()) };
            if print != *base {
                return Err(TasksFileError::Torn.into());
            }
            source = Some(file);
        }
        let like = dir.attributes(CONFIG)?;
        let expected = base.map_or(Expected::Absent { like: like.as_ref() }, Expected::Is);
        let mut unreadable = false;
        let replaced = dir.replace(TASKS, expected, |out| {
            if edits.only_adds()
                && let Some(file) = &source
                && let Some(before_end) = before_end(file)?
            {
                out.copy_start_of(file, before_end)?;
                return file::append(edits, out);
            }
            let base = source.as_mut().map(|file| file as &mut dyn Read);
            file::rewrite(base, edits, out).map_err(|error| match error {
                TasksFileError::Io(error) => error,
                other => {
                    unreadable = true;
                    io::Error::other(other)
                }
            })
        });
        let replaced = match replaced {
            // Label Studio wrote into the version that was being copied.
            Err(_) if unreadable && dir.fingerprint(TASKS)?.as_ref() != base => return Err(TasksFileError::Torn.into()),
            replaced => replaced?,
        };
        Ok(Written { print: replaced.print, displaced: replaced.displaced })
    }

    fn bring_in(&self, id: TaskId, bytes: &[u8], expected: Option<&Fingerprint>) -> Result<BroughtIn, NearError> {
        let dir = self.dir()?;
        let like = dir.attributes(TASKS)?;
        let completions = dir.sub(COMPLETIONS, true)?;
        let expected = expected.map_or(Expected::Absent { like: like.as_ref() }, Expected::Is);
        let replaced = completions.replace(&completion_name(id), expected, |out| out.write_all(bytes));
        let replaced = match replaced {
            Ok(replaced) => replaced,
            Err(error) if error.kind == FileErrorKind::NotAsExpected => return Ok(BroughtIn::Overtaken),
            Err(error) => return Err(error.into()),
        };
        if let Some(displaced) = replaced.displaced {
            if displaced.as_expected() {
                return Ok(BroughtIn::Done(replaced.print, Some(Box::new(displaced))));
            }
            take_back(displaced)?;
            return Ok(BroughtIn::Overtaken);
        }
        Ok(BroughtIn::Done(replaced.print, None))
    }

    fn write_target_map(&self, root_and_prefix: &str, ids: &[TaskId]) -> Result<(), NearError> {
        let dir = self.dir()?;
        let before = dir.read(TARGET_MAP, MAP_MAX_BYTES)?;
        let mut entries: BTreeMap<TaskId, serde_json::Value> = BTreeMap::new();
        if let Some(before) = &before {
            let old: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&before.bytes)
                .map_err(|error| NearError::Invalid { file: TARGET_MAP, detail: error.to_string() })?;
            entries.extend(old.into_iter().filter_map(|(id, entry)| Some((TaskId::parse(&id)?, entry))));
        }
        for id in ids {
            let entry = TargetEntry { key: format!("{root_and_prefix}{id}"), exists: true };
            let entry = serde_json::to_value(entry).map_err(|e| TasksFileError::Io(e.into()))?;
            entries.insert(*id, entry);
        }
        let entries: BTreeMap<TaskId, serde_json::Value> = entries;
        let like = dir.attributes(TASKS)?;
        let expected = before.as_ref().map_or(Expected::Absent { like: like.as_ref() }, |b| Expected::Is(&b.print));
        let replaced =
            dir.replace(TARGET_MAP, expected, |out| serde_json::to_writer(out, &entries).map_err(io::Error::from))?;
        if let Some(displaced) = replaced.displaced {
            displaced.discard()?;
        }
        Ok(())
    }
}

/// Gives a completion that Label Studio wrote at the last moment its name back.
pub(super) fn take_back(displaced: super::files::Displaced) -> Result<(), NearError> {
    use super::files::Undone;
    match displaced.undo()? {
        Undone::Restored(ours) => ours.discard()?,
        // Label Studio has written our file since, from its memory, which holds what it wrote before.
        Undone::Overtaken(older) => older.discard()?,
    }
    Ok(())
}
