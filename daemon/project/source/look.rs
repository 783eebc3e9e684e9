//! A look at the source: the listing against the index, then into the objects that must be read.
//!
//! Promise: what comes out of a listing that failed is an error; pages are merged while the next is fetched.
//! Not here: what is done about it (`source::road`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::Either;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::control::api::Progress;
use crate::names::Key;
use crate::project::board::Direction;
use crate::project::error::{CycleError, blocking};
use crate::project::label_config::LabelConfig;
use crate::project::shared::Shared;
use crate::project::spool::Spool;
use crate::project::strict_json::BodyRules;
use crate::project::validate::{TaskLimits, blob_task, check_task, task_from_object};
use crate::settings::{BlobUrl, SourceSettings, StoreSettings};
use crate::store::listing::{self, ListingError, Marks, Order};
use crate::store::{Listed, Objects, Store, StoreError, StoreErrorKind, local};
use crate::sync::action::Form;
use crate::sync::flow::{Came, Flow};
use crate::sync::holds::{ChangeLimit, VanishLimit};
use crate::sync::select::{OwnTarget, Scope, Selection};
use crate::sync::source::{Content, Difference, Sealed, SourcePolicy};
use crate::sync::stretches::{Cuts, Sink, Stretch, Walk};

/// Pages between the listing and the walk: one is merged while the next is fetched.
const PAGES_IN_HAND: usize = 2;

/// Stretches in memory on their way to the ledger.
const STRETCHES_AT_ONCE: usize = 1_024;

/// Objects read at once, at first: enough to hide a bucket's latency, few enough for any server.
const READS_AT_ONCE: usize = 32;

/// And at most, when the bucket keeps answering quickly: more only fills its queue.
const READS_AT_ONCE_MAX: usize = 128;

/// Larger objects (up to 16 MiB) are no work for the threads that talk to the network; handing over a smaller one
/// costs more than parsing it.
const PARSED_IN_PLACE_MAX_BYTES: usize = 16 * 1024;

/// Failed reads in a row after which a cycle gives up: the bucket, not an object, is the trouble.
const READ_FAILURES_MAX: usize = 16;

/// A source: its settings and how it is reached.
#[derive(Clone, Debug)]
pub struct SourceSide {
    /// In force for this cycle.
    pub settings: SourceSettings,
    /// The bucket.
    pub store: Arc<dyn Store>,
    /// Target prefixes in this bucket, of all projects.
    pub targets: Vec<String>,
}

/// A complete look.
#[derive(Debug)]
pub struct Looked {
    /// What it decides by.
    pub policy: SourcePolicy,
    /// What differs.
    pub differences: Spool<Difference>,
    /// What it comes to.
    pub sealed: Sealed,
}

/// What decides about a source, from its settings and the label config.
pub fn policy(side: &SourceSide, config: &LabelConfig) -> Result<SourcePolicy, CycleError> {
    let settings = &side.settings;
    let form = if settings.use_blob_urls { blob_form(side, config)? } else { Form::Json };
    let own_targets = side.targets.iter().map(|prefix| OwnTarget { prefix: prefix.clone() }).collect();
    let selection = Selection {
        scope: scope(settings),
        regex: settings.regex.clone(),
        exclude: settings.exclude.clone(),
        own_targets,
        cloud_urls: settings.has_cloud_urls(),
    };
    Ok(SourcePolicy {
        selection,
        form,
        on_removed: settings.on_removed,
        on_changed: settings.on_changed,
        limit: VanishLimit { percent: settings.max_removed.percent, hold_empty: true },
        change_limit: ChangeLimit { percent: settings.max_changed.percent, contents: contents(settings) },
        copies: settings.create_local_copy,
    })
}

/// What a prefix means is the provider's, as Label Studio takes it (C25).
pub(in crate::project) fn scope(settings: &SourceSettings) -> Scope {
    match settings.store {
        StoreSettings::S3(_) | StoreSettings::Local { .. } => Scope::directory(&settings.prefix, settings.recursive),
        StoreSettings::Gcs(_) => Scope::plain(&settings.prefix, settings.recursive),
    }
}

