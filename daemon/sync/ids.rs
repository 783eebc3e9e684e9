//! The ids that are given to new tasks.
//!
//! Promise: none is given twice, and none that anybody ever used.
//! Not here: which id was the highest (`ledger`, `tasks`).

use crate::names::TaskId;

/// The ids that may be given next: dense, ascending, never below what anybody ever used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    next: Option<TaskId>,
    ran_out: bool,
}

impl Ids {
    /// Continues after the highest id that was ever seen anywhere.
    pub fn after(highest: Option<TaskId>) -> Self {
        Self { next: highest.map_or(TaskId::new(0), TaskId::next), ran_out: false }
    }

    /// The id that would be given next; `None` when there is none left.
    pub fn peek(self) -> Option<TaskId> {
        self.next
    }

    /// Whether one was asked for and there was none.
    pub fn ran_out(self) -> bool {
        self.ran_out
    }

    /// Gives an id.
    pub fn take(&mut self) -> Option<TaskId> {
        self.ran_out |= self.next.is_none();
        let id = self.next?;
        self.next = id.next();
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c05_after_the_last_id_there_is_none_and_that_is_known() {
        let id = |id| TaskId::new(id).unwrap();
        let mut ids = Ids::after(Some(id(TaskId::GIVEN_MAX - 1)));
        assert_eq!((ids.take(), ids.ran_out()), (Some(id(TaskId::GIVEN_MAX)), false));
        assert_eq!((ids.take(), ids.ran_out()), (None, true));
        assert_eq!(TaskId::highest_given(&[id(3), id(TaskId::MAX)]), Some(id(3)));
    }
}
