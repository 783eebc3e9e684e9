//! Hints: quick where they can be, complete where they cannot.

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use labelsync::names::TaskId;
use labelsync::project::watch::{HINTED_MAX, Hints, Mode, OnMap, Periods, PollReason, Watcher};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use super::child;
use super::support::{PATIENCE, print, project, test, test_where, write_new, write_over};

pub fn trials() -> Vec<Trial> {
    vec![
        test("hints_name_what_changed", hints_name_what_changed),
        test("hints_are_not_given_for_reading_and_own_temporary_files", own_work_gives_no_hints),
        test("hints_of_single_files_are_bounded", hints_are_bounded),
        test("l50_a_directory_made_anew_is_watched_again", directories_made_anew_are_watched),
        test("l50_a_project_that_comes_later_is_watched", a_missing_project_is_awaited),
        test("l48_an_overflow_leads_to_a_look_at_everything", an_overflow_means_everything),
        test_where("l49_too_few_watches_are_named_and_polled_around", unless_limits(), || {
            limits("max_inotify_watches")
        }),
        test_where("l49_too_few_instances_are_named_and_polled_around", unless_limits(), || {
            limits("max_inotify_instances");
        }),
    ]
}

const QUICK: Periods =
    Periods { poll: Duration::from_millis(100), check: Duration::from_millis(100), retry: Duration::from_secs(60) };

fn run<F: Future>(body: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(body)
}

/// A watcher that has said its first "everything" and watches.
async fn watching(path: &Path) -> Watcher {
    watching_map(path, Box::new(|| ())).await
}

async fn watching_map(path: &Path, on_map: OnMap) -> Watcher {
    let watcher = Watcher::start(path, QUICK, on_map);
    until_mode(&watcher, Mode::Inotify).await;
    assert!(watcher.take().everything.is_some(), "the first look is at everything");
    watcher
}

