//! What the tests of files share.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use labelsync::clock::{Clock, SystemClock, UnixMillis};
use labelsync::project::files::{Dir, Expected, FileError, Fingerprint, Replaced};
use libtest_mimic::{Completion, Trial};
use tempfile::TempDir;

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A test that can always run.
pub fn test(name: &str, body: fn()) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// A test that is shown as ignored, with the reason, where it cannot run.
pub fn test_where(name: &str, reason_not_to: Option<String>, body: fn()) -> Trial {
    match reason_not_to {
        None => test(name, body),
        Some(reason) => Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))),
    }
}

pub fn unless_root() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned())
}

pub fn unless_strace() -> Option<String> {
    let runs = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    (!runs.is_ok_and(|status| status.success())).then(|| "needs a working strace".to_owned())
}

/// Tells the other threads to stop, also when a check fails: a scope waits for its threads.
pub struct StopsOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A directory for one test and what it is opened as.
pub fn project() -> (TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

pub fn now() -> UnixMillis {
    SystemClock.now()
}

pub fn print(dir: &Dir, name: &str) -> Fingerprint {
    dir.fingerprint(name).unwrap().unwrap()
}

pub fn write_new(dir: &Dir, name: &str, bytes: &[u8]) -> Result<Replaced, FileError> {
    dir.replace(name, Expected::Absent { like: None }, |out| out.write_all(bytes))
}

pub fn write_over(dir: &Dir, name: &str, expected: &Fingerprint, bytes: &[u8]) -> Result<Replaced, FileError> {
    dir.replace(name, Expected::Is(expected), |out| out.write_all(bytes))
}

/// As Label Studio writes: in place, without a rename or fsync.
pub fn write_in_place(path: &Path, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The names in a directory, sorted.
pub fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
