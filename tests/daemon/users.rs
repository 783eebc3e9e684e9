//! Label Studio runs as another user and must go on writing its files.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use crate::support::rig::{Ran, Rig, completion, put_whole};

/// Label Studio's user and group: any that are not ours.
const THEIRS: (u32, u32) = (41_234, 41_235);

/// The user of a daemon that is not root.
const OURS: u32 = 41_300;

pub fn not_root() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| "only root can give files to another user".to_owned())
}

/// Why no daemon can be started in a user namespace of its own.
pub fn no_user_namespace() -> Option<String> {
    let mut may = std::process::Command::new("unshare");
    let may = may.args(["--user", "--map-root-user", "true"]).stderr(Stdio::null()).status();
    let may = may.is_ok_and(|status| status.success());
    not_root().or_else(|| (!may).then(|| "needs a user namespace of its own".to_owned()))
}

/// Promise 88: in a user namespace (`PrivateUsers=yes`) every peer but root is 65534. The socket's owner, group and mode
/// decide, and nothing else.
pub fn l88_the_peers_user_id_decides_nothing() {
    let mut rig = Rig::local(".*");
    std::fs::set_permissions(rig.dir.path(), PermissionsExt::from_mode(0o755)).expect("set");
    // The developer's target directory may be closed to others.
    let program = rig.path("lsctl");
    let copied = Ran::of(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_lsctl")).arg(&program));
    assert_eq!(copied.code, 0, "{}", copied.err);
    let ask = |rig: &Rig, group: u32, words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(words).env_clear().env("LABELSYNC_SOCKET", rig.socket()).current_dir("/").uid(THEIRS.0).gid(group);
        Ran::of(&mut command)
    };
    for wrapper in [&["env"][..], &["unshare", "--user", "--map-root-user"]] {
        rig.spawn_under(wrapper);
        rig.until_answer();
        for path in [rig.path("run"), rig.socket()] {
            chown(&path, None, Some(THEIRS.1)).expect("given");
        }
        for (words, paused) in [(["pause", "cats"], "paused"), (["resume", "cats"], "ok")] {
            let ran = ask(&rig, THEIRS.1, &words);
            assert_eq!(ran.code, 0, "{wrapper:?}: {words:?}: {}", ran.err);
            rig.until_status(paused, |status| status["state"] == paused);
        }
        let refused = ask(&rig, OURS, &["status"]);
        assert_eq!(refused.code, 3, "{wrapper:?}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains("permission denied"), "{}", refused.err);
        let who = if wrapper[0] == "env" { format!("uid={}", THEIRS.0) } else { "uid=65534".to_owned() };
        assert!(rig.ok(&["--json", "events"]).contains(&who), "only what is noted differs");
        rig.kill();
    }
}

fn give(path: &Path, mode: u32) {
    chown(path, Some(THEIRS.0), Some(THEIRS.1)).expect("given");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
}

fn give_project(rig: &Rig, dir_mode: u32, file_mode: u32) {
    let project = rig.path("cats");
    for name in ["config.xml", "config.json", "tasks.json"] {
        give(&project.join(name), file_mode);
    }
    give(&project.join("completions"), dir_mode);
    give(&project, dir_mode);
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let found = std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

pub fn l89_files_stay_label_studios() {
    let mut rig = Rig::local(".*");
    give_project(&rig, 0o2755, 0o640);
    rig.put("a.png", "a picture");
    rig.put("b.png", "a picture");
    rig.start();
    rig.until_tasks(2);
    let project = rig.path("cats");
    let theirs = (THEIRS.0, THEIRS.1, 0o640);
    assert_eq!(owner(&project.join("tasks.json")), theirs);

    // Changed by them, then again by us.
    std::fs::set_permissions(project.join("tasks.json"), PermissionsExt::from_mode(0o664)).expect("set");
    rig.put("c.png", "a picture");
    let tasks = rig.until_tasks(3);
    assert_eq!(owner(&project.join("tasks.json")), (THEIRS.0, THEIRS.1, 0o664));

    // A new file of theirs: a completion from the target, and target.json.
    let object = completion(0, &tasks[&0]["data"], "cat");
    std::fs::create_dir_all(rig.path("out/done")).expect("made");
    put_whole(&rig.path("out/done/0"), &object);
    let file = project.join("completions/0.json");
    crate::support::rig::until("the completion", crate::support::rig::PATIENCE, || file.exists().then_some(()));
    assert_eq!(owner(&file), (THEIRS.0, THEIRS.1, 0o664), "as tasks.json");
    let map = project.join("target.json");
    crate::support::rig::until("target.json", crate::support::rig::PATIENCE, || map.exists().then_some(()));
    let (uid, gid, _) = owner(&map);
    assert_eq!((uid, gid), THEIRS, "as tasks.json");

    // Replaced: a completion that changes in the target.
    give(&file, 0o600);
    put_whole(&rig.path("out/done/0"), &completion(0, &tasks[&0]["data"], "dog"));
    crate::support::rig::until("the other version", crate::support::rig::PATIENCE, || {
        std::fs::read(&file).is_ok_and(|bytes| bytes != object).then_some(())
    });
    assert_eq!(owner(&file), (THEIRS.0, THEIRS.1, 0o600), "as it was");
}

pub fn l89_a_daemon_that_cannot_keep_the_owner_refuses() {
    let rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    give_project(&rig, 0o777, 0o644);
    std::fs::set_permissions(rig.dir.path(), PermissionsExt::from_mode(0o755)).expect("set");
    for name in ["state", "out"] {
        chown(rig.path(name), Some(OURS), Some(OURS)).expect("given");
    }
    std::fs::create_dir(rig.path("run")).expect("made");
    chown(rig.path("run"), Some(OURS), Some(OURS)).expect("given");
    // The developer's target directory may be closed to others. Not copied by this process: another test's program,
    // started meanwhile, would hold the copy open for writing, and it could not be run.
    let program = rig.path("labelsyncd");
    let copied = Ran::of(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_labelsyncd")).arg(&program));
    assert_eq!(copied.code, 0, "{}", copied.err);
    let mut command = std::process::Command::new(&program);
    command.arg("--config").arg(rig.config()).current_dir("/").env_clear().uid(OURS).gid(OURS).stdin(Stdio::null());
    let log = std::fs::File::create(rig.path("log")).expect("made");
    let mut child = command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        crate::support::rig::until("an answer", crate::support::rig::PATIENCE, || {
            (rig.lsctl(&["status"]).code == 0).then_some(())
        });
        rig.until_status("the reason", |status| status["source"]["poll"]["error"]["code"] == "cannot_keep_owner")
    }));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let reason = refused.expect("the reason")["source"]["poll"]["error"].clone();
    assert!(reason["message"].as_str().is_some_and(|text| text.contains("tasks.json")), "{reason}");
    assert!(
        reason["hint"].as_str().is_some_and(|hint| hint.contains("run the daemon as root, as uid 41234")),
        "{reason}"
    );
    assert_eq!(owner(&rig.path("cats/tasks.json")), (THEIRS.0, THEIRS.1, 0o644));
    assert_eq!(rig.tasks().len(), 0, "and nothing is written");
}
