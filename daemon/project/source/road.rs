//! Blobs to tasks, once around: observe, plan, apply, record.
//!
//! Promise: what is not whole is not acted upon; ids are in the ledger before they are in `tasks.json`; a cycle that
//! dies anywhere is finished by the next one.
//! Not here: deciding (`sync::source`), looking (`source::look`), `tasks.json` (`tasks::road`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::control::api::{PLAN_LINES_MAX, PlanView, Progress, SourceStatus};
use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::project::adopted::{is_adopted, not_adopted};
use crate::project::board::{Direction, hold_view, standing};
use crate::project::error::{CycleError, blocking};
use crate::project::files::Fingerprint;
use crate::project::label_config::LabelConfig;
use crate::project::portions::{BYTES_AT_ONCE, portions};
use crate::project::shared::Shared;
use crate::project::source::copies::SourceCopies;
use crate::project::source::look::{self, Looked, SourceSide, policy, read_objects, reads};
use crate::project::source::recheck::Recheck;
use crate::project::source::{holds, nothing};
use crate::project::tasks::road::TasksRoad;
use crate::store::listing::{ListingError, Marks, Order};
use crate::sync::action::{HideReason, TaskAction};
use crate::sync::flow::Flow;
use crate::sync::ids::Ids;
use crate::sync::pace::idle_poll;
use crate::sync::select::{OwnTarget, Skip};
use crate::sync::source::{Counts, SourcePolicy, decide};

/// Differences decided and reserved at once: one transaction, one look into the bucket.
const PLAN_BATCH: usize = 1_000;

/// How long a cycle waits for the first listing of the target; the next cycle goes on waiting.
const TARGET_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks whether it was listed.
const TARGET_LOOK_EVERY: Duration = Duration::from_millis(20);

/// This direction of one project.
#[derive(Debug)]
pub struct SourceRoad {
    shared: Shared,
    /// Held by the one blocking step at a time that works on `tasks.json`; never contended.
    tasks: Arc<Mutex<TasksRoad>>,
    config: Option<(Fingerprint, Arc<LabelConfig>)>,
    /// Held by the one blocking step at a time that uses it; never contended.
    recheck: Arc<Mutex<Recheck>>,
    copies: SourceCopies,
    /// How busy the bucket is.
    reads: Flow,
    /// Buckets that were seen to list out of order.
    unordered: Vec<String>,
    /// What the last listing left for the next one.
    marks: Marks,
    /// Where completions go, if anywhere.
    target: Option<String>,
    /// What the last complete look left out.
    left_out: BTreeMap<Skip, u64>,
    /// Differences reserved since [`SourceRoad::take_changes`].
    changes: u64,
    /// Listings in a row that showed nothing to do.
    without_news: u32,
    /// When the tasks were counted last ([`Ledger::writes`](crate::project::ledger::Ledger::writes)).
    counted: Option<u64>,
}

impl SourceRoad {
    /// Nothing looked at yet.
    pub fn new(shared: Shared) -> Self {
        let tasks = Arc::new(Mutex::new(TasksRoad::new(shared.clone())));
        Self {
            shared,
            tasks,
            config: None,
            recheck: Arc::default(),
            copies: SourceCopies::default(),
            reads: reads(),
            unordered: Vec::new(),
            marks: Marks::default(),
            target: None,
            left_out: BTreeMap::new(),
            changes: 0,
            without_news: 0,
            counted: None,
        }
    }

    /// How much was to be done since the last call.
    pub fn take_changes(&mut self) -> u64 {
        std::mem::take(&mut self.changes)
    }

    /// Where completions go ([`TargetSide::place`](crate::project::target::road::TargetSide::place)): ids that it holds
    /// completions for are not given to new objects.
    pub fn expect_target(&mut self, place: Option<String>) {
        self.target = place;
    }

