//! The socket as a file: its mode at every instant, what is replaced, what is left alone.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use labelsync::control::server::{Listener, listen};
use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecursiveMode, Watcher};

use crate::daemon::{Daemon, dead_socket, run};

/// Set in the child that makes a socket under a umask of its own; a umask is the whole process's.
const CHILD: &str = "LABELSYNC_TEST_SOCKET";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn l60_the_socket_is_never_wider_than_its_final_mode() {
    if let Some(path) = std::env::var_os(CHILD) {
        rustix::process::umask(rustix::fs::Mode::empty());
        let _listener = listen(Path::new(&path), None).unwrap();
        // Without `serve` the file stays, for the parent to look at.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (round, name) in ["new", "dead"].into_iter().enumerate() {
        let socket = dir.path().join("run/control.sock");
        let (sender, seen) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event| sender.send(event).unwrap()).unwrap();
        if round > 0 {
            watcher.watch(socket.parent().unwrap(), RecursiveMode::NonRecursive).unwrap();
        }
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "socket::l60_the_socket_is_never_wider_than_its_final_mode"])
            .env(CHILD, &socket)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stdout));
        assert_eq!(mode(&socket), 0o660, "{name}");
        assert_eq!(mode(socket.parent().unwrap()), 0o750, "{name}");
        if round > 0 {
            let kinds = kinds_seen(&seen, &socket);
            let renamed = |kind: &EventKind| matches!(kind, EventKind::Modify(ModifyKind::Name(RenameMode::To)));
            assert!(kinds.iter().any(renamed), "it is moved into its place: {kinds:?}");
            // Bound at its place it would be created there, and its mode set afterwards.
            let changed =
                |kind: &EventKind| matches!(kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_)));
            assert!(!kinds.iter().any(changed), "{kinds:?}");
        }
        drop(watcher);
        let left: Vec<PathBuf> = fs::read_dir(socket.parent().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [socket], "{name}: nothing is left over");
    }
}

/// What happened to `path` itself, in order, until nothing has happened for a while.
fn kinds_seen(seen: &mpsc::Receiver<notify::Result<notify::Event>>, path: &Path) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while let Ok(event) = seen.recv_timeout(Duration::from_millis(500)) {
        let event = event.unwrap();
        if event.paths.first().is_some_and(|first| first == path) {
            kinds.push(event.kind);
        }
    }
    kinds
}

#[test]
fn l60_others_cannot_use_the_socket_and_are_told_which_group_can() {
    let daemon = Daemon::start();
    let root = rustix::process::getuid().is_root();
    // Somebody else must be able to start `lsctl` and to see the socket.
    let bin = daemon.dir.path().join("lsctl");
    // Not by this process: a program that another test is just starting would hold the copy open for writing, and it could
    // not be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_lsctl")).arg(&bin).status().unwrap().success());
    for dir in [daemon.dir.path(), daemon.socket.parent().unwrap()] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(mode(&daemon.socket), 0o660);
    let mut command = Command::new(&bin);
    command.arg("--socket").arg(&daemon.socket).arg("status");
    if root {
        command.uid(65_534).gid(65_534).current_dir("/");
    } else {
        fs::set_permissions(&daemon.socket, Permissions::from_mode(0o000)).unwrap();
    }
    let ran = run(&mut command);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{}", ran.err);
    let denied = format!("error: permission denied: you may not use the control socket {}\n", daemon.socket.display());
    assert!(ran.err.starts_with(&denied), "{}", ran.err);
    let gid = fs::metadata(&daemon.socket).unwrap().gid();
    if gid == 0 {
        assert!(ran.err.contains("run as root; or") && !ran.err.contains("-aG root"), "{}", ran.err);
        return;
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let entry = groups.lines().find(|line| line.split(':').nth(2) == Some(&gid.to_string()));
    let group = entry.map_or(gid.to_string(), |line| line.split(':').next().unwrap().to_owned());
    assert!(ran.err.contains(&format!("it is open to group `{group}`")), "{}", ran.err);
}

#[test]
fn l64_only_a_dead_socket_is_replaced() {
    type Make = fn(&Path);
    let table: [(&str, Make, Option<&str>); 7] = [
        ("nothing", |_| (), None),
        ("a dead socket", dead_socket, None),
        ("a live socket", |path| std::mem::forget(UnixListener::bind(path).unwrap()), Some("already_running")),
        ("a regular file", |path| fs::write(path, "precious").unwrap(), Some("not_a_socket")),
        ("a directory", |path| fs::create_dir(path).unwrap(), Some("not_a_socket")),
        ("a link to a dead socket", |path| link_to_dead_socket(path), Some("not_a_socket")),
        ("a socket of another kind", |path| std::mem::forget(UnixDatagram::bind(path).unwrap()), Some("socket_failed")),
    ];
    for (name, make, code) in table {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        make(&path);
        let before = fs::symlink_metadata(&path).ok().map(|meta| (meta.ino(), meta.mode(), meta.len()));
        let listened = listen(&path, None);
        let after = fs::symlink_metadata(&path).ok().map(|meta| (meta.ino(), meta.mode(), meta.len()));
        assert_eq!(listened.as_ref().err().map(|error| error.code()), code, "{name}");
        match listened {
            Ok(_) => assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "{name}"),
            Err(error) => {
                assert_eq!(after, before, "{name} is as it was");
                assert!(error.to_string().contains(path.to_str().unwrap()) && !error.remedy().is_empty(), "{error}");
            }
        }
        assert!(!dir.path().join(".new").exists(), "{name}: nothing is left over");
    }
}

