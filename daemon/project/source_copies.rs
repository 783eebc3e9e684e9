//! Local copies of source objects: fetched many at once, bytes straight to the disk.
//!
//! Promise: a copy is of the version that its action names, whole, or not there; a full disk or limit stops copying
//! and nothing else.
//! Not here: which objects are copied (`sync::source`), where a copy stands (`copies`).

use std::sync::Arc;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::copies::{Copies, CopyLimits, FREE_KEPT_BYTES};
use super::error::{CycleError, blocking};
use super::files::FileErrorKind;
use super::near::NearError;
use super::shared::Shared;
use super::source_look::SourceSide;
use crate::control::api::Reason;
use crate::events::{Happened, Level};
use crate::store::StoreErrorKind;
use crate::sync::action::TaskAction;

/// Copies made at once: they may be large, and the disk is shared with Label Studio.
const COPIES_AT_ONCE: usize = 8;

/// The warning's code.
const FULL: &str = "copies_full";

/// The copies of one project, opened when the first is made.
#[derive(Debug, Default)]
pub struct SourceCopies {
    opened: Option<(CopyLimits, Arc<Copies>)>,
}

impl SourceCopies {
    /// Makes the copies that a batch of actions names; those that fail are named again by the next cycle.
    pub async fn make(
        &mut self,
        shared: &Shared,
        side: &SourceSide,
        origin: i64,
        actions: &[TaskAction],
    ) -> Result<(), CycleError> {
        let wanted: Vec<TaskAction> =
            actions.iter().filter(|a| matches!(a, TaskAction::Copy { .. })).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let copies = self.open(shared, side).await?;
        let mut made = futures::stream::iter(wanted)
            .map(|action| copy(shared, side, origin, &copies, action))
            .buffer_unordered(COPIES_AT_ONCE);
        let mut failure = None;
        while let Some(result) = made.next().await {
            match result {
                Ok(()) => {
                    shared.board.unwarn(shared.now(), FULL);
                }
                Err(CycleError::Near(NearError::File(error)))
                    if matches!(error.kind, FileErrorKind::CopiesFull | FileErrorKind::DiskFull) =>
                {
                    let hint = error.remedy().to_owned();
                    let reason = Reason { code: FULL.to_owned(), message: error.to_string(), hint };
                    if shared.board.warn(shared.now(), reason.clone()) {
                        shared.tell(
                            Happened::new(Level::Warning, FULL, reason.message)
                                .error(FULL)
                                .bucket(Some(side.store.root())),
                        );
                    }
                    return Ok(());
                }
                // The object, or its bucket: the next listing says more.
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn open(&mut self, shared: &Shared, side: &SourceSide) -> Result<Arc<Copies>, CycleError> {
        let limits = CopyLimits { max_bytes: side.settings.local_copy_max_bytes, free_kept_bytes: FREE_KEPT_BYTES };
        if let Some((known, copies)) = &self.opened
            && *known == limits
        {
            return Ok(copies.clone());
        }
        let near = shared.near.clone();
        let copies = Arc::new(blocking(move || Ok(near.copies(limits)?)).await?);
        self.opened = Some((limits, copies.clone()));
        Ok(copies)
    }
}

async fn copy(
    shared: &Shared,
    side: &SourceSide,
    origin: i64,
    copies: &Arc<Copies>,
    action: TaskAction,
) -> Result<(), CycleError> {
    let TaskAction::Copy { id, key, etag, size_bytes } = &action else { return Ok(()) };
    let pending = {
        let (copies, key, size) = (copies.clone(), key.clone(), *size_bytes);
        blocking(move || Ok(copies.begin(&key, size).map_err(NearError::from)?)).await?
    };
    let mut file = tokio::fs::File::from_std(pending.file()?);
    let read = match side.store.get_to(key, *size_bytes, &mut file).await {
        Ok(read) => read,
        // Another version than was listed: the next cycle lists it.
        Err(error) if matches!(error.kind, StoreErrorKind::ObjectMissing | StoreErrorKind::TooLarge) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    file.flush().await?;
    let (copies, ledger, key_, etag_) = (copies.clone(), shared.ledger.clone(), key.clone(), etag.clone());
    let done = blocking(move || {
        match copies.commit(pending, &etag_, &read) {
            Ok(_) => {}
            Err(error) if error.kind == FileErrorKind::Changing => return Ok(false),
            Err(error) => return Err(NearError::from(error).into()),
        }
        ledger.copied(origin, &key_, &etag_)?;
        Ok(true)
    })
    .await?;
    if done {
        shared.tell(
            Happened::new(Level::Info, action.kind(), action.to_string())
                .key(key)
                .task(Some(*id))
                .bucket(Some(side.store.root())),
        );
    }
    Ok(())
}
