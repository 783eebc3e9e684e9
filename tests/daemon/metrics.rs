//! The metrics that Prometheus scrapes, and the port it scrapes them from.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::support::rig::{PATIENCE, Rig, until};
use crate::support::servers::free_port;

/// What a real daemon printed once; the alert rules and the dashboard are judged on it (`docs.rs`).
const RECORDED: &str = include_str!("../docs/metrics.txt");

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = until("the port answers", PATIENCE, || TcpStream::connect(address).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// Families with their types, and names of labels.
fn shape(text: &str) -> BTreeSet<String> {
    let label = regex::Regex::new(r#"([a-z0-9_]+)=""#).expect("a pattern");
    let family = |line: &str| line.strip_prefix("# TYPE ").map(str::to_owned);
    let labels = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let names: Vec<&str> = label.captures_iter(line).filter_map(|found| Some(found.get(1)?.as_str())).collect();
        (!line.starts_with('#')).then(|| format!("{name}{{{}}}", names.join(",")))
    };
    text.lines().filter_map(|line| family(line).or_else(|| labels(line))).collect()
}

pub fn l90_metrics_are_scraped_as_recorded() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut rig = Rig::local(r".*\.png");
    let settings = std::fs::read_to_string(rig.config()).expect("written");
    let settings = settings.replace("[daemon]\n", &format!("[daemon]\nmetrics_listen = \"{address}\"\n"));
    std::fs::write(rig.config(), settings).expect("written");
    rig.put("a.png", "a picture");
    rig.put("a.txt", "no picture");
    rig.start();
    rig.until_tasks(1);
    let bytes = rig.label(0, "cat");
    rig.until_pushed(0, &bytes);
    // One error, and a reload.
    std::fs::rename(rig.path("in"), rig.path("away")).expect("moved");
    rig.until_code("bucket_missing");
    std::fs::rename(rig.path("away"), rig.path("in")).expect("moved back");
    assert_eq!(rig.sync(), 0);
    rig.signal(Signal::HUP);
    let count = |text: &str, start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
        line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()).expect("a number")
    };
    let text = until("the reload is counted", PATIENCE, || {
        let text = ask(address, "GET /metrics");
        (count(&text, "labelsyncd_config_reloads_total{result=\"ok\"}") > 0.5).then_some(text)
    });
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("200 OK") && head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert!(count(body, "labelsyncd_pushes_total{project=\"cats\",result=\"ok\"}") > 0.5);
    assert!(count(body, "labelsyncd_errors_total{code=\"bucket_missing\"}") > 0.5);
    assert!(count(body, "labelsyncd_polls_total{project=\"cats\",direction=\"source\",result=\"error\"}") > 0.5);
    assert!(count(body, "labelsyncd_local_bytes_total{direction=\"written\"}") >= bytes.len() as f64);
    assert!(count(body, "labelsyncd_skipped_objects_total{project=\"cats\",reason=\"regex\"}") > 0.5);
    assert!(count(body, "labelsyncd_rescans_total{cause=\"started\"}") > 0.5);
    assert!(count(body, "labelsyncd_push_oldest_pending_seconds{project=\"cats\"}").abs() < 1e-9, "nothing waits");
    assert!(count(body, "process_resident_memory_bytes") > 1e6);
    // For whoever is told below to record it again.
    let fresh = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    std::fs::write(&fresh, body).expect("written");
    let missing: Vec<String> = shape(RECORDED).difference(&shape(body)).cloned().collect();
    assert!(missing.is_empty(), "tests/docs/metrics.txt has what is there no more: {missing:#?}");
    let new: Vec<String> = shape(body).difference(&shape(RECORDED)).cloned().collect();
    assert!(new.is_empty(), "record tests/docs/metrics.txt again, it is in {}: {new:#?}", fresh.display());

    // Nothing else is there, and nothing can be changed.
    for (request, status) in
        [("GET /v1/status", "404"), ("POST /metrics", "405"), ("PATCH /v1/projects/cats/source", "404")]
    {
        assert!(ask(address, request).starts_with(&format!("HTTP/1.1 {status}")), "{request}");
    }
}

/// Annotators who save all the time do not put off the periodic look at every file, which finds what no event told.
pub fn l50_saving_all_the_time_does_not_put_off_the_look_at_everything() {
    let mut rig = Rig::local(".*");
    let settings = rig.local_project("cats", ".*");
    // Only the target's: its looks at the bucket are looks at everything, too.
    let (source, target) = settings.split_once("[projects.cats.target]").expect("both sides");
    rig.settings(&format!("{source}[projects.cats.target]{}", target.replace("\"1s\"", "\"1h\"")));
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let is_periodic = |line: &str| line.starts_with("labelsyncd_rescans_total{cause=\"periodic\"}");
    let mut saved = 0;
    until("a look at everything", PATIENCE, || {
        saved += 1;
        let bytes = rig.label(0, &format!("choice {saved}"));
        rig.until_pushed(0, &bytes);
        rig.ok(&["metrics"]).lines().any(|line| is_periodic(line) && !line.ends_with(" 0")).then_some(())
    });
}

