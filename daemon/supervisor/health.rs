//! The worst of all projects, for `lsctl health`.
//!
//! Promise: each reason with its next command.
//! Not here: what a project's state follows from (`project::board`).

use crate::control::api::{Health, Hold, ProjectStatus, Reason, ReloadRefused, State};
use crate::settings::count;

/// What `projects` and the last reload come to.
pub fn of(projects: Vec<ProjectStatus>, reload_refused: Option<ReloadRefused>) -> Health {
    let rank = |state: State| match state {
        State::Ok => 0,
        State::Starting => 1,
        State::Paused => 2,
        State::Degraded => 3,
        State::Held => 4,
        State::Failed => 5,
    };
    let refused = reload_refused.map(|refused| Reason {
        code: "reload_refused".to_owned(),
        message: format!("{} in the settings files: the old ones stay in force", count(&refused.problems)),
        hint: "`labelsyncd --check` lists them; then `systemctl reload labelsyncd`".to_owned(),
    });
    let of_settings = refused.as_ref().map(|_| State::Degraded);
    let states = projects.iter().map(|p| p.state).chain(of_settings);
    let state = states.max_by_key(|state| rank(*state)).unwrap_or(State::Ok);
    let reasons = projects.into_iter().flat_map(|p| {
        let name = p.name;
        let next = |hold: Hold| {
            let hint = format!("{}; where that is not meant, put right what is wrong", hold.next(&name));
            (hold.code, hold.message, hint)
        };
        let holds = p.holds.into_iter().map(next);
        let reasons = p.reasons.into_iter().map(|r| (r.code, r.message, r.hint));
        let all: Vec<_> = holds.chain(reasons).collect();
        all.into_iter().map(move |(code, message, hint)| Reason { code, message: format!("{name}: {message}"), hint })
    });
    Health { state, reasons: refused.into_iter().chain(reasons).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_said_with_its_command() {
        let text = |text: &str| text.to_owned();
        let (id, code, message, consequence) = (text("a3"), text("mass_removal"), text("9 gone"), text("hide them"));
        let holds = vec![Hold { id, code, message, consequence, since: crate::clock::UnixMillis(0) }];
        let cats = ProjectStatus { name: text("cats"), state: State::Held, holds, ..ProjectStatus::default() };
        let health = of(vec![cats], None);
        assert_eq!(health.state, State::Held);
        assert!(health.reasons[0].hint.starts_with("`lsctl accept cats a3` would hide them; "), "{health:?}");
    }
}
