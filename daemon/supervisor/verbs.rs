//! What `lsctl` asks, answered by the supervisor.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Current, Running, Supervisor, health};
use crate::control::api::{
    Changed, CheckReport, Done, Health, Item, ItemState, Items, Keep, PlanView, ProjectStatus, Reason, Refusal, Shown,
    Status, SyncTicket, VerifyReport,
};
use crate::control::{Actor, Control, EventFeed};
use crate::events::{Happened, Level};
use crate::names::{ProjectName, counted, printable};
use crate::project::board::Board;
use crate::project::error::{CycleError, blocking};
use crate::project::repair;
use crate::project::shared::Shared;
use crate::project::source::look::SourceSide;
use crate::project::source::road::SourceRoad;
use crate::project::target::road::TargetSide;
use crate::project::wakes::SourceWake;
use crate::settings::show::diff;
use crate::settings::{Overrides, Problem, SourcePatch, TargetPatch};

/// How long a change waits for the look at what it will do; the change itself does not wait for more.
const PLAN_WITH_CHANGE: Duration = Duration::from_secs(5);

/// How long `lsctl repair` waits: ten million rows are read, written and looked up in `tasks.json` in minutes.
const REPAIR_MAX: Duration = Duration::from_secs(3_600);

/// Keys or ids in one request: what fits into its 64 KiB anyway.
const KEYS_MAX: usize = 10_000;

