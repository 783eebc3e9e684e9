//! Which project a directory is: a marker in it, and what the state directory knows.
//!
//! Promise: a directory whose marker is missing or another one (unmounted, emptied, re-initialised) is held, never
//! taken for an empty project; the daemon never makes a marker twice by itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::CycleError;
use super::files::{Dir, Expected, FileError};
use super::ledger::{HoldRow, Ledger};
use super::near::NearError;
use crate::clock::UnixMillis;
use crate::names::ProjectName;
use crate::settings::atomic;

/// The marker's name in the project directory.
pub const MARKER: &str = "labelsync.json";

/// A marker is a few lines.
const MARKER_MAX_BYTES: u64 = 64 << 10;

/// The code of the hold.
pub const REINITIALISED: &str = "project_reinitialised";

#[derive(Serialize, Deserialize)]
struct Marker {
    project: Uuid,
    note: String,
}

/// Which project it is.
#[derive(Debug)]
pub enum Identity {
    /// This one.
    Known(Uuid),
    /// It is not what it was: the operator must say so.
    Held(HoldRow),
}

/// Where the state directory keeps which project has which UUID.
#[derive(Clone, Debug)]
pub struct Registry {
    dir: PathBuf,
    state_dir: PathBuf,
}

impl Registry {
    /// In the state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("projects"), state_dir: state_dir.to_owned() }
    }

    /// A project's ledger is there before its marker: a project that has one and no ledger has lost it.
    fn bear(&self, project: Uuid) -> Result<(), CycleError> {
        let path = ledger_path(&self.state_dir, &project);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(Ledger::open(&path)?.set_meta("project", &project.to_string())?)
    }

    fn read(&self, name: &ProjectName) -> std::io::Result<Option<Uuid>> {
        match std::fs::read_to_string(self.dir.join(name.as_str())) {
            Ok(text) => Uuid::parse_str(text.trim()).map(Some).map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &ProjectName, project: Uuid) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        atomic::replace(&self.dir.join(name.as_str()), format!("{project}\n").as_bytes(), 0o600)
    }
}

/// Where a project's ledger is.
pub fn ledger_path(state_dir: &Path, project: &Uuid) -> PathBuf {
    state_dir.join("ledgers").join(format!("{project}.sqlite"))
}

/// Identifies the project in `dir`; makes the marker where neither side knows one, or where `accepted` is the id of
/// exactly what is held. Blocks.
pub fn identify(
    dir: &Dir,
    registry: &Registry,
    name: &ProjectName,
    accepted: Option<&str>,
    now: UnixMillis,
) -> Result<Identity, CycleError> {
    let state = |error: std::io::Error| NearError::from(FileError::system("use the state of", &registry.dir, error));
    let marked = read_marker(dir)?;
    let known = registry.read(name).map_err(state)?;
    match (marked, known) {
        (Some(marked), Some(known)) if marked == known => Ok(Identity::Known(known)),
        (Some(marked), None) => {
            registry.write(name, marked).map_err(state)?;
            Ok(Identity::Known(marked))
        }
        (None, None) => {
            let project = Uuid::new_v4();
            registry.bear(project)?;
            write_marker(dir, project)?;
            registry.write(name, project).map_err(state)?;
            Ok(Identity::Known(project))
        }
        (marked, Some(known)) => {
            let hold = hold(dir, marked, known, now);
            if accepted != Some(hold.id.as_str()) {
                return Ok(Identity::Held(hold));
            }
            let project = match marked {
                Some(marked) => {
                    registry.bear(marked)?;
                    marked
                }
                None => {
                    let project = Uuid::new_v4();
                    registry.bear(project)?;
                    write_marker(dir, project)?;
                    project
                }
            };
            registry.write(name, project).map_err(state)?;
            Ok(Identity::Known(project))
        }
    }
}

fn hold(dir: &Dir, marked: Option<Uuid>, known: Uuid, since: UnixMillis) -> HoldRow {
    let path = dir.path().display();
    let message = match marked {
        None => format!("{path} has lost its marker {MARKER}: not mounted, emptied, or made anew"),
        Some(other) => format!("{path} is another project now (marker {other}, known {known})"),
    };
    let seen = marked.map_or_else(|| "none".to_owned(), |marked| marked.to_string());
    let id = crate::names::Sha256::of(format!("{known}/{seen}").as_bytes()).to_string()[..8].to_owned();
    let consequence = "start a new ledger for what is there now; the old one is kept in the state directory. \
                       If the directory should be the old one, mount or restore it instead";
    HoldRow { id, code: REINITIALISED.to_owned(), message, consequence: consequence.to_owned(), since, accepted: false }
}

fn read_marker(dir: &Dir) -> Result<Option<Uuid>, NearError> {
    let Some(contents) = dir.read(MARKER, MARKER_MAX_BYTES)? else { return Ok(None) };
    let marker: Marker = serde_json::from_slice(&contents.bytes)
        .map_err(|error| NearError::Invalid { file: MARKER, detail: error.to_string() })?;
    Ok(Some(marker.project))
}

fn write_marker(dir: &Dir, project: Uuid) -> Result<(), NearError> {
    let note = "labelsync knows this project by this file: keep it with the project, do not copy it to another one";
    let marker = Marker { project, note: note.to_owned() };
    let replaced = dir.replace(MARKER, Expected::Absent { like: None }, |out| {
        serde_json::to_writer_pretty(out, &marker).map_err(std::io::Error::from)
    })?;
    debug_assert!(replaced.displaced.is_none(), "it was absent");
    Ok(())
}
