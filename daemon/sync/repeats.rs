//! What is said of an error that repeats: once, and then at ever longer distances with its count (promise 92).
//!
//! Promise: a failure of every second for a year is told some twenty times.
//! Not here: saying it; counting it (`meters`).

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

#[cfg(test)]
mod tests {
    use super::*;

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