/// While the target is away: for how long the completion waits that waits longest.
pub fn l90_the_oldest_push_that_waits_is_in_the_metrics() {
    let mut rig = Rig::local(".*");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let pushed = rig.label(0, "cat");
    rig.until_pushed(0, &pushed);
    let waits = |rig: &Rig| {
        let text = rig.ok(&["metrics"]);
        let line = text.lines().find(|line| line.starts_with("labelsyncd_push_oldest_pending_seconds{"));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).expect("a number");
        value > 0.0
    };
    until("nothing that waits", PATIENCE, || (!waits(&rig)).then_some(()));
    std::fs::rename(rig.path("out"), rig.path("away")).expect("moved");
    rig.until_code("bucket_missing");
    let saved = rig.label(0, "dog");
    until("a completion that waits", PATIENCE, || waits(&rig).then_some(()));
    std::fs::rename(rig.path("away"), rig.path("out")).expect("moved back");
    rig.sync();
    rig.until_pushed(0, &saved);
    until("nothing that waits", PATIENCE, || (!waits(&rig)).then_some(()));
}

pub fn l91_series_do_not_grow_with_the_bucket() {
    let mut rig = Rig::local(".*");
    for number in 0..20 {
        rig.put(&format!("{number}.png"), "a picture");
    }
    rig.start();
    rig.until_tasks(20);
    let series = |rig: &Rig| shape_and_values(&rig.ok(&["metrics"]));
    assert_eq!(rig.sync(), 0);
    let before = series(&rig);
    for number in 20..220 {
        rig.put(&format!("{number}.png"), "a picture");
    }
    rig.until_tasks(220);
    assert_eq!(rig.sync(), 0);
    let new: Vec<String> = series(&rig).difference(&before).cloned().collect();
    assert!(new.iter().all(|series| series.contains("control_requests")), "{new:#?}");
    assert!(before.iter().all(|series| !series.contains(".png")), "{before:#?}");
}

fn shape_and_values(text: &str) -> BTreeSet<String> {
    let series =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    series.collect()
}

pub fn l61_metrics_are_not_for_everybody_by_accident() {
    let rig = Rig::local(".*");
    let settings = std::fs::read_to_string(rig.config()).expect("written");
    let checked = |lines: &str| {
        std::fs::write(rig.config(), settings.replace("[daemon]\n", &format!("[daemon]\n{lines}\n"))).expect("written");
        let config = rig.config().display().to_string();
        crate::support::rig::Ran::of(&mut rig.labelsyncd(&["--check", "--config", &config]))
    };
    let refused = checked("metrics_listen = \"0.0.0.0:9095\"");
    assert_eq!(refused.code, 78);
    assert!(
        refused.err.contains("daemon.metrics_listen") && refused.err.contains("metrics_allow_remote"),
        "{}",
        refused.err
    );
    assert_eq!(checked("metrics_listen = \"9095\"").code, 78);
    assert_eq!(checked("metrics_listen = \"[::1]:9095\"").code, 0);
    assert_eq!(checked("metrics_listen = \"0.0.0.0:9095\"\nmetrics_allow_remote = true").code, 0);
}

pub fn a_taken_port_is_told_and_the_main_job_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut rig = Rig::local(".*");
    let settings = std::fs::read_to_string(rig.config()).expect("written");
    let line = format!("[daemon]\nmetrics_listen = \"{}\"\n", taken.local_addr().expect("an address"));
    std::fs::write(rig.config(), settings.replace("[daemon]\n", &line)).expect("written");
    rig.put("a.png", "a picture");
    rig.start();
    rig.until_tasks(1);
    let told = || rig.ok(&["events"]).contains("metrics_listen: cannot listen").then_some(());
    until("it is told", PATIENCE, told);
}

/// Also where not even the mark can be read: after a start, and a minute into an outage.
pub fn l90_what_waits_for_a_target_that_was_not_reached_yet_is_counted() {
    let mut rig = super::service::unreachable();
    let data = serde_json::json!({"image": "http://x/a.png"});
    crate::support::rig::write(
        &rig.path("cats/tasks.json"),
        &serde_json::json!({"0": {"id": 0, "data": data}}).to_string(),
    );
    let saved = crate::support::rig::completion(0, &data, "cat");
    std::fs::create_dir_all(rig.path("cats/completions")).expect("made");
    std::fs::write(rig.path("cats/completions/0.json"), saved).expect("written");
    rig.start();
    rig.until_status("one waits", |status| status["target"]["pending"] == 1);
}
