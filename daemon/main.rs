//! `labelsyncd`: the command line, signals, and what systemd is told.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use labelsync::clock::SystemClock;
use labelsync::control::{scrape, server};
use labelsync::events::{EventLog, Happened, Level};
use labelsync::handover::release;
use labelsync::settings::load::Loaded;
use labelsync::settings::overrides::OverridesStore;
use labelsync::settings::{self, Problem};
use labelsync::supervisor::{self, Start, StartError, Supervisor};
use labelsync::sync::pace::Pace;
use labelsync::systemd::{self, NotifyState, notify};
use labelsync::{demo, init, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Keeps Label Studio projects and object storage in step.
#[derive(Parser)]
#[command(name = "labelsyncd", version, about, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The settings file; conf.d/*.toml beside it is read too
    #[arg(long, value_name = "FILE", default_value = "/etc/labelsyncd/labelsyncd.toml")]
    config: PathBuf,
    /// The control socket, instead of the settings'
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The state directory, instead of the settings'
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read the settings, print every problem, and exit: 0 or 78
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Add a project: its settings and, where it is missing, its directory
    Init(Box<init::InitArgs>),
    /// Hand a project back to Label Studio's own cloud storages, with the same ids
    Release(release::ReleaseArgs),
    /// See the main job happen, in a temporary directory, without settings or network
    Demo,
}

/// Variables that name a file of credentials.
const CREDENTIAL_FILES: [&str; 4] =
    ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS"];

/// Exit codes of the contract.
const FAILED: u8 = 1;
const LOCKED: u8 = 73;
const CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = std::io::stdout();
    match args.command {
        Some(Command::Init(init)) => {
            return ExitCode::from(u8::try_from(init::run(&init, &mut out)).unwrap_or(FAILED));
        }
        Some(Command::Release(args)) => {
            return ExitCode::from(u8::try_from(release::run(&args, &mut out)).unwrap_or(FAILED));
        }
        Some(Command::Demo) => return with_runtime(demo::run(&mut out)),
        None => {}
    }
    let loaded = match settings::load(&args.config) {
        Ok(loaded) => loaded,
        Err(problems) => return wrong_settings(&problems),
    };
    let problems = credential_problems(&loaded);
    if !problems.is_empty() {
        return wrong_settings(&problems);
    }
    let state_dir = args.state_dir.clone().unwrap_or_else(|| loaded.settings.daemon.state_dir.clone());
    if args.check {
        return check(&loaded, &state_dir);
    }
    let filter = std::env::var("LABELSYNC_LOG").ok();
    telemetry::start(loaded.settings.daemon.log_format, filter.as_deref());
    let socket = args.socket.clone().unwrap_or_else(|| loaded.settings.daemon.socket.clone());
    let start = Start { config_file: args.config, loaded, state_dir, pace: Pace::default() };
    with_runtime(daemon(start, socket))
}

/// What is wrong with the credentials that systemd hands over; those of the environment and of the settings that stand
/// there must be there.
fn credential_problems(loaded: &Loaded) -> Vec<Problem> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else { return Vec::new() };
    let of_environment = CREDENTIAL_FILES.iter().filter_map(|name| {
        let file = std::env::var_os(name)?;
        Some(((*name).to_owned(), PathBuf::from(file)))
    });
    let of_settings = loaded.settings.projects.values().flat_map(|project| {
        let sides = [
            ("source", project.source.as_ref().map(|s| &s.store)),
            ("target", project.target.as_ref().map(|t| &t.store)),
        ];
        sides.into_iter().filter_map(|(side, store)| match store {
            Some(settings::StoreSettings::Gcs(gcs)) => {
                Some((format!("projects.{}.{side}.credentials_file", project.name), gcs.credentials_file.clone()?))
            }
            _ => None,
        })
    });
    systemd::credential_problems(&dir, of_environment.chain(of_settings))
}

fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&format!("cannot start: {error}"), "check the limits of processes and files", FAILED);
        }
    };
    let code = runtime.block_on(work);
    // Blocking work in hand is a look or a write that ends by itself; its receipts were waited for already.
    runtime.shutdown_timeout(Duration::from_secs(5));
    code
}

/// `labelsyncd --check`.
fn check(loaded: &Loaded, state_dir: &Path) -> ExitCode {
    let store = OverridesStore::peek(state_dir);
    let overrides = match store.load_all(loaded.settings.projects.keys()) {
        Ok(overrides) => overrides,
        Err(errors) => return wrong_settings(&errors.iter().map(|e| e.problem()).collect::<Vec<_>>()),
    };
    if let Err(problems) = loaded.with_overrides(&overrides) {
        return wrong_settings(&problems);
    }
    let mut notes: Vec<Problem> = loaded.warnings.clone();
    notes.extend(loaded.hidden(&overrides));
    let mut out = std::io::stdout();
    for note in &notes {
        let _gone = writeln!(out, "warning: {}: {}\n  hint: {}", note.path, note.message, note.remedy);
    }
    let _gone = writeln!(out, "settings are good: projects: {}", loaded.settings.projects.len());
    ExitCode::SUCCESS
}

