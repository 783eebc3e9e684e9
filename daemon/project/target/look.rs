//! A look at completions: the files, what was in step, and, when the target is listed, the objects, in lock step.
//!
//! Promise: a listing that failed shows nothing; how much vanished is known before anything is done.
//! Not here: what is done about it (`target::road`).

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use tokio::sync::{mpsc, oneshot};

use crate::names::{ETag, Sha256, TaskId};
use crate::project::board::Direction;
use crate::project::error::CycleError;
use crate::project::files::{FileErrorKind, Fingerprint, Rest, Settler};
use crate::project::ledger::{Asking, CompletionRow, Ledger, LedgerError, Reader};
use crate::project::near::{NearError, Prints};
use crate::project::shared::Shared;
use crate::store::Objects as Page;
use crate::store::listing::{Complete, ListingError};
use crate::sync::completions::{
    Decision, Local, RecordedState, Remote, TargetPolicy, TaskFacts, decide, goes_back, is_in_step,
};
use crate::sync::holds::{Vanish, VanishLimit};

/// Completions read from the ledger at once.
const ROWS_BATCH: usize = 4_096;

/// A completion that needs something done or looked at.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its task.
    pub id: TaskId,
    /// Its row.
    pub row: Option<CompletionRow>,
    /// The version of its file.
    pub print: Option<Fingerprint>,
    /// No file, in a directory from before it was written ([`Local::TakenBack`]).
    pub taken_back: bool,
    /// What the listing showed.
    pub remote: Remote,
}

/// What a look showed.
#[derive(Debug, Default)]
pub struct TargetLooked {
    /// Oldest file first.
    pub wanted: Vec<Wanted>,
    /// Files that are not at rest.
    pub restless: BTreeMap<TaskId, Rest>,
    /// Left alone, with the reason: `unknown_task`, `remote_only`, `conflict` …
    pub left: BTreeMap<&'static str, u64>,
    /// Files of tasks that nobody knows, at most [`UNKNOWN_MAX`].
    pub unknown: Vec<TaskId>,
    /// Hash of the names of the files that are gone; `None`: none is.
    pub gone: Option<Sha256>,
    /// Nothing more seems to follow these.
    pub deletions_whole: bool,
    /// Too many files, or objects, vanished at once.
    pub vanish: Vec<(&'static str, Vanish)>,
    /// The highest id in the target.
    pub highest: Option<TaskId>,
    /// A file is gone, and only some were looked at: how many are gone must be known first, so look at all.
    pub look_at_all: bool,
}

/// Unknown files listed by name; the rest is counted.
pub const UNKNOWN_MAX: usize = 1_000;

/// What is looked at.
#[derive(Debug)]
pub enum Scope {
    /// These, by name: an event said so, or something is in hand.
    Some(BTreeSet<TaskId>),
    /// Every file and every row; the objects are taken to be as recorded.
    Local,
    /// Every file, row and object.
    Full {
        /// Pages of the target's listing.
        pages: mpsc::Receiver<Page>,
        /// Comes when it was whole.
        whole: oneshot::Receiver<Complete>,
        /// What every completion's key starts with.
        prefix: String,
    },
}

/// Two that push would write over each other. Blocks.
pub fn refuse_own_target(shared: &Shared) -> Result<(), CycleError> {
    if !shared.near.own_storages()?.target {
        return Ok(());
    }
    Err(CycleError::Blocked {
        code: "label_studio_owns_target",
        message: "config.json names a cloud storage as target: Label Studio writes completions there itself".to_owned(),
        hint: "stop Label Studio and run `labelsyncd init --adopt`, or set its target to local".to_owned(),
    })
}

/// Walks what `scope` names; all of it was asked for after [`refuse_own_target`]. Blocks.
pub fn walk(
    shared: &Shared,
    scope: Scope,
    policy: TargetPolicy,
    settler: &mut Settler,
) -> Result<TargetLooked, CycleError> {
    if !matches!(scope, Scope::Full { .. }) {
        refuse_own_target(shared)?;
    }
    if !shared.near.has_completions()? {
        let known = shared.ledger.completion_counts()?.in_step;
        if known > 0 {
            return Err(CycleError::Blocked {
                code: "completions_missing",
                message: format!("completions/ is missing in the project directory, and {known} completions are known"),
                hint: "mount or restore it; where all were deleted on purpose, make it as an empty directory"
                    .to_owned(),
            });
        }
    }
    let mut walk = Walk {
        shared,
        policy,
        settler,
        looked: TargetLooked::default(),
        seen: Vanishing::default(),
        many: false,
        tasks: None,
    };
    match scope {
        Scope::Some(ids) => {
            let prints = shared.near.completion_prints()?;
            for id in ids {
                let row = shared.ledger.completion(id)?;
                let Some(print) = walk.print_of(id, &prints)? else { continue };
                let was_there = row.as_ref().is_some_and(|row| row.recorded.sha.is_some());
                if print.is_none() && was_there {
                    walk.looked.look_at_all = true;
                } else {
                    walk.one(id, row, print, Remote::Unseen)?;
                }
            }
        }
        Scope::Local => walk.all(None)?,
        Scope::Full { pages, whole, prefix } => walk.all(Some(Objects::new(pages, whole, prefix)))?,
    }
    let mut looked = walk.looked;
    looked.gone = (walk.seen.files_gone > 0).then(|| Sha256::of(&walk.seen.files));
    walk.seen.judge(&mut looked.vanish);
    // Oldest first: what waits longest is what would be missed most.
    looked.wanted.sort_by_key(|wanted| wanted.print.map_or(0, |print| print.mtime_ns));
    Ok(looked)
}

struct Walk<'a> {
    shared: &'a Shared,
    policy: TargetPolicy,
    settler: &'a mut Settler,
    looked: TargetLooked,
    seen: Vanishing,
    /// All are looked at.
    many: bool,
    /// For questions about many, from the first one on: most looks ask none.
    tasks: Option<Asking>,
}

