//! Requests without any work: nothing is signed, decoded, checked or kept.
//!
//! Promise: the requests that labelsync makes for the same, over bare hyper, as few connections and copies as there can be.
//! Not here: what is done with the answers.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};

use super::BUCKET;

/// Reads under way at once, as labelsync begins with.
const AT_ONCE: u64 = 64;

/// A connection to the double.
struct Line {
    host: String,
    sender: SendRequest<Empty<Bytes>>,
}

impl Line {
    async fn open(endpoint: &str) -> Self {
        let host = endpoint.trim_start_matches("http://").to_owned();
        let stream = tokio::net::TcpStream::connect(&host).await.expect("the double");
        stream.set_nodelay(true).expect("a socket");
        let (sender, connection) = handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Self { host, sender }
    }

    async fn get(&mut self, uri: String) -> Bytes {
        let request = hyper::Request::get(uri).header("host", &self.host).body(Empty::new()).expect("a request");
        self.sender.ready().await.expect("a connection");
        let answer = self.sender.send_request(request).await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.expect("a body").to_bytes()
    }
}

/// How long so many JSON tasks of the double take to read, many at once, over connections that are open.
pub async fn reads(endpoint: String, count: u64) -> Duration {
    let mut lines = Vec::new();
    for _ in 0..AT_ONCE {
        lines.push(Line::open(&endpoint).await);
    }
    let began = Instant::now();
    let mut reading = tokio::task::JoinSet::new();
    for (first, mut line) in (0..AT_ONCE).zip(lines) {
        reading.spawn(async move {
            for n in (first..count).step_by(AT_ONCE as usize) {
                assert!(!line.get(format!("/{BUCKET}/json/{n:06}.json")).await.is_empty());
            }
        });
    }
    reading.join_all().await;
    began.elapsed()
}

/// The requests of a listing; how many keys there were, where they are looked at.
pub async fn listing(endpoint: String, scan: bool) -> u64 {
    let mut line = Line::open(&endpoint).await;
    let (mut token, mut keys) = (String::new(), 0);
    loop {
        let uri = format!("/{BUCKET}/?list-type=2&encoding-type=url&max-keys=1000&prefix=incoming%2F{token}");
        let body = line.get(uri).await;
        if scan {
            let mut rest = &body[..];
            while let Some(at) = find(rest, b"<Key>") {
                let end = find(&rest[at..], b"</Key>").expect("an end");
                keys += 1;
                rest = &rest[at + end..];
            }
        }
        let Some(at) = find(&body[..body.len().min(1_000)], b"<NextContinuationToken>") else { return keys };
        let next = &body[at + b"<NextContinuationToken>".len()..];
        let next = &next[..find(next, b"<").expect("an end")];
        token = format!("&continuation-token={}", String::from_utf8_lossy(next));
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what[0];
    let mut from = 0;
    loop {
        let at = from + text[from..].iter().position(|byte| *byte == first)?;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}
