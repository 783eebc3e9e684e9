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

/// Whose the tasks are that a new ledger finds in `tasks.json`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tasks {
    /// Label Studio's own: the project is new.
    LabelStudios,
    /// The project had a ledger before: objects that a task is about get no second one.
    MayBeOurs,
}

impl Registry {
    /// In the state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("projects"), state_dir: state_dir.to_owned() }
    }

    /// A new project for the directory. Its ledger is there before its marker: a project that has one and no ledger has
    /// lost it. Where the marker cannot be made this is tried again and again: the ledger of each try goes with it.
    fn found(&self, dir: &Dir, tasks: Tasks) -> Result<Uuid, CycleError> {
        let project = Uuid::new_v4();
        let founded = self.bear(project, tasks).and_then(|()| Ok(write_marker(dir, project)?));
        if founded.is_err() && matches!(read_marker(dir), Ok(None)) {
            // What failed is told; a ledger that is left without a project is only a file.
            drop(Ledger::remove(&ledger_path(&self.state_dir, &project)));
        }
        founded.map(|()| project)
    }

    fn bear(&self, project: Uuid, tasks: Tasks) -> Result<(), CycleError> {
        let path = ledger_path(&self.state_dir, &project);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let ledger = Ledger::open(&path)?;
        // It says whose it is last: one that was begun, and no more, is begun again.
        if tasks == Tasks::MayBeOurs && ledger.meta("project")?.is_none() {
            ledger.note_behind()?;
        }
        Ok(ledger.set_meta("project", &project.to_string())?)
    }

    fn read(&self, name: &ProjectName) -> Result<Option<Uuid>, CycleError> {
        let file = self.dir.join(name.as_str());
        let text = match std::fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NearError::from(FileError::system("read", &file, error)).into()),
        };
        let damaged = |error: uuid::Error| CycleError::Blocked {
            code: "state_dir_error",
            message: format!("{} does not say which project it is: {error}", file.display()),
            hint: "put it back from a backup, or remove it: the marker in the project directory says it too".to_owned(),
        };
        Uuid::parse_str(text.trim()).map(Some).map_err(damaged)
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
    let known = registry.read(name)?;
    let marked = read_marker(dir).map_err(|error| unreadable_marker(dir, error, known))?;
    match (marked, known) {
        (Some(marked), Some(known)) if marked == known => Ok(Identity::Known(known)),
        (Some(marked), None) => {
            registry.write(name, marked).map_err(state)?;
            Ok(Identity::Known(marked))
        }
        (None, None) => {
            let project = registry.found(dir, Tasks::LabelStudios)?;
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
                    registry.bear(marked, Tasks::MayBeOurs)?;
                    marked
                }
                None => registry.found(dir, Tasks::MayBeOurs)?,
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

/// A marker that is torn is not taken for none: it may be another project's.
fn unreadable_marker(dir: &Dir, error: NearError, known: Option<Uuid>) -> CycleError {
    let NearError::Invalid { detail, .. } = &error else { return error.into() };
    let hint = match known {
        Some(known) => format!("put it back from a backup; it holds {{\"project\": \"{known}\", \"note\": \"\"}}"),
        None => "put it back from a backup, or remove it: labelsync makes a new one".to_owned(),
    };
    let message = format!("the marker {} is damaged: {detail}", dir.path().join(MARKER).display());
    CycleError::Blocked { code: "marker_damaged", message, hint }
}

/// The ledger's note of the directory that it serves.
const DIRECTORY: &str = "directory";

/// Refuses a copy of the project: where the directory that was served last is another one and stands there with the same
/// marker, nobody can say which of the two is the project, and one ledger for both would take what is missing in one for
/// deleted. Blocks.
pub fn refuse_copy(dir: &Dir, project: Uuid, ledger: &Ledger) -> Result<(), CycleError> {
    let here = dir.path().display().to_string();
    let served = ledger.meta_or_set(DIRECTORY, &here)?;
    if served == here {
        return Ok(());
    }
    let place = |dir: &Dir| dir.fingerprint(MARKER).ok().flatten().map(|print| (print.dev, print.ino));
    let stands = |other: &Dir| matches!(read_marker(other), Ok(Some(marked)) if marked == project);
    let copied = Dir::open(Path::new(&served)).is_ok_and(|other| stands(&other) && place(&other) != place(dir));
    if !copied {
        return Ok(ledger.set_meta(DIRECTORY, &here)?);
    }
    Err(CycleError::Blocked {
        code: "project_copied",
        message: format!("{here} has the marker of {served}, which stands there too: one of them is a copy"),
        hint: format!(
            "remove {MARKER} from the one that is not the project; a copy that is to be a project of its own is held then, \
             and `lsctl status` says how it goes on"
        ),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon died between the ledger's first line and its last: the tasks that stand there are still compared.
    #[test]
    fn l35_a_ledger_that_was_only_begun_is_begun_again() {
        let state_dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(state_dir.path());
        let project = Uuid::new_v4();
        let path = ledger_path(state_dir.path(), &project);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(Ledger::open(&path).unwrap());
        registry.bear(project, Tasks::MayBeOurs).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        assert!(ledger.is_copy().unwrap());

        // One that is whole is no copy, whoever asks for it again.
        ledger.is_no_copy_now().unwrap();
        drop(ledger);
        registry.bear(project, Tasks::MayBeOurs).unwrap();
        assert!(!Ledger::open(&path).unwrap().is_copy().unwrap());
    }
}
