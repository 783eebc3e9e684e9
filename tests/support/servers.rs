//! Real servers on the loopback: moto, SeaweedFS and fake-gcs-server, each one process on ports of its own.
//!
//! Promise: a server is only given out when it answers; it ends when its handle is dropped, and also when the
//! test program is killed.
//! Not here: what is tested on them.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use labelsync::settings::{GcsSettings, S3Settings};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{ACCESS_KEY, SECRET_KEY};

/// How long a server may take to answer: SeaweedFS needs some seconds, more on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Another program may take a free port between its choice and its use.
const STARTS: u32 = 3;

/// Ends the server when its standard input is closed: also when the test program dies without cleaning up.
const GUARD: &str = r#"exec 3<&0
"$@" </dev/null & server=$!
(cat <&3 >/dev/null; kill -9 $server 2>/dev/null) &
wait $server"#;

/// The kinds of servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// moto: keys in byte order, preconditions right, signatures not checked; no newline in keys.
    Moto,
    /// SeaweedFS: a real server; lists in the order of directories, checks signatures.
    SeaweedFs,
    /// fake-gcs-server: Google's JSON API; ignores the condition of a delete and the checksum of a write.
    Gcs,
}

impl Kind {
    /// Those that speak S3.
    pub const S3: [Self; 2] = [Self::Moto, Self::SeaweedFs];

    /// As it stands in the names of tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moto => "moto",
            Self::SeaweedFs => "seaweedfs",
            Self::Gcs => "gcs",
        }
    }
}

/// The servers of a test program, each started at its first use.
#[derive(Default)]
pub struct Servers {
    moto: OnceLock<Result<Arc<Server>, String>>,
    seaweedfs: OnceLock<Result<Arc<Server>, String>>,
    gcs: OnceLock<Result<Arc<Server>, String>>,
}

