//! `lsctl verify` beside the real daemon.

use std::time::Duration;

use crate::support::Trials;
use crate::support::rig::{Rig, until};

pub fn add(trials: &mut Trials) {
    trials.test("l28_verify_finds_what_differs_in_the_target_and_nothing_else", || async { differences() });
}

fn differences() {
    let mut rig = Rig::local(".*");
    for name in ["a", "b", "c"] {
        rig.put(&format!("{name}.jpg"), name);
    }
    rig.start();
    rig.until_tasks(3);
    for id in 0..3 {
        let bytes = rig.label(id, "cat");
        rig.until_pushed(id, &bytes);
    }
    rig.until_status("receipts", |status| status["target"]["in_step"] == 3);
    let whole = rig.lsctl(&["--json", "verify", "cats"]);
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    assert!(whole.out.contains("\"checked\":3,\"same\":3,\"different\":0"), "{}", whole.out);
    // Nobody looks at the target while it is damaged.
    assert_eq!(rig.lsctl(&["pause", "cats"]).code, 0);
    std::thread::sleep(Duration::from_millis(300));
    let object = rig.path("out/done/1");
    let mut bytes = std::fs::read(&object).expect("pushed");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&object, bytes).expect("damaged");
    std::fs::remove_file(rig.path("out/done/2")).expect("gone");
    let ran = until("the differences", Duration::from_secs(10), || {
        let ran = rig.lsctl(&["--json", "verify", "cats"]);
        (ran.code == 7).then_some(ran)
    });
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((&report["checked"], &report["same"], &report["different"]), (&3.into(), &1.into(), &2.into()));
    let reasons: Vec<_> =
        report["differences"].as_array().expect("a list").iter().map(|d| (&d["id"], &d["reason"])).collect();
    assert_eq!(reasons, [(&1.into(), &"target_differs".into()), (&2.into(), &"target_missing".into())]);
}
