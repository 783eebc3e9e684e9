//! A daemon's inside that remembers what it was asked and answers what a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use labelsync::clock::UnixMillis;
use labelsync::control::api::*;
use labelsync::control::{Actor, Control, EventFeed};
use labelsync::names::ProjectName;
use labelsync::settings::{SourcePatch, TargetPatch};
use serde_json::json;
use tokio::sync::broadcast;

/// 2026-01-02T03:04:05Z.
pub const THEN: UnixMillis = UnixMillis(1_767_323_045_000);

/// Breaks a line, clears the screen, turns the reading direction, forges a syslog level.
pub const HOSTILE: &str = "in/a\n<0>\u{1b}[2J\u{202e}gpj\t.exe\u{9b}31m";
/// As it may be shown.
pub const HARMLESS: &str = "in/a\\n<0>\\u{1b}[2J\\u{202e}gpj\\t.exe\\u{9b}31m";

pub struct Fake {
    pub projects: Vec<&'static str>,
    pub asked: Mutex<Vec<String>>,
    /// Verbs as they are counted.
    pub answered: Mutex<BTreeSet<String>>,
    pub refuse: Mutex<Option<Refusal>>,
    pub state: Mutex<State>,
    pub source_error: Mutex<Option<Reason>>,
    pub items: Mutex<Vec<Item>>,
    pub refused_items: Mutex<Vec<Item>>,
    pub recent: Mutex<Vec<Event>>,
    pub live: broadcast::Sender<Event>,
    /// `plan` never answers.
    pub hangs: AtomicBool,
    /// So many times, until now.
    pub hung: AtomicU64,
    /// `plan` panics.
    pub panics: AtomicBool,
    /// Changes take so long.
    pub change_takes: Mutex<Duration>,
    /// Changes that were begun.
    pub changing: AtomicU64,
    /// Of both directions; `status` adds one each time, up to the ticket of `sync`.
    pub cycles_ended: AtomicU64,
    pub started_at: Mutex<UnixMillis>,
    pub backup: Mutex<Vec<u8>>,
}

