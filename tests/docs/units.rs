//! The units of systemd, and the alert rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use labelsync::settings::load_texts;

use crate::pages::text;

/// Of ten; what issue and unit promise, as `systemd-analyze --threshold` takes it.
const SCORE_MAX_TENTHS: &str = "15";

const SERVICE: &str = "systemd/labelsyncd.service";
const SOCKET: &str = "systemd/labelsyncd.socket";

/// The values of a key, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let start = format!("{key}=");
    text(unit).lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

pub fn names() {
    assert_eq!(values(SERVICE, "Type"), ["notify"]);
    assert_eq!(values(SERVICE, "ExecStart"), ["/usr/bin/labelsyncd"]);
    let daemon = load_texts(&[("none", "")]).unwrap().settings.daemon;
    let sysusers = text("systemd/sysusers.d/labelsyncd.conf");
    let user = &values(SERVICE, "User")[0];
    assert!(sysusers.lines().any(|line| line.starts_with(&format!("u {user} "))), "{user}");
    let group = &values(SOCKET, "SocketGroup")[0];
    assert!(sysusers.lines().any(|line| line.starts_with(&format!("g {group} "))), "{group}");
    assert_eq!(values(SOCKET, "ListenStream"), [daemon.socket.to_str().unwrap()]);
    assert_eq!(values(SOCKET, "SocketMode"), ["0660"]);
    assert_eq!(Path::new("/var/lib").join(&values(SERVICE, "StateDirectory")[0]), daemon.state_dir);
    let made = format!("d {} 0750 {user} {group} -", daemon.socket.parent().unwrap().display());
    assert!(text("systemd/tmpfiles.d/labelsyncd.conf").lines().any(|line| line == made), "{made}");
}

pub fn restarts() {
    assert_eq!(values(SERVICE, "RestartPreventExitStatus"), ["73 78"]);
    assert_eq!(values(SERVICE, "ExecReload"), ["+/usr/bin/lsctl reload"]);
    assert_eq!(values(SERVICE, "PrivateUsers"), ["no"]);
    // A watchdog that nobody feeds kills; whoever feeds it sets it.
    let fed = text("daemon/main.rs").to_lowercase().contains("watchdog");
    assert!(values(SERVICE, "WatchdogSec").is_empty() || fed);
}

/// The units in a directory of their own, with a program that is there.
fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let service = text(SERVICE).replace("/usr/bin/labelsyncd", env!("CARGO_BIN_EXE_labelsyncd"));
    let service = service.replace("/usr/bin/lsctl", env!("CARGO_BIN_EXE_lsctl"));
    std::fs::write(dir.path().join("labelsyncd.service"), service).unwrap();
    std::fs::write(dir.path().join("labelsyncd.socket"), text(SOCKET)).unwrap();
    dir
}

/// Why `systemd-analyze` cannot be asked, if it cannot: older ones do not know files (`--offline` came with 250).
fn missing() -> Option<String> {
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        return Some("systemd-analyze is not installed".to_owned());
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version: u32 = said.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (version < 250).then(|| format!("systemd-analyze {version} is older than 250"))
}

pub fn verify() -> Option<String> {
    if let Some(reason) = missing() {
        return Some(reason);
    }
    let dir = copied();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(["labelsyncd.service", "labelsyncd.socket"].map(|name| dir.path().join(name)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("labelsyncd")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    None
}

pub fn score() -> Option<String> {
    if let Some(reason) = missing() {
        return Some(reason);
    }
    let dir = copied();
    let output = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold", SCORE_MAX_TENTHS])
        .arg(dir.path().join("labelsyncd.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Overall exposure level"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    None
}

pub fn alerts() {
    let rules = text("systemd/prometheus-rules.yml");
    let metric = regex::Regex::new(r"\blabelsyncd_[a-z0-9_]+").unwrap();
    // Counters without `_total` where they are registered.
    let exported = text("daemon/supervisor/metrics.rs") + &text("daemon/meters.rs");
    let mut names = BTreeSet::new();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        assert!(name.starts_with("Labelsync"), "{name}");
        for part in ["expr: ", "labels: {severity: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no `{part}`");
        }
        assert!(metric.is_match(alert), "{name} asks for no metric of ours");
        for found in metric.find_iter(alert) {
            assert!(
                exported.contains(&format!(
                    "\"{}\"",
                    found.as_str().trim_start_matches("labelsyncd_").trim_end_matches("_total")
                )),
                "{name}: nothing exports {}",
                found.as_str()
            );
        }
    }
    assert!(names.len() >= 10, "{names:?}");
}
