//! Decides what a complete listing of the source means for the tasks.
//!
//! Promise: same listing, same index, same policy: same plan. Every listed object is mentioned or counted, and what
//! vanished is known before anything is done. Memory does not grow with the bucket: differences are handed on.
//! Not here: reading objects, writing anything; what Label Studio did to `tasks.json` (`near`).

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::action::{Form, HideReason, TaskAction};
pub use super::counts::{Counts, SAMPLES_MAX, Tally};
use super::holds::{ChangeLimit, MassChange, Vanish, VanishLimit};
use super::ids::Ids;
pub use super::index::{Index, Known, KnownRef, KnownState};
use super::select::{Selection, Skip};
use crate::names::{ETag, Key, Sha256, TaskId};
use crate::settings::{OnChanged, OnRemoved};
use crate::store::listing::Complete;
use crate::store::{Listed, ListedRef, Objects};

/// What decides about a source, fixed for one cycle.
#[derive(Clone, Debug)]
pub struct SourcePolicy {
    /// Which objects.
    pub selection: Selection,
    /// How an object becomes a task.
    pub form: Form,
    /// What a vanished object does to its task.
    pub on_removed: OnRemoved,
    /// What a changed object does to its task.
    pub on_changed: OnChanged,
    /// What is too much gone at once.
    pub limit: VanishLimit,
    /// What is too much changed at once.
    pub change_limit: ChangeLimit,
    /// Keep local copies.
    pub copies: bool,
}

/// Something that differs between the listing and the index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Difference {
    /// An object without a task.
    New(Listed),
    /// The object of a task has another version, or its task was made in another form.
    Changed {
        /// The task.
        id: TaskId,
        /// The object now.
        listed: Listed,
    },
    /// A hidden task's object is selected again.
    Returned {
        /// The task.
        id: TaskId,
        /// The object now.
        listed: Listed,
        /// Its version is another one than when it was hidden.
        changed: bool,
    },
    /// Nothing has to be read for this one.
    Plain(TaskAction),
}

impl Difference {
    /// The object as it was listed, where the difference is about one.
    pub fn listed(&self) -> Option<&Listed> {
        match self {
            Self::New(listed) | Self::Changed { listed, .. } | Self::Returned { listed, .. } => Some(listed),
            Self::Plain(_) => None,
        }
    }

    /// The object that must be read before this can be decided, where objects are JSON tasks.
    pub fn to_read(&self, form: &Form) -> Option<&Listed> {
        match (form, self) {
            (Form::Blob { .. } | Form::Local { .. }, _)
            | (_, Self::Plain(_) | Self::Returned { changed: false, .. }) => None,
            (Form::Json, Self::New(listed) | Self::Changed { listed, .. } | Self::Returned { listed, .. }) => {
                Some(listed)
            }
        }
    }

    /// How much must be read before this can be decided.
    pub fn bytes_to_read(&self, form: &Form) -> u64 {
        self.to_read(form).map_or(0, |listed| listed.size_bytes)
    }
}

/// What a look into an object showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A task.
    Task {
        /// Its JSON without the id; `None` where it follows from key and form.
        body: Option<String>,
        /// Hash of its data.
        data_hash: Sha256,
        /// The version that was read.
        etag: ETag,
    },
    /// A task that stands in `tasks.json` already, and whose row the ledger had lost.
    Found {
        /// Its id.
        id: TaskId,
        /// Its JSON without the id; `None` where it follows from key and form.
        body: Option<String>,
        /// Hash of its data.
        data_hash: Sha256,
        /// The version that was read.
        etag: ETag,
    },
    /// It cannot become one.
    Bad {
        /// Stable code.
        reason: String,
        /// For a person.
        detail: String,
        /// The version that was read.
        etag: ETag,
    },
    /// A task of the same URL was imported by hand.
    Duplicate,
    /// It could not be read, or is gone: looked at again in the next cycle.
    Unread,
}

/// Walks a listing and the index, both in byte order, in lock step.
pub struct SourcePlanner<'p, C> {
    policy: &'p SourcePolicy,
    completed: C,
    counts: Counts,
    known_selected: u64,
    vanished: u64,
    vanished_digest: sha2::Sha256,
    others: u64,
    others_digest: sha2::Sha256,
    /// Decisions that depend on more than listing, index and policy.
    unsteady: u64,
}

