//! A look that passes over what it remembers decides what a look that walks everything decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::{KnownRows, Ledger, NearChange};
use super::*;
use crate::names::{ETag, Key, Sha256, TaskId};
use crate::settings::{OnChanged, OnRemoved};
use crate::store::listing::Complete;
use crate::store::{Listed, Objects};
use crate::sync::action::{Form, HideReason, NearAction, TaskAction};
use crate::sync::holds::{ChangeLimit, VanishLimit};
use crate::sync::ids::Ids;
use crate::sync::index::{Index, KnownRef};
use crate::sync::pattern::Pattern;
use crate::sync::select::{Scope, Selection};
use crate::sync::source::{Content, Counts, Difference, SAMPLES_MAX, SourcePlanner, SourcePolicy, Tally, decide};
use crate::sync::stretches::{Cuts, Sink, Walk};

/// Small, so that a few keys make many stretches.
const CUTS: Cuts = Cuts { min: 2, one_in: 3, max: 7 };

/// Rows, and how many were looked at.
struct Counted<'c> {
    rows: KnownRows,
    looked_at: &'c mut u64,
}

impl Index for Counted<'_> {
    type Error = LedgerError;

    fn row(&mut self) -> Result<Option<KnownRef<'_>>, LedgerError> {
        self.rows.row()
    }

    fn advance(&mut self) {
        *self.looked_at += 1;
        self.rows.advance();
    }

    fn skip_past(&mut self, last: Option<&str>) -> Result<(), LedgerError> {
        self.rows.skip_past(last)
    }
}

#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
    stretches: Vec<Stretch>,
}

impl Sink for Found {
    type Error = LedgerError;

    fn difference(&mut self, difference: Difference) -> Result<(), LedgerError> {
        self.differences.push(difference);
        Ok(())
    }

    fn stretch(&mut self, stretch: Stretch) -> Result<(), LedgerError> {
        self.stretches.push(stretch);
        Ok(())
    }
}

/// A bucket, a ledger, settings.
struct Scene {
    ledger: Ledger,
    origin: i64,
    objects: BTreeMap<String, u64>,
    policy: SourcePolicy,
    completed: BTreeSet<TaskId>,
    /// Rows that were looked at, by a look that remembers and by one that does not.
    looked_at: (u64, u64),
}

impl Scene {
    fn new(dir: &Path) -> Self {
        let ledger = Ledger::open(&dir.join("ledger.sqlite")).unwrap();
        // No power fails here.
        ledger.lock().pragma_update(None, "synchronous", "OFF").unwrap();
        let origin = ledger.origin("s3://b").unwrap();
        let policy = policy();
        Self { ledger, origin, objects: BTreeMap::new(), policy, completed: BTreeSet::new(), looked_at: (0, 0) }
    }

