//! A server that answers what a test tells it to, byte for byte: for what no real server does.
//!
//! Promise: every connection carries one request; what was asked is kept as it came over the wire.
//! Not here: the meaning of any of it.

use std::sync::{Arc, Mutex, PoisonError};

use labelsync::settings::{GcsSettings, S3Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET /bucket/key HTTP/1.1`.
    pub line: String,
    /// The header lines.
    pub headers: Vec<String>,
    /// The body, as long as `Content-Length` says.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What the double does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes and keeps silent, the connection open.
    Stall(Vec<u8>),
    /// Closes with a reset.
    Reset,
}

/// A whole answer with this body.
pub fn answer(status: &str, headers: &str, body: &str) -> Reaction {
    Reaction::Send(head_and_body(status, headers, body.len(), body))
}

/// An answer whose `Content-Length` is not its body's.
pub fn head_and_body(status: &str, headers: &str, length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

/// Running until it is dropped.
#[derive(Debug)]
pub struct Double {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: JoinHandle<()>,
}

impl Double {
    /// Reacts to the `n`th request (from 0) as `react` says.
    pub async fn start(react: impl Fn(usize, &Request) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (react, seen) = (Arc::new(react), Arc::clone(&requests));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (react, seen) = (Arc::clone(&react), Arc::clone(&seen));
                tokio::spawn(async move { serve(stream, &*react, &seen).await });
            }
        });
        Self { endpoint, requests, accepting }
    }

    /// Always the same reaction.
    pub async fn always(reaction: Reaction) -> Self {
        Self::start(move |_, _| reaction.clone()).await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How labelsync reaches the bucket `bucket` of this double.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: "bucket".to_owned(),
            region: None,
            endpoint: Some(self.endpoint.clone()),
            profile: None,
            path_style: true,
            expected_bucket_owner: None,
        }
    }

    /// How labelsync reaches the bucket `bucket` of this double of Google's API.
    pub fn gcs_settings(&self) -> GcsSettings {
        let endpoint = Some(self.endpoint.clone());
        GcsSettings { bucket: "bucket".to_owned(), endpoint, ..GcsSettings::default() }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    react: &(dyn Fn(usize, &Request) -> Reaction + Send + Sync),
    seen: &Mutex<Vec<Request>>,
) {
    let Some(request) = read(&mut stream).await else { return };
    let reaction = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(request.clone());
        react(seen.len() - 1, &request)
    };
    match reaction {
        Reaction::Send(bytes) => {
            stream.write_all(&bytes).await.ok();
            stream.shutdown().await.ok();
        }
        Reaction::Stall(bytes) => {
            stream.write_all(&bytes).await.ok();
            // Until the client goes.
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
        Reaction::Reset => {
            stream.set_zero_linger().ok();
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("requests are ASCII");
    let mut lines = head.split("\r\n").map(str::to_owned);
    let mut request = Request { line: lines.next()?, headers: lines.collect(), body: bytes.split_off(end + 4) };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
