//! Replacing whole files beside a process that writes them in place.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use labelsync::project::files::{Expected, FileErrorKind, Undone};
use libtest_mimic::Trial;

use super::child;
use super::support::{
    StopsOnDrop, names, print, project, test, test_where, unless_strace, write_in_place, write_new, write_over,
};

pub fn trials() -> Vec<Trial> {
    vec![
        test("l19_a_reader_always_sees_a_whole_file_and_a_superset", a_reader_always_sees_a_whole_file),
        test("c1_replacing_leaves_the_displaced_file_for_another_look", the_displaced_file_can_be_looked_at),
        test("c7_what_is_written_into_the_displaced_file_later_is_seen", later_writes_are_seen),
        test_where("c7_what_slipped_in_before_the_exchange_is_seen", unless_strace(), what_slipped_in_is_seen),
        test("an_undone_replacement_gives_the_old_file_its_name_back", undo_restores),
        test("an_overtaken_replacement_is_not_undone", undo_never_hides_a_later_write),
        test("another_version_than_the_expected_one_is_not_replaced", unexpected_versions_stay),
        test("l38_a_writer_that_fails_leaves_the_old_file", failing_writers_leave_nothing),
        test("several_displaced_versions_stand_side_by_side_up_to_a_limit", displaced_versions_are_bounded),
        test_where("without_exchange_the_same_holds_by_links", unless_strace(), links_do_the_same),
        test_where("without_exchange_and_links_replacing_is_refused", unless_strace(), without_both_it_is_refused),
    ]
}

/// Everything in tasks.json of round n: so a superset of the round before.
fn tasks(round: u64) -> String {
    let tasks: Vec<String> = (0..=round).map(|id| format!("\"{id}\":{{\"id\":{id},\"data\":{{}}}}")).collect();
    format!("{{{}}}", tasks.join(","))
}

fn a_reader_always_sees_a_whole_file() {
    const ROUNDS: u64 = 300;
    let (temp, dir) = project();
    let path = temp.path().join("tasks.json");
    fs::write(&path, tasks(0)).unwrap();
    let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let at_least = acknowledged.load(Ordering::SeqCst) + 1;
                let text = fs::read_to_string(&path).unwrap();
                let seen: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
                assert!(seen.len() as u64 >= at_least, "{} tasks, {at_least} were acknowledged", seen.len());
                reads += 1;
            }
            reads
        });
        let stops = StopsOnDrop(&done);
        for round in 1..=ROUNDS {
            let expected = print(&dir, "tasks.json");
            let text = tasks(round);
            // Many small pieces, as a streaming writer makes them.
            let replaced = dir.replace("tasks.json", Expected::Is(&expected), |out| {
                text.as_bytes().chunks(7).try_for_each(|piece| out.write_all(piece))
            });
            let replaced = replaced.unwrap();
            assert_eq!(replaced.print, print(&dir, "tasks.json"));
            replaced.displaced.unwrap().discard().unwrap();
            acknowledged.store(round, Ordering::SeqCst);
        }
        drop(stops);
        reader.join().unwrap()
    });
    assert!(reads > ROUNDS / 4, "the reader hardly ran: {reads}");
    assert_eq!(names(temp.path()), ["tasks.json"]);
}

fn the_displaced_file_can_be_looked_at() {
    let (temp, dir) = project();
    let created = write_new(&dir, "tasks.json", b"old").unwrap();
    assert!(created.displaced.is_none());
    assert_eq!(created.print, print(&dir, "tasks.json"));
    let replaced = write_over(&dir, "tasks.json", &created.print, b"new").unwrap();
    let old = replaced.displaced.unwrap();
    assert!(old.as_expected() && old.is_unchanged().unwrap());
    assert_eq!(old.read(100).unwrap().bytes, b"old");
    assert_eq!(dir.read("tasks.json", 100).unwrap().unwrap().bytes, b"new");
    let hidden = Path::new(old.displaced_as()).extension().is_none_or(|ending| ending != "json");
    assert!(hidden, "Label Studio must not see it");
    assert_eq!(names(temp.path()), ["tasks.json", old.displaced_as()]);
    old.discard().unwrap();
    assert_eq!(names(temp.path()), ["tasks.json"]);
}

