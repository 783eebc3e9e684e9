//! `lsctl health`.
//!
//! Promise: exit code 0 ok; 1 starting, degraded or paused; 7 held or failed: needs an operator.
//! Not here: details; `status` has them.

use labelsync::control::api::{Health, State};

use super::Session;
use crate::client::{Patience, parse};
use crate::failure::{Exit, Failure};

/// Does it.
pub async fn run(session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get("/v1/health", Patience::Quick).await?;
    let health: Health = parse(&answer)?;
    if session.json {
        session.out.json(&answer)?;
    } else {
        let state = session.out.state(health.state, health.state.as_str());
        session.out.line(state)?;
        for reason in &health.reasons {
            session.out.reason("  ", reason)?;
        }
    }
    Ok(match health.state {
        State::Ok => Exit::Ok,
        State::Starting | State::Degraded | State::Paused => Exit::Failed,
        State::Held | State::Failed => Exit::NeedsOperator,
    })
}
