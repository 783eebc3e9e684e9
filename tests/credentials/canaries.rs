//! Secrets in every place where one can stand, and every output searched for them (promise 78).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::google;
use crate::s3::at_home;
use crate::support::Trials;
use crate::support::double::{Double, Reaction, answer};
use crate::support::rig::{IMAGE_CONFIG, Rig, until, write};

/// In every secret, and nowhere else.
const CANARY: &str = "canary";

pub fn add(trials: &mut Trials) {
    trials.test("l78_no_secret_is_in_any_output_at_trace_level", searched);
}

async fn searched() {
    let mut rig = Rig::new();
    hide(&mut rig);
    let dir = rig.dir.path().display().to_string();
    let good = Double::start(|_, request| crate::s3::bucket(request, |key| !key.is_empty())).await;
    let refusing = Double::always(refusal()).await;
    let (gcs, gcs_refusing) = (google::bucket().await, Double::always(refusal()).await);
    let mut settings = String::new();
    let mut project = |name: &str, kind: &str, double: &Double, lines: &str| {
        rig.project(name, IMAGE_CONFIG);
        settings.push_str(&format!(
            "[projects.{name}]\npath = \"{dir}/{name}\"\nlabel_studio_has_credentials = true\n[projects.{name}.source]\n\
             type = \"{kind}\"\nbucket = \"bucket\"\nregex = '.*'\npoll_interval = \"1s\"\nendpoint = \"{}\"\n\
             allow_http = true\n{lines}",
            double.endpoint()
        ));
    };
    project("environment", "s3", &good, "");
    project("refused", "s3", &refusing, "");
    project("file", "s3", &good, "profile = \"file\"\n");
    project("process", "s3", &good, "profile = \"process\"\n");
    project("broken", "s3", &good, "profile = \"broken\"\n");
    project("google", "gcs", &gcs, "credentials_file = \"good.json\"\n");
    project("google-refused", "gcs", &gcs_refusing, "credentials_file = \"good.json\"\n");
    project("google-broken", "gcs", &gcs, "credentials_file = \"key.json\"\n");
    rig.settings(&settings);
    rig.start();
    let names = ["environment", "refused", "file", "process", "broken", "google", "google-refused", "google-broken"];
    let said = asked(&rig, &names);
    clean("what lsctl said", &said);
    let log = rig.log();
    assert!(log.contains("the credentials' provider failed"), "is it the log? {}", &log[..log.len().min(2_000)]);
    clean("the log", &log);
    rig.stop();
    for place in ["state", "environment", "google"] {
        search(&rig.path(place));
    }
}

/// Secrets in the environment, in files, and in what programs print.
fn hide(rig: &mut Rig) {
    at_home(rig);
    rig.environment.extend([
        ("LABELSYNC_LOG", "trace".to_owned()),
        ("AWS_ACCESS_KEY_ID", "KEY-OF-ENVIRONMENT".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret-of-environment".to_owned()),
        ("AWS_SESSION_TOKEN", "canary-session-of-environment".to_owned()),
        ("GOOGLE_APPLICATION_CREDENTIALS", rig.path("key.json").display().to_string()),
    ]);
    let script = rig.path("give.sh");
    let given =
        "{\"Version\": 1, \"AccessKeyId\": \"KEY\", \"SecretAccessKey\": \"canary-p\", \"SessionToken\": \"canary-s\"}";
    write(&script, &format!("#!/bin/sh\necho canary-of-stderr >&2\necho '{given}'\n"));
    write(&rig.path("broken.sh"), "#!/bin/sh\necho canary-of-stdout\necho canary-of-stderr >&2\nexit 1\n");
    for name in ["give.sh", "broken.sh"] {
        std::fs::set_permissions(rig.path(name), std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    let dir = rig.dir.path().display().to_string();
    write(
        &rig.path(".aws/config"),
        &format!(
            "[profile process]\ncredential_process = {dir}/give.sh\n[profile broken]\ncredential_process = {dir}/broken.sh\n"
        ),
    );
    write(
        &rig.path(".aws/credentials"),
        "[file]\naws_access_key_id = KEY-OF-FILE\naws_secret_access_key = canary-of-file\naws_session_token = canary-of-file\n",
    );
    write(
        &rig.path("key.json"),
        &google::service_account().replace("PRIVATE KEY-----\\n", "PRIVATE KEY-----\\ncanary"),
    );
    write(&rig.path("good.json"), &google::service_account());
}

/// Everything that lsctl can be asked.
fn asked(rig: &Rig, names: &[&str]) -> String {
    let mut said = String::new();
    for name in names.iter().copied() {
        until("a look", crate::support::rig::PATIENCE, || {
            let poll = &rig.status_of(name)["source"]["poll"];
            (poll["last_success_at"].is_i64() || poll["failures"].as_u64() > Some(0)).then_some(())
        });
        for words in
            [&["check", name][..], &["--json", "check", name], &["show", name], &["plan", name], &["verify", name]]
        {
            let ran = rig.lsctl(words);
            said += &(ran.out + &ran.err);
        }
    }
    for words in [&["status"][..], &["--json", "status"], &["--json", "events"], &["metrics"], &["health"]] {
        let ran = rig.lsctl(words);
        said += &(ran.out + &ran.err);
    }
    said
}

/// A server that says back what it was told.
fn refusal() -> Reaction {
    answer(
        "403 Forbidden",
        "Content-Type: application/xml\r\n",
        "<Error><Code>AccessDenied</Code><Message>canary</Message></Error>",
    )
}

fn clean(what: &str, text: &str) {
    let line = text.lines().find(|line| line.contains(CANARY) || line.contains("BEGIN PRIVATE"));
    assert!(line.is_none(), "a secret in {what}: {}", line.unwrap_or_default().chars().take(2_000).collect::<String>());
}

fn search(path: &Path) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("read") {
            search(&entry.expect("read").path());
        }
    } else if path.is_file() {
        clean(&path.display().to_string(), &String::from_utf8_lossy(&std::fs::read(path).expect("read")));
    }
}