impl Walk<'_> {
    /// The file's version. `None`: a link, a fifo or the like stands there, which is neither a file nor a deletion.
    fn print_of(&mut self, id: TaskId, prints: &Prints<'_>) -> Result<Option<Option<Fingerprint>>, CycleError> {
        match prints(id) {
            Ok(print) => Ok(Some(print)),
            Err(NearError::File(error)) if error.kind == FileErrorKind::NotAFile => {
                self.leave(id, "not_a_file");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Files, rows and objects in the order of decimal names.
    fn all(&mut self, objects: Option<Objects>) -> Result<(), CycleError> {
        let shared = self.shared;
        self.many = true;
        let prints = shared.near.completion_prints()?;
        let mut files = shared.near.completions()?;
        files.sort_by_cached_key(TaskId::to_string);
        let mut files = files.into_iter().peekable();
        let mut rows = Rows::new(&shared.ledger).peekable();
        let listed = objects.is_some();
        let mut objects = objects.map(Iterator::peekable);
        loop {
            let file = files.peek().map(ToString::to_string);
            let row = name_of(&mut rows, |row: &CompletionRow| row.id)?;
            let object = match &mut objects {
                Some(objects) => name_of(objects, |object: &(TaskId, ETag)| object.0)?,
                None => None,
            };
            let Some(name) = [&file, &row, &object].into_iter().flatten().min().cloned() else { break };
            let is = |side: &Option<String>| side.as_ref() == Some(&name);
            let id = TaskId::parse(&name).expect("the name was made from an id");
            if is(&file) {
                files.next();
            }
            let taken_row = if is(&row) { rows.next().transpose()? } else { None };
            let taken = if is(&object) { objects.as_mut().and_then(Iterator::next).transpose()? } else { None };
            let remote = match taken {
                Some((_, etag)) => Remote::Version(etag),
                None if listed => Remote::Absent,
                None => Remote::Unseen,
            };
            if matches!(remote, Remote::Version(_)) && id.is_given() {
                self.looked.highest = self.looked.highest.max(Some(id));
            }
            let Some(print) = self.print_of(id, &prints)? else { continue };
            self.one(id, taken_row, print, remote)?;
        }
        // All of this was one directory, and is the project's still.
        shared.near.has_completions()?;
        Ok(())
    }

    fn one(
        &mut self,
        id: TaskId,
        row: Option<CompletionRow>,
        print: Option<Fingerprint>,
        remote: Remote,
    ) -> Result<(), CycleError> {
        self.shared.board.pulse(Direction::Target).beat();
        let local = self.local(id, row.as_ref(), print)?;
        self.seen.count(id, row.as_ref(), &local, &remote);
        let recorded = row.as_ref().map(|row| &row.recorded);
        let settled = matches!(local, Local::AsRecorded | Local::Absent);
        if settled && recorded.is_none() && matches!(remote, Remote::Unseen | Remote::Absent) {
            return Ok(());
        }
        let is_enough = local == Local::Unread || is_in_step(recorded, &local, &remote);
        let facts = match is_enough && self.knows(id)? {
            true => TaskFacts { known: true, ..TaskFacts::default() },
            false => self.task_facts(id)?,
        };
        match decide(recorded, &local, &remote, &facts, self.policy) {
            Decision::Nothing("") | Decision::Wait => {}
            Decision::Nothing(why) => self.leave(id, why),
            Decision::ReadLocal if !facts.known => self.leave(id, "unknown_task"),
            Decision::ReadLocal | Decision::LookRemote | Decision::ReadRemote | Decision::Act(_) => {
                let taken_back = local == Local::TakenBack;
                self.looked.wanted.push(Wanted { id, row, print, taken_back, remote });
            }
        }
        Ok(())
    }

    fn knows(&mut self, id: TaskId) -> Result<bool, LedgerError> {
        let ledger = &self.shared.ledger;
        self.tasks()?.map_or_else(|| ledger.knows(id), |tasks| tasks.knows(id))
    }

    fn task_facts(&mut self, id: TaskId) -> Result<TaskFacts, LedgerError> {
        let ledger = &self.shared.ledger;
        self.tasks()?.map_or_else(|| ledger.task_facts(id), |tasks| tasks.task_facts(id))
    }

    fn tasks(&mut self) -> Result<Option<&mut Asking>, LedgerError> {
        if self.many && self.tasks.is_none() {
            self.tasks = Some(self.shared.ledger.asking()?);
        }
        Ok(self.tasks.as_mut())
    }

    fn leave(&mut self, id: TaskId, why: &'static str) {
        *self.looked.left.entry(why).or_default() += 1;
        if why == "unknown_task" && self.looked.unknown.len() < UNKNOWN_MAX {
            self.looked.unknown.push(id);
        }
    }

    fn local(
        &mut self,
        id: TaskId,
        row: Option<&CompletionRow>,
        print: Option<Fingerprint>,
    ) -> Result<Local, CycleError> {
        let name = id.to_string();
        let Some(print) = print else {
            self.settler.forget(&name);
            let last_ns = row.filter(|row| row.recorded.sha.is_some()).and_then(CompletionRow::last_written_ns);
            if last_ns.is_none() {
                return Ok(Local::Absent);
            }
            // Looked up after the file was: whoever deletes it moves the directory's time first.
            let dir_ns = self.shared.near.completions_changed_ns()?;
            let now_ns = self.shared.now().0.saturating_mul(1_000_000);
            let is_older = dir_ns.is_some_and(|dir_ns| goes_back(dir_ns, last_ns, now_ns));
            return Ok(if is_older { Local::TakenBack } else { Local::Absent });
        };
        if row.is_some_and(|row| row.tells_of(&print)) {
            self.settler.forget(&name);
            return Ok(Local::AsRecorded);
        }
        Ok(match self.settler.look(&name, &print, self.shared.now(), std::time::Instant::now()) {
            Rest::AtRest => Local::Unread,
            rest @ (Rest::Settling(_) | Rest::Unsettled(_)) => {
                self.looked.restless.insert(id, rest);
                Local::Unsettled
            }
        })
    }
}

/// What vanished on either side, in this walk.
#[derive(Default)]
struct Vanishing {
    known: u64,
    files_gone: u64,
    objects_gone: u64,
    files: Vec<u8>,
    objects: Vec<u8>,
}

impl Vanishing {
    fn count(&mut self, id: TaskId, row: Option<&CompletionRow>, local: &Local, remote: &Remote) {
        let Some(row) = row else { return };
        if row.recorded.state != RecordedState::InStep {
            return;
        }
        self.known += 1;
        if matches!(local, Local::Absent) {
            self.files_gone += 1;
            self.files.extend_from_slice(format!("{id};").as_bytes());
        }
        if matches!(remote, Remote::Absent) {
            self.objects_gone += 1;
            self.objects.extend_from_slice(format!("{id};").as_bytes());
        }
    }

    /// Label Studio's "delete all" of a handful is believed; of ten and more it is asked about.
    fn judge(self, into: &mut Vec<(&'static str, Vanish)>) {
        let limit = VanishLimit { percent: 50, hold_empty: false };
        // The same ids gone on both sides are two sights, to be accepted one by one.
        let digest = |side: &[u8], ids: &[u8]| Sha256::of(&[side, ids].concat());
        let files = limit.judge(self.files_gone, self.known, false, digest(b"files;", &self.files));
        let objects = limit.judge(self.objects_gone, self.known, false, digest(b"objects;", &self.objects));
        into.extend(files.map(|vanish| ("mass_deletion", vanish)));
        into.extend(objects.map(|vanish| ("target_mass_removal", vanish)));
    }
}

fn name_of<T>(
    items: &mut Peekable<impl Iterator<Item = Result<T, CycleError>>>,
    id: impl Fn(&T) -> TaskId,
) -> Result<Option<String>, CycleError> {
    match items.peek() {
        None => Ok(None),
        Some(Ok(item)) => Ok(Some(id(item).to_string())),
        Some(Err(_)) => match items.next() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(None),
        },
    }
}

/// The ledger's rows, in batches, so that no read is held open. Few rows are read by the connection that is there.
struct Rows<'a> {
    ledger: &'a Ledger,
    reader: Option<Reader>,
    after: String,
    batch: std::vec::IntoIter<CompletionRow>,
    ended: bool,
}

impl<'a> Rows<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, reader: None, after: String::new(), batch: Vec::new().into_iter(), ended: false }
    }

    fn next_batch(&mut self) -> Result<Vec<CompletionRow>, LedgerError> {
        if self.after.is_empty() {
            return self.ledger.first_completion_rows(ROWS_BATCH);
        }
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.ledger.reader()?,
        };
        self.reader.insert(reader).completion_rows(&self.after, ROWS_BATCH)
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<CompletionRow, CycleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.batch.next() {
            return Some(Ok(row));
        }
        if self.ended {
            return None;
        }
        match self.next_batch() {
            Ok(batch) => {
                self.ended = batch.len() < ROWS_BATCH;
                if let Some(last) = batch.last() {
                    self.after = last.id.to_string();
                }
                self.batch = batch.into_iter();
                self.batch.next().map(Ok)
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error.into()))
            }
        }
    }
}

