//! When completion files that are gone are believed to be deleted: when no more follow.
//!
//! Promise: a deletion of many is seen whole before it is judged: a look in the middle of `rm` decides nothing.
//! Not here: how many are too many (`sync::holds`), what a deletion does.

use std::time::{Duration, Instant};

use crate::names::Sha256;

/// What was gone in the last look.
#[derive(Debug)]
pub struct Deletions {
    rest: Duration,
    patience: Duration,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    gone: Sha256,
    unchanged_since: Instant,
    restless_since: Instant,
}

impl Deletions {
    /// Believed after `rest` without a change, or after `patience` whatever follows.
    pub fn new(rest: Duration, patience: Duration) -> Self {
        Self { rest, patience, seen: None }
    }

    /// Whether what is gone (the hash of its names; `None`: nothing) is all that goes.
    pub fn is_whole(&mut self, gone: Option<Sha256>, now: Instant) -> bool {
        let Some(gone) = gone else {
            self.seen = None;
            return true;
        };
        let seen = self.seen.get_or_insert(Seen { gone, unchanged_since: now, restless_since: now });
        if seen.gone != gone {
            (seen.gone, seen.unchanged_since) = (gone, now);
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        since(seen.unchanged_since) >= self.rest || since(seen.restless_since) >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l03_a_look_in_the_middle_of_a_deletion_decides_nothing() {
        let (rest, start) = (Duration::from_millis(250), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let gone = |names: &str| Some(Sha256::of(names.as_bytes()));
        let mut deletions = Deletions::new(rest, Duration::from_secs(10));
        assert!(deletions.is_whole(None, at(0)));
        assert!(!deletions.is_whole(gone("1;"), at(0)));
        assert!(!deletions.is_whole(gone("1;2;"), at(200)));
        assert!(!deletions.is_whole(gone("1;2;"), at(400)));
        assert!(deletions.is_whole(gone("1;2;"), at(450)));
        assert!(!deletions.is_whole(gone("1;2;3;"), at(500)));
        // Somebody deletes one after the other, for ever.
        assert!(deletions.is_whole(gone("1;2;3;4;"), at(10_000)));
        assert!(deletions.is_whole(None, at(10_100)));
        assert!(!deletions.is_whole(gone("1;2;3;4;"), at(10_200)));
        assert!(Deletions::new(Duration::ZERO, rest).is_whole(gone("1;"), at(0)));
    }
}
