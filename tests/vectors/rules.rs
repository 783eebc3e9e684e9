//! Where labelsync makes another task than Label Studio of the same object, on purpose: each difference is a rule with
//! a predicate on the *input* that turns Label Studio's outcome into ours.
//!
//! Promise: no rule knows an output of ours. `LABEL_STUDIO.md` has the reasons.
//! Not here: which objects are looked at, ids, completions.
#![allow(dead_code, reason = "two test programs use a part each")]

use labelsync::project::validate::BodyRules;
use regex::Regex;
use serde_json::Value;

/// One task that Label Studio held or refused, with all that it was made from.
pub struct Input {
    pub case: String,
    pub encoding: BodyRules,
    pub config: String,
    pub id: u64,
    pub made_from: MadeFrom,
}

/// What the task was made from.
pub enum MadeFrom {
    Blob { url: String, data_key: String },
    Json { body: Vec<u8> },
}

/// A difference on purpose.
pub struct Rule {
    pub name: &'static str,
    pub applies: fn(&Input) -> bool,
    /// Label Studio's outcome (`None`: refused) to ours.
    pub turns: fn(Option<Value>) -> Option<Value>,
}

/// Every difference of one task.
pub const TASK_RULES: [Rule; 7] = [
    Rule { name: "c10_a_blob_task_fits_the_label_config", applies: lacks_a_key_of_the_config, turns: refused },
    Rule { name: "c11_nesting_that_label_studio_cannot_copy", applies: is_nested_too_deep, turns: refused },
    Rule { name: "c11_numbers_that_cannot_be_read_back", applies: holds_a_bad_number, turns: refused },
    Rule { name: "c11_lone_surrogates", applies: holds_a_lone_surrogate, turns: refused },
    Rule { name: "c13_urls_that_resolve_to_something_else", applies: cannot_be_resolved, turns: refused },
    Rule { name: "c14_only_known_fields_at_the_top", applies: holds_other_fields, turns: without_them },
    Rule { name: "l73_a_key_twice_in_one_object", applies: names_a_key_twice, turns: refused },
];

/// Turns Label Studio's outcome into ours; the rules that made a difference.
pub fn turn(input: &Input, recorded: Option<Value>) -> (Option<Value>, Vec<&'static str>) {
    let (mut expected, mut under) = (recorded, Vec::new());
    for rule in TASK_RULES.iter().filter(|rule| (rule.applies)(input)) {
        let turned = (rule.turns)(expected.clone());
        if turned != expected {
            under.push(rule.name);
        }
        expected = turned;
    }
    (expected, under)
}

/// Equal as JSON; where the recording cut off what is nested deep, anything nested is equal.
pub fn same(theirs: &Value, ours: &Value) -> bool {
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
    let keys = keys_of(&input.config);
    let data_key = if data_key.is_empty() { keys.first() } else { Some(data_key) };
    keys.iter().any(|key| Some(key) != data_key)
}

/// What the label config asks for, in document order.
pub fn keys_of(config: &str) -> Vec<String> {
    let config = regex(r"(?s)<!--.*?-->|<!\[CDATA\[.*?\]\]>").replace_all(config, "");
    let value = regex(r#"\svalue=(?:"\$([^"]+)"|'\$([^']+)')"#);
    value.captures_iter(&config).filter_map(|c| Some(c.get(1).or(c.get(2))?.as_str().to_owned())).collect()
}

/// Botocore's and Google's names of buckets, and keys that arrive as they are.
fn cannot_be_resolved(input: &Input) -> bool {
    let is_cut = regex(r"^(s3|gs)://[^/]*(/?$|//|.*[?\t\r\n])");
    let is_s3 =
        regex(r"^s3://([a-zA-Z0-9._-]{1,255}|arn:aws[^/]*:s3:[a-z0-9-]*:[0-9]{12}:accesspoint:[a-zA-Z0-9.-]+)/");
    let is_gs = regex(r"^gs://[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?/");
    let is_nowhere = |url: &str| {
        (url.starts_with("s3://") && !is_s3.is_match(url)) || (url.starts_with("gs://") && !is_gs.is_match(url))
    };
    let is_bad = |url: &str| is_cut.is_match(url) || is_nowhere(url);
    match &input.made_from {
        MadeFrom::Blob { url, .. } => is_bad(url),
        MadeFrom::Json { body } => {
            let Some(task) = loose(body) else { return false };
            let data = task.get("data").unwrap_or(&task);
            data.as_object().is_some_and(|data| data.values().filter_map(Value::as_str).any(is_bad))
        }
    }
}

/// It fails from some 480 levels on; all beyond 400 are left out.
fn is_nested_too_deep(input: &Input) -> bool {
    json_text(input).and_then(|text| loose(text.as_bytes())).is_some_and(|task| depth(&task) > 400)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
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
    if let MadeFrom::Json { body } = &input.made_from
        && body.windows(2).any(|pair| pair[0] == 0xed && pair[1] >= 0xa0)
    {
        return true;
    }
    let Some(text) = json_text(input) else { return false };
    let text = text.replace(r"\\", "");
    let without_pairs = regex(r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}").replace_all(&text, "");
    regex(r"(?i)\\ud[89a-f][0-9a-f]{2}").is_match(&without_pairs)
}

fn holds_other_fields(input: &Input) -> bool {
    let Some(task) = json_text(input).and_then(|text| loose(text.as_bytes())) else { return false };
    // A list of one is its task.
    let Some(task) = task.as_object().or_else(|| task.get(0)?.as_object()) else { return false };
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

/// Reads what the strict reader refuses: any depth, the last of two equal keys.
pub fn loose(text: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    serde::Deserialize::deserialize(&mut reader).ok()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