    /// When `tasks.json` must be looked at again.
    pub fn wake_at(&self) -> Option<Instant> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).wake_at()
    }

    /// How often the bucket is to be looked at, after what it showed last.
    pub fn poll_interval(&self, side: &SourceSide) -> Duration {
        let settings = &side.settings;
        idle_poll(settings.poll_interval, settings.poll_interval_idle, self.without_news)
    }

    /// Once around. What Label Studio did to `tasks.json` is mended also while the bucket cannot be reached.
    /// `far`: also look at the bucket.
    pub async fn cycle(&mut self, side: Option<&SourceSide>, far: bool) -> Result<(), CycleError> {
        let Some(side) = side.filter(|_| far) else {
            return self.end(|tasks| tasks.look().and_then(|()| tasks.write())).await;
        };
        self.tasks(TasksRoad::look).await?;
        let seen = self.far(side).await;
        self.end(TasksRoad::write).await?;
        seen
    }

    /// What the next cycle would do with these settings; changes nothing.
    pub async fn plan(&mut self, side: &SourceSide) -> Result<PlanView, CycleError> {
        let config = self.label_config().await?;
        let looked = self.look(side, &config).await?;
        let shared = self.shared.clone();
        let held = holds::rows(&looked.sealed, side, &shared);
        let mut counts = looked.sealed.counts;
        let mut ids = Ids::after(self.highest().await?);
        let mut view = PlanView { project: shared.name.to_string(), ..Default::default() };
        let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut spooled = looked.differences.read()?;
        while view.actions.len() < PLAN_LINES_MAX {
            let batch = spooled.batch(PLAN_BATCH)?;
            if batch.is_empty() {
                break;
            }
            let form = &looked.policy.form;
            for portion in portions(batch, (PLAN_BATCH, BYTES_AT_ONCE), |difference| difference.bytes_to_read(form)) {
                let (looked_into, failure) = read_objects(&shared, side, &config, form, (portion, &mut reads())).await;
                if let Some(error) = failure {
                    return Err(error);
                }
                for (difference, content) in looked_into {
                    for action in decide(difference, content, &looked.policy, &mut ids, &mut counts) {
                        *kinds.entry(action.kind()).or_default() += 1;
                        view.total += 1;
                        if view.actions.len() < PLAN_LINES_MAX {
                            view.actions.push(action.to_string());
                        }
                    }
                }
            }
        }
        loop {
            let batch = spooled.batch(PLAN_BATCH)?;
            if batch.is_empty() {
                break;
            }
            view.total += batch.len() as u64;
        }
        view.skipped = codes(&counts.skipped);
        view.holds.extend(held.iter().map(hold_view));
        view.summary = summary(&counts, &kinds, view.total);
        Ok(view)
    }

    async fn far(&mut self, side: &SourceSide) -> Result<(), CycleError> {
        let storages = {
            let near = self.shared.near.clone();
            blocking(move || Ok(near.own_storages()?)).await?
        };
        if storages.source {
            return Err(CycleError::Blocked {
                code: "label_studio_owns_source",
                message: "config.json names a cloud storage as source: Label Studio syncs that bucket itself"
                    .to_owned(),
                hint: "stop Label Studio and run `labelsyncd init --adopt`, or set its source to local".to_owned(),
            });
        }
        let ledger = self.shared.ledger.clone();
        if !blocking(move || is_adopted(&ledger)).await? {
            return Err(not_adopted());
        }
        let config = self.label_config().await?;
        self.recheck(&config).await?;
        let looked = self.look(side, &config).await?;
        let is_news = looked.sealed.counts.differences > 0;
        self.without_news = if is_news { 0 } else { self.without_news.saturating_add(1) };
        let held = holds::rows(&looked.sealed, side, &self.shared);
        let is_held = holds::is_held(held, side, &self.shared).await?;
        self.publish(&looked.sealed.counts, (!is_held).then_some(side));
        if is_held {
            return Ok(());
        }
        self.deselect_other_buckets(side).await?;
        let counts = self.reserve(side, &config, looked).await?;
        self.meter_skipped(counts.skipped);
        Ok(())
    }

    /// Counts what this complete look left out and the one before did not.
    fn meter_skipped(&mut self, skipped: BTreeMap<Skip, u64>) {
        let (meters, project) = (self.shared.events.meters(), self.shared.name.as_str());
        for (reason, count) in &skipped {
            let before = self.left_out.get(reason).copied().unwrap_or(0);
            meters.skipped(project, reason.code(), count.saturating_sub(before));
        }
        self.left_out = skipped;
    }

    /// A label config that was replaced is held against what stands in `tasks.json` (contract C10).
    async fn recheck(&self, config: &Arc<LabelConfig>) -> Result<(), CycleError> {
        let Some((print, _)) = &self.config else { return Ok(()) };
        let (shared, recheck, config, print) = (self.shared.clone(), self.recheck.clone(), config.clone(), *print);
        let look = move || recheck.lock().unwrap_or_else(PoisonError::into_inner).look(&shared, &config, print);
        blocking(look).await
    }

    async fn look(&mut self, side: &SourceSide, config: &LabelConfig) -> Result<Looked, CycleError> {
        let root = side.store.root().to_owned();
        let order =
            if self.unordered.contains(&root) { Order::Sort(self.shared.work_dir.clone()) } else { Order::Check };
        let policy = self.policy(side, config).await?;
        let looked = look::look(&self.shared, side, policy.clone(), &order, &mut self.marks).await;
        let Err(CycleError::Listing(ListingError::OutOfOrder { after })) = &looked else { return looked };
        let text =
            format!("{root} lists out of byte order (at {after}): its listings are sorted on the disk from now on");
        self.shared.tell(Happened::new(Level::Notice, "listing_unordered", text).bucket(Some(&root)));
        self.unordered.push(root);
        let order = Order::Sort(self.shared.work_dir.clone());
        look::look(&self.shared, side, policy, &order, &mut self.marks).await
    }

    /// What decides; objects of targets that the project had before are never tasks either (promise 10).
    async fn policy(&self, side: &SourceSide, config: &LabelConfig) -> Result<SourcePolicy, CycleError> {
        let mut policy = policy(side, config)?;
        let ledger = self.shared.ledger.clone();
        let places = blocking(move || Ok(ledger.target_places()?)).await?;
        let root = format!("{}/", side.store.root());
        let before = places.iter().filter_map(|place| place.strip_prefix(&root));
        policy.selection.own_targets.extend(before.map(|prefix| OwnTarget { prefix: prefix.to_owned() }));
        Ok(policy)
    }

    /// Plans and writes down, batch by batch, in listing order; what the whole look came to.
    async fn reserve(
        &mut self,
        side: &SourceSide,
        config: &Arc<LabelConfig>,
        looked: Looked,
    ) -> Result<Counts, CycleError> {
        let total = looked.differences.count();
        if total == 0 {
            return Ok(looked.sealed.counts);
        }
        self.await_target().await?;
        let shared = self.shared.clone();
        let root = side.store.root().to_owned();
        let origin = blocking(move || Ok(shared.ledger.origin(&root)?)).await?;
        let mut counts = looked.sealed.counts;
        let mut ids = Ids::after(self.highest().await?);
        let mut spooled = looked.differences.read()?;
        let mut done = 0;
        let mut failed = None;
        let form = &looked.policy.form;
        'all: loop {
            let batch = spooled.batch(PLAN_BATCH)?;
            if batch.is_empty() {
                break;
            }
            for portion in portions(batch, (PLAN_BATCH, BYTES_AT_ONCE), |difference| difference.bytes_to_read(form)) {
                done += portion.len() as u64;
                let wanted = portion.len();
                let (looked_into, failure) =
                    read_objects(&self.shared, side, config, form, (portion, &mut self.reads)).await;
                let given_up = looked_into.len() < wanted;
                let mut actions = Vec::with_capacity(wanted);
                for (difference, content) in looked_into {
                    actions.extend(decide(difference, content, &looked.policy, &mut ids, &mut counts));
                }
                self.apply_batch(origin, actions.clone()).await?;
                // Before the tasks that may point to them.
                let copied = self.copies.make(&self.shared, side, origin, &actions).await;
                failed = failure.or(copied.err()).or(failed);
                let progress = Progress { phase: "reading".to_owned(), done, total: Some(total) };
                self.shared.board.progress(Direction::Source, Some(progress));
                if given_up {
                    break 'all;
                }
            }
        }
        self.publish(&counts, None);
        failed.or_else(|| ids.ran_out().then(out_of_ids)).map_or(Ok(counts), Err)
    }

    /// The target is listed at the same time: what it holds must be known before the first id is given.
    async fn await_target(&self) -> Result<(), CycleError> {
        let Some(place) = self.target.clone() else { return Ok(()) };
        let end = Instant::now() + TARGET_PATIENCE;
        loop {
            let (ledger, listed) = (self.shared.ledger.clone(), place.clone());
            if blocking(move || Ok(ledger.is_target_listed(&listed)?)).await? {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(CycleError::Blocked {
                    code: "target_not_listed",
                    message: format!(
                        "no ids are given before {place} was listed once: it may hold completions under them"
                    ),
                    hint: format!("see what `lsctl status {}` says of the target", self.shared.name),
                });
            }
            tokio::time::sleep(TARGET_LOOK_EVERY).await;
        }
    }

    async fn apply_batch(&mut self, origin: i64, actions: Vec<TaskAction>) -> Result<(), CycleError> {
        let (shared, tasks) = (self.shared.clone(), self.tasks.clone());
        let bucket = self.shared.board.status().source.map(|source| source.url);
        self.changes += actions.len() as u64;
        blocking(move || {
            shared.ledger.reserve(origin, &actions)?;
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            for action in actions.iter().filter(|action| !matches!(action, TaskAction::Copy { .. })) {
                let level = if matches!(action, TaskAction::Quarantine { .. }) { Level::Warning } else { Level::Info };
                let mut happened =
                    Happened::new(level, action.kind(), action.to_string()).key(action.key()).task(action.id());
                happened = happened.bucket(bucket.as_deref());
                if let TaskAction::Quarantine { reason, .. } = action {
                    happened = happened.error(reason);
                }
                tasks.tell_later(happened);
            }
            Ok(())
        })
        .await
    }

    /// Another bucket stands in the settings now: the tasks of the one before are deselected.
    async fn deselect_other_buckets(&mut self, side: &SourceSide) -> Result<(), CycleError> {
        loop {
            let (shared, root) = (self.shared.clone(), side.store.root().to_owned());
            let (origin, rows) = blocking(move || {
                let origin = shared.ledger.origin(&root)?;
                Ok((origin, shared.ledger.shown_elsewhere(Some(origin), PLAN_BATCH)?))
            })
            .await?;
            if rows.is_empty() {
                return Ok(());
            }
            let hide = |(id, key)| TaskAction::Hide { id, key, why: HideReason::Deselected };
            self.apply_batch(origin, rows.into_iter().map(hide).collect()).await?;
        }
    }

    async fn highest(&self) -> Result<Option<TaskId>, CycleError> {
        let tasks = self.tasks.clone();
        blocking(move || tasks.lock().unwrap_or_else(PoisonError::into_inner).highest()).await
    }

    async fn tasks(&self, step: fn(&mut TasksRoad) -> Result<(), CycleError>) -> Result<(), CycleError> {
        let tasks = self.tasks.clone();
        blocking(move || step(&mut tasks.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    async fn label_config(&mut self) -> Result<Arc<LabelConfig>, CycleError> {
        let near = self.shared.near.clone();
        let known = self.config.clone();
        let config = blocking(move || {
            let (text, print) = near.label_config()?;
            if let Some((_, config)) = known.filter(|(was, _)| *was == print) {
                return Ok((print, config));
            }
            let config = LabelConfig::parse(&text).map_err(|error| CycleError::Blocked {
                code: "label_config_invalid",
                message: format!("the label config cannot be used: {error}"),
                hint: "mend config.xml in the project directory; no task is added until then".to_owned(),
            })?;
            Ok((print, Arc::new(config)))
        })
        .await?;
        self.config = Some(config.clone());
        Ok(config.1)
    }

    /// `side`: what is said of a look that took nothing is said anew.
    fn publish(&self, counts: &Counts, side: Option<&SourceSide>) {
        let name = self.shared.name.as_str();
        let warning = side.map(|side| nothing::reason(counts, &side.settings, side.store.root(), name));
        let warnings = warning.map(|warning| (nothing::CODES.as_slice(), warning));
        let numbers = |source: &mut SourceStatus| {
            (source.listed, source.selected) = (counts.listed, counts.selected);
            source.skipped = codes(&counts.skipped);
        };
        self.shared.board.set_looked(self.shared.now(), numbers, counts.samples.clone(), warnings);
    }

    /// The last step of a cycle, and what there is after it. Counting takes as long as there are tasks: where nothing was
    /// written, the counts are as they were.
    async fn end(&mut self, step: fn(&mut TasksRoad) -> Result<(), CycleError>) -> Result<(), CycleError> {
        let (shared, counted, tasks) = (self.shared.clone(), self.counted, self.tasks.clone());
        let count = move || {
            step(&mut tasks.lock().unwrap_or_else(PoisonError::into_inner))?;
            let writes = shared.ledger.writes();
            if counted == Some(writes) {
                return Ok(None);
            }
            let tasks = shared.ledger.task_counts()?;
            Ok(Some((writes, tasks, shared.ledger.highest_id()?, shared.ledger.holds()?)))
        };
        let Some((writes, tasks, highest, holds)) = blocking(count).await? else { return Ok(()) };
        self.counted = Some(writes);
        self.shared.board.update(self.shared.now(), |status| {
            status.tasks = tasks.live;
            status.foreign_tasks = tasks.foreign;
            status.quarantined = tasks.quarantined;
            status.next_id = Ids::after(highest).peek().map_or(0, TaskId::get);
            status.holds = standing(&holds);
        });
        Ok(())
    }
}

fn out_of_ids() -> CycleError {
    CycleError::Blocked {
        code: "out_of_ids",
        message: format!(
            "new objects get no tasks: {}, the last id that there is, was given or seen",
            TaskId::GIVEN_MAX
        ),
        hint:
            "find what has it in tasks.json, source.json, completions/ or the target, and remove it; then put back a \
               backup of the ledger from before"
                .to_owned(),
    }
}

fn codes(skipped: &BTreeMap<Skip, u64>) -> BTreeMap<String, u64> {
    skipped.iter().map(|(reason, count)| (reason.code().to_owned(), *count)).collect()
}

/// `2 tasks hidden`, `1 object gone`.
fn counted(kind: &str, count: u64) -> String {
    match kind.split_once('_') {
        Some((noun, deed)) => format!("{count} {noun}{} {}", if count == 1 { "" } else { "s" }, deed.replace('_', " ")),
        None => format!("{count} {kind}"),
    }
}

fn summary(counts: &Counts, kinds: &BTreeMap<&'static str, u64>, total: u64) -> String {
    let skipped: u64 = counts.skipped.values().sum();
    let mut text = format!("{} listed, {} selected, {skipped} skipped; ", counts.listed, counts.selected);
    if total == 0 {
        text.push_str("nothing to do");
        return text;
    }
    let parts: Vec<String> = kinds.iter().map(|(kind, count)| counted(kind, *count)).collect();
    text.push_str(&parts.join(", "));
    let shown: u64 = kinds.values().sum();
    if shown < total {
        text.push_str(&format!(", {} more", total - shown));
    }
    text
}
