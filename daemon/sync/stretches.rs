//! Stretches of a listing that are known to change nothing, so that neither they nor their rows are looked at again.
//!
//! Promise: what is decided is what [`SourcePlanner`] alone decides. A stretch is passed over only where exactly the
//! same objects are listed, under the same policy, as when all of it was walked and came to nothing, and no row of it was
//! written since (the ledger forgets a stretch with every write to a row of it). Its numbers are counted all the same.
//! Not here: what an object means (`source`), where stretches are kept (`project::ledger`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::index::Index;
use super::select::{Scope, Selection};
use super::source::{Difference, Sealed, SourcePlanner, SourcePolicy, Tally};
use crate::names::{Sha256, TaskId};
use crate::store::listing::Complete;
use crate::store::{ListRequest, Objects};

/// Raised when an object that is listed as before may be decided otherwise than before.
const RULES: u32 = 1;

/// Where stretches end. They end at keys that are chosen by their own bytes, so that a new key moves one end and not all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cuts {
    /// Not before so many objects: whoever chooses keys cannot make a stretch of each.
    pub min: u64,
    /// At one of so many keys.
    pub one_in: u64,
    /// Not after so many: as many are held until it is known whether they have changed.
    pub max: u64,
}

impl Default for Cuts {
    /// A changed key costs a walk over some thousand; a thousandth of the keys is remembered.
    fn default() -> Self {
        Self { min: 256, one_in: 1_024, max: 4_096 }
    }
}

impl Cuts {
    fn ends(self, key: &str, listed: u64) -> bool {
        if listed < self.min {
            return false;
        }
        let mut hash = DefaultHasher::new();
        key.hash(&mut hash);
        listed >= self.max || hash.finish().is_multiple_of(self.one_in)
    }
}

/// A part of a listing that was walked whole, and came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stretch {
    /// Keys after this one.
    pub after: String,
    /// Up to and with this one; `None`: all that follow.
    pub last: Option<String>,
    /// Over the policy and over the objects that were listed.
    pub digest: Sha256,
    /// What they counted.
    pub tally: Tally,
}

/// Takes what a walk finds.
pub trait Sink {
    /// Why it cannot.
    type Error;

    /// Something that differs.
    fn difference(&mut self, difference: Difference) -> Result<(), Self::Error>;

    /// Something to be remembered, in place of all that is remembered of the same keys.
    fn stretch(&mut self, stretch: Stretch) -> Result<(), Self::Error>;
}

/// Walks a listing, the index, and what is remembered of both, all in byte order.
pub struct Walk<'p, C, I, S> {
    planner: SourcePlanner<'p, C>,
    rows: I,
    remembered: S,
    policy: Sha256,
    cuts: Cuts,
    /// The remembered stretch in which this is, or the next one.
    ahead: Option<Stretch>,
    inside: bool,
    /// What was listed of the stretch so far.
    held: Vec<(Rc<Objects>, Range<usize>)>,
    held_digest: Digester,
    /// What may become a stretch to remember; empty at the start of a remembered one.
    building: Building,
    /// A stretch without end was walked.
    ended: bool,
}