impl Servers {
    /// The running server, or why it cannot be had.
    pub fn get(&self, kind: Kind) -> Result<Arc<Server>, String> {
        let slot = match kind {
            Kind::Moto => &self.moto,
            Kind::SeaweedFs => &self.seaweedfs,
            Kind::Gcs => &self.gcs,
        };
        slot.get_or_init(|| Server::start(kind).map(Arc::new)).clone()
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Which it is.
    pub kind: Kind,
    buckets: AtomicU64,
    process: Process,
}

impl Server {
    /// Starts one of its own, for a test that must not share; the reason where it can't be had.
    pub fn start(kind: Kind) -> Result<Self, String> {
        let bin = install()?;
        let mut reason = String::new();
        for _ in 0..STARTS {
            match Self::try_start(kind, &bin) {
                Ok(server) => return Ok(server),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    fn try_start(kind: Kind, bin: &Path) -> Result<Self, String> {
        let ports = free_ports();
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let arguments = match kind {
            Kind::Moto => moto(bin, ports[0]),
            Kind::SeaweedFs => seaweedfs(bin, dir.path(), &ports),
            Kind::Gcs => gcs(bin, ports[0])?,
        };
        let process = Process::start(&arguments, dir).map_err(|error| format!("{}: {error}", kind.name()))?;
        let endpoint = format!("http://127.0.0.1:{}", ports[0]);
        let mut server = Self { endpoint, kind, buckets: AtomicU64::new(0), process };
        server.wait()?;
        Ok(server)
    }

    /// How labelsync reaches a bucket of this server, if it speaks S3.
    pub fn settings(&self, bucket: &str) -> S3Settings {
        S3Settings {
            bucket: bucket.to_owned(),
            region: None,
            endpoint: Some(self.endpoint.clone()),
            profile: None,
            path_style: true,
            expected_bucket_owner: None,
        }
    }

    /// How labelsync reaches a bucket of this server, if it speaks Google's API.
    pub fn gcs_settings(&self, bucket: &str) -> GcsSettings {
        GcsSettings { bucket: bucket.to_owned(), endpoint: Some(self.endpoint.clone()), ..GcsSettings::default() }
    }

    /// Makes a bucket that no other test has; its name.
    pub async fn new_bucket(&self) -> String {
        let bucket = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        match self.kind {
            Kind::Moto | Kind::SeaweedFs => {
                self.client().create_bucket().bucket(&bucket).send().await.expect("a bucket");
            }
            Kind::Gcs => assert!(self.new_gcs_bucket(&bucket).await, "a bucket"),
        }
        bucket
    }

    async fn new_gcs_bucket(&self, bucket: &str) -> bool {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.post(format!("{}/storage/v1/b", self.endpoint));
        let sent = request.body(format!("{{\"name\":\"{bucket}\"}}")).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    }

    /// The SDK's own client, for what somebody else does in the bucket.
    pub fn client(&self) -> Client {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .http_client(http)
            .build();
        Client::from_conf(config)
    }

    /// Until a bucket can be made and written to.
    fn wait(&mut self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let client = self.client();
        let end = Instant::now() + START_TIMEOUT;
        loop {
            let answers = runtime.block_on(async {
                if self.kind == Kind::Gcs {
                    return self.new_gcs_bucket("ready").await;
                }
                let made = client.create_bucket().bucket("ready").send().await;
                let put = client.put_object().bucket("ready").key("ready").send().await;
                // The bucket may be there from the try before.
                drop(made);
                put.is_ok()
            });
            if answers {
                return Ok(());
            }
            if self.process.is_over() || Instant::now() > end {
                let log = self.process.log();
                return Err(format!("{} did not start: {log}", self.kind.name()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn moto(bin: &Path, port: u16) -> Vec<String> {
    let program = bin.join("moto_server").display().to_string();
    [program.as_str(), "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec()
}

fn seaweedfs(bin: &Path, dir: &Path, ports: &[u16; 8]) -> Vec<String> {
    let identities = serde_json::json!({"identities": [{
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }]});
    let config = dir.join("s3.json");
    std::fs::write(&config, identities.to_string()).expect("written");
    let data = dir.join("data");
    std::fs::create_dir(&data).expect("made");
    let mut arguments = vec![bin.join("weed").display().to_string(), "server".to_owned()];
    // Every port is named, so that several can run; the two of the catalogs (8181 and 9101) are switched off.
    let fixed = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
        // A bucket takes seven volumes at its first write; tests make many buckets.
        "-volume.max=2000",
        "-master.volumeSizeLimitMB=32",
    ];
    arguments.extend(fixed.map(str::to_owned));
    let names = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    arguments.extend(names.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")));
    for (name, path) in [
        ("dir", data),
        ("s3.config", config),
        ("s3.localSocket", dir.join("s3.sock")),
        ("filer.localSocket", dir.join("filer.sock")),
    ] {
        arguments.push(format!("-{name}={}", path.display()));
    }
    arguments
}

fn gcs(bin: &Path, port: u16) -> Result<Vec<String>, String> {
    let program = bin.join("fake-gcs-server");
    if !program.exists() {
        return Err("fake-gcs-server could not be installed".to_owned());
    }
    let (program, address) = (program.display().to_string(), format!("127.0.0.1:{port}"));
    let (port, url) = (port.to_string(), format!("http://{address}"));
    let arguments = [
        program.as_str(),
        "-scheme=http",
        "-backend=memory",
        "-log-level=error",
        "-host=127.0.0.1",
        "-port",
        port.as_str(),
        "-public-host",
        address.as_str(),
        "-external-url",
        url.as_str(),
    ];
    Ok(arguments.map(str::to_owned).to_vec())
}

/// Installs what is missing; where the programs are.
fn install() -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("tests/support/install.sh");
        let done = Command::new("sh").arg(&script).stdin(Stdio::null()).output();
        let done = done.map_err(|error| format!("tests/support/install.sh cannot be started: {error}"))?;
        if done.status.success() {
            return Ok(root.join(".test-tools/venv/bin"));
        }
        let said = String::from_utf8_lossy(&done.stderr);
        Err(format!("tests/support/install.sh: {}", said.trim().lines().last().unwrap_or("failed")))
    };
    INSTALLED.get_or_init(install).clone()
}

/// Where ports begin that a program is given who asks for any, as its own end of a connection too: 32,768, unless set.
fn first_ephemeral_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

/// A port that is free now, that this program was not given for long, and that nobody gets who asks for any: whoever asked
/// for it may not listen yet, and Label Studio takes the next port without a word where its own is busy.
pub fn free_port() -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let (first, last) = match first_ephemeral_port() {
        ephemeral if ephemeral > 12_000 => (10_000, ephemeral - 1),
        _ => (10_000, u16::MAX),
    };
    let mut next = NEXT.lock().expect("no panic within");
    // Several programs of tests run at once on a developer's machine: each begins elsewhere.
    let begin = || first + u16::try_from(u64::from(std::process::id()) * 97 % u64::from(last - first + 1)).unwrap_or(0);
    let mut port = next.unwrap_or_else(begin);
    while TcpListener::bind(("127.0.0.1", port)).is_err() {
        port = if port >= last { first } else { port + 1 };
    }
    *next = Some(if port >= last { first } else { port + 1 });
    port
}

/// Eight of them.
pub(super) fn free_ports() -> [u16; 8] {
    std::array::from_fn(|_| free_port())
}

/// A server's process group and its directory; both go with this.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    pub(super) fn start(arguments: &[String], dir: tempfile::TempDir) -> std::io::Result<Self> {
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .args(arguments)
            .current_dir(dir.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, dir })
    }

    pub(super) fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it said.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = String::from_utf8_lossy(&log).lines().rev().take(3).map(str::to_owned).collect();
        lines.join(" / ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}
