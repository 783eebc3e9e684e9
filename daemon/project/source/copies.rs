//! Local copies of source objects: fetched many at once, bytes straight to the disk.
//!
//! Promise: a copy is of the version that its action names, whole, or not there; a full disk or limit stops copying
//! and nothing else.
//! Not here: which objects are copied (`sync::source`), where a copy stands (`copies`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;

use crate::control::api::Reason;
use crate::events::{Happened, Level};
use crate::project::copies::{Copies, CopyLimits, FREE_KEPT_BYTES};
use crate::project::error::{CycleError, blocking};
use crate::project::files::FileErrorKind;
use crate::project::near::NearError;
use crate::project::shared::Shared;
use crate::project::source::look::{SourceSide, came};
use crate::store::StoreErrorKind;
use crate::sync::action::TaskAction;
use crate::sync::flow::Flow;

/// Copies made at once, at first: they may be large, and the disk is shared with Label Studio.
const COPIES_AT_ONCE: usize = 8;

/// And at most, when they come quickly.
const COPIES_AT_ONCE_MAX: usize = 32;

/// Copies recorded in one commit.
const RECORDED_TOGETHER: usize = 64;

/// And no later than this: what is not recorded is copied again after a crash.
const RECORD_EVERY: Duration = Duration::from_secs(5);

/// The warning's code.
const FULL: &str = "copies_full";

/// The copies of one project, opened when the first is made.
#[derive(Debug)]
pub struct SourceCopies {
    opened: Option<(CopyLimits, Arc<Copies>)>,
    flow: Flow,
}

impl Default for SourceCopies {
    fn default() -> Self {
        Self { opened: None, flow: Flow::new(COPIES_AT_ONCE, COPIES_AT_ONCE_MAX) }
    }
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
        let wanted: Vec<&TaskAction> = actions.iter().filter(|a| matches!(a, TaskAction::Copy { .. })).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut wanted = wanted.into_iter();
        let copies = &self.open(shared, side).await?;
        let mut made = FuturesUnordered::new();
        let root = side.store.root();
        let mut unrecorded = Unrecorded { shared, root, origin, copies: Vec::new(), since: Instant::now() };
        let mut failure = None;
        loop {
            while made.len() < self.flow.width()
                && let Some(action) = wanted.next()
            {
                made.push(timed(side, copies, action));
            }
            let Some((copied, took)) = made.next().await else { break };
            self.flow.saw(came(&copied, took));
            match copied {
                Ok(done) => {
                    shared.board.unwarn(shared.now(), FULL);
                    unrecorded.add(done).await?;
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
                    failure = None;
                    break;
                }
                // The object, or its bucket: the next listing says more.
                Err(error) => failure = Some(error),
            }
        }
        unrecorded.record().await?;
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

/// Copies that stand in their place, and not in the ledger yet: without it they would be made again.
struct Unrecorded<'a> {
    shared: &'a Shared,
    root: &'a str,
    origin: i64,
    copies: Vec<&'a TaskAction>,
    since: Instant,
}

impl<'a> Unrecorded<'a> {
    async fn add(&mut self, copy: Option<&'a TaskAction>) -> Result<(), CycleError> {
        self.copies.extend(copy);
        let due = self.copies.len() >= RECORDED_TOGETHER || self.since.elapsed() >= RECORD_EVERY;
        if due { self.record().await } else { Ok(()) }
    }

    /// One commit.
    async fn record(&mut self) -> Result<(), CycleError> {
        self.since = Instant::now();
        let keys = self.copies.iter().filter_map(|action| match action {
            TaskAction::Copy { key, etag, .. } => Some((key.clone(), etag.clone())),
            _ => None,
        });
        let (keys, ledger, origin) = (keys.collect::<Vec<_>>(), self.shared.ledger.clone(), self.origin);
        if keys.is_empty() {
            return Ok(());
        }
        blocking(move || Ok(ledger.copied(origin, &keys)?)).await?;
        for action in self.copies.drain(..) {
            let happened = Happened::new(Level::Info, action.kind(), action.to_string());
            self.shared.tell(happened.key(action.key()).task(action.id()).bucket(Some(self.root)));
        }
        Ok(())
    }
}

/// How much is copied, begun ones counted: that a large copy takes long says nothing of how busy the bucket is.
fn mebibytes(action: &TaskAction) -> u32 {
    let TaskAction::Copy { size_bytes, .. } = action else { return 1 };
    u32::try_from(size_bytes >> 20).unwrap_or(u32::MAX).saturating_add(1)
}

/// How long a mebibyte took.
async fn timed<'a>(
    side: &SourceSide,
    copies: &Arc<Copies>,
    action: &'a TaskAction,
) -> (Result<Option<&'a TaskAction>, CycleError>, Duration) {
    let begun = Instant::now();
    let copied = copy(side, copies, action).await;
    (copied, begun.elapsed() / mebibytes(action))
}

/// The action, where the copy stands in its place now.
async fn copy<'a>(
    side: &SourceSide,
    copies: &Arc<Copies>,
    action: &'a TaskAction,
) -> Result<Option<&'a TaskAction>, CycleError> {
    let TaskAction::Copy { key, etag, size_bytes, .. } = action else { return Ok(None) };
    let pending = {
        let (copies, key, size) = (copies.clone(), key.clone(), *size_bytes);
        blocking(move || Ok(copies.begin(&key, size).map_err(NearError::from)?)).await?
    };
    let mut file = tokio::fs::File::from_std(pending.file()?);
    let read = match side.store.get_to(key, *size_bytes, &mut file).await {
        Ok(read) => read,
        // Another version than was listed: the next cycle lists it.
        Err(error) if matches!(error.kind, StoreErrorKind::ObjectMissing | StoreErrorKind::TooLarge) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    file.flush().await?;
    let (copies, etag) = (copies.clone(), etag.clone());
    let done = blocking(move || match copies.commit(pending, &etag, &read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == FileErrorKind::Changing => Ok(false),
        Err(error) => Err(NearError::from(error).into()),
    })
    .await?;
    Ok(done.then_some(action))
}
