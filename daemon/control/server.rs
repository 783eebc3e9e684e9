//! Serves the control socket: accepts connections, bounds them, ends them.
//!
//! Promise: a silent, slow, half-closed or crashing client never blocks another; any bytes end in an answer or a close.
//! Not here: the socket's file (`socket.rs`), the routes (`routes.rs`).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use futures::FutureExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::{ErrorBody, Refusal};
pub use super::reply::EVENT_STREAMS_MAX;
use super::reply::broken;
pub use super::reply::{BODY_MAX_BYTES, REQUEST_TIME};
use super::routes::router;
pub use super::socket::{Listener, SOCKET_DIR_MODE, SOCKET_MODE, ServerError, listen};
use super::stall::Stalling;
use super::{Actor, Control};

/// Connections at once. A person and some scripts need ten; each may cost a file descriptor and [`BUFFER_MAX_BYTES`]
/// twice, and 1,024 descriptors are what a process has by default. Who comes when all are taken takes the place of the
/// connection that has been without a request for longest.
pub const CONNECTIONS_MAX: usize = 256;
/// A request's head: the longest key in a query, percent-encoded, has 3 KiB.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Header lines: what proxies and browsers send, twice.
pub const HEADERS_MAX: usize = 64;
/// What is kept of one connection in each direction; holds any head.
pub const BUFFER_MAX_BYTES: usize = 32 * 1024;
/// Requests in hand at the stop get this long; the service's own stop limit is longer.
pub const FINISH_TIME: Duration = Duration::from_secs(2);
/// Without any connection the loop goes around this often, as a sign of life.
const ROUND: Duration = Duration::from_secs(1);
/// After a failed accept (no file descriptor left): long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `stop` is cancelled; then finishes the requests in hand within [`FINISH_TIME`], ends
/// event streams with a last line that says so, and removes the socket if [`listen`] made it. A socket that [`listen`] made
/// and somebody removed is made again.
///
/// # Errors
/// [`ServerError::System`] where the listener cannot be used. Nothing that a client does is an error.
pub async fn serve(
    control: Arc<dyn Control>,
    mut listener: Listener,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let mut socket = usable(&listener)?;
    let mut clients = Clients::new(router(control.clone(), stop.clone()), stop.clone());
    let (mut failing, mut lost) = (false, false);
    loop {
        control.accepting(Instant::now() + 2 * ROUND);
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = clients.tasks.join_next_with_id() => {
                clients.forget(ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = socket.accept() => accepted,
            () = tokio::time::sleep(ROUND) => {
                if let Some(again) = made_again(&listener, &mut lost) {
                    (listener, socket) = again;
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => clients.welcome(stream),
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the control socket cannot accept; it is tried again until it can");
                }
                // Makes room where descriptors are what is missing.
                clients.evict();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                failing = true;
                continue;
            }
        }
        failing = false;
    }
    // In this order, so that a client finds either this daemon, or no socket and says so.
    listener.remove_file();
    drop((socket, listener));
    clients.finish().await;
    Ok(())
}

fn usable(listener: &Listener) -> Result<UnixListener, ServerError> {
    let usable = listener.socket.try_clone().and_then(|socket| {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket)
    });
    usable.map_err(|source| ServerError::System { deed: "listen on", path: "the control socket".into(), source })
}

/// Another socket in the place of one whose file somebody removed. `lost`: it was told that there is none.
fn made_again(listener: &Listener, lost: &mut bool) -> Option<(Listener, UnixListener)> {
    let made = listener.made_again().map(|made| made.and_then(|made| usable(&made).map(|socket| (made, socket))));
    match made {
        Some(Ok(again)) => {
            tracing::warn!("the control socket's file was removed; it is made again");
            *lost = false;
            Some(again)
        }
        Some(Err(error)) => {
            if !*lost {
                let remedy = error.remedy();
                tracing::warn!(%error, %remedy, "the control socket's file was removed; it is tried again to make it");
            }
            *lost = true;
            None
        }
        None => {
            *lost = false;
            None
        }
    }
}

/// All connections.
struct Clients {
    router: Router,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// In order of arrival; at most [`CONNECTIONS_MAX`].
    slots: Vec<Slot>,
}

struct Slot {
    id: Id,
    requests: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Clients {
    fn new(router: Router, stop: CancellationToken) -> Self {
        Self { router, stop, tasks: JoinSet::new(), slots: Vec::new() }
    }

    fn welcome(&mut self, stream: UnixStream) {
        if self.slots.len() >= CONNECTIONS_MAX && !self.evict() {
            return turn_away(&stream);
        }
        let Ok(peer) = stream.peer_cred() else { return };
        let actor = Actor { uid: peer.uid(), pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()) };
        let requests = Arc::new(AtomicUsize::new(0));
        let client = Client { router: self.router.clone(), actor, requests: Arc::clone(&requests) };
        let task = self.tasks.spawn(client.serve(stream, self.stop.clone()));
        self.slots.push(Slot { id: task.id(), requests, task });
    }

    /// Ends the oldest connection that has no request in hand; false where all have one.
    fn evict(&mut self) -> bool {
        let Some(at) = self.slots.iter().position(|slot| slot.requests.load(Ordering::Relaxed) == 0) else {
            return false;
        };
        self.slots.remove(at).task.abort();
        true
    }

    fn forget(&mut self, id: Id) {
        self.slots.retain(|slot| slot.id != id);
    }

    /// Each connection sees the stop itself; who is not done in time is cut off.
    async fn finish(mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(FINISH_TIME, ended).await.is_err() {
            tracing::warn!(clients = self.tasks.len(), "requests on the control socket were cut off at the stop");
        }
        self.tasks.shutdown().await;
    }
}

/// All connections have a request in hand: an answer, as far as it can be had without waiting.
fn turn_away(stream: &UnixStream) {
    let message = format!("{CONNECTIONS_MAX} clients wait for an answer already");
    let refusal = Refusal::new("too_many", message, "end some of them, or try again later");
    let body = serde_json::to_string(&ErrorBody { error: refusal }).expect("plain data with string keys");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that cannot take it in one piece gets a close.
    let _ = stream.try_write(answer.as_bytes());
}

/// One connection.
struct Client {
    router: Router,
    actor: Actor,
    requests: Arc<AtomicUsize>,
}

impl Client {
    async fn serve(self, stream: UnixStream, stop: CancellationToken) {
        let requests = Arc::clone(&self.requests);
        let service = service_fn(move |request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also the time that a connection may be idle between two requests.
            .header_read_timeout(REQUEST_TIME)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_MAX_BYTES)
            .max_buf_size(BUFFER_MAX_BYTES)
            .serve_connection(TokioIo::new(Stalling::new(stream)), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // How a client ends is its own affair: nothing to report.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => {}
        }
        if requests.load(Ordering::Relaxed) > 0 {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }

    /// Marks the connection as busy until the answer's last byte is on its way.
    fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let busy = Busy::new(&self.requests);
        request.extensions_mut().insert(ConnectInfo(self.actor));
        let router = TowerToHyperService::new(self.router.clone());
        async move {
            let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
            let response = answered.unwrap_or_else(|_| Ok(broken().into_response()))?;
            Ok(response.map(|body| Body::new(Held { body, _busy: busy })))
        }
    }
}

/// An answer that keeps its connection busy until it is sent.
struct Held {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(requests: &Arc<AtomicUsize>) -> Self {
        requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