fn later_writes_are_seen() {
    let (temp, dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let mut label_studio = fs::OpenOptions::new().append(true).open(temp.path().join("tasks.json")).unwrap();
    let old = write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"new").unwrap().displaced.unwrap();
    assert!(old.is_unchanged().unwrap());
    label_studio.write_all(b" and an import").unwrap();
    assert!(!old.is_unchanged().unwrap());
    assert_eq!(old.read(100).unwrap().bytes, b"old and an import");
    old.discard().unwrap();
}

/// strace holds each rename back: Label Studio writes between the last check and the exchange.
fn what_slipped_in_is_seen() {
    let (temp, _dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat2:delay_enter=2000000"];
    let mut command = child::command(&wrapper, "replace_once", temp.path());
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !temp.path().join("tasks.json.lsd-old").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "the exchange is never prepared");
        std::thread::sleep(Duration::from_millis(5));
    }
    write_in_place(&temp.path().join("tasks.json"), b"import");
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "replaced as_expected=false old=import\n");
}

fn undo_restores() {
    let (temp, dir) = project();
    fs::write(temp.path().join("7.json"), "old").unwrap();
    let before = print(&dir, "7.json");
    let old = write_over(&dir, "7.json", &before, b"new").unwrap().displaced.unwrap();
    let Undone::Restored(new) = old.undo().unwrap() else { panic!("nobody overtook it") };
    assert!(print(&dir, "7.json").same_content(&before));
    assert_eq!(new.read(100).unwrap().bytes, b"new");
    new.discard().unwrap();
    assert_eq!(names(temp.path()), ["7.json"]);
    assert_eq!(fs::read(temp.path().join("7.json")).unwrap(), b"old");
}

fn undo_never_hides_a_later_write() {
    let (temp, dir) = project();
    let path = temp.path().join("7.json");
    fs::write(&path, "old").unwrap();
    let old = write_over(&dir, "7.json", &print(&dir, "7.json"), b"new").unwrap().displaced.unwrap();
    write_in_place(&path, b"an annotator was faster");
    let Undone::Overtaken(old) = old.undo().unwrap() else { panic!("the annotator's work was hidden") };
    assert_eq!(fs::read(&path).unwrap(), b"an annotator was faster");
    fs::remove_file(&path).unwrap();
    let Undone::Overtaken(old) = old.undo().unwrap() else { panic!("a deleted file came back") };
    assert_eq!(old.read(100).unwrap().bytes, b"old");
    assert_eq!(names(temp.path()), ["7.json.lsd-old"]);
}

fn unexpected_versions_stay() {
    let (temp, dir) = project();
    let path = temp.path().join("7.json");
    fs::write(&path, "one").unwrap();
    let expected = print(&dir, "7.json");
    let kind = |result: Result<_, labelsync::project::files::FileError>| result.map(|_| ()).unwrap_err().kind;
    assert_eq!(kind(write_new(&dir, "7.json", b"new")), FileErrorKind::NotAsExpected);
    write_in_place(&path, b"two");
    assert_eq!(kind(write_over(&dir, "7.json", &expected, b"new")), FileErrorKind::NotAsExpected);
    let expected = print(&dir, "7.json");
    let changed_meanwhile = dir.replace("7.json", Expected::Is(&expected), |out| {
        write_in_place(&path, b"333");
        out.write_all(b"new")
    });
    assert_eq!(kind(changed_meanwhile), FileErrorKind::NotAsExpected);
    assert_eq!(fs::read(&path).unwrap(), b"333");
    let expected = print(&dir, "7.json");
    let made_a_link = dir.replace("7.json", Expected::Is(&expected), |out| {
        fs::remove_file(&path)?;
        symlink("/etc/passwd", &path)?;
        out.write_all(b"new")
    });
    assert_eq!(kind(made_a_link), FileErrorKind::NotAFile);
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(write_over(&dir, "7.json", &expected, b"new")), FileErrorKind::NotAsExpected);
    let appeared_meanwhile = dir.replace("7.json", Expected::Absent { like: None }, |out| {
        fs::write(&path, "Label Studio's")?;
        out.write_all(b"new")
    });
    assert_eq!(kind(appeared_meanwhile), FileErrorKind::NotAsExpected);
    assert_eq!(fs::read(&path).unwrap(), b"Label Studio's");
    assert_eq!(names(temp.path()), ["7.json"]);
}

