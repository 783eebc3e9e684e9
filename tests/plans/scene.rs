//! A bucket, an index that follows the plans, and the plan of each step as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use labelsync::names::{ETag, Key, Sha256, TaskId};
use labelsync::settings::{OnChanged, OnRemoved};
use labelsync::store::faulty::{Faults, Faulty};
use labelsync::store::listing::{self, ListingError, Marks, Order};
use labelsync::store::memory::MemoryStore;
use labelsync::sync::action::{Form, HideReason, TaskAction};
use labelsync::sync::holds::{ChangeLimit, VanishLimit};
use labelsync::sync::ids::Ids;
use labelsync::sync::pattern::Pattern;
use labelsync::sync::select::{OwnTarget, Scope, Selection};
use labelsync::sync::source::{
    Content, Counts, Difference, Known, KnownState, Sealed, SourcePlanner, SourcePolicy, decide,
};
use tokio::sync::mpsc;

/// What an object holds when it is read; [`Scene::content`].
pub struct Scene {
    store: Faulty<MemoryStore>,
    faults: Faults,
    pub policy: SourcePolicy,
    /// By key, in byte order, as the ledger gives it.
    pub index: BTreeMap<Key, Known>,
    pub ids: Ids,
    /// Tasks with completions.
    pub completed: Vec<u64>,
    /// URLs that somebody imported.
    pub imported: Vec<String>,
    text: String,
    runtime: tokio::runtime::Runtime,
}

/// Whether a sealed plan may be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    No,
    Yes,
}

impl Scene {
    /// Blobs of `s3://b` with the data key `image`, all selected.
    pub fn new() -> Self {
        Self::with_page_objects(3)
    }