fn link_to_dead_socket(path: &Path) {
    let target = path.with_file_name("elsewhere");
    dead_socket(&target);
    symlink(target, path).unwrap();
}

#[test]
fn l64_a_daemon_that_hangs_is_a_live_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _hangs = UnixListener::bind(&path).unwrap();
    // Nobody accepts: the queue fills up, and a waiting connect would wait for ever.
    let mut queue = Vec::new();
    loop {
        let (sender, connected) = mpsc::channel();
        let to = path.clone();
        std::thread::spawn(move || sender.send(std::os::unix::net::UnixStream::connect(to)));
        match connected.recv_timeout(Duration::from_millis(300)) {
            Ok(stream) => queue.push(stream),
            Err(_) => break,
        }
        assert!(queue.len() < 10_000);
    }
    assert_eq!(listen(&path, None).err().map(|error| error.code()), Some("already_running"));
}

#[test]
fn l64_what_a_killed_daemon_left_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".new")).unwrap();
    dead_socket(&dir.path().join(".new/s"));
    listen(&dir.path().join("s"), None).unwrap();
    assert!(!dir.path().join(".new").exists());
    // What is not ours is not cleared, even there.
    fs::create_dir(dir.path().join(".new")).unwrap();
    fs::write(dir.path().join(".new/s"), "precious").unwrap();
    assert_eq!(listen(&dir.path().join("t"), None).err().map(|error| error.code()), Some("socket_failed"));
    assert_eq!(fs::read(dir.path().join(".new/s")).unwrap(), b"precious");
}

#[test]
fn a_second_daemon_leaves_the_first_alone() {
    let daemon = Daemon::start();
    assert_eq!(listen(&daemon.socket, None).err().map(|error| error.code()), Some("already_running"));
    daemon.ok(&["status"]);
}

#[test]
fn l64_a_socket_whose_file_was_removed_is_made_again() {
    let mut daemon = Daemon::start();
    let mut before = daemon.connect();
    for remove in [|path: &Path| fs::remove_file(path), |path: &Path| fs::remove_dir_all(path.parent().unwrap())] {
        remove(&daemon.socket).unwrap();
        until_there(&daemon.socket);
        daemon.ok(&["status"]);
        assert_eq!(mode(&daemon.socket), 0o660);
    }
    // Whoever was connected still is.
    before.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    before.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // What somebody else put in its place stays, and is not removed at the stop.
    fs::remove_file(&daemon.socket).unwrap();
    fs::write(&daemon.socket, "precious").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(fs::read(&daemon.socket).unwrap(), b"precious");
    fs::remove_file(&daemon.socket).unwrap();
    until_there(&daemon.socket);
    daemon.ok(&["status"]);
    daemon.stop();
    assert!(!daemon.socket.exists());
}

fn until_there(path: &Path) {
    let begun = Instant::now();
    while !fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no socket at {}", path.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_socket_is_removed_at_the_stop_only_if_it_is_ours() {
    let mut daemon = Daemon::start();
    daemon.stop();
    assert!(!daemon.socket.exists());

    // Another one stands there meanwhile.
    let mut daemon = Daemon::start();
    fs::remove_file(&daemon.socket).unwrap();
    let _other = UnixListener::bind(&daemon.socket).unwrap();
    daemon.stop();
    assert!(daemon.socket.exists());

    // systemd made it, and keeps it for the next start.
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = Listener::given(UnixListener::bind(&socket).unwrap());
    let mut daemon = Daemon::on(dir, socket, listener, &["cats"]);
    daemon.ok(&["status"]);
    daemon.stop();
    assert!(daemon.socket.exists());
}
