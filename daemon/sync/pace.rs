//! How long things are waited for, and how much goes together. Every wait has its reason here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The waits and portions of one project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// A completion is at rest when it did not change for this long: Label Studio writes it in one go, in place.
    pub rest: Duration,
    /// Not at rest after this long: listed as `unsettled`.
    pub unsettled: Duration,
    /// `tasks.json` is written when Label Studio has not touched it for this long (contract C22).
    pub quiet: Duration,
    /// Label Studio touches its files with every page that is open: after this long we write all the same.
    pub quiet_max: Duration,
    /// A displaced file is looked at again after this long: Label Studio takes 49 to 100 ms to write 10,000 tasks (C7).
    pub displaced: Duration,
    /// A torn `tasks.json` is looked at again for this long before the cycle gives up: Label Studio writes 100,000 tasks
    /// in one second.
    pub torn: Duration,
    /// Without any event the project directory is looked at this often.
    pub rescan: Duration,
    /// The first wait after a failure; it doubles.
    pub retry_min: Duration,
    /// The longest wait after failures: an outage that is over is noticed within a minute.
    pub retry_max: Duration,
    /// Completions that are noted, pushed and receipted together, at least 1: after a crash so many are looked up again.
    pub push_batch: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rest: Duration::from_millis(250),
            unsettled: Duration::from_secs(10),
            quiet: Duration::from_millis(50),
            quiet_max: Duration::from_secs(2),
            displaced: Duration::from_secs(1),
            torn: Duration::from_secs(3),
            rescan: Duration::from_secs(10),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            push_batch: 512,
        }
    }
}

impl Pace {
    /// No waits, and batches that a few completions fill, for tests that have their own order of things.
    pub fn immediate() -> Self {
        let zero = Duration::ZERO;
        Self { rest: zero, quiet: zero, quiet_max: zero, displaced: zero, torn: zero, push_batch: 2, ..Self::default() }
    }

    /// How long to wait after `failures` in a row; `jitter` is 0 to 1 and takes up to a quarter off, so that many
    /// projects do not come back at the same instant.
    pub fn retry(&self, failures: u64, jitter: f64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1).min(16)).unwrap_or(16);
        let wait = self.retry_min.saturating_mul(1 << doublings).min(self.retry_max);
        wait.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
    }
}

/// How long to wait after a poll that took `took`. Polls begin every `interval`; one that takes long is followed by a
/// pause as long as itself, or the interval where that is shorter: a huge bucket is not listed without end.
pub fn next_poll(interval: Duration, took: Duration) -> Duration {
    interval.saturating_sub(took).max(took.min(interval))
}

/// Listings without news after which an idle bucket's interval doubles: ten say that it is no pause between two uploads.
const IDLE_POLLS: u32 = 10;

/// How often a bucket is polled that showed no news for so many listings: every `interval`, growing to `idle` at most.
pub fn idle_poll(interval: Duration, idle: Duration, without_news: u32) -> Duration {
    let doublings = (without_news / IDLE_POLLS).min(31);
    interval.saturating_mul(1 << doublings).min(idle).max(interval)
}

/// The share of its wait after which the second poll comes, half to whole: projects that begin together do not poll
/// together for ever. `name` is of one direction of one project.
pub fn second_poll(name: &str) -> f64 {
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    0.5 + (hash.finish() % 1_000) as f64 / 2_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_that_begin_together_do_not_poll_together() {
        let mut of_each_second = [0; 30];
        for n in 0..50 {
            let share = second_poll(&format!("project-{n} source"));
            assert_eq!(share, second_poll(&format!("project-{n} source")));
            of_each_second[(share * 30.0) as usize] += 1;
        }
        assert_eq!(of_each_second[..15].iter().sum::<u32>(), 0);
        assert!(of_each_second.iter().max() < Some(&12), "{of_each_second:?}");
    }

    #[test]
    fn polls_begin_every_interval_and_never_without_a_pause() {
        let next = |interval, took| next_poll(Duration::from_secs(interval), Duration::from_secs(took)).as_secs();
        assert_eq!(next(30, 0), 30);
        assert_eq!(next(30, 10), 20);
        assert_eq!(next(30, 20), 20);
        assert_eq!(next(30, 600), 30);
    }

    #[test]
    fn an_idle_bucket_is_polled_less_often_where_it_may_be() {
        let of = |idle, polls| idle_poll(Duration::from_secs(30), Duration::from_secs(idle), polls).as_secs();
        assert_eq!([0, 9, 10, 20, 30, 40, u32::MAX].map(|polls| of(200, polls)), [30, 30, 60, 120, 200, 200, 200]);
        assert_eq!([0, 10, u32::MAX].map(|polls| of(30, polls)), [30; 3], "off");
        assert_eq!(of(1, 100), 30, "never more often");
    }

    #[test]
    fn l52_retries_are_bounded_and_spread() {
        let pace = Pace::default();
        assert_eq!(pace.retry(1, 0.0), Duration::from_secs(1));
        assert_eq!(pace.retry(3, 0.0), Duration::from_secs(4));
        assert_eq!(pace.retry(1_000_000, 0.0), Duration::from_secs(60));
        assert_eq!(pace.retry(9, 1.0), Duration::from_secs(45));
    }
}
