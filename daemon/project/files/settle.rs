//! When a file has settled: unchanged for long enough, by monotonic time.
//!
//! Promise: a file is called at rest only after its fingerprint was seen unchanged for the rest period, or when its
//! times lie far in the past; clock jumps and files from the future cannot shorten that. Memory is bounded.
//! Not here: looking at files, asking a clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Fingerprint;
use crate::clock::UnixMillis;

/// How long a file must stay unchanged before it is read (design: "at rest").
pub const REST: Duration = Duration::from_millis(250);

/// After this a file that does not come to rest is listed as unsettled.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Files whose times are at least this old by the wall clock need no second look: longer than the clocks of a
/// file server and this machine differ where time is kept at all, and short enough that a start with many files
/// does not have to remember them.
const SURELY_OLD: Duration = Duration::from_secs(10);

/// Names not asked about for this long are forgotten when room is needed: their files are gone or were dealt with.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Whether a file may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Unchanged for long enough.
    AtRest,
    /// Ask again after this time.
    Settling(Duration),
    /// It has been changing for longer than the patience; ask again after this time.
    Unsettled(Duration),
}

struct Seen {
    print: Fingerprint,
    unchanged_since: Instant,
    restless_since: Instant,
    asked: Instant,
}

/// Remembers which fingerprint a name had since when.
pub struct Settler {
    rest: Duration,
    patience: Duration,
    capacity_names: usize,
    seen: BTreeMap<Box<str>, Seen>,
    purged: Option<Instant>,
}

impl Settler {
    /// Remembers at most `capacity_names` restless names; further ones wait until there is room.
    pub fn new(rest: Duration, patience: Duration, capacity_names: usize) -> Self {
        Self { rest, patience, capacity_names, seen: BTreeMap::new(), purged: None }
    }

    /// Says whether the file `name`, just seen with `print`, is at rest. It stays so until it changes.
    pub fn look(&mut self, name: &str, print: &Fingerprint, wall: UnixMillis, now: Instant) -> Rest {
        if self.rest.is_zero() || print.is_at_rest(wall, self.rest.max(SURELY_OLD)) {
            self.seen.remove(name);
            return Rest::AtRest;
        }
        let Some(seen) = self.seen.get_mut(name) else {
            self.remember(name, print, now);
            return Rest::Settling(self.rest);
        };
        seen.asked = now;
        if seen.print != *print {
            seen.print = *print;
            seen.unchanged_since = now;
        }
        let unchanged = now.saturating_duration_since(seen.unchanged_since);
        if unchanged >= self.rest {
            // Remembered: what could not be dealt with now is not restless when it is tried again.
            return Rest::AtRest;
        }
        let wait = self.rest - unchanged;
        if now.saturating_duration_since(seen.restless_since) >= self.patience {
            return Rest::Unsettled(wait);
        }
        Rest::Settling(wait)
    }

    /// Forgets a name whose file is gone, or was dealt with.
    pub fn forget(&mut self, name: &str) {
        self.seen.remove(name);
    }

    /// How many names are remembered.
    pub fn remembered_names(&self) -> usize {
        self.seen.len()
    }

    fn remember(&mut self, name: &str, print: &Fingerprint, now: Instant) {
        if self.seen.len() >= self.capacity_names {
            self.purge(now);
        }
        if self.seen.len() >= self.capacity_names {
            return;
        }
        let seen = Seen { print: *print, unchanged_since: now, restless_since: now, asked: now };
        self.seen.insert(name.into(), seen);
    }

