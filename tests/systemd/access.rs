//! Who may speak to the service, what it may reach, and where its keys come from.

use std::process::Stdio;

use crate::boxes::SystemBox;
use crate::support::rig::{PATIENCE, until};
use crate::support::{ACCESS_KEY, SECRET_KEY};

pub fn l60_root_and_operators_may_ask_and_nobody_else(inside: SystemBox) {
    inside.start();
    let socket = inside.ok("stat -c '%U %G %a' /run/labelsyncd/control.sock");
    assert_eq!(socket.trim(), "root labelsync 660");
    let asks = |user: &str, words: &str| inside.run(&format!("runuser -u {user} -- {words}"));
    inside.ok("lsctl status");
    assert_eq!(asks("oona", "lsctl status").code, 0);
    assert_eq!(asks("oona", "lsctl set-source cats --regex 'x.*'").code, 0);
    let refused = asks("oona", "lsctl reload");
    assert_eq!(refused.code, 7, "{}", refused.err);
    for user in ["somebody", "nobody"] {
        let refused = asks(user, "lsctl status");
        assert_eq!(refused.code, 3, "{}{}", refused.out, refused.err);
        assert!(refused.err.contains("permission denied"), "{}", refused.err);
    }
    // What it keeps is for nobody else.
    for path in ["/var/lib/labelsyncd", "/run/labelsyncd"] {
        assert_ne!(asks("somebody", &format!("ls {path}")).code, 0, "{path}");
    }
    assert_ne!(asks("oona", "ls /var/lib/labelsyncd").code, 0, "operators ask, they do not look");
}

pub fn l89_a_project_that_is_not_let_in_is_named_with_its_remedy(inside: SystemBox) {
    let file = inside.path("/etc/systemd/system/labelsyncd.service.d/cats.conf");
    let written = std::fs::read_to_string(&file).expect("written by init");
    assert!(written.contains("ReadWritePaths=-/srv/annotations/cats\n"), "{written}");
    assert!(written.contains("User=label-studio\n"), "{written}");
    let without: String =
        written.lines().filter(|line| !line.starts_with("ReadWritePaths")).map(|l| format!("{l}\n")).collect();
    std::fs::write(&file, without).expect("written");
    inside.ok("systemctl daemon-reload");
    inside.put("a.png");
    inside.start();
    let hint = until("the reason", PATIENCE, || {
        let reasons = inside.status()["reasons"].clone();
        let found = reasons.as_array()?.iter().find(|reason| reason["code"] == "read_only")?.clone();
        found["hint"].as_str().map(str::to_owned)
    });
    assert!(hint.contains("labelsyncd.service.d") && hint.contains("ReadWritePaths="), "{hint}");
    std::fs::write(&file, written).expect("written");
    inside.ok("systemctl daemon-reload; systemctl restart labelsyncd");
    inside.until_tasks(1);
}

/// moto, on the box's own loopback.
pub fn l87_s3_with_keys_that_only_the_service_sees(inside: SystemBox) {
    let moto = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools/venv/bin/moto_server");
    // Only the network is the box's: the server's files are outside of it.
    let mut server = std::process::Command::new("nsenter")
        .args(["-t", &inside.pid1().to_string(), "-n", "--"])
        .arg(&moto)
        .args(["-H", "127.0.0.1", "-p", "9010"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("moto");
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with_s3(&inside)));
    server.kill().expect("killed");
    server.wait().expect("ended");
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

fn with_s3(inside: &SystemBox) {
    let curl = |rest: &str| inside.run(&format!("curl -sf http://127.0.0.1:9010/{rest}"));
    until("moto answers", PATIENCE, || (curl("").code == 0).then_some(()));
    // moto checks no signature: that the keys were found is seen by the daemon not saying auth_error.
    for request in ["-X PUT the-in", "-X PUT the-out"] {
        let (method, bucket) = request.rsplit_once(' ').expect("two parts");
        inside.ok(&format!("curl -sf {method} http://127.0.0.1:9010/{bucket}"));
    }
    inside.ok("curl -sf -X PUT --data-binary picture http://127.0.0.1:9010/the-in/a.png");
    inside.ok(
        "sed -i 's#^type = \"local\"#type = \"s3\"#; s#^path = \"/srv/\\(in\\|out\\)\"#bucket = \"the-\\1\"\\nendpoint = \"http://127.0.0.1:9010\"\\nallow_http = true#; \
         s#^path = \"/srv/annotations/cats\"#&\\nlabel_studio_has_credentials = true#' /etc/labelsyncd/conf.d/cats.toml && labelsyncd --check",
    );
    let keys = format!("[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    std::fs::write(inside.path("/etc/labelsyncd/aws-credentials"), keys).expect("written");
    inside.ok("chmod 600 /etc/labelsyncd/aws-credentials");

    // Named, but not loaded: an error, and not anonymous access (promise 86).
    let from = "Environment=AWS_EC2_METADATA_DISABLED=true AWS_SHARED_CREDENTIALS_FILE=%d/aws-credentials";
    inside.drop_in("keys", &format!("LoadCredential=other:/etc/labelsyncd/aws-credentials\n{from}"));
    assert_ne!(inside.run("systemctl start labelsyncd").code, 0);
    assert_eq!((inside.show("ExecMainStatus"), inside.show("NRestarts")), ("78".to_owned(), "0".to_owned()));
    assert!(inside.log().contains("aws-credentials cannot be read"), "{}", inside.log());
    inside.drop_in("keys", &format!("LoadCredential=aws-credentials:/etc/labelsyncd/aws-credentials\n{from}"));
    inside.ok("systemctl restart labelsyncd");
    inside.until_tasks(1);
    let bytes = inside.label(0, "cat");
    inside.until_in_step(1);
    // moto wants a signature for what is private, and does not check it.
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=b";
    let pushed = inside.ok(&format!("curl -sf -H '{signed}' http://127.0.0.1:9010/the-out/done/0"));
    assert_eq!(pushed.as_bytes(), bytes);

    // Nobody else sees them, and they are nowhere.
    let refused = inside.run("runuser -u oona -- cat /run/credentials/labelsyncd.service/aws-credentials");
    assert_ne!(refused.code, 0);
    let pid = inside.show("MainPID");
    for script in [
        "journalctl --no-pager -o export".to_owned(),
        format!("cat /proc/{pid}/environ /proc/{pid}/cmdline"),
        "lsctl --json status; lsctl show; lsctl metrics; lsctl events".to_owned(),
        "grep -r canary /var/lib/labelsyncd /srv/annotations || true".to_owned(),
    ] {
        let said = inside.command(&["bash", "-uc", &script]).output().expect("run").stdout;
        assert!(!String::from_utf8_lossy(&said).contains(SECRET_KEY), "{script}");
    }
}