/// A whole listing against the whole index: only this may be acted upon.
#[derive(Debug)]
pub struct Sealed {
    /// What the listing held.
    pub counts: Counts,
    /// Too much vanished at once: nothing of this cycle may be done before `lsctl accept`.
    pub vanish: Option<Vanish>,
    /// Too much changed at once: likewise.
    pub change: Option<MassChange>,
}

impl<'p, C: Fn(TaskId) -> bool> SourcePlanner<'p, C> {
    /// At the start of both. `completed`: whether a task has completions; asked only where the form has changed.
    pub fn new(policy: &'p SourcePolicy, completed: C) -> Self {
        Self {
            policy,
            completed,
            counts: Counts::default(),
            known_selected: 0,
            vanished: 0,
            vanished_digest: sha2::Sha256::new(),
            others: 0,
            others_digest: sha2::Sha256::new(),
            unsteady: 0,
        }
    }

    /// Counted so far.
    pub fn tally(&self) -> Tally {
        let Counts { listed, selected, skipped, .. } = &self.counts;
        let (listed, selected, skipped) = (*listed, *selected, skipped.clone());
        Tally { listed, selected, skipped, known_selected: self.known_selected }
    }

    /// Differences so far, and what may become one though nothing changes that is listed or recorded.
    pub fn unrest(&self) -> u64 {
        self.counts.differences + self.unsteady
    }

    /// Whether a part that counted this may be passed over: not while keys of it are wanted as samples.
    pub fn can_pass(&self, tally: &Tally) -> bool {
        self.counts.has_samples(&tally.skipped)
    }

    /// Counts a part of the listing and the index that came to nothing before and is the same now.
    pub fn pass(&mut self, tally: &Tally) {
        self.counts.listed += tally.listed;
        self.counts.selected += tally.selected;
        self.known_selected += tally.known_selected;
        for (reason, count) in &tally.skipped {
            *self.counts.skipped.entry(*reason).or_default() += count;
        }
    }

    /// Objects listed so far.
    pub fn listed_objects(&self) -> u64 {
        self.counts.listed
    }

    /// Takes one page; rows of the index up to its last key are taken from `known`.
    pub fn page<I: Index, E: From<I::Error>>(
        &mut self,
        page: &Objects,
        known: &mut I,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        self.objects(page.iter(), known, out)
    }

