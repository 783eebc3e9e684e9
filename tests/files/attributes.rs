//! Two users on one project directory: Label Studio's and the daemon's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use labelsync::project::files::Dir;
use libtest_mimic::Trial;
use rustix::fs::XattrFlags;
use tempfile::TempDir;

use super::child;
use super::support::{names, print, test_where, unless_root, write_over};

const LABEL_STUDIO: u32 = 12_345;
const GROUP: u32 = 12_346;
const DAEMON: u32 = 23_456;

pub fn trials() -> Vec<Trial> {
    vec![
        test_where("l89_a_replaced_file_keeps_owner_group_mode_and_acl", unless_root(), attributes_are_kept),
        test_where("l89_label_studio_can_go_on_writing_what_was_replaced", unless_root(), both_users_write),
        test_where("l89_a_directory_s_default_acl_adds_nothing", unless_root(), default_acls_add_nothing),
        test_where("l89_a_foreign_file_is_refused_unchanged_without_rights", unless_root(), foreign_files_are_refused),
        test_where("l89_new_files_are_made_like_tasks_json", unless_root(), new_files_are_made_alike),
        test_where("l89_new_files_of_the_same_group_are_writable_for_it", unless_root(), the_group_may_write),
    ]
}

/// A POSIX ACL as the kernel stores it: version 2, then (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Owner rw, user 777 r, group r, mask r, others nothing.
fn named_user_acl() -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    acl(&[(1, 6, NO_ID), (2, 4, 777), (4, 4, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)])
}

fn acl_of(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes[..]).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// A project directory of Label Studio's that everybody may write, and in it `tasks.json`.
fn project(mode: u32) -> (TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
    chown(temp.path(), Some(LABEL_STUDIO), Some(GROUP)).unwrap();
    let tasks = temp.path().join("tasks.json");
    fs::write(&tasks, "{}").unwrap();
    chown(&tasks, Some(LABEL_STUDIO), Some(GROUP)).unwrap();
    fs::set_permissions(&tasks, fs::Permissions::from_mode(mode)).unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

/// (uid, gid, permission bits, ACL)
fn attributes_of(path: &Path) -> (u32, u32, u32, Option<Vec<u8>>) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777, acl_of(path))
}

/// A copy of this binary that every user may run, for one case as one user.
fn as_user(uid: u32, gid: u32, case: &str, dir: &Path) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = place.path().join("files-test");
    // Not by this process: a program that another test is just starting would hold the copy open for writing, and it could
    // not be run.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&binary).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command: Command = child::command_of(&binary, &[], case, dir);
    command.uid(uid).gid(gid);
    child::output(command)
}

fn attributes_are_kept() {
    for (mode, acl) in [(0o640, None), (0o600, None), (0o664, None), (0o6750, None), (0o640, Some(named_user_acl()))] {
        let (temp, dir) = project(mode);
        let tasks = temp.path().join("tasks.json");
        if let Some(acl) = &acl {
            rustix::fs::setxattr(&tasks, "system.posix_acl_access", acl, XattrFlags::empty()).unwrap();
        }
        let before = attributes_of(&tasks);
        assert_eq!((before.0, before.1, before.3.is_some()), (LABEL_STUDIO, GROUP, acl.is_some()));
        let old = write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"{\"1\":{}}").unwrap();
        assert_eq!(attributes_of(&tasks), before);
        assert!(old.displaced.as_ref().unwrap().as_expected());
        old.displaced.unwrap().discard().unwrap();
    }
}

fn both_users_write() {
    let (temp, dir) = project(0o600);
    let tasks = temp.path().join("tasks.json");
    for round in 0..3 {
        let text = format!("{{\"round\":{round}}}");
        let replaced = write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), text.as_bytes()).unwrap();
        replaced.displaced.unwrap().discard().unwrap();
        as_user(LABEL_STUDIO, GROUP, "rewrite_in_place", temp.path());
        assert_eq!(fs::read_to_string(&tasks).unwrap(), "{\"by\":\"label studio\"}");
    }
}

fn default_acls_add_nothing() {
    let (temp, dir) = project(0o640);
    rustix::fs::setxattr(temp.path(), "system.posix_acl_default", &named_user_acl(), XattrFlags::empty()).unwrap();
    let tasks = temp.path().join("tasks.json");
    let before = attributes_of(&tasks);
    assert!(before.3.is_none());
    write_over(&dir, "tasks.json", &print(&dir, "tasks.json"), b"{}").unwrap().displaced.unwrap().discard().unwrap();
    assert_eq!(attributes_of(&tasks), before, "user 777 must not gain access");
}

fn foreign_files_are_refused() {
    for mode in [0o666, 0o640] {
        let (temp, dir) = project(mode);
        let (before, attributes) = (print(&dir, "tasks.json"), attributes_of(&temp.path().join("tasks.json")));
        let said = as_user(DAEMON, DAEMON, "replace_once", temp.path());
        assert!(said[0].starts_with("error cannot_keep_owner"), "{said:?}");
        assert!(said[0].contains("uid 12345") && said[0].contains("CAP_CHOWN"), "the remedy is missing: {said:?}");
        assert_eq!(print(&dir, "tasks.json"), before);
        assert_eq!(attributes_of(&temp.path().join("tasks.json")), attributes);
        assert_eq!(names(temp.path()), ["tasks.json"]);
    }
}

fn new_files_are_made_alike() {
    let (temp, dir) = project(0o640);
    let tasks = temp.path().join("tasks.json");
    rustix::fs::setxattr(&tasks, "system.posix_acl_access", &named_user_acl(), XattrFlags::empty()).unwrap();
    let like = dir.attributes("tasks.json").unwrap().unwrap();
    let expected = labelsync::project::files::Expected::Absent { like: Some(&like) };
    let _created = dir.replace("1.json", expected, |out| out.write_all(b"{}")).unwrap();
    assert_eq!(attributes_of(&temp.path().join("1.json")), attributes_of(&tasks));
    let _created = super::support::write_new(&dir, "marker", b"{}").unwrap();
    let (uid, gid, ..) = attributes_of(&temp.path().join("marker"));
    assert_eq!((uid, gid), (LABEL_STUDIO, GROUP), "without a file to be like: the directory's owner");
    dir.sub("completions", true).unwrap();
    let made = fs::metadata(temp.path().join("completions")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (LABEL_STUDIO, GROUP, 0o777));
}

fn the_group_may_write() {
    let (temp, dir) = project(0o640);
    assert_eq!(as_user(DAEMON, GROUP, "create_like_tasks", temp.path()), ["created"]);
    let (uid, gid, mode, _) = attributes_of(&temp.path().join("1.json"));
    assert_eq!((uid, gid, mode), (DAEMON, GROUP, 0o660));
    fs::remove_file(temp.path().join("1.json")).unwrap();
    fs::set_permissions(temp.path().join("tasks.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = as_user(DAEMON, DAEMON, "create_like_tasks", temp.path());
    assert!(said[0].starts_with("error cannot_keep_owner"), "Label Studio could not write it: {said:?}");
    assert_eq!(dir.fingerprint("1.json").unwrap(), None);
}
