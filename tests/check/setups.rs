//! The table of set-ups.

use std::process::Command;
use std::time::{Duration, Instant};

use labelsync::clock::{Clock, SystemClock};
use serde_json::Value;

use super::doubles::{self, Refuses};
use crate::support::double::{Double, Reaction, answer};
use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Ran, Rig, completion, find_code, until, write};
use crate::support::{Kind, SECRET_KEY, Trials, environment, write_profiles};

/// The end of one `lsctl check`, whatever the server does: the sum of the steps of a server that never answers.
const CHECK_MAX: Duration = Duration::from_secs(45);

pub fn add(trials: &mut Trials) {
    trials.test("l54_every_wrong_setup_is_named_with_its_remedy", doubled);
    trials.test_on(Kind::SeaweedFs, "l54_wrong_keys_are_named_with_their_remedy", |server| async move {
        let bucket = server.new_bucket().await;
        let mut rig = Rig::new();
        let at = |profile: &str| format!("{}profile = \"{profile}\"\n", s3(&server.endpoint, &bucket));
        let missing = s3(&server.endpoint, "no-such-bucket");
        let setups = vec![
            Setup::source(
                "wrong-key",
                &at("unknown-key"),
                "auth_error",
                "credentials",
                "this access key does not exist",
            ),
            Setup::source(
                "wrong-secret",
                &at("wrong-secret"),
                "auth_error",
                "credentials",
                "does not belong to the access key",
            ),
            Setup::source("no-bucket", &missing, "bucket_missing", "bucket", "make the bucket `no-such-bucket`"),
        ];
        look_at(&mut rig, &setups);
    });
    trials.test_on(Kind::Gcs, "l54_google_buckets_are_named_with_their_remedy", |server| async move {
        let mut rig = Rig::new();
        let denied = doubles::gcs_error("403 Forbidden", "forbidden").await;
        let setups = vec![
            Setup::source(
                "gcs-none",
                &gcs(&server.endpoint, "no-such-bucket"),
                "bucket_missing",
                "bucket",
                "make the bucket",
            ),
            Setup::source(
                "gcs-list",
                &gcs(denied.endpoint(), "bucket"),
                "access_denied",
                "list",
                "`storage.objects.list`",
            ),
            Setup::source(
                "gcs-file",
                &format!("{}credentials_file = \"nothing.json\"\n", gcs(&server.endpoint, "bucket")),
                "configuration",
                "connect",
                "give a key file as Google gives it",
            ),
        ];
        look_at(&mut rig, &setups);
    });
    trials.test("l79_http_without_allow_http_is_named_before_it_is_tried", || async { http_without_allow_http() });
}

/// One wrong set-up.
struct Setup {
    name: String,
    source: String,
    target: String,
    label_config: &'static str,
    /// In the status within one poll; empty: all is well there.
    state: &'static str,
    /// Of the finding that names it.
    step: &'static str,
    code: &'static str,
    remedy: &'static str,
}

impl Setup {
    fn source(name: &str, source: &str, state: &'static str, step: &'static str, remedy: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            source: format!("{source}regex = '.*'\npoll_interval = \"1s\"\n"),
            target: String::new(),
            label_config: IMAGE_CONFIG,
            state,
            step,
            code: state,
            remedy,
        }
    }

    fn target(name: &str, target: &str, state: &'static str, step: &'static str, remedy: &'static str) -> Self {
        let target = format!("{target}prefix = \"done\"\npoll_interval = \"1s\"\n");
        Self { target, ..Self::source(name, "", state, step, remedy) }.without_source()
    }

    fn without_source(self) -> Self {
        Self { source: String::new(), ..self }
    }

    fn code(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    fn settings(&self, rig: &Rig) -> String {
        let (name, path) = (&self.name, rig.path(&self.name));
        let mut text =
            format!("[projects.{name}]\npath = \"{}\"\nlabel_studio_has_credentials = true\n", path.display());
        for (side, lines) in [("source", &self.source), ("target", &self.target)] {
            if !lines.is_empty() {
                text.push_str(&format!("[projects.{name}.{side}]\n{lines}"));
            }
        }
        text
    }
}

fn s3(endpoint: &str, bucket: &str) -> String {
    let http = endpoint.starts_with("http://");
    format!("type = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"{endpoint}\"\nallow_http = {http}\n")
}

