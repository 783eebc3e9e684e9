//! The routes of the control socket: HTTP on one side, [`Control`] on the other.
//!
//! Promise: a change that was asked for is done whole or not at all, also when the client goes away meanwhile.
//! Not here: connections and their limits; what a verb means.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::stream;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::api::{
    AcceptBody, Changed, CheckBody, CheckReport, Done, Health, ItemState, Items, KeysBody, PlanView, Refusal,
    ResolveBody, Shown, Status, SyncTicket, VerifyReport,
};
use super::feed::{self, Guard, Wanted};
use super::reply::{
    Asked, EVENT_STREAMS_MAX, Meant, Refused, Said, Shared, broken, named, no_such_method, no_such_route,
};
use super::{Actor, Control, METRICS_TYPE};
use crate::settings::{SourcePatch, TargetPatch};

/// The ledger's copy is sent in pieces of this size: bounded memory, few system calls.
const BACKUP_CHUNK_BYTES: usize = 64 * 1024;

type Answer<T> = Result<Json<T>, Refused>;

/// All routes. `stop` ends the event streams.
pub fn router(control: Arc<dyn Control>, stop: CancellationToken) -> Router {
    let shared = Arc::new(Shared { control, event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)), stop });
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/health", get(health))
        .route("/v1/events", get(events))
        .route("/v1/reload", post(reload))
        .route("/metrics", get(metrics))
        .route("/v1/projects/{name}", get(show))
        .route("/v1/projects/{name}/source", get(show_source).patch(set_source))
        .route("/v1/projects/{name}/target", get(show_target).patch(set_target))
        .route("/v1/projects/{name}/sync", post(sync))
        .route("/v1/projects/{name}/check", post(check))
        .route("/v1/projects/{name}/verify", post(verify))
        .route("/v1/projects/{name}/pause", post(pause))
        .route("/v1/projects/{name}/resume", post(resume))
        .route("/v1/projects/{name}/accept", post(accept))
        .route("/v1/projects/{name}/retry", post(retry))
        .route("/v1/projects/{name}/repair", post(repair))
        .route("/v1/projects/{name}/resolve", post(resolve))
        .route("/v1/projects/{name}/reset", post(reset))
        .route("/v1/projects/{name}/plan", get(plan))
        .route("/v1/projects/{name}/items", get(items))
        .route("/v1/projects/{name}/backup", get(backup))
        .fallback(async || no_such_route())
        .method_not_allowed_fallback(async || no_such_method())
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .with_state(shared)
}

async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let verb = verb(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)).to_owned();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        200..300 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    shared.control.answered(&verb, class);
    response
}

