//! The control socket: what operators may ask and change.

pub mod api;
mod feed;
mod reply;
mod routes;
pub mod scrape;
pub mod server;
mod socket;
mod stall;

use async_trait::async_trait;
use axum::http::HeaderValue;
use tokio::sync::broadcast;

use self::api::{
    Changed, CheckReport, Done, Event, Health, ItemState, Items, Keep, PlanView, Refusal, Shown, Status, SyncTicket,
    VerifyReport,
};
use crate::names::ProjectName;
use crate::settings::{SourcePatch, TargetPatch};

/// The text's media type.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Who asks: from the socket's peer credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The peer's user id.
    pub uid: u32,
    /// Its process id, where the kernel tells.
    pub pid: Option<u32>,
}

/// Recent events and those to come.
#[derive(Debug)]
pub struct EventFeed {
    /// The last ones, oldest first.
    pub recent: Vec<Event>,
    /// From then on; a receiver that lags loses the oldest and is told how many.
    pub live: broadcast::Receiver<Event>,
}

/// The daemon as the control socket sees it. The supervisor is one; tests have another.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Never waits for a look or a disk.
    fn status(&self) -> Status;
    /// From the status.
    fn health(&self) -> Health;
    /// Prometheus text.
    fn metrics(&self) -> String;
    /// The socket takes connections, and will say so again before this instant.
    fn accepting(&self, _until: std::time::Instant) {}
    /// A request was answered: its verb, the class of its status (`2xx` …).
    fn answered(&self, _verb: &str, _class: &str) {}
    /// Recent and coming events, of one project or of all.
    fn events(&self) -> EventFeed;
    /// The project that is meant: the named one, or the only one.
    fn project(&self, name: Option<&str>) -> Result<ProjectName, Refusal>;
    /// Effective settings and their origin.
    fn show(&self, project: &ProjectName) -> Result<Shown, Refusal>;
    /// Changes the source durably, then takes effect between cycles.
    async fn set_source(
        &self,
        project: &ProjectName,
        patch: SourcePatch,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Changed, Refusal>;
    /// Changes the target durably, then takes effect between cycles.
    async fn set_target(
        &self,
        project: &ProjectName,
        patch: TargetPatch,
        dry_run: bool,
        actor: Actor,
    ) -> Result<Changed, Refusal>;
    /// Drops runtime changes (`source.regex`, …; none named: all).
    async fn reset(&self, project: &ProjectName, keys: Vec<String>, actor: Actor) -> Result<Changed, Refusal>;
    /// What the next cycle would do.
    async fn plan(&self, project: &ProjectName) -> Result<PlanView, Refusal>;
    /// Looks at everything a project needs, step by step; `origin`: where browsers load Label Studio from.
    async fn check(&self, project: &ProjectName, origin: Option<String>) -> Result<CheckReport, Refusal>;
    /// Compares every pushed completion with the target.
    async fn verify(&self, project: &ProjectName) -> Result<VerifyReport, Refusal>;
    /// Look now.
    async fn sync(&self, project: &ProjectName) -> Result<SyncTicket, Refusal>;
    /// Stop looking and pushing, durably.
    async fn pause(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal>;
    /// Go on.
    async fn resume(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal>;
    /// Releases what is held; without an id: the only one.
    async fn accept(&self, project: &ProjectName, hold: Option<String>, actor: Actor) -> Result<Done, Refusal>;
    /// Ends conflicts; keys are task ids or target keys.
    async fn resolve(
        &self,
        project: &ProjectName,
        keys: Vec<String>,
        keep: Keep,
        actor: Actor,
    ) -> Result<Done, Refusal>;
    /// Items of one state, a page.
    async fn items(&self, project: &ProjectName, state: ItemState, after: Option<String>) -> Result<Items, Refusal>;
    /// Tries quarantined items again; none named: all.
    async fn retry(&self, project: &ProjectName, keys: Vec<String>, actor: Actor) -> Result<Done, Refusal>;
    /// Rebuilds a damaged ledger without changing an id.
    async fn repair(&self, project: &ProjectName, actor: Actor) -> Result<Done, Refusal>;
    /// A consistent copy of the project's ledger: the path of a file that the caller reads and then removes.
    async fn backup(&self, project: &ProjectName) -> Result<tempfile::NamedTempFile, Refusal>;
    /// Reads the settings files again (root, or the daemon's own user, only).
    async fn reload(&self, actor: Actor) -> Result<Done, Refusal>;
}
