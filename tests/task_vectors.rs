//! Every task of the recorded source cases, given to our rules and compared with what Label Studio 0.8.2.post0 did.
//!
//! Promise: accepted where it accepted, with an equal body as JSON; refused where it refused. Where labelsync differs
//! on purpose there is a rule: a predicate on the *input* that turns Label Studio's outcome into ours, with the cases
//! under it counted.
//! Not here: which keys are selected, in which order and with which ids.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "vectors/rules.rs"]
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use base64::Engine as _;
use labelsync::names::TaskId;
use labelsync::project::label_config::LabelConfig;
use labelsync::project::validate::{
    BodyRules, Rejected, TaskBody, TaskLimits, blob_task, check_task, check_url, task_from_object,
};
use serde_json::Value;

use self::rules::{Input, MadeFrom, loose, same};

/// Cases of the vectors under each rule.
const UNDER_RULES: [(&str, usize); 6] = [
    ("c10_a_blob_task_fits_the_label_config", 3),
    ("c11_numbers_that_cannot_be_read_back", 3),
    ("c11_lone_surrogates", 2),
    ("c13_urls_that_resolve_to_something_else", 12),
    ("c14_only_known_fields_at_the_top", 4),
    ("l73_a_key_twice_in_one_object", 4),
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
        let (expected, under) = rules::turn(&input, recorded);
        for rule in under {
            under_rules.entry(rule).or_default().insert(input.case.clone());
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
    for (name, count) in UNDER_RULES {
        let cases = under_rules.remove(name).unwrap_or_default();
        writeln!(out, "  {name:42} {:2} cases  {}", cases.len(), Vec::from_iter(cases.iter().cloned()).join(" "))
            .unwrap();
        assert_eq!(cases.len(), count, "cases under {name}");
    }
    assert!(under_rules.is_empty(), "{under_rules:?}");
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
