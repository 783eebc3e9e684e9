//! The alert rules and the dashboard, judged on metrics that a real daemon printed (`metrics.txt`).
//!
//! Of PromQL only what the rules use: each rule is quiet on the recorded text, and fires when its situation is put in.

use std::collections::{BTreeMap, BTreeSet};

use crate::pages::text;

type Labels = BTreeMap<String, String>;

/// The metrics at one moment.
#[derive(Clone)]
struct Scrape {
    at: f64,
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    fn recorded() -> Self {
        let sample = regex::Regex::new(r"^([a-z0-9_]+)(?:\{(.*)\})? ([0-9.e+-]+)$").unwrap();
        let label = regex::Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
        let of = |line: &str| {
            let found = sample.captures(line).unwrap_or_else(|| panic!("{line}"));
            let labels = found.get(2).map_or("", |labels| labels.as_str());
            let labels = label.captures_iter(labels).map(|l| (l[1].to_owned(), l[2].to_owned())).collect();
            (found[1].to_owned(), labels, found[3].parse().unwrap())
        };
        let samples: Vec<_> =
            text("tests/docs/metrics.txt").lines().filter(|line| !line.starts_with('#')).map(of).collect();
        let poll =
            samples.iter().find(|(name, ..)| name.ends_with("last_successful_poll_timestamp_seconds")).unwrap().2;
        Self { at: poll + 10.0, samples }
    }

    /// The same, `seconds` later, with one value (of the samples that have these labels) changed or added.
    fn with(&self, seconds: f64, name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        let mut next = self.clone();
        next.at += seconds;
        let wanted: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut changed = false;
        for (found, has, number) in &mut next.samples {
            if found == name && wanted.iter().all(|(k, v)| has.get(k) == Some(v)) {
                (*number, changed) = (value, true);
            }
        }
        if !changed {
            next.samples.push((name.to_owned(), wanted, value));
        }
        next
    }

    fn later(&self, seconds: f64) -> Self {
        Self { at: self.at + seconds, ..self.clone() }
    }

    fn negated(&self) -> Self {
        let samples = self.samples.iter().map(|(name, labels, value)| (name.clone(), labels.clone(), -value));
        Self { at: self.at, samples: samples.collect() }
    }

    fn without(&self, name: &str) -> Self {
        let mut next = self.clone();
        next.samples.retain(|(found, ..)| found != name);
        next
    }
}

/// `name{label="value",other=~"a|b"}`.
struct Selector {
    name: String,
    matches: Vec<(String, regex::Regex)>,
}

impl Selector {
    fn parse(text: &str) -> Self {
        let (name, rest) = text.split_once('{').unwrap_or((text, ""));
        let part = regex::Regex::new(r#"([a-z]+)(=~|=)"([^"]*)""#).unwrap();
        let of = |found: regex::Captures<'_>| {
            let pattern = if &found[2] == "=" { regex::escape(&found[3]) } else { found[3].to_owned() };
            (found[1].to_owned(), regex::Regex::new(&format!("^(?:{pattern})$")).unwrap())
        };
        Self { name: name.to_owned(), matches: part.captures_iter(rest).map(of).collect() }
    }

    fn of(&self, scrape: &Scrape) -> Vec<(Labels, f64)> {
        let empty = String::new();
        let takes = |labels: &Labels| self.matches.iter().all(|(k, v)| v.is_match(labels.get(k).unwrap_or(&empty)));
        let found = scrape.samples.iter().filter(|(name, labels, _)| *name == self.name && takes(labels));
        found.map(|(_, labels, value)| (labels.clone(), *value)).collect()
    }
}

/// Whether the expression holds for some series at the last moment.
fn fires(expression: &str, scrapes: &[Scrape]) -> bool {
    if let Some((one, other)) = expression.split_once(" and on (project) ") {
        let projects = |text: &str| -> BTreeSet<String> {
            holds(text, scrapes).iter().filter_map(|labels| labels.get("project").cloned()).collect()
        };
        return !projects(one).is_disjoint(&projects(other));
    }
    !holds(expression, scrapes).is_empty()
}