fn gcs(endpoint: &str, bucket: &str) -> String {
    format!("type = \"gcs\"\nbucket = \"{bucket}\"\nendpoint = \"{endpoint}\"\nallow_http = true\n")
}

async fn doubled() {
    let mut rig = Rig::new();
    let expired = doubles::s3_error("400 Bad Request", "", "ExpiredToken").await;
    let elsewhere =
        doubles::s3_error("301 Moved Permanently", "x-amz-bucket-region: eu-west-3\r\n", "PermanentRedirect").await;
    let no_list = doubles::s3_error("403 Forbidden", "", "AccessDenied").await;
    let busy = doubles::s3_error("503 Slow Down", "", "SlowDown").await;
    let skewed = Double::start(|_, _| skewed()).await;
    let silent = Double::always(Reaction::Stall(Vec::new())).await;
    let portal = Double::always(answer("200 OK", "Content-Type: text/html\r\n", "<html>canary</html>")).await;
    let no_read = doubles::s3_bucket(&[("a.json", "{}")], Refuses::Read).await;
    let no_write = doubles::s3_bucket(&[("done/7", "{}")], Refuses::Write).await;
    let careless = doubles::s3_bucket(&[("a.jpg", "a")], Refuses::Nothing).await;
    let untrusted = doubles::untrusted();
    let source = Setup::source;
    let at = |double: &Double| s3(double.endpoint(), "bucket");
    let with = |lines: &str| format!("{}{lines}", at(&careless));
    let mut setups = vec![
        source("expired", &at(&expired), "auth_error", "credentials", "has expired"),
        source("region", &at(&elsewhere), "region_mismatch", "region", "set `region = \"eu-west-3\"`"),
        source("no-list", &at(&no_list), "access_denied", "list", "allow `s3:ListBucket` on arn:aws:s3:::bucket"),
        source("busy", &at(&busy), "throttled", "list", "labelsync slows down"),
        source("skewed", &at(&skewed), "clock_skew", "clock", "set this machine's clock"),
        source("silent", &at(&silent), "unreachable", "tls", "accepts and says nothing"),
        source("portal", &at(&portal), "malformed_answer", "list", "the storage API itself and no proxy or website"),
        source("closed", &s3("http://127.0.0.1:9", "bucket"), "unreachable", "tls", "correct the host and port"),
        source("nameless", &s3("http://nothing.invalid", "bucket"), "unreachable", "dns", "correct the host"),
        source("untrusted", &s3(&untrusted, "bucket"), "unreachable", "tls", "certificate authority"),
        source("no-profile", &with("profile = \"nobody\"\n"), "configuration", "credentials", "add the profile"),
        source("no-keys", &with("profile = \"no-keys\"\n"), "auth_error", "credentials", "give the daemon credentials"),
        source("no-cors", &at(&careless), "", "cors", "\"AllowedOrigins\":[\"https://ls.example\"]")
            .code("cors_missing"),
        source("read", &(at(&no_read) + "use_blob_urls = false\n"), "access_denied", "read", "allow `s3:GetObject`"),
        source("data-key", &at(&careless), "no_data_key", "label_config", "value=\"$image\"").code("data_key"),
        Setup::target("no-write", &at(&no_write), "target_unmarked", "write", "allow `s3:PutObject`")
            .code("access_denied"),
        Setup::target("careless", &at(&careless), "target_unsafe", "preconditions", "let nobody else write"),
    ];
    setups[14].label_config = "<View><Header value=\"hello\"/></View>";
    look_at(&mut rig, &setups);
    // What was sent to those who wanted no credentials shown.
    for requests in [silent.requests(), portal.requests()] {
        assert!(requests.iter().all(|request| !request.headers.iter().any(|line| line.contains(SECRET_KEY))));
    }
}

/// The clocks are 20 minutes apart, and the server says so.
fn skewed() -> Reaction {
    let then = jiff::Timestamp::from_second(SystemClock.now().0 / 1000 + 20 * 60).expect("a time");
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).expect("a date");
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>canary</Message></Error>";
    answer("403 Forbidden", &format!("Content-Type: application/xml\r\nDate: {date}\r\n"), body)
}

