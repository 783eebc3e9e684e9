//! Hangs, kills, stops, reloads, limits: what systemd does with labelsyncd, and that nothing is lost by it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::boxes::SystemBox;
use crate::support::rig::{PATIENCE, until};

const SOON: Duration = Duration::from_secs(20);

/// Quick, so that the tests are.
const QUICK: &str = "WatchdogSec=2s\nRestartSec=100ms";

/// strace on the running daemon, inside the box.
pub struct Tracing<'a> {
    inside: &'a SystemBox,
    child: Child,
}

impl<'a> Tracing<'a> {
    pub fn start(inside: &'a SystemBox, words: &[&str]) -> Self {
        let pid = inside.show("MainPID");
        let mut all =
            vec!["sh", "-c", "echo $$ >/run/strace.pid; exec strace -f -qq -o /run/trace \"$@\"", "-", "-p", &pid];
        all.extend(words);
        let mut command: Command = inside.command(&all);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace");
        until("strace is attached", PATIENCE, || {
            inside
                .run(&format!("grep -h TracerPid /proc/{pid}/task/*/status | grep -v '\t0$'"))
                .out
                .lines()
                .next()
                .map(drop)
        });
        Self { inside, child }
    }
}

impl Drop for Tracing<'_> {
    fn drop(&mut self) {
        self.inside.run("kill -KILL $(cat /run/strace.pid)");
        self.child.wait().ok();
    }
}

