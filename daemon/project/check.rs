//! The doctor: a project looked at step by step, each finding with its remedy.
//!
//! Promise: ends within [`SIDE_MAX`]; works while the project itself does not; changes nothing but the owner's mark of
//! a target that has none yet, which the first cycle would make too.
//! Not here: the steps on the way to a bucket (`store::probe`).

mod target;

use std::path::Path;
use std::time::Duration;

use super::directory::Directory;
use super::label_config::LabelConfig;
use super::near::Near;
use super::run::InForce;
use super::source::look::{SourceSide, policy, scope};
use crate::control::api::{Finding, Outcome, ProjectStatus, Reason};
use crate::names::Key;
use crate::store::probe::{self, Reached, Step, cors};
use crate::store::{Page, StoreErrorKind};
use crate::sync::select::Selection;

/// The end of the look at one side, whatever its server does: a person waits.
pub const SIDE_MAX: Duration = Duration::from_secs(60);

/// Where Label Studio says of itself that it is.
const LABEL_STUDIO: &str = "http://localhost:8080";

/// Objects of a page that are looked through for one to read.
const SAMPLE_MAX: usize = 1_000;

/// What is looked at.
#[derive(Debug)]
pub struct Patient<'a> {
    /// The project's directory.
    pub path: &'a Path,
    /// Its settings.
    pub force: &'a InForce,
    /// What the status says.
    pub status: &'a ProjectStatus,
    /// Its UUID, where it is open.
    pub uuid: Option<String>,
    /// That Label Studio needs credentials of its own, where nobody has said that it has them.
    pub reminder: Option<Reason>,
    /// Where browsers load Label Studio from.
    pub origin: Option<String>,
}

impl Patient<'_> {
    /// Every finding, in the order in which things depend on each other.
    pub async fn look(&self) -> Vec<Finding> {
        let mut findings = about("project", self.state());
        let (config, step) = self.label_config().await;
        findings.extend(about("project", vec![step]));
        let source = async {
            match &self.force.source {
                Some(side) => bounded(self.source(side, &config)).await,
                None => Vec::new(),
            }
        };
        let target = async {
            match &self.force.target {
                Some(side) => bounded(target::look(side, self.uuid.as_deref())).await,
                None => Vec::new(),
            }
        };
        let (source, target) = tokio::join!(source, target);
        findings.extend(about("source", source));
        findings.extend(about("target", target));
        findings
    }

    /// What the project itself says of its state, but for what the steps find out for themselves.
    fn state(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for hold in &self.status.holds {
            let remedy = format!("`lsctl accept {} {}` would {}", self.status.name, hold.id, hold.consequence);
            steps.push(Step::warn("state", "held", format!("{}: {}", hold.code, hold.message), remedy));
        }
        if self.uuid.is_none() && self.status.holds.is_empty() {
            let (seen, remedy) = match self.status.reasons.first() {
                Some(reason) => (format!("{}: {}", reason.code, reason.message), reason.hint.clone()),
                None => ("it is being opened".to_owned(), "try again in a moment".to_owned()),
            };
            steps.push(Step::fail("state", "project_failed", seen, remedy));
        }
        if self.force.paused {
            let remedy = format!("`lsctl resume {}`", self.status.name);
            steps.push(Step::warn("state", "paused", "it is paused", remedy));
        }
        if self.status.conflicts > 0 {
            let remedy = format!("`lsctl list {} --state conflict`", self.status.name);
            steps.push(Step::warn(
                "state",
                "conflict",
                crate::names::counted(self.status.conflicts, "conflict"),
                remedy,
            ));
        }
        if steps.is_empty() {
            steps.push(Step::ok("state", "the project directory and the ledger are open"));
        }
        steps
    }

    async fn label_config(&self) -> (LabelConfig, Step) {
        let path = self.path.to_owned();
        let read = tokio::task::spawn_blocking(move || Directory::new(&path).label_config()).await;
        let remedy = "repair config.xml in the project directory, as Label Studio needs it too";
        let text = match read {
            Ok(Ok((text, _))) => text,
            Ok(Err(error)) => {
                let step = Step::fail("label_config", "label_config_unreadable", error.to_string(), error.remedy());
                return (LabelConfig::default(), step);
            }
            Err(error) => {
                let step = Step::fail("label_config", "label_config_unreadable", error.to_string(), remedy);
                return (LabelConfig::default(), step);
            }
        };
        match LabelConfig::parse(&text) {
            Ok(config) => {
                let keys: Vec<&str> = config.data_keys().map(|(key, _)| key).collect();
                let step = Step::ok("label_config", format!("its data keys: {}", keys.join(", ")));
                (config, step)
            }
            Err(error) => {
                (LabelConfig::default(), Step::fail("label_config", "label_config_invalid", error.to_string(), remedy))
            }
        }
    }

    async fn source(&self, side: &SourceSide, config: &LabelConfig) -> Vec<Step> {
        let settings = &side.settings;
        let decided = policy(side, config);
        let mut steps = Vec::new();
        if let Err(error) = &decided {
            let reason = error.reason();
            steps.push(Step::fail(
                "label_config",
                "data_key",
                format!("{}: {}", reason.code, reason.message),
                reason.hint,
            ));
        }
        let Some((reached, page)) = reach(&mut steps, &settings.store, &scope(settings).request).await else {
            steps.extend(self.label_studio(side));
            return steps;
        };
        let mut sample = page.objects.first().map(|object| Key::new(object.key));
        if let Ok(policy) = &decided {
            let (step, key) = selected(&policy.selection, &page, &self.status.name);
            steps.push(step);
            sample = key.or(sample);
        }
        if let Some(key) = &sample {
            let needed = !settings.use_blob_urls || settings.create_local_copy;
            steps.push(match reached.read(key).await {
                Ok(()) => Step::ok("read", "an object can be read"),
                Err(error) if needed => Step::failed("read", &error),
                Err(error) => Step::warn("read", error.kind.code(), error.to_string(), error.remedy()),
            });
        }
        if settings.has_cloud_urls() {
            let key = sample.unwrap_or_else(|| Key::new("labelsync-check"));
            let origin = self.origin.as_deref().unwrap_or(LABEL_STUDIO);
            steps.extend(cors(&reached, &key, origin).await);
        }
        steps.extend(self.label_studio(side));
        steps
    }

    /// Label Studio resolves `s3://` and `gs://` itself; whether it can is the operator's to say.
    fn label_studio(&self, side: &SourceSide) -> Option<Step> {
        if !side.settings.has_cloud_urls() {
            return None;
        }
        Some(match &self.reminder {
            Some(reason) => Step::warn(
                "label_studio",
                "label_studio_needs_credentials",
                reason.message.clone(),
                reason.hint.clone(),
            ),
            None => Step::ok("label_studio", "the settings say that Label Studio has credentials of its own"),
        })
    }
}

