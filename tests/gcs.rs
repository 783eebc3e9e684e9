//! The main job on Google's API: the real daemon, a source and a target on fake-gcs-server.
//!
//! Promise: what `labelsyncd init` writes from the documentation's words works with `STORAGE_EMULATOR_HOST`.
//! Not here: the contract of stores (`stores`), what every source does alike.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use labelsync::names::Key;
use labelsync::store::gcs::GcsStore;
use labelsync::store::{Precondition, Store};
use serde_json::{Value, json};

use self::support::{Kind, Server};

/// Longer than any step takes, also on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(60);

const LABEL_CONFIG: &str = "<View><Image name=\"i\" value=\"$image\"/><Choices name=\"c\" toName=\"i\">\
                            <Choice value=\"cat\"/></Choices></View>";

fn main() -> ExitCode {
    support::trials(|trials| {
        trials.test_on(Kind::Gcs, "c25_blobs_become_tasks_and_a_completion_is_pushed", |server| async move {
            c25_blobs_become_tasks_and_a_completion_is_pushed(&server).await;
        });
        trials.test_on(Kind::Gcs, "l73_json_tasks_may_be_any_unicode", |server| async move {
            l73_json_tasks_may_be_any_unicode(&server).await;
        });
    })
}

async fn c25_blobs_become_tasks_and_a_completion_is_pushed(server: &Arc<Server>) {
    let bucket = Bucket::new(server).await;
    for key in ["in/1.jpg", "in/2.jpg", "inbox.jpg", "in/", "other.jpg"] {
        bucket.put(key, Bytes::from("picture")).await;
    }
    let machine = Machine::new();
    machine.init(&[
        "--source",
        "gcs",
        "--source-path",
        &bucket.name,
        "--source-params",
        r#"{"prefix": "in", "regex": ".*"}"#,
        "--target",
        "gcs-completions",
        "--target-path",
        &bucket.name,
        "--target-params",
        r#"{"prefix": "done"}"#,
    ]);
    let _daemon = machine.start(server);
    // A plain string, all levels; the key of the directory itself is no task.
    let urls = ["in/1.jpg", "in/2.jpg", "inbox.jpg"].map(|key| format!("gs://{}/{key}", bucket.name));
    let tasks = machine.tasks(3).await;
    for (id, url) in urls.iter().enumerate() {
        assert_eq!(tasks[id.to_string()], json!({"id": id, "data": {"image": url}}));
    }
    let completion = json!({
        "id": 1, "data": {"image": urls[1]},
        "completions": [{"id": 1001, "result": [], "created_at": 1_600_000_000, "lead_time": 1.5}],
    });
    let bytes = Bytes::from(format!("{completion:#}"));
    machine.write("completions/1.json", &bytes);
    let pushed = eventually("the completion in the target", || async { bucket.get("done/1").await }).await;
    assert_eq!(pushed, bytes, "byte for byte");
}

async fn l73_json_tasks_may_be_any_unicode(server: &Arc<Server>) {
    let bucket = Bucket::new(server).await;
    let text = |name: &str| json!({"image": format!("https://example.org/{name}ü.jpg")}).to_string();
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text("a").encode_utf16()).flat_map(u16::to_le_bytes).collect();
    bucket.put("a.json", utf16.into()).await;
    bucket.put("b.json", format!("\u{feff}{}", text("b")).into()).await;
    bucket.put("c.json", text("c").into()).await;
    let machine = Machine::new();
    let params = r#"{"regex": ".*", "use_blob_urls": false}"#;
    machine.init(&["--source", "gcs", "--source-path", &bucket.name, "--source-params", params]);
    let _daemon = machine.start(server);
    let tasks = machine.tasks(3).await;
    for (id, name) in ["a", "b", "c"].iter().enumerate() {
        assert_eq!(tasks[id.to_string()]["data"], serde_json::from_str::<Value>(&text(name)).expect("JSON"));
    }
}

/// A bucket and what somebody else does in it.
struct Bucket {
    name: String,
    store: GcsStore,
}

impl Bucket {
    async fn new(server: &Server) -> Self {
        let name = server.new_bucket().await;
        let store = GcsStore::connect(&server.gcs_settings(&name)).await.expect("a store");
        Self { name, store }
    }

    async fn put(&self, key: &str, bytes: Bytes) {
        self.store.put(&Key::new(key), bytes, &Precondition::Absent).await.expect("written");
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        self.store.get(&Key::new(key), 1 << 20).await.ok().map(|object| object.bytes)
    }
}

/// A machine with one project, `cats`.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn init(&self, words: &[&str]) {
        std::fs::write(self.path("config.xml"), LABEL_CONFIG).expect("written");
        let done = labelsyncd()
            .args(["init", "cats", "--label-config"])
            .arg(self.path("config.xml"))
            .arg("--project-dir")
            .arg(self.path("cats"))
            .arg("--config-dir")
            .arg(self.path("etc"))
            .args(words)
            .output()
            .expect("started");
        assert!(done.status.success(), "{done:?}");
    }

    fn start(&self, server: &Server) -> Daemon {
        let log = std::fs::File::create(self.path("log")).expect("a log");
        let child = labelsyncd()
            .arg("--config")
            .arg(self.path("etc/labelsyncd.toml"))
            .arg("--socket")
            .arg(self.path("control.sock"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .env("STORAGE_EMULATOR_HOST", server.endpoint.trim_start_matches("http://"))
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        Daemon { child: child.expect("started"), log: self.path("log") }
    }

    /// `tasks.json` when it holds so many.
    async fn tasks(&self, count: usize) -> Value {
        eventually("the tasks", || async {
            let text = std::fs::read(self.path("cats/tasks.json")).ok()?;
            let tasks: Value = serde_json::from_slice(&text).ok()?;
            (tasks.as_object()?.len() >= count).then_some(tasks)
        })
        .await
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path("cats").join(name);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, bytes).expect("written");
        std::fs::rename(temporary, path).expect("renamed");
    }
}

fn labelsyncd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labelsyncd"));
    command.envs(support::environment()).stdin(Stdio::null());
    command
}

/// Ends with the test; its log is shown where the test fails.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            show(&self.log);
        }
    }
}

fn show(log: &Path) {
    use std::io::Write;
    let text = std::fs::read(log).unwrap_or_default();
    std::io::stderr().write_all(&text).ok();
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let end = Instant::now() + STEP_MAX;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