    fn pages(&self, size: usize) -> Vec<Objects> {
        let prefix = &self.policy.selection.scope.request.prefix;
        let listed: Vec<Listed> = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, version)| Listed {
                key: Key::new(key.as_str()),
                etag: ETag::new(format!("\"{version}\"")),
                size_bytes: u64::from(!key.ends_with('/')),
            })
            .collect();
        listed.chunks(size).map(|page| page.iter().cloned().collect()).collect()
    }

    /// What a look that remembers finds, held against one that does not; what it found to remember.
    fn look(&mut self, page: usize) -> (Vec<Difference>, Counts, Vec<Stretch>) {
        let (completed, origin) = (&self.completed, self.origin);
        let completed = |id: TaskId| completed.contains(&id);
        let pages = self.pages(page);
        let counted = |looked_at| Counted { rows: self.ledger.reader().unwrap().known_rows(origin), looked_at };
        let mut all = Found::default();
        let mut rows = counted(&mut self.looked_at.1);
        let mut planner = SourcePlanner::new(&self.policy, completed);
        let mut keep = |difference| all.difference(difference);
        for objects in &pages {
            planner.page(objects, &mut rows, &mut keep).unwrap();
        }
        let expected = planner.seal(Complete::for_tests(), &mut rows, &mut keep).unwrap();
        let remembered = self.ledger.reader().unwrap().remembered(origin);
        let rows = counted(&mut self.looked_at.0);
        let mut found = Found::default();
        let mut walk = Walk::new(&self.policy, completed, rows, remembered, CUTS).unwrap();
        for objects in pages {
            walk.page(objects, &mut found).unwrap();
        }
        let sealed = walk.seal(Complete::for_tests(), &mut found).unwrap();
        assert_eq!(found.differences, all.differences);
        assert_eq!(format!("{sealed:?}"), format!("{expected:?}"));
        (found.differences, sealed.counts, found.stretches)
    }

    /// Looks, remembers, and does what is to be done: all of it, or what the dice say.
    fn cycle(&mut self, page: usize, mut done: impl FnMut() -> bool) {
        let mut clock = self.ledger.stretch_clock().unwrap();
        let (differences, mut counts, stretches) = self.look(page);
        for some in stretches.chunks(3) {
            clock = self.ledger.remember(self.origin, clock, some).unwrap().expect("nobody else writes");
        }
        let mut ids = Ids::after(self.ledger.highest_id().unwrap());
        for difference in differences {
            if !done() {
                continue;
            }
            let content = self.content(&difference);
            let actions = decide(difference, content, &self.policy, &mut ids, &mut counts);
            self.ledger.reserve(self.origin, &actions).unwrap();
            for action in &actions {
                if let TaskAction::Copy { key, etag, .. } = action {
                    self.ledger.copied(self.origin, &[(key.clone(), etag.clone())]).unwrap();
                }
            }
        }
    }

    fn content(&self, difference: &Difference) -> Content {
        let Some(listed) = difference.listed() else { return Content::Unread };
        let (data_hash, etag) = (Sha256::of(listed.key.as_str().as_bytes()), listed.etag.clone());
        match listed.key.as_str().as_bytes().last() {
            Some(b'7') => Content::Bad { reason: "not_json".to_owned(), detail: String::new(), etag },
            Some(b'8') => Content::Duplicate,
            _ => Content::Task { body: None, data_hash, etag },
        }
    }

    fn near(&self, action: NearAction) {
        let file = Some(("{}".to_owned(), Sha256::of(b"file"), None));
        let mut ids = Ids::after(self.ledger.highest_id().unwrap());
        self.ledger.record_near(&[NearChange { action, file }], &mut ids).unwrap();
    }
}

fn policy() -> SourcePolicy {
    let selection = Selection {
        scope: Scope::directory("", true),
        regex: Some(Pattern::compile("[^!s]").unwrap()),
        exclude: None,
        own_targets: Vec::new(),
        cloud_urls: true,
    };
    SourcePolicy {
        selection,
        form: Form::Json,
        on_removed: OnRemoved::Keep,
        on_changed: OnChanged::Update,
        limit: VanishLimit { percent: 50, hold_empty: true },
        change_limit: ChangeLimit { percent: 50, contents: |version| version },
        copies: false,
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn key(&mut self) -> String {
        match self.below(12) {
            0 => format!("skipped/{:03}", self.below(300)),
            1 => format!("k/{}/", self.below(4)),
            2 => format!("a/{}", self.below(9)),
            _ => format!("k/{:02}", self.below(60)),
        }
    }

    fn policy(&mut self, policy: &mut SourcePolicy) {
        let form = || Form::Blob { data_key: "image".to_owned() };
        match self.below(7) {
            0 => policy.form = if policy.form == Form::Json { form() } else { Form::Json },
            1 => policy.copies = !policy.copies,
            2 => policy.on_removed = if self.below(2) == 0 { OnRemoved::Hide } else { OnRemoved::Keep },
            3 => policy.on_changed = if self.below(2) == 0 { OnChanged::Update } else { OnChanged::Keep },
            4 => policy.selection.exclude = (self.below(2) == 0).then(|| Pattern::compile("5").unwrap()),
            5 => policy.selection.scope = Scope::directory(if self.below(3) == 0 { "k" } else { "" }, true),
            _ => policy.selection.regex = Pattern::compile(if self.below(3) == 0 { "[^!sa]" } else { "[^!s]" }).ok(),
        }
    }

    /// Somebody does something.
    fn happen(&mut self, scene: &mut Scene) {
        let highest = scene.ledger.highest_id().unwrap().map_or(1, |id| id.get() + 1);
        let id = TaskId::new(self.below(highest)).unwrap();
        let key = self.key();
        match self.below(16) {
            0..=4 => drop(scene.objects.insert(key, self.below(3))),
            5 | 6 => drop(scene.objects.remove(&key)),
            7 => scene.near(NearAction::Retire(id)),
            8 => scene.near([NearAction::Yield(id), NearAction::Foreign(id)][self.below(2) as usize]),
            9 => scene.near(NearAction::Revive(id)),
            10 => _ = scene.ledger.retry(&[key]).unwrap(),
            11 => scene.ledger.copied(scene.origin, &[(Key::new(key), ETag::new("\"1\""))]).unwrap(),
            12 => scene.completed = if self.below(2) == 0 { BTreeSet::new() } else { BTreeSet::from([id]) },
            13 => self.policy(&mut scene.policy),
            14 => scene.ledger.settle("", None).unwrap(),
            _ => _ = scene.ledger.adopt_ids(scene.origin, &[(TaskId::new(highest).unwrap(), Key::new(key))], "json"),
        }
    }
}

#[test]
fn l12_a_look_that_remembers_decides_what_one_that_walks_everything_decides() {
    let mut looked_at = (0, 0);
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let (mut dice, mut scene) = (Dice(seed), Scene::new(dir.path()));
        // So many that all samples are there before the keys that change.
        let skipped = SAMPLES_MAX as u64 + 60;
        scene.objects.extend((0..skipped).map(|n| (format!("!/{n}"), 0)));
        scene.objects.extend((0..40).map(|n| (format!("t/{n:02}"), 0)));
        for _ in 0..12 {
            (0..dice.below(4)).for_each(|_| dice.happen(&mut scene));
            let (page, lazy) = (1 + dice.below(90) as usize, dice.below(4) == 0);
            scene.cycle(page, || !lazy || dice.below(2) == 0);
        }
        looked_at = (looked_at.0 + scene.looked_at.0, looked_at.1 + scene.looked_at.1);
    }
    assert!(looked_at.0 * 3 < looked_at.1 * 2, "much is remembered: {looked_at:?}");
}

