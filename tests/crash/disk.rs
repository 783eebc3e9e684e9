//! Disks that are full or read-only, no descriptors, no directory events: named, and healed without a restart.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::rig::{PATIENCE, Rig, find_code, until};
use crate::world::{World, names};

/// Names that are made while the daemon stands still: more than the kernel keeps events for (16,384 by default).
const NAMES: usize = 20_000;

fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().expect("it starts");
    assert!(status.success(), "{program} {words:?}");
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A world whose directory `name` is a small file system of its own.
fn on_tmpfs(name: &str, options: &str) -> World {
    let rig = Rig::new();
    let path = rig.path(name);
    std::fs::create_dir_all(&path).expect("made");
    run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &text(&path)]);
    let mut world = World::of(rig);
    world.put("a.json");
    world.rig.start();
    assert!(world.tasks_or_dead(1));
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    world
}

/// Takes all the space, or all the inodes, that are left; twice, as a displaced file goes only after a second or more.
fn fill(dir: &Path, sizes: &[usize]) {
    let mut n = 0;
    for _ in 0..2 {
        for size in sizes {
            loop {
                n += 1;
                if std::fs::write(dir.join(format!("ballast-{n}")), vec![1; *size]).is_err() {
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        let displaced = || names(dir).iter().any(|name| name.contains(".lsd-"));
        until("what was displaced is gone", PATIENCE, || (!displaced()).then_some(()));
    }
}

/// Space in smaller and smaller pieces.
const SPACE: [usize; 3] = [256 << 10, 16 << 10, 1];

/// Inodes.
const INODES: [usize; 1] = [0];

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("read") {
        let path = entry.expect("read").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ballast-")) {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

/// A new object while nothing can be written: that is named, and nothing is torn.
fn fails(world: &mut World, codes: &[&str]) {
    world.put("b.json");
    world.rig.until_status("the state", |status| codes.iter().any(|code| find_code(status, code).is_some()));
    world.look();
    std::thread::sleep(Duration::from_secs(1));
    world.look();
}

pub fn l38_a_full_state_directory_heals() {
    let mut world = on_tmpfs("state", "size=2m");
    let state = world.rig.path("state");
    fill(&state, &SPACE);
    // Annotators go on meanwhile.
    world.label(0, "dog");
    fails(&mut world, &["disk_full", "state_dir_error"]);
    assert!(world.rig.metric("labelsyncd_state_write_errors_total{errno=\"ENOSPC\"}") > 0.5);
    empty(&state);
    world.goes_on();
}

/// Without an inode to be had only what needs a new file waits, and says so.
pub fn l38_a_state_directory_without_inodes_heals() {
    let mut world = on_tmpfs("state", "size=16m,nr_inodes=60");
    let state = world.rig.path("state");
    fill(&state, &INODES);
    world.label(0, "dog");
    assert!(world.pushed_or_dead(0));
    world.put("b.json");
    assert!(world.tasks_or_dead(2));
    let refused = world.rig.lsctl(&["set-source", "cats", "--regex", "b.*"]);
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(refused.err.contains("No space left") && refused.err.contains("state directory"), "{}", refused.err);
    world.look();
    empty(&state);
    world.goes_on();
}

pub fn l38_a_full_project_heals() {
    for (options, sizes) in [("size=1m", &SPACE[..]), ("size=4m,nr_inodes=60", &INODES)] {
        let mut world = on_tmpfs("cats", options);
        let project = world.rig.path("cats");
        fill(&project, sizes);
        fails(&mut world, &["disk_full"]);
        empty(&project);
        world.goes_on();
    }
}

/// A directory that stands for a bucket: what cannot be pushed waits.
pub fn l38_a_full_target_heals() {
    for (options, sizes) in [("size=1m", &SPACE[..]), ("size=4m,nr_inodes=60", &INODES)] {
        let mut world = on_tmpfs("out", options);
        let target = world.rig.path("out");
        fill(&target, sizes);
        world.label(0, "dog");
        world.rig.until_status("the state", |status| find_code(status, "disk_full").is_some());
        assert!(world.rig.metric("labelsyncd_disk_full") > 0.5);
        // The source goes on.
        world.put("b.json");
        assert!(world.tasks_or_dead(2));
        empty(&target);
        world.goes_on();
    }
}

/// A file system that its errors have made read-only, a quota, a disk that fails: the ledger's files are open all the while.
pub fn l38_a_state_directory_that_refuses_writes_heals() {
    for errno in ["EROFS", "EDQUOT", "EIO"] {
        let mut world = World::new();
        world.put("a.json");
        world.rig.start();
        assert!(world.tasks_or_dead(1));
        let refuses = format!("inject=pwrite64,ftruncate,fsync,fdatasync:error={errno}");
        let pid = world.rig.pid().as_raw_nonzero().to_string();
        let mut words = vec!["-f", "-qq", "-o", "/dev/null", "-e", &refuses, "-p", &pid];
        let ledgers = std::fs::read_dir(world.rig.path("state/ledgers")).expect("read");
        let files: Vec<String> = ledgers.map(|entry| text(&entry.expect("read").path())).collect();
        words.extend(files.iter().flat_map(|file| ["-P", file]));
        let mut strace = Command::new("strace").args(words).spawn().expect("it starts");
        until("strace holds each thread", PATIENCE, || is_traced(&pid, strace.id()).then_some(()));
        world.label(0, "dog");
        fails(&mut world, &["ledger_error", "read_only", "disk_full"]);
        // It lets go of the daemon, which goes on as if nothing had been.
        kill_process(Pid::from_child(&strace), Signal::TERM).expect("sent");
        strace.wait().expect("it ended");
        world.goes_on();
    }
}

/// Whether every thread of `pid` is traced by `tracer`.
fn is_traced(pid: &str, tracer: u32) -> bool {
    let traced = format!("TracerPid:\t{tracer}\n");
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    // One that is gone is none.
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok())
        .all(|status| status.contains(&traced))
}

pub fn l38_a_read_only_project_heals() {
    let mut world = on_tmpfs("cats", "size=4m");
    let project = text(&world.rig.path("cats"));
    run("mount", &["-o", "remount,ro", &project]);
    fails(&mut world, &["read_only"]);
    run("mount", &["-o", "remount,rw", &project]);
    world.goes_on();
}

pub fn no_prlimit() -> Option<String> {
    let runs = Command::new("prlimit").arg("--version").stdout(Stdio::null()).status();
    (!runs.is_ok_and(|status| status.success())).then(|| "needs prlimit".to_owned())
}

pub fn l38_no_descriptors_heal() {
    let mut world = World::new();
    world.put("a.json");
    world.rig.start();
    assert!(world.tasks_or_dead(1));
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    let pid = world.rig.pid().as_raw_nonzero().to_string();
    run("prlimit", &["--pid", &pid, "--nofile=3:1024"]);
    world.put("b.json");
    world.label(0, "dog");
    // It cannot even be asked.
    std::thread::sleep(Duration::from_secs(5));
    world.look();
    assert!(!world.rig.is_over(), "it lives");
    run("prlimit", &["--pid", &pid, "--nofile=1024:1024"]);
    world.goes_on();
}

pub fn no_limits() -> Option<String> {
    let mut may = Command::new("unshare");
    may.args(["-U", "-r", "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_watches"]);
    let may = may.stderr(Stdio::null()).status();
    (!may.is_ok_and(|status| status.success())).then(|| "needs a user namespace with limits of its own".to_owned())
}

/// The watch is there, and never says anything: as on a network file system that another machine writes to.
pub fn l50_what_no_event_tells_is_found() {
    let mut world = World::new();
    // Its looks at the bucket are looks at every file, too.
    let settings = std::fs::read_to_string(world.rig.config()).expect("read");
    let (source, target) = settings.split_once("[projects.cats.target]").expect("both sides");
    let settings = format!("{source}[projects.cats.target]{}", target.replace("\"1s\"", "\"1h\""));
    std::fs::write(world.rig.config(), settings).expect("written");
    world.put("a.json");
    let silent = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=inotify_add_watch"];
    world.rig.spawn_under(&[&silent[..], &["-e", "inject=inotify_add_watch:retval=1"]].concat());
    world.rig.until_answer();
    assert!(world.tasks_or_dead(1));
    // It believes in its watch.
    world.rig.until_status("well", |status| {
        let reasons = status["reasons"].as_array().map_or(0, Vec::len);
        reasons == 0 && status["state"] == "ok"
    });
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    world.goes_on();
}

pub fn l49_without_any_watch_it_polls() {
    let mut world = World::new();
    world.put("a.json");
    let none = "echo 0 > /proc/sys/user/max_inotify_watches; exec \"$@\"";
    world.rig.spawn_under(&["unshare", "-U", "-r", "sh", "-c", none, "sh"]);
    world.rig.until_answer();
    assert!(world.tasks_or_dead(1));
    // It is only slower.
    world.rig.until_status("the warning, and well", |status| {
        let warned = status["reasons"].as_array().is_some_and(|reasons| {
            reasons.iter().any(|reason| reason["code"].as_str().is_some_and(|code| code.contains("watch")))
        });
        warned && status["state"] == "ok"
    });
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    world.goes_on();
}

pub fn l48_an_overflow_loses_nothing() {
    let mut world = World::new();
    for n in 0..20 {
        world.put(&format!("{n}.json"));
    }
    world.rig.start();
    assert!(world.tasks_or_dead(20));
    world.rig.signal(Signal::STOP);
    let completions = world.rig.path("cats/completions");
    for n in 0..NAMES {
        std::fs::write(completions.join(format!("{n}.json~")), "").expect("written");
    }
    for id in 0..20 {
        world.label(id, "cat");
    }
    world.rig.signal(Signal::CONT);
    for id in 0..20 {
        assert!(world.pushed_or_dead(id));
    }
    assert!(world.rig.metric("labelsyncd_watch_overflows_total") > 0.5);
    assert!(world.rig.metric("labelsyncd_rescans_total{cause=\"overflow\"}") > 0.5);
    world.goes_on();
}
