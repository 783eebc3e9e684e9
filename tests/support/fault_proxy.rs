//! A proxy between the daemon and its bucket that breaks connections where a test wants it.
//!
//! Promise: each connection gets the fault that is in force when it begins; without one it passes every byte on.
//! Not here: what is in the bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A reset.
    Reset,
    /// An orderly end.
    Cut,
    /// Silence.
    Stall,
    /// This byte is another one; all others pass.
    Flip,
    /// So many bytes a second.
    Slow(u64),
}

/// Which half of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// From the daemon.
    Up,
    /// To it.
    Down,
}

/// A fault: after so many bytes of this half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub half: Half,
    pub at: u64,
    pub what: What,
}

/// What is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// All passes.
    Open,
    /// Every connection is closed with a reset as soon as it begins.
    Refuse,
    /// Every connection that begins.
    Every(Fault),
    /// Every connection that begins with these bytes: `PUT /bucket/done/`.
    Only(String, Fault),
}

/// Running until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Held to copy or replace.
    mode: Arc<Mutex<Mode>>,
    struck: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl FaultProxy {
    /// In front of `http://HOST:PORT`.
    pub fn start(upstream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let mode = Arc::new(Mutex::new(Mode::Open));
        let struck = Arc::new(AtomicU64::new(0));
        let (in_force, count) = (mode.clone(), struck.clone());
        let accepting = runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mode = in_force.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(pass(client, upstream.clone(), mode, count.clone()));
            }
        });
        Self { endpoint, mode, struck, accepting, _runtime: runtime }
    }

    /// For connections from now on.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// How many connections were broken.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, upstream: String, mode: Mode, struck: Arc<AtomicU64>) {
    if mode == Mode::Refuse {
        struck.fetch_add(1, Ordering::Relaxed);
        client.set_zero_linger().ok();
        return;
    }
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    client.set_nodelay(true).ok();
    let fault = match mode {
        Mode::Open | Mode::Refuse => None,
        Mode::Every(fault) => Some(fault),
        Mode::Only(start, fault) => begins_with(&client, start.as_bytes()).await.then_some(fault),
    };
    let of = |half| fault.filter(|fault| fault.half == half);
    let end = CancellationToken::new();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let broken = tokio::join!(
        pump(from_client, to_server, of(Half::Up), &end),
        pump(from_server, to_client, of(Half::Down), &end)
    );
    if broken.0 || broken.1 {
        struck.fetch_add(1, Ordering::Relaxed);
    }
}

/// Passes one half on; true where its fault came to pass. Whichever half ends first ends the other.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Option<Fault>, end: &CancellationToken) -> bool {
    let mut passed = 0;
    let mut struck = false;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            () = end.cancelled() => break,
            read = from.read(&mut buffer) => read,
        };
        let Ok(bytes @ 1..) = read else { break };
        let mut bytes = &mut buffer[..bytes];
        let here = fault.and_then(|fault| Some((fault.what, usize::try_from(fault.at.checked_sub(passed)?).ok()?)));
        match here {
            Some((What::Flip, at)) if at < bytes.len() => {
                bytes[at] ^= 0x20;
                struck = true;
            }
            Some((What::Reset | What::Cut | What::Stall, at)) if at < bytes.len() => {
                bytes = &mut bytes[..at];
                struck = true;
            }
            _ => {}
        }
        if let Some(Fault { what: What::Slow(rate), .. }) = fault {
            struck = true;
            tokio::time::sleep(Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate)).await;
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
        passed += bytes.len() as u64;
        match fault.map(|fault| fault.what).filter(|_| struck) {
            Some(What::Reset) => {
                from.as_ref().set_zero_linger().ok();
                to.as_ref().set_zero_linger().ok();
                break;
            }
            Some(What::Cut) => break,
            Some(What::Stall) => end.cancelled().await,
            Some(What::Flip | What::Slow(_)) | None => {}
        }
    }
    to.shutdown().await.ok();
    end.cancel();
    struck
}

async fn begins_with(client: &TcpStream, start: &[u8]) -> bool {
    let mut seen = vec![0; start.len()];
    loop {
        match client.peek(&mut seen).await {
            Ok(bytes) if bytes >= start.len() || !start.starts_with(&seen[..bytes]) => return seen == start,
            Ok(bytes) if bytes > 0 => tokio::time::sleep(Duration::from_millis(1)).await,
            Ok(_) | Err(_) => return false,
        }
    }
}
