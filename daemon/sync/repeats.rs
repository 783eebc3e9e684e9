//! What is said of an error that repeats: once, and then at ever longer distances with its count (promise 92).
//!
//! Promise: a failure of every second for a year is told some twenty times.
//! Not here: saying it; counting it (`meters`).

use std::collections::BTreeMap;

use crate::names::TaskId;

/// Repetitions that are not told: with the waits between tries they are the first minutes of an outage.
const FIRST_AGAIN: u64 = 16;

/// One place that may fail again and again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repeats {
    /// The error that stands, by its stable code.
    code: Option<String>,
    times: u64,
}

/// What is to be said of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// It is new.
    New,
    /// It has come so many times in a row: said at 16, 32, 64 and so on.
    Again(u64),
    /// Nothing: it is only counted.
    Nothing,
}

impl Repeats {
    /// It failed with this code.
    pub fn failed(&mut self, code: &str) -> Say {
        if self.code.as_deref() != Some(code) {
            *self = Self { code: Some(code.to_owned()), times: 1 };
            return Say::New;
        }
        self.times += 1;
        if self.times >= FIRST_AGAIN && self.times.is_power_of_two() { Say::Again(self.times) } else { Say::Nothing }
    }

    /// It went well: whether an error stood until now.
    pub fn over(&mut self) -> bool {
        std::mem::take(self).stands()
    }

    /// Whether an error stands.
    pub fn stands(&self) -> bool {
        self.code.is_some()
    }
}

impl Say {
    /// The words, with the count where it is told again; `None`: nothing is said.
    pub fn text(self, error: &str) -> Option<String> {
        match self {
            Self::New => Some(error.to_owned()),
            Self::Again(times) => Some(format!("{error} ({times} times by now)")),
            Self::Nothing => None,
        }
    }
}

/// How often in a row the same happened to each of these.
#[derive(Default, Debug)]
pub struct InARow(BTreeMap<TaskId, u32>);

impl InARow {
    /// It happened again: how often by now.
    pub fn again(&mut self, id: TaskId) -> u32 {
        let times = self.0.entry(id).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// Something else happened.
    pub fn over(&mut self, id: TaskId) {
        self.0.remove(&id);
    }

    /// Forgets those that nobody waits for any more: nothing else bounds what is remembered.
    pub fn keep(&mut self, is_pending: impl Fn(TaskId) -> bool) {
        self.0.retain(|id, _| is_pending(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_no_more_is_not_remembered() {
        let mut in_a_row = InARow::default();
        let ids: Vec<TaskId> = (0..1_000).filter_map(TaskId::new).collect();
        assert!(ids.iter().all(|id| in_a_row.again(*id) == 1));
        in_a_row.keep(|id| id.get() < 2);
        assert_eq!((in_a_row.0.len(), in_a_row.again(ids[1]), in_a_row.again(ids[2])), (2, 2, 1));
        in_a_row.over(ids[1]);
        assert_eq!(in_a_row.again(ids[1]), 1);
    }

    #[test]
    fn l92_a_year_of_one_error_is_some_twenty_lines() {
        let mut repeats = Repeats::default();
        let says: Vec<Say> =
            (0..365 * 24 * 3600).map(|_| repeats.failed("unreachable")).filter(|say| *say != Say::Nothing).collect();
        assert_eq!(says[..4], [Say::New, Say::Again(16), Say::Again(32), Say::Again(64)]);
        assert!(says.len() < 25, "{says:?}");
    }

    #[test]
    fn l92_a_change_is_told_at_once() {
        let mut repeats = Repeats::default();
        assert_eq!((repeats.failed("a"), repeats.failed("a"), repeats.failed("b")), (Say::New, Say::Nothing, Say::New));
        assert!(repeats.over() && !repeats.over());
        assert_eq!(repeats.failed("b"), Say::New);
    }
}
