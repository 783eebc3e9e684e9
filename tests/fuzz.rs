//! Arbitrary bytes where bytes of others are read: settings, changes over the control socket, `tasks.json`,
//! `source.json`, completions, JSON tasks, listings.
//!
//! Promise: no bytes end in a panic or a hang, and what is cut is never taken for a whole that holds less.
//! Not here: HTTP on the control socket (`control`, `l63_…`), patterns (`pattern`).
//!
//! Each target has a corpus below `tests/fuzz/`: what is whole, a file each, and the least of what libFuzzer found to take
//! every branch that it could reach (`TARGET.found`, a JSON string a line, a character a byte). Both are tried as they are
//! and changed by dice: `FUZZ=100000` tries more, `FUZZ_FROM=n` others.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use labelsync::names::TaskId;
use labelsync::project::directory::Directory;
use labelsync::project::label_config::LabelConfig;
use labelsync::project::near::{Near, SourceMap};
use labelsync::project::strict_json::BodyRules;
use labelsync::project::tasks::file;
use labelsync::project::validate::{TaskLimits, completion_file, task_from_object};
use labelsync::settings::load::load_texts;
use labelsync::settings::{Overrides, SourcePatch, TargetPatch};
use labelsync::store::s3::S3Store;
use labelsync::store::{ListRequest, Store};

use support::double::{Double, answer};

/// Changed inputs of each target that every run tries.
const ROUNDS: u64 = 3_000;

/// A listing needs a request each.
const LISTINGS: u64 = 300;

/// Pieces that mean something to one of the readers.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    ":",
    ",",
    "null",
    "1e999",
    "-0",
    "99999999999999999999",
    "NaN",
    "\n",
    "\u{feff}",
    "<Key>",
    "</Contents>",
    "<IsTruncated>true</IsTruncated>",
    "&#10;",
    "<!DOCTYPE x [<!ENTITY a \"b\">]>",
    "[projects.",
    "'''",
];

/// SplitMix64: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a usize")
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// The whole inputs of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(dir).expect("a corpus").map(|entry| entry.expect("read").path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).expect("read")).collect()
}

/// All inputs of a target, whole ones first.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/{target}.found"));
    let found = std::fs::read_to_string(path).expect("what was found");
    let bytes = |line: &str| {
        let text: String = serde_json::from_str(line).expect("a string a line");
        text.chars().map(|byte| u8::try_from(u32::from(byte)).expect("a character a byte")).collect()
    };
    seeds(target).into_iter().chain(found.lines().map(bytes)).collect()
}