#[test]
fn an_unchanged_poll_looks_at_no_row_and_one_new_key_at_few() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(dir.path());
    scene.objects.extend((0..400).map(|n| (format!("k/{n:03}0"), 0)));
    for _ in 0..2 {
        scene.cycle(90, || true);
    }
    scene.looked_at = (0, 0);
    scene.cycle(90, || true);
    assert_eq!(scene.looked_at, (0, 400));
    scene.objects.insert("k/2001".to_owned(), 0);
    scene.cycle(50, || true);
    assert!((1..30).contains(&scene.looked_at.0), "{:?}", scene.looked_at);
    // Another regex may decide otherwise about each.
    scene.policy.selection.regex = Pattern::compile("k").ok();
    scene.cycle(90, || true);
    assert!(scene.looked_at.0 >= 400, "{:?}", scene.looked_at);
}

type Write = Box<dyn Fn(&Scene)>;

/// Each way to write a row, in an order in which each finds one, and the row's key.
fn writes() -> Vec<(&'static str, Write)> {
    let key = |n: u64| Key::new(format!("k/{n}"));
    let (new, etag, hash) = (Key::new("k/95"), ETag::new("2"), Sha256::of(b""));
    let bad = |id, key: &Key| TaskAction::Quarantine {
        id,
        key: key.clone(),
        etag: etag.clone(),
        reason: "r".to_owned(),
        detail: String::new(),
    };
    let act = |action: TaskAction| -> Write {
        Box::new(move |scene| scene.ledger.reserve(scene.origin, std::slice::from_ref(&action)).unwrap())
    };
    let near = |action| -> Write { Box::new(move |scene| scene.near(action)) };
    let form = Form::Json;
    vec![
        ("k/0", act(TaskAction::Note { id: id(0), key: key(0), etag: etag.clone() })),
        ("k/1", act(TaskAction::Hide { id: id(1), key: key(1), why: HideReason::Removed })),
        ("k/1", act(TaskAction::Show { id: id(1), key: key(1) })),
        ("k/2", act(TaskAction::Gone { id: id(2), key: key(2) })),
        ("k/2", act(TaskAction::Back { id: id(2), key: key(2) })),
        ("k/3", act(bad(Some(id(3)), &key(3)))),
        ("k/3", Box::new(|scene| assert!(scene.ledger.retry(&["k/3".to_owned()]).unwrap().0 > 0))),
        ("k/95", act(bad(None, &new))),
        ("k/95", Box::new(|scene| assert!(scene.ledger.retry(&[]).unwrap().0 > 0))),
        ("k/95", act(bad(None, &new))),
        ("k/95", act(TaskAction::Release { key: new.clone() })),
        ("k/95", act(TaskAction::Add { id: id(50), key: new, etag: etag.clone(), form, body: None, data_hash: hash })),
        ("k/1", Box::new(|scene| scene.ledger.copied(scene.origin, &[(Key::new("k/1"), ETag::new("2"))]).unwrap())),
        ("k/4", near(NearAction::Retire(id(4)))),
        ("k/4", near(NearAction::Revive(id(4)))),
        ("k/5", near(NearAction::Move(id(5)))),
        ("k/6", near(NearAction::Yield(id(6)))),
        // The row goes, and no other of its key comes.
        ("k/0", near(NearAction::Foreign(id(0)))),
        (
            "k/96",
            Box::new(|scene| _ = scene.ledger.adopt_ids(scene.origin, &[(id(90), Key::new("k/96"))], "json").unwrap()),
        ),
    ]
}