/// The target's objects that are completions; others are none of ours.
struct Objects {
    pages: mpsc::Receiver<Page>,
    whole: Option<oneshot::Receiver<Complete>>,
    prefix: String,
    page: Page,
    /// The next object of the page.
    next: usize,
}

impl Objects {
    fn new(pages: mpsc::Receiver<Page>, whole: oneshot::Receiver<Complete>, prefix: String) -> Self {
        Self { pages, whole: Some(whole), prefix, page: Page::default(), next: 0 }
    }
}

impl Iterator for Objects {
    type Item = Result<(TaskId, ETag), CycleError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(listed) = self.page.get(self.next) {
                self.next += 1;
                let name = listed.key.strip_prefix(self.prefix.as_str());
                if let Some(id) = name.and_then(TaskId::parse) {
                    return Some(Ok((id, ETag::new(listed.etag))));
                }
            }
            match self.pages.blocking_recv() {
                Some(page) => (self.page, self.next) = (page, 0),
                // The end of the pages is the end of the listing only with the proof that it was whole.
                None => {
                    let whole = self.whole.take()?;
                    return match whole.blocking_recv() {
                        Ok(_complete) => None,
                        Err(_) => Some(Err(ListingError::GivenUp.into())),
                    };
                }
            }
        }
    }
}

/// For callers that only have the ledger.
pub fn in_hand(ledger: &Ledger) -> Result<BTreeSet<TaskId>, CycleError> {
    Ok(ledger.completions_in_hand(IN_HAND_MAX)?.into_iter().collect())
}

/// Pushes without receipt that are looked at in one cycle; the rest follow in the next.
const IN_HAND_MAX: usize = 10_000;
