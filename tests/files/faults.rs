//! Disks that are full, read-only or broken.

use std::fs;
use std::path::Path;
use std::process::Command;

use labelsync::project::files::Dir;
use libtest_mimic::Trial;
use tempfile::TempDir;

use super::child;
use super::support::{names, print, project, test, test_where, unless_root, unless_strace, write_new, write_over};

pub fn trials() -> Vec<Trial> {
    vec![
        test_where("l37_a_failed_fsync_of_the_file_is_never_tried_again_on_it", unless_strace(), failed_fsync_of_file),
        test_where("l37_a_failed_fsync_of_the_directory_takes_it_back", unless_strace(), failed_fsync_of_directory),
        test_where(
            "l36_l40_file_then_name_then_directory_are_durable_before_the_old_goes",
            unless_strace(),
            the_order_is_right,
        ),
        test_where("l38_a_full_disk_leaves_the_old_file_and_heals", unless_tmpfs(), a_full_disk_heals),
        test_where("l38_no_inodes_left_is_disk_full", unless_tmpfs(), no_inodes_is_disk_full),
        test_where("l38_a_read_only_file_system_is_named_and_heals", unless_tmpfs(), read_only_heals),
        test("l38_no_descriptors_left_is_named_and_heals", no_descriptors_heals),
    ]
}

/// A small file system of its own; unmounted when dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(temp.path());
        mount.output().ok()?.status.success().then_some(Self(temp))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn unless_tmpfs() -> Option<String> {
    unless_root().or_else(|| Tmpfs::mount("size=64k").is_none().then(|| "needs to mount a tmpfs".to_owned()))
}

/// What strace saw while a case ran with faults.
fn traced(case: &str, dir: &Path, faults: &[&str]) -> (Vec<String>, Vec<String>) {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let log = trace.path().to_str().unwrap();
    let filter = "trace=openat2,fsync,renameat2,unlinkat";
    let wrapper = [&["strace", "-f", "-y", "-qq", "-o", log, "-e", filter], faults].concat();
    let said = child::output(child::command(&wrapper, case, dir));
    let lines = fs::read_to_string(trace.path()).unwrap();
    (said, lines.lines().map(str::to_owned).collect())
}

fn positions(trace: &[String], words: &[&str]) -> Vec<usize> {
    let fits = |line: &str| words.iter().all(|word| line.contains(word));
    trace.iter().enumerate().filter(|(_, line)| fits(line)).map(|(n, _)| n).collect()
}

