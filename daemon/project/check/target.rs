//! The doctor's look at a target: whose the prefix is, whether it may be written, whether preconditions hold.
//!
//! Promise: nothing is left behind but the owner's mark, which the first cycle would make too; no completion changes.
//! Not here: pushing.

use super::reach;
use crate::names::Key;
use crate::project::claim::{Claim, claim};
use crate::project::target::road::TargetSide;
use crate::store::probe::{Reached, Step, bounded};
use crate::store::{ListRequest, Page, Precondition, StoreErrorKind};

/// The object that is written over itself is not larger than this; completions are a few kilobytes.
const SAMPLE_MAX_BYTES: u64 = 1 << 20;

pub(super) async fn look(side: &TargetSide, uuid: Option<&str>) -> Vec<Step> {
    let mut steps = Vec::new();
    let request = ListRequest { prefix: side.prefix(), one_level: true };
    let Some((reached, page)) = reach(&mut steps, &side.settings.store, &request).await else { return steps };
    let mut me = side.owner.clone();
    me.project = uuid.map_or(me.project, str::to_owned);
    if uuid.is_none() {
        // Who the project is, is not known: its mark is left as it is.
        let remedy = "mend what `state` says, then `lsctl check` again";
        steps.push(Step::warn("write", "not_checked", "not tried while the project is not open", remedy));
        return steps;
    }
    let claimed = bounded("write", reached.store().root(), claim(reached.store(), &side.prefix(), &me, false)).await;
    match claimed {
        Ok(Claim::Ours { preconditions }) => {
            steps.push(Step::ok("mark", "the owner's mark is ours and can be written"));
            steps.push(if preconditions { honoured() } else { ignored(side) });
            steps.push(if preconditions { rewrite(&reached, &page).await } else { unsure(&page) });
        }
        Ok(Claim::Foreign(owner)) => {
            let seen = format!("the prefix belongs to project {} of another installation or directory", owner.name);
            let remedy =
                "choose another prefix (`lsctl set-target --prefix`), or `lsctl accept` where it should be ours";
            steps.push(Step::fail("mark", "target_owned", seen, remedy));
        }
        Ok(Claim::Unmarked(why)) => {
            let remedy =
                "allow writing to .labelsync/owner/ too (config/s3-target-policy.json, config/gcs-target-role.yaml)";
            steps.push(Step::warn("mark", "target_unmarked", why.to_string(), remedy));
            let is_tried = page.objects.iter().any(|object| object.size_bytes <= SAMPLE_MAX_BYTES);
            steps.push(if is_tried { rewrite(&reached, &page).await } else { Step::failed("write", &why) });
        }
        Err(error) => steps.push(Step::failed("write", &error)),
    }
    steps
}

fn honoured() -> Step {
    Step::ok("preconditions", "honoured: an object that is there is not written over")
}

fn ignored(side: &TargetSide) -> Step {
    let root = side.store.root();
    let seen = format!("{root} ignores preconditions: each object is looked up before it is written instead");
    let remedy = "let nobody else write below this prefix, or use a store that honours If-None-Match";
    Step::warn("preconditions", "target_unsafe", seen, remedy)
}

/// The first completion there is offered again, under the condition that it is absent: whoever may write is told that
/// it is there, whoever may not is told that. Its own bytes, so that a store that takes them all the same has it unchanged.
async fn rewrite(reached: &Reached, page: &Page) -> Step {
    let Some(object) = page.objects.iter().find(|object| object.size_bytes <= SAMPLE_MAX_BYTES) else {
        return unsure(page);
    };
    let key = Key::new(object.key);
    let (store, url) = (reached.store(), reached.store().url(&key));
    let found = match bounded("read", &url, store.get(&key, SAMPLE_MAX_BYTES)).await {
        Ok(found) => found,
        Err(error) => return Step::failed("read", &error),
    };
    match bounded("write", &url, store.put(&key, found.bytes, &Precondition::Absent)).await {
        Ok(_) => Step::ok("write", "completions can be written"),
        Err(error) if error.kind == StoreErrorKind::PreconditionFailed => {
            Step::ok("write", "completions can be read and written")
        }
        Err(error) => Step::failed("write", &error),
    }
}

fn unsure(page: &Page) -> Step {
    let why = if page.objects.is_empty() { "no completion is there yet" } else { "the store would write over it" };
    Step::ok("write", format!("the owner's mark can be written; a completion was not tried: {why}"))
}