#[async_trait]
impl Control for Arc<Supervisor> {
    fn status(&self) -> Status {
        let projects: Vec<ProjectStatus> = self.projects().values().map(|running| running.board.status()).collect();
        let current = self.current();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            state_dir: self.state_dir.display().to_string(),
            generation: current.generation,
            reload_refused: current.refused,
            projects,
        }
    }

    fn health(&self) -> Health {
        let Status { projects, reload_refused, .. } = self.status();
        health::of(projects, reload_refused)
    }

    fn metrics(&self) -> String {
        super::metrics::text(&self.status(), self.events.meters(), self.clock.now())
    }

    fn accepting(&self, until: Instant) {
        self.control.rest(Some(until));
    }

    fn answered(&self, verb: &str, class: &str) {
        self.events.meters().control(verb, class);
    }

    fn events(&self) -> EventFeed {
        self.events.feed()
    }

    fn project(&self, name: Option<&str>) -> Result<ProjectName, Refusal> {
        let projects = self.projects();
        let names: Vec<&str> = projects.keys().map(ProjectName::as_str).collect();
        let named = match name {
            Some(name) => projects.keys().find(|known| known.as_str() == name).cloned().ok_or_else(|| {
                let text = format!("there is no project `{}`", printable(name));
                Refusal::new("no_such_project", text, format!("projects: {}", names.join(", ")))
            }),
            None => match projects.keys().collect::<Vec<_>>()[..] {
                [only] => Ok(only.clone()),
                [] => Err(Refusal::new("no_such_project", "there is no project", "`labelsyncd init NAME …` makes one")),
                _ => {
                    let hint = format!("projects: {}", names.join(", "));
                    Err(Refusal::new("project_needed", "there are several projects: name the one that is meant", hint))
                }
            },
        };
        drop(projects);
        named
    }

    fn show(&self, project: &ProjectName) -> Result<Shown, Refusal> {
        shown(&self.current(), project)
    }

    async fn set_source(
        &self,
        project: &ProjectName,
        patch: SourcePatch,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Changed, Refusal> {
        if self.current().settings.projects.get(project).is_none_or(|p| p.source.is_none()) {
            return Err(no_side("no_source", project, "source"));
        }
        let change = |overrides: &mut Overrides| {
            overrides.source = std::mem::take(&mut overrides.source).merge(patch.clone());
            Ok(())
        };
        self.change(project, change, dry_run, actor).await
    }

    async fn set_target(
        &self,
        project: &ProjectName,
        patch: TargetPatch,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Changed, Refusal> {
        if self.current().settings.projects.get(project).is_none_or(|p| p.target.is_none()) {
            return Err(no_side("no_target", project, "target"));
        }
        let change = |overrides: &mut Overrides| {
            overrides.target = std::mem::take(&mut overrides.target).merge(patch.clone());
            Ok(())
        };
        self.change(project, change, dry_run, actor).await
    }

    async fn reset(&self, project: &ProjectName, keys: Vec<String>, actor: Actor) -> Result<Changed, Refusal> {
        let change = |overrides: &mut Overrides| overrides.reset(&keys);
        self.change(project, change, false, actor).await
    }

    async fn plan(&self, project: &ProjectName) -> Result<PlanView, Refusal> {
        let running = self.running(project)?;
        let shared = opened(&running)?;
        let (source, target) = {
            let force = running.in_force.borrow();
            (force.source.clone(), force.target.as_ref().map(TargetSide::place))
        };
        let Some(side) = source else { return Err(no_side("no_source", project, "source")) };
        look_ahead(shared, side, target).await.map_err(|error| refused(&error))
    }

    async fn check(&self, project: &ProjectName, origin: Option<String>) -> Result<CheckReport, Refusal> {
        self.look_at(project, origin).await
    }

    async fn verify(&self, project: &ProjectName) -> Result<VerifyReport, Refusal> {
        self.compare(project).await
    }

    async fn sync(&self, project: &ProjectName) -> Result<SyncTicket, Refusal> {
        let running = self.running(project)?;
        opened(&running)?;
        let force = running.in_force.borrow().clone();
        if force.paused {
            let hint = format!("`lsctl resume {project}`");
            return Err(Refusal::new("paused", format!("{project} is paused"), hint));
        }
        let cycles = running.board.status().cycles;
        running.wakes.wake_all();
        Ok(SyncTicket {
            source: if force.source.is_some() { cycles.source_begun + 1 } else { 0 },
            target: if force.target.is_some() { cycles.target_begun + 1 } else { 0 },
        })
    }

    async fn pause(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal> {
        self.set_paused(project, true, actor).await
    }

    async fn resume(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal> {
        self.set_paused(project, false, actor).await
    }

    async fn accept(&self, project: &ProjectName, hold: Option<String>, actor: Actor) -> Result<Done, Refusal> {
        let running = self.running(project)?;
        let holds = running.board.status().holds;
        let nothing = || {
            let hint = format!("`lsctl status {project}` shows what is held");
            let message = match &hold {
                Some(id) => format!("{project} holds nothing of the id `{}`", printable(id)),
                None => format!("{project} holds nothing"),
            };
            Refusal::new("nothing_held", message, hint)
        };
        let held = match (&hold, holds.as_slice()) {
            (Some(id), _) => holds.iter().find(|held| held.id == *id).ok_or_else(nothing)?.clone(),
            (None, [only]) => only.clone(),
            (None, []) => return Err(nothing()),
            (None, _) => {
                let ids: Vec<&str> = holds.iter().map(|held| held.id.as_str()).collect();
                let hint = format!("name one of {}", ids.join(", "));
                return Err(Refusal::new("project_needed", "several things are held", hint));
            }
        };
        match opened(&running) {
            Ok(shared) => {
                let id = held.id.clone();
                in_ledger(move || Ok(shared.ledger.accept(&id)?)).await?;
            }
            // Its identity is held: the project is not open yet, and opening it looks here.
            Err(_) => *running.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(held.id.clone()),
        }
        running.wakes.wake_all();
        let text = format!("{} accepted: {}", held.id, held.message);
        self.tell(project, Happened::new(Level::Notice, "released", text.clone()).actor(who(actor)));
        Ok(Done { message: text, count: 1, refused: Vec::new() })
    }

    async fn resolve(
        &self,
        project: &ProjectName,
        keys: Vec<String>,
        keep: Keep,
        actor: Actor,
    ) -> Result<Done, Refusal> {
        self.end_conflicts(project, keys, keep, actor).await
    }

    async fn items(&self, project: &ProjectName, state: ItemState, after: Option<String>) -> Result<Items, Refusal> {
        let running = self.running(project)?;
        match state {
            ItemState::Pending => Ok(Items { items: running.board.pending(), next: None }),
            ItemState::Skipped => Ok(Items { items: running.board.skipped(), next: None }),
            ItemState::Tasks | ItemState::Quarantined | ItemState::Conflict | ItemState::Removed => {
                let shared = opened(&running)?;
                in_ledger(move || Ok(shared.ledger.reader()?.items(state, after.as_deref())?)).await
            }
        }
    }

    async fn retry(&self, project: &ProjectName, keys: Vec<String>, actor: Actor) -> Result<Done, Refusal> {
        let running = self.running(project)?;
        let shared = opened(&running)?;
        check_count(&keys)?;
        let (count, unknown) = in_ledger(move || Ok(shared.ledger.retry(&keys)?)).await?;
        let hint = format!("`lsctl list {project} --state quarantined` lists what is there");
        if count == 0 && !unknown.is_empty() {
            let message = format!("{project} has nothing in quarantine of the name `{}`", unknown.join("`, `"));
            return Err(Refusal::new("no_such_item", message, hint));
        }
        running.wakes.wake_all();
        let is = if count == 1 { "is" } else { "are" };
        let text = format!("{} {is} tried again", counted(count, "quarantined item"));
        self.tell(project, Happened::new(Level::Notice, "retried", text.clone()).actor(who(actor)));
        let refused = unknown.into_iter().map(|key| Item {
            key: Some(key),
            reason: "no_such_item".to_owned(),
            detail: format!("there is nothing of this name in quarantine; {hint}"),
            ..Default::default()
        });
        Ok(Done { message: text, count, refused: refused.collect() })
    }

    async fn repair(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal> {
        let running = self.running(project)?;
        if let Ok(shared) = opened(&running) {
            let sound = in_ledger(move || Ok(shared.ledger.check().is_ok())).await?;
            let reason = repair::nothing_to_repair();
            if sound {
                return Err(Refusal::new(&reason.code, format!("{project}: {}", reason.message), reason.hint));
            }
        }
        let said = tokio::time::timeout(REPAIR_MAX, running.repair.ask()).await;
        let again = || {
            let hint = format!("`lsctl status {project}` says what it is doing");
            Refusal::new("failed", format!("the repair of {project} has not ended yet"), hint)
        };
        let text = said.map_err(|_| again())?.map_err(|_| again())?;
        let text = text.map_err(|reason| Refusal::new(&reason.code, reason.message, reason.hint))?;
        self.tell(project, Happened::new(Level::Notice, "repaired", "repaired by an operator").actor(who(actor)));
        Ok(Done { message: format!("{project}: {text}"), count: 1, refused: Vec::new() })
    }

    async fn backup(&self, project: &ProjectName) -> Result<tempfile::NamedTempFile, Refusal> {
        let shared = opened(&self.running(project)?)?;
        in_ledger(move || {
            let file = tempfile::NamedTempFile::new_in(&shared.work_dir)?;
            shared.ledger.backup_to(file.path())?;
            Ok(file)
        })
        .await
    }

    async fn reload(&self, actor: Actor) -> Result<Done, Refusal> {
        if actor.uid != 0 && actor.uid != rustix::process::geteuid().as_raw() {
            let hint = "run it as root, or `systemctl reload labelsyncd`";
            return Err(Refusal::new(
                "not_root",
                "only root, or the daemon's own user, may read the settings again",
                hint,
            ));
        }
        match self.reload_files(Some(actor)).await {
            Ok(text) => Ok(Done { message: text, count: 1, refused: Vec::new() }),
            Err(problems) => {
                let refusal = invalid("the settings files have problems; nothing was changed", problems);
                Err(Refusal { code: "invalid_settings".to_owned(), ..refusal })
            }
        }
    }
}

impl Supervisor {
    pub(super) fn running(&self, project: &ProjectName) -> Result<Running, Refusal> {
        let missing =
            || Refusal::new("no_such_project", format!("there is no project `{project}`"), "`lsctl status` lists them");
        self.projects().get(project).cloned().ok_or_else(missing)
    }

    /// Checks a runtime change, makes it durable, puts it in force.
    async fn change(
        &self,
        project: &ProjectName,
        change: impl FnOnce(&mut Overrides) -> Result<(), Vec<Problem>> + Send,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Changed, Refusal> {
        let one_change = self.current.lock().await;
        let running = self.running(project)?;
        let before = self.current();
        let mut next = before.clone();
        let overrides = next.overrides.entry(project.clone()).or_default();
        change(overrides).map_err(|problems| invalid("the change has problems; nothing was changed", problems))?;
        let overrides = overrides.clone();
        next.settings = next
            .loaded
            .with_overrides(&next.overrides)
            .map_err(|problems| invalid("the change has problems; nothing was changed", problems))?;
        next.generation += 1;
        let changes = diff(&shown(&before, project)?, &shown(&next, project)?);
        let force = self.in_force(project, &running.board, &next, &running.in_force.borrow().clone());
        let target = force.target.as_ref().map(TargetSide::place);
        let (plan, plan_error) = match (opened(&running), force.source) {
            (Ok(shared), Some(side)) => {
                match tokio::time::timeout(PLAN_WITH_CHANGE, look_ahead(shared, side, target)).await {
                    Ok(Ok(plan)) => (Some(plan), None),
                    Ok(Err(error)) => (None, Some(error.reason())),
                    Err(_) => (None, Some(still_looking(project))),
                }
            }
            _ => (None, None),
        };
        let answer = Changed { project: project.to_string(), changes, applied: !dry_run, plan, plan_error };
        if dry_run {
            return Ok(answer);
        }
        self.keep(project, &overrides)?;
        *self.settings() = next.clone();
        self.put_in_force(project, &running, &next);
        drop(one_change);
        for change in &answer.changes {
            let text = format!("{}: {} → {}", change.key, change.old, change.new);
            self.tell(project, Happened::new(Level::Notice, "settings_changed", text).actor(who(actor)));
        }
        Ok(answer)
    }

    /// Puts runtime changes on the disk.
    fn keep(&self, project: &ProjectName, overrides: &Overrides) -> Result<(), Refusal> {
        let kept = self.keep_overrides_dir().and_then(|()| self.overrides.save(project, overrides));
        kept.map_err(|error| {
            if let Some(errno) = error.errno() {
                self.events.meters().state_write_error(errno);
            }
            let problem = error.problem();
            Refusal::new("failed", format!("the change could not be kept: {}", problem.message), problem.remedy)
        })
    }

    async fn set_paused(&self, project: &ProjectName, paused: bool, actor: Actor) -> Result<Done, Refusal> {
        let _one_change = self.current.lock().await;
        let running = self.running(project)?;
        let mut next = self.current();
        let overrides = next.overrides.entry(project.clone()).or_default();
        let word = if paused { "paused" } else { "resumed" };
        if overrides.paused == paused {
            return Ok(Done { message: format!("{project} was {word} already"), count: 0, refused: Vec::new() });
        }
        overrides.paused = paused;
        self.keep(project, overrides)?;
        *self.settings() = next.clone();
        self.put_in_force(project, &running, &next);
        running.wakes.wake_source(SourceWake::Far);
        self.tell(project, Happened::new(Level::Notice, word, format!("{word} by an operator")).actor(who(actor)));
        Ok(Done { message: format!("{project} is {word}"), count: 1, refused: Vec::new() })
    }
}

fn shown(current: &Current, project: &ProjectName) -> Result<Shown, Refusal> {
    let overrides = current.overrides.get(project).cloned().unwrap_or_default();
    current.loaded.shown(project, &overrides).map_err(|problems| invalid("the settings have problems", problems))
}

/// What the next cycle would do; on a board of its own, so that the status does not flicker.
/// `target`: the place that completions would go to.
async fn look_ahead(shared: Shared, side: SourceSide, target: Option<String>) -> Result<PlanView, CycleError> {
    let board = Arc::new(Board::new(shared.name.as_str(), "", shared.now()));
    let ledger = shared.ledger.clone();
    let before = blocking(move || Ok(ledger.target_places()?.pop())).await?;
    let mut plan = SourceRoad::new(Shared { board, ..shared }).plan(&side).await?;
    if let (Some(place), Some(before)) = (target, before)
        && place != before
    {
        plan.summary
            .push_str(&format!("; completions go to {place} instead of {before}: all of them are pushed there"));
    }
    Ok(plan)
}

fn still_looking(project: &ProjectName) -> Reason {
    Reason {
        code: "still_looking".to_owned(),
        message: format!("looking at the source takes longer than {} s", PLAN_WITH_CHANGE.as_secs()),
        hint: format!("`lsctl plan {project}` waits for it"),
    }
}

pub(super) fn opened(running: &Running) -> Result<Shared, Refusal> {
    let opened = running.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
    opened.ok_or_else(|| {
        let status = running.board.status();
        let (message, hint) = match (status.reasons.first(), status.holds.first()) {
            (_, Some(hold)) => (hold.message.clone(), format!("`lsctl accept {} {}`", status.name, hold.id)),
            (Some(reason), None) => (reason.message.clone(), reason.hint.clone()),
            (None, None) => ("it is being opened".to_owned(), "try again in a moment".to_owned()),
        };
        Refusal::new("project_failed", format!("{} is not open: {message}", status.name), hint)
    })
}

pub(super) async fn in_ledger<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CycleError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| refused(&error)),
        Err(stopped) => Err(Refusal::new("failed", stopped.to_string(), "try again; if it stays so, report it")),
    }
}

pub(super) fn refused(error: &CycleError) -> Refusal {
    let reason = error.reason();
    Refusal::new(&reason.code, reason.message, reason.hint)
}

fn invalid(message: &str, problems: Vec<Problem>) -> Refusal {
    let hint = problems.first().map(|problem| problem.remedy.clone()).unwrap_or_default();
    Refusal { problems, ..Refusal::new("invalid", message, hint) }
}

pub(super) fn no_side(code: &str, project: &ProjectName, side: &str) -> Refusal {
    let hint = format!("add [projects.{project}.{side}] to the settings file, then `systemctl reload labelsyncd`");
    Refusal::new(code, format!("{project} has no {side} storage"), hint)
}

pub(super) fn check_count(keys: &[String]) -> Result<(), Refusal> {
    if keys.len() <= KEYS_MAX {
        return Ok(());
    }
    Err(Refusal::new("invalid", format!("more than {KEYS_MAX} keys in one request"), "name fewer, or none for all"))
}

pub(super) fn who(actor: Actor) -> String {
    format!("uid={}", actor.uid)
}