pub fn l82_each_loop_that_hangs_is_started_again(inside: SystemBox) {
    inside.drop_in("quick", QUICK);
    inside.put("a.png");
    inside.start();
    inside.until_tasks(1);
    inside.until_show("NRestarts", SOON, |n| n == "0");

    // The process as a whole.
    inside.ok("systemctl kill --kill-whom=main -s STOP labelsyncd");
    inside.until_show("NRestarts", SOON, |n| n == "1");
    inside.until_show("ActiveState", SOON, |state| state == "active");
    assert_eq!(inside.journal("-u labelsyncd LABELSYNC_ERROR=stuck").len(), 0);

    // The source: its write of tasks.json does not end.
    let hang = |calls: &str| format!("inject={calls}:delay_enter=60000000");
    let tracing =
        Tracing::start(&inside, &["-P", "/srv/annotations/cats", "-e", "trace=renameat2", "-e", &hang("renameat2")]);
    inside.put("b.png");
    restarted(&inside, tracing, "2", Some("the source of cats"));
    inside.until_tasks(2);

    // The target: its read of a completion does not end.
    let completions = "/srv/annotations/cats/completions";
    let tracing = Tracing::start(&inside, &["-P", completions, "-e", "trace=openat2", "-e", &hang("openat2")]);
    let bytes = inside.label(0, "cat");
    restarted(&inside, tracing, "3", Some("the target of cats"));
    inside.until_pushed(0, &bytes);

    // The control socket: it does not take a connection.
    let tracing = Tracing::start(&inside, &["-e", "trace=accept4", "-e", &hang("accept4")]);
    let asking = inside.command(&["lsctl", "version"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    // With few processors the thread that hangs may be the one that would have said so.
    restarted(&inside, tracing, "4", None);
    asking.expect("lsctl").wait().expect("ended");
    inside.ok("lsctl version");
    assert_eq!(inside.status()["target"]["in_step"], 1);
    inside.until_tasks(2);
}

fn restarted(inside: &SystemBox, tracing: Tracing, restarts: &str, which: Option<&str>) {
    // Who is held by strace cannot die.
    inside.until_show("Result", SOON, |result| result == "watchdog");
    drop(tracing);
    inside.until_show("NRestarts", SOON, |n| n == restarts);
    inside.until_show("ActiveState", SOON, |state| state == "active");
    let Some(which) = which else { return };
    let stuck = inside.journal("-u labelsyncd LABELSYNC_ERROR=stuck");
    let last = stuck.last().and_then(|entry| entry["MESSAGE"].as_str()).unwrap_or_default();
    assert!(last.contains(which), "{which}: {stuck:#?}");
}

pub fn l82_a_store_that_does_not_answer_is_no_hang(inside: SystemBox) {
    inside.drop_in("quick", QUICK);
    inside.start();
    inside.until_status_is("ok");
    // A directory that does not answer.
    let tracing = Tracing::start(
        &inside,
        &["-P", "/srv/in", "-e", "trace=getdents64", "-e", "inject=getdents64:delay_enter=7000000"],
    );
    inside.put("a.png");
    // More than twice what the watchdog grants.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(inside.show("NRestarts"), "0", "{}", inside.log());
    inside.ok("lsctl status");
    inside.until_tasks(1);
    drop(tracing);

    // A server that takes connections and says nothing.
    let silent = "import socket,time\ns=socket.create_server((\"127.0.0.1\",9009))\nwhile 1: kept=s.accept()[0]; globals().setdefault(\"all\",[]).append(kept)";
    let mut server = inside.command(&["python3", "-c", silent]).stdin(Stdio::null()).spawn().expect("python3");
    inside.ok(
        "sed -i 's#^type = \"local\"#type = \"s3\"#; s#^path = \"/srv/\\(in\\|out\\)\"#bucket = \"the-\\1\"\\nendpoint = \"http://127.0.0.1:9009\"\\nallow_http = true#' \
         /etc/labelsyncd/conf.d/cats.toml",
    );
    inside.drop_in("keys", "Environment=AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_EC2_METADATA_DISABLED=true");
    inside.ok("labelsyncd --check && systemctl restart labelsyncd");
    std::thread::sleep(Duration::from_secs(7));
    let (restarts, said) = (inside.show("NRestarts"), inside.log());
    server.kill().expect("killed");
    server.wait().expect("ended");
    assert_eq!(restarts, "0", "{said}");
    inside.ok("lsctl status");
}

pub fn l65_no_request_is_lost_over_crashes(inside: SystemBox) {
    inside.put("a.png");
    inside.ok("systemctl start labelsyncd.socket");
    assert_eq!(inside.show("ActiveState"), "inactive");
    inside.ok("lsctl version");
    assert_eq!(inside.show("ActiveState"), "active", "the first request starts it");
    inside.until_tasks(1);
    for crash in 1..=4 {
        inside.ok("systemctl kill --kill-whom=main -s KILL labelsyncd");
        inside.ok("lsctl version");
        assert_eq!(inside.show("NRestarts"), crash.to_string());
    }
    let bytes = inside.label(0, "cat");
    inside.until_pushed(0, &bytes);

    // A crash loop ends, and can be left.
    let dir = inside.path("/etc/systemd/system/labelsyncd.service.d");
    std::fs::write(dir.join("limit.conf"), "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=100ms\n")
        .expect("written");
    inside.ok("systemctl daemon-reload; systemctl reset-failed; systemctl restart labelsyncd");
    for _ in 0..20 {
        if inside.show("ActiveState") == "failed" {
            break;
        }
        // Between two starts there is no process, which is no error here (and `kill 0` would be everything of this test).
        inside.run("systemctl kill --kill-whom=main -s KILL labelsyncd; sleep .3");
    }
    assert_eq!(inside.show("ActiveState"), "failed");
    inside.ok("systemctl reset-failed labelsyncd.service labelsyncd.socket; systemctl start labelsyncd");
    inside.ok("lsctl version");
    assert_eq!(inside.status()["target"]["in_step"], 1);
}

pub fn l83_a_stop_finishes_the_push_in_hand(inside: SystemBox) {
    inside.put("a.png");
    inside.start();
    inside.until_tasks(1);
    let first = inside.label(0, "cat");
    inside.until_pushed(0, &first);
    inside.until_in_step(1);
    // The directory that stands for the bucket takes two seconds for the last step of a write.
    let slow = "inject=renameat2,renameat,linkat:delay_enter=2000000";
    let tracing =
        Tracing::start(&inside, &["-P", "/srv/out/done", "-e", "trace=renameat2,renameat,linkat", "-e", slow]);
    let bytes = inside.label(0, "dog");
    until("the push is in hand", PATIENCE, || {
        let there = std::fs::read_dir(inside.path("/srv/out")).expect("read").count() > 0;
        let pending = inside.run("ls -A /srv/out/done /srv/out/.labelsync* 2>/dev/null | wc -l").out;
        (there && pending.trim() != "" && inside.status()["target"]["pending"] == 1).then_some(())
    });
    std::thread::sleep(Duration::from_millis(700));
    let begun = std::time::Instant::now();
    inside.ok("systemctl stop labelsyncd");
    let took = begun.elapsed();
    drop(tracing);
    assert_eq!((inside.show("Result"), inside.show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
    assert!(took < Duration::from_secs(15), "{took:?}");
    let object = std::fs::read(inside.path("/srv/out/done/0")).expect("there");
    assert_eq!(object, bytes, "the push in hand was finished: {}", inside.log());

    // With its receipt: it is not done again.
    let pushed = inside.journal("-u labelsyncd LABELSYNC_OP=pushed").len();
    inside.start();
    inside.until_in_step(1);
    assert_eq!(inside.journal("-u labelsyncd LABELSYNC_OP=pushed").len(), pushed, "{}", inside.log());
}

pub fn l84_a_reload_takes_good_settings_and_keeps_the_old_ones_over_bad(inside: SystemBox) {
    inside.put("a.png");
    inside.put("b.jpg");
    inside.start();
    inside.until_tasks(2);
    let settings = "/etc/labelsyncd/conf.d/cats.toml";
    let pid = inside.show("MainPID");
    let set = |regex: &str| inside.ok(&format!("sed -i \"s/^regex = .*/regex = '{regex}'/\" {settings}"));
    let said = || (inside.show("ActiveState"), inside.show("StatusText"));
    let done = ("active".to_owned(), "settings read again: projects: 0 started, 0 stopped, 1 changed".to_owned());
    // It is done when `systemctl reload` has ended, each time: nothing is waited for here.
    for regex in [".*png", ".*jpg", ".*png"] {
        set(regex);
        inside.ok("systemctl reload labelsyncd");
        assert_eq!(said(), done, "{regex}");
        assert!(inside.ok("lsctl show cats").contains(regex), "{regex} is in force");
    }
    inside.until_tasks(1);

    set("(");
    let refused = inside.run("systemctl reload labelsyncd");
    assert_ne!(refused.code, 0, "whoever reloads is told: {}", inside.log());
    assert_eq!(said(), ("active".to_owned(), "1 problem in the settings: the old ones stay in force".to_owned()));
    assert_eq!(inside.show("MainPID"), pid);
    let logged = inside.journal("-u labelsyncd LABELSYNC_ERROR=invalid_settings");
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0]["MESSAGE"].as_str().is_some_and(|text| text.contains("projects.cats.source.regex")));
    assert_eq!(logged[0]["LABELSYNC_ACTOR"], "uid=0");
    assert_eq!(logged[0]["LABELSYNC_OP"], "reload_refused");
    // `systemctl status` shows it too.
    let shown = inside.run("systemctl status labelsyncd --no-pager -l").out;
    assert!(shown.contains("projects.cats.source.regex"), "{shown}");
    // So does lsctl, until they are put right.
    let shown = inside.ok("lsctl status");
    assert!(shown.contains("settings: refused") && shown.contains("projects.cats.source.regex"), "{shown}");
    assert_eq!(inside.run("lsctl health").code, 1);
    inside.put("c.png");
    inside.until_tasks(2);

    // The signal does the same.
    set(".*");
    inside.ok(&format!("kill -HUP {pid}"));
    until("the signal is heard", PATIENCE, || (said() == done).then_some(()));
    inside.until_tasks(3);
    assert!(!inside.ok("lsctl status").contains("refused"));
}

pub fn l85_what_a_restart_cannot_mend_does_not_loop(inside: SystemBox) {
    let settings = inside.path("/etc/labelsyncd/conf.d/cats.toml");
    let good = std::fs::read_to_string(&settings).expect("there");
    std::fs::write(&settings, good.replace("regex", "rexeg")).expect("written");
    inside.drop_in("quick", "RestartSec=100ms");
    assert_ne!(inside.run("systemctl start labelsyncd").code, 0);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!((inside.show("ActiveState"), inside.show("ExecMainStatus")), ("failed".to_owned(), "78".to_owned()));
    assert_eq!(inside.show("NRestarts"), "0");
    let said = inside.run("journalctl -u labelsyncd -o cat --no-pager").out;
    assert!(said.contains("rexeg"), "{said}");
    std::fs::write(&settings, good).expect("written");

    // A credential that is not there: systemd itself cannot start it; that ends too.
    let dir = inside.path("/etc/systemd/system/labelsyncd.service.d");
    let text = "[Unit]\nStartLimitBurst=3\n[Service]\nLoadCredential=aws-credentials:/etc/labelsyncd/none\n";
    std::fs::write(dir.join("keys.conf"), text).expect("written");
    inside.ok("systemctl daemon-reload; systemctl reset-failed; systemctl stop labelsyncd.socket");
    assert_ne!(inside.run("systemctl start labelsyncd").code, 0);
    inside.until_show("ActiveState", SOON, |state| state == "failed");
    std::fs::remove_file(dir.join("keys.conf")).expect("removed");
    inside.ok("systemctl daemon-reload; systemctl reset-failed");
    inside.start();
}

pub fn l73_what_takes_too_much_memory_is_started_again(inside: SystemBox) {
    for number in 0..300 {
        inside.put(&format!("{number}.png"));
    }
    inside.drop_in("quick", "RestartSec=100ms\nMemoryMax=64M");
    inside.start();
    inside.until_tasks(300);
    assert_eq!(inside.show("NRestarts"), "0", "an eighth of what the unit allows is enough");
    let bytes = inside.label(7, "cat");
    inside.until_pushed(7, &bytes);
    // Far too little: the out-of-memory killer ends it, again and again, until the limit of starts.
    inside.drop_in("quick", "RestartSec=100ms\nMemoryMax=4M");
    for number in 300..600 {
        inside.put(&format!("{number}.png"));
    }
    inside.run("systemctl restart labelsyncd");
    inside.until_show("NRestarts", PATIENCE, |n| n != "0");
    inside.drop_in("quick", "RestartSec=100ms\nMemoryMax=64M");
    inside.ok("systemctl reset-failed labelsyncd.service labelsyncd.socket; systemctl restart labelsyncd");
    inside.until_tasks(600);
    assert_eq!(inside.status()["target"]["in_step"], 1);
}
