//! Which objects become tasks, which tasks may stand in `tasks.json`, which files are completions.
//!
//! Promise: what is accepted here Label Studio 0.8 (and 0.7, C14) takes too, so that no task of ours makes its list
//! answer 500; what Label Studio takes from a bucket is accepted, except by rules that are named: C11, C12, C13, C14,
//! keys that stand twice in one object, and the limits. Pure.
//! Not here: reading objects, what is done with a refused one.

use serde_json::{Map, Value};

pub use super::rejected::Rejected;
use super::rejected::{
    COMPLETIONS_INVALID, DATA_MISSING_KEY, DATA_NOT_OBJECT, DATA_WRONG_TYPE, META_INVALID, NOT_A_COMPLETION,
    NOT_ONE_TASK, NOT_UTF8, PREDICTIONS_INVALID, STORED_DAMAGED, TOO_LARGE, TORN, named,
};
pub use super::strict_json::BodyRules;
use super::strict_json::{Duplicates, JsonLimits, MAX_DEPTH, MAX_OWN_DEPTH, decode, parse, scan, to_line};
pub use super::task_url::check_url;
use crate::names::{Sha256, TaskId};
use crate::project::label_config::LabelConfig;
use crate::sync::canon;

/// The largest object that is read as a JSON task: Label Studio keeps all tasks in memory, and shows none this large.
pub const MAX_TASK_BYTES: usize = 16 << 20;

/// JSON values (keys included) of one task. A million of them would take some 100 MB while they are checked; this is
/// a quarter. Longer time series belong into a file that the task names by URL.
pub const MAX_TASK_VALUES: usize = 250_000;

/// The largest completion file: brush masks are arrays of numbers and reach tens of megabytes.
pub const MAX_COMPLETION_BYTES: usize = 64 << 20;

/// JSON values of one completion file. A brush region of a large photograph has some 100,000; this many take about
/// 200 MB while the file is checked, which is done for one file at a time.
pub const MAX_COMPLETION_VALUES: usize = 2_000_000;

/// The one key that Label Studio renames to the label config's first data key (it names a column without a name).
const UNDEFINED_KEY: &str = "$undefined$";

/// What one object or file may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskLimits {
    /// Bytes of the body as it is stored.
    pub body_bytes: usize,
    /// Arrays and objects inside each other.
    pub depth: usize,
    /// Strings, numbers, literals, arrays and objects, keys included.
    pub values: usize,
}

impl Default for TaskLimits {
    /// The limits of JSON tasks.
    fn default() -> Self {
        Self { body_bytes: MAX_TASK_BYTES, depth: MAX_DEPTH, values: MAX_TASK_VALUES }
    }
}

impl TaskLimits {
    /// The limits of completion files.
    pub fn of_completions() -> Self {
        Self { body_bytes: MAX_COMPLETION_BYTES, depth: MAX_DEPTH, values: MAX_COMPLETION_VALUES }
    }

    fn json(&self) -> JsonLimits {
        JsonLimits { depth: self.depth, values: self.values }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Rejected> {
        if bytes <= self.body_bytes {
            return Ok(());
        }
        Err(Rejected::new(TOO_LARGE, format_args!("{bytes} bytes, more than {}", self.body_bytes)))
    }
}

/// A task without its id: `data`, then those of `meta`, `predictions`, `completions` that are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskBody {
    /// One line of JSON: `{"data": {…}, …}`.
    text: Box<str>,
    /// [`canon::hash`] of `data`.
    pub data_hash: Sha256,
}

impl TaskBody {
    /// The fields that may stand beside `id` at the top level of a task, in the order they are written. Label Studio
    /// 0.7 takes a task with any other for bare data and then fails on it (C14).
    pub const FIELDS: [&str; 4] = ["data", "meta", "predictions", "completions"];

    /// Of fields that were checked; everything but [`Self::FIELDS`] is dropped.
    fn from_checked(mut fields: Map<String, Value>) -> Self {
        let mut kept = Map::new();
        for name in Self::FIELDS {
            if let Some(value) = fields.swap_remove(name) {
                kept.insert(name.to_owned(), value);
            }
        }
        let data_hash = canon::hash(kept.get("data").unwrap_or(&Value::Null));
        Self { text: to_line(&Value::Object(kept)).into(), data_hash }
    }

    /// The task as it stands in `tasks.json`: `{"id": N, "data": {…}, …}` on one line.
    pub fn to_json(&self, id: TaskId) -> String {
        format!("{{\"id\": {id}, {}", &self.text[1..])
    }

    /// What is kept in the ledger.
    pub fn to_stored(&self) -> &str {
        &self.text
    }

