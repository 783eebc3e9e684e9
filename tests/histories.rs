//! Random histories with crashes at every gap, against a naive model.
//!
//! Promise: a bucket that changes, a Label Studio that rewrites from memory and tears its writes, other writers, an operator, faults and a
//! daemon that dies anywhere: in the end no id was ever given twice, no completion is lost, nothing of anybody else's
//! is overwritten, and a clean cycle finds nothing to do.
//! Not here: power cuts (`files`), real servers (`stores`).

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "histories/judge.rs"]
mod judge;
#[path = "histories/label_studio.rs"]
mod label_studio;
#[path = "histories/mortal.rs"]
mod mortal;
#[path = "histories/ops.rs"]
mod ops;
#[path = "histories/regressions.rs"]
mod regressions;
#[path = "histories/rivals.rs"]
mod rivals;
#[path = "histories/settings.rs"]
mod settings;
#[path = "histories/tear.rs"]
mod tear;
#[path = "histories/who.rs"]
mod who;
#[path = "histories/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ops::{Op, history};
use world::{Verdict, World};

/// Histories that every run tries. `HISTORIES=100000` tries more, `HISTORIES_FROM=n` others, and with `HISTORIES_STEP=4`
/// those of every fourth seed only: from 2, those with torn writes.
const HISTORIES: u64 = 1_500;

/// Failures that are looked for before they are told: enough to see their kinds.
const FAILURES_MAX: usize = 25;

/// Kinds of failures that are shortened and told.
const KINDS_MAX: usize = 5;

/// What a history comes to.
fn run(blobs: bool, ops: &[Op]) -> Verdict {
    run_on(blobs, ops, true)
}

/// `preconditions`: the target honours them.
fn run_on(blobs: bool, ops: &[Op], preconditions: bool) -> Verdict {
    let attempt = AssertUnwindSafe(|| {
        let mut world = World::new(blobs);
        world.ignore_preconditions(!preconditions);
        for (n, op) in ops.iter().enumerate() {
            world.step(*op).map_err(|why| format!("at operation {n} ({op:?}): {why}"))?;
        }
        judge::at_the_end(&mut world).map_err(|why| format!("at the end: {why}"))
    });
    catch_unwind(attempt).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()))
    })
}

/// Leaves out what a failure does not need.
fn shortened(blobs: bool, ops: &[Op]) -> (Vec<Op>, String) {
    let mut ops = ops.to_owned();
    let mut why = String::new();
    let mut again = true;
    while std::mem::take(&mut again) {
        for n in (0..ops.len()).rev() {
            let mut fewer = ops.clone();
            fewer.remove(n);
            if let Err(other) = run(blobs, &fewer) {
                (ops, why, again) = (fewer, other, true);
            }
        }
    }
    (ops, why)
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name);
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// The kind of a failure: its text without numbers.
fn kind(why: &str) -> String {
    let line = why.lines().next().unwrap_or("");
    let words = line.split(": ").skip(1).flat_map(|part| part.split(' '));
    words.filter(|word| word.bytes().all(|b| b.is_ascii_lowercase())).collect()
}

/// Promises 11, 43: while the daemon lives and while it is dead; also where the target ignores preconditions.
#[test]
fn l11_l43_another_daemon_is_refused_or_held() {
    use mortal::Side::Source as Near;
    use ops::Op::{Crash, Label, List, Put, Restart, Rival, Second, Source, Target};
    let ops = [Second, Rival, Put(0, 0), Source(true), List, Label(0, 0), Target(1), Rival, Second, Label(0, 1)];
    let dies = [Target(1), Rival, Crash(Near, 1), Source(true), Second, Rival, Restart, Second, Rival, Target(1)];
    for preconditions in [true, false] {
        assert_eq!(run_on(true, &[ops, dies].concat(), preconditions), Ok(()), "preconditions: {preconditions}");
    }
}

/// Nobody else writes in the moment between a look and a write here; more cannot be had of such a store.
#[test]
fn l25_a_target_that_ignores_preconditions_is_looked_at_first() {
    use ops::Op::{Label, List, Other, Put, Source, Target};
    // The object changes after it was in step, and the next look is at the files only.
    for what in 0..3 {
        let ops =
            [Put(0, 0), Source(true), List, Target(1), Label(0, 0), Target(1), Other(0, what), Label(0, 1), Target(0)];
        assert_eq!(run_on(true, &ops, false), Ok(()), "{ops:?}");
    }
    for seed in 1_000_000..1_000_000 + setting("HISTORIES", HISTORIES) / 15 {
        let (blobs, ops) = history(seed);
        if let Err(why) = run_on(blobs, &ops, false) {
            panic!("seed {seed}: {why}");
        }
    }
}

/// Promises 12, 14, 18, 21 to 24, 26, 28, 29, 35; contract C4, C8, C9.
#[test]
fn l35_random_histories_with_crashes_end_well() {
    let from = setting("HISTORIES_FROM", 0);
    let count = setting("HISTORIES", HISTORIES);
    let step = setting("HISTORIES_STEP", 1);
    let threads = 4;
    let mut failed = std::thread::scope(|scope| {
        let try_some = move |nth: u64| {
            let mine = (0..count).map(|n| from + n * step).filter(|seed| seed % threads == nth);
            let failure = |seed| run(history(seed).0, &history(seed).1).err().map(|why| (seed, why));
            mine.filter_map(failure).take(FAILURES_MAX).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..threads).map(|nth| scope.spawn(move || try_some(nth))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    failed.sort();
    let mut report = String::new();
    let mut kinds = std::collections::BTreeSet::new();
    for (seed, why) in failed.iter().filter(|(_, why)| kinds.insert(kind(why))).take(KINDS_MAX) {
        let (blobs, ops) = history(*seed);
        let (short, why_short) = shortened(blobs, &ops);
        report.push_str(&format!("seed {seed}: {why}\n  shortened: ({blobs}, &{short:?})\n  {why_short}\n"));
    }
    assert!(failed.is_empty(), "{} of {count} histories end badly\n{report}", failed.len());
}
