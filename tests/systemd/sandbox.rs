//! What the unit takes away, tried from inside it; starts and stops that never end; a state directory of another owner.

use std::time::Duration;

use crate::boxes::SystemBox;
use crate::service::Tracing;
use crate::support::rig::{PATIENCE, until, write};

const SOON: Duration = Duration::from_secs(20);

/// A command of the unit, with its user, its file systems and its system calls, before the daemon itself.
/// Prints `name result` for each thing that is tried.
const PROBE: &str = r#"
import ctypes, errno, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def said(name, work):
    try:
        work()
        print(name, "ok", flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, str(error)), flush=True)
def call(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
def reach(host, port):
    with socket.create_connection((host, port), timeout=2):
        pass
def touch(path):
    open(path, "w").close()
    os.remove(path)
said("etc", lambda: touch("/etc/x"))
said("source", lambda: touch("/srv/in/x"))
said("project", lambda: touch("/srv/annotations/cats/.x"))
said("state", lambda: touch("/var/lib/labelsyncd/.x"))
said("root", lambda: os.listdir("/root"))
said("home", lambda: os.listdir("/home/label-studio"))
said("namespaces", lambda: call(libc.unshare(0x10000000)))
said("writable_code", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close())
said("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close())
said("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close())
said("ptrace", lambda: call(libc.ptrace(0, 0, 0, 0)))
said("others", lambda: os.listdir("/proc/1"))
said("meminfo", lambda: open("/proc/meminfo").close())
said("sysctl", lambda: open("/proc/sys/fs/inotify/max_user_watches").close())
said("kill", lambda: os.kill(1, 0))
said("clock", lambda: call(libc.settimeofday(ctypes.byref((ctypes.c_long * 2)(0, 0)), None)))
said("near", lambda: reach("127.0.0.1", 9011))
said("metadata", lambda: reach("169.254.169.254", 9011))
"#;

pub fn l87_what_the_unit_takes_away_is_away(inside: SystemBox) {
    write(&inside.path("/srv/probe.py"), PROBE);
    inside.ok("ip address add 169.254.169.254/32 dev lo");
    let serve = "import socket\nservers=[socket.create_server((host,9011)) for host in (\"127.0.0.1\",\"169.254.169.254\")]\nwhile 1: [server.accept() for server in servers]";
    let mut server = inside.command(&["python3", "-c", serve]).spawn().expect("python3");
    until("the server", PATIENCE, || (inside.run("ss -ltn | grep -c 9011").out.trim() == "2").then_some(()));
    // As the guide says it for whoever has no instance roles.
    inside
        .drop_in("probe", "IPAddressDeny=any\nIPAddressAllow=127.0.0.0/8\nExecStartPre=/usr/bin/python3 /srv/probe.py");
    inside.start();
    server.kill().expect("killed");
    server.wait().expect("ended");
    let said = inside.ok("journalctl -u labelsyncd -t python3 -o cat --no-pager");
    let wanted = [
        ("etc", "EROFS"),
        ("source", "EROFS"),
        ("project", "ok"),
        ("state", "ok"),
        ("root", "EACCES"),
        ("home", "EACCES"),
        ("namespaces", "EPERM"),
        ("writable_code", "EPERM"),
        ("netlink", "EAFNOSUPPORT"),
        ("packets", "EAFNOSUPPORT"),
        ("ptrace", "EPERM"),
        ("others", "ENOENT"),
        ("meminfo", "ENOENT"),
        ("sysctl", "ENOENT"),
        ("kill", "EPERM"),
        ("clock", "EPERM"),
        ("near", "ok"),
        ("metadata", "timed out"),
    ];
    for (name, result) in wanted {
        assert!(said.lines().any(|line| line == format!("{name} {result}")), "{name} is not {result}: {said}");
    }
    // And the main job runs with all of that.
    inside.put("a.png");
    inside.until_tasks(1);
}

pub fn l82_a_start_that_never_ends_is_ended(inside: SystemBox) {
    inside.put("a.png");
    // The state directory's disk does not answer. strace as the tracer's grandchild, so that the daemon is the main process.
    let slow = "ExecStart=\nExecStart=/usr/bin/strace -D -f -qq -o /dev/null -e trace=fsync -e inject=fsync:delay_enter=60000000 /usr/bin/labelsyncd";
    inside.drop_in(
        "slow",
        &format!("TimeoutStartSec=2s\nTimeoutStopSec=1s\nRestart=no\nSystemCallFilter=\nNoNewPrivileges=no\n{slow}"),
    );
    let begun = std::time::Instant::now();
    assert_ne!(inside.run("systemctl start labelsyncd").code, 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(inside.show("Result"), "timeout", "{}", inside.log());
    std::fs::remove_file(inside.path("/etc/systemd/system/labelsyncd.service.d/slow.conf")).expect("removed");
    inside.ok("systemctl daemon-reload; systemctl reset-failed");
    inside.start();
    inside.until_tasks(1);
}

pub fn l83_a_stop_that_takes_too_long_is_ended_and_healed(inside: SystemBox) {
    inside.put("a.png");
    inside.drop_in("quick", "TimeoutStopSec=1s");
    inside.start();
    inside.until_tasks(1);
    // The push's last step takes a minute.
    let slow = "inject=renameat2,renameat,linkat:delay_enter=60000000";
    let tracing =
        Tracing::start(&inside, &["-P", "/srv/out/done", "-e", "trace=renameat2,renameat,linkat", "-e", slow]);
    let bytes = inside.label(0, "cat");
    until("the push is in hand", PATIENCE, || (inside.status()["target"]["pending"] == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    let stopping = inside.command(&["systemctl", "stop", "labelsyncd"]).spawn().expect("systemctl");
    std::thread::sleep(Duration::from_secs(3));
    // Who is held by strace cannot die.
    drop(tracing);
    assert!(stopping.wait_with_output().expect("ended").status.success());
    assert_eq!(inside.show("Result"), "timeout", "{}", inside.log());

    inside.ok("systemctl reset-failed labelsyncd.service");
    inside.start();
    inside.until_pushed(0, &bytes);
    inside.until_in_step(1);
    assert_eq!(inside.status()["conflicts"], 0);
}

pub fn l85_a_state_directory_of_another_owner_is_taken_back(inside: SystemBox) {
    inside.put("a.png");
    inside.start();
    inside.until_tasks(1);
    inside.ok("systemctl stop labelsyncd labelsyncd.socket && chown -R 61999:61999 /var/lib/labelsyncd");
    inside.start();
    inside.put("b.png");
    inside.until_tasks(2);
    assert_eq!(inside.ok("stat -c '%U %a' /var/lib/labelsyncd").trim(), "label-studio 700");
}
