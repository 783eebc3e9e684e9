//! When the real daemon polls: projects that begin together part, an idle bucket is asked less often where it may be.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, until};

/// Projects that begin together.
const PROJECTS: usize = 8;

/// From the begin of the source's last poll to the next one; `None`: it has not ended.
fn pause_ms(status: &Value) -> Option<i64> {
    let poll = &status["source"]["poll"];
    let at = |name: &str| poll[name].as_i64();
    let (began, ended, next) = (at("last_started_at")?, at("last_success_at")?, at("next_at")?);
    (began <= ended && ended < next).then_some(next - began)
}

pub fn projects_that_begin_together_poll_apart() {
    let mut rig = Rig::new();
    let names: Vec<String> = (0..PROJECTS).map(|n| format!("p{n}")).collect();
    let mut settings = String::new();
    for name in &names {
        rig.project(name, IMAGE_CONFIG);
        let project = rig.local_project(name, ".*");
        let project = project.replacen("poll_interval = \"1s\"", "poll_interval = \"60s\"", 1);
        settings += &project.replace("prefix = \"done\"", &format!("prefix = \"done/{name}\""));
    }
    rig.settings(&settings);
    rig.put("a.png", "a picture");
    rig.start();
    let pauses: BTreeSet<i64> = names
        .iter()
        .map(|name| until("the first poll of each", PATIENCE, || pause_ms(&rig.status_of(name))))
        .inspect(|pause| assert!((29_000..=61_000).contains(pause), "{pause} ms"))
        .map(|pause| pause / 1_000)
        .collect();
    assert!(pauses.len() > PROJECTS / 2, "their second polls are together: {pauses:?}");
}

pub fn an_idle_bucket_is_polled_less_often_until_it_has_news() {
    let mut rig = Rig::local(".*");
    let settings = std::fs::read_to_string(rig.config()).expect("written");
    let idle = "poll_interval = \"1s\"\npoll_interval_idle = \"1h\"\n";
    std::fs::write(rig.config(), settings.replacen("poll_interval = \"1s\"\n", idle, 1)).expect("written");
    rig.start();
    rig.until_status("polls every second at first", |status| {
        pause_ms(status).is_some_and(|pause| (0..1_500).contains(&pause))
    });
    rig.until_status("polls further apart", |status| pause_ms(status).is_some_and(|pause| pause > 1_900));
    rig.put("a.png", "a picture");
    rig.until_tasks(1);
    rig.until_status("polls every second again", |status| pause_ms(status).is_some_and(|pause| pause < 1_500));
}
