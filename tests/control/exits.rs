//! How `lsctl` exits, and what it says when it could not do what was asked.

use insta::assert_snapshot;
use labelsync::control::api::{Refusal, State};
use labelsync::settings::Problem;

use crate::daemon::{Daemon, dead_socket, run};

#[test]
fn health_has_exit_codes() {
    let daemon = Daemon::start();
    let table = [
        (State::Ok, 0),
        (State::Starting, 1),
        (State::Degraded, 1),
        (State::Paused, 1),
        (State::Held, 7),
        (State::Failed, 7),
    ];
    for (state, code) in table {
        *daemon.fake.state.lock().unwrap() = state;
        for verb in [&["health"][..], &["health", "--json"]] {
            let ran = daemon.lsctl(verb);
            assert_eq!(ran.code, code, "{state:?}");
            assert!(ran.out.contains(state.as_str()) && ran.err.is_empty(), "{state:?}: {}", ran.out);
        }
    }
}

#[test]
fn exit_codes_of_refusals() {
    let daemon = Daemon::start();
    let table = [
        ("failed", 1),
        ("busy", 1),
        ("some_code_of_later", 1),
        ("invalid", 2),
        ("nothing_held", 2),
        ("held", 7),
        ("not_root", 7),
        ("paused", 7),
    ];
    for (code, exit) in table {
        *daemon.fake.refuse.lock().unwrap() = Some(Refusal::new(code, "no", "do this"));
        let ran = daemon.lsctl(&["pause"]);
        assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{code}");
        assert_eq!(ran.err, "error: no\n  hint: do this\n", "{code}");
        let ran = daemon.lsctl(&["--json", "pause"]);
        let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"no\",\"hint\":\"do this\"}}}}\n");
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (exit, "", body));
    }
}

#[test]
fn every_problem_of_an_invalid_setting_is_printed() {
    let daemon = Daemon::start();
    let problem =
        |path: &str| Problem { path: path.into(), message: "is wrong\n    (\n    ^".into(), remedy: "do right".into() };
    let problems = vec![problem("projects.cats.source.regex"), problem("projects.cats.source.prefix")];
    let refusal = Refusal { problems, ..Refusal::new("invalid", "2 settings are wrong", "nothing was changed") };
    *daemon.fake.refuse.lock().unwrap() = Some(refusal);
    let ran = daemon.lsctl(&["set-source", "--regex", "("]);
    assert_eq!(ran.code, 2);
    assert_snapshot!(ran.err, @r##"
    error: 2 settings are wrong
      projects.cats.source.regex: is wrong
          (
          ^
        do right
      projects.cats.source.prefix: is wrong
          (
          ^
        do right
      hint: nothing was changed
    "##);
    let said = Refusal { problems: vec![problem("p")], ..Refusal::new("invalid_settings", "wrong", "do right") };
    *daemon.fake.refuse.lock().unwrap() = Some(said);
    let ran = daemon.lsctl(&["reload"]);
    assert_eq!((ran.code, ran.err.matches("do right").count()), (7, 1), "{}", ran.err);
}

#[test]
fn wrong_command_lines_exit_2() {
    let daemon = Daemon::start();
    let lines = [
        "",
        "frobnicate",
        "set-source",
        "set-source cats",
        "set-source --bucket x",
        "set-source --create-local-copy maybe",
        "set-source --on-removed delete",
        "set-target --on-deleted hide",
        "resolve 7",
        "resolve --keep local",
        "resolve 7 --keep both",
        "accept a b c",
        "list --state lost",
        "backup",
        "status --color sometimes",
        "check a b",
        "verify --all",
        "shell-completion cmd",
    ];
    for line in lines {
        let ran = daemon.lsctl(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(ran.code, 2, "`lsctl {line}`: {}", ran.err);
        assert!(!ran.err.is_empty(), "`lsctl {line}`");
    }
    assert_eq!(daemon.fake.take_asked(), Vec::<String>::new());
}

#[test]
fn without_a_daemon_exit_3_and_how_to_start_it() {
    let mut daemon = Daemon::start();
    daemon.stop();
    let socket = daemon.socket.display().to_string();
    let gone = format!(
        "error: no labelsyncd answers at {socket}: No such file or directory (os error 2)\n  \
         hint: start it: `systemctl start labelsyncd`; or name its socket with --socket\n"
    );
    for verb in [&["status"][..], &["pause"], &["retry", "x"], &["sync", "--wait"], &["events", "-f"], &["health"]] {
        let ran = daemon.lsctl(verb);
        assert_eq!((ran.code, ran.out, ran.err), (3, String::new(), gone.clone()), "{verb:?}");
    }
    // A socket that nobody listens on.
    dead_socket(&daemon.socket);
    assert_eq!(daemon.lsctl(&["status"]).code, 3);
    let ran = daemon.lsctl(&["version"]);
    assert_eq!((ran.code, ran.out), (3, format!("lsctl {}\n", env!("CARGO_PKG_VERSION"))));
    assert_eq!(run(daemon.command(&["--socket", "/no/such/socket", "status"]).env_remove("LABELSYNC_SOCKET")).code, 3);
}
