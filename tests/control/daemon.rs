//! Runs the real server with a double behind it, and the real `lsctl` against it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labelsync::control::server::{Listener, ServerError, listen, serve};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

/// Far more than anything here takes; a test that needs it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub socket: PathBuf,
    pub fake: Arc<Fake>,
    pub stop: CancellationToken,
    serving: Option<JoinHandle<Result<(), ServerError>>>,
    runtime: Runtime,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Daemon {
    pub fn start() -> Self {
        Self::with(&["cats"])
    }

    pub fn with(projects: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/control.sock");
        let listener = listen(&socket, None).unwrap();
        Self::on(dir, socket, listener, projects)
    }

    pub fn on(dir: tempfile::TempDir, socket: PathBuf, listener: Listener, projects: &[&'static str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let fake = Arc::new(Fake::new(projects));
        let stop = CancellationToken::new();
        let serving = runtime.spawn(serve(Arc::<Fake>::clone(&fake), listener, stop.clone()));
        Self { dir, socket, fake, stop, serving: Some(serving), runtime }
    }

    /// Stops it and waits until it is over.
    pub fn stop(&mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await });
        ended.expect("the server stops").unwrap().unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lsctl"));
        command.env_remove("NO_COLOR").env("LABELSYNC_SOCKET", &self.socket).args(args);
        command
    }

    pub fn lsctl(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// What it printed; it must have been well.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.lsctl(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?} printed {}", ran.out);
        ran.out
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads until the server closes.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Status and body of one request.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
        let answer = self.raw(format!("{head}\r\n\r\n{body}").as_bytes());
        let status = answer.get(9..12).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

/// A socket that nobody listens on any more: a program that another test is just starting may hold it until it runs.
pub fn dead_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    let begin = Instant::now();
    while UnixStream::connect(path).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "{} lives", path.display());
    }
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().expect("it was not killed"), out: text(output.stdout), err: text(output.stderr) }
}

/// Without what depends on the time of day.
pub fn scrub(text: &str) -> String {
    regex::Regex::new(r"\([^()]* ago\)").unwrap().replace_all(text, "(… ago)").into_owned()
}
