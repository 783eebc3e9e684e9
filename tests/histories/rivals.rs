//! Other daemons: a second one on the same project, and one whose project names the same target.
//!
//! Promise: with the real locks, markers and marks; what they are allowed is the judge's.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use labelsync::events::EventLog;
use labelsync::names::ProjectName;
use labelsync::project::board::Board;
use labelsync::project::claim::Owner;
use labelsync::project::directory::Directory;
use labelsync::project::host::{Host, NotOpened};
use labelsync::project::ledger::Ledger;
use labelsync::project::repair::Wish;
use labelsync::project::run::InForce;
use labelsync::project::source::road::SourceRoad;
use labelsync::project::target::road::{Look, TargetRoad, TargetSide};
use labelsync::project::wakes::Wakes;
use labelsync::store::Store;
use labelsync::sync::pace::Pace;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings::target_settings;
use crate::world::{TestClock, Verdict, shared, start_project, temp_dir};

/// What a second daemon with a state directory of its own comes to on this project; `alive`: the first one runs.
pub async fn second(project: &Path, clock: Arc<TestClock>, alive: bool) -> Verdict {
    let state = temp_dir();
    let name = ProjectName::parse("p").unwrap();
    let host = Host {
        board: Arc::new(Board::new(name.as_str(), "/p", Default::default())),
        name,
        path: project.to_owned(),
        state_dir: state.path().to_owned(),
        events: Arc::new(EventLog::new(clock.clone())),
        clock,
        wakes: Arc::new(Wakes::default()),
        pace: Pace::immediate(),
        in_force: watch::channel(Arc::new(InForce::default())).1,
        stop: CancellationToken::new(),
        opened: Arc::new(Mutex::new(None)),
        accepted: Arc::default(),
        repair: Arc::new(Wish::default()),
    };
    match (host.open().await, alive) {
        (Err(NotOpened::Locked(_)), true) => Ok(()),
        // It has no ledger of this project: it never takes it for one without tasks.
        (Err(NotOpened::Failed(error)), false) if error.code() == "ledger_missing" => Ok(()),
        (Err(other), _) => Err(format!("a second daemon says {other:?}")),
        (Ok(_), _) => Err("a second daemon opened the project".to_owned()),
    }
}

/// A project of its own, with a completion under an id that ours has too.
pub struct Rival {
    road: TargetRoad,
    ledger: Arc<Ledger>,
    side: TargetSide,
    _dir: tempfile::TempDir,
}

impl Rival {
    pub async fn new(target: Arc<dyn Store>, clock: Arc<TestClock>) -> Self {
        let dir = temp_dir();
        let project = dir.path().join("project");
        start_project(&project);
        let data = json!({"image": "rival"});
        let completion = json!({"id": 0, "data": data, "completions": [{"id": 1, "result": []}]});
        fs::write(project.join("tasks.json"), json!({"0": {"id": 0, "data": data}}).to_string()).unwrap();
        fs::write(project.join("completions/0.json"), completion.to_string()).unwrap();
        let ledger = Arc::new(Ledger::open(&dir.path().join("ledger.db")).unwrap());
        let shared = shared(Arc::new(Directory::new(&project)), ledger.clone(), clock, dir.path());
        SourceRoad::new(shared.clone()).cycle(None, false).await.unwrap();
        let owner = Owner { project: "rival".to_owned(), installation: "other".to_owned(), name: "rival".to_owned() };
        let side = TargetSide { settings: target_settings(), store: target, owner };
        Self { road: TargetRoad::new(shared), ledger, side, _dir: dir }
    }

    /// It tries to push. That it wrote nothing is seen where all changes of the target are.
    pub async fn push(&mut self) -> Verdict {
        if self.road.cycle(&self.side, Look::Full).await.is_err() {
            return Ok(());
        }
        let held = self.ledger.holds().unwrap().iter().any(|hold| hold.code == "target_owned");
        if held { Ok(()) } else { Err("another project's daemon is not held at our target".to_owned()) }
    }
}