/// The last word of a route that stands in the router; whatever else is asked for is `other`, so that there are not more
/// of them than routes.
fn verb(route: Option<&str>) -> &str {
    match route.and_then(|route| route.rsplit('/').next()) {
        Some("{name}") => "projects",
        Some(word) => word,
        None => "other",
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(shared.control.status())
}

async fn health(State(shared): State<Arc<Shared>>) -> Json<Health> {
    Json(shared.control.health())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.control.metrics();
    ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn events(State(shared): State<Arc<Shared>>, Asked(wanted): Asked<Wanted>) -> Result<Response, Refused> {
    let project = match &wanted.project {
        Some(name) => Some(shared.control.project(named(name))?),
        None => None,
    };
    let Ok(place) = Arc::clone(&shared.event_streams).try_acquire_owned() else {
        let message = format!("{EVENT_STREAMS_MAX} clients read events already");
        return Err(Refusal::new("too_many", message, "end some `lsctl events -f`").into());
    };
    let guard = Guard { place, stop: shared.stop.clone() };
    let body = feed::body(shared.control.events(), project, &wanted, guard);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn reload(State(shared): State<Arc<Shared>>, ConnectInfo(actor): ConnectInfo<Actor>) -> Answer<Done> {
    whole(async move { shared.control.reload(actor).await }).await
}

async fn show(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<Shown> {
    Ok(Json(shared.control.show(&project)?))
}

async fn show_source(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<Shown> {
    Ok(Json(side(shared.control.show(&project)?, "source.")))
}

async fn show_target(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<Shown> {
    Ok(Json(side(shared.control.show(&project)?, "target.")))
}

fn side(mut shown: Shown, side: &str) -> Shown {
    shown.settings.retain(|setting| setting.key.starts_with(side));
    shown
}

/// `?dry_run=true`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChangeQuery {
    dry_run: bool,
}

async fn set_source(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    Asked(query): Asked<ChangeQuery>,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(patch): Said<SourcePatch>,
) -> Answer<Changed> {
    whole(async move { shared.control.set_source(&project, patch, query.dry_run, actor).await }).await
}

async fn set_target(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    Asked(query): Asked<ChangeQuery>,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(patch): Said<TargetPatch>,
) -> Answer<Changed> {
    whole(async move { shared.control.set_target(&project, patch, query.dry_run, actor).await }).await
}

async fn reset(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(body): Said<KeysBody>,
) -> Answer<Changed> {
    whole(async move { shared.control.reset(&project, body.keys, actor).await }).await
}

async fn plan(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<PlanView> {
    Ok(Json(shared.control.plan(&project).await?))
}

async fn check(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    Said(body): Said<CheckBody>,
) -> Answer<CheckReport> {
    Ok(Json(shared.control.check(&project, body.origin).await?))
}

async fn verify(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<VerifyReport> {
    Ok(Json(shared.control.verify(&project).await?))
}

async fn sync(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Answer<SyncTicket> {
    whole(async move { shared.control.sync(&project).await }).await
}

async fn pause(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
) -> Answer<Done> {
    whole(async move { shared.control.pause(&project, actor).await }).await
}

async fn resume(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
) -> Answer<Done> {
    whole(async move { shared.control.resume(&project, actor).await }).await
}

async fn accept(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(body): Said<AcceptBody>,
) -> Answer<Done> {
    whole(async move { shared.control.accept(&project, body.hold, actor).await }).await
}

async fn retry(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(body): Said<KeysBody>,
) -> Answer<Done> {
    whole(async move { shared.control.retry(&project, body.keys, actor).await }).await
}

async fn repair(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
) -> Answer<Done> {
    whole(async move { shared.control.repair(&project, actor).await }).await
}

async fn resolve(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    ConnectInfo(actor): ConnectInfo<Actor>,
    Said(body): Said<ResolveBody>,
) -> Answer<Done> {
    if body.keys.is_empty() {
        let hint = "`lsctl list --state conflict` shows them";
        return Err(Refusal::new("invalid", "no conflict is named", hint).into());
    }
    whole(async move { shared.control.resolve(&project, body.keys, body.keep, actor).await }).await
}

/// `?state=…&after=…`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemsQuery {
    state: ItemState,
    after: Option<String>,
}

async fn items(
    State(shared): State<Arc<Shared>>,
    Meant(project): Meant,
    Asked(query): Asked<ItemsQuery>,
) -> Answer<Items> {
    Ok(Json(shared.control.items(&project, query.state, query.after).await?))
}

async fn backup(State(shared): State<Arc<Shared>>, Meant(project): Meant) -> Result<Response, Refused> {
    let copy = shared.control.backup(&project).await?;
    let opened = copy.reopen().and_then(|file| Ok((file.metadata()?.len(), file)));
    // From here on the copy has no name: nothing is left over, however this ends.
    drop(copy);
    let (bytes, file) = opened.map_err(|error| {
        let hint = "check the state directory's disk, then try again";
        Refusal::new("failed", format!("cannot read the copy of the ledger of project {project}: {error}"), hint)
    })?;
    let headers = [
        (CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{project}.sqlite\"")),
    ];
    let chunks = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut chunk = vec![0; BACKUP_CHUNK_BYTES];
        let bytes = file.read(&mut chunk).await?;
        chunk.truncate(bytes);
        Ok::<_, io::Error>((bytes > 0).then(|| (Bytes::from(chunk), file)))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Runs `work` to its end on a task of its own: a client that goes away does not cut it in half.
async fn whole<T, F>(work: F) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(done) => Ok(Json(done?)),
        Err(_) => Err(broken()),
    }
}
