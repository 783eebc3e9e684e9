//! `lsctl backup`.
//!
//! Promise: the file is there whole or not at all, readable for its owner only, and no other file is lost.
//! Not here: how the copy is made consistent; SQLite does that in the daemon.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use tempfile::NamedTempFile;

use super::{Session, words};
use crate::client::{Patience, broken_off};
use crate::failure::{Exit, Failure};

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The copy to write
    file: PathBuf,
    /// The project; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    if !args.force && args.file.symlink_metadata().is_ok() {
        return Err(exists(&args.file));
    }
    let path = words::path(args.project.as_deref(), "/backup")?;
    let mut body = session.client.stream(&path, Patience::Long).await?.into_body();
    let dir = args.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut copy = tempfile::Builder::new()
        .prefix(".lsctl-backup-")
        .tempfile_in(dir)
        .map_err(|error| unwritable(&args.file, &error))?;
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        copy.write_all(data).map_err(|error| unwritable(&args.file, &error))?;
        bytes += data.len() as u64;
    }
    keep(copy, &args, dir)?;
    let file = args.file.display().to_string();
    if session.json {
        let written = serde_json::json!({"file": file, "bytes": bytes});
        session.out.json(written.to_string().as_bytes())?;
    } else {
        session.out.line(format_args!("{bytes} bytes written to {}", labelsync::names::printable(&file)))?;
    }
    Ok(Exit::Ok)
}

fn keep(copy: NamedTempFile, args: &Args, dir: &Path) -> Result<(), Failure> {
    copy.as_file().sync_all().map_err(|error| unwritable(&args.file, &error))?;
    let kept = if args.force { copy.persist(&args.file) } else { copy.persist_noclobber(&args.file) };
    match kept {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Err(exists(&args.file)),
        Err(error) => return Err(unwritable(&args.file, &error.error)),
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unwritable(&args.file, &error))
}

fn exists(file: &Path) -> Failure {
    Failure::usage(format!("{} is there already", file.display()), "name another file, or use --force to replace it")
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    let hint = "name a file in a directory where you may write, on a disk with room";
    Failure::failed(format!("cannot write {}: {error}", file.display()), hint)
}
