//! Whether the loops go on: what systemd's watchdog is fed from.
//!
//! Promise: a loop that has something in hand and gets no further for too long is stuck; one that rests until its next
//! look, or waits for a store (which ends by the store's own time limits), is not.
//! Not here: who asks (`main`), what is told to systemd (`systemd`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One loop.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Held to read or set the fields, never across a wait.
    doing: Mutex<Doing>,
}

#[derive(Debug, Default)]
struct Doing {
    /// Since when it has something in hand without a sign of life; `None`: it has nothing in hand.
    busy_since: Option<Instant>,
    /// When a rest ends; `None`: it waits for whatever may come, or does not run.
    rests_until: Option<Instant>,
    /// Requests to a store that it waits for.
    waiting: usize,
}

impl Pulse {
    /// It takes something in hand.
    pub fn begin(&self) {
        let mut doing = self.lock();
        (doing.busy_since, doing.rests_until) = (Some(Instant::now()), None);
    }

    /// What it has in hand got further. Nothing where it rests: work that was given up may still end.
    pub fn beat(&self) {
        let mut doing = self.lock();
        if doing.busy_since.is_some() {
            doing.busy_since = Some(Instant::now());
        }
    }

    /// It has nothing in hand until this instant; `None`: until it is woken.
    pub fn rest(&self, until: Option<Instant>) {
        let mut doing = self.lock();
        (doing.busy_since, doing.rests_until) = (None, until);
    }

    /// It waits for a store until the guard is dropped.
    pub fn wait(&self) -> Waiting<'_> {
        self.lock().waiting += 1;
        Waiting(self)
    }

    /// For how long it should have got further and did not; zero where all is well.
    pub fn silent_for(&self, now: Instant) -> Duration {
        let doing = self.lock();
        if doing.waiting > 0 {
            return Duration::ZERO;
        }
        let since = doing.busy_since.or(doing.rests_until);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// A panic while a field was set leaves an old one: at worst a beat is missing.
    fn lock(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Pulse::wait`].
#[derive(Debug)]
#[must_use = "it waits as long as this is kept"]
pub struct Waiting<'a>(&'a Pulse);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        {
            let mut doing = self.0.lock();
            doing.waiting = doing.waiting.saturating_sub(1);
        }
        self.0.beat();
    }
}

/// Rests when dropped: a loop that ended is not stuck.
#[derive(Debug)]
pub struct Lifetime<'a>(pub &'a Pulse);

impl Drop for Lifetime<'_> {
    fn drop(&mut self) {
        self.0.rest(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn l82_only_what_is_in_hand_is_judged() {
        let pulse = Pulse::default();
        let later = Instant::now() + LONG;
        assert_eq!(pulse.silent_for(later), Duration::ZERO, "it does not run");
        pulse.beat();
        assert_eq!(pulse.silent_for(later), Duration::ZERO, "what was given up does not begin it");
        pulse.begin();
        assert!(pulse.silent_for(later) > LONG - Duration::from_secs(5), "it has something in hand");
        pulse.rest(None);
        assert_eq!(pulse.silent_for(later), Duration::ZERO, "it waits to be woken");
        pulse.rest(Some(later));
        assert_eq!(pulse.silent_for(later), Duration::ZERO, "it rests");
        assert_eq!(pulse.silent_for(later + LONG), LONG, "it should be up again");
    }

    #[test]
    fn l82_a_store_that_does_not_answer_is_no_hang() {
        let pulse = Pulse::default();
        pulse.begin();
        let (one, other) = (pulse.wait(), pulse.wait());
        let later = Instant::now() + LONG;
        drop(one);
        assert_eq!(pulse.silent_for(later), Duration::ZERO, "it waits for the other");
        drop(other);
        assert!(pulse.silent_for(Instant::now()) < LONG, "the answer is a sign of life");
        assert!(pulse.silent_for(later + LONG) > LONG, "and then it must go on");
    }

    #[test]
    fn l82_a_loop_that_ended_is_not_stuck() {
        let pulse = Pulse::default();
        pulse.begin();
        drop(Lifetime(&pulse));
        assert_eq!(pulse.silent_for(Instant::now() + LONG), Duration::ZERO);
    }
}