    /// Loads what [`Self::to_stored`] gave.
    ///
    /// # Errors
    /// [`STORED_DAMAGED`] where it is anything else.
    pub fn from_stored(text: &str) -> Result<Self, Rejected> {
        let damaged = |why: &str| Rejected::new(STORED_DAMAGED, format_args!("a stored task body {why}"));
        let limits = JsonLimits { depth: MAX_OWN_DEPTH, values: usize::MAX };
        let value = parse(text, &limits, Duplicates::Refuse).map_err(|e| damaged(&format!("is no JSON: {e}")))?;
        let Value::Object(fields) = &value else { return Err(damaged("is no object")) };
        if !text.starts_with("{\"data\"") || text.contains('\n') {
            return Err(damaged("is not in the form that labelsync writes"));
        }
        if fields.keys().any(|key| !Self::FIELDS.contains(&key.as_str())) {
            return Err(damaged("holds other fields"));
        }
        let Some(data @ Value::Object(_)) = fields.get("data") else { return Err(damaged("has no data")) };
        Ok(Self { text: text.into(), data_hash: canon::hash(data) })
    }

    /// The fields as values, for [`check_task`].
    pub fn fields(&self) -> Map<String, Value> {
        let limits = JsonLimits { depth: MAX_OWN_DEPTH, values: usize::MAX };
        match parse(&self.text, &limits, Duplicates::TakeLast) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => unreachable!("a body's text was written by to_line or parsed by from_stored"),
        }
    }
}

/// The task that a JSON object of a bucket holds (`use_blob_urls = false`), as Label Studio 0.8.2.post0 reads it: one
/// object or a list of one; under `data`, or, without such a key, all of it the data; its `id` ignored.
///
/// Two things are done otherwise, so that the task is good for every Label Studio that may read `tasks.json`:
/// fields beside `id` and [`TaskBody::FIELDS`] are dropped (0.8.2.post0 keeps them; to 0.7.5 they make the whole task
/// invalid and its list fail for everybody, C14), and what C11 and C12 name is refused (0.8.2.post0 takes it from a
/// bucket, but then cannot read its own `tasks.json` or answer a list).
pub fn task_from_object(
    body: &[u8],
    encoding: BodyRules,
    config: &LabelConfig,
    limits: &TaskLimits,
) -> Result<TaskBody, Rejected> {
    limits.check_size(body.len())?;
    let text = decode(body, encoding)?;
    let mut task = one_object(parse(&text, &limits.json(), Duplicates::Refuse)?)?;
    if !task.contains_key("data") {
        check_counted(&task)?;
        task = Map::from_iter([("data".to_owned(), Value::Object(task))]);
    }
    if let Some(Value::Object(data)) = task.get_mut("data") {
        rename_undefined(data, config);
    }
    check_task(&task, config)?;
    Ok(TaskBody::from_checked(task))
}

/// The task of a blob (`use_blob_urls = true`): its URL, raw, under the data key. Label Studio's own cloud storages
/// check nothing here, but its `tasks.json` is checked: [`check_task`] its fields before it is written.
pub fn blob_task(url: &str, data_key: &str) -> TaskBody {
    let data = Map::from_iter([(data_key.to_owned(), Value::String(url.to_owned()))]);
    TaskBody::from_checked(Map::from_iter([("data".to_owned(), Value::Object(data))]))
}

/// Whether a task may stand in `tasks.json` beside this label config: what Label Studio checks at every look at it
/// (C10), and that it can resolve the URLs (C12, C13). Also for tasks that somebody else put there, with any other
/// fields. The numbers of a [`Value`] are in range already, where it came from [`parse`].
pub fn check_task(task: &Map<String, Value>, config: &LabelConfig) -> Result<(), Rejected> {
    let data = match task.get("data") {
        None => task,
        Some(Value::Object(data)) => data,
        Some(other) => {
            // Label Studio's check lets a list pass beside a label config without data keys, and fails right after it.
            return Err(Rejected::new(DATA_NOT_OBJECT, format_args!("`data` is {}, no object", kind(other))));
        }
    };
    check_data(data, config)?;
    if !task.contains_key("data") {
        return check_counted(data);
    }
    check_results(task.get("completions"), "completions", COMPLETIONS_INVALID)?;
    check_results(task.get("predictions"), "predictions", PREDICTIONS_INVALID)?;
    match task.get("meta") {
        None | Some(Value::Object(_) | Value::Array(_)) => Ok(()),
        Some(other) => {
            Err(Rejected::new(META_INVALID, format_args!("`meta` is {}, no object and no list", kind(other))))
        }
    }
}

/// What a completion file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletionFacts {
    /// [`canon::hash`] of its `data`.
    pub data_hash: Sha256,
    /// [`canon::hash`] of the whole.
    pub canonical: Sha256,
    /// Its completions; 0 is a state too (C17).
    pub completions: usize,
}

