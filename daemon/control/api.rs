//! The words that `lsctl` and the daemon say to each other: the JSON of the control socket.
//!
//! Promise: a documented, stable shape: fields may be added, none is renamed or removed; unknown fields are ignored.
//! Not here: logic.

mod doctor;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::settings::Problem;

pub use self::doctor::{CheckBody, CheckReport, Finding, Outcome, VerifyReport};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: UnixMillis,
    /// The state directory.
    pub state_dir: String,
    /// Counts settings: 1 after start, one more with each change or reload.
    pub generation: u64,
    /// The last reload, where it was refused; `null`: the files are in force, as they were read last.
    #[serde(default)]
    pub reload_refused: Option<ReloadRefused>,
    /// By name.
    pub projects: Vec<ProjectStatus>,
}

/// Settings that were read again and are wrong: the old ones stay in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadRefused {
    /// When.
    pub at: UnixMillis,
    /// Each thing that is wrong with them.
    pub problems: Vec<Problem>,
}

/// What a project is doing; the first that applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not yet once around.
    #[default]
    Starting,
    /// In step, or on the way.
    Ok,
    /// Some look or push fails and is tried again, or a conflict waits; the rest goes on.
    Degraded,
    /// Something waits for `lsctl accept`.
    Held,
    /// By `lsctl pause`.
    Paused,
    /// Stopped: the ledger or project directory needs a person.
    Failed,
}

impl State {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// Why the state is what it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code: `access_denied`, `source_empty`, `mass_removal`, `no_regex` …
    pub code: String,
    /// One line: situation, thing, cause.
    pub message: String,
    /// The next command or deed.
    pub hint: String,
}

impl ProjectStatus {
    /// The state as a person is told it.
    pub fn named_state(&self) -> &str {
        if self.state_name.is_empty() { self.state.as_str() } else { &self.state_name }
    }
}

/// One project.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// See [`State`].
    pub state: State,
    /// The same by its name: where it is `degraded` or `failed`, the code of the first reason (`auth_error`, `conflict`,
    /// `ledger_damaged` …); empty: an older daemon.
    #[serde(default)]
    pub state_name: String,
    /// Since when it is in the state of this name.
    pub since: UnixMillis,
    /// Why, most important first. Warnings (such as `no_regex`) may stand here while the state is ok.
    pub reasons: Vec<Reason>,
    /// Tasks of labelsync's in `tasks.json`.
    pub tasks: u64,
    /// Tasks of Label Studio's own (imports).
    pub foreign_tasks: u64,
    /// The id that the next new task gets.
    pub next_id: u64,
    /// Items in quarantine.
    pub quarantined: u64,
    /// Conflicts that wait for `lsctl resolve`.
    pub conflicts: u64,
    /// What waits for `lsctl accept`.
    pub holds: Vec<Hold>,
    /// Blobs to tasks.
    pub source: Option<SourceStatus>,
    /// Completions.
    pub target: Option<TargetStatus>,
    /// Cycles begun and ended since the daemon started; `sync --wait` compares them.
    pub cycles: Cycles,
}

/// Counts of both directions, since the daemon started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Cycles {
    pub source_begun: u64,
    pub source_ended: u64,
    pub target_begun: u64,
    pub target_ended: u64,
}

/// Blobs to tasks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// `s3://bucket`.
    pub url: String,
    /// In force.
    pub prefix: String,
    /// In force; `null`: nothing is selected.
    pub regex: Option<String>,
    /// Objects in the last complete listing.
    pub listed: u64,
    /// Of these, selected.
    pub selected: u64,
    /// Of these, left out, by stable reason (`no_regex`, `regex`, `exclude`, `directory_marker`, `own_target`, `regex_limit` …).
    pub skipped: BTreeMap<String, u64>,
    /// The look that is going on now, if any.
    pub progress: Option<Progress>,
    /// Last look.
    pub poll: Poll,
}

/// Completions to and from the target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TargetStatus {
    /// `s3://bucket`.
    pub url: String,
    /// In force.
    pub prefix: String,
    /// Completions that are in step.
    pub in_step: u64,
    /// Completions that wait to be pushed.
    pub pending: u64,
    /// When the oldest of them was first seen.
    pub oldest_pending_at: Option<UnixMillis>,
    /// Files that do not come to rest.
    pub unsettled: u64,
    /// Objects that vanished from the target.
    pub target_missing: u64,
    /// Last push.
    pub last_push_at: Option<UnixMillis>,
    /// What is going on now, if any.
    pub progress: Option<Progress>,
    /// Last listing of the target.
    pub poll: Poll,
}

/// How far a cycle is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// `listing`, `reading`, `writing tasks.json`, `pushing` …
    pub phase: String,
    /// Items done.
    pub done: u64,
    /// Items in all, where known.
    pub total: Option<u64>,
}

/// One direction's last look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Poll {
    /// Began.
    pub last_started_at: Option<UnixMillis>,
    /// Ended well.
    pub last_success_at: Option<UnixMillis>,
    /// How long the last complete one took, milliseconds.
    pub last_duration_ms: Option<u64>,
    /// The error of the last one, if it failed.
    pub error: Option<Reason>,
    /// How many failed in a row.
    pub failures: u64,
    /// When the next one is due.
    pub next_at: Option<UnixMillis>,
}

/// Something held until `lsctl accept`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Names exactly what was seen; another sight has another id.
    pub id: String,
    /// Stable code: `source_empty`, `mass_removal`, `mass_change`, `mass_deletion`, `target_mass_removal`, `project_reinitialised`, `target_owned`, `target_replaced` …
    pub code: String,
    /// With its numbers.
    pub message: String,
    /// What `lsctl accept` would do.
    pub consequence: String,
    /// Since when.
    pub since: UnixMillis,
}