    pub fn with_page_objects(page_objects: usize) -> Self {
        let (store, faults) = Faulty::new(MemoryStore::new("s3://b").with_page_objects(page_objects));
        Self {
            store,
            faults,
            policy: policy(),
            index: BTreeMap::new(),
            ids: Ids::after(None),
            completed: Vec::new(),
            imported: Vec::new(),
            text: String::new(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        }
    }

    pub fn json(mut self) -> Self {
        self.policy.form = Form::Json;
        self
    }

    pub fn put(&mut self, key: &str, body: &str) -> &mut Self {
        self.store.inner().insert(&Key::new(key), body.to_owned());
        self
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        assert!(self.store.inner().remove(&Key::new(key)), "{key} is not there");
        self
    }

    pub fn regex(&mut self, regex: Option<&str>) -> &mut Self {
        self.policy.selection.regex = regex.map(|regex| Pattern::compile(regex).unwrap());
        self
    }

    pub fn prefix(&mut self, prefix: &str, recursive: bool) -> &mut Self {
        self.policy.selection.scope = Scope::directory(prefix, recursive);
        self
    }

    pub fn own_target(&mut self, prefix: &str) -> &mut Self {
        self.policy.selection.own_targets.push(OwnTarget { prefix: prefix.to_owned() });
        self
    }

    /// The user deleted the task of this key.
    pub fn retire(&mut self, key: &str) -> &mut Self {
        self.index.get_mut(&Key::new(key)).unwrap().state = KnownState::Retired;
        self
    }

    /// Looks, plans and, where nothing is held, does it; the plan goes to the text.
    pub fn step(&mut self, what: &str) -> Held {
        self.go(what, false)
    }

    /// The same after `lsctl accept`.
    pub fn accepted(&mut self, what: &str) {
        self.go(what, true);
    }

    /// The plan so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A look whose nth page fails: whether anything of it may be done.
    pub fn fails_at_page(&mut self, nth: u64) -> Result<(), ListingError> {
        self.faults.fail_page(nth, labelsync::store::StoreErrorKind::Unreachable);
        let looked = self.look().map(|_| ());
        self.faults.clear();
        looked
    }

    fn go(&mut self, what: &str, accepted: bool) -> Held {
        writeln!(self.text, "# {what}").unwrap();
        let (sealed, differences) = self.look().unwrap();
        let mut counts = sealed.counts;
        if let Some(vanish) = sealed.vanish.filter(|_| !accepted) {
            let empty = if vanish.empty { ", nothing is listed" } else { "" };
            writeln!(self.text, "held {}: {} of {} gone{empty}", vanish.id, vanish.vanished, vanish.known).unwrap();
            self.tell_counts(&counts);
            return Held::Yes;
        }
        if let Some(change) = sealed.change.filter(|_| !accepted) {
            writeln!(self.text, "held {}: {} of {} have changed", change.id, change.changed, change.known).unwrap();
            self.tell_counts(&counts);
            return Held::Yes;
        }
        for difference in differences {
            let content = self.content(&difference);
            let policy = self.policy.clone();
            for action in decide(difference, content, &policy, &mut self.ids, &mut counts) {
                writeln!(self.text, "{action}").unwrap();
                self.apply(action);
            }
        }
        self.tell_counts(&counts);
        Held::No
    }

    fn tell_counts(&mut self, counts: &Counts) {
        let skipped: Vec<String> = counts.skipped.iter().map(|(why, n)| format!("{} {n}", why.code())).collect();
        let skipped = if skipped.is_empty() { "none".to_owned() } else { skipped.join(", ") };
        writeln!(self.text, "({} listed, {} selected; skipped: {skipped})", counts.listed, counts.selected).unwrap();
    }

    /// A real walk of a store against the index: only it can say that a listing was whole.
    fn look(&mut self) -> Result<(Sealed, Vec<Difference>), ListingError> {
        let (store, policy, completed) = (&self.store, &self.policy, &self.completed);
        let rows: Vec<Result<Known, ListingError>> = self.index.values().cloned().map(Ok).collect();
        self.runtime.block_on(async {
            let (sender, mut pages) = mpsc::channel(1);
            let request = policy.selection.scope.request.clone();
            let mut known = rows.into_iter().peekable();
            let mut differences = Vec::new();
            let mut keep = |difference| {
                differences.push(difference);
                Ok::<_, ListingError>(())
            };
            let mut planner = SourcePlanner::new(policy, |id| completed.contains(&id.get()));
            let mut marks = Marks::default();
            let walk = listing::walk(store, &request, &Order::Check, &mut marks, sender);
            let take = async {
                while let Some(page) = pages.recv().await {
                    planner.page(&page, &mut known, &mut keep)?;
                }
                Ok::<_, ListingError>(planner)
            };
            let (complete, planner) = tokio::join!(walk, take);
            let sealed = planner?.seal(complete?, &mut known, &mut keep)?;
            Ok((sealed, differences))
        })
    }

    /// What a look into the object shows: `bad` cannot become a task, `gone` has gone since it was listed.
    fn content(&self, difference: &Difference) -> Content {
        let Some(listed) = difference.listed() else { return Content::Unread };
        let url = format!("s3://b/{}", listed.key.as_str());
        if self.imported.contains(&url) && matches!(difference, Difference::New(_)) {
            return Content::Duplicate;
        }
        let etag = listed.etag.clone();
        let Some(read) = difference.to_read(&self.policy.form) else {
            return Content::Task { body: None, data_hash: Sha256::of(url.as_bytes()), etag };
        };
        let objects = self.store.inner().objects();
        let body = String::from_utf8(objects[&read.key].to_vec()).unwrap();
        match body.as_str() {
            "bad" => Content::Bad { reason: "not_json".to_owned(), detail: "not JSON\nat all".to_owned(), etag },
            "gone" => Content::Unread,
            _ => Content::Task { data_hash: Sha256::of(body.as_bytes()), body: Some(body), etag },
        }
    }

    /// What the ledger makes of an action, in its simplest form.
    fn apply(&mut self, action: TaskAction) {
        let key = action.key().clone();
        let state = |index: &BTreeMap<Key, Known>| index.get(&key).map(|known| known.state.clone());
        let live = |id, form, gone| KnownState::Live { id, form, gone };
        let mut set = |etag: Option<ETag>, state: KnownState| {
            let was = self.index.get(&key).map(|known| known.etag.clone());
            let etag = etag.or(was).unwrap();
            self.index.insert(key.clone(), Known { key: key.clone(), etag, state, copied: None, bad: false });
        };
        let form_of_policy = self.policy.form.clone();
        match action {
            TaskAction::Add { id, etag, form, .. } | TaskAction::Adopt { id, etag, form, .. } => {
                set(Some(etag), live(id, form, false))
            }
            TaskAction::Update { id, etag, form, .. } => set(Some(etag), live(id, form, false)),
            TaskAction::Quarantine { id: None, etag, .. } => set(Some(etag), KnownState::Quarantined),
            TaskAction::Hide { id, why, .. } => {
                set(None, KnownState::Hidden { id, removed: why == HideReason::Removed })
            }
            TaskAction::Show { id, .. } => set(None, live(id, form_of_policy, false)),
            TaskAction::Note { etag, .. } => self.index.get_mut(&key).unwrap().etag = etag,
            TaskAction::Quarantine { id: Some(_), etag, .. } => {
                let known = self.index.get_mut(&key).unwrap();
                (known.etag, known.bad) = (etag, true);
            }
            TaskAction::Gone { id, .. } => match state(&self.index) {
                Some(KnownState::Live { form, .. }) => self.index.get_mut(&key).unwrap().state = live(id, form, true),
                other => panic!("gone, but {other:?}"),
            },
            TaskAction::Back { id, .. } => match state(&self.index) {
                Some(KnownState::Live { form, .. }) => self.index.get_mut(&key).unwrap().state = live(id, form, false),
                other => panic!("back, but {other:?}"),
            },
            TaskAction::Release { .. } => drop(self.index.remove(&key)),
            TaskAction::Copy { etag, .. } => self.index.get_mut(&key).unwrap().copied = Some(etag),
        }
    }

    /// The id of a key's task.
    pub fn id(&self, key: &str) -> Option<TaskId> {
        match self.index.get(&Key::new(key))?.state {
            KnownState::Live { id, .. } | KnownState::Hidden { id, .. } => Some(id),
            KnownState::Retired | KnownState::Quarantined => None,
        }
    }
}

fn policy() -> SourcePolicy {
    let selection = Selection {
        scope: Scope::directory("", true),
        regex: Some(Pattern::compile(".*").unwrap()),
        exclude: None,
        own_targets: Vec::new(),
        cloud_urls: true,
    };
    SourcePolicy {
        selection,
        form: Form::Blob { data_key: "image".to_owned() },
        on_removed: OnRemoved::Keep,
        on_changed: OnChanged::Update,
        limit: VanishLimit { percent: 50, hold_empty: true },
        change_limit: ChangeLimit { percent: 50, contents: |version| version },
        copies: false,
    }
}