fn failed_fsync_of_file() {
    let (temp, _dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let (said, trace) = traced("replace_twice", temp.path(), &["-e", "inject=fsync:error=EIO:when=1"]);
    assert!(said[0].starts_with("error io_error"), "the failure must be reported: {said:?}");
    assert_eq!(said[1..3], ["now old", r#"names ["tasks.json"]"#]);
    assert_eq!(said[3..], ["replaced as_expected=true old=old", "now new", r#"names ["tasks.json"]"#]);
    let failed = positions(&trace, &["fsync", "EIO"])[0];
    let next_fsync = positions(&trace, &["fsync", "lsd-tmp"])[1];
    let new_file = positions(&trace, &["openat2", "lsd-tmp", "O_EXCL"])[1];
    assert!(failed < new_file && new_file < next_fsync, "the content must go to a new file: {trace:#?}");
}

fn failed_fsync_of_directory() {
    for case in ["replace_twice", "create_twice"] {
        let (temp, _dir) = project();
        if case == "replace_twice" {
            fs::write(temp.path().join("tasks.json"), "old").unwrap();
        }
        let (said, _trace) = traced(case, temp.path(), &["-e", "inject=fsync:error=EIO:when=2"]);
        assert!(said[0].starts_with("error io_error"), "the failure must be reported: {said:?}");
        if case == "replace_twice" {
            assert_eq!(said[1..3], ["now old", r#"names ["tasks.json"]"#]);
            assert_eq!(said[3..], ["replaced as_expected=true old=old", "now new", r#"names ["tasks.json"]"#]);
        } else {
            assert_eq!(said[1..], ["names []", "created", r#"names ["tasks.json"]"#]);
        }
    }
}

fn the_order_is_right() {
    let (temp, _dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let (_said, trace) = traced("replace_once", temp.path(), &[]);
    let file = positions(&trace, &["fsync", "lsd-tmp"])[0];
    let exchange = positions(&trace, &["renameat2", "RENAME_EXCHANGE"])[0];
    let directory = *positions(&trace, &["fsync"]).last().unwrap();
    let unlink = positions(&trace, &["unlinkat"])[0];
    assert!(file < exchange && exchange < directory && directory < unlink, "{trace:#?}");
    assert!(trace[directory].contains(&format!("<{}>", temp.path().display())), "{trace:#?}");
}

fn a_full_disk_heals() {
    let tmpfs = Tmpfs::mount("size=256k").unwrap();
    let dir = Dir::open(tmpfs.path()).unwrap();
    fs::write(tmpfs.path().join("tasks.json"), "old").unwrap();
    let before = print(&dir, "tasks.json");
    fs::write(tmpfs.path().join("ballast"), vec![b'x'; 128 << 10]).unwrap();
    for _ in 0..3 {
        let failed = write_over(&dir, "tasks.json", &before, &vec![b'n'; 200 << 10]).map(|_| ()).unwrap_err();
        assert_eq!(failed.code(), "disk_full");
        assert!(write_new(&dir, "7.json", &vec![b'n'; 200 << 10]).is_err_and(|e| e.code() == "disk_full"));
        assert_eq!(names(tmpfs.path()), ["ballast", "tasks.json"]);
        assert_eq!(print(&dir, "tasks.json"), before);
    }
    fs::remove_file(tmpfs.path().join("ballast")).unwrap();
    let replaced = write_over(&dir, "tasks.json", &before, &vec![b'n'; 200 << 10]).unwrap();
    replaced.displaced.unwrap().discard().unwrap();
}

fn no_inodes_is_disk_full() {
    let tmpfs = Tmpfs::mount("size=1m,nr_inodes=3").unwrap();
    let dir = Dir::open(tmpfs.path()).unwrap();
    fs::write(tmpfs.path().join("tasks.json"), "old").unwrap();
    fs::write(tmpfs.path().join("ballast"), "").unwrap();
    let before = print(&dir, "tasks.json");
    let failed = write_over(&dir, "tasks.json", &before, b"new").map(|_| ()).unwrap_err();
    assert_eq!(failed.code(), "disk_full");
    assert_eq!(print(&dir, "tasks.json"), before);
    fs::remove_file(tmpfs.path().join("ballast")).unwrap();
    write_over(&dir, "tasks.json", &before, b"new").unwrap().displaced.unwrap().discard().unwrap();
}

fn read_only_heals() {
    let tmpfs = Tmpfs::mount("size=256k").unwrap();
    let dir = Dir::open(tmpfs.path()).unwrap();
    fs::write(tmpfs.path().join("tasks.json"), "old").unwrap();
    let before = print(&dir, "tasks.json");
    tmpfs.remount("ro");
    let failed = write_over(&dir, "tasks.json", &before, b"new").map(|_| ()).unwrap_err();
    assert_eq!(failed.code(), "read_only");
    assert!(failed.remedy().contains("ReadWritePaths"));
    tmpfs.remount("rw");
    write_over(&dir, "tasks.json", &before, b"new").unwrap().displaced.unwrap().discard().unwrap();
}

fn no_descriptors_heals() {
    let (temp, _dir) = project();
    fs::write(temp.path().join("tasks.json"), "old").unwrap();
    let said = child::output(child::command(&["env"], "replace_without_descriptors", temp.path()));
    let (last, before) = said.split_last().unwrap();
    assert_eq!(last, "replaced as_expected=true old=old");
    assert!(before.len() >= 2, "no step failed: {said:?}");
    for line in before {
        assert!(line.starts_with("error too_many_files") || line == "now old", "{said:?}");
    }
    assert_eq!(names(temp.path()), ["tasks.json"]);
}
