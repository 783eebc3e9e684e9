//! Whose a task is, and what its user and the daemon did with it.
//!
//! Promise: told by what stands in a task or completion, never by what the daemon knows.
//! Not here: doing it (`label_studio`), what must hold (`judge`).

use serde_json::Value;

/// What a task, or a completion, is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// An object of the source.
    Key(String),
    /// The nth import.
    Import(u64),
    /// Neither.
    Unknown(String),
}

impl Who {
    /// An import may have an object's data; what else the user wrote into it tells it from the object's task.
    pub fn of_task(task: &Value) -> Self {
        task["meta"]["imp"].as_u64().map_or_else(|| Self::of_data(&task["data"]), Self::Import)
    }

    pub fn of_data(data: &Value) -> Self {
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        if let Some(import) = data.get("imp").and_then(Value::as_u64) {
            return Self::Import(import);
        }
        let key = text("src").or_else(|| text("image").and_then(|url| url.strip_prefix("s3://src/")));
        key.map_or_else(|| Self::Unknown(data.to_string()), |key| Self::Key(key.to_owned()))
    }

    pub fn of_file(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self::of_data(value.get("data")?))
    }
}

/// A task that a user imported and Label Studio acknowledged.
#[derive(Clone, Debug)]
pub struct Import {
    pub id: u64,
    pub data: Value,
    pub deleted: bool,
    /// Its id was another import's, and the files were lost: that one may come back, and be taken for what was written last.
    pub in_doubt: bool,
    /// Its data are an object's.
    pub twin: bool,
}

impl Import {
    /// Whether this is its task.
    pub fn is(&self, task: &Value) -> bool {
        task["data"] == self.data && task.get("meta").is_some() == self.twin
    }
}

/// A completion that the daemon put into `completions/`.
#[derive(Clone, Debug)]
pub struct Brought {
    pub id: u64,
    pub before: Option<Vec<u8>>,
    pub after: Vec<u8>,
}
