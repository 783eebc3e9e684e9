//! `lsctl resolve`: a person ends conflicts, or wants what is missing in the target to be there again.
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
use crate::project::ledger::{Ledger, LedgerError};
use crate::project::shared::Shared;
use crate::project::target::apply;
use crate::project::target::road::TargetSide;
use crate::project::validate::MAX_COMPLETION_BYTES;
use crate::project::wakes::TargetWake;
use crate::sync::action::OLDER_HERE;
use crate::sync::completions::{MISSING, RecordedState, Resolution, why_not_remote};

/// Objects looked into at once before their side is kept.
const LOOKS_AT_ONCE: usize = 16;

impl Supervisor {
    /// See the top. Some keys name [many](Many).
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
        let judged: Vec<Result<Named, Item>> = futures::stream::iter(keys)
            .map(|key| judge(&shared, &side, key, resolution))
            .buffered(LOOKS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| refused(&error))?;
        let (mut wanted, mut many, mut refused) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for named in judged {
            match named {
                Ok(Named::One(id)) => drop(wanted.insert(id)),
                Ok(Named::Many(of)) => drop(many.insert(of)),
                Err(item) => refused.push(item),
            }
        }
        let ids = wanted.clone();
        let many = in_ledger(move || {
            for id in ids {
                shared.ledger.resolve(id, resolution)?;
            }
            many.into_iter().map(|of| Ok((of, of.resolve(&shared.ledger, resolution)?))).collect::<Result<Vec<_>, _>>()
        })
        .await?;
        let word = if keep == Keep::Local { "local" } else { "remote" };
        let then = format!("the {word} side is kept, the other goes to the state directory");
        for id in &wanted {
            let happened = Happened::new(Level::Notice, "resolved", format!("completion {id}: {then}"));
            let happened = happened.task(Some(*id)).key(&Key::new(format!("{}{id}", side.prefix())));
            self.tell(project, happened.actor(who(actor)));
        }
        let mut count = wanted.len() as u64;
        let mut texts = Vec::new();
        if many.is_empty() || count > 0 {
            texts.push(format!("{}: {then}", counted(count, "conflict")));
        }
        let wake = if many.is_empty() { TargetWake::Some(wanted) } else { TargetWake::Full };
        for (of, n) in many {
            let text = of.text(n, resolution);
            self.tell(project, Happened::new(Level::Notice, "resolved", text.clone()).actor(who(actor)));
            texts.push(text);
            count += n;
        }
        running.wakes.wake_target(wake);
        Ok(Done { message: texts.join("; "), count, refused })
    }
}

/// Why it cannot be: a stable code, and words.
type Why = (&'static str, String);

/// What a key names.
enum Named {
    One(TaskId),
    Many(Many),
}

/// Completions that a person needs no ids for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Many {
    /// All that are missing in the target: [`MISSING`].
    Missing,
    /// All whose file is older than what is in the target: [`OLDER_HERE`].
    Older,
}

impl Many {
    fn named(key: &str) -> Option<Self> {
        match key {
            MISSING => Some(Self::Missing),
            OLDER_HERE => Some(Self::Older),
            _ => None,
        }
    }

    fn why_not(self, resolution: Resolution) -> Option<Why> {
        (self == Self::Missing && resolution == Resolution::Remote).then(no_object)
    }

    fn resolve(self, ledger: &Ledger, resolution: Resolution) -> Result<u64, LedgerError> {
        match self {
            Self::Missing => ledger.push_missing_again(),
            Self::Older => ledger.resolve_older(resolution),
        }
    }

    fn text(self, count: u64, resolution: Resolution) -> String {
        let completions = counted(count, "completion");
        match (self, resolution) {
            (Self::Missing, _) => format!("{completions} missing in the target: pushed again"),
            (Self::Older, Resolution::Remote) => {
                format!(
                    "{completions} older than in the target: the newer is brought back, the older goes to the state directory"
                )
            }
            (Self::Older, Resolution::Local) => {
                format!(
                    "{completions} older than in the target: the older is pushed, the newer goes to the state directory"
                )
            }
        }
    }
}

/// What a key names, or why its side cannot be kept.
async fn judge(
    shared: &Shared,
    side: &TargetSide,
    key: String,
    resolution: Resolution,
) -> Result<Result<Named, Item>, CycleError> {
    let (named, why) = match (Many::named(&key), TaskId::parse(&key)) {
        (Some(many), _) => (Some(Named::Many(many)), many.why_not(resolution)),
        (None, id) => match id.or_else(|| TaskId::parse(key.strip_prefix(&side.prefix())?)) {
            Some(id) => (Some(Named::One(id)), why_not(shared, side, id, resolution).await?),
            None => (None, None),
        },
    };
    let id = match &named {
        Some(Named::One(id)) => Some(id.get()),
        Some(Named::Many(_)) | None => None,
    };
    Ok(match (named, why) {
        (Some(named), None) => Ok(named),
        (_, why) => {
            let (reason, detail) = why.unwrap_or_else(no_conflict);
            Err(Item { key: Some(key), id, reason: reason.to_owned(), detail, ..Default::default() })
        }
    })
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