    /// The same with objects that follow each other.
    pub fn objects<'o, I: Index, E: From<I::Error>>(
        &mut self,
        objects: impl Iterator<Item = ListedRef<'o>>,
        known: &mut I,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        for listed in objects {
            loop {
                let row = known.row()?;
                match row.map_or(Ordering::Greater, |row| row.key.cmp(listed.key)) {
                    Ordering::Less => row.map_or(Ok(()), |row| self.unlisted(row, out))?,
                    Ordering::Equal => {
                        self.listed(listed, row, out)?;
                        known.advance();
                        break;
                    }
                    Ordering::Greater => {
                        self.listed(listed, None, out)?;
                        break;
                    }
                }
                known.advance();
            }
        }
        Ok(())
    }

    /// Takes the rows up to this key, itself too, which are not listed; `None`: all that are left.
    pub fn rows_to<I: Index, E: From<I::Error>>(
        &mut self,
        last: Option<&str>,
        known: &mut I,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(row) = known.row()?.filter(|row| last.is_none_or(|last| row.key <= last)) {
            self.unlisted(row, out)?;
            known.advance();
        }
        Ok(())
    }

    /// Takes the rest of the index; the proof that the listing was whole seals the plan.
    pub fn seal<I: Index, E: From<I::Error>>(
        mut self,
        _complete: Complete,
        known: &mut I,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<Sealed, E> {
        self.rows_to(None, known, out)?;
        let empty = self.counts.listed == 0;
        // All gone of a listing that shows others is another sight than an empty one.
        self.vanished_digest.update([u8::from(empty)]);
        let digest = Sha256::from_slice(&self.vanished_digest.finalize()).expect("SHA-256 has 32 bytes");
        let vanish = self.policy.limit.judge(self.vanished, self.known_selected, empty, digest);
        let digest = Sha256::from_slice(&self.others_digest.finalize()).expect("SHA-256 has 32 bytes");
        // Of what is gone nobody can say whether it changed.
        let change = self.policy.change_limit.judge(self.others, self.known_selected - self.vanished, digest);
        Ok(Sealed { counts: self.counts, vanish, change })
    }

    fn emit<E>(&mut self, difference: Difference, out: &mut impl FnMut(Difference) -> Result<(), E>) -> Result<(), E> {
        self.counts.differences += 1;
        out(difference)
    }

    fn listed<E>(
        &mut self,
        listed: ListedRef<'_>,
        known: Option<KnownRef<'_>>,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        self.counts.listed += 1;
        // What is remembered is remembered of what comes after some key.
        self.unsteady += u64::from(listed.key.is_empty());
        if let Err(reason) = self.policy.selection.judge(listed.key, Some(listed.size_bytes)) {
            self.counts.skip(reason, listed.key);
            return known.map_or(Ok(()), |row| self.deselected(row, out));
        }
        self.counts.selected += 1;
        let Some(known) = known else { return self.emit(Difference::New(listed.to_listed()), out) };
        let changed = known.etag != listed.etag;
        match known.state {
            KnownState::Retired => Ok(()),
            KnownState::Quarantined if changed => self.emit(Difference::New(listed.to_listed()), out),
            KnownState::Quarantined => {
                self.counts.selected -= 1;
                self.counts.skip(Skip::Quarantined, listed.key);
                Ok(())
            }
            KnownState::Hidden { id, .. } => {
                self.emit(Difference::Returned { id, listed: listed.to_listed(), changed }, out)
            }
            KnownState::Live { id, form, gone } => {
                self.known_selected += 1;
                if self.policy.change_limit.is_other(known.etag, listed.etag) {
                    self.others += 1;
                    for part in [listed.key, listed.etag] {
                        self.others_digest.update(part.as_bytes());
                        self.others_digest.update([0]);
                    }
                }
                self.live(id, listed, form, LiveFacts { changed, gone, copied: known.copied, bad: known.bad }, out)
            }
        }
    }

    fn live<E>(
        &mut self,
        id: TaskId,
        listed: ListedRef<'_>,
        form: &Form,
        facts: LiveFacts<'_>,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = || Key::new(listed.key);
        if facts.gone {
            self.emit(Difference::Plain(TaskAction::Back { id, key: key() }), out)?;
        }
        if self.policy.copies && facts.copied != Some(listed.etag) {
            let etag = ETag::new(listed.etag);
            let copy = TaskAction::Copy { id, key: key(), etag, size_bytes: listed.size_bytes };
            self.emit(Difference::Plain(copy), out)?;
        }
        // Another data_key or form: tasks that somebody has worked on keep theirs.
        // An object that was no JSON task is tried again in another version (promise 34).
        let tried = facts.bad && !facts.changed && self.policy.form == Form::Json;
        let other_form = *form != self.policy.form && !tried;
        // A completion may be removed, and another one come.
        self.unsteady += u64::from(other_form);
        let reform = other_form && !(self.completed)(id);
        let follow = self.policy.on_changed == OnChanged::Update && *form == self.policy.form;
        let data_follow_object = *form == Form::Json;
        // What was wrong with the object as a JSON task means nothing where it is none.
        let no_longer_bad = facts.bad && !other_form && self.policy.form != Form::Json;
        if reform || no_longer_bad || (facts.changed && follow && data_follow_object) {
            return self.emit(Difference::Changed { id, listed: listed.to_listed() }, out);
        }
        if facts.changed {
            let note = TaskAction::Note { id, key: key(), etag: ETag::new(listed.etag) };
            return self.emit(Difference::Plain(note), out);
        }
        Ok(())
    }

    /// A row whose key the listing does not hold.
    fn unlisted<E>(&mut self, row: KnownRef<'_>, out: &mut impl FnMut(Difference) -> Result<(), E>) -> Result<(), E> {
        self.unsteady += u64::from(row.key.is_empty());
        let selection = &self.policy.selection;
        let selected = selection.scope.covers(row.key) && selection.judge(row.key, None).is_ok();
        match row.state {
            KnownState::Live { id, gone, .. } if selected => {
                self.known_selected += 1;
                if gone && self.policy.on_removed == OnRemoved::Keep {
                    return Ok(());
                }
                if !gone {
                    self.vanished += 1;
                    self.vanished_digest.update(row.key.as_bytes());
                    self.vanished_digest.update([0]);
                }
                let key = Key::new(row.key);
                let action = match self.policy.on_removed {
                    OnRemoved::Keep => TaskAction::Gone { id, key },
                    OnRemoved::Hide => TaskAction::Hide { id, key, why: HideReason::Removed },
                };
                self.emit(Difference::Plain(action), out)
            }
            KnownState::Hidden { id, removed: false } if selected => self.selected_again(id, Key::new(row.key), out),
            _ => self.deselected(row, out),
        }
    }

    /// A task that was deselected is selected again, and its object is gone meanwhile: as if it had gone now.
    fn selected_again<E>(
        &mut self,
        id: TaskId,
        key: Key,
        out: &mut impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.policy.on_removed {
            OnRemoved::Keep => {
                self.emit(Difference::Plain(TaskAction::Show { id, key: key.clone() }), out)?;
                self.emit(Difference::Plain(TaskAction::Gone { id, key }), out)
            }
            OnRemoved::Hide => {
                self.emit(Difference::Plain(TaskAction::Hide { id, key, why: HideReason::Removed }), out)
            }
        }
    }

    fn deselected<E>(&mut self, row: KnownRef<'_>, out: &mut impl FnMut(Difference) -> Result<(), E>) -> Result<(), E> {
        let key = || Key::new(row.key);
        match row.state {
            KnownState::Live { id, .. } => {
                let hide = TaskAction::Hide { id, key: key(), why: HideReason::Deselected };
                self.emit(Difference::Plain(hide), out)
            }
            KnownState::Quarantined => self.emit(Difference::Plain(TaskAction::Release { key: key() }), out),
            KnownState::Hidden { .. } | KnownState::Retired => Ok(()),
        }
    }
}

