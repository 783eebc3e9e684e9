//! `lsctl metrics`.
//!
//! Promise: the text as a scraper gets it.
//! Not here: what is counted.

use labelsync::names::printable;

use super::Session;
use crate::client::Patience;
use crate::failure::{Exit, Failure};

/// Does it. `--json` changes nothing: there is no other form.
pub async fn run(session: &mut Session) -> Result<Exit, Failure> {
    let answer = session.client.get("/metrics", Patience::Quick).await?;
    for line in String::from_utf8_lossy(&answer).lines() {
        session.out.line(printable(line))?;
    }
    Ok(Exit::Ok)
}
