//! Speaks HTTP with the daemon over its Unix socket.
//!
//! Promise: a daemon that is not there, is not ours or does not answer is told apart; no answer is kept without bound.
//! Not here: what the words mean.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use labelsync::control::api::{ErrorBody, Refusal};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::failure::Failure;

/// The daemon answers these from memory; one that needs longer hangs.
const QUICK: Duration = Duration::from_secs(10);
/// The largest answer that is kept whole: ten pages of the longest items.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// `/etc/group` of the largest directory services.
const GROUP_FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How long an answer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// From memory.
    Quick,
    /// The daemon looks at a bucket or a disk first: as long as that takes.
    Long,
}

/// The daemon at a socket. One connection a request: a restart between two is no error.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Does not connect yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The answer's body.
    pub async fn get(&self, path: &str, patience: Patience) -> Result<Bytes, Failure> {
        whole(self.stream(path, patience).await?).await
    }

    /// Sends `body` as JSON; the answer's body.
    pub async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Bytes, Failure> {
        let json = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string(), ""))?;
        whole(self.request(method, path, json.into(), Patience::Long).await?).await
    }

    /// The answer, its body to be read bit by bit.
    pub async fn stream(&self, path: &str, patience: Patience) -> Result<Response<Incoming>, Failure> {
        self.request(Method::GET, path, Bytes::new(), patience).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Patience,
    ) -> Result<Response<Incoming>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "labelsyncd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::usage(format!("cannot ask for {path}: {error}"), ""))?;
        let stream = timeout(QUICK, UnixStream::connect(&self.socket)).await.map_err(|_| self.silent())?;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.cut(&e))?;
        // It ends with the answer; its error comes through the answer too.
        tokio::spawn(connection);
        let answer = sender.send_request(request);
        let answer = match patience {
            Patience::Quick => timeout(QUICK, answer).await.map_err(|_| self.silent())?,
            Patience::Long => answer.await,
        };
        let response = answer.map_err(|error| self.cut(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    fn unreachable(&self, cause: io::Error) -> Failure {
        let socket = self.socket.clone();
        if cause.kind() == ErrorKind::PermissionDenied {
            return Failure::NoPermission { group: group_of(&socket), socket };
        }
        Failure::NoDaemon { socket, cause }
    }

    fn silent(&self) -> Failure {
        let message = format!("labelsyncd at {} does not answer for {} s", self.socket.display(), QUICK.as_secs());
        Failure::failed(message, "see `systemctl status labelsyncd` and `journalctl -u labelsyncd`, then try again")
    }

    fn cut(&self, error: &hyper::Error) -> Failure {
        let message = format!("labelsyncd at {} closed the connection: {error}", self.socket.display());
        Failure::failed(message, "it may be stopping or starting again: try again")
    }
}

/// One piece of a path or query.
pub fn quoted(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Reads an answer as what it should be.
pub fn parse<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        let hint = "`lsctl version` shows whether both are of one version";
        Failure::failed(format!("the daemon's answer is not understood: {error}"), hint)
    })
}

/// An answer that breaks off.
pub fn broken_off(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the daemon's answer broke off: {error}"), "try again")
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| broken_off(&error))
}

async fn refused(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let body = match whole(response).await {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => Failure::Refused(body.error),
        Err(_) => {
            let hint = "is it labelsyncd that listens there? `lsctl version` shows it";
            Failure::Refused(Refusal::new("failed", format!("the daemon answered {status}, without a reason"), hint))
        }
    }
}

/// Whom the socket is open to besides root; its directory, where the socket itself cannot be seen.
fn group_of(socket: &Path) -> Option<String> {
    let meta = std::fs::metadata(socket).ok().or_else(|| std::fs::metadata(socket.parent()?).ok())?;
    // A daemon that root started by hand leaves it to root's group.
    (meta.gid() != 0).then(|| group_name(meta.gid()).unwrap_or_else(|| meta.gid().to_string()))
}

fn group_name(gid: u32) -> Option<String> {
    let file = Path::new("/etc/group");
    if std::fs::metadata(file).ok()?.len() > GROUP_FILE_MAX_BYTES {
        return None;
    }
    let groups = std::fs::read_to_string(file).ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}
