//! How many requests are made of a bucket at once.
//!
//! Promise: never none, never more than the limit; one more after each round of good answers, half as many when the
//! bucket asks for less or its answers become slow, once a round.
//! Not here: making requests; the waits between the tries of one.

use std::time::Duration;

/// An answer is slow when it takes so many times what the quickest ones take.
const SLOW_TIMES: u32 = 8;

/// And never when it takes less than this: a try that was throttled waits for longer, a busy disk or machine does not.
const SLOW_MIN: Duration = Duration::from_millis(200);

/// How an answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// After this long, tries and waits between them included.
    After(Duration),
    /// Not: the bucket asked for fewer requests.
    Throttled,
    /// Not, for another reason: says nothing of how busy the bucket is.
    Failed,
}

/// The requests to one bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    width: usize,
    limit: usize,
    /// Good answers since the last change.
    good: usize,
    /// Answers to requests that were made before the last halving: they say nothing new.
    stale: usize,
    quickest: Option<Duration>,
}

impl Flow {
    /// So many at first, at most `limit`; both at least 1.
    pub fn new(width: usize, limit: usize) -> Self {
        let limit = limit.max(1);
        Self { width: width.clamp(1, limit), limit, good: 0, stale: 0, quickest: None }
    }

    /// How many may be under way now.
    pub fn width(&self) -> usize {
        self.width
    }

    /// An answer came, or did not.
    pub fn saw(&mut self, came: Came) {
        let fresh = self.stale == 0;
        self.stale = self.stale.saturating_sub(1);
        match came {
            Came::After(took) if !self.is_slow(took) => self.grow(),
            Came::After(_) | Came::Throttled if fresh => self.halve(),
            Came::After(_) | Came::Throttled | Came::Failed => {}
        }
    }

    /// The quickest answer is forgotten little by little: a bucket may become slower for good.
    fn is_slow(&mut self, took: Duration) -> bool {
        let before = self.quickest.map_or(took, |quickest| quickest + quickest / 64);
        let quickest = before.min(took);
        self.quickest = Some(quickest);
        took > SLOW_MIN.max(quickest * SLOW_TIMES)
    }

    fn grow(&mut self) {
        self.good += 1;
        if self.good >= self.width {
            self.width = (self.width + 1).min(self.limit);
            self.good = 0;
        }
    }

    fn halve(&mut self) {
        self.stale = self.width.saturating_sub(1);
        self.width = (self.width / 2).max(1);
        self.good = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Came = Came::After(Duration::from_millis(20));

    fn after(flow: &mut Flow, came: Came, times: usize) -> usize {
        (0..times).for_each(|_| flow.saw(came));
        flow.width()
    }

    #[test]
    fn good_answers_make_room_for_more_up_to_the_limit() {
        let mut flow = Flow::new(4, 6);
        assert_eq!(after(&mut flow, QUICK, 3), 4);
        assert_eq!(after(&mut flow, QUICK, 1), 5);
        assert_eq!(after(&mut flow, QUICK, 5), 6);
        assert_eq!(after(&mut flow, QUICK, 1_000), 6);
    }

    #[test]
    fn l52_a_bucket_that_asks_for_less_gets_less_and_is_never_given_up() {
        let mut flow = Flow::new(32, 64);
        assert_eq!(after(&mut flow, Came::Throttled, 1), 16);
        assert_eq!(after(&mut flow, Came::Throttled, 31), 16, "they were made before");
        assert_eq!(after(&mut flow, Came::Throttled, 1), 8);
        assert_eq!(after(&mut flow, Came::Throttled, 1_000), 1);
        assert_eq!(after(&mut flow, QUICK, 1), 2, "and it recovers");
    }

    #[test]
    fn slow_answers_are_a_request_for_less() {
        let mut flow = Flow::new(32, 64);
        assert_eq!(after(&mut flow, QUICK, 10), 32);
        assert_eq!(after(&mut flow, Came::After(Duration::from_millis(190)), 10), 32, "not slow enough to mean much");
        assert_eq!(after(&mut flow, Came::After(Duration::from_secs(1)), 1), 16);
    }

    #[test]
    fn a_bucket_that_is_slow_always_is_not_asked_less() {
        let mut flow = Flow::new(32, 64);
        assert_eq!(after(&mut flow, Came::After(Duration::from_secs(2)), 32), 33);
    }

    #[test]
    fn failures_of_another_kind_say_nothing() {
        let mut flow = Flow::new(32, 64);
        assert_eq!(after(&mut flow, Came::Failed, 1_000), 32);
    }
}
