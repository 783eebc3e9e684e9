//! Standard error, which somebody may have stopped reading: a pipe that is full, a terminal that is held.
//!
//! Promise: whoever logs does not wait for whoever reads: what finds no room is lost, and counted.
//! Not here: how a line looks.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};

/// A pipe that has any room takes as much at once.
const PIECE_BYTES: usize = 4_096;

/// How long a reader that is only slow is waited for; one that was too slow is not waited for again until it reads.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Lines lost since it was last said.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes a line to standard error if it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    /// Takes the whole line, whether it could be written or not.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        let patience = if LOST.load(Ordering::Relaxed) == 0 { PATIENCE } else { Timespec::default() };
        for (n, piece) in line.chunks(PIECE_BYTES).enumerate() {
            if !has_room(&stderr, patience) {
                LOST.fetch_add(1, Ordering::Relaxed);
                // The next line begins a line.
                if n > 0 && has_room(&stderr, PATIENCE) {
                    stderr.write_all(b"\n")?;
                }
                break;
            }
            stderr.write_all(piece)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines were lost, once they are read again.
pub(super) fn lost() -> Option<u64> {
    if LOST.load(Ordering::Relaxed) == 0 || !has_room(&io::stderr(), Timespec::default()) {
        return None;
    }
    Some(LOST.swap(0, Ordering::Relaxed)).filter(|lost| *lost > 0)
}

/// Whether a piece can be written without waiting. Where nobody can say, it is written: files are never full so.
fn has_room(stderr: &impl AsFd, patience: Timespec) -> bool {
    let mut asked = [PollFd::new(stderr, PollFlags::OUT)];
    !matches!(rustix::io::retry_on_intr(|| rustix::event::poll(&mut asked, Some(&patience))), Ok(0))
}