fn holds(expression: &str, scrapes: &[Scrape]) -> Vec<Labels> {
    let now = scrapes.last().unwrap();
    if let Some(inner) = expression.strip_prefix("abs(") {
        let negative = now.negated();
        let inner = inner.replacen(')', "", 1);
        return [holds(&inner, scrapes), holds(&inner, &[negative])].concat();
    }
    if let Some(inner) = expression.strip_prefix("absent(") {
        let none = Selector::parse(inner.trim_end_matches(')')).of(now).is_empty();
        return if none { vec![Labels::new()] } else { Vec::new() };
    }
    let shape = regex::Regex::new(
        r"^(?:(changes|delta|increase)\((.+)\[(\d+)([mh])\]\)|(time\(\) - )?(\S+)) (>|==) ([0-9.]+)$",
    )
    .unwrap();
    let parts = shape.captures(expression).unwrap_or_else(|| panic!("not understood: {expression}"));
    let limit: f64 = parts[8].parse().unwrap();
    let is = |value: f64| if &parts[7] == ">" { value > limit } else { (value - limit).abs() < 1e-9 };
    let Some(function) = parts.get(1) else {
        let age = |value: f64| if parts.get(5).is_some() { now.at - value } else { value };
        let series = Selector::parse(&parts[6]).of(now).into_iter();
        return series.filter(|(_, value)| is(age(*value))).map(|(labels, _)| labels).collect();
    };
    let seconds = parts[3].parse::<f64>().unwrap() * if &parts[4] == "m" { 60.0 } else { 3_600.0 };
    let selector = Selector::parse(&parts[2]);
    let mut series: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for scrape in scrapes.iter().filter(|scrape| scrape.at >= now.at - seconds) {
        for (labels, value) in selector.of(scrape) {
            series.entry(labels).or_default().push(value);
        }
    }
    let value = |values: &[f64]| match function.as_str() {
        "changes" => values.windows(2).filter(|pair| (pair[0] - pair[1]).abs() > 1e-9).count() as f64,
        _ => values[values.len() - 1] - values[0],
    };
    series.into_iter().filter(|(_, values)| is(value(values))).map(|(labels, _)| labels).collect()
}

/// Name and expression of each rule.
fn rules() -> BTreeMap<String, String> {
    let rules = text("systemd/prometheus-rules.yml");
    let mut found = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap().to_owned();
        let mut lines = rule.lines().skip_while(|line| !line.trim_start().starts_with("expr:"));
        let first = lines.next().unwrap().trim_start().trim_start_matches("expr:").trim();
        let expression = if first == ">-" {
            let folded: Vec<&str> = lines.take_while(|line| line.starts_with("          ")).map(str::trim).collect();
            folded.join(" ")
        } else {
            first.to_owned()
        };
        found.insert(name, expression);
    }
    found
}

