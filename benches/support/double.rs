//! A bare S3 server: what it costs is not what is measured, so it is a process of its own.
//!
//! Promise: listings, reads, and writes under preconditions, as S3 answers them; requests are counted. With `--latency
//! 50ms` it answers each that much later, as a bucket a long way off.
//! Not here: signatures, checksums.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{BUCKET, etag, key, say};

/// Keys on a page, as S3 gives them.
const PAGE_KEYS: u64 = 1_000;

/// Pages of the unchanging keys that are kept as text once they were asked for: half a gigabyte. Writing them anew each
/// time would take as long as it takes a client to read them.
const KEPT_PAGES_MAX: usize = 2_000;

/// The option that says how far the bucket is.
const LATENCY: &str = "--latency";

/// The double as a process, ended when this is dropped.
#[derive(Debug)]
pub struct Double {
    child: Child,
    address: SocketAddr,
}

impl Double {
    /// Starts this program again as a server of so many unchanging keys.
    pub fn start(keys: u64) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.args(["--serve", &keys.to_string()]);
        if let Some(latency) = super::option(LATENCY) {
            command.args([LATENCY, &latency]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a server");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests since the last call.
    pub fn requests(&self) -> u64 {
        self.tell("GET", "/_requests", b"").parse().expect("a number")
    }

    /// From now on so many unchanging keys are listed.
    pub fn set_keys(&self, keys: u64) {
        self.tell("PUT", &format!("/_keys/{keys}"), b"");
    }

    /// So many JSON tasks of about 1 KB, `json/000000.json` and on.
    pub fn add_json_tasks(&self, count: u64) {
        self.tell("PUT", &format!("/_json/{count}"), b"");
    }

    /// When the last write came, in microseconds since the epoch of `CLOCK_MONOTONIC`.
    pub fn last_write_us(&self) -> u64 {
        self.tell("GET", "/_last", b"").parse().expect("a number")
    }

    /// How many writes it took since its start: known without a walk over its objects.
    pub fn writes(&self) -> u64 {
        self.tell("GET", "/_writes", b"").parse().expect("a number")
    }

    /// How many objects have this prefix.
    pub fn count(&self, prefix: &str) -> u64 {
        self.tell("GET", &format!("/_count/{prefix}"), b"").parse().expect("a number")
    }

    /// Writes an object.
    pub fn put(&self, key: &str, body: &[u8]) {
        self.tell("PUT", &format!("/{BUCKET}/{key}"), body);
    }

    fn tell(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the double");
        let head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Microseconds of a clock that all processes share.
pub fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).expect("after the start of the machine")
}

/// Serves where this program was started with `--serve KEYS`; does not come back then.
pub fn serve_if_asked() {
    let Some(keys) = super::option("--serve") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    say(listener.local_addr().expect("an address"));
    let latency = super::option(LATENCY).map_or(0, |text| text.trim_end_matches("ms").parse().expect("milliseconds"));
    let bucket = Arc::new(Bucket { latency: Duration::from_millis(latency), ..Bucket::default() });
    bucket.keys.store(keys.parse().expect("a number"), Ordering::Relaxed);
    for stream in listener.incoming() {
        let (bucket, stream) = (bucket.clone(), stream.expect("a connection"));
        std::thread::spawn(move || bucket.talk(&stream));
    }
}

/// Bytes and ETag of each key.
type Objects = BTreeMap<String, (Arc<[u8]>, String)>;

#[derive(Default)]
struct Bucket {
    latency: Duration,
    keys: AtomicU64,
    requests: AtomicU64,
    last_write_us: AtomicU64,
    writes: AtomicU64,
    objects: Mutex<Objects>,
    /// Texts of pages, by their first and last keys' numbers.
    kept: Mutex<HashMap<(u64, u64), Arc<str>>>,
}

/// A request, read.
#[derive(Default)]
struct Asked {
    method: String,
    path: String,
    query: String,
    if_match: Option<String>,
    if_none_match: bool,
    close: bool,
    body: Vec<u8>,
}

impl Bucket {
    /// One connection. Errors: whoever asked has gone.
    fn talk(&self, stream: &TcpStream) {
        stream.set_nodelay(true).expect("a socket");
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        let mut answer = Vec::new();
        while let Some(asked) = read(&mut reader, stream) {
            answer.clear();
            self.answer(&asked, &mut answer);
            if !asked.path.starts_with("/_") {
                std::thread::sleep(self.latency);
            }
            if (&*stream).write_all(&answer).is_err() || asked.close {
                return;
            }
        }
    }

    fn answer(&self, asked: &Asked, out: &mut Vec<u8>) {
        let path = asked.path.as_str();
        if let Some(told) = path.strip_prefix("/_") {
            return send(out, "200 OK", "", self.told(told).as_bytes());
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(BUCKET));
        let Some(rest) = rest else { return send(out, "404 Not Found", "", error("NoSuchBucket").as_bytes()) };
        let key = decode(rest.trim_start_matches('/'));
        match asked.method.as_str() {
            "GET" if key.is_empty() && asked.query.contains("location") => {
                let place = "<?xml version=\"1.0\"?><LocationConstraint>us-east-1</LocationConstraint>";
                send(out, "200 OK", XML, place.as_bytes());
            }
            "GET" if key.is_empty() => self.page(&asked.query, out),
            "PUT" => self.put(&key, asked, out),
            "DELETE" => {
                self.lock().remove(&key);
                send(out, "204 No Content", "", b"");
            }
            method => self.read(&key, method == "HEAD", out),
        }
    }

    fn told(&self, what: &str) -> String {
        match what.split_once('/') {
            Some(("keys", keys)) => self.keys.store(keys.parse().expect("a number"), Ordering::Relaxed),
            Some(("json", count)) => {
                let mut objects = self.lock();
                for n in 0..count.parse::<u64>().expect("a number") {
                    let body: Arc<[u8]> = json_task(n).into_bytes().into();
                    objects.insert(format!("json/{n:06}.json"), (body, etag(n)));
                }
            }
            Some(("count", prefix)) => {
                let prefix = decode(prefix);
                let objects = self.lock();
                return objects
                    .range(prefix.clone()..)
                    .take_while(|(key, _)| key.starts_with(&prefix))
                    .count()
                    .to_string();
            }
            _ if what == "writes" => return self.writes.load(Ordering::Relaxed).to_string(),
            _ if what == "last" => return self.last_write_us.load(Ordering::Relaxed).to_string(),
            _ => return self.requests.swap(0, Ordering::Relaxed).to_string(),
        }
        String::new()
    }

    fn read(&self, key: &str, head: bool, out: &mut Vec<u8>) {
        let found = self.lock().get(key).cloned();
        let Some((body, etag)) = found else {
            return if key.is_empty() {
                send(out, "200 OK", "x-amz-bucket-region: us-east-1\r\n", b"")
            } else {
                let text = error("NoSuchKey");
                send(out, "404 Not Found", XML, if head { b"" } else { text.as_bytes() })
            };
        };
        let headers = format!("ETag: {etag}\r\nLast-Modified: Fri, 20 Nov 2026 10:11:12 GMT\r\n");
        if head {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
            return out.extend_from_slice(head.as_bytes());
        }
        send(out, "200 OK", &headers, &body);
    }

    fn put(&self, key: &str, asked: &Asked, out: &mut Vec<u8>) {
        let tag = etag(1 << 40 | self.writes.fetch_add(1, Ordering::Relaxed));
        let mut objects = self.lock();
        let there = objects.get(key).map(|(_, etag)| etag.as_str());
        let refused = (asked.if_none_match && there.is_some())
            || asked.if_match.as_deref().is_some_and(|wanted| there != Some(wanted));
        if refused {
            return send(out, "412 Precondition Failed", XML, error("PreconditionFailed").as_bytes());
        }
        objects.insert(key.to_owned(), (asked.body.as_slice().into(), tag.clone()));
        drop(objects);
        if !key.starts_with(".labelsync/") {
            self.last_write_us.store(now_us(), Ordering::Relaxed);
        }
        send(out, "200 OK", &format!("ETag: {tag}\r\n"), b"");
    }

    /// A page of the unchanging keys, or of the objects where the prefix names others.
    fn page(&self, query: &str, out: &mut Vec<u8>) {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).next()
        };
        let prefix = value("prefix").unwrap_or_default();
        let (token, after) = (value("continuation-token"), value("start-after"));
        let keys = if key(0).starts_with(&prefix) { self.keys.load(Ordering::Relaxed) } else { 0 };
        let start = match (&token, &after) {
            (Some(token), _) => token.parse().unwrap_or(0),
            (None, Some(after)) => first_after(after, keys),
            (None, None) => 0,
        };
        let token = token.or(after).unwrap_or_default();
        let end = keys.min(start + PAGE_KEYS);
        let mut next = (end < keys).then(|| end.to_string());
        let mut count = end - start.min(end);
        let text: Arc<str> = if keys > 0 {
            self.unchanging(start, end)
        } else {
            let mut text = String::with_capacity(300 * 1024);
            let objects = self.lock();
            let mut found = objects.range(token.clone()..).filter(|(key, _)| **key != token);
            let mut last = "";
            let page = found.by_ref().take_while(|(key, _)| key.starts_with(&prefix) || **key < prefix);
            for (key, (body, etag)) in page.filter(|(key, _)| key.starts_with(&prefix)).take(PAGE_KEYS as usize) {
                object(&mut text, key, etag, body.len() as u64);
                last = key;
                count += 1;
            }
            let more = found.next().is_some_and(|(key, _)| key.starts_with(&prefix));
            next = more.then(|| last.to_owned());
            text.into()
        };
        let encoding = if query.contains("encoding-type=url") { "<EncodingType>url</EncodingType>" } else { "" };
        let token = next
            .as_ref()
            .map_or(String::new(), |token| format!("<NextContinuationToken>{token}</NextContinuationToken>"));
        let head = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{BUCKET}</Name><Prefix>{prefix}</Prefix>{token}<KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys>{encoding}\
             <IsTruncated>{}</IsTruncated>",
            next.is_some()
        );
        send_parts(out, "200 OK", XML, &[head.as_bytes(), text.as_bytes(), b"</ListBucketResult>"]);
    }

    fn unchanging(&self, start: u64, end: u64) -> Arc<str> {
        // No thread that holds it panics.
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = kept().get(&(start, end)) {
            return text.clone();
        }
        let mut text = String::with_capacity(300 * 1024);
        (start..end).for_each(|n| object(&mut text, &key(n), &etag(n), 100_000 + n % 1_000));
        let text: Arc<str> = text.into();
        let mut kept = kept();
        if kept.len() < KEPT_PAGES_MAX {
            kept.insert((start, end), text.clone());
        }
        text
    }

    /// No thread that holds it panics.
    fn lock(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the first of the unchanging keys after this one.
fn first_after(after: &str, keys: u64) -> u64 {
    let (mut low, mut high) = (0, keys);
    while low < high {
        let middle = low.midpoint(high);
        if key(middle).as_str() <= after { low = middle + 1 } else { high = middle }
    }
    low
}

const XML: &str = "Content-Type: application/xml\r\n";

fn object(text: &mut String, key: &str, etag: &str, size: u64) {
    let etag = etag.trim_matches('"');
    let written = write!(
        text,
        "<Contents><Key>{key}</Key><LastModified>2026-11-20T10:11:12.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag>\
         <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    );
    written.expect("a text takes everything");
}

/// About 1 KB.
pub fn json_task(n: u64) -> String {
    format!("{{\"image\":\"s3://{BUCKET}/{}\",\"text\":\"{}\",\"n\":{n}}}", key(n), "The quick brown fox. ".repeat(43))
}

fn error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>")
}

fn send(out: &mut Vec<u8>, status: &str, headers: &str, body: &[u8]) {
    send_parts(out, status, headers, &[body]);
}

fn send_parts(out: &mut Vec<u8>, status: &str, headers: &str, parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let length = if status.starts_with("204") { String::new() } else { format!("Content-Length: {bytes}\r\n") };
    out.extend_from_slice(format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n").as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// `None`: the other side has gone.
fn read(reader: &mut impl BufRead, mut stream: &TcpStream) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked { method, path: path.to_owned(), query: query.to_owned(), ..Asked::default() };
    let mut length = 0;
    let mut awaits = false;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "expect" => awaits = true,
            "if-match" => asked.if_match = Some(value.to_owned()),
            "if-none-match" => asked.if_none_match = true,
            "connection" => asked.close = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if awaits {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
