//! A write of Label Studio's of which only the first part is done.
//!
//! Promise: what the act does after it waits for its rest, which goes into the same open file, wherever that is by then.
//! Not here: when the rest is written (`label_studio`).

use std::fs::File;
use std::path::PathBuf;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Tasks,
    Map,
    Completion,
}

/// What an act does to the project directory.
#[derive(Debug)]
pub enum Step {
    Write {
        kind: Kind,
        path: PathBuf,
        /// Opened before.
        held: Option<File>,
        bytes: Vec<u8>,
    },
    Remove(PathBuf),
    /// All that is in the directory.
    Empty(PathBuf),
}

/// A write that is under way.
#[derive(Debug)]
pub struct Tear {
    pub kind: Kind,
    /// Where the file was opened.
    pub path: PathBuf,
    pub file: File,
    pub rest: Vec<u8>,
    /// So many looks of the daemon's later the rest is written, at the latest.
    pub looks: Option<u8>,
    pub waiting: Vec<Step>,
}