/// A file's version also changes with its mode and its place on the disk.
fn contents(settings: &SourceSettings) -> fn(&str) -> &str {
    match settings.store {
        StoreSettings::Local { .. } => local::contents,
        StoreSettings::S3(_) | StoreSettings::Gcs(_) => |version| version,
    }
}

/// Which encodings a JSON task may have, as Label Studio reads it from this provider.
fn body_rules(settings: &SourceSettings) -> BodyRules {
    match settings.store {
        StoreSettings::S3(_) | StoreSettings::Local { .. } => BodyRules::Utf8,
        StoreSettings::Gcs(_) => BodyRules::AnyUnicode,
    }
}

/// Every blob's task looks the same: whether Label Studio takes it is known before the first is written (C10).
fn blob_form(side: &SourceSide, config: &LabelConfig) -> Result<Form, CycleError> {
    let named = side.settings.data_key.as_deref().or(config.first_data_key());
    let Some(data_key) = named else {
        return Err(CycleError::Blocked {
            code: "no_data_key",
            message:
                "the label config names no data key, and `data_key` is not set: a blob's URL has no place in a task"
                    .to_owned(),
            hint:
                "give the label config a tag with value=\"$image\" (or the like), or `lsctl set-source --data-key KEY`"
                    .to_owned(),
        });
    };
    let sample = blob_task(&side.store.url(&Key::new("key")), data_key);
    if let Err(rejected) = check_task(&sample.fields(), config) {
        return Err(CycleError::Blocked {
            code: "blob_tasks_do_not_fit",
            message: format!("a task of a blob's URL under `{data_key}` does not fit the label config: {rejected}"),
            hint: "set `data_key` to the key that the label config wants, or `use_blob_urls = false` for JSON tasks"
                .to_owned(),
        });
    }
    let data_key = data_key.to_owned();
    Ok(match side.settings.blob_url {
        BlobUrl::Cloud => Form::Blob { data_key },
        BlobUrl::Local => Form::Local { data_key },
    })
}

/// Lists the source and walks it with the index. Nothing is changed but what is remembered of the listing.
pub async fn look(
    shared: &Shared,
    side: &SourceSide,
    policy: SourcePolicy,
    order: &Order,
    marks: &mut Marks,
) -> Result<Looked, CycleError> {
    let origin = {
        let (ledger, root) = (shared.ledger.clone(), side.store.root().to_owned());
        blocking(move || Ok(ledger.origin(&root)?)).await?
    };
    let request = policy.selection.scope.request.clone();
    let (pages, merged) = mpsc::channel(PAGES_IN_HAND);
    let (whole, sealed) = oneshot::channel();
    let walk = tokio::task::spawn_blocking({
        let shared = shared.clone();
        move || walk(&shared, policy, origin, merged, sealed)
    });
    match listing::walk(&*side.store, &request, order, marks, pages).await {
        // The walk has failed already when nobody takes the proof.
        Ok(complete) => drop(whole.send(complete)),
        Err(ListingError::GivenUp) => drop(whole),
        Err(error) => return Err(error.into()),
    }
    walk.await.map_err(|stopped| CycleError::Work(std::io::Error::other(stopped)))?
}

fn walk(
    shared: &Shared,
    policy: SourcePolicy,
    origin: i64,
    mut pages: mpsc::Receiver<Objects>,
    sealed: oneshot::Receiver<listing::Complete>,
) -> Result<Looked, CycleError> {
    // Before the first row is read.
    let clock = shared.ledger.stretch_clock()?;
    let (rows, remembered) = (shared.ledger.reader()?.known_rows(origin), shared.ledger.reader()?.remembered(origin));
    let mut found = Found { differences: Spool::new(&shared.work_dir), stretches: Spool::new(&shared.work_dir) };
    let near = shared.near.clone();
    let completed = |id| near.completion_print(id).is_ok_and(|print| print.is_some());
    let mut walk = Walk::new(&policy, completed, rows, remembered, Cuts::default())?;
    while let Some(page) = pages.blocking_recv() {
        walk.page(page, &mut found)?;
        let progress = Progress { phase: "listing".to_owned(), done: walk.listed_objects(), total: None };
        shared.board.progress(Direction::Source, Some(progress));
    }
    let Ok(complete) = sealed.blocking_recv() else { return Err(ListingError::GivenUp.into()) };
    let sealed = walk.seal(complete, &mut found)?;
    let Found { differences, stretches } = found;
    remember(shared, origin, clock, stretches)?;
    Ok(Looked { policy, differences, sealed })
}

