//! The shipped unit: the main job inside it, what systemd thinks of it, what the journal holds.

use std::os::unix::fs::MetadataExt;

use crate::boxes::SystemBox;
use crate::support::rig::{PATIENCE, until};

/// A key that tries to forge a line, a field, and to move the cursor.
const HOSTILE: &str = "x\nPRIORITY=0\n<0>forged \u{1b}[2J\u{202e}.png";

pub fn l87_the_main_job_runs_in_the_hardened_unit(inside: SystemBox) {
    inside.put("a.png");
    inside.put("b.png");
    inside.start();
    inside.until_tasks(2);
    let bytes = inside.label(0, "cat");
    inside.until_pushed(0, &bytes);

    // The file is Label Studio's as before, and Label Studio writes it.
    let tasks = std::fs::metadata(inside.path("/srv/annotations/cats/tasks.json")).expect("there");
    let theirs = std::fs::metadata(inside.path("/srv/annotations")).expect("there");
    assert_eq!(tasks.uid(), theirs.uid());
    inside.ok("runuser -u label-studio -- sh -c ': >>/srv/annotations/cats/tasks.json'");

    // Changed from outside, brought in, changed while it runs.
    inside.ok("lsctl set-source cats --regex 'b.*'");
    inside.until_tasks(1);
    inside.ok("lsctl set-source cats --regex '.*'");
    inside.until_tasks(2);

    // As it is loaded, with the drop-in.
    let scored = inside.run("systemd-analyze security --no-pager --threshold=15 labelsyncd.service");
    assert_eq!(scored.code, 0, "{}", scored.out.lines().last().unwrap_or_default());
    let verified =
        inside.run("systemd-analyze verify --man=no labelsyncd.service labelsyncd.socket 2>&1 | grep -i labelsync");
    assert_eq!(verified.out, "");
    assert_eq!(inside.show("StatusText"), "projects: 1");
    assert_eq!(inside.show("NRestarts"), "0");

    enforced(&inside);
    inside.ok("systemctl stop labelsyncd");
    assert_eq!((inside.show("Result"), inside.show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
}

/// What the unit takes away is away, seen from a shell in its namespaces with its user.
fn enforced(inside: &SystemBox) {
    let pid = inside.show("MainPID");
    let user = inside.ok(&format!("stat -c %U /proc/{pid}")).trim().to_owned();
    let within = |script: &str| inside.run(&format!("nsenter -t {pid} -m -- runuser -u {user} -- sh -c '{script}'"));
    assert_ne!(user, "root");
    assert_ne!(within("touch /etc/x").code, 0, "the machine's settings");
    assert_ne!(within("touch /srv/in/x").code, 0, "a source is only read");
    assert_ne!(within("ls /root /home/label-studio").code, 0, "homes");
    assert_eq!(within("touch /srv/annotations/cats/.x && rm /srv/annotations/cats/.x").code, 0, "the project");
    let status = inside.ok(&format!("cat /proc/{pid}/status"));
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2"] {
        assert!(status.lines().any(|have| have == line), "{line}: {status}");
    }
}

pub fn l71_the_journal_finds_what_it_should_with_hostile_keys(inside: SystemBox) {
    inside.put("plain.png");
    inside.put(HOSTILE);
    inside.start();
    inside.until_tasks(2);
    inside.ok("runuser -u oona -- lsctl set-source cats --regex '.*\\.(png|jpg)'");

    // The daemon and the journal both write a moment after a task can be seen.
    let told =
        |matches: &str| until(matches, PATIENCE, || Some(inside.journal(matches)).filter(|found| !found.is_empty()));
    let plain = told("LABELSYNC_KEY=plain.png");
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert_eq!(plain[0]["SYSLOG_IDENTIFIER"], "labelsyncd");
    assert_eq!(plain[0]["LABELSYNC_PROJECT"], "cats");
    assert!(plain[0]["LABELSYNC_TASK"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{plain:?}");
    assert!(plain[0]["MESSAGE_ID"].as_str().is_some_and(|id| id.len() == 32), "{plain:?}");

    // The hostile one is one entry, exact, and forges nothing.
    let is_hostile = |entry: &&serde_json::Value| text(&entry["LABELSYNC_KEY"]) == HOSTILE;
    let all = until("the hostile key", PATIENCE, || {
        Some(inside.journal("-u labelsyncd")).filter(|all| all.iter().any(|entry| is_hostile(&entry)))
    });
    let hostile: Vec<_> = all.iter().filter(is_hostile).collect();
    assert_eq!(hostile.len(), 1, "{all:#?}");
    assert_eq!(hostile[0]["PRIORITY"], "6");
    assert!(!hostile[0]["MESSAGE"].as_str().expect("no bytes to escape").contains(['\n', '\u{1b}', '\u{202e}']));
    assert!(all.iter().all(|entry| entry["PRIORITY"] != "0"));
    assert!(inside.run("journalctl -u labelsyncd -o cat --no-pager").out.lines().all(|line| !line.starts_with("<0>")));

    // Who changed a setting.
    let uid = inside.ok("id -u oona").trim().to_owned();
    let changed = told(&format!("LABELSYNC_ACTOR=uid={uid}"));
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(changed[0]["PRIORITY"], "5", "settings are notices");

    // How long a push and a complete look took.
    let bytes = inside.label(0, "cat");
    inside.until_pushed(0, &bytes);
    for (matches, fields) in [
        ("LABELSYNC_OP=pushed", &["PROJECT", "BUCKET", "KEY", "TASK", "DURATION_USEC"][..]),
        ("LABELSYNC_OP=task_added", &["PROJECT", "BUCKET", "KEY", "TASK"]),
        ("LABELSYNC_OP=cycle_done", &["PROJECT", "BUCKET", "DURATION_USEC"]),
        ("LABELSYNC_OP=settings_changed", &["PROJECT", "ACTOR"]),
    ] {
        let entry = until(matches, PATIENCE, || inside.journal(matches).pop());
        for field in fields {
            assert!(!text(&entry[format!("LABELSYNC_{field}")]).is_empty(), "{matches}: no {field} in {entry:#}");
        }
        let took = text(&entry["LABELSYNC_DURATION_USEC"]);
        assert!(!fields.contains(&"DURATION_USEC") || took.parse::<u64>().is_ok_and(|usec| usec > 0), "{took}");
    }

    // An error, by its code.
    inside.ok("mv /srv/in /srv/away");
    until("the error", PATIENCE, || (inside.status()["state"] == "degraded").then_some(()));
    let code = inside.status()["reasons"][0]["code"].as_str().expect("a code").to_owned();
    let failed = inside.journal(&format!("LABELSYNC_ERROR={code}"));
    assert_eq!(failed.len(), 1, "told once, then counted: {failed:?}");
    assert_eq!(failed[0]["PRIORITY"], "4");
    assert_eq!((&failed[0]["LABELSYNC_OP"], &failed[0]["LABELSYNC_PROJECT"]), (&"cycle_failed".into(), &"cats".into()));
    for field in ["LABELSYNC_BUCKET", "LABELSYNC_DURATION_USEC"] {
        assert!(failed[0][field].is_string(), "{field}: {failed:?}");
    }
}

/// A field as text: journalctl gives what is not printable as a list of bytes.
fn text(field: &serde_json::Value) -> String {
    match field {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8(bytes).expect("UTF-8")
        }
        _ => String::new(),
    }
}
