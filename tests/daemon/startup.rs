//! Before anything runs: settings, arguments, other daemons, `init`.

use std::path::Path;

use crate::support::rig::{Ran, Rig, write};

const WRONG: &str = "
[projects.cats]
path = \"srv/cats\"
[projects.cats.source]
type = \"s3\"
bucket = \"in\"
regex = '('
poll_intervall = \"1s\"
poll_interval = \"1ms\"
on_removed = \"drop\"
[projects.cats.target]
type = \"azure-completions\"
bucket = \"out\"
[projects.dogs.source]
type = \"s3\"
endpoint = \"http://127.0.0.1:9000\"
";

pub fn l85_wrong_settings_are_said_all_at_once() {
    let rig = Rig::new();
    rig.settings(WRONG);
    let config = rig.config().display().to_string();
    let checked = Ran::of(&mut rig.labelsyncd(&["--config", &config, "--check"]));
    let started = Ran::of(&mut rig.labelsyncd(&["--config", &config]));
    assert_eq!((checked.code, started.code), (78, 78), "{}", started.err);
    assert_eq!(checked.err, started.err, "--check says what a start says");
    for path in [
        "projects.cats.path",
        "projects.cats.source.regex",
        "projects.cats.source.poll_intervall",
        "projects.cats.source.poll_interval",
        "projects.cats.source.on_removed",
        "projects.cats.target.type",
        "projects.dogs.path",
        "projects.dogs.source.bucket",
        "projects.dogs.source.",
    ] {
        assert!(started.err.contains(&format!("error: {path}")), "{path} is missing in\n{}", started.err);
    }
    assert!(started.err.contains("not supported yet") && started.err.contains("`poll_interval`"), "{}", started.err);
    let lines: Vec<&str> = started.err.lines().collect();
    let (last, problems) = lines.split_last().expect("lines");
    let text = problems.join("\n");
    let problems: Vec<&str> = text.split("error: ").skip(1).collect();
    for problem in &problems {
        assert!(problem.starts_with("projects."), "{problem:?}");
        assert!(problem.lines().any(|line| line.starts_with("  hint: ") && line.len() > 12), "{problem:?}");
    }
    assert_eq!(*last, format!("{} problems in the settings", problems.len()));
    assert_eq!(std::fs::read_dir(rig.path("state")).expect("there").count(), 0, "nothing was touched");
}

pub fn check_reads_and_changes_nothing() {
    let mut rig = Rig::local(".*");
    let config = rig.config().display().to_string();
    let good = Ran::of(&mut rig.labelsyncd(&["--config", &config, "--check"]));
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert!(good.out.ends_with("settings are good: projects: 1\n"), "{}", good.out);
    assert_eq!(std::fs::read_dir(rig.path("state")).expect("there").count(), 0);
    assert!(!rig.path("cats/labelsync.json").exists());

    // A value of the file that a runtime change hides is said.
    rig.start();
    rig.ok(&["set-source", "--regex", "img/.*"]);
    let hidden = Ran::of(&mut rig.labelsyncd(&["--config", &config, "--check"]));
    assert_eq!(hidden.code, 0);
    assert!(hidden.out.contains("warning: projects.cats.source.regex: "), "{}", hidden.out);

    let missing = Ran::of(&mut rig.labelsyncd(&["--config", "/nonexistent/labelsyncd.toml", "--check"]));
    assert_eq!(missing.code, 78);
    assert!(missing.err.contains("/nonexistent/labelsyncd.toml") && missing.err.contains("hint: "), "{}", missing.err);
}

pub fn wrong_arguments_are_a_usage_error() {
    let rig = Rig::new();
    for words in [&["--nonsense"][..], &["nonsense"], &["--config"], &["--check", "demo"], &["init"]] {
        let ran = Ran::of(&mut rig.labelsyncd(words));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "labelsyncd {words:?}");
        assert!(ran.err.contains("error: ") || ran.err.contains("Usage: labelsyncd"), "{}", ran.err);
    }
    for words in
        [&["nonsense"][..], &["list", "--state", "x"], &["resolve"], &["resolve", "7"], &["status", "--colour"], &[]]
    {
        let ran = rig.lsctl(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "lsctl {words:?}");
        assert!(ran.err.contains("error: ") || ran.err.contains("Usage: lsctl"), "{}", ran.err);
    }
}