impl Fake {
    pub fn new(projects: &[&'static str]) -> Self {
        Self {
            projects: projects.to_vec(),
            asked: Mutex::default(),
            answered: Mutex::default(),
            refuse: Mutex::default(),
            state: Mutex::new(State::Ok),
            source_error: Mutex::default(),
            items: Mutex::default(),
            refused_items: Mutex::default(),
            recent: Mutex::new(vec![event(1, "cats", "+ task 0 <- in/a.jpg"), event(2, "dogs", "> completion 3")]),
            live: broadcast::channel(8).0,
            hangs: AtomicBool::new(false),
            hung: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            change_takes: Mutex::default(),
            changing: AtomicU64::new(0),
            cycles_ended: AtomicU64::new(0),
            started_at: Mutex::new(THEN),
            backup: Mutex::new(b"SQLite format 3\0 and the rest".to_vec()),
        }
    }

    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn note(&self, what: String) -> Result<(), Refusal> {
        self.asked.lock().unwrap().push(what);
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn done(&self, what: String) -> Result<Done, Refusal> {
        self.note(what)?;
        let refused = self.refused_items.lock().unwrap().clone();
        Ok(Done { message: "it is done".into(), count: 1, refused })
    }

    async fn changed(&self, project: &ProjectName, what: String, applied: bool) -> Result<Changed, Refusal> {
        let takes = *self.change_takes.lock().unwrap();
        self.changing.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(takes).await;
        self.note(what)?;
        let change = SettingChange { key: "source.regex".into(), old: json!(".*\\.jpg"), new: json!(".*\\.png") };
        let plan = Some(self.plan_view(project));
        Ok(Changed { project: project.to_string(), changes: vec![change], applied, plan, plan_error: None })
    }

    fn plan_view(&self, project: &ProjectName) -> PlanView {
        PlanView {
            project: project.to_string(),
            summary: "1 task added, 2 hidden".into(),
            actions: vec!["+ task 8 <- in/b.png".into(), format!("- task 3 <- {HOSTILE}")],
            total: 3,
            holds: vec![hold()],
            skipped: BTreeMap::from([("regex".into(), 2)]),
        }
    }

    fn project_status(&self, name: &str) -> ProjectStatus {
        let state = *self.state.lock().unwrap();
        let error = self.source_error.lock().unwrap().clone();
        let ended = self.cycles_ended.load(Ordering::Relaxed);
        let mut poll = Poll { last_started_at: Some(THEN), last_success_at: Some(THEN), ..Poll::default() };
        poll.last_duration_ms = Some(1200);
        let source = SourceStatus {
            url: "s3://labels".into(),
            prefix: "in/".into(),
            regex: Some(".*\\.jpg".into()),
            listed: 12,
            selected: 9,
            skipped: BTreeMap::from([("regex".into(), 2), ("directory_marker".into(), 1)]),
            progress: Some(Progress { phase: "listing".into(), done: 7, total: None }),
            poll: Poll { failures: u64::from(error.is_some()), error, ..poll.clone() },
        };
        let target = TargetStatus {
            url: "s3://results".into(),
            prefix: "done".into(),
            in_step: 4,
            pending: 2,
            oldest_pending_at: Some(THEN),
            unsettled: 1,
            target_missing: 1,
            poll,
            ..TargetStatus::default()
        };
        let held = state == State::Held;
        ProjectStatus {
            name: name.into(),
            path: format!("/srv/{name}"),
            state,
            state_name: if state == State::Degraded { reason().code } else { state.as_str().into() },
            since: THEN,
            reasons: if state == State::Ok { Vec::new() } else { vec![reason()] },
            tasks: 9,
            foreign_tasks: 3,
            next_id: 12,
            quarantined: 1,
            conflicts: 2,
            holds: if held { vec![hold()] } else { Vec::new() },
            source: Some(source),
            target: Some(target),
            cycles: Cycles { source_begun: ended, source_ended: ended, target_begun: ended, target_ended: ended },
        }
    }
}

pub fn reason() -> Reason {
    Reason {
        code: "access_denied".into(),
        message: "cannot list s3://labels/in".into(),
        hint: "the role needs s3:ListBucket".into(),
    }
}

pub fn hold() -> Hold {
    Hold {
        id: "h7f3".into(),
        code: "mass_removal".into(),
        message: "8 of 9 tasks' objects are gone".into(),
        consequence: "hide 8 tasks".into(),
        since: THEN,
    }
}

pub fn event(seq: u64, project: &str, message: &str) -> Event {
    Event {
        seq,
        at: THEN,
        project: Some(project.into()),
        level: "info".into(),
        kind: "task_added".into(),
        message: message.into(),
        key: None,
        task: None,
        bucket: None,
        duration_usec: None,
        error: None,
        actor: None,
    }
}

#[async_trait]
impl Control for Fake {
    fn status(&self) -> Status {
        let projects = self.projects.iter().map(|name| self.project_status(name)).collect();
        let ended = self.cycles_ended.load(Ordering::Relaxed);
        self.cycles_ended.store((ended + 1).min(5), Ordering::Relaxed);
        Status {
            version: "9.8.7".into(),
            pid: 42,
            started_at: *self.started_at.lock().unwrap(),
            state_dir: "/var/lib/labelsyncd".into(),
            generation: 1,
            reload_refused: None,
            projects,
        }
    }
    fn health(&self) -> Health {
        let state = *self.state.lock().unwrap();
        Health { state, reasons: if state == State::Ok { Vec::new() } else { vec![reason()] } }
    }
    fn metrics(&self) -> String {
        "labelsync_tasks{project=\"cats\"} 9\n# EOF\n".into()
    }
    fn answered(&self, verb: &str, _class: &str) {
        self.answered.lock().unwrap().insert(verb.to_owned());
    }
    fn events(&self) -> EventFeed {
        EventFeed { recent: self.recent.lock().unwrap().clone(), live: self.live.subscribe() }
    }
    fn project(&self, name: Option<&str>) -> Result<ProjectName, Refusal> {
        let names = self.projects.join(", ");
        match (name, self.projects.as_slice()) {
            (None, [only]) => Ok(ProjectName::parse(only).unwrap()),
            (None, _) => Err(Refusal::new("project_needed", "which project?", format!("name one of: {names}"))),
            (Some(name), all) if all.contains(&name) => Ok(ProjectName::parse(name).unwrap()),
            (Some(name), _) => {
                let message = format!("there is no project `{name}`");
                Err(Refusal::new("no_such_project", message, format!("there are: {names}")))
            }
        }
    }
    fn show(&self, project: &ProjectName) -> Result<Shown, Refusal> {
        let setting = |key: &str, value, origin: &str, hidden| ShownSetting {
            key: key.into(),
            value,
            origin: origin.into(),
            hidden,
        };
        let settings = vec![
            setting("source.prefix", json!("in/"), "file", None),
            setting("source.regex", json!(".*\\.png"), "lsctl", Some(json!(".*\\.jpg"))),
            setting("target.create_local_copy", json!(true), "default", None),
        ];
        Ok(Shown { project: project.to_string(), settings })
    }
    async fn set_source(&self, p: &ProjectName, patch: SourcePatch, dry: bool, a: Actor) -> Result<Changed, Refusal> {
        let patch = serde_json::to_string(&patch).unwrap();
        self.changed(p, format!("set_source {p} {patch} dry_run={dry} uid={}", a.uid), !dry).await
    }
    async fn set_target(&self, p: &ProjectName, patch: TargetPatch, dry: bool, a: Actor) -> Result<Changed, Refusal> {
        let patch = serde_json::to_string(&patch).unwrap();
        self.changed(p, format!("set_target {p} {patch} dry_run={dry} uid={}", a.uid), !dry).await
    }
    async fn reset(&self, p: &ProjectName, keys: Vec<String>, _: Actor) -> Result<Changed, Refusal> {
        self.changed(p, format!("reset {p} {keys:?}"), true).await
    }
    async fn plan(&self, p: &ProjectName) -> Result<PlanView, Refusal> {
        assert!(!self.panics.load(Ordering::Relaxed), "as the test wants");
        if self.hangs.load(Ordering::Relaxed) {
            self.hung.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        Ok(self.plan_view(p))
    }
    async fn check(&self, p: &ProjectName, origin: Option<String>) -> Result<CheckReport, Refusal> {
        self.note(format!("check {p} {origin:?}"))?;
        let finding = |step: &str, outcome, code: &str, seen: &str, remedy: &str| Finding {
            about: "source".into(),
            step: step.into(),
            outcome,
            code: code.into(),
            seen: seen.into(),
            remedy: remedy.into(),
        };
        let findings = vec![
            finding("dns", Outcome::Ok, "", "s3.example is known", ""),
            finding("cors", Outcome::Warn, "cors_missing", "pages may not read", "put this into a file"),
            finding("list", Outcome::Fail, "access_denied", HOSTILE, "allow `s3:ListBucket`"),
        ];
        Ok(CheckReport { project: p.to_string(), outcome: Outcome::Fail, findings })
    }
    async fn verify(&self, p: &ProjectName) -> Result<VerifyReport, Refusal> {
        self.note(format!("verify {p}"))?;
        let differences = self.items.lock().unwrap().clone();
        let different = differences.len() as u64;
        Ok(VerifyReport {
            project: p.to_string(),
            checked: 9,
            same: 9 - different,
            different,
            unread: 0,
            differences,
            stopped: None,
        })
    }
    async fn sync(&self, p: &ProjectName) -> Result<SyncTicket, Refusal> {
        self.note(format!("sync {p}"))?;
        Ok(SyncTicket { source: 4, target: 3 })
    }
    async fn pause(&self, p: &ProjectName, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("pause {p}"))
    }
    async fn resume(&self, p: &ProjectName, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("resume {p}"))
    }
    async fn accept(&self, p: &ProjectName, hold: Option<String>, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("accept {p} {hold:?}"))
    }
    async fn resolve(&self, p: &ProjectName, keys: Vec<String>, keep: Keep, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("resolve {p} {keys:?} {keep:?}"))
    }
    async fn items(&self, p: &ProjectName, state: ItemState, after: Option<String>) -> Result<Items, Refusal> {
        self.note(format!("items {p} {state:?} {after:?}"))?;
        let all = self.items.lock().unwrap();
        let from = after.map_or(0, |after| after.trim_start_matches("after #").parse().unwrap());
        let to = all.len().min(from + ITEMS_PAGE_MAX);
        let next = (to < all.len()).then(|| format!("after #{to}"));
        Ok(Items { items: all[from..to].to_vec(), next })
    }
    async fn retry(&self, p: &ProjectName, keys: Vec<String>, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("retry {p} {keys:?}"))
    }
    async fn repair(&self, p: &ProjectName, _: Actor) -> Result<Done, Refusal> {
        self.done(format!("repair {p}"))
    }
    async fn backup(&self, p: &ProjectName) -> Result<tempfile::NamedTempFile, Refusal> {
        self.note(format!("backup {p}"))?;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&self.backup.lock().unwrap()).unwrap();
        Ok(file)
    }
    async fn reload(&self, actor: Actor) -> Result<Done, Refusal> {
        self.done(format!("reload uid={} pid={}", actor.uid, actor.pid.is_some()))
    }
}