pub fn each_fires_in_its_situation_and_no_other() {
    let rules = rules();
    let quiet = Scrape::recorded();
    let start = "labelsyncd_start_time_seconds";
    let cats = [("project", "cats")];
    let restarts: Vec<Scrape> = (0..5).map(|n| quiet.with(60.0 * f64::from(n), start, &[], f64::from(n))).collect();
    let then = |scrape: Scrape| vec![quiet.clone(), scrape];
    let error = |code: &'static str, count: f64| quiet.with(60.0, "labelsyncd_errors_total", &[("code", code)], count);
    let mut situations: BTreeMap<&str, Vec<Scrape>> = BTreeMap::from([
        ("LabelsyncDown", then(quiet.without("labelsyncd_build_info"))),
        ("LabelsyncCrashLoop", restarts),
        ("LabelsyncProjectNotOk", then(quiet.with(1.0, "labelsyncd_project_ok", &cats, 0.0))),
        ("LabelsyncPollStale", then(quiet.later(1_000.0))),
        ("LabelsyncHeld", then(quiet.with(1.0, "labelsyncd_held", &[("reason", "source_empty")], 1.0))),
        ("LabelsyncConflict", then(quiet.with(1.0, "labelsyncd_conflicts", &cats, 2.0))),
        ("LabelsyncAuthError", vec![error("auth_error", 1.0), error("auth_error", 4.0)]),
        ("LabelsyncDiskFull", then(quiet.with(1.0, "labelsyncd_disk_full", &cats, 1.0))),
        (
            "LabelsyncStateWriteErrors",
            then(quiet.with(1.0, "labelsyncd_state_write_errors_total", &[("errno", "ENOSPC")], 1.0)),
        ),
        ("LabelsyncLedgerUnusable", vec![error("ledger_damaged", 1.0), error("ledger_damaged", 2.0)]),
        ("LabelsyncClockSkew", then(quiet.with(1.0, "labelsyncd_clock_skew_seconds", &[], -400.0))),
        (
            "LabelsyncSettingsRefused",
            then(quiet.with(1.0, "labelsyncd_config_reloads_total", &[("result", "error")], 1.0)),
        ),
        ("LabelsyncNothingSelected", then(quiet.with(1.0, "labelsyncd_source_objects", &[("state", "selected")], 0.0))),
        ("LabelsyncQuarantineGrows", then(quiet.with(1.0, "labelsyncd_quarantined", &cats, 1.0))),
    ]);
    let waiting = quiet.with(1.0, "labelsyncd_push_oldest_pending_seconds", &cats, 1_000.0);
    situations.insert("LabelsyncPushBacklog", then(waiting));
    let reason = [("project", "cats"), ("reason", "regex_limit")];
    let few = quiet.with(1.0, "labelsyncd_skipped_objects_total", &reason, 1.0);
    let more = quiet.with(2.0, "labelsyncd_skipped_objects_total", &reason, 5.0);
    situations.insert("LabelsyncSkippedGrows", vec![few, more]);

    assert_eq!(situations.keys().copied().collect::<Vec<_>>(), rules.keys().collect::<Vec<_>>());
    for (name, expression) in &rules {
        assert!(!fires(expression, &[quiet.clone(), quiet.later(60.0)]), "{name} fires where all is well");
        for (situation, scrapes) in &situations {
            assert_eq!(fires(expression, scrapes), name == situation, "{name} in the situation of {situation}");
        }
    }
}

pub fn the_guide_explains_each() {
    let guide = text("docs/operations.md");
    let explained: BTreeSet<&str> = guide.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = rules();
    assert_eq!(explained, rules.keys().map(String::as_str).collect());
}

/// The guide's table has every metric that there is, with its labels, and no other.
pub fn the_guide_names_every_metric() {
    let guide = text("docs/operations.md");
    let named = regex::Regex::new(r"`((?:labelsyncd|process)_[a-z0-9_]+)(?:\{([a-z,]+)\})?`").unwrap();
    let rows = guide.lines().filter(|line| line.starts_with("| `labelsyncd_") || line.starts_with("| `process_"));
    let first = rows.map(|row| row.split(" | ").next().unwrap());
    let of_row = |row: &str| -> Vec<String> {
        let labels = |labels: Option<regex::Match<'_>>| labels.map_or(String::new(), |labels| labels.as_str().into());
        named.captures_iter(row).map(|found| format!("{}{{{}}}", &found[1], labels(found.get(2)))).collect()
    };
    let said: BTreeSet<String> = first.flat_map(of_row).collect();
    let family = |name: &str| {
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name.replace("_local_", "_s3_")
    };
    let there = Scrape::recorded().samples.into_iter().map(|(name, mut labels, _)| {
        labels.remove("le");
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        format!("{}{{{}}}", family(&name), names.join(","))
    });
    let mut there: BTreeSet<String> = there.collect();
    // Only servers tell their time.
    there.insert("labelsyncd_clock_skew_seconds{}".to_owned());
    let sorted = |name: &String| {
        let (name, labels) = name.split_once('{').unwrap();
        let labels: BTreeSet<&str> = labels.trim_end_matches('}').split(',').collect();
        format!("{name}{labels:?}")
    };
    assert_eq!(said.iter().map(sorted).collect::<Vec<_>>(), there.iter().map(sorted).collect::<Vec<_>>());
}