/// All of them in one daemon, beside a project that is well.
fn look_at(rig: &mut Rig, setups: &[Setup]) {
    write_profiles("nobody");
    rig.environment = environment();
    if setups.iter().any(|setup| setup.source.contains("no-keys")) {
        // What the profile has not is not found elsewhere either.
        rig.environment.retain(|(name, _)| !matches!(*name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY"));
        rig.without = vec!["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        rig.environment.push(("AWS_PROFILE", "good".to_owned()));
    }
    rig.project("cats", IMAGE_CONFIG);
    let mut settings = rig.local_project("cats", ".*");
    for setup in setups {
        let project = rig.project(&setup.name, setup.label_config);
        settings.push_str(&setup.settings(rig));
        if !setup.target.is_empty() {
            let data = serde_json::json!({"image": "x"});
            write(&project.join("tasks.json"), &format!("{{\"7\": {{\"id\": 7, \"data\": {data}}}}}"));
            std::fs::write(project.join("completions/7.json"), completion(7, &data, "cat")).expect("written");
        }
    }
    rig.settings(&settings);
    rig.start();
    for setup in setups {
        state_is_named(rig, setup);
    }
    for (number, setup) in setups.iter().enumerate() {
        check_names_it(rig, setup);
        // Nothing else suffers.
        rig.put(&format!("{number}.jpg"), "a");
        rig.until_tasks(number + 1);
    }
    let status = rig.status();
    assert_eq!(
        (status["state"].as_str(), status["reasons"].as_array().map(Vec::len)),
        (Some("ok"), Some(0)),
        "{status:#}"
    );
    let said = [rig.log(), rig.ok(&["--json", "status"]), rig.ok(&["--json", "events"]), rig.ok(&["metrics"])].concat();
    assert!(!said.contains("canary"), "a secret, or a body, is shown");
}

fn state_is_named(rig: &Rig, setup: &Setup) {
    let mut last = Value::Null;
    if setup.state.is_empty() {
        return;
    }
    let named = until("the state", PATIENCE, || {
        last = rig.status_of(&setup.name);
        find_code(&last, setup.state).or_else(|| {
            let failed = last["source"]["poll"]["failures"].as_u64().unwrap_or(0) > 0;
            failed.then_some(Value::Null)
        })
    });
    assert_eq!(named["code"], setup.state, "{}: {last:#}", setup.name);
    assert!(named["hint"].as_str().is_some_and(|hint| hint.len() > 10), "{}: no remedy in {named}", setup.name);
}

fn check_names_it(rig: &Rig, setup: &Setup) {
    let begun = Instant::now();
    let words = ["--json", "check", &setup.name, "--origin", "https://ls.example"];
    let ran = rig.lsctl(&words);
    assert!(begun.elapsed() < CHECK_MAX, "{} took {:?}", setup.name, begun.elapsed());
    let report: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err));
    assert!(!ran.out.contains("canary"), "a secret, or a body, is shown: {}", ran.out);
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["step"] == setup.step && finding["code"] == setup.code);
    let found = found.unwrap_or_else(|| panic!("{}: no {}/{} in {report:#}", setup.name, setup.step, setup.code));
    let remedy = found["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains(setup.remedy), "{}: {remedy}", setup.name);
    let failed = findings.iter().any(|finding| finding["outcome"] == "fail");
    assert_eq!(ran.code, if failed { 7 } else { 0 }, "{}: {report:#}", setup.name);
    if setup.name == "silent" {
        // Once is long enough.
        return;
    }
    // The same for a person.
    let shown = rig.lsctl(&["check", &setup.name, "--origin", "https://ls.example"]).out;
    assert!(shown.contains(setup.code) && shown.contains(setup.remedy), "{}: {shown}", setup.name);
}

fn http_without_allow_http() {
    let rig = Rig::new();
    rig.project("cats", IMAGE_CONFIG);
    let lines = s3("http://127.0.0.1:9", "bucket").replace("allow_http = true\n", "");
    let path = rig.path("cats");
    rig.settings(&format!("[projects.cats]\npath = \"{}\"\n[projects.cats.source]\n{lines}", path.display()));
    let config = rig.config().display().to_string();
    let mut checked: Command = rig.labelsyncd(&["--config", &config, "--check"]);
    let ran = Ran::of(&mut checked);
    assert_eq!(ran.code, 78);
    assert!(ran.err.contains("projects.cats.source.endpoint: is http:// without `allow_http`"), "{}", ran.err);
}
