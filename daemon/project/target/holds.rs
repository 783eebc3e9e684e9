//! What must be so before anything is pushed: the prefix is ours, and not too much vanished at once.
//!
//! Promise: what is held is held under an id that names exactly what was seen.

use std::time::{Duration, Instant};

use crate::clock::UnixMillis;
use crate::control::api::Reason;
use crate::events::{Happened, Level};
use crate::names::Sha256;
use crate::project::board::standing;
use crate::project::claim::{Claim, Owner, claim, mark_key, marked};
use crate::project::error::{CycleError, blocking};
use crate::project::ledger::HoldRow;
use crate::project::target::look::TargetLooked;
use crate::project::target::road::{Look, TargetRoad, TargetSide};
use crate::sync::completions::Remote;

/// How often a whole look also looks for the mark: a bucket is not replaced faster than this.
const MARK_EVERY: Duration = Duration::from_secs(60);

/// The code of the hold.
const REPLACED: &str = "target_replaced";

impl TargetRoad {
    /// Takes out of a cycle what vanished in numbers that must be accepted first.
    pub(in crate::project) async fn hold(
        &mut self,
        side: &TargetSide,
        looked: &mut TargetLooked,
        look: &Look,
    ) -> Result<(), CycleError> {
        for code in ["mass_deletion", "target_mass_removal"] {
            if code == "mass_deletion" && !looked.deletions_whole {
                continue;
            }
            if *look != Look::Full && code == "target_mass_removal" {
                continue;
            }
            let row = looked.vanish.iter().find(|(c, _)| *c == code).map(|(_, v)| hold_row(code, v, self.shared.now()));
            let ledger = self.shared.ledger.clone();
            let (accepted, new) = blocking({
                let row = row.clone();
                move || {
                    let before = ledger.holds()?;
                    ledger.hold(code, row.as_ref())?;
                    let known = row.as_ref().and_then(|row| before.into_iter().find(|hold| hold.id == row.id));
                    Ok((known.as_ref().is_some_and(|hold| hold.accepted), known.is_none()))
                }
            })
            .await?;
            let Some(row) = row.filter(|_| !accepted) else { continue };
            looked.wanted.retain(|wanted| match code {
                "mass_deletion" => wanted.print.is_some() || wanted.row.is_none(),
                _ => wanted.remote != Remote::Absent || wanted.row.is_none(),
            });
            if new {
                self.shared.tell_held(&row, side.store.root());
            }
        }
        Ok(())
    }

    /// Whether the prefix is ours to push under.
    pub(in crate::project) async fn is_claimed(&mut self, side: &TargetSide, look: &Look) -> Result<bool, CycleError> {
        let place = (side.store.root().to_owned(), side.prefix());
        let claimed = self.claimed.as_ref() == Some(&place);
        let due = *look == Look::Full && self.mark_seen.is_none_or(|at| at.elapsed() >= MARK_EVERY);
        if claimed && !due {
            return Ok(true);
        }
        let (ledger, marked_at) = (self.shared.ledger.clone(), side.place());
        let (holds, project, was_marked) =
            blocking(move || Ok((ledger.holds()?, ledger.meta("project")?, ledger.is_target_marked(&marked_at)?)))
                .await?;
        let mut me = side.owner.clone();
        // The project's UUID, which stays the same when its directory moves.
        me.project = project.unwrap_or(me.project);
        let mut still_ours = claimed;
        if was_marked {
            let there = marked(&*side.store, &place.1).await?;
            if self.is_replaced(side, there.is_none(), &holds).await? {
                self.claimed = None;
                return Ok(false);
            }
            // Two that marked it at once, at a store that ignores preconditions: the last one has it.
            still_ours &= there.is_some_and(|(owner, _)| owner.is(&me));
        }
        self.mark_seen = Some(Instant::now());
        if still_ours {
            return Ok(true);
        }
        self.claimed = None;
        let accepted = holds.iter().find(|hold| hold.code == "target_owned" && hold.accepted);
        let mut found = claim(&*side.store, &place.1, &me, false).await?;
        if let (Claim::Foreign(owner), Some(hold)) = (&found, accepted)
            && owner_hold_id(owner) == hold.id
        {
            found = claim(&*side.store, &place.1, &me, true).await?;
        }
        let now = self.shared.now();
        let row = match &found {
            Claim::Foreign(owner) => Some(owner_hold(owner, side, now)),
            Claim::Ours { .. } | Claim::Unmarked(_) => None,
        };
        let (ledger, recorded) = (self.shared.ledger.clone(), row.clone());
        blocking(move || Ok(ledger.hold("target_owned", recorded.as_ref())?)).await?;
        self.warn_about(&found, side);
        if let Some(row) = row {
            if !holds.iter().any(|hold| hold.id == row.id) {
                self.shared.tell_held(&row, side.store.root());
            }
            self.show_holds().await?;
            return Ok(false);
        }
        self.go_to(side.place(), side.store.root()).await?;
        if matches!(found, Claim::Ours { .. }) {
            let (ledger, marked) = (self.shared.ledger.clone(), side.place());
            blocking(move || Ok(ledger.note_target_marked(&marked)?)).await?;
        }
        self.preconditions = matches!(found, Claim::Ours { preconditions: true });
        self.claimed = Some(place);
        Ok(true)
    }

