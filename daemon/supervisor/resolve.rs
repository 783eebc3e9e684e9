//! `lsctl resolve`: a person ends a conflict, or wants what is missing in the target to be there again.
//!
//! Promise: what cannot take effect is refused with its reason, not called done.
//! Not here: doing it (the target's cycle), what it means (`sync::completions`).

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};

use super::Supervisor;
use super::verbs::{check_count, in_ledger, no_side, opened, refused, who};
use crate::control::Actor;
use crate::control::api::{Done, Item, Keep, Refusal};
use crate::events::{Happened, Level};
use crate::names::{Key, ProjectName, TaskId, counted};
use crate::project::error::{CycleError, blocking};
use crate::project::shared::Shared;
use crate::project::target::apply;
use crate::project::target::road::TargetSide;
use crate::project::validate::MAX_COMPLETION_BYTES;
use crate::project::wakes::TargetWake;
use crate::sync::completions::{MISSING, RecordedState, Resolution, why_not_remote};

/// Objects looked into at once before their side is kept.
const LOOKS_AT_ONCE: usize = 16;

impl Supervisor {
    /// See the top. The key `target_missing` stands for all that are missing there.
    pub(super) async fn end_conflicts(
        &self,
        project: &ProjectName,
        keys: Vec<String>,
        keep: Keep,
        actor: Actor,
    ) -> Result<Done, Refusal> {
        let running = self.running(project)?;
        let shared = opened(&running)?;
        check_count(&keys)?;
        let Some(side) = running.in_force.borrow().target.clone() else {
            return Err(no_side("no_target", project, "target"));
        };
        let resolution = match keep {
            Keep::Local => Resolution::Local,
            Keep::Remote => Resolution::Remote,
        };
        let judged: Vec<(String, Option<TaskId>, Option<Why>)> = futures::stream::iter(keys)
            .map(|key| judge(&shared, &side, key, resolution))
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| refused(&error))?;
        let mut refused = Vec::new();
        let (mut wanted, mut all_missing) = (BTreeSet::new(), false);
        for (key, id, why) in judged {
            match (id, why) {
                (Some(id), None) => {
                    wanted.insert(id);
                }
                (None, None) => all_missing = true,
                (_, Some((reason, detail))) => refused.push(Item {
                    key: Some(key),
                    id: id.map(TaskId::get),
                    reason: reason.to_owned(),
                    detail,
                    ..Default::default()
                }),
            }
        }
        let ids = wanted.clone();
        let missing = in_ledger(move || {
            for id in ids {
                shared.ledger.resolve(id, resolution)?;
            }
            Ok(if all_missing { shared.ledger.push_missing_again()? } else { 0 })
        })
        .await?;
        let word = if keep == Keep::Local { "local" } else { "remote" };
        let then = format!("the {word} side is kept, the other goes to the state directory");
        for id in &wanted {
            let happened = Happened::new(Level::Notice, "resolved", format!("completion {id}: {then}"));
            let happened = happened.task(Some(*id)).key(&Key::new(format!("{}{id}", side.prefix())));
            self.tell(project, happened.actor(who(actor)));
        }
        let count = wanted.len() as u64 + missing;
        let text = if all_missing {
            let text = format!("{missing} completions that are missing in the target are pushed again");
            self.tell(project, Happened::new(Level::Notice, "resolved", text.clone()).actor(who(actor)));
            running.wakes.wake_all();
            text
        } else {
            running.wakes.wake_target(TargetWake::Some(wanted));
            format!("{}: {then}", counted(count, "conflict"))
        };
        Ok(Done { message: text, count, refused })
    }
}

/// Why it cannot be: a stable code, and words.
type Why = (&'static str, String);

/// Which completion a key names (none: all that are missing), and why its side cannot be kept.
async fn judge(
    shared: &Shared,
    side: &TargetSide,
    key: String,
    resolution: Resolution,
) -> Result<(String, Option<TaskId>, Option<Why>), CycleError> {
    if key == MISSING {
        let why = (resolution == Resolution::Remote).then(no_object);
        return Ok((key, None, why));
    }
    let id = TaskId::parse(&key).or_else(|| TaskId::parse(key.strip_prefix(&side.prefix())?));
    let why = match id {
        Some(id) => why_not(shared, side, id, resolution).await?,
        None => Some(no_conflict()),
    };
    Ok((key, id, why))
}

async fn why_not(
    shared: &Shared,
    side: &TargetSide,
    id: TaskId,
    resolution: Resolution,
) -> Result<Option<Why>, CycleError> {
    let ledger = shared.ledger.clone();
    let (row, facts) = blocking(move || Ok((ledger.completion(id)?, ledger.task_facts(id)?))).await?;
    let state = row.map(|row| row.recorded.state);
    match (state, resolution) {
        (Some(RecordedState::Missing), Resolution::Local) => return Ok(None),
        (Some(RecordedState::Disputed(_)), _) => {}
        (Some(RecordedState::Missing), Resolution::Remote) => return Ok(Some(no_object())),
        _ => return Ok(Some(no_conflict())),
    }
    let too_large = too_large_to_keep(shared, side, id, resolution).await?;
    if too_large.is_some() || resolution == Resolution::Local {
        return Ok(too_large);
    }
    // A target that does not answer now is asked by the cycle, which tells a dispute that goes on.
    let Ok((remote, _, unfit)) = apply::object(side, id).await else { return Ok(None) };
    Ok(why_not_remote(&remote, &facts).map(|(code, text)| {
        let text = unfit.map_or(text.to_owned(), |unfit| format!("{text}: {unfit}"));
        (code, format!("{text}; it is left as it is, `--keep local` ends the conflict"))
    }))
}

/// What loses is kept first: what is more than is ever read at once cannot be, and so cannot be overruled.
async fn too_large_to_keep(
    shared: &Shared,
    side: &TargetSide,
    id: TaskId,
    resolution: Resolution,
) -> Result<Option<Why>, CycleError> {
    let (size, what) = match resolution {
        // A target that does not answer now is asked again by the cycle.
        Resolution::Local => {
            let there = side.store.head(&side.key(id)).await.ok().flatten();
            (there.map(|listed| listed.size_bytes), "the object in the target")
        }
        Resolution::Remote => {
            let near = shared.near.clone();
            let print = blocking(move || Ok(near.completion_print(id)?)).await?;
            (print.map(|print| print.size_bytes), "the file in completions/")
        }
    };
    Ok(size.filter(|size| *size > MAX_COMPLETION_BYTES as u64).map(|size| {
        let text = format!(
            "{what} has {size} bytes, and what is overruled is kept only up to {MAX_COMPLETION_BYTES}; move it to another \
             place yourself, then say this again"
        );
        ("too_large", text)
    }))
}

fn no_conflict() -> Why {
    ("no_conflict", "there is no conflict of this id or key".to_owned())
}

fn no_object() -> Why {
    ("no_object", "there is no object in the target; `--keep local` pushes the file".to_owned())
}
