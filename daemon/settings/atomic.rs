//! A small file replaced as a whole.
//!
//! Promise: whoever reads the file, now or after a crash, finds the old bytes or the new ones; once [`replace`]
//! returned, the new ones are on the disk. A failed fsync is never tried again on the same file: the next
//! call writes another one.
//! Not here: files that Label Studio reads (their owner, mode and ACL are kept elsewhere).

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How files begin that are not finished.
const TEMP_PREFIX: &str = ".labelsync-";
/// How files end that are not finished: nothing reads such names.
const TEMP_SUFFIX: &str = ".tmp";

/// Writes `bytes` as `path` with the permission bits `mode`: a new file beside it, fsync, rename, fsync of the directory.
///
/// # Errors
/// Those of the disk; the old file is whole then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = parent(path)?;
    let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).suffix(TEMP_SUFFIX).tempfile_in(dir)?;
    temp.write_all(bytes)?;
    temp.as_file().set_permissions(Permissions::from_mode(mode))?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
///
/// # Errors
/// Those of the disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes what a crash left between the making of a file and its rename; how many there were.
///
/// # Errors
/// Those of the disk. A directory that is not there has no leftovers.
pub fn remove_leftovers(dir: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed_files = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(TEMP_PREFIX.as_bytes()) && name.ends_with(TEMP_SUFFIX.as_bytes()) {
            std::fs::remove_file(entry.path())?;
            removed_files += 1;
        }
    }
    Ok(removed_files)
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))
}