fn wrong_settings(problems: &[Problem]) -> ExitCode {
    let mut err = std::io::stderr();
    for problem in problems {
        let _gone = writeln!(err, "error: {}: {}\n  hint: {}", problem.path, problem.message, problem.remedy);
    }
    let _gone = writeln!(err, "{} in the settings", settings::count(problems));
    ExitCode::from(CONFIGURATION)
}

fn fail(message: &str, hint: &str, code: u8) -> ExitCode {
    let _gone = writeln!(std::io::stderr(), "error: {message}\n  hint: {hint}");
    ExitCode::from(code)
}

async fn daemon(start: Start, socket: PathBuf) -> ExitCode {
    let clock = Arc::new(SystemClock);
    let events = Arc::new(EventLog::new(clock.clone()));
    let stop = CancellationToken::new();
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot take signals: {error}"), "report this", FAILED),
    };
    let count = start.loaded.settings.projects.len();
    let metrics = start.loaded.settings.daemon.metrics_listen;
    let supervisor = match Supervisor::start(start, clock, events.clone(), stop.clone()).await {
        Ok(supervisor) => supervisor,
        Err(error) => return not_started(&error),
    };
    let listener = match server::listen(&socket, None) {
        Ok(listener) => listener,
        Err(error) => {
            let code = if error.code() == "already_running" { LOCKED } else { FAILED };
            return fail(&error.to_string(), &error.remedy(), code);
        }
    };
    supervisor::started(&events, count);
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("projects: {count}"))]);
    let metrics = listen_for_metrics(metrics, &events).await;
    if let Some(listener) = metrics {
        tokio::spawn(scrape::serve(Arc::new(supervisor.clone()), listener, stop.clone()));
    }
    let watchdog = systemd::watchdog_time(std::env::var("WATCHDOG_USEC").ok(), std::env::var("WATCHDOG_PID").ok());
    if let Some(time) = watchdog {
        tokio::spawn(feed_watchdog(supervisor.clone(), events.clone(), time));
    }
    let serving = tokio::spawn(server::serve(Arc::new(supervisor.clone()), listener, stop.clone()));
    let forced = signals.serve(&supervisor, &stop).await;
    notify(&[NotifyState::Stopping]);
    events.tell(None, Happened::new(Level::Notice, "stopping", "stopping: what is in hand is finished"));
    stop.cancel();
    let finished = async {
        supervisor.ended().await;
        let _server_ended = serving.await;
    };
    tokio::select! {
        () = finished => ExitCode::SUCCESS,
        () = forced.again() => ExitCode::from(FAILED),
    }
}

/// A port that is taken is told, and does not keep the main job from running.
async fn listen_for_metrics(address: Option<SocketAddr>, events: &EventLog) -> Option<TcpListener> {
    let address = address?;
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let text = format!("metrics_listen: cannot listen at {address}: {error}; choose another port and restart");
            events.tell(None, Happened::new(Level::Error, "metrics_port", text).error("metrics_port"));
            None
        }
    }
}

/// Tells systemd that all is well, four times in its time, while every loop goes on (promise 82).
async fn feed_watchdog(supervisor: Arc<Supervisor>, events: Arc<EventLog>, time: Duration) {
    let mut told = false;
    loop {
        let stuck = supervisor.stuck(time);
        if stuck.is_empty() {
            notify(&[NotifyState::Watchdog]);
        } else if !told {
            let text = format!(
                "{} got no further for {} s: systemd is going to start labelsyncd again",
                stuck.join(", "),
                time.as_secs()
            );
            notify(&[NotifyState::Status(&text)]);
            events.tell(None, Happened::new(Level::Error, "stuck", text).error("stuck"));
        }
        told = !stuck.is_empty();
        tokio::time::sleep(time / 4).await;
    }
}

fn not_started(error: &StartError) -> ExitCode {
    match error {
        StartError::Settings(problems) => wrong_settings(problems),
        StartError::Locked(_) => fail(
            &error.to_string(),
            "stop the other labelsyncd, or give this one its own --state-dir and projects",
            LOCKED,
        ),
        StartError::State(cause) => fail(&format!("{error}: {cause}"), cause.remedy(), FAILED),
        StartError::Io(cause) => {
            fail(&format!("{error}: {cause}"), "check the state directory's permissions and free space", FAILED)
        }
    }
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    /// Taken so that a file size limit is an error of a write and not the end of the daemon (promise 39).
    _file_size: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Reloads at SIGHUP; returns at the first SIGTERM or SIGINT.
    async fn serve(mut self, supervisor: &Arc<Supervisor>, stop: &CancellationToken) -> Self {
        loop {
            tokio::select! {
                _ = self.term.recv() => return self,
                _ = self.int.recv() => return self,
                () = stop.cancelled() => return self,
                // How it ended is told to the log and to the service manager.
                _ = self.hup.recv() => drop(supervisor.reload_files(None).await),
            }
        }
    }

    /// The second signal: at once.
    async fn again(mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
