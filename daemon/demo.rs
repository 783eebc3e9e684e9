//! `labelsyncd demo`: the main job before one's eyes, on the real road, with directories for buckets.
//!
//! Promise: nothing outside a temporary directory is touched; it ends by itself in seconds, and fails if anything
//! that it shows did not happen.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::control::api::Event;
use crate::control::{Actor, Control};
use crate::events::EventLog;
use crate::names::ProjectName;
use crate::settings::{self, SourcePatch};
use crate::supervisor::{Start, Supervisor};
use crate::sync::pace::Pace;

/// A step that takes longer has failed.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Pictures in the demo's bucket.
const PICTURES: [&str; 4] = ["a.png", "b.png", "c.jpg", "notes/readme.txt"];

struct Demo<'o> {
    out: &'o mut (dyn Write + Send),
    dir: PathBuf,
    supervisor: Arc<Supervisor>,
    project: ProjectName,
    began: Instant,
    told: u64,
}

/// Shows it; 0 when everything happened.
pub async fn run(out: &mut (dyn Write + Send)) -> ExitCode {
    match show(out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _gone = writeln!(out, "error: the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn show(out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let temp = tempfile::tempdir()?;
    let dir = temp.path().to_owned();
    prepare(&dir)?;
    let clock = Arc::new(SystemClock);
    let events = Arc::new(EventLog::new(clock.clone()));
    let stop = CancellationToken::new();
    let text = settings_text(&dir);
    let loaded = settings::load_texts(&[("demo", text.as_str())]).map_err(|problems| {
        std::io::Error::other(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let state_dir = dir.join("state");
    let start = Start { config_file: dir.join("labelsyncd.toml"), loaded, state_dir, pace: Pace::default() };
    let supervisor = Supervisor::start(start, clock, events, stop.clone()).await.map_err(std::io::Error::other)?;
    let project = ProjectName::parse("cats").ok_or_else(|| std::io::Error::other("no name"))?;
    let began = Instant::now();
    let mut demo = Demo { out, dir, supervisor: supervisor.clone(), project, began, told: 0 };
    let shown = demo.steps().await;
    stop.cancel();
    supervisor.ended().await;
    shown
}

fn settings_text(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[projects.cats]\npath = \"{dir}/project\"\n\
         [projects.cats.source]\ntype = \"local\"\npath = \"{dir}/bucket\"\nregex = '.*\\.png'\npoll_interval = \"1s\"\n\
         [projects.cats.target]\ntype = \"local\"\npath = \"{dir}/results\"\nprefix = \"done\"\n"
    )
}

/// A bucket with pictures, and a Label Studio project as `label-studio init` makes it.
fn prepare(dir: &Path) -> std::io::Result<()> {
    for sub in ["bucket/notes", "results", "project/completions", "state"] {
        std::fs::create_dir_all(dir.join(sub))?;
    }
    for picture in PICTURES {
        std::fs::write(dir.join("bucket").join(picture), b"not really a picture")?;
    }
    let config = "<View>\n  <Image name=\"image\" value=\"$image\"/>\n  <Choices name=\"is\" toName=\"image\">\n    \
                  <Choice value=\"cat\"/>\n    <Choice value=\"dog\"/>\n  </Choices>\n</View>\n";
    std::fs::write(dir.join("project/config.xml"), config)?;
    std::fs::write(dir.join("project/config.json"), "{\n  \"label_config\": \"config.xml\"\n}")?;
    std::fs::write(dir.join("project/tasks.json"), "{}")
}

impl Demo<'_> {
    async fn steps(&mut self) -> std::io::Result<()> {
        self.say("a directory stands for the bucket; it holds:")?;
        for picture in PICTURES {
            self.say(&format!("    {picture}"))?;
        }
        self.say("labelsyncd mirrors it into a Label Studio project, with regex '.*\\.png':")?;
        self.until("two tasks", |demo| demo.tasks() == 2).await?;
        self.print_tasks()?;

        self.say("a new picture lands in the bucket:")?;
        std::fs::write(self.dir.join("bucket/d.png"), b"another one")?;
        self.until("a third task", |demo| demo.tasks() == 3).await?;

        self.say("an annotator labels task 0; Label Studio saves completions/0.json in place:")?;
        let saved = self.save_completion()?;
        let pushed = self.dir.join("results/done/0");
        let arrived = |demo: &Self| std::fs::read(&pushed).is_ok_and(|b| b == saved) && demo.has_told("pushed");
        self.until("the completion in the target", arrived).await?;
        self.say("    results/done/0 holds the file's bytes as they are")?;

        self.say("the operator widens it while it runs: lsctl set-source --regex '.*'")?;
        let patch = SourcePatch { regex: Some(".*".to_owned()), ..Default::default() };
        let actor = Actor { uid: rustix::process::geteuid().as_raw(), pid: None };
        self.supervisor.set_source(&self.project, patch, false, actor).await.map_err(std::io::Error::other)?;
        self.until("every object a task", |demo| demo.tasks() == 5 && demo.told_tasks() == 5).await?;
        self.print_tasks()?;
        self.say("that is the main job. Next: README.md, \"Your own project\"")
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out, "{:5.1}s  {text}", self.began.elapsed().as_secs_f64())
    }

    /// Waits, and tells what happens meanwhile in the words of `lsctl events`.
    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> std::io::Result<()> {
        let begun = Instant::now();
        loop {
            let done = reached(self);
            self.tell_events()?;
            if done {
                return Ok(());
            }
            if begun.elapsed() > STEP_MAX {
                let status = serde_json::to_string(&self.supervisor.status())?;
                return Err(std::io::Error::other(format!("waited too long for {what}: {status}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn told_tasks(&self) -> usize {
        self.supervisor.events().recent.iter().filter(|event| event.kind == "task_added").count()
    }

    /// Whether such an event happened.
    fn has_told(&self, kind: &str) -> bool {
        self.supervisor.events().recent.iter().any(|event| event.kind == kind)
    }

    fn tell_events(&mut self) -> std::io::Result<()> {
        let new: Vec<Event> = self.supervisor.events().recent.into_iter().filter(|e| e.seq > self.told).collect();
        for event in new {
            self.told = event.seq;
            self.say(&format!("    {}", event.message))?;
        }
        Ok(())
    }

    fn tasks(&self) -> usize {
        let text = std::fs::read(self.dir.join("project/tasks.json")).unwrap_or_default();
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).map_or(0, |tasks| tasks.len())
    }

    fn print_tasks(&mut self) -> std::io::Result<()> {
        let text = std::fs::read_to_string(self.dir.join("project/tasks.json"))?;
        let dir = self.dir.display().to_string();
        for line in text.lines() {
            self.say(&format!("    {}", line.replace(&dir, "…")))?;
        }
        Ok(())
    }

    /// As Label Studio 0.8 does: the task with its completions, `open(name, "w")`, two spaces, sorted keys.
    fn save_completion(&self) -> std::io::Result<Vec<u8>> {
        let tasks: serde_json::Value = serde_json::from_slice(&std::fs::read(self.dir.join("project/tasks.json"))?)?;
        let completion = serde_json::json!({
            "completions": [{
                "created_at": 1_600_000_000, "id": 1, "lead_time": 1.5,
                "result": [{"from_name": "is", "to_name": "image", "type": "choices", "value": {"choices": ["cat"]}}],
            }],
            "data": tasks["0"]["data"],
            "id": 0,
        });
        let text = serde_json::to_vec_pretty(&completion)?;
        std::fs::write(self.dir.join("project/completions/0.json"), &text)?;
        Ok(text)
    }
}
