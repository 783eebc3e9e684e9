//! SIGKILL: at every system call that changes something, and at any time under load.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crate::soak;
use crate::world::World;

/// System calls that change something, or promise that it stays.
const CALLS: &str =
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,mkdir,mkdirat,linkat";

/// Points of the short form, spread over all that there are.
const POINTS: usize = 36;

/// More runs at once than processors: most of them wait.
const AT_ONCE: usize = 6;

/// Kills at any time, in the short and in the long form.
const KILLS: (usize, usize) = (12, 1_000);

pub fn no_strace() -> Option<String> {
    let runs = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    (!runs.is_ok_and(|status| status.success())).then(|| "needs a working strace".to_owned())
}

/// A first mirror, a push, a change of the settings, a new object, a second push: until the daemon dies.
fn work(world: &mut World) -> bool {
    world.tasks_or_dead(2)
        && {
            world.label(0, "cat");
            world.pushed_or_dead(0)
        }
        && {
            world.set_regex(".*json");
            world.put("c.json");
            world.tasks_or_dead(3)
        }
        && {
            world.label(0, "dog");
            world.pushed_or_dead(0)
        }
}

fn new_world() -> World {
    let mut world = World::new();
    world.put("a.json");
    world.put("b.json");
    // As few threads as can be: strace counts the calls of each.
    world.rig.environment = vec![("TOKIO_WORKER_THREADS", "1".to_owned())];
    world
}

/// How often a thread makes each of the calls, at most.
fn points() -> Vec<(String, usize)> {
    let mut world = new_world();
    let log = world.rig.path("trace").display().to_string();
    let filter = format!("trace={CALLS}");
    world.rig.spawn_under(&["strace", "-D", "-f", "-qq", "-o", &log, "-e", &filter]);
    assert!(work(&mut world), "it died without a kill");
    world.rig.kill();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(log).expect("read").lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if CALLS.split(',').any(|known| known == name) {
            *counts.entry((name.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((name, _), count) in counts {
        let most = most.entry(name).or_default();
        *most = count.max(*most);
    }
    most.into_iter().flat_map(|(name, count)| (1..=count).map(move |nth| (name.clone(), nth))).collect()
}

/// True: it was killed there; false: it had not come so far.
fn killed_at(call: &str, nth: usize) -> bool {
    let mut world = new_world();
    let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
    let filter = format!("trace={call}");
    world.rig.spawn_under(&["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &filter, "-e", &inject]);
    let killed = !work(&mut world);
    world.rig.kill();
    world.rig.start();
    world.goes_on();
    killed
}

/// Runs these, several at once; what they answered. A panic says which it was.
fn all<T: Sync, R: Send>(cases: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, answers) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("no panic holds it").next() else { return };
                    let answer = run(case);
                    answers.lock().expect("no panic holds it").push(answer);
                }
            });
        }
    });
    answers.into_inner().expect("no panic holds it")
}

pub fn l35_a_kill_at_any_system_call_loses_nothing() {
    let points = points();
    let names: BTreeSet<&str> = points.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains("fsync") && names.contains("renameat2"), "the daemon's calls are seen: {names:?}");
    let step = if soak() { 1 } else { (points.len() / POINTS).max(1) };
    let some: Vec<_> = points.iter().step_by(step).collect();
    let killed = all(&some, |(call, nth)| {
        let run = std::panic::AssertUnwindSafe(|| killed_at(call, *nth));
        std::panic::catch_unwind(run).unwrap_or_else(|_| panic!("killed at {call} number {nth}"))
    });
    let reached = killed.iter().filter(|killed| **killed).count();
    assert!(reached * 2 >= some.len(), "only {reached} of {} kills came to pass", some.len());
}

/// A number that looks random, the same in every run.
pub fn dice(seed: usize) -> u64 {
    let mut x = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

pub fn l35_kills_at_any_time_lose_nothing() {
    let kills = if soak() { KILLS.1 } else { KILLS.0 };
    let worlds: Vec<usize> = (0..3).collect();
    all(&worlds, |nth| {
        let mut world = new_world();
        for kill in 0..kills / worlds.len() {
            let seed = nth * kills + kill;
            world.rig.spawn();
            let end = std::time::Instant::now() + Duration::from_millis(dice(seed) % 2_500);
            for n in 0.. {
                if std::time::Instant::now() > end {
                    break;
                }
                world.put(&format!("{kill}-{n}.json"));
                if world.look() > 0 {
                    world.label(0, if n % 2 == 0 { "cat" } else { "dog" });
                }
                std::thread::sleep(Duration::from_millis(dice(seed + n) % 200));
            }
            world.rig.kill();
            world.look();
        }
        world.rig.start();
        world.goes_on();
    });
}
