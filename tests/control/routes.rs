//! The routes as `curl --unix-socket` meets them.

use std::sync::atomic::Ordering;

use labelsync::control::api::{ErrorBody, Refusal};
use labelsync::control::server::BODY_MAX_BYTES;

use crate::daemon::Daemon;

/// Status and code of an answer that must be a refusal in the one shape.
fn refusal(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = daemon.http(method, path, body);
    let Ok(answer) = serde_json::from_str::<ErrorBody>(&answer) else {
        panic!("{method} {path} answers {status} {answer:?}");
    };
    assert!(!answer.error.message.is_empty() && !answer.error.hint.is_empty(), "{answer:?}");
    (status, answer.error.code)
}

#[test]
fn every_route_answers() {
    let daemon = Daemon::start();
    let routes = [
        ("GET", "/v1/status", ""),
        ("GET", "/v1/health", ""),
        ("GET", "/v1/events?since=1&project=cats&follow=false", ""),
        ("GET", "/metrics", ""),
        ("POST", "/v1/reload", ""),
        ("GET", "/v1/projects/cats", ""),
        ("GET", "/v1/projects/-/source", ""),
        ("PATCH", "/v1/projects/cats/source", r#"{"regex":"x","create_local_copy":true,"poll_interval":"30s"}"#),
        ("PATCH", "/v1/projects/cats/source?dry_run=true", r#"{"on_removed":"hide"}"#),
        ("GET", "/v1/projects/cats/target", ""),
        ("PATCH", "/v1/projects/cats/target", r#"{"on_deleted":"delete"}"#),
        ("POST", "/v1/projects/cats/sync", ""),
        ("POST", "/v1/projects/cats/check", r#"{"origin":"https://label-studio.example"}"#),
        ("POST", "/v1/projects/cats/check", ""),
        ("POST", "/v1/projects/cats/verify", ""),
        ("POST", "/v1/projects/cats/pause", "{}"),
        ("POST", "/v1/projects/cats/resume", ""),
        ("POST", "/v1/projects/cats/accept", r#"{"hold":"h7f3"}"#),
        ("POST", "/v1/projects/cats/accept", ""),
        ("POST", "/v1/projects/cats/retry", r#"{"keys":["a"]}"#),
        ("POST", "/v1/projects/cats/repair", "{}"),
        ("POST", "/v1/projects/cats/resolve", r#"{"keys":["7"],"keep":"local"}"#),
        ("POST", "/v1/projects/cats/reset", r#"{"keys":[]}"#),
        ("GET", "/v1/projects/cats/plan", ""),
        ("GET", "/v1/projects/cats/items?state=quarantined", ""),
        ("GET", "/v1/projects/cats/backup", ""),
    ];
    for (method, path, body) in routes {
        let (status, answer) = daemon.http(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        let path = path.split('?').next().unwrap().trim_start_matches("/v1/");
        let verb = if path == "projects/cats" { "projects" } else { path.rsplit('/').next().unwrap() };
        assert!(std::mem::take(&mut *daemon.fake.answered.lock().unwrap()).contains(verb), "{path} is not counted");
    }
    daemon.http("GET", "/v1/projects/cats/hostile", "");
    assert!(daemon.fake.answered.lock().unwrap().iter().eq(["other"]), "what is no route has one label");
    let source = daemon.http("GET", "/v1/projects/cats/source", "").1;
    assert!(source.contains("source.regex") && !source.contains("target."), "{source}");
    let target = daemon.http("GET", "/v1/projects/cats/target", "").1;
    assert!(target.contains("target.create_local_copy") && !target.contains("source."), "{target}");
}

#[test]
fn every_refusal_has_the_one_shape() {
    let daemon = Daemon::with(&["cats", "dogs"]);
    let large = format!("{{\"prefix\":\"{}\"}}", "x".repeat(BODY_MAX_BYTES));
    let deep = "[".repeat(10_000);
    let table = [
        ("GET", "/", "", 404, "no_such_route"),
        ("GET", "/v1/projects/cats/nothing", "", 404, "no_such_route"),
        ("GET", "/v1/projects/%ff", "", 404, "no_such_route"),
        ("GET", "/v1/projects/birds", "", 404, "no_such_project"),
        ("GET", "/v1/projects/-", "", 400, "project_needed"),
        ("DELETE", "/v1/status", "", 405, "no_such_method"),
        ("POST", "/v1/projects/cats/plan", "", 405, "no_such_method"),
        ("PATCH", "/v1/projects/cats/source", "{", 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source", "[]", 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source", r#"["prefix","regex"]"#, 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source", "\u{0}", 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source", &deep, 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source", &large, 413, "too_large"),
        ("PATCH", "/v1/projects/cats/source?dryrun=true", "{}", 400, "invalid"),
        ("PATCH", "/v1/projects/cats/source?dry_run=maybe", "{}", 400, "invalid"),
        ("POST", "/v1/projects/cats/resolve", r#"{"keys":["7"]}"#, 400, "invalid"),
        ("POST", "/v1/projects/cats/resolve", r#"{"keys":[],"keep":"local"}"#, 400, "invalid"),
        ("POST", "/v1/projects/cats/retry", r#"{"key":"a"}"#, 400, "invalid"),
        ("GET", "/v1/projects/cats/items", "", 400, "invalid"),
        ("GET", "/v1/projects/cats/items?state=lost", "", 400, "invalid"),
        ("GET", "/v1/events?since=-1", "", 400, "invalid"),
        ("GET", "/v1/events?project=birds", "", 404, "no_such_project"),
    ];
    for (method, path, body, status, code) in table {
        assert_eq!(refusal(&daemon, method, path, body), (status, code.to_owned()), "{method} {path}");
    }
    assert_eq!(daemon.fake.take_asked(), Vec::<String>::new(), "nothing was done");
}

#[test]
fn the_daemons_codes_have_fitting_statuses() {
    let daemon = Daemon::start();
    let table = [
        ("no_such_project", 404),
        ("invalid", 400),
        ("project_needed", 400),
        ("held", 409),
        ("nothing_held", 409),
        ("busy", 409),
        ("not_root", 403),
        ("failed", 500),
        ("some_code_of_later", 500),
    ];
    for (code, status) in table {
        *daemon.fake.refuse.lock().unwrap() = Some(Refusal::new(code, "no", "do this"));
        assert_eq!(refusal(&daemon, "POST", "/v1/projects/cats/pause", ""), (status, code.to_owned()));
    }
}

/// What a group of annotators may set is what `set-source` and `set-target` name.
#[test]
fn l61_nothing_that_is_roots_can_be_set_over_the_socket() {
    let daemon = Daemon::start();
    let roots = [
        "bucket",
        "type",
        "path",
        "endpoint",
        "allow_http",
        "profile",
        "region",
        "path_style",
        "expected_bucket_owner",
        "credentials_file",
        "max_removed",
        "max_changed",
        "local_copy_max",
        "blob_url",
        "socket",
        "state_dir",
        "log_format",
        "command",
    ];
    for key in roots {
        for side in ["source", "target"] {
            let path = format!("/v1/projects/cats/{side}");
            let body = format!("{{\"prefix\":\"x\",\"{key}\":\"x\"}}");
            assert_eq!(refusal(&daemon, "PATCH", &path, &body), (400, "invalid".to_owned()), "{side}.{key}");
        }
    }
    assert_eq!(daemon.fake.take_asked(), Vec::<String>::new());
    assert_eq!(daemon.http("PATCH", "/v1/projects/cats/source", r#"{"prefix":"x"}"#).0, 200);
    assert_eq!(daemon.fake.take_asked().len(), 1, "the same body without the key is taken");
}

#[test]
fn a_defect_behind_a_route_ends_only_that_request() {
    let daemon = Daemon::start();
    daemon.fake.panics.store(true, Ordering::Relaxed);
    assert_eq!(refusal(&daemon, "GET", "/v1/projects/cats/plan", ""), (500, "failed".to_owned()));
    assert_eq!(daemon.http("GET", "/v1/status", "").0, 200);
}