fn failing_writers_leave_nothing() {
    let (temp, dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    fs::write(temp.path().join("tasks.json.lsd-tmp"), "from a crash").unwrap();
    let before = print(&dir, "tasks.json");
    for name in ["tasks.json", "new.json"] {
        let expected = if name == "tasks.json" { Expected::Is(&before) } else { Expected::Absent { like: None } };
        let failed = dir.replace(name, expected, |out| {
            out.write_all(&[b'x'; 1 << 20])?;
            Err(io::Error::other("the spool is damaged"))
        });
        let error = failed.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "io_error");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the spool is damaged");
    }
    assert_eq!(print(&dir, "tasks.json"), before);
    assert_eq!(names(temp.path()), ["tasks.json"]);
}

fn displaced_versions_are_bounded() {
    let (temp, dir) = project();
    fs::write(temp.path().join("7.json"), "0").unwrap();
    let mut kept = Vec::new();
    for n in 1..=9 {
        let replaced = write_over(&dir, "7.json", &print(&dir, "7.json"), n.to_string().as_bytes()).unwrap();
        kept.push(replaced.displaced.unwrap());
    }
    let full = write_over(&dir, "7.json", &print(&dir, "7.json"), b"10").map(|_| ()).unwrap_err();
    assert_eq!(full.kind, FileErrorKind::TooManyEntries);
    assert_eq!(fs::read(temp.path().join("7.json")).unwrap(), b"9");
    for (n, old) in kept.into_iter().enumerate() {
        assert_eq!(old.read(100).unwrap().bytes, n.to_string().as_bytes());
        old.discard().unwrap();
    }
    assert_eq!(names(temp.path()), ["7.json"]);
}

fn links_do_the_same() {
    let (temp, _dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat2:error=EINVAL"];
    let said = child::output(child::command(&wrapper, "replace_and_undo", temp.path()));
    assert_eq!(said[0].split_whitespace().take(2).collect::<Vec<_>>(), ["error", "not_as_expected"]);
    assert_eq!(said[1], r#"now new ["tasks.json", "tasks.json.lsd-old"]"#);
    assert_eq!(said[2], r#"now old ["tasks.json", "tasks.json.lsd-old"]"#);
    assert_eq!(said[3], r#"names ["tasks.json"]"#);
    fs::remove_file(temp.path().join("tasks.json")).unwrap();
    let said = child::output(child::command(&wrapper, "create_twice", temp.path()));
    assert_eq!(said[0], "created");
    assert!(said[2].starts_with("error not_as_expected"), "{said:?}");
    assert_eq!(said[3], r#"names ["tasks.json"]"#);
}

fn without_both_it_is_refused() {
    let (temp, dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let before = print(&dir, "tasks.json");
    let faults = ["-e", "inject=renameat2:error=EINVAL", "-e", "inject=linkat:error=EPERM"];
    let wrapper = [&["strace", "-f", "-qq", "-o", "/dev/null"], &faults[..]].concat();
    let said = child::output(child::command(&wrapper, "replace_once", temp.path()));
    assert!(said[0].starts_with("error unsupported_file_system remedy=put the project on"), "{said:?}");
    assert_eq!(print(&dir, "tasks.json"), before);
    assert_eq!(names(temp.path()), ["tasks.json"]);
}
