//! Every task of the recorded source cases, given to our rules and compared with what Label Studio 0.8.2.post0 did.
//!
//! Promise: accepted where it accepted, with an equal body as JSON; refused where it refused. Where labelsync differs
//! on purpose there is a rule: a predicate on the *input* that turns Label Studio's outcome into ours, with the cases
//! under it counted.
//! Not here: which keys are selected, in which order and with which ids.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use base64::Engine as _;
use labelsync::names::TaskId;
use labelsync::project::label_config::LabelConfig;
use labelsync::project::validate::{
    BodyRules, Rejected, TaskBody, TaskLimits, blob_task, check_task, check_url, task_from_object,
};
use regex::Regex;
use serde_json::Value;

/// One task that Label Studio held or refused, with all that it was made from.
struct Input {
    case: String,
    encoding: BodyRules,
    config: String,
    id: u64,
    made_from: MadeFrom,
}

enum MadeFrom {
    Blob { url: String, data_key: String },
    Json { body: Vec<u8> },
}

/// A difference on purpose.
struct Rule {
    name: &'static str,
    applies: fn(&Input) -> bool,
    /// Label Studio's outcome (`None`: refused) to ours.
    turns: fn(Option<Value>) -> Option<Value>,
    /// Cases of the vectors under this rule.
    cases: usize,
}

const RULES: [Rule; 6] = [
    Rule {
        name: "c10_a_blob_task_fits_the_label_config",
        applies: lacks_a_key_of_the_config,
        turns: refused,
        cases: 3,
    },
    Rule { name: "c11_numbers_that_cannot_be_read_back", applies: holds_a_bad_number, turns: refused, cases: 3 },
    Rule { name: "c11_lone_surrogates", applies: holds_a_lone_surrogate, turns: refused, cases: 2 },
    Rule { name: "c13_urls_that_resolve_to_something_else", applies: cannot_be_resolved, turns: refused, cases: 12 },
    Rule { name: "c14_only_known_fields_at_the_top", applies: holds_other_fields, turns: without_them, cases: 4 },
    Rule { name: "l73_a_key_twice_in_one_object", applies: names_a_key_twice, turns: refused, cases: 4 },
];

/// Recorded tasks in both files.
const RECORDED_TASKS: usize = 444;
/// Those of them that Label Studio refused.
const REFUSED_TASKS: usize = 66;

#[test]
fn c10_every_recorded_task_is_accepted_or_refused_as_by_label_studio() {
    let mut under_rules: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut differences = Vec::new();
    let (mut tasks, mut refused_tasks) = (0, 0);
    for (input, recorded) in recorded_tasks() {
        tasks += 1;
        refused_tasks += usize::from(recorded.is_none());
        let mut expected = recorded.clone();
        for rule in RULES.iter().filter(|rule| (rule.applies)(&input)) {
            let turned = (rule.turns)(expected.clone());
            if turned != expected {
                under_rules.entry(rule.name).or_default().insert(input.case.clone());
            }
            expected = turned;
        }
        let ours = ours(&input);
        let is_same = match (&expected, &ours) {
            (Some(theirs), Ok(ours)) => same(theirs, ours),
            (None, Err(_)) => true,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        };
        if !is_same {
            differences.push(format!("{} task {}: expected {expected:?}, ours {ours:?}", input.case, input.id));
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "{tasks} recorded tasks, {refused_tasks} refused by Label Studio; differences on purpose:").unwrap();
    for rule in &RULES {
        let cases = under_rules.get(rule.name).cloned().unwrap_or_default();
        writeln!(
            out,
            "  {:42} {:2} cases  {}",
            rule.name,
            cases.len(),
            Vec::from_iter(cases.iter().cloned()).join(" ")
        )
        .unwrap();
        assert_eq!(cases.len(), rule.cases, "cases under {}", rule.name);
    }
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!((tasks, refused_tasks), (RECORDED_TASKS, REFUSED_TASKS));
}

fn ours(input: &Input) -> Result<Value, Rejected> {
    let config = LabelConfig::parse(&input.config).unwrap();
    let body: TaskBody = match &input.made_from {
        MadeFrom::Json { body } => task_from_object(body, input.encoding, &config, &TaskLimits::default())?,
        MadeFrom::Blob { url, data_key } => {
            let data_key = if data_key.is_empty() { config.first_data_key().unwrap_or("") } else { data_key };
            check_url(url)?;
            let body = blob_task(url, data_key);
            check_task(&body.fields(), &config)?;
            body
        }
    };
    Ok(loose(body.to_json(TaskId::new(input.id).unwrap()).as_bytes()).unwrap())
}

/// Equal as JSON; where the recording cut off what is nested deep, anything nested is equal.
fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::String(cut), Value::Array(_) | Value::Object(_)) => cut == "<deep>",
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn refused(_: Option<Value>) -> Option<Value> {
    None
}

fn without_them(theirs: Option<Value>) -> Option<Value> {
    let mut theirs = theirs?;
    theirs.as_object_mut()?.retain(|key, _| is_known_field(key));
    Some(theirs)
}

fn is_known_field(key: &str) -> bool {
    ["id", "data", "meta", "predictions", "completions"].contains(&key)
}

