//! The project directory: what is there, and one made as Label Studio 0.8 makes it.
//!
//! Promise: a directory that is there keeps every byte; a new one appears whole or not at all, readable and writable by
//! whoever owns the directory above it.
//! Not here: tasks, completions, what labelsync adds later.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::settings::atomic::sync_dir;

/// Label Studio's own `config.json` has a kilobyte; one with an embedded label config has more.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// What Label Studio 0.8 makes, in its order; `completions` is a directory.
const FILES: [&str; 4] = ["config.xml", "tasks.json", "completions", "config.json"];

/// The label config of a project that has none yet.
pub const EMPTY_LABEL_CONFIG: &str = "<View></View>";

/// What stands where the project is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A directory with nothing in it (names that begin with a dot, and `lost+found`, do not count).
    Empty,
    /// A whole project.
    Project {
        /// The type of a cloud storage that Label Studio itself reads as source.
        cloud_source: Option<String>,
        /// The type of a cloud storage that Label Studio itself writes to.
        cloud_target: Option<String>,
    },
    /// Some of a project's files are there and some are not.
    HalfMade {
        /// What is there.
        present: Vec<String>,
        /// What is not.
        missing: Vec<String>,
    },
    /// `config.json` cannot be understood.
    BadConfig(String),
    /// A directory with other things in it.
    Other {
        /// One of them.
        example: String,
    },
    /// No directory at all.
    NoDirectory,
    /// It cannot be looked at.
    Unreadable(String),
}

/// Looks, changes nothing.
pub fn look(dir: &Path) -> Found {
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {
            look_inside(dir).unwrap_or_else(|error| Found::Unreadable(error.to_string()))
        }
        Ok(_) => Found::NoDirectory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Missing,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn look_inside(dir: &Path) -> io::Result<Found> {
    let mut example = None;
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "lost+found" {
            example = Some(name);
            break;
        }
    }
    let Some(example) = example else { return Ok(Found::Empty) };
    if FILES.iter().all(|name| !dir.join(name).exists()) {
        return Ok(Found::Other { example });
    }
    if !dir.join("config.json").exists() {
        return Ok(half_made(dir, FILES.to_vec()));
    }
    let mut text = String::new();
    File::open(dir.join("config.json"))?.take(CONFIG_BYTES_MAX).read_to_string(&mut text)?;
    let config = match serde_json::from_str::<Value>(&text) {
        Ok(config @ Value::Object(_)) => config,
        Ok(_) => return Ok(Found::BadConfig("it is JSON, but no object".to_owned())),
        Err(error) => return Ok(Found::BadConfig(format!("it is no JSON (line {})", error.line()))),
    };
    let kind =
        |side: &str| config.get(side).and_then(|side| side.get("type")).and_then(Value::as_str).map(str::to_owned);
    let cloud_source = kind("source").filter(|kind| kind != "tasks-json");
    let cloud_target = kind("target").filter(|kind| kind != "completions-dir");
    let mut needed = vec!["config.xml", "config.json"];
    if cloud_source.is_none() {
        needed.push("tasks.json");
    }
    if cloud_target.is_none() {
        needed.push("completions");
    }
    Ok(match half_made(dir, needed) {
        Found::HalfMade { missing, .. } if missing.is_empty() => Found::Project { cloud_source, cloud_target },
        other => other,
    })
}

fn half_made(dir: &Path, needed: Vec<&str>) -> Found {
    let (present, missing): (Vec<&str>, Vec<&str>) = needed.into_iter().partition(|name| dir.join(name).exists());
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Found::HalfMade { present: owned(present), missing: owned(missing) }
}

/// A directory to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDirectory {
    /// Where.
    pub path: PathBuf,
    /// The bytes of `config.xml`.
    pub label_config: Vec<u8>,
}

