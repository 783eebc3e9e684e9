//! Runtime changes on disk: one small file a project, below the state directory.
//!
//! Promise: a change is on the disk before [`OverridesStore::save`] returns; a crash at any instant leaves the old file
//! or the new one; a damaged file is an error with its remedy, never taken for "no changes" (promises 16, 41, 44, 55).
//! Not here: whether the values are valid.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Overrides, Problem, atomic, file};
use crate::meters::errno;
use crate::names::{ProjectName, Sha256, printable};

/// The form of these files; a newer one is refused.
const FORMAT: u32 = 1;
/// How the first line begins; the format and the SHA-256 of all that follows come after it.
const HEADER: &str = "# labelsync runtime changes, format ";
/// Between format and hash.
const HASH: &str = ", sha256 ";
/// The directory's name in the state directory.
const DIR: &str = "overrides";
/// The same for one that is not whole yet.
const UNFINISHED: &str = "overrides.new";
/// Only the daemon reads and writes them.
const FILE_MODE: u32 = 0o600;
/// The same for their directory.
const DIR_MODE: u32 = 0o700;

/// Why runtime changes cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum OverridesError {
    /// The disk, or its permissions.
    #[error("cannot {operation} {}", printable(&path.display().to_string()))]
    Io {
        /// `read`, `write` or `clean`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("runtime changes in {} are damaged: {detail}", printable(&path.display().to_string()))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A newer labelsync wrote it.
    #[error("runtime changes in {} have format {format}, and this labelsyncd knows {FORMAT}", printable(&path.display().to_string()))]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl OverridesError {
    /// The system's error behind it, by its name; `None`: the system had no part in it.
    pub fn errno(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } => errno(source),
            Self::Damaged { .. } | Self::Newer { .. } => None,
        }
    }

    /// What a person does next.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "the state directory is gone: put it back, mount it, or restore a backup, then restart labelsyncd"
                    .to_owned()
            }
            Self::Io { .. } => "check the permissions and the free space of the state directory".to_owned(),
            Self::Damaged { path, .. } => format!(
                "restore the file from a backup, or move it away (`mv {0} {0}.damaged`): what was set with lsctl is lost \
                 then and must be set again",
                printable(&path.display().to_string())
            ),
            Self::Newer { .. } => {
                "run the newer labelsyncd again, or restore a backup of the state directory".to_owned()
            }
        }
    }

    /// The same as a problem of the settings.
    pub fn problem(&self) -> Problem {
        let path = match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } | Self::Newer { path, .. } => path,
        };
        let message = match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        };
        Problem::new(printable(&path.display().to_string()), message, self.remedy())
    }
}

/// Where runtime changes are kept: `STATE_DIR/overrides/PROJECT.toml`.
#[derive(Clone, Debug)]
pub struct OverridesStore {
    dir: PathBuf,
}

impl OverridesStore {
    /// Makes the directory where it is missing and removes what a crash left in it. One process may have it open.
    ///
    /// # Errors
    /// The disk, or its permissions.
    pub fn open(state_dir: &Path) -> Result<Self, OverridesError> {
        let dir = state_dir.join(DIR);
        let failed = |source| OverridesError::Io { operation: "clean", path: dir.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(&dir).map_err(failed)?;
        atomic::remove_leftovers(&dir).map_err(failed)?;
        atomic::sync_dir(state_dir).map_err(failed)?;
        Ok(Self { dir })
    }

    /// The store as it is, for reading only: makes and removes nothing (`labelsyncd --check`).
    pub fn peek(state_dir: &Path) -> Self {
        Self { dir: state_dir.join(DIR) }
    }

    /// A project's file.
    pub fn path(&self, project: &ProjectName) -> PathBuf {
        self.dir.join(format!("{project}.toml"))
    }

    /// A project's runtime changes; none where there is no file.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or newer.
    pub fn load(&self, project: &ProjectName) -> Result<Overrides, OverridesError> {
        let path = self.path(project);
        match file::read_text(&path) {
            Ok(text) => parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Overrides::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(OverridesError::Damaged { path, detail: "it is no UTF-8 text".to_owned() })
            }
            Err(source) => Err(OverridesError::Io { operation: "read", path, source }),
        }
    }

    /// The runtime changes of all these projects.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub fn load_all<'a>(
        &self,
        projects: impl IntoIterator<Item = &'a ProjectName>,
    ) -> Result<BTreeMap<ProjectName, Overrides>, Vec<OverridesError>> {
        let (mut loaded, mut errors) = (BTreeMap::new(), Vec::new());
        for project in projects {
            match self.load(project) {
                Ok(overrides) => drop(loaded.insert(project.clone(), overrides)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    /// Where somebody removed the directory: all of it again, from the changes in force; it comes whole or not at all. True
    /// if it was gone.
    ///
    /// # Errors
    /// The disk, or the state directory is gone too.
    pub fn put_back(&self, in_force: &BTreeMap<ProjectName, Overrides>) -> Result<bool, OverridesError> {
        if self.dir.is_dir() {
            return Ok(false);
        }
        let state_dir = self.dir.parent().unwrap_or(Path::new("."));
        let new = Self { dir: state_dir.join(UNFINISHED) };
        let failed = |source| OverridesError::Io { operation: "write", path: self.dir.clone(), source };
        match std::fs::remove_dir_all(&new.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        std::fs::DirBuilder::new().mode(DIR_MODE).create(&new.dir).map_err(failed)?;
        let changed = in_force.iter().filter(|(_, overrides)| **overrides != Overrides::default());
        changed.into_iter().try_for_each(|(project, overrides)| new.save(project, overrides))?;
        std::fs::rename(&new.dir, &self.dir).and_then(|()| atomic::sync_dir(state_dir)).map_err(failed)?;
        Ok(true)
    }

    /// Keeps a project's runtime changes: on the disk when this returns.
    ///
    /// # Errors
    /// The disk; what was kept before is in force then.
    pub fn save(&self, project: &ProjectName, overrides: &Overrides) -> Result<(), OverridesError> {
        let path = self.path(project);
        atomic::replace(&path, render(overrides).as_bytes(), FILE_MODE).map_err(|source| OverridesError::Io {
            operation: "write",
            path,
            source,
        })
    }
}

fn render(overrides: &Overrides) -> String {
    let body = toml::to_string(overrides).expect("strings, flags and words are TOML");
    format!("{HEADER}{FORMAT}{HASH}{}\n{body}", Sha256::of(body.as_bytes()))
}

fn parse(text: &str, path: &Path) -> Result<Overrides, OverridesError> {
    let damaged = |detail: &str| OverridesError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
    let (header, body) = text.split_once('\n').ok_or_else(|| damaged("it has no whole first line"))?;
    let header = header.strip_prefix(HEADER).and_then(|rest| rest.split_once(HASH));
    let (format, hash) = header.ok_or_else(|| damaged("its first line is not labelsync's"))?;
    let format: u32 = format.parse().map_err(|_| damaged("its first line names no format"))?;
    if format > FORMAT {
        return Err(OverridesError::Newer { path: path.to_owned(), format });
    }
    if format != FORMAT {
        return Err(damaged("no labelsync ever wrote this format"));
    }
    if Sha256::of(body.as_bytes()).to_string() != hash {
        return Err(damaged("it is not as it was written (its SHA-256 differs): cut short, or edited by hand"));
    }
    toml::from_str(body).map_err(|error| damaged(error.message()))
}
