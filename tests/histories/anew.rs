//! Label Studio's files lost, copied and made anew, also while nobody looks.
//!
//! Promise: another file is another birth, also within one tick of the clock; knows which `tasks.json` the daemon knows.
//! Not here: when it happens (`ops`).

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;

use super::LabelStudio;
use crate::who::Who;

/// Which of its files somebody makes anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anew {
    /// Both are removed, and it writes them when it has something to write.
    Both,
    /// A copy takes the place of `tasks.json`.
    Tasks,
    /// `source.json` is removed while it stands still.
    Map,
    /// A copy takes the place of `source.json` while it stands still.
    MapCopied,
}

impl LabelStudio {
    /// Its files are made anew, and it is started again.
    pub fn anew(&mut self, what: Anew) {
        self.finish();
        self.made_anew = true;
        match what {
            Anew::Both => return self.lose(),
            Anew::Tasks => return self.copied("tasks.json"),
            Anew::Map => _ = fs::remove_file(self.project.join("source.json")),
            Anew::MapCopied => self.copied("source.json"),
        }
        // What no listing has shown it is not in its memory.
        self.map = match what {
            Anew::MapCopied => self.map.clone(),
            Anew::Map | Anew::Both | Anew::Tasks => BTreeSet::new(),
        };
        self.memory.clear();
        self.list();
    }

    /// The file is replaced by a copy of it.
    fn copied(&self, name: &str) {
        let (path, copy) = (self.project.join(name), self.project.join("copy"));
        if fs::copy(&path, &copy).is_ok() {
            fs::rename(copy, path).unwrap();
        }
    }

    /// Which file stands at this name: another number for each that was ever seen there, as the time of its birth is.
    pub fn born(&mut self, name: &str) -> Option<i64> {
        // Held, so that no other file gets its inode.
        let flags = OFlags::PATH.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.project.join(name)).ok()?;
        let inode = file.metadata().unwrap().ino();
        let known = self.files.iter().position(|file| file.metadata().unwrap().ino() == inode);
        let nth = known.unwrap_or_else(|| {
            self.files.push(file);
            self.files.len() - 1
        });
        Some(1_600_000_000_000_000_000 + nth as i64)
    }

    /// What no cycle has seen yet is lost with it.
    pub(super) fn lose(&mut self) {
        self.made_anew = true;
        for import in self.imports.values_mut() {
            let seen = self.looked_at.get(&import.id).is_some_and(|seen| seen.iter().any(|task| import.is(task)));
            if !seen {
                import.deleted = true;
                self.lost.insert(import.id);
            }
        }
        for file in ["tasks.json", "source.json"] {
            let _none = fs::remove_file(self.project.join(file));
        }
    }

    /// The daemon knows this `tasks.json`, or none.
    pub fn knows_tasks(&mut self) {
        self.known_file = self.born("tasks.json").or(self.known_file);
    }

    /// The daemon starts. Where it does not know the file, its ledger may be an old one: what equals an object is the object's.
    pub fn daemon_starts(&mut self) {
        if self.born("tasks.json") == self.known_file {
            return;
        }
        for import in self.imports.values_mut().filter(|import| import.twin) {
            let seen = self.looked_at.get(&import.id).is_some_and(|seen| seen.iter().any(|task| import.is(task)));
            if let Who::Key(key) = Who::of_data(&import.data)
                && !seen
            {
                import.deleted = true;
                self.taken_over.insert(key);
            }
        }
    }
}