/// Where a row was written meanwhile no more is remembered: the next look walks it again.
fn remember(shared: &Shared, origin: i64, clock: i64, stretches: Spool<Stretch>) -> Result<(), CycleError> {
    let (mut clock, mut stretches) = (Some(clock), stretches.read()?);
    while let Some(still) = clock {
        let batch = stretches.batch(STRETCHES_AT_ONCE)?;
        if batch.is_empty() {
            break;
        }
        clock = shared.ledger.remember(origin, still, &batch)?;
    }
    Ok(())
}

/// What a walk finds, on its way to the plan and to the ledger.
struct Found {
    differences: Spool<Difference>,
    stretches: Spool<Stretch>,
}

impl Sink for Found {
    type Error = CycleError;

    fn difference(&mut self, difference: Difference) -> Result<(), CycleError> {
        Ok(self.differences.push(&difference)?)
    }

    fn stretch(&mut self, stretch: Stretch) -> Result<(), CycleError> {
        Ok(self.stretches.push(&stretch)?)
    }
}

/// For [`read_objects`].
pub fn reads() -> Flow {
    Flow::new(READS_AT_ONCE, READS_AT_ONCE_MAX)
}

/// Looks into the objects of a batch, as many at once as the bucket bears; in the batch's order.
pub async fn read_objects(
    shared: &Shared,
    side: &SourceSide,
    config: &Arc<LabelConfig>,
    form: &Form,
    (batch, flow): (Vec<Difference>, &mut Flow),
) -> (Vec<(Difference, Content)>, Option<CycleError>) {
    let may_be_orphans = match shared.ledger.has_orphans() {
        Ok(there_are) => there_are,
        Err(error) => return (Vec::new(), Some(error.into())),
    };
    let (shared, side, config, form) = (shared.clone(), side.clone(), config.clone(), form.clone());
    let reading = Arc::new(Reading { shared, side, config, form, may_be_orphans });
    let mut failure = None;
    let mut failures_in_a_row = 0;
    let mut looked = Vec::with_capacity(batch.len());
    let mut waiting = batch.into_iter();
    let mut reads = FuturesOrdered::new();
    loop {
        while reads.len() < flow.width()
            && let Some(difference) = waiting.next()
        {
            // A task of its own for each request: polled by this one, all of them would wait for one core.
            reads.push_back(if difference.to_read(&reading.form).is_some() {
                Either::Left(AbortOnDropHandle::new(tokio::spawn(timed(reading.clone(), difference))))
            } else {
                Either::Right(timed(reading.clone(), difference).map(Ok))
            });
        }
        let Some(read) = reads.next().await else { break };
        let (difference, content, took) = match read {
            Ok(read) => read,
            Err(panicked) => {
                failure = Some(CycleError::Work(std::io::Error::other(panicked)));
                break;
            }
        };
        if difference.to_read(&reading.form).is_some() {
            flow.saw(came(&content, took));
        }
        match content {
            Ok(content) => {
                failures_in_a_row = 0;
                looked.push((difference, content));
            }
            Err(error) => {
                failures_in_a_row += 1;
                failure = Some(error);
                looked.push((difference, Content::Unread));
            }
        }
        if failures_in_a_row >= READ_FAILURES_MAX {
            break;
        }
    }
    (looked, failure)
}

/// What the objects of a batch are looked into with.
struct Reading {
    shared: Shared,
    side: SourceSide,
    config: Arc<LabelConfig>,
    form: Form,
    /// The ledger was rebuilt, and has tasks that may be objects'.
    may_be_orphans: bool,
}

async fn timed(reading: Arc<Reading>, difference: Difference) -> (Difference, Result<Content, CycleError>, Duration) {
    let begun = Instant::now();
    let content = content(&reading, &difference).await;
    (difference, content, begun.elapsed())
}

/// What a request tells of how busy the bucket is.
pub(in crate::project) fn came<T>(answer: &Result<T, CycleError>, took: Duration) -> Came {
    match answer {
        Ok(_) => Came::After(took),
        Err(CycleError::Store(error)) if error.kind == StoreErrorKind::Throttled => Came::Throttled,
        Err(_) => Came::Failed,
    }
}