pub fn without_a_daemon_lsctl_says_how_to_start_it() {
    let mut rig = Rig::local(".*");
    let nobody = |rig: &Rig| {
        for words in
            [&["status"][..], &["set-source", "--regex", "x"], &["sync", "--wait"], &["events", "-f"], &["health"]]
        {
            let ran = rig.lsctl(words);
            assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}: {}", ran.err);
            assert!(ran.err.contains(&rig.socket().display().to_string()), "{}", ran.err);
            assert!(ran.err.contains("hint: start it: `systemctl start labelsyncd`"), "{}", ran.err);
        }
    };
    nobody(&rig);
    rig.start();
    rig.kill();
    assert!(rig.socket().exists(), "a killed daemon leaves its socket");
    nobody(&rig);
    // And that socket does not keep the next one from starting.
    rig.start();
    rig.stop();
    assert!(!rig.socket().exists());
}

pub fn one_daemon_a_state_directory_and_a_project() {
    let mut first = Rig::local(".*");
    first.start();
    assert_eq!(first.sync(), 0);
    let before = first.status()["since"].clone();
    let config = first.config().display().to_string();

    // The same state directory, another socket.
    let socket = first.path("other.sock").display().to_string();
    let same_state = Ran::of(&mut first.labelsyncd(&["--config", &config, "--socket", &socket]));
    // The same project, by a daemon with a state directory of its own.
    let other = Rig::new();
    other.settings(&first.local_project("cats", ".*"));
    let other_config = other.config().display().to_string();
    let same_project = Ran::of(&mut other.labelsyncd(&["--config", &other_config]));
    for (ran, what) in [(same_state, first.path("state")), (same_project, first.path("cats"))] {
        assert_eq!(ran.code, 73, "{}", ran.err);
        assert!(ran.err.contains(&format!("{} is served by another labelsyncd", what.display())), "{}", ran.err);
        assert!(ran.err.contains("hint: stop the other labelsyncd"), "{}", ran.err);
    }
    assert_eq!(first.status()["since"], before, "the first one did not notice");
}

pub fn init_then_check_then_run() {
    let mut rig = Rig::new();
    rig.put("in/a.png", "a picture");
    rig.put("b.png", "another level");
    let root = rig.dir.path().to_owned();
    let dir = |name: &str| root.join(name).display().to_string();
    // As the documentation's line for S3 stands, `label-studio start` and all, with a directory for the bucket.
    let line = format!("init label-studio start my_project --init --source local --source-path {}", dir("in"));
    let mut words: Vec<&str> = line.split(' ').collect();
    let (etc, out) = (dir("etc"), dir("out"));
    words
        .extend(["--source-params", r#"{"prefix": "in/", "regex": ".*", "use_blob_urls": true, "data_key": "image"}"#]);
    words.extend(["--target", "local", "--target-path", &out, "--target-params", r#"{"prefix": "done"}"#]);
    write(&rig.path("image.xml"), crate::support::rig::IMAGE_CONFIG);
    words.extend(["--label-config", "image.xml", "--config-dir", &etc]);
    let made = Ran::of(&mut rig.labelsyncd(&words));
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{}", made.out);
    let config = format!("{etc}/labelsyncd.toml");
    assert!(made.out.contains(&format!("next: `labelsyncd --config {config} --check`")), "{}", made.out);

    let (socket, state) = (rig.socket().display().to_string(), dir("state"));
    let all = ["--config", &config, "--socket", &socket, "--state-dir", &state];
    let checked = Ran::of(rig.labelsyncd(&all).arg("--check"));
    assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{}", checked.out);
    assert!(checked.out.contains("settings are good: projects: 1"), "{}", checked.out);

    rig.spawn_with(&all);
    rig.until_answer();
    let tasks = crate::support::rig::until("a task", crate::support::rig::PATIENCE, || {
        let tasks = crate::support::rig::tasks_of(Path::new(&dir("my_project")));
        (tasks.len() == 1).then_some(tasks)
    });
    assert_eq!(tasks[&0]["data"]["image"], format!("/data/a.png?d={}/in", dir("in")), "as Label Studio serves files");
}