    /// At most once a rest period: a full table must not make each look a walk over it.
    fn purge(&mut self, now: Instant) {
        if self.purged.is_some_and(|at| now.saturating_duration_since(at) < self.rest) {
            return;
        }
        self.purged = Some(now);
        self.seen.retain(|_, seen| now.saturating_duration_since(seen.asked) < FORGOTTEN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: UnixMillis = UnixMillis(1_700_000_000_000);

    fn print(age_ms: i64) -> Fingerprint {
        let at = (WALL.0 - age_ms) * 1_000_000;
        Fingerprint { dev: 1, ino: 2, size_bytes: 3, mtime_ns: at, ctime_ns: at, nlink: 1 }
    }

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn l20_a_file_is_at_rest_only_after_it_was_seen_unchanged() {
        let (mut settler, start) = (Settler::new(REST, PATIENCE, 4), Instant::now());
        let one = print(5);
        let other = Fingerprint { size_bytes: 4, ..one };
        assert_eq!(settler.look("1", &one, WALL, start), Rest::Settling(REST));
        assert_eq!(settler.look("1", &other, WALL, at(start, 200)), Rest::Settling(REST));
        assert_eq!(settler.look("1", &other, WALL, at(start, 300)), Rest::Settling(Duration::from_millis(150)));
        assert_eq!(settler.look("1", &other, WALL, at(start, 450)), Rest::AtRest);
        assert_eq!(settler.look("1", &other, WALL, at(start, 451)), Rest::AtRest, "it has not changed since");
        assert_eq!(settler.look("1", &one, WALL, at(start, 460)), Rest::Settling(REST));
        let later = UnixMillis(WALL.0 + 10_000);
        assert_eq!(settler.look("1", &one, later, at(start, 10_000)), Rest::AtRest);
        assert_eq!(settler.remembered_names(), 0);
    }

    #[test]
    fn without_a_rest_period_every_file_is_at_rest_at_once() {
        let mut settler = Settler::new(Duration::ZERO, PATIENCE, 4);
        assert_eq!(settler.look("1", &print(0), WALL, Instant::now()), Rest::AtRest);
    }

    #[test]
    fn l46_neither_clock_jumps_nor_files_from_the_future_make_rest() {
        let (mut settler, start) = (Settler::new(REST, PATIENCE, 4), Instant::now());
        let (future, back) = (print(-3 * 86_400_000), UnixMillis(WALL.0 - 86_400_000));
        for wall in [WALL, back] {
            assert_eq!(settler.look("1", &future, wall, start), Rest::Settling(REST));
        }
        assert_eq!(settler.look("1", &future, back, at(start, 250)), Rest::AtRest);
        // The wall clock leaps by two seconds after a write: still observed, not believed.
        assert_eq!(settler.look("2", &print(2_000), WALL, start), Rest::Settling(REST));
        assert_eq!(settler.look("3", &print(10_000), WALL, start), Rest::AtRest);
    }

    #[test]
    fn a_file_that_never_rests_is_unsettled_after_the_patience() {
        let (mut settler, start) = (Settler::new(REST, PATIENCE, 4), Instant::now());
        for step in 0..100 {
            let changing = Fingerprint { size_bytes: step, ..print(0) };
            assert_eq!(settler.look("1", &changing, WALL, at(start, step * 100)), Rest::Settling(REST));
        }
        assert_eq!(settler.look("1", &print(0), WALL, at(start, 10_000)), Rest::Unsettled(REST));
        assert_eq!(settler.look("1", &print(0), WALL, at(start, 10_250)), Rest::AtRest);
    }

    #[test]
    fn the_memory_is_bounded_and_abandoned_names_make_room() {
        let (mut settler, start) = (Settler::new(REST, PATIENCE, 2), Instant::now());
        for name in ["1", "2", "3"] {
            assert_eq!(settler.look(name, &print(0), WALL, start), Rest::Settling(REST));
        }
        assert_eq!(settler.remembered_names(), 2);
        assert_eq!(settler.look("3", &print(0), WALL, at(start, 400)), Rest::Settling(REST), "there was no room");
        assert_eq!(settler.look("3", &print(0), WALL, at(start, 61_000)), Rest::Settling(REST));
        assert_eq!(settler.look("3", &print(0), WALL, at(start, 61_250)), Rest::AtRest);
    }
}