struct LiveFacts<'a> {
    changed: bool,
    gone: bool,
    copied: Option<&'a str>,
    bad: bool,
}

/// Decides one difference, now that its object was read. Ids are taken in listing order.
pub fn decide(
    difference: Difference,
    content: Content,
    policy: &SourcePolicy,
    ids: &mut Ids,
    counts: &mut Counts,
) -> Vec<TaskAction> {
    let form = policy.form.clone();
    match (difference, content) {
        (Difference::Plain(action), _) => vec![action],
        (Difference::Returned { id, listed, changed: false }, _) => vec![TaskAction::Show { id, key: listed.key }],
        (_, Content::Unread) => Vec::new(),
        (Difference::New(listed), Content::Duplicate) => {
            counts.skip(Skip::Duplicate, listed.key.as_str());
            Vec::new()
        }
        (Difference::New(listed), Content::Task { body, data_hash, etag }) => {
            let Some(id) = ids.take() else { return Vec::new() };
            let mut actions = Vec::with_capacity(2);
            let key = listed.key;
            if policy.copies {
                let size_bytes = listed.size_bytes;
                actions.push(TaskAction::Copy { id, key: key.clone(), etag: etag.clone(), size_bytes });
            }
            actions.insert(0, TaskAction::Add { id, key, etag, form, body, data_hash });
            actions
        }
        (Difference::New(listed), Content::Found { id, body, data_hash, etag }) => {
            vec![TaskAction::Adopt { id, key: listed.key, etag, form, body, data_hash }]
        }
        (Difference::New(listed), Content::Bad { reason, detail, etag }) => {
            vec![TaskAction::Quarantine { id: None, key: listed.key, etag, reason, detail }]
        }
        (Difference::Changed { id, listed }, Content::Task { body, data_hash, etag }) => {
            vec![TaskAction::Update { id, key: listed.key, etag, form, body, data_hash }]
        }
        (Difference::Returned { id, listed, .. }, Content::Task { body, data_hash, etag }) => {
            let key = listed.key;
            let show = TaskAction::Show { id, key: key.clone() };
            vec![TaskAction::Update { id, key, etag, form, body, data_hash }, show]
        }
        (
            Difference::Changed { id, listed } | Difference::Returned { id, listed, .. },
            Content::Bad { reason, detail, etag },
        ) => {
            vec![TaskAction::Quarantine { id: Some(id), key: listed.key, etag, reason, detail }]
        }
        (Difference::Changed { .. } | Difference::Returned { .. }, Content::Duplicate | Content::Found { .. }) => {
            Vec::new()
        }
    }
}
