//! How far this machine's clock is from a server's, by the `Date` of its answers.
//!
//! Promise: costs no request; what is no date is left out.
//! Not here: what a skew means (`probe::way`, `remedy`).

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::{Clock, SystemClock};

/// No answer had a date yet.
const UNKNOWN: i64 = i64::MIN;

/// What the last answer said.
#[derive(Debug)]
pub(super) struct Skew(AtomicI64);

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl Skew {
    /// An answer came with this date.
    pub fn saw(&self, date: Option<&str>) {
        if let Some(seconds) = date.and_then(ahead_of) {
            self.0.store(seconds, Ordering::Relaxed);
        }
    }

    /// Seconds that this machine's clock was ahead.
    pub fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }
}

/// Seconds that this machine's clock is ahead of a `Date` that has just come.
pub(super) fn ahead_of(date: &str) -> Option<i64> {
    let then = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    Some(SystemClock.now().0 / 1000 - then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l47_the_last_date_that_was_one_counts() {
        let skew = Skew::default();
        skew.saw(None);
        assert_eq!(skew.seconds(), None);
        skew.saw(Some("Thu, 01 Jan 1970 00:00:10 GMT"));
        let seen = skew.seconds().expect("a date came");
        assert!((seen - (SystemClock.now().0 / 1000 - 10)).abs() < 5, "{seen}");
        skew.saw(Some("soon"));
        assert_eq!(skew.seconds(), Some(seen));
    }
}
