//! Every pushed completion compared with the target, byte for byte by its SHA-256.
//!
//! Promise: changes nothing; a completion that changes meanwhile is compared again, not called different; what cannot
//! be read is listed with its reason, and not called different; memory does not grow with the number of completions.
//! Not here: mending a difference (the cycle and `lsctl resolve` do).

use std::sync::Arc;

use futures::StreamExt;

use super::error::{CycleError, blocking};
use super::ledger::{CompletionRow, Ledger};
use super::shared::Shared;
use super::target::road::TargetSide;
use super::validate::MAX_COMPLETION_BYTES;
use crate::control::api::{ITEMS_PAGE_MAX, Item, VerifyReport};
use crate::names::{ProjectName, Sha256, TaskId};
use crate::store::{StoreError, StoreErrorKind};
use crate::sync::completions::{MISSING, RecordedState};

/// Rows of the ledger at a time.
const ROWS: usize = 1_000;

/// Objects read at once: enough to hide a bucket's latency, few enough for any server.
const READS_AT_ONCE: usize = 16;

/// Failures of the bucket in a row after which the comparison ends: the bucket, not an object, is the trouble.
const FAILURES_MAX: u64 = 16;

/// How often a completion that changes meanwhile is compared again.
const AGAIN_MAX: usize = 3;

/// What one comparison came to.
enum Compared {
    Same,
    /// It is not pushed any more, or never was.
    NotPushed,
    Different(Item),
    Failed(StoreError),
}

/// Compares all of them.
pub async fn verify(shared: &Shared, side: &TargetSide) -> Result<VerifyReport, CycleError> {
    let mut report = VerifyReport { project: shared.name.to_string(), ..VerifyReport::default() };
    let (ledger, of) = (&shared.ledger, (&shared.name, &shared.ledger));
    let (mut after, mut failures) = (String::new(), 0);
    loop {
        let rows = rows(ledger, after.clone(), ROWS).await?;
        let Some(last) = rows.last() else { return Ok(report) };
        after = last.id.to_string();
        let mut compared = futures::stream::iter(rows).map(|row| compare(of, side, row)).buffered(READS_AT_ONCE);
        while let Some((id, compared)) = compared.next().await {
            match compared? {
                Compared::NotPushed => continue,
                Compared::Same => {
                    report.same += 1;
                    failures = 0;
                }
                Compared::Different(item) => {
                    report.different += 1;
                    list(&mut report, item);
                    failures = 0;
                }
                Compared::Failed(error) => {
                    failures += 1;
                    report.unread += 1;
                    let item = item(side, id, error.kind.code(), error.to_string());
                    list(&mut report, Item { state: "not_compared".to_owned(), ..item });
                    if failures >= FAILURES_MAX {
                        report.checked += 1;
                        report.stopped = Some(CycleError::from(error).reason());
                        return Ok(report);
                    }
                }
            }
            report.checked += 1;
        }
    }
}

fn list(report: &mut VerifyReport, item: Item) {
    if report.differences.len() < ITEMS_PAGE_MAX {
        report.differences.push(item);
    }
}

async fn rows(ledger: &Arc<Ledger>, after: String, limit: usize) -> Result<Vec<CompletionRow>, CycleError> {
    let ledger = ledger.clone();
    blocking(move || Ok(ledger.reader()?.completion_rows(&after, limit)?)).await
}

async fn compare(
    (project, ledger): (&ProjectName, &Arc<Ledger>),
    side: &TargetSide,
    row: CompletionRow,
) -> (TaskId, Result<Compared, CycleError>) {
    let id = row.id;
    (id, compare_until_still((project, ledger), side, row).await)
}

/// A difference counts only where the row is still the same after the object was read.
async fn compare_until_still(
    (project, ledger): (&ProjectName, &Arc<Ledger>),
    side: &TargetSide,
    mut row: CompletionRow,
) -> Result<Compared, CycleError> {
    for _ in 0..AGAIN_MAX {
        let compared = compare_once(project, side, &row).await;
        if matches!(compared, Compared::Same | Compared::NotPushed) {
            return Ok(compared);
        }
        let (ledger, id) = (ledger.clone(), row.id);
        let now = blocking(move || Ok(ledger.completion(id)?)).await?;
        match now {
            Some(now) if now.recorded == row.recorded => return Ok(compared),
            Some(now) => row = now,
            None => return Ok(Compared::NotPushed),
        }
    }
    // It changes faster than it can be read: the next comparison will see it.
    Ok(Compared::NotPushed)
}

async fn compare_once(project: &ProjectName, side: &TargetSide, row: &CompletionRow) -> Compared {
    let pushed = match row.recorded.state {
        RecordedState::InStep => row.recorded.sha,
        RecordedState::Missing => {
            return Compared::Different(missing(project, side, row.id));
        }
        RecordedState::Buried | RecordedState::Disputed(_) | RecordedState::Quarantined | RecordedState::Begun => None,
    };
    let Some(pushed) = pushed else { return Compared::NotPushed };
    match side.store.get(&side.key(row.id), MAX_COMPLETION_BYTES as u64).await {
        Ok(object) if Sha256::of(&object.bytes) == pushed => Compared::Same,
        Ok(object) => {
            let detail = format!("{} bytes there are not what was last in step", object.bytes.len());
            Compared::Different(item(side, row.id, "target_differs", detail))
        }
        Err(error) => match error.kind {
            StoreErrorKind::ObjectMissing => Compared::Different(missing(project, side, row.id)),
            StoreErrorKind::TooLarge => Compared::Different(item(side, row.id, "target_differs", error.to_string())),
            _ => Compared::Failed(error),
        },
    }
}

fn missing(project: &ProjectName, side: &TargetSide, id: TaskId) -> Item {
    let detail = format!("it is gone from the target; `lsctl resolve {project} {id} --keep local` pushes it again");
    item(side, id, MISSING, detail)
}

fn item(side: &TargetSide, id: TaskId, reason: &str, detail: String) -> Item {
    Item {
        key: Some(side.key(id).as_str().to_owned()),
        id: Some(id.get()),
        state: "different".to_owned(),
        reason: reason.to_owned(),
        detail,
    }
}
