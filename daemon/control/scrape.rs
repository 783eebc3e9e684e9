//! `GET /metrics` for Prometheus on a port, where the settings name one.
//!
//! Promise: tells the metrics and nothing else, changes nothing; clients are bounded in number and time.
//! Not here: the metrics; the control socket, which has them too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Control, METRICS_TYPE};

/// Connections at once: some Prometheus servers and a person; who comes when all are taken waits.
const SCRAPERS_MAX: usize = 16;

/// A request's head; a scraper has some hundred bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// A scraper sends its request in one piece.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Scrapers keep their connection and open another where it was closed.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// After a failed accept: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers until `stop` is cancelled.
pub async fn serve(control: Arc<dyn Control>, listener: TcpListener, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(SCRAPERS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (control, stop) = (Arc::clone(&control), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&*control, &request))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIME)
                .max_buf_size(HEAD_MAX_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // How a client ends is its own affair.
                _ended = timeout(CONNECTION_TIME, connection) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn answer(control: &dyn Control, request: &Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
            *response.body_mut() = Body::from(control.metrics());
        }
        (_, "/metrics") => {
            response.headers_mut().insert(ALLOW, axum::http::HeaderValue::from_static("GET, HEAD"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