pub fn the_dashboard_asks_for_metrics_that_are_there() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("systemd/grafana-dashboard.json")).unwrap();
    let recorded = Scrape::recorded();
    let mut names: BTreeSet<String> = recorded.samples.iter().map(|(name, ..)| name.clone()).collect();
    // The recording daemon had directories for buckets; every kind of store has the same families.
    let of_local: Vec<String> = names.iter().filter(|name| name.starts_with("labelsyncd_local_")).cloned().collect();
    assert!(of_local.len() >= 3, "{of_local:?}");
    for kind in ["s3", "gcs"] {
        names.extend(of_local.iter().map(|name| name.replace("_local_", &format!("_{kind}_"))));
    }
    // Only servers tell their time.
    names.insert("labelsyncd_clock_skew_seconds".to_owned());
    let metric = regex::Regex::new(r"\b(labelsyncd|process)_[a-z0-9_]+").unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let found: Vec<_> = metric.find_iter(expression).map(|found| found.as_str().to_owned()).collect();
            assert!(!found.is_empty(), "{expression}");
            for name in found {
                assert!(names.contains(&name), "{expression}: there is no {name}");
                asked.insert(name);
            }
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
}

/// Every kind of event in the code has a fixed id, and every id its explanation.
pub fn the_catalog_explains_every_event() {
    let catalog = text("systemd/labelsyncd.catalog");
    for (kind, id) in labelsync::telemetry::ids::all() {
        let entry =
            catalog.split("\n-- ").find(|entry| entry.starts_with(id)).unwrap_or_else(|| panic!("{kind}: no entry"));
        assert!(entry.contains("Subject: ") && entry.trim().lines().count() >= 5, "{kind}");
    }
    assert_eq!(catalog.matches("\n-- ").count(), labelsync::telemetry::ids::all().len());
    let told = regex::Regex::new(r#"Happened::new\(\s*Level::\w+,\s*"([a-z_]+)""#).unwrap();
    let mut kinds = BTreeSet::new();
    let mut dirs = vec![crate::pages::path("daemon")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let code = std::fs::read_to_string(path).unwrap();
                kinds.extend(told.captures_iter(&code).map(|found| found[1].to_owned()));
            }
        }
    }
    assert!(kinds.len() > 15, "{kinds:?}");
    for kind in kinds {
        assert!(
            labelsync::telemetry::ids::of(&kind).is_some(),
            "`{kind}` has no id: give it one (any new UUID) in telemetry/ids.rs, and explain it in systemd/labelsyncd.catalog"
        );
    }
}

/// labelsyncd(8) names every option and command, and no page is roff that man cannot take.
pub fn the_manual_has_every_option() {
    let page = text("docs/man/labelsyncd.8").replace("\\-", "-");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_labelsyncd")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let option = regex::Regex::new(r"--[a-z-]+").unwrap();
    for found in option.find_iter(&help) {
        assert!(page.contains(found.as_str()), "labelsyncd(8) has no {}", found.as_str());
    }
    for command in ["init", "demo"] {
        assert!(help.contains(command) && page.contains(&format!(".B {command}")), "{command}");
    }
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    for line in commands {
        let name = line.split_whitespace().next().unwrap();
        assert!(name == "help" || page.contains(&format!(".B {name}")), "labelsyncd(8) has no {name}");
    }
    for name in ["lsctl", "labelsyncd", "labelsyncd.toml"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lsctl")).args(["man", name]).output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(page.starts_with(".TH ") && page.contains(".SH NAME\n"), "{page}");
        for line in page.lines().filter(|line| line.starts_with('.')) {
            let known = [
                ".TH ", ".SH ", ".SS ", ".TP", ".PP", ".B ", ".BR ", ".RB ", ".RI ", ".BI ", ".I ", ".IR ", ".br",
                ".nf", ".fi",
            ];
            assert!(known.iter().any(|request| line.starts_with(request)), "{name}: {line}");
        }
    }
}
