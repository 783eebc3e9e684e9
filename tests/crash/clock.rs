//! A wall clock that jumps while the daemon runs and between its runs (libfaketime).
//!
//! The time of files stays the machine's: after a jump every file is from another time than the clock's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use labelsync::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::support::rig::{PATIENCE, until};
use crate::world::World;

/// Where `tests/support/install.sh` and distributions put the library; the one with locks first: the daemon has threads.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

const DAY: i64 = 86_400;

/// From the true time, seconds: a day ahead, a year back, before 1980, and home again.
const JUMPS: [i64; 5] = [DAY, -365 * DAY, 30 * DAY, -40 * 365 * DAY, 0];

/// How long a cycle every second, and what it does, may take on a machine that does other things too: far less than
/// the smallest jump.
const SOON: Duration = Duration::from_secs(30);

fn installed() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools/venv/lib");
    let pythons = std::fs::read_dir(venv).into_iter().flatten().flatten();
    let library = "site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1";
    let here = pythons.map(|python| python.path().join(library));
    PLACES.iter().map(PathBuf::from).chain(here).find(|path| path.exists())
}

/// Why a clock cannot be made to jump.
pub fn no_faketime() -> Option<String> {
    installed().is_none().then(|| "needs libfaketime (tests/support/install.sh, or the package faketime)".to_owned())
}

/// A world whose programs read the time through the library, and the file that says by how much it is off.
fn world() -> (World, PathBuf) {
    let mut world = World::new();
    let offset = world.rig.path("clock");
    let library = installed().expect("looked for before");
    world.rig.environment = vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // A clock that is set moves the wall clock alone.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    (world, offset)
}

fn set(offset: &Path, seconds: i64) {
    let new = offset.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).expect("written");
    std::fs::rename(new, offset).expect("renamed");
}

/// How far a time of the status is from what the clock shows, seconds.
fn off(at: &Value, seconds: i64) -> u64 {
    (at.as_i64().expect("a time") / 1_000).abs_diff(SystemClock.now().0 / 1_000 + seconds)
}

/// Looks go on at once and say the clock's time; new work is done; what is being written stays where it is.
fn goes_on(world: &mut World, n: usize, seconds: i64) {
    world.put(&format!("{n}.json"));
    let tasks = world.look();
    // Half a file, whose time is far from the clock's: Label Studio is writing it.
    let torn = world.rig.path("cats/completions/0.json");
    let whole = std::fs::read(&torn).ok();
    if let Some(bytes) = &whole {
        std::fs::write(&torn, &bytes[..bytes.len() / 2]).expect("written");
    }
    until("the object's task", SOON, || (world.look() > tasks).then_some(()));
    let id = u64::try_from(n + 1).expect("a number");
    world.label(id, if seconds == 0 { "dog" } else { "cat" });
    until("the completion in the target", SOON, || world.is_pushed(id).then_some(()));
    if let Some(bytes) = whole {
        assert!(world.is_pushed(0), "half a file is not pushed, whatever time it is");
        std::fs::write(&torn, bytes).expect("written");
    }
    for side in ["source", "target"] {
        until("the time of the last and the next look", SOON, || {
            let poll = world.rig.status()[side]["poll"].clone();
            ["last_success_at", "next_at"].iter().all(|time| off(&poll[time], seconds) < SOON.as_secs()).then_some(())
        });
    }
    assert_eq!(world.rig.sync(), 0);
    let shown = world.rig.ok(&["status"]);
    assert!(shown.contains("cats: ok"), "{shown}");
}

/// Promise 46: forward a day, back a year, before the files: while it runs, and while it does not.
pub fn l46_a_clock_that_jumps_loses_nothing() {
    let (mut world, offset) = world();
    set(&offset, 0);
    world.put("first.json");
    world.rig.start();
    assert!(world.tasks_or_dead(1));
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    for (n, seconds) in JUMPS.into_iter().enumerate() {
        set(&offset, seconds);
        goes_on(&mut world, n, seconds);
    }
    for (n, seconds) in JUMPS.into_iter().enumerate() {
        world.rig.kill();
        set(&offset, seconds);
        world.rig.start();
        goes_on(&mut world, JUMPS.len() + n, seconds);
    }
    let log = world.rig.log();
    assert!(!log.contains("panicked"), "{log}");
    // It is the library that was asked, not the machine.
    set(&offset, DAY);
    until("the clock's time in the status", PATIENCE, || {
        (off(&world.rig.status()["source"]["poll"]["last_success_at"], DAY) < SOON.as_secs()).then_some(())
    });
    world.goes_on();
}