/// One input with a few changes.
fn changed(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.insert(at, u8::try_from(dice.below(256)).expect("a byte")),
            3 => _ = bytes.splice(at..at, PIECES[dice.below(PIECES.len())].bytes()),
            4 => {
                let end = (at + dice.below(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
            _ => {
                let times = 1 << dice.below(12);
                bytes.splice(at..at, PIECES[dice.below(PIECES.len())].bytes().cycle().take(times));
            }
        }
    }
    bytes
}

/// Tries every input of the corpus as it is, then changed ones; a panic is told with what led to it.
fn try_all(target: &str, rounds: u64, mut read: impl FnMut(&[u8])) {
    let corpus = corpus(target);
    corpus.iter().for_each(|bytes| read(bytes));
    let from = setting("FUZZ_FROM", 0);
    for seed in from..from + setting("FUZZ", rounds) {
        let bytes = changed(&corpus, &mut Dice(seed));
        let done = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        assert!(done.is_ok(), "{target}, seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

fn l63_settings_of_any_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("labelsyncd.toml");
    try_all("settings", ROUNDS / 3, |bytes| {
        std::fs::write(&file, bytes).expect("written");
        if let Err(problems) = labelsync::settings::load(&file) {
            assert!(!problems.is_empty(), "a refusal says why");
            for problem in problems {
                assert!(!problem.message.contains('\u{1b}'), "{:?}", problem.message);
            }
        }
    });
}

/// What `lsctl set-source` and `set-target` send: taken, it is the same when it is read again, also by the next start.
fn l63_changes_of_any_bytes() {
    let text = String::from_utf8(seeds("settings").pop().expect("a file")).expect("UTF-8");
    let loaded = load_texts(&[("labelsyncd.toml", &text)]).expect("good settings");
    let name = loaded.settings.projects.keys().next().expect("a project");
    try_all("control", ROUNDS / 15, |bytes| {
        let source = serde_json::from_slice::<SourcePatch>(bytes).ok();
        let target = serde_json::from_slice::<TargetPatch>(bytes).ok();
        if source.is_none() && target.is_none() {
            return;
        }
        let (source, target) = (source.unwrap_or_default(), target.unwrap_or_default());
        let changes = Overrides { source, target, ..Overrides::default() };
        let kept = serde_json::to_vec(&changes).expect("JSON");
        assert_eq!(serde_json::from_slice::<Overrides>(&kept).expect("as it was written"), changes);
        if let Err(problems) = loaded.with_overrides(&[(name.clone(), changes)].into()) {
            assert!(!problems.is_empty(), "a refusal says why");
            for problem in problems {
                assert!(!problem.message.contains('\u{1b}'), "{:?}", problem.message);
            }
        }
    });
}

fn entries(bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    let scanned = file::scan(bytes, &mut |_, _| {
        count += 1;
        Ok(())
    });
    scanned.is_ok().then_some(count)
}

fn l16_tasks_of_any_bytes() {
    try_all("tasks", ROUNDS, |bytes| {
        let Some(_) = entries(bytes) else { return };
        let whole = bytes.trim_ascii_end();
        // Whatever was accepted: what is cut off it is not.
        for end in (0..whole.len()).rev().take(40) {
            assert_eq!(entries(&whole[..end]), None, "cut at {end}");
        }
    });
}

fn l16_maps_of_any_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, project) = (dir.path().join("source.json"), Directory::new(dir.path()));
    try_all("maps", ROUNDS, |bytes| {
        std::fs::write(&file, bytes).expect("written");
        if let SourceMap::Ids(ids) = project.source_map().expect("it can be read") {
            assert!(ids.is_sorted_by(|a, b| a.0 < b.0), "ascending, none twice");
            let whole = bytes.trim_ascii_end();
            std::fs::write(&file, &whole[..whole.len() - 1]).expect("written");
            assert_eq!(project.source_map().expect("it can be read"), SourceMap::Unreadable, "cut");
        }
    });
}

fn l20_completions_of_any_bytes() {
    let (id, limits) = (TaskId::new(7).expect("an id"), TaskLimits::of_completions());
    try_all("completions", ROUNDS, |bytes| {
        if completion_file(bytes, id, &limits).is_ok() {
            let whole = bytes.trim_ascii_end();
            for end in (0..whole.len()).rev().take(40) {
                assert!(completion_file(&whole[..end], id, &limits).is_err(), "cut at {end}");
            }
        }
    });
}

fn l73_objects_of_any_bytes() {
    let config = "<View><Image name=\"image\" value=\"$image\"/><Choices name=\"c\" toName=\"image\"><Choice value=\"a\"/></Choices></View>";
    let config = LabelConfig::parse(config).expect("a label config");
    let limits = TaskLimits::default();
    try_all("objects", ROUNDS, |bytes| {
        for rules in [BodyRules::Utf8, BodyRules::AnyUnicode] {
            if let Ok(task) = task_from_object(bytes, rules, &config, &limits) {
                let written = task.to_json(TaskId::new(3).expect("an id"));
                let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
                assert_eq!(read["id"], 3);
            }
        }
    });
}

/// Promises 1, 4, 5: a listing that is not whole is an error; a whole one holds what it says.
async fn l05_listings_of_any_bytes() {
    let corpus = corpus("listings");
    let (whole, as_they_are) = (seeds("listings").len(), corpus.len());
    let from = setting("FUZZ_FROM", 0);
    let double = Double::start(move |nth, _| {
        let bytes = match corpus.get(nth) {
            Some(bytes) => bytes.clone(),
            None => changed(&corpus, &mut Dice(from + nth as u64)),
        };
        let text = String::from_utf8_lossy(&bytes);
        answer("200 OK", "Content-Type: application/xml\r\n", &text)
    })
    .await;
    let store = S3Store::connect(&double.settings()).await.expect("a store");
    let request = ListRequest { prefix: String::new(), one_level: false };
    for nth in 0..as_they_are as u64 + setting("FUZZ", LISTINGS).min(10_000) {
        let page = store.list_page(&request, None).await;
        if nth < whole as u64 {
            assert!(page.is_ok(), "listing {nth} of the corpus: {page:?}");
        }
    }
}

fn main() -> ExitCode {
    support::trials(|t| {
        for (name, body) in [
            ("l63_settings_of_any_bytes", l63_settings_of_any_bytes as fn()),
            ("l63_changes_of_any_bytes", l63_changes_of_any_bytes),
            ("l16_tasks_of_any_bytes", l16_tasks_of_any_bytes),
            ("l16_maps_of_any_bytes", l16_maps_of_any_bytes),
            ("l20_completions_of_any_bytes", l20_completions_of_any_bytes),
            ("l73_objects_of_any_bytes", l73_objects_of_any_bytes),
        ] {
            t.test_unless(name, || None, body);
        }
        t.test("l05_listings_of_any_bytes", l05_listings_of_any_bytes);
    })
}
