//! What an operator sees: `status`, a progress bar, the shell's help.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::changes::{from_double, page};
use crate::support::double::Double;
use crate::support::environment;
use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Ran, Rig, until};

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
    assert_eq!(rig.ok(&["health"]), "ok\n");
    let (one, all) = (rig.ok(&["status", "cats"]), rig.ok(&["status"]));
    assert_eq!(timeless(&one), timeless(&all), "a project's name leaves no other out");

    // No regex: nothing is taken, and status says so, with the number.
    rig.ok(&["set-source", "--regex", ""]);
    let said = until("the reason", PATIENCE, || {
        let said = rig.ok(&["status"]);
        said.contains("no_regex").then_some(said)
    });
    assert!(said.contains("nothing is taken (2 keys skipped)") && said.contains("--regex '.*'"), "{said}");
    rig.until_tasks(0);

    // A mistyped regex or prefix looks like a bucket with nothing in it.
    for (setting, value, words) in
        [("--regex", "zzz", "none of the 2 objects"), ("--prefix", "nope", "nothing below the prefix `nope`")]
    {
        rig.ok(&["set-source", setting, value]);
        let warned = || rig.ok(&["status"]).contains(words).then_some(());
        until(words, PATIENCE, warned);
    }
    rig.ok(&["set-source", "--prefix", "", "--regex", ".*"]);
    rig.until_tasks(2);
    rig.until_status("no warning", |status| status["reasons"] == serde_json::json!([]));
}

/// Without what is another a moment later: times and ages.
fn timeless(said: &str) -> String {
    let times = regex::Regex::new(r"\d{4}-\d{2}-\d{2}T[0-9:.]+Z|\(now\)|\([^()]* ago\)|\bin \d+ \w+|\bnow\b|\d+ m?s\b");
    times.expect("a pattern").replace_all(said, "…").into_owned()
}

pub fn status_names_the_state_and_what_to_do() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let named = |rig: &Rig, name: &str, health: i32| {
        let status = rig.until_status(name, |status| status["state_name"] == name);
        let said = rig.ok(&["status"]);
        assert!(said.contains(&format!("\ncats: {name} since ")), "{said}");
        assert_eq!(rig.lsctl(&["health"]).code, health, "{name}");
        (status, said)
    };
    let (status, _) = named(&rig, "ok", 0);
    assert_eq!(status["reasons"], serde_json::json!([]));
    rig.ok(&["pause"]);
    let (_, said) = named(&rig, "paused", 1);
    assert!(
        said.contains("-> `lsctl resume cats` goes on") && said.contains("; no next one until it is resumed"),
        "{said}"
    );
    rig.ok(&["resume"]);

    std::fs::rename(rig.path("in"), rig.path("away")).expect("moved");
    let (status, said) = named(&rig, "bucket_missing", 1);
    assert_eq!(status["state"], "degraded");
    assert_eq!(said.matches("-> check that the directory is there").count(), 1, "each reason once: {said}");
    std::fs::create_dir(rig.path("in")).expect("made");
    let (_, said) = named(&rig, "held", 7);
    assert!(said.contains("  held source_empty: ") && said.contains("`lsctl accept cats "), "{said}");
    std::fs::remove_dir(rig.path("in")).expect("removed");
    std::fs::rename(rig.path("away"), rig.path("in")).expect("moved back");
    named(&rig, "ok", 0);

    // Both directions fail for one cause: said once.
    std::fs::rename(rig.path("cats"), rig.path("moved")).expect("moved");
    rig.until_status("failed", |status| status["state"] == "failed");
    let (status, said) = named(&rig, "directory_missing", 7);
    assert_eq!((&status["state"], said.matches("\n  directory_missing: ").count()), (&"failed".into(), 1), "{said}");
    std::fs::rename(rig.path("moved"), rig.path("cats")).expect("moved back");
    let (back, _) = named(&rig, "ok", 0);
    assert!(back["since"].as_i64() > status["since"].as_i64(), "{back:#}");
}

