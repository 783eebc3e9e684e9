//! `check` and `verify`: what they need of the supervisor.

use super::verbs::{no_side, opened, refused};
use super::{Supervisor, needs_credentials};
use crate::control::api::{CheckReport, Finding, Outcome, Refusal, VerifyReport};
use crate::names::ProjectName;
use crate::project::check::{Patient, about};
use crate::project::verify::verify;
use crate::store::probe::Step;

/// The longest origin that is taken: a scheme, a host of 253 characters, a port.
const ORIGIN_CHARS_MAX: usize = 300;

impl Supervisor {
    /// The doctor's look.
    pub(super) async fn look_at(&self, project: &ProjectName, origin: Option<String>) -> Result<CheckReport, Refusal> {
        if origin.as_deref().is_some_and(|origin| !is_origin(origin)) {
            let hint = "give scheme and host as the browser shows them: https://label-studio.example";
            return Err(Refusal::new("invalid", "this is no origin of a page", hint));
        }
        let running = self.running(project)?;
        let mut findings = about("settings", self.files(project).await);
        let force = running.in_force.borrow().clone();
        let status = running.board.status();
        let shared = opened(&running).ok();
        let uuid = match shared {
            Some(shared) => {
                let read = tokio::task::spawn_blocking(move || shared.ledger.meta("project")).await;
                read.ok().and_then(Result::ok).flatten()
            }
            None => None,
        };
        let has = self.current().settings.projects.get(project).is_some_and(|p| p.label_studio_has_credentials);
        let reminder =
            force.source.as_ref().filter(|_| !has).map(|side| needs_credentials(project, &side.settings.store));
        let patient = Patient { path: &running.path, force: &force, status: &status, uuid, reminder, origin };
        findings.extend(patient.look().await);
        let outcome = findings.iter().map(|finding: &Finding| finding.outcome).max().unwrap_or(Outcome::Ok);
        Ok(CheckReport { project: project.to_string(), outcome, findings })
    }

    /// The settings files as they are now: what a reload would say.
    async fn files(&self, project: &ProjectName) -> Vec<Step> {
        let file = self.config_file.clone();
        let read = tokio::task::spawn_blocking(move || crate::settings::load(&file)).await;
        let Ok(read) = read else {
            return vec![Step::warn("settings", "failed", "the settings files cannot be looked at", "try again")];
        };
        let before = self.current();
        match read.and_then(|loaded| loaded.with_overrides(&before.overrides)) {
            Err(problems) => problems
                .into_iter()
                .map(|problem| {
                    let seen = format!("{}: {}", problem.path, problem.message);
                    Step::fail("settings", "invalid_settings", seen, problem.remedy)
                })
                .collect(),
            Ok(settings) if settings.projects.get(project) != before.settings.projects.get(project) => {
                vec![Step::warn(
                    "settings",
                    "not_in_force",
                    "the settings files were changed and are not in force yet",
                    "`systemctl reload labelsyncd`, or `lsctl reload` as root",
                )]
            }
            Ok(_) => vec![Step::ok("settings", "the files are good and in force")],
        }
    }

    /// Every pushed completion against the target.
    pub(super) async fn compare(&self, project: &ProjectName) -> Result<VerifyReport, Refusal> {
        let running = self.running(project)?;
        let shared = opened(&running)?;
        let side = running.in_force.borrow().target.clone();
        let Some(side) = side else { return Err(no_side("no_target", project, "target")) };
        verify(&shared, &side).await.map_err(|error| refused(&error))
    }
}

/// `scheme://host[:port]`, as a browser sends it.
fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    !host.is_empty()
        && text.len() <= ORIGIN_CHARS_MAX
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for good in ["http://localhost:8080", "https://label-studio.example", "http://[::1]:80"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["", "localhost", "ftp://x", "https://", "https://x/path", "https://user@x", "https://x\r\nA: b"] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
