//! What a person's decision overruled, or a crash left displaced: kept in the state directory.
//!
//! Promise: on the disk before anything is done about the other one. Of what was kept the newest [`KEPT_MAX`] stay, and
//! younger ones than [`KEPT_FOR`] however many they are: one command may end thousands of conflicts.
//! Not here: who loses.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::settings::atomic;

/// More than anybody looks through; of completions of some KB they are some ten MB.
const KEPT_MAX: usize = 10_000;

/// A labeling project's length and more; a clock that is wrong by years still leaves [`KEPT_MAX`].
const KEPT_FOR: Duration = Duration::from_secs(400 * 86_400);

/// The mode of what only the daemon reads.
const MODE: u32 = 0o600;

/// Keeps these bytes; where. `what`: whose they are and of which side.
///
/// # Errors
/// Those of the disk: then nothing may be overruled.
pub fn keep(work_dir: &Path, what: &str, bytes: &[u8], now: UnixMillis) -> io::Result<PathBuf> {
    let dir = work_dir.join("losers");
    if !dir.is_dir() {
        std::fs::create_dir_all(&dir)?;
        atomic::sync_dir(work_dir)?;
    }
    let path = dir.join(format!("{what}-{}.json", now.0));
    atomic::replace(&path, bytes, MODE)?;
    Ok(path)
}

/// Forgets the oldest where too many are kept. Reads the whole directory: once after many, not after each.
///
/// # Errors
/// Those of the disk; then more stay than are wanted.
pub fn tidy(work_dir: &Path, now: UnixMillis) -> io::Result<()> {
    forget_old(&work_dir.join("losers"), now, KEPT_MAX)
}

fn forget_old(dir: &Path, now: UnixMillis, kept_max: usize) -> io::Result<()> {
    let mut kept = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        // Nothing was ever kept: what was decided had nothing on its other side.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let since = path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')?.1.parse::<i64>().ok());
        kept.extend(since.map(|since| (since, path)));
    }
    let surplus = kept.len().saturating_sub(kept_max);
    if surplus == 0 {
        return Ok(());
    }
    kept.sort();
    let old = |since: i64| now.0.saturating_sub(since) > i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
    kept[..surplus].iter().filter(|(since, _)| old(*since)).try_for_each(|(_, path)| std::fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_of_too_many_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixMillis(500 * 86_400_000);
        tidy(dir.path(), now).unwrap();
        for (n, since) in [0, 1, 2, now.0 - 3, now.0 - 2].into_iter().enumerate() {
            keep(dir.path(), &format!("{n}-local"), b"{}", UnixMillis(since)).unwrap();
        }
        let losers = dir.path().join("losers");
        let count = || std::fs::read_dir(&losers).unwrap().count();
        forget_old(&losers, now, 5).unwrap();
        assert_eq!(count(), 5, "not too many");
        forget_old(&losers, now, 4).unwrap();
        assert!(!losers.join("0-local-0.json").exists() && count() == 4);
        forget_old(&losers, now, 1).unwrap();
        assert_eq!(count(), 2, "the young ones stay");
    }
}
