//! What repeats itself: told once.

use std::fs;

use serde_json::Value;

use crate::support::rig::{PATIENCE, Rig, until};

/// More often than it may be said. Each takes two seconds: a failed look is waited for.
const TIMES: usize = 5;

fn told(rig: &Rig, kind: &str) -> Vec<String> {
    let lines = rig.ok(&["--json", "events"]);
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    events
        .filter(|event| event["kind"] == kind)
        .map(|event| event["message"].as_str().expect("a text").to_owned())
        .collect()
}

fn logged(rig: &Rig, kind: &str) -> usize {
    rig.log().lines().filter(|line| line.contains(&format!("kind=\"{kind}\""))).count()
}

/// Promise 92: once a change, then counted.
pub fn l92_an_error_that_repeats_is_logged_once() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let saved = rig.label(0, "cat");
    rig.until_pushed(0, &saved);
    for (round, bucket) in ["in", "out"].into_iter().enumerate() {
        let side = if bucket == "in" { "source" } else { "target" };
        let before = (told(&rig, "cycle_failed").len(), told(&rig, "cycle_recovered").len());
        fs::rename(rig.path(bucket), rig.path("away")).expect("moved");
        for _ in 0..TIMES {
            assert_ne!(rig.sync(), 0, "{side} is away");
        }
        let failures = rig.status()[side]["poll"]["failures"].as_u64().expect("a number");
        assert!(failures >= TIMES as u64, "{failures} failures are counted");
        let failed = told(&rig, "cycle_failed");
        assert_eq!(failed.len(), before.0 + 1, "{failed:#?}");
        assert_eq!(logged(&rig, "cycle_failed"), failed.len(), "{}", rig.log());
        // A long outage is told again, at its 16th failure.
        until("the 16th failure", PATIENCE, || {
            rig.ok(&["sync", "cats"]);
            (rig.status()[side]["poll"]["failures"].as_u64() >= Some(16)).then_some(())
        });
        let again = told(&rig, "cycle_failed");
        assert_eq!(again.len(), before.0 + 2, "{again:#?}");
        assert!(again[before.0 + 1].contains("(16 times by now)"), "{again:#?}");
        assert!(rig.metric("labelsyncd_errors_total{code=\"bucket_missing\"}") > 15.0 * (round + 1) as f64);
        fs::rename(rig.path("away"), rig.path(bucket)).expect("moved back");
        rig.until_status("ok", |status| status["state"] == "ok");
        let recovered = told(&rig, "cycle_recovered");
        assert_eq!(recovered.len(), before.1 + 1, "{recovered:#?}");
        assert!(recovered[round].contains("goes on; it failed"), "{recovered:#?}");
        assert!(rig.log().lines().count() < 20 * (round + 1), "nothing else is said either:\n{}", rig.log());
    }
}
