//! What an operator sees: `status`, a progress bar, the shell's help.

use std::process::Command;

use crate::support::rig::{PATIENCE, Ran, Rig, until};

pub fn status_says_what_an_operator_asks() {
    let mut rig = Rig::local(r".*\.png");
    rig.put("a.png", "a picture");
    rig.put("b.txt", "no picture");
    rig.start();
    rig.until_tasks(1);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    assert_eq!(rig.sync(), 0);
    let said = rig.ok(&["status"]);
    let version = env!("CARGO_PKG_VERSION");
    let pid = rig.pid();
    for words in [
        format!("labelsyncd {version}, pid {pid}, running since "),
        "cats: ok since ".to_owned(),
        format!("  directory  {}\n", rig.path("cats").display()),
        "  tasks      1; the next id is 1\n".to_owned(),
        format!("  source     file://{}  regex .*\\.png\n", rig.path("in").display()),
        "2 listed, 1 selected, 1 skipped: regex 1\n".to_owned(),
        format!("  target     file://{}/done\n", rig.path("out").display()),
        "1 in step, 0 pending\n".to_owned(),
        "last complete look ".to_owned(),
        "last push ".to_owned(),
    ] {
        assert!(said.contains(&words), "{words:?} is missing in\n{said}");
    }
    assert_eq!((rig.ok(&["health"]).as_str(), rig.ok(&["status", "cats"])), ("ok\n", rig.ok(&["status"])));

    // No regex: nothing is taken, and status says so, with the number.
    rig.ok(&["set-source", "--regex", ""]);
    let said = until("the reason", PATIENCE, || {
        let said = rig.ok(&["status"]);
        said.contains("no_regex").then_some(said)
    });
    assert!(said.contains("nothing is taken (2 keys skipped)") && said.contains("--regex '.*'"), "{said}");
    rig.until_tasks(0);
}

pub fn no_script() -> Option<String> {
    let has = Command::new("script").arg("--version").output().is_ok_and(|ran| ran.status.success());
    (!has).then(|| "`script` (util-linux) is not installed".to_owned())
}

pub fn sync_draws_a_bar_on_a_terminal() {
    let mut rig = Rig::local(".*");
    rig.start();
    for n in 0..500 {
        rig.put(&format!("{n:05}.png"), "a picture");
    }
    let lsctl = format!("{} sync --wait", env!("CARGO_BIN_EXE_lsctl"));
    let ran = Ran::of(
        Command::new("script")
            .args(["-qec", &lsctl, "/dev/null"])
            .env("LABELSYNC_SOCKET", rig.socket())
            .env("TERM", "xterm"),
    );
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains('\u{1b}'), "a bar is drawn over itself: {:?}", ran.out);
    assert!(ran.out.contains("source: ") || ran.out.contains("waiting for the cycle"), "{:?}", ran.out);
    assert!(ran.out.contains("cats: done: 500 tasks"), "{:?}", ran.out);
}

pub fn shell_completion_is_printed_without_a_daemon() {
    let rig = Rig::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = rig.ok(&["shell-completion", shell]);
        for verb in ["set-source", "resolve", "quarantined"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    let script = rig.path("lsctl.bash");
    crate::support::rig::write(&script, &rig.ok(&["shell-completion", "bash"]));
    let read = Ran::of(Command::new("bash").arg("-n").arg(&script));
    assert_eq!((read.code, read.err.as_str()), (0, ""), "bash can read it");
}