/// Whether these bytes are a whole completion file of the task (C10, C16, C17).
///
/// # Errors
/// [`TORN`] where the file ends in the middle, as every look at a file may find it that Label Studio is writing;
/// [`NOT_A_COMPLETION`] where it is whole and something else; other codes where it is no JSON or Label Studio could
/// not read it back.
pub fn completion_file(bytes: &[u8], id: TaskId, limits: &TaskLimits) -> Result<CompletionFacts, Rejected> {
    limits.check_size(bytes.len())?;
    let torn = || Rejected::new(TORN, format_args!("{} bytes that end in the middle", bytes.len()));
    let text = std::str::from_utf8(bytes).map_err(|e| match e.error_len() {
        None => torn(),
        Some(_) => Rejected::new(NOT_UTF8, format_args!("no UTF-8 at byte {}", e.valid_up_to())),
    })?;
    // Label Studio truncates and writes from the start: what it has not finished has something open at its end.
    if scan(text, &limits.json()).ends_in_the_middle {
        return Err(torn());
    }
    // Label Studio's reader takes the last of two equal keys; the bytes are pushed as they are.
    let value = parse(text, &limits.json(), Duplicates::TakeLast)?;
    let refused = |why: &str| Rejected::new(NOT_A_COMPLETION, why);
    let Value::Object(file) = &value else { return Err(refused(&format!("{}, no object", kind(&value)))) };
    if file.get("id").and_then(Value::as_u64) != Some(id.get()) {
        return Err(refused(&format!("its `id` is not {id}")));
    }
    let Some(data @ Value::Object(_)) = file.get("data") else { return Err(refused("it has no object `data`")) };
    let Some(completions) = file.get("completions").and_then(Value::as_array) else {
        return Err(refused("it has no list `completions`"));
    };
    check_results(file.get("completions"), "completions", NOT_A_COMPLETION)?;
    Ok(CompletionFacts { data_hash: canon::hash(data), canonical: canon::hash(&value), completions: completions.len() })
}

fn one_object(value: Value) -> Result<Map<String, Value>, Rejected> {
    let value = match value {
        Value::Array(mut items) if items.len() == 1 => items.remove(0),
        Value::Array(items) => {
            return Err(Rejected::new(NOT_ONE_TASK, format_args!("a list of {} items", items.len())));
        }
        other => other,
    };
    let Value::Object(task) = value else {
        return Err(Rejected::new(NOT_ONE_TASK, format_args!("{}, no object", kind(&value))));
    };
    Ok(task)
}

fn rename_undefined(data: &mut Map<String, Value>, config: &LabelConfig) {
    let Some(first) = config.first_data_key() else { return };
    if let Some(value) = data.shift_remove(UNDEFINED_KEY) {
        data.insert(first.to_owned(), value);
    }
}

fn check_data(data: &Map<String, Value>, config: &LabelConfig) -> Result<(), Rejected> {
    // Label Studio renames this key at every look, so in `tasks.json` it stands for the first data key.
    let renamed = data.get(UNDEFINED_KEY);
    let first = config.first_data_key();
    for (key, data_type) in config.data_keys() {
        let value = renamed.filter(|_| Some(key) == first).or_else(|| data.get(key));
        let Some(value) = value else {
            return Err(Rejected::new(DATA_MISSING_KEY, format_args!("the data have no key {}", named(key))));
        };
        if !data_type.accepts(value) {
            let (found, expected) = (kind(value), data_type.expected());
            let detail = format_args!("data key {} is {found}, expected is {expected}", named(key)).to_string();
            return Err(Rejected::new(DATA_WRONG_TYPE, detail));
        }
    }
    // Label Studio resolves every string at the top level of the data, and nothing below it.
    data.values().filter_map(Value::as_str).try_for_each(check_url)
}

/// In bare data Label Studio checks these two for nothing but then asks for their length.
fn check_counted(data: &Map<String, Value>) -> Result<(), Rejected> {
    for (field, code) in [("completions", COMPLETIONS_INVALID), ("predictions", PREDICTIONS_INVALID)] {
        if let Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) = data.get(field) {
            return Err(Rejected::new(code, format_args!("`{field}` is {} in data without `data`", kind(value))));
        }
    }
    Ok(())
}

/// A list whose items are objects with a list `result`, or nothing.
fn check_results(items: Option<&Value>, field: &str, code: &'static str) -> Result<(), Rejected> {
    let Some(items) = items else { return Ok(()) };
    let Value::Array(items) = items else {
        return Err(Rejected::new(code, format_args!("`{field}` is {}, no list", kind(items))));
    };
    let is_good = |item: &Value| item.get("result").is_some_and(Value::is_array);
    match items.iter().position(|item| !is_good(item)) {
        None => Ok(()),
        Some(place) => Err(Rejected::new(code, format_args!("`{field}[{place}]` has no list `result`"))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