pub fn no_jq() -> Option<String> {
    let has = Command::new("jq").arg("--version").output().is_ok_and(|ran| ran.status.success());
    (!has).then(|| "`jq` is not installed".to_owned())
}

pub fn l71_jq_finds_hostile_keys_in_the_json_log() {
    let mut rig = Rig::local(".*");
    let settings = std::fs::read_to_string(rig.config()).expect("written");
    let settings = settings.replace("log_format = \"text\"", "log_format = \"json\"");
    std::fs::write(rig.config(), settings).expect("written");
    let hostile = "a\"}\u{1b}[2J\u{202e}\\n{\"level\":\"error\".png";
    rig.put(hostile, "a picture");
    rig.start();
    rig.until_tasks(1);
    std::fs::rename(rig.path("in"), rig.path("away")).expect("moved");
    rig.until_code("bucket_missing");
    let jq = |filter: &str| {
        let mut command = Command::new("jq");
        let ran = Ran::of(command.args(["-c", "--arg", "key", hostile, filter]).arg(rig.path("log")));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{filter}: {}", rig.log());
        ran.out
    };
    assert_eq!(jq("select(.key == $key) | [.level, .project, .kind, .task]"), "[\"info\",\"cats\",\"task_added\",0]\n");
    assert_eq!(jq("select(.error == \"bucket_missing\") | [.level, .project]"), "[\"warning\",\"cats\"]\n");
    assert_eq!(jq("select(.kind == \"started\") | .level"), "\"notice\"\n");
    let times =
        jq("[.ts, .msg] | select((.[0] | sub(\"\\\\.[0-9]+\"; \"\") | fromdate > 0) and (.[1] | length > 0) | not)");
    assert_eq!(times, "", "each line has a time and a text");
    let lines = jq(".level").lines().count();
    assert_eq!(rig.log().lines().count(), lines, "one object a line");
    assert!(!rig.log().contains(['\u{1b}', '\u{202e}']), "nothing in it moves a cursor");
}

pub fn no_script() -> Option<String> {
    let has = Command::new("script").arg("--version").output().is_ok_and(|ran| ran.status.success());
    (!has).then(|| "`script` (util-linux) is not installed".to_owned())
}

/// The bucket answers when the bar was seen: a cycle may be over before anybody can look.
pub fn sync_draws_a_bar_on_a_terminal() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let silent = Arc::new(AtomicBool::new(false));
    let asked = silent.clone();
    let double = runtime.block_on(Double::start(move |_, _| {
        until("the bar", PATIENCE, || (!asked.load(Ordering::Relaxed)).then_some(()));
        page(["a.png", "b.png"], None)
    }));
    let mut rig = Rig::new();
    rig.environment = environment();
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&from_double(&rig, &double, ".*"));
    rig.start();
    rig.until_tasks(2);
    silent.store(true, Ordering::Relaxed);
    let lsctl = format!("{} sync --wait", env!("CARGO_BIN_EXE_lsctl"));
    let mut script = Command::new("script");
    script.args(["-qec", &lsctl, "/dev/null"]).env("LABELSYNC_SOCKET", rig.socket()).env("TERM", "xterm");
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut terminal = child.stdout.take().expect("piped");
    let mut seen = Vec::new();
    // It is drawn over itself.
    while !seen.contains(&0x1b) {
        let mut more = [0; 4_096];
        let bytes = terminal.read(&mut more).expect("read");
        assert!(bytes > 0, "it ended without a bar: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&more[..bytes]);
    }
    silent.store(false, Ordering::Relaxed);
    terminal.read_to_end(&mut seen).expect("read");
    let seen = String::from_utf8(seen).expect("UTF-8");
    assert_eq!(child.wait().expect("it ended").code(), Some(0), "{seen}");
    assert!(seen.contains("source: ") || seen.contains("waiting for the cycle"), "{seen:?}");
    assert!(seen.contains("cats: done: 2 tasks"), "{seen:?}");
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