async fn until_mode(watcher: &Watcher, wanted: Mode) {
    let started = Instant::now();
    while watcher.mode() != wanted {
        assert!(started.elapsed() < PATIENCE, "{:?} is not {wanted:?}", watcher.mode());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes the completion 7 until a hint names it: it is watched again at some time after it was made anew.
async fn until_told_of(watcher: &Watcher, path: &Path, what: &str) {
    let started = Instant::now();
    let wanted = Hints { completions: ids(&[7]), ..Hints::default() };
    loop {
        watcher.take();
        fs::write(path, "{}").unwrap();
        let hinted = tokio::time::timeout(Duration::from_millis(200), watcher.woken()).await.is_ok();
        if hinted && watcher.take() == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: it is not watched again");
    }
}

fn merge(told: &mut Hints, more: Hints) {
    told.everything = told.everything.or(more.everything);
    told.tasks |= more.tasks;
    told.config |= more.config;
    told.map |= more.map;
    told.completions.extend(more.completions);
}

/// Waits until these hints have come, in whatever portions; no others come in a moment of quiet after them.
async fn until_told(watcher: &Watcher, wanted: Hints) {
    let mut told = Hints::default();
    let all = async {
        while told != wanted {
            watcher.woken().await;
            merge(&mut told, watcher.take());
        }
    };
    let came = tokio::time::timeout(PATIENCE, all).await;
    assert!(came.is_ok(), "{told:?} was told, not {wanted:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    merge(&mut told, watcher.take());
    assert_eq!(told, wanted);
}

/// Waits for a hint to look at everything.
async fn until_everything(watcher: &Watcher) {
    let told = async {
        loop {
            watcher.woken().await;
            if watcher.take().everything.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a hint to look at everything");
}

async fn quiet(watcher: &Watcher) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(watcher.take(), Hints::default());
}

fn ids(ids: &[u64]) -> std::collections::BTreeSet<TaskId> {
    ids.iter().map(|id| TaskId::new(*id).unwrap()).collect()
}

fn hints_name_what_changed() {
    let (temp, _dir) = project();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("completions")).unwrap();
    fs::write(at("tasks.json"), "{}").unwrap();
    run(async {
        let watcher = watching(temp.path()).await;
        quiet(&watcher).await;
        fs::write(at("tasks.json"), "{ }").unwrap();
        until_told(&watcher, Hints { tasks: true, ..Hints::default() }).await;
        fs::write(at("config.xml"), "<View/>").unwrap();
        until_told(&watcher, Hints { config: true, ..Hints::default() }).await;
        fs::write(at("completions/7.json"), "{}").unwrap();
        fs::write(at("completions/x"), "{}").unwrap();
        fs::rename(at("completions/x"), at("completions/10.json")).unwrap();
        fs::write(at("completions/01.json"), "{}").unwrap();
        until_told(&watcher, Hints { completions: ids(&[7, 10]), ..Hints::default() }).await;
        fs::remove_file(at("completions/7.json")).unwrap();
        until_told(&watcher, Hints { completions: ids(&[7]), ..Hints::default() }).await;
        fs::write(at("labelsync.json"), "{}").unwrap();
        until_everything(&watcher).await;
        // It is one file, and several events.
        tokio::time::sleep(Duration::from_millis(300)).await;
        watcher.take();
        fs::write(at("source.json"), "{}").unwrap();
        until_told(&watcher, Hints { map: true, ..Hints::default() }).await;
        fs::write(at("target.json"), "{}").unwrap();
        quiet(&watcher).await;
    });
}

fn own_work_gives_no_hints() {
    let (temp, dir) = project();
    fs::create_dir(temp.path().join("completions")).unwrap();
    let completions = dir.sub("completions", false).unwrap();
    let _created = write_new(&completions, "7.json", b"{}").unwrap();
    run(async {
        let watcher = watching(temp.path()).await;
        completions.read("7.json", 100).unwrap().unwrap();
        fs::write(temp.path().join("tasks.json.lsd-tmp"), "x").unwrap();
        fs::write(temp.path().join("completions/8.json.lsd-old"), "x").unwrap();
        quiet(&watcher).await;
        let old = write_over(&completions, "7.json", &print(&completions, "7.json"), b"[]").unwrap();
        until_told(&watcher, Hints { completions: ids(&[7]), ..Hints::default() }).await;
        old.displaced.unwrap().discard().unwrap();
        quiet(&watcher).await;
    });
}

fn hints_are_bounded() {
    let (temp, _dir) = project();
    fs::create_dir(temp.path().join("completions")).unwrap();
    run(async {
        let (seen, sees) = mpsc::channel();
        let watcher = watching_map(
            temp.path(),
            Box::new(move || {
                seen.send(()).ok();
            }),
        )
        .await;
        for id in 0..=HINTED_MAX {
            fs::write(temp.path().join(format!("completions/{id}.json")), "").unwrap();
        }
        // Events come in order: where this one is seen all of those were. The queue may have been too full for it.
        let started = Instant::now();
        while sees.try_recv().is_err() {
            assert!(started.elapsed() < PATIENCE, "no event comes");
            fs::write(temp.path().join("source.json"), "{}").unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let hints = watcher.take();
        assert!(hints.everything.is_some() && hints.completions.is_empty());
    });
}

fn directories_made_anew_are_watched() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("project");
    let make = || {
        fs::create_dir_all(path.join("completions")).unwrap();
    };
    make();
    run(async {
        let watcher = watching(&path).await;
        // Often the first kind: the new directory gets the old one's inode then, or not.
        for round in 0..8 {
            match round {
                0..=4 => fs::remove_dir_all(path.join("completions")).unwrap(),
                5 => fs::rename(path.join("completions"), path.join("elsewhere")).unwrap(),
                6 => fs::rename(&path, outer.path().join("moved")).unwrap(),
                _ => fs::remove_dir_all(&path).unwrap(),
            }
            make();
            until_everything(&watcher).await;
            until_told_of(&watcher, &path.join("completions/7.json"), &format!("round {round}")).await;
            assert_eq!(watcher.mode(), Mode::Inotify, "round {round}");
        }
    });
}

fn a_missing_project_is_awaited() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("project");
    run(async {
        let watcher = Watcher::start(&path, QUICK, Box::new(|| ()));
        until_mode(&watcher, Mode::Polling(PollReason::DirectoryMissing)).await;
        watcher.take();
        fs::create_dir(&path).unwrap();
        until_everything(&watcher).await;
        until_mode(&watcher, Mode::Inotify).await;
        watcher.take();
        fs::write(path.join("tasks.json"), "{}").unwrap();
        until_told(&watcher, Hints { tasks: true, ..Hints::default() }).await;
    });
}

/// The watching process is stopped while more happens than the kernel's queue holds.
fn an_overflow_means_everything() {
    let (temp, _dir) = project();
    fs::create_dir(temp.path().join("completions")).unwrap();
    let queue: u64 = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let mut command = child::command(&["env"], "watch", temp.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "Inotify");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    // Few names, so that it is the overflow and not their number that says "everything".
    for n in 0..=queue {
        fs::write(temp.path().join(format!("completions/{}.json", n % 100)), "{}").unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let told = said.next().unwrap().unwrap();
    assert!(told.starts_with("everything=true"), "{told}");
    assert!(child.wait().unwrap().success());
}

/// A user namespace of its own, with one limit at zero.
fn in_namespace(limit: &str) -> Vec<String> {
    let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    ["unshare", "-U", "-r", "sh", "-c", &script].map(str::to_owned).to_vec()
}

fn unless_limits() -> Option<String> {
    let words = in_namespace("max_inotify_watches");
    let runs = Command::new(&words[0]).args(&words[1..]).arg("true").output();
    (!runs.is_ok_and(|output| output.status.success())).then(|| "needs user namespaces".to_owned())
}

fn limits(limit: &str) {
    let (temp, _dir) = project();
    fs::create_dir(temp.path().join("completions")).unwrap();
    let words = in_namespace(limit);
    let wrapper: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = child::output(child::command(&wrapper, "watch_mode", temp.path()));
    assert_eq!(said, ["Polling(WatchLimit)", "told=true everything=true", "told=true everything=true"]);
    assert_eq!(PollReason::WatchLimit.code(), "watch_limit");
    assert!(PollReason::WatchLimit.remedy().contains("fs.inotify.max_user_watches"));
}