    /// Whether nothing may be done as the mark that was made there is gone: the bucket was emptied, or is another one of
    /// the same name, and what was in step says nothing of it (promise 7). Held until the operator says that it is the one.
    async fn is_replaced(&mut self, side: &TargetSide, gone: bool, holds: &[HoldRow]) -> Result<bool, CycleError> {
        let row = gone.then(|| replaced_hold(side, self.shared.now()));
        let accepted = row.as_ref().is_some_and(|row| holds.iter().any(|hold| hold.id == row.id && hold.accepted));
        let (ledger, recorded) = (self.shared.ledger.clone(), row.clone().filter(|_| !accepted));
        blocking(move || Ok(ledger.hold(REPLACED, recorded.as_ref())?)).await?;
        let Some(row) = row.filter(|_| !accepted) else { return Ok(false) };
        if !holds.iter().any(|hold| hold.id == row.id) {
            self.shared.tell_held(&row, side.store.root());
        }
        self.show_holds().await?;
        Ok(true)
    }

    /// What is held now, for the status: the cycle ends here.
    async fn show_holds(&self) -> Result<(), CycleError> {
        let ledger = self.shared.ledger.clone();
        let holds = blocking(move || Ok(ledger.holds()?)).await?;
        self.shared.board.set_holds(self.shared.now(), standing(&holds));
        Ok(())
    }

    /// A changed bucket or prefix: every completion goes there, as if it had never been pushed.
    async fn go_to(&mut self, place: String, root: &str) -> Result<(), CycleError> {
        let (ledger, to) = (self.shared.ledger.clone(), place.clone());
        if blocking(move || Ok(ledger.go_to_target(&to)?)).await? {
            let text = format!("completions go to {place} now: all of them are pushed there");
            self.shared.tell(Happened::new(Level::Notice, "target_changed", text).bucket(Some(root)));
            self.map_stale = true;
        }
        Ok(())
    }

    fn warn_about(&self, found: &Claim, side: &TargetSide) {
        let now = self.shared.now();
        let root = side.store.root();
        let warn = |code: &str, stands: bool, message: String, hint: &str| {
            if stands {
                let reason = Reason { code: code.to_owned(), message: message.clone(), hint: hint.to_owned() };
                if self.shared.board.warn(now, reason) {
                    self.shared.tell(Happened::new(Level::Warning, code, message).error(code).bucket(Some(root)));
                }
            } else {
                self.shared.board.unwarn(now, code);
            }
        };
        let unsafe_target = matches!(found, Claim::Ours { preconditions: false });
        let text = format!("{root} ignores preconditions: each object is looked up before it is written instead");
        warn(
            "target_unsafe",
            unsafe_target,
            text,
            "let nobody else write below this prefix, or use a store that honours If-None-Match",
        );
        let unmarked = matches!(found, Claim::Unmarked(_));
        let text = format!("{root} does not let the owner's mark be written");
        warn(
            "target_unmarked",
            unmarked,
            text,
            "allow writing below .labelsync/, so that two projects cannot share a prefix unnoticed",
        );
    }
}

fn hold_row(code: &str, vanish: &crate::sync::holds::Vanish, since: UnixMillis) -> HoldRow {
    let (what, consequence) = match code {
        "mass_deletion" => {
            ("completion files", "record them as deleted (`on_deleted` says what happens to their objects)")
        }
        _ => ("objects of the target", "list them as target_missing: they are not pushed again by themselves"),
    };
    HoldRow {
        id: vanish.id.clone(),
        code: code.to_owned(),
        message: format!("{} of {} {what} are gone at once", vanish.vanished, vanish.known),
        consequence: consequence.to_owned(),
        since,
        accepted: false,
    }
}

fn replaced_hold(side: &TargetSide, since: UnixMillis) -> HoldRow {
    let place = side.place();
    HoldRow {
        id: Sha256::of(format!("{REPLACED}/{place}").as_bytes()).to_string()[..8].to_owned(),
        code: REPLACED.to_owned(),
        message: format!(
            "the mark {} is gone from {}: the bucket was emptied, or is another one of the same name",
            mark_key(&side.prefix()),
            side.store.root()
        ),
        consequence: "mark it again and go on there; completions that were pushed before are not pushed again by \
                      themselves, but listed as target_missing, with the command that does. If it should be the old \
                      bucket, bring that one back instead"
            .to_owned(),
        since,
        accepted: false,
    }
}

fn owner_hold_id(owner: &Owner) -> String {
    Sha256::of(format!("{}/{}", owner.project, owner.installation).as_bytes()).to_string()[..8].to_owned()
}

fn owner_hold(owner: &Owner, side: &TargetSide, since: UnixMillis) -> HoldRow {
    let place = side.place();
    HoldRow {
        id: owner_hold_id(owner),
        code: "target_owned".to_owned(),
        message: format!("{place} belongs to project `{}` of another installation or directory", owner.name),
        consequence: "take it over; first make sure that nobody else pushes there".to_owned(),
        since,
        accepted: false,
    }
}