fn lacks_a_key_of_the_config(input: &Input) -> bool {
    let MadeFrom::Blob { data_key, .. } = &input.made_from else { return false };
    let keys: Vec<_> = regex(r#"value="\$([^"]+)""#).captures_iter(&input.config).map(|c| c[1].to_owned()).collect();
    let data_key = if data_key.is_empty() { keys.first() } else { Some(data_key) };
    keys.iter().any(|key| Some(key) != data_key)
}

fn cannot_be_resolved(input: &Input) -> bool {
    let is_bad = regex(r"^(s3|gs)://[^/]*(/?$|//|.*[?\t\r\n])");
    match &input.made_from {
        MadeFrom::Blob { url, .. } => is_bad.is_match(url),
        MadeFrom::Json { body } => {
            let Some(task) = loose(body) else { return false };
            let data = task.get("data").unwrap_or(&task);
            data.as_object().is_some_and(|data| data.values().filter_map(Value::as_str).any(|url| is_bad.is_match(url)))
        }
    }
}

fn holds_a_bad_number(input: &Input) -> bool {
    let Some(text) = json_text(input) else { return false };
    let without_strings = regex(r#""(?:[^"\\]|\\.)*""#).replace_all(&text, "");
    regex(r"-?[0-9A-Za-z.+-]+").find_iter(&without_strings).any(|word| match word.as_str() {
        "NaN" | "Infinity" | "-Infinity" => true,
        word if regex(r"^-?\d+$").is_match(word) => {
            !word.parse().is_ok_and(|n: i128| (-(1 << 63)..1 << 64).contains(&n))
        }
        word => word.parse().is_ok_and(f64::is_infinite),
    })
}

fn holds_a_lone_surrogate(input: &Input) -> bool {
    let Some(text) = json_text(input) else { return false };
    let text = text.replace(r"\\", "");
    let without_pairs = regex(r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}").replace_all(&text, "");
    regex(r"(?i)\\ud[89a-f][0-9a-f]{2}").is_match(&without_pairs)
}

fn holds_other_fields(input: &Input) -> bool {
    let Some(Value::Object(task)) = json_text(input).and_then(|text| loose(text.as_bytes())) else { return false };
    task.contains_key("data") && !task.keys().all(|key| is_known_field(key))
}

/// Fewer keys are left than were written.
fn names_a_key_twice(input: &Input) -> bool {
    let Some(text) = json_text(input) else { return false };
    let Some(value) = loose(text.as_bytes()) else { return false };
    regex(r#""(?:[^"\\]|\\.)*"\s*:"#).find_iter(&text).count() > count_keys(&value)
}

fn count_keys(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count_keys).sum(),
        Value::Object(map) => map.len() + map.values().map(count_keys).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn json_text(input: &Input) -> Option<String> {
    let MadeFrom::Json { body } = &input.made_from else { return None };
    String::from_utf8(body.clone()).ok()
}

fn loose(text: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    serde::Deserialize::deserialize(&mut reader).ok()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Walks the steps of each case: what each task was made from when Label Studio was asked for it, and its answer.
fn recorded_tasks() -> Vec<(Input, Option<Value>)> {
    let mut all = Vec::new();
    for file in ["source-s3", "source-gcs"] {
        let path = format!("{}/tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let mut objects = BTreeMap::new();
            for object in case["objects"].as_array().into_iter().flatten() {
                put_object(&mut objects, object);
            }
            let mut params = case["params"].clone();
            let mut snapshots = case["expected"].as_array().unwrap().iter();
            for step in case["steps"].as_array().unwrap() {
                match step["op"].as_str().unwrap() {
                    "put" => put_object(&mut objects, step),
                    "del" => drop(objects.remove(step["key"].as_str().unwrap())),
                    "params" => params = step["params"].clone(),
                    "start" | "restart" | "list" | "wait31" => {
                        all.extend(snapshot_tasks(case, &params, &objects, snapshots.next().unwrap()));
                    }
                    "stop" | "rmfile" | "wfile" => assert_ne!(step["name"], "config.xml"),
                    other => panic!("unknown step {other}"),
                }
            }
            assert_eq!(snapshots.count(), 0, "{}", case["id"]);
        }
    }
    all
}

fn put_object(objects: &mut BTreeMap<String, Vec<u8>>, object: &Value) {
    let Some(key) = object["key"].as_str() else { return assert!(object["gen"].is_string()) };
    let body = match object["body_b64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => object["body"].as_str().unwrap().as_bytes().to_vec(),
    };
    objects.insert(key.to_owned(), body);
}

fn snapshot_tasks(
    case: &Value,
    params: &Value,
    objects: &BTreeMap<String, Vec<u8>>,
    snapshot: &Value,
) -> Vec<(Input, Option<Value>)> {
    let mut tasks = Vec::new();
    let root =
        format!("{}://{}/", if case["provider"] == "s3" { "s3" } else { "gs" }, case["bucket_name"].as_str().unwrap());
    let keys: BTreeMap<u64, &str> = snapshot["selected"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| (entry[0].as_u64().unwrap(), entry[1].as_str().unwrap()))
        .collect();
    for (id, recorded) in snapshot["tasks"].as_object().into_iter().flatten() {
        let id = id.parse().unwrap();
        let url = keys[&id].to_owned();
        let made_from = if params["use_blob_urls"] != false {
            MadeFrom::Blob { url, data_key: params["data_key"].as_str().unwrap_or("").to_owned() }
        } else {
            // An object that is gone by now was never given to any rule.
            let Some(body) = objects.get(url.strip_prefix(&root).unwrap()) else { continue };
            MadeFrom::Json { body: body.clone() }
        };
        let input = Input {
            case: case["id"].as_str().unwrap().to_owned(),
            encoding: if case["provider"] == "s3" { BodyRules::Utf8 } else { BodyRules::AnyUnicode },
            config: case["label_config"].as_str().unwrap().to_owned(),
            id,
            made_from,
        };
        assert!(recorded.get("ok").is_some() != recorded.get("error").is_some(), "{}", input.case);
        tasks.push((input, recorded.get("ok").cloned()));
    }
    tasks
}
