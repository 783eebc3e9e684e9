//! A ledger brought to what the project holds: after a damage, and after a backup was put back.
//!
//! Promise: no id changes and none is given twice (promises 17, 45): what stands in `tasks.json` keeps its id, and new
//! ids come after all that are seen there, in the completions, in Label Studio's map and in the target.
//! Not here: the ledger's own side of it (`ledger::repair`), when it is done (`host`).

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::error::CycleError;
use super::ledger::{Doubt, Ledger, Rebuilding, StandingTask};
use super::near::Near;
use super::tasks::file;
use crate::clock::UnixMillis;
use crate::control::api::Reason;
use crate::names::counted;

/// Tasks recorded in one transaction.
const BATCH: usize = 1_000;

/// Where what a repair came to is waited for.
pub type Asker = oneshot::Sender<Result<String, Reason>>;

/// An operator's wish that the ledger be rebuilt, on its way to the project.
#[derive(Debug, Default)]
pub struct Wish {
    /// Held to put in or take out, never across a wait.
    asked: Mutex<Option<Asker>>,
    notify: Notify,
}

impl Wish {
    /// Asks; what came of it.
    pub fn ask(&self) -> oneshot::Receiver<Result<String, Reason>> {
        let (answer, answered) = oneshot::channel();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.notify.notify_one();
        answered
    }

    /// The wish, if there is one: whoever takes it answers it.
    pub fn take(&self) -> Option<Asker> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether there is one.
    pub fn is_asked(&self) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends when there is one.
    pub async fn come(&self) {
        self.notify.notified().await;
    }
}

/// What is answered where the ledger is sound.
pub fn nothing_to_repair() -> Reason {
    Reason {
        code: "nothing_to_repair".to_owned(),
        message: "the ledger is whole".to_owned(),
        hint: "nothing: `lsctl status` shows what else may be wrong".to_owned(),
    }
}

/// Rebuilds the ledger at `path`, which nobody has open; what was done, for the operator.
pub fn rebuild(path: &Path, near: &dyn Near, work_dir: &Path, now: UnixMillis) -> Result<String, CycleError> {
    let building = Rebuilding::begin(path, work_dir)?;
    let rows = building.rows;
    let orphans = reconcile(building.ledger(), near, &building.doubt)?;
    let kept = match building.finish(now)? {
        Some(aside) => format!("the old one is kept as {}", aside.display()),
        None => "of the old one nothing was left to keep".to_owned(),
    };
    Ok(format!(
        "the ledger is rebuilt: {} could be read of the old one, {} of tasks.json had none and keep their ids; {kept}",
        counted(rows, "row"),
        counted(orphans, "task")
    ))
}

/// Whether `tasks.json` holds ids after all that the ledger has ever known, in a file that it does not know: somebody put an
/// old ledger back by hand, which does not say that it is a copy. The bucket's objects are compared with them before they get
/// ids. What was added to the file that the ledger knows, Label Studio has imported while nobody looked: it is its own, also
/// where it equals an object. Where the file is as the ledger last saw it, it is not read.
fn is_behind(ledger: &Ledger, near: &dyn Near) -> Result<bool, CycleError> {
    // At the first start all tasks are Label Studio's.
    let Some(seen) = ledger.meta("tasks_print")? else { return Ok(false) };
    let Some(print) = near.tasks_print()? else { return Ok(false) };
    let born_ns = near.tasks_born_ns()?;
    if seen == print.to_string() || (born_ns.is_some() && born_ns == ledger.tasks_born_ns()?) {
        return Ok(false);
    }
    let mut highest = None;
    let scanned = near.scan_tasks(&mut |id, _| {
        highest = highest.max(Some(id).filter(|id| id.is_given()));
        Ok(())
    });
    // A file that is torn is told by the cycle, and completions go on meanwhile.
    Ok(scanned.is_ok() && highest > ledger.highest_id()?)
}

/// What a ledger had missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaughtUp {
    /// It said that it was a backup.
    pub is_copy: bool,
    /// Tasks that it did not know; they keep their ids.
    pub orphans: u64,
}

/// A ledger that was put back may be behind `tasks.json`: what stands there keeps its id (promise 17). `None`: it is not.
pub fn catch_up(ledger: &Ledger, near: &dyn Near) -> Result<Option<CaughtUp>, CycleError> {
    let is_copy = ledger.is_copy()?;
    if !is_copy && !is_behind(ledger, near)? {
        return Ok(None);
    }
    let doubt = Doubt { is_guess: !is_copy, ..Doubt::default() };
    let orphans = reconcile(ledger, near, &doubt)?;
    ledger.is_no_copy_now()?;
    Ok(Some(CaughtUp { is_copy, orphans }))
}

/// Takes note of what stands in `tasks.json`; how many tasks had no row.
pub fn reconcile(ledger: &Ledger, near: &dyn Near, doubt: &Doubt) -> Result<u64, CycleError> {
    let mut orphans = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut highest = None;
    near.scan_tasks(&mut |id, text| {
        let facts = file::facts(text);
        highest = highest.max(Some(id).filter(|id| id.is_given()));
        batch.push(StandingTask { id, text: text.to_owned(), data_hash: facts.data_hash, url: facts.url });
        if batch.len() >= BATCH {
            orphans += ledger.reconcile(&batch, doubt).map_err(std::io::Error::other)?;
            batch.clear();
        }
        Ok(())
    })?;
    orphans += ledger.reconcile(&batch, doubt)?;
    if let Some(highest) = highest {
        ledger.note_highest(highest)?;
    }
    Ok(orphans)
}
