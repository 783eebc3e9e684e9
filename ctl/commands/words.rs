//! Which of an operator's words is the project.
//!
//! Promise: a word is the project if `--project` names it, or if it comes first and a project has that name.
//! Not here: whether the project exists; the daemon says so.

use labelsync::control::api::Status;
use labelsync::names::{ProjectName, printable};

use super::Session;
use crate::client::{Patience, parse, quoted};
use crate::failure::Failure;

/// "The only one", in the API's words.
const ONLY: &str = "-";

/// The path of a project's route.
pub fn path(project: Option<&str>, route: &str) -> Result<String, Failure> {
    let project = project.unwrap_or(ONLY);
    if project != ONLY && ProjectName::parse(project).is_none() {
        let message = format!("`{}` is no project name", printable(project));
        return Err(Failure::usage(message, "`lsctl status` shows the projects"));
    }
    Ok(format!("/v1/projects/{}{route}", quoted(project)))
}

/// Splits `[PROJECT] WORD…`.
pub async fn split(
    session: &Session,
    project: Option<String>,
    mut words: Vec<String>,
) -> Result<(Option<String>, Vec<String>), Failure> {
    if project.is_some() {
        return Ok((project, words));
    }
    // Most keys cannot be a project's name: then there is nothing to ask.
    let Some(first) = words.first().filter(|word| ProjectName::parse(word).is_some()) else {
        return Ok((None, words));
    };
    let status: Status = parse(&session.client.get("/v1/status", Patience::Quick).await?)?;
    if status.projects.iter().any(|project| project.name == *first) {
        let project = words.remove(0);
        return Ok((Some(project), words));
    }
    Ok((None, words))
}