async fn content(reading: &Reading, difference: &Difference) -> Result<Content, CycleError> {
    let Reading { shared, side, config, form, .. } = reading;
    if let Some(listed) = difference.to_read(form) {
        let content = read_task(side, config, listed).await?;
        return found(reading, difference, content);
    }
    let (Form::Blob { data_key } | Form::Local { data_key }, Some(listed)) = (form, difference.listed()) else {
        return Ok(Content::Unread);
    };
    let url = match form {
        Form::Local { .. } => shared.near.copy_url(&listed.key),
        Form::Blob { .. } | Form::Json => side.store.url(&listed.key),
    };
    let task = blob_task(&url, data_key);
    // A cloud URL follows from the key; any other is written down.
    let follows = url == format!("{}/{}", side.store.root(), listed.key.as_str());
    let body = (!follows).then(|| task.to_stored().to_owned());
    let content = Content::Task { body, data_hash: task.data_hash, etag: listed.etag.clone() };
    let content = found(reading, difference, content)?;
    let new = matches!((difference, &content), (Difference::New(_), Content::Task { .. }));
    Ok(if new && shared.ledger.is_imported(&url)? { Content::Duplicate } else { content })
}

/// A new object's task may stand in `tasks.json` already, where the ledger was rebuilt without its row.
fn found(reading: &Reading, difference: &Difference, content: Content) -> Result<Content, CycleError> {
    if !reading.may_be_orphans {
        return Ok(content);
    }
    let Content::Task { body, data_hash, etag } = content else { return Ok(content) };
    let orphan = match difference {
        Difference::New(_) => reading.shared.ledger.orphan(data_hash)?,
        Difference::Changed { .. } | Difference::Returned { .. } | Difference::Plain(_) => None,
    };
    Ok(match orphan {
        Some(id) => Content::Found { id, body, data_hash, etag },
        None => Content::Task { body, data_hash, etag },
    })
}

async fn read_task(side: &SourceSide, config: &Arc<LabelConfig>, listed: &Listed) -> Result<Content, CycleError> {
    let limits = TaskLimits::default();
    let bad = |reason: &str, detail: String, etag| Content::Bad { reason: reason.to_owned(), detail, etag };
    let other_size = |said: String| {
        let detail = format!("{said}, {} bytes are listed", listed.size_bytes);
        StoreError::new(StoreErrorKind::Malformed, "read", side.store.url(&listed.key), detail)
    };
    let object = match side.store.get(&listed.key, limits.body_bytes as u64).await {
        // What is said of the object as it is listed is not true: that is no fault of the object's.
        Ok(object) if object.etag == listed.etag && (object.bytes.len() as u64) < listed.size_bytes => {
            return Err(other_size(format!("{} bytes came", object.bytes.len())).into());
        }
        Ok(object) => object,
        Err(error) if error.kind == StoreErrorKind::TooLarge && listed.size_bytes <= limits.body_bytes as u64 => {
            return Err(other_size(error.detail).into());
        }
        Err(error) if matches!(error.kind, StoreErrorKind::TooLarge | StoreErrorKind::UnsupportedKey) => {
            return Ok(bad(error.kind.code(), error.to_string(), listed.etag.clone()));
        }
        // Gone since it was listed: the next listing says so.
        Err(error) if error.kind == StoreErrorKind::ObjectMissing => return Ok(Content::Unread),
        Err(error) => return Err(error.into()),
    };
    let (config, rules) = (config.clone(), body_rules(&side.settings));
    let small = object.bytes.len() <= PARSED_IN_PLACE_MAX_BYTES;
    let parse = move || {
        let etag = object.etag.clone();
        Ok(match task_from_object(&object.bytes, rules, &config, &limits) {
            Ok(task) => Content::Task { body: Some(task.to_stored().to_owned()), data_hash: task.data_hash, etag },
            Err(rejected) => bad(rejected.code, rejected.to_string(), etag),
        })
    };
    if small { parse() } else { blocking(parse).await }
}

/// Where a listing that came out of order is sorted.
pub fn sorting_dir(shared: &Shared) -> PathBuf {
    shared.work_dir.clone()
}