impl<'p, C, I, S> Walk<'p, C, I, S>
where
    C: Fn(TaskId) -> bool,
    I: Index,
    S: Iterator<Item = Result<Stretch, I::Error>>,
{
    /// At the start of all three. `remembered`: in order, none over another; `completed`: as [`SourcePlanner::new`] has it.
    pub fn new(policy: &'p SourcePolicy, completed: C, rows: I, remembered: S, cuts: Cuts) -> Result<Self, I::Error> {
        let planner = SourcePlanner::new(policy, completed);
        let mut this = Self {
            building: Building::default(),
            planner,
            rows,
            remembered,
            policy: print(policy),
            cuts,
            ahead: None,
            inside: false,
            held: Vec::new(),
            held_digest: Digester::default(),
            ended: false,
        };
        this.pull("")?;
        Ok(this)
    }

    /// Objects listed so far.
    pub fn listed_objects(&self) -> u64 {
        self.planner.listed_objects() + self.held_digest.listed
    }

    /// Takes one page.
    pub fn page<E: From<I::Error>>(&mut self, page: Objects, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        let page = Rc::new(page);
        let mut from = 0;
        while from < page.len() {
            let Some(ahead) = &self.ahead else { return self.merge(&page, from..page.len(), sink) };
            let end = if self.inside { ahead.last.as_deref() } else { Some(ahead.after.as_str()) };
            let to = end.map_or(page.len(), |end| page.first_after(from, end));
            if self.inside {
                let expected = ahead.tally.listed;
                self.held_digest.take(&page, from..to);
                self.held.push((page.clone(), from..to));
                if self.held_digest.listed > expected {
                    self.give_up(sink)?;
                } else if to < page.len() {
                    self.leave(sink)?;
                }
            } else {
                self.merge(&page, from..to, sink)?;
                if to < page.len() {
                    self.enter(sink)?;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Takes the rest of the index; the proof that the listing was whole seals the plan.
    pub fn seal<E: From<I::Error>>(mut self, complete: Complete, sink: &mut impl Sink<Error = E>) -> Result<Sealed, E> {
        while self.ahead.is_some() {
            if self.inside { self.leave(sink)? } else { self.enter(sink)? }
        }
        if !self.ended {
            self.reach(None, sink)?;
        }
        self.planner.seal(complete, &mut self.rows, &mut |difference| sink.difference(difference))
    }

    /// Goes to the next stretch that starts at `place` or after it.
    fn pull(&mut self, place: &str) -> Result<(), I::Error> {
        loop {
            self.ahead = self.remembered.next().transpose()?;
            // What another walk has cut anew meanwhile may reach back.
            if self.ahead.as_ref().is_none_or(|ahead| ahead.after.as_str() >= place) {
                break;
            }
        }
        self.inside = self.ahead.as_ref().is_some_and(|ahead| ahead.after == place);
        Ok(())
    }

    /// From between two stretches into the next one.
    fn enter<E: From<I::Error>>(&mut self, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        let start = self.ahead.as_ref().map(|ahead| ahead.after.clone());
        self.inside = true;
        self.reach(start.as_deref(), sink)
    }

    /// At the end of a remembered stretch: passes over it, or walks what was held of it.
    fn leave<E: From<I::Error>>(&mut self, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        let Some(stretch) = self.ahead.take() else { return Ok(()) };
        let last = stretch.last.as_deref();
        let is_same = self.held_digest.take_finished(self.policy) == stretch.digest;
        if is_same && self.planner.can_pass(&stretch.tally) {
            self.held.clear();
            self.planner.pass(&stretch.tally);
            self.rows.skip_past(last)?;
            self.start(last);
        } else {
            self.merge_held(sink)?;
            self.planner.rows_to(last, &mut self.rows, &mut |difference| sink.difference(difference))?;
            if is_same {
                // It is remembered already.
                self.start(last);
            } else {
                self.close(last, sink)?;
            }
        }
        if let Some(last) = last {
            self.pull(last)?;
        }
        Ok(())
    }

    /// More is listed than is remembered: something has changed, and nothing more is held.
    fn give_up<E: From<I::Error>>(&mut self, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        self.held_digest.clear();
        self.merge_held(sink)?;
        match self.ahead.take().and_then(|stretch| stretch.last) {
            // It is no stretch now, and its end is where the next one may start.
            Some(last) => {
                self.pull(&last)?;
                self.inside = false;
            }
            None => self.inside = false,
        }
        Ok(())
    }

    /// Takes the rows up to `last`, and ends what is being built there.
    fn reach<E: From<I::Error>>(&mut self, last: Option<&str>, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        self.planner.rows_to(last, &mut self.rows, &mut |difference| sink.difference(difference))?;
        self.close(last, sink)
    }

    fn merge_held<E: From<I::Error>>(&mut self, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        for (page, range) in std::mem::take(&mut self.held) {
            self.merge(&page, range, sink)?;
        }
        Ok(())
    }

    /// Walks these objects with their rows.
    fn merge<E: From<I::Error>>(
        &mut self,
        page: &Objects,
        range: Range<usize>,
        sink: &mut impl Sink<Error = E>,
    ) -> Result<(), E> {
        let mut from = range.start;
        while from < range.end {
            let mut cut = None;
            let mut to = from;
            while to < range.end && cut.is_none() {
                let listed = self.building.digest.listed + (to - from) as u64 + 1;
                cut = page.get(to).map(|object| object.key).filter(|key| self.cuts.ends(key, listed));
                to += 1;
            }
            let objects = page.range(from..to);
            self.planner.objects(objects, &mut self.rows, &mut |difference| sink.difference(difference))?;
            self.building.digest.take(page, from..to);
            if cut.is_some() {
                self.close(cut, sink)?;
            }
            from = to;
        }
        Ok(())
    }

    /// Ends what is being built; it is to be remembered where nothing in it is to be done or depends on more than keys and rows.
    fn close<E>(&mut self, last: Option<&str>, sink: &mut impl Sink<Error = E>) -> Result<(), E> {
        let building = std::mem::take(&mut self.building);
        let (is_some, is_quiet) = (last != Some(&building.after), self.planner.unrest() == building.unrest);
        if is_some && is_quiet {
            let mut digest = building.digest;
            sink.stretch(Stretch {
                after: building.after,
                last: last.map(str::to_owned),
                digest: digest.take_finished(self.policy),
                tally: self.planner.tally().since(&building.before),
            })?;
        }
        self.start(last);
        Ok(())
    }

    fn start(&mut self, after: Option<&str>) {
        self.ended = after.is_none();
        self.building = Building {
            after: after.unwrap_or_default().to_owned(),
            before: self.planner.tally(),
            unrest: self.planner.unrest(),
            digest: Digester::default(),
        };
    }
}

/// A part that is being walked.
#[derive(Default)]
struct Building {
    after: String,
    before: Tally,
    unrest: u64,
    digest: Digester,
}

/// Takes objects in any pieces.
#[derive(Default)]
struct Digester {
    texts: sha2::Sha256,
    /// Lengths and sizes, 16 bytes an object.
    numbers: Vec<u8>,
    listed: u64,
}

impl Digester {
    fn take(&mut self, page: &Objects, range: Range<usize>) {
        self.listed += range.len() as u64;
        self.texts.update(page.texts(range.clone()).as_bytes());
        for object in page.range(range) {
            // Keys and ETags are far shorter than 4 GiB; pages are.
            self.numbers.extend_from_slice(&(object.key.len() as u32).to_le_bytes());
            self.numbers.extend_from_slice(&(object.etag.len() as u32).to_le_bytes());
            self.numbers.extend_from_slice(&object.size_bytes.to_le_bytes());
        }
    }

    /// The digest of what was taken; nothing is, after it.
    fn take_finished(&mut self, policy: Sha256) -> Sha256 {
        let mut all = self.texts.clone();
        // From its end: how many, their numbers, their texts; so no two listings make the same bytes.
        all.update(&self.numbers);
        all.update(self.listed.to_le_bytes());
        all.update(policy.as_bytes());
        self.clear();
        Sha256::from_slice(&all.finalize()).expect("SHA-256 has 32 bytes")
    }

    fn clear(&mut self) {
        self.texts = sha2::Sha256::new();
        self.numbers.clear();
        self.listed = 0;
    }
}

/// All that decides about an object besides itself and its row; another labelsync may decide otherwise.
fn print(policy: &SourcePolicy) -> Sha256 {
    // A new field must be thought of here.
    let SourcePolicy { selection, form, on_removed, on_changed, limit: _, change_limit: _, copies } = policy;
    let Selection { scope, regex, exclude, own_targets, cloud_urls } = selection;
    let Scope { request: ListRequest { prefix, one_level }, marker } = scope;
    let patterns = [regex, exclude].map(|pattern| pattern.as_ref().map(|pattern| pattern.as_str()));
    let what = (env!("CARGO_PKG_VERSION"), RULES, prefix, one_level, marker, patterns, own_targets, cloud_urls);
    let how = (form, on_removed, on_changed, copies);
    Sha256::of(format!("{what:?} {how:?}").as_bytes())
}