impl Hold {
    /// The next command, and what it would do.
    pub fn next(&self, project: &str) -> String {
        format!("`lsctl accept {project} {}` would {}", self.id, self.consequence)
    }
}

/// `GET /v1/projects/{name}`: effective settings and where each comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The project.
    pub project: String,
    /// In the order of the documentation.
    pub settings: Vec<ShownSetting>,
}

/// One setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownSetting {
    /// `source.regex`.
    pub key: String,
    /// As JSON; `null` where none.
    pub value: serde_json::Value,
    /// `default`, `file`, `lsctl`.
    pub origin: String,
    /// The file's value that a runtime change hides.
    pub hidden: Option<serde_json::Value>,
}

/// The answer to a change of settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The project.
    pub project: String,
    /// Old and new of what differs.
    pub changes: Vec<SettingChange>,
    /// False with `--dry-run`.
    pub applied: bool,
    /// What the next cycle will do, where it could be looked at.
    pub plan: Option<PlanView>,
    /// Why there is no plan.
    pub plan_error: Option<Reason>,
}

/// One changed setting.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SettingChange {
    /// `source.regex`.
    pub key: String,
    /// Before.
    pub old: serde_json::Value,
    /// After.
    pub new: serde_json::Value,
}

/// `GET /v1/projects/{name}/plan`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlanView {
    /// The project.
    pub project: String,
    /// One line of counts.
    pub summary: String,
    /// The first actions, each in its one wording; at most [`PLAN_LINES_MAX`].
    pub actions: Vec<String>,
    /// How many there are in all.
    pub total: u64,
    /// What would be held.
    pub holds: Vec<Hold>,
    /// Objects left out, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// A person reads no more, a program has `list`.
pub const PLAN_LINES_MAX: usize = 1_000;

/// `GET /v1/projects/{name}/items?state=…&after=…`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Items {
    /// In order of key or id; at most [`ITEMS_PAGE_MAX`].
    pub items: Vec<Item>,
    /// Pass it as `after` for the next page; `null` on the last.
    pub next: Option<String>,
}

/// One page of `items`: what a client takes in one answer without waiting.
pub const ITEMS_PAGE_MAX: usize = 1_000;

/// What `lsctl list --state` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(doc), derive(clap::ValueEnum))]
pub enum ItemState {
    /// Tasks in `tasks.json`.
    Tasks,
    /// Completions that wait to be pushed, with `unsettled` ones.
    Pending,
    /// Objects left out in the last listing (the first of each reason).
    Skipped,
    /// Objects and files that cannot be used.
    Quarantined,
    /// Conflicts, `id_reused`, `target_missing`.
    Conflict,
    /// Tasks whose object is gone or deselected.
    Removed,
}

/// One item.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Item {
    /// The object's key, exact; for a completion its target key.
    pub key: Option<String>,
    /// The task id.
    pub id: Option<u64>,
    /// Stable: `live`, `hidden`, `pending`, `unsettled`, `conflict`, `id_reused`, `target_missing`, `quarantined` …
    pub state: String,
    /// Stable reason code; empty where the state says all.
    pub reason: String,
    /// For a person.
    pub detail: String,
}

/// One line of `GET /v1/events` (NDJSON).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 since the daemon started.
    pub seq: u64,
    /// When.
    pub at: UnixMillis,
    /// The project; `null`: the daemon itself.
    pub project: Option<String>,
    /// `error`, `warning`, `notice`, `info`.
    pub level: String,
    /// Stable kind: `task_added`, `pushed`, `conflict`, `held`, `settings_changed` …
    pub kind: String,
    /// The one line, the same as in the log.
    pub message: String,
    /// The object's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The task id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// The bucket or directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// How long it took, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_usec: Option<u64>,
    /// Stable error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who asked, for changes over the socket (`uid=1000`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// The body of `POST …/accept`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptBody {
    /// [`Hold::id`]; `null`: the only one.
    pub hold: Option<String>,
}

/// The body of `POST …/retry` and `POST …/reset`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysBody {
    /// Object keys or task ids, or names of settings; none: all.
    pub keys: Vec<String>,
}

/// The body of `POST …/resolve`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveBody {
    /// Task ids or target keys; at least one.
    pub keys: Vec<String>,
    /// Which side wins.
    pub keep: Keep,
}

/// Which side of a conflict wins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(not(doc), derive(clap::ValueEnum))]
pub enum Keep {
    /// The file in `completions/` wins and is pushed.
    Local,
    /// The object in the target wins and is brought in.
    Remote,
}

/// What a verb did, for verbs without an answer of their own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// One line for a person.
    pub message: String,
    /// How many items it touched, where that means something.
    pub count: u64,
    /// Items that were named but could not be touched, with the reason.
    #[serde(default)]
    pub refused: Vec<Item>,
}

/// `POST …/sync`: the cycles to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SyncTicket {
    /// Done when `cycles.source_ended` is at least this (0: no source).
    pub source: u64,
    /// Done when `cycles.target_ended` is at least this (0: no target).
    pub target: u64,
}

/// `GET /v1/health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// The worst state of all projects.
    pub state: State,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// The error body: `{"error": {…}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: Refusal,
}

/// Why a request was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable: `no_such_project`, `project_needed`, `invalid`, `busy`, `not_root`, `nothing_held`, `failed` …
    pub code: String,
    /// Situation, thing, cause.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Every problem of an invalid setting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal without problems.
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: hint.into(), problems: Vec::new() }
    }
}