/// The way, the credentials, the first page, the region; `None` where there is no page.
pub(super) async fn reach(
    steps: &mut Vec<Step>,
    settings: &crate::settings::StoreSettings,
    request: &crate::store::ListRequest,
) -> Option<(Reached, Page)> {
    let reached = match Reached::new(settings).await {
        Ok(reached) => reached,
        Err(error) => {
            steps.push(Step::failed("connect", &error));
            return None;
        }
    };
    let (way, who, listed) = tokio::join!(reached.way(), reached.credentials(), reached.list(request));
    steps.extend(way);
    steps.extend(who);
    steps.extend(reached.region().await);
    match listed {
        Ok(page) => {
            // A proxy may know what this machine does not.
            for step in steps
                .iter_mut()
                .filter(|step| matches!(step.step, "dns" | "tls") && step.outcome == probe::Outcome::Fail)
            {
                step.outcome = probe::Outcome::Warn;
            }
            steps.push(Step::ok("bucket", format!("{} is there", reached.store().root())));
            let more = if page.next.is_some() { ", and more" } else { "" };
            steps.push(Step::ok("list", format!("{} objects on the first page{more}", page.objects.len())));
            Some((reached, page))
        }
        Err(error) => {
            let step = Step::failed(step_of(error.kind), &error);
            // What the way showed already is not said twice.
            let known = |known: &Step| {
                known.outcome == probe::Outcome::Fail && known.step == step.step && known.code == step.code
            };
            if !steps.iter().any(known) {
                steps.push(step);
            }
            None
        }
    }
}

fn step_of(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Auth | StoreErrorKind::Configuration => "credentials",
        StoreErrorKind::RegionMismatch => "region",
        StoreErrorKind::BucketMissing => "bucket",
        StoreErrorKind::ClockSkew => "clock",
        StoreErrorKind::Unreachable => "tls",
        _ => "list",
    }
}

fn selected(selection: &Selection, page: &Page, project: &str) -> (Step, Option<Key>) {
    let listed = page.objects.len();
    let taken: Vec<&str> = page
        .objects
        .iter()
        .take(SAMPLE_MAX)
        .filter(|object| selection.judge(object.key, Some(object.size_bytes)).is_ok())
        .map(|object| object.key)
        .collect();
    let remedy =
        format!("`lsctl list {project} --state skipped` says why; `lsctl set-source {project} --regex '.*'` takes all");
    let step = match (listed, taken.len()) {
        (0, _) => Step::warn(
            "selection",
            "source_empty",
            "there are no objects below the prefix",
            "nothing if that is so; else correct `prefix` (`lsctl set-source --prefix`)",
        ),
        (_, 0) if selection.regex.is_none() => {
            Step::warn("selection", "no_regex", "there is no regex, so nothing is taken, as in Label Studio", remedy)
        }
        (_, 0) => Step::warn("selection", "nothing_selected", format!("0 of {listed} objects are taken"), remedy),
        (_, taken) => Step::ok("selection", format!("{taken} of {listed} objects are taken")),
    };
    (step, taken.first().map(|key| Key::new(*key)))
}

async fn bounded(look: impl Future<Output = Vec<Step>>) -> Vec<Step> {
    match tokio::time::timeout(SIDE_MAX, look).await {
        Ok(steps) => steps,
        Err(_) => {
            let seen = format!("the look took longer than {} s", SIDE_MAX.as_secs());
            vec![Step::fail("tls", "unreachable", seen, StoreErrorKind::Unreachable.remedy())]
        }
    }
}

/// The steps as findings about one side.
pub fn about(side: &str, steps: Vec<Step>) -> Vec<Finding> {
    let finding = |step: Step| Finding {
        about: side.to_owned(),
        step: step.step.to_owned(),
        outcome: match step.outcome {
            probe::Outcome::Ok => Outcome::Ok,
            probe::Outcome::Warn => Outcome::Warn,
            probe::Outcome::Fail => Outcome::Fail,
        },
        code: step.code.to_owned(),
        seen: crate::names::printable(&step.seen).into_owned(),
        remedy: crate::names::printable(&step.remedy).into_owned(),
    };
    steps.into_iter().map(finding).collect()
}