fn id(n: u64) -> TaskId {
    TaskId::new(n).unwrap()
}

#[test]
fn l41_every_write_to_a_row_makes_it_forgotten_and_stops_who_walked_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(dir.path());
    scene.objects.extend((0..10).map(|n| (format!("k/{n}"), 0)));
    scene.cycle(9, || true);
    let stretch = |after: &str, last: Option<&str>| Stretch {
        after: after.to_owned(),
        last: last.map(str::to_owned),
        digest: Sha256::of(b""),
        tally: Tally::default(),
    };
    let remembered = || scene.ledger.reader().unwrap().remembered(scene.origin).map(Result::unwrap).collect::<Vec<_>>();
    for (nth, (key, write)) in writes().into_iter().enumerate() {
        let parts = [stretch("", Some("k")), stretch("k", Some(key)), stretch(key, None)];
        let clock = scene.ledger.stretch_clock().unwrap();
        let clock = scene.ledger.remember(scene.origin, clock, &parts).unwrap().unwrap();
        assert_eq!(remembered(), parts);
        write(&scene);
        assert_eq!(
            remembered(),
            [parts[0].clone(), parts[2].clone()],
            "write {nth}: the one that holds {key} is forgotten"
        );
        assert_eq!(
            scene.ledger.remember(scene.origin, clock, &parts).unwrap(),
            None,
            "write {nth}: what was read before"
        );
    }
    // What no listing is compared with.
    let clock = scene.ledger.stretch_clock().unwrap();
    scene.ledger.settle("", None).unwrap();
    scene.ledger.mark_seen(&[id(1)]).unwrap();
    scene.ledger.set_meta("a", "b").unwrap();
    assert_eq!(scene.ledger.stretch_clock().unwrap(), clock);
}

#[test]
fn what_is_remembered_anew_lies_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::new(dir.path());
    let stretch = |after: &str, last: Option<&str>| Stretch {
        after: after.to_owned(),
        last: last.map(str::to_owned),
        digest: Sha256::of(after.as_bytes()),
        tally: Tally::default(),
    };
    let mut clock = scene.ledger.stretch_clock().unwrap();
    let mut remember = |stretches: &[Stretch]| {
        clock = scene.ledger.remember(scene.origin, clock, stretches).unwrap().unwrap();
        let all = scene.ledger.reader().unwrap().remembered(scene.origin).map(Result::unwrap);
        let places = all.map(|one| format!("{}-{}", one.after, one.last.unwrap_or_default()));
        places.collect::<Vec<String>>().join(" ")
    };
    let first = [stretch("", Some("c")), stretch("c", Some("f")), stretch("h", Some("m")), stretch("m", None)];
    assert_eq!(remember(&first), "-c c-f h-m m-");
    assert_eq!(remember(&[stretch("d", Some("e"))]), "-c d-e h-m m-");
    assert_eq!(remember(&[stretch("f", Some("h"))]), "-c d-e f-h h-m m-", "beside each other");
    assert_eq!(remember(&[stretch("b", Some("i"))]), "b-i m-");
    assert_eq!(remember(&[stretch("x", Some("y"))]), "b-i x-y");
    assert_eq!(remember(&[stretch("i", None)]), "b-i i-");
    assert_eq!(remember(&[stretch("", None)]), "-");
}
