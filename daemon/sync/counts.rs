//! How much of what a listing held, and why objects were left out.
//!
//! Promise: every listed object is counted once.
//! Not here: deciding (`source`), what a project's status says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::select::Skip;
use crate::names::Key;

/// How much of what a listing held.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Objects listed.
    pub listed: u64,
    /// Of these, selected.
    pub selected: u64,
    /// Of these, left out.
    pub skipped: BTreeMap<Skip, u64>,
    /// The first keys of each reason, at most [`SAMPLES_MAX`].
    pub samples: BTreeMap<Skip, Vec<Key>>,
    /// Differences handed on.
    pub differences: u64,
}

/// Keys kept of each skip reason for `lsctl list --state skipped`: what a person looks through.
pub const SAMPLES_MAX: usize = 200;

impl Counts {
    /// Whether all samples of these reasons are there.
    pub(super) fn has_samples(&self, reasons: &BTreeMap<Skip, u64>) -> bool {
        let full = |reason| self.samples.get(reason).is_some_and(|samples| samples.len() >= SAMPLES_MAX);
        reasons.keys().all(full)
    }

    /// Counts one object as left out.
    pub fn skip(&mut self, reason: Skip, key: &str) {
        *self.skipped.entry(reason).or_default() += 1;
        let samples = self.samples.entry(reason).or_default();
        if samples.len() < SAMPLES_MAX {
            samples.push(Key::new(key));
        }
    }
}

/// What a part of a listing counted, beside the index.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Objects listed.
    pub listed: u64,
    /// Of these, selected.
    pub selected: u64,
    /// Of these, left out.
    pub skipped: BTreeMap<Skip, u64>,
    /// Tasks of selected keys, listed or not.
    pub known_selected: u64,
}

impl Tally {
    /// What came after `before`, which is a part of it.
    pub fn since(mut self, before: &Self) -> Self {
        self.listed -= before.listed;
        self.selected -= before.selected;
        self.known_selected -= before.known_selected;
        for (reason, count) in &mut self.skipped {
            *count -= before.skipped.get(reason).copied().unwrap_or(0);
        }
        self.skipped.retain(|_, count| *count > 0);
        self
    }
}
