//! What tests share: running them, real servers, doubles of servers.
//!
//! Promise: a test that cannot run is shown as ignored with its reason; nothing of the developer's own AWS or Google
//! settings, proxies or credentials reaches a test; every server ends with the test program, however that ends.
//! Not here: tests.
//!
//! A test file that needs servers has `harness = false` in `Cargo.toml` and this `main`:
//!
//! ```ignore
//! mod support;
//!
//! fn main() -> std::process::ExitCode {
//!     support::trials(|t| {
//!         t.test("needs_nothing", || async { assert_eq!(1 + 1, 2) });
//!         t.test_on(Kind::Moto, "needs_a_server", |server| async move {
//!             let bucket = server.new_bucket().await;
//!             let store = S3Store::connect(&server.settings(&bucket)).await.expect("a store");
//!             // …
//!         });
//!     })
//! }
//! ```
//!
//! Each server is started when its first test runs and shared by all tests of the program; a test takes buckets
//! of its own. A test that starts `labelsyncd` gives it [`environment`].
#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

pub mod double;
pub mod far;
pub mod fault_proxy;
pub mod label_studio;
pub mod rig;
pub mod servers;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};

use self::servers::Servers;
pub use self::servers::{Kind, Server};

/// The key that all test servers take.
pub const ACCESS_KEY: &str = "labelsync-test-key";

/// Its secret; no log or error may ever show it.
pub const SECRET_KEY: &str = "labelsync-canary-secret";

/// Set in a test program whose environment is clean; its value is the directory of [`profiles`].
const MARK: &str = "LABELSYNC_TEST_DIR";

/// What a developer's environment may hold and tests must not see.
pub const UNWANTED: [&str; 21] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
];

/// Runs the tests that `add` names, as `cargo test` runs tests; what `main` returns.
pub fn trials(add: impl FnOnce(&mut Trials)) -> ExitCode {
    trials_at_once(None, add)
}

/// The same, with so many tests at once where the command line does not say: for tests that mostly wait.
pub fn trials_at_once(tests: Option<usize>, add: impl FnOnce(&mut Trials)) -> ExitCode {
    let Some(dir) = std::env::var_os(MARK) else { return start_again_clean() };
    let servers = Arc::new(Servers::default());
    let mut trials = Trials { servers: Arc::clone(&servers), list: Vec::new() };
    add(&mut trials);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(tests);
    let conclusion = libtest_mimic::run(&arguments, trials.list);
    drop(servers);
    std::fs::remove_dir_all(dir).ok();
    conclusion.exit_code()
}

/// The tests of a program.
pub struct Trials {
    servers: Arc<Servers>,
    list: Vec<Trial>,
}

impl Trials {
    /// A test that needs no server; it fails by panicking.
    pub fn test<F, Fut>(&mut self, name: impl Into<String>, body: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        self.list.push(Trial::test(name, move || {
            runtime().block_on(body());
            Ok(())
        }));
    }

    /// A test of programs only; ignored where `missing` gives the reason why it cannot run.
    pub fn test_unless(
        &mut self,
        name: impl Into<String>,
        missing: impl FnOnce() -> Option<String> + Send + 'static,
        body: impl FnOnce() + Send + 'static,
    ) {
        self.list.push(Trial::ignorable_test(name, move || {
            if let Some(reason) = missing() {
                return Ok(Completion::ignored_with(reason));
            }
            body();
            Ok(Completion::Completed)
        }));
    }

    /// A test that needs what `prepare` gives; ignored, with the reason, where that can't be had.
    pub fn test_with<T>(
        &mut self,
        name: &str,
        prepare: impl FnOnce() -> Result<T, String> + Send + 'static,
        body: impl FnOnce(T) + Send + 'static,
    ) {
        self.list.push(Trial::ignorable_test(name, move || {
            let given = match prepare() {
                Ok(given) => given,
                Err(reason) => return Ok(Completion::ignored_with(reason)),
            };
            body(given);
            Ok(Completion::Completed)
        }));
    }

    /// The servers of this program, for a test that needs one beside other things.
    pub fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.servers)
    }

    /// A test on a server; ignored, with the reason, where the server can't be had.
    pub fn test_on<F, Fut>(&mut self, kind: Kind, name: &str, body: F)
    where
        F: FnOnce(Arc<Server>) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let servers = Arc::clone(&self.servers);
        self.list.push(Trial::ignorable_test(format!("{}::{name}", kind.name()), move || {
            let server = match servers.get(kind) {
                Ok(server) => server,
                Err(reason) => return Ok(Completion::ignored_with(reason)),
            };
            runtime().block_on(body(server));
            Ok(Completion::Completed)
        }));
    }
}

/// The environment of a `labelsyncd` under test: credentials of the test servers, nothing of the developer's.
pub fn environment() -> Vec<(&'static str, String)> {
    let dir = std::env::var(MARK).expect("set by `trials`");
    vec![
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", format!("{dir}/config")),
        ("AWS_SHARED_CREDENTIALS_FILE", format!("{dir}/credentials")),
    ]
}

/// The credentials file of this program; a test may rewrite it.
pub fn profiles() -> PathBuf {
    PathBuf::from(std::env::var_os(MARK).expect("set by `trials`")).join("credentials")
}

/// The profiles that tests name: `good`, `unknown-key`, `wrong-secret`, `no-keys`; `rotating` is [`profiles`]' own.
pub fn write_profiles(rotating_key: &str) {
    let text = format!(
        "[good]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n\
         [unknown-key]\naws_access_key_id = nobody\naws_secret_access_key = {SECRET_KEY}\n\
         [wrong-secret]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = canary-wrong\n\
         [no-keys]\nregion = eu-west-1\n\
         [rotating]\naws_access_key_id = {rotating_key}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    let new = profiles().with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, profiles()).expect("renamed");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// The environment of a running program cannot be changed safely, so the program is started anew in its place.
fn start_again_clean() -> ExitCode {
    let dir = tempfile::tempdir().expect("a directory").keep();
    let mut again = Command::new(std::env::current_exe().expect("the test program"));
    again.args(std::env::args_os().skip(1)).env(MARK, &dir);
    for name in UNWANTED {
        again.env_remove(name);
    }
    again
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", dir.join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.join("credentials"));
    let error = again.exec();
    panic!("the test program cannot be started again: {error}");
}
