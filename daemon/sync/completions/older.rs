//! Whether a completion's file is an older one that was put back: who restores a directory keeps the times of its files.
//!
//! Promise: what is written by a clock that goes on is never taken for one, nor what is written by one that was put back,
//! as long as it has not come to where it was again. What was put back with the present time looks like any edit.
//! Not here: what else is looked at (`decide`).

use std::time::Duration;

use super::{Decision, Recorded, RecordedState};
use crate::sync::action::{CompletionAction, Dispute};

/// How much older it must be than the file that was here last: servers that keep time at all are stepped by less.
const OLDER_BY: Duration = Duration::from_secs(60);

/// Whether the file, written at `written_ns`, was there before the one that was here last, written at `last_ns` (`None`:
/// nobody knows of one). All in nanoseconds since 1970, `now_ns` by the clock of this machine.
pub fn goes_back(written_ns: i64, last_ns: Option<i64>, now_ns: i64) -> bool {
    let by = i64::try_from(OLDER_BY.as_nanos()).unwrap_or(i64::MAX);
    // Where the clock is behind the last file, it was put back, or that file came from the future: later says nothing.
    last_ns.is_some_and(|last| written_ns < last.saturating_sub(by) && last <= now_ns)
}

pub(super) fn was_older(b: Option<&Recorded>) -> bool {
    b.is_some_and(|b| b.state == RecordedState::Disputed(Dispute::OlderHere))
}

/// What would be done if the file had been deleted: that it is not here now is no deletion.
pub(super) fn taken_back(b: Option<&Recorded>, deleted: Decision) -> Decision {
    let is_decided = b.is_none_or(|b| matches!(b.state, RecordedState::Disputed(_)));
    match deleted {
        Decision::Act(CompletionAction::Bury | CompletionAction::DeleteObject { .. }) if !is_decided => older_here(),
        other => other,
    }
}

pub(super) fn older_here() -> Decision {
    Decision::Act(CompletionAction::Dispute(Dispute::OlderHere))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l23_only_a_file_from_long_before_the_last_one_goes_back() {
        let s = |seconds: i64| seconds * 1_000_000_000;
        let (last, now) = (s(10_000), s(20_000));
        assert!(goes_back(s(9_939), Some(last), now));
        assert!(!goes_back(s(9_940), Some(last), now), "a clock that was stepped");
        assert!(!goes_back(s(10_001), Some(last), now), "an edit");
        assert!(!goes_back(s(1), None, now), "the first that is seen");
        assert!(goes_back(i64::MIN, Some(last), now), "a time before all times");
        assert!(!goes_back(s(9_000), Some(last), s(9_001)), "the clock was put back, and Label Studio goes on");
        assert!(!goes_back(now, Some(s(900_000)), now), "the last one was from the future");
    }
}