/// `config.json` as Label Studio 0.8.2 writes it for a project with its local storages.
pub fn config_json() -> String {
    let config = json!({
        "title": "Label Studio",
        "description": "default",
        "protocol": "http://",
        "host": "0.0.0.0",
        "port": 8080,
        "debug": false,
        "label_config": "config.xml",
        "input_path": "tasks.json",
        "output_dir": "completions",
        "instruction": "<img src='static/images/ls_logo.png'><br> Type some <b>hypertext</b> for annotators here!<br> \
                        <a href='https://labelstud.io/guide/labeling.html'>Read more</a> about the labeling interface.",
        "allow_delete_completions": true,
        "templates_dir": "examples",
        "editor": {"debug": false},
        "sampling": "sequential",
        "ml_backends": [],
        "task_page_auto_update_timer": 10000,
        "show_project_links_in_multisession": true,
        "source": {"name": "Tasks", "type": "tasks-json", "path": "tasks.json"},
        "target": {"name": "Completions", "type": "completions-dir", "path": "completions"},
    });
    format!("{config:#}")
}

/// Makes the directory: beside its place, then renamed to it. Run as root, it belongs to whom the directory above does.
///
/// # Errors
/// Those of the disk; nothing is left behind then, but for directories above it.
pub fn make(new: &NewDirectory) -> io::Result<()> {
    let (Some(parent), Some(name)) = (new.path.parent(), new.path.file_name()) else {
        return Err(io::Error::other("the root is no project directory"));
    };
    // A directory that is there keeps its inode (it may be a mount point): files move into it.
    let (empty, above) = match std::fs::metadata(&new.path) {
        Ok(metadata) => (true, metadata),
        Err(_) => (false, make_parents(parent)?),
    };
    let unfinished = format!(".{}.labelsync-init.tmp", name.to_string_lossy());
    let unfinished = if empty { new.path.join(unfinished) } else { parent.join(unfinished) };
    let owner = Owner::of(&above);
    let made = fill(&unfinished, new, &owner).and_then(|()| {
        if !empty {
            std::fs::rename(&unfinished, &new.path)?;
            return sync_dir(parent);
        }
        for name in FILES {
            std::fs::rename(unfinished.join(name), new.path.join(name))?;
        }
        std::fs::remove_dir(&unfinished)?;
        sync_dir(&new.path)
    });
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    made
}

/// Nobody else can enter the directory before it is whole. What a crash left under its name goes first.
fn fill(dir: &Path, new: &NewDirectory, owner: &Owner) -> io::Result<()> {
    if std::fs::symlink_metadata(dir).is_ok() {
        std::fs::remove_dir_all(dir)?;
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    let completions = dir.join("completions");
    std::fs::create_dir(&completions)?;
    owner.give(&completions, true)?;
    let config = config_json();
    let files: [(&str, &[u8]); 3] =
        [("config.xml", &new.label_config), ("tasks.json", b"{}"), ("config.json", config.as_bytes())];
    for (name, bytes) in files {
        let mut file = File::create_new(dir.join(name))?;
        file.write_all(bytes)?;
        owner.give(&dir.join(name), false)?;
        file.sync_all()?;
    }
    owner.give(dir, true)?;
    sync_dir(dir)
}

/// Makes what is missing above the project; the metadata of the nearest directory that was there.
fn make_parents(dir: &Path) -> io::Result<Metadata> {
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) => return Ok(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parents(dir.parent().ok_or_else(|| io::Error::other("there is no root"))?)?
        }
        Err(error) => return Err(error),
    };
    DirBuilder::new().mode(0o700).create(dir)?;
    Owner::of(&metadata).give(dir, true)?;
    Ok(metadata)
}

/// Whom new files belong to, and what the directory above them allows.
struct Owner {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Owner {
    fn of(metadata: &Metadata) -> Self {
        // Never writable by everybody, and no sticky bit, whatever the directory above says.
        Self { uid: metadata.uid(), gid: metadata.gid(), mode: (metadata.mode() & 0o2775) | 0o700 }
    }

    fn give(&self, path: &Path, directory: bool) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))?;
        }
        let mode = if directory { self.mode } else { self.mode & 0o664 };
        std::fs::set_permissions(path, Permissions::from_mode(mode))
    }
}
