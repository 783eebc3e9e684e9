//! What a poll of unchanged keys costs, beside a floor that walks the same pages and does nothing else.
//!
//! `cargo bench --bench poll [-- KEYS]` prints CPU seconds, wall and the ratio; KEYS: 1,000,000 without it.
//! Both run in one process, one after the other, on the same store in memory: the bucket costs nothing.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labelsync::clock::{Clock, SystemClock};
use labelsync::events::EventLog;
use labelsync::names::{ETag, Key, ProjectName, Sha256, TaskId};
use labelsync::project::board::Board;
use labelsync::project::directory::Directory;
use labelsync::project::ledger::Ledger;
use labelsync::project::shared::Shared;
use labelsync::project::source_look::SourceSide;
use labelsync::project::source_road::SourceRoad;
use labelsync::settings;
use labelsync::store::memory::MemoryStore;
use labelsync::store::{ListRequest, Store};
use labelsync::sync::action::{Form, TaskAction};
use labelsync::sync::pace::Pace;

const ROOT: &str = "s3://bench";

fn main() {
    let keys = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench(keys));
}

async fn bench(keys: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("config.xml"), "<View><Image name=\"i\" value=\"$image\"/></View>").expect("config");
    let store = Arc::new(MemoryStore::new(ROOT).with_page_objects(1_000));
    let shared = shared(dir.path());
    fill(&store, &shared, keys);
    let side = side(store.clone());
    let floor = timed(floor(&*store)).await;
    let poll = timed(poll(&shared, &side)).await;
    assert_eq!(floor.result, keys, "the floor saw every key");
    assert_eq!(poll.result, 0, "nothing has changed");
    // Whoever reads may have gone; the figures are for a person.
    let _gone = writeln!(
        std::io::stdout(),
        "{keys} unchanged keys: CPU s, wall s\n{}   the pages, walked\n{}   matched, merged with the ledger, decided\nratio of CPU: {:.1}",
        floor.line("floor"),
        poll.line("poll"),
        poll.cpu.as_secs_f64() / floor.cpu.as_secs_f64().max(0.001)
    );
}

/// CPU of the whole process, wall, and what the work came to.
struct Timed {
    cpu: Duration,
    wall: Duration,
    result: u64,
}

impl Timed {
    fn line(&self, name: &str) -> String {
        format!("{name:6} {:6.2} {:6.2}", self.cpu.as_secs_f64(), self.wall.as_secs_f64())
    }
}

async fn timed(work: impl Future<Output = u64>) -> Timed {
    let (cpu, wall) = (cpu_time(), Instant::now());
    let result = work.await;
    Timed { cpu: cpu_time() - cpu, wall: wall.elapsed(), result }
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

async fn floor(store: &dyn Store) -> u64 {
    let (mut token, mut listed) = (None, 0);
    loop {
        let page = store.list_page(&ListRequest::default(), token.as_ref()).await.expect("a page");
        listed += page.objects.len() as u64;
        let Some(next) = page.next else { return listed };
        token = Some(next);
    }
}

async fn poll(shared: &Shared, side: &SourceSide) -> u64 {
    SourceRoad::new(shared.clone()).plan(side).await.expect("a plan").total
}

fn shared(dir: &std::path::Path) -> Shared {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Shared {
        name: ProjectName::parse("bench").expect("a name"),
        near: Arc::new(Directory::new(dir)),
        ledger: Arc::new(Ledger::open(&dir.join("ledger.sqlite")).expect("a ledger")),
        board: Arc::new(Board::new("bench", "", clock.now())),
        events: Arc::new(EventLog::new(clock.clone())),
        clock,
        pace: Pace::default(),
        work_dir: dir.to_owned(),
    }
}

/// As many objects as tasks: nothing is left to do.
fn fill(store: &MemoryStore, shared: &Shared, keys: u64) {
    let origin = shared.ledger.origin(ROOT).expect("an origin");
    let mut batch = Vec::new();
    for n in 0..keys {
        let key = Key::new(format!("incoming/2026/11/{:04}/image-{n:09}.jpg", n / 10_000));
        let etag: ETag = store.insert(&key, Vec::new());
        batch.push(TaskAction::Add {
            id: TaskId::new(n).expect("an id"),
            key,
            etag,
            form: Form::Blob { data_key: "image".to_owned() },
            body: None,
            data_hash: Sha256::of(&n.to_le_bytes()),
        });
        if batch.len() == 50_000 || n + 1 == keys {
            shared.ledger.reserve(origin, &batch).expect("reserved");
            batch.clear();
        }
    }
    shared.ledger.settle("").expect("settled");
}

fn side(store: Arc<dyn Store>) -> SourceSide {
    let text = "[projects.bench]\npath = \"/p\"\n\
                [projects.bench.source]\ntype = \"s3\"\nbucket = \"bench\"\nregex = '.*\\.jpg'\n";
    let loaded = settings::load_texts(&[("bench", text)]).expect("good settings");
    let project = loaded.settings.projects.into_values().next().expect("one project");
    SourceSide { settings: project.source.expect("a source"), store, targets: Vec::new() }
}
