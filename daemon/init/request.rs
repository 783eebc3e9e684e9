//! What `labelsyncd init` was asked for, without a look at any file.
//!
//! Promise: pure; the four lines of Label Studio's documentation are taken as they stand there.

use std::path::{Path, PathBuf};

use super::InitArgs;
use super::params::{self, Findings, Setting, shell_word};
use crate::names::{ProjectName, printable};
use crate::settings::Problem;
use crate::settings::keys::{self, Key};

/// One side as it will stand in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    /// In the order of the file.
    pub settings: Vec<Setting>,
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The project.
    pub name: ProjectName,
    /// `--source …`.
    pub source: Option<Side>,
    /// `--target …`.
    pub target: Option<Side>,
    /// `--project-dir`, absolute.
    pub project_dir: Option<PathBuf>,
    /// Where the project is when neither a flag nor the settings say.
    pub default_dir: PathBuf,
    /// `--label-config`, absolute.
    pub label_config: Option<PathBuf>,
    /// `--config-dir`, absolute.
    pub config_dir: PathBuf,
    /// `--adopt`.
    pub adopt: bool,
    /// To be said.
    pub warnings: Vec<Problem>,
}

impl Request {
    /// Reads the words; `None` where even the project's name cannot be told. The words are wrong where there are problems.
    pub fn of(args: &InitArgs, cwd: &Path, problems: &mut Vec<Problem>) -> Option<Self> {
        let name = name(&args.words, problems);
        let mut findings = Findings::default();
        let (source, target) = sides(args, cwd, &mut findings);
        problems.append(&mut findings.problems);
        let name = name?;
        let default_dir = cwd.join(name.as_str());
        Some(Self {
            source,
            target,
            project_dir: args.project_dir.as_ref().map(|dir| absolute(cwd, dir)),
            default_dir,
            label_config: args.label_config.as_ref().map(|file| absolute(cwd, file)),
            config_dir: absolute(cwd, &args.config_dir),
            adopt: args.adopt,
            warnings: findings.warnings,
            name,
        })
    }

    /// The project's own settings file.
    pub fn settings_file(&self) -> PathBuf {
        self.config_dir.join("conf.d").join(format!("{}.toml", self.name))
    }
}

fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    cwd.join(path).components().collect()
}

/// The words of Label Studio's own line before the name.
const PASSED_OVER: [&str; 4] = ["label-studio", "labelsyncd", "start", "init"];

fn name(words: &[String], problems: &mut Vec<Problem>) -> Option<ProjectName> {
    let (word, before) = words.split_last()?;
    let unexpected: Vec<&String> = before.iter().filter(|word| !PASSED_OVER.contains(&word.as_str())).collect();
    if !unexpected.is_empty() {
        let shown: Vec<String> = unexpected.iter().map(|word| format!("`{}`", printable(word))).collect();
        let remedy = "one NAME; put words with spaces or braces into single quotes";
        problems.push(Problem::new(
            "NAME",
            format!("{} and `{}` are too many", shown.join(", "), printable(word)),
            remedy,
        ));
        return None;
    }
    let name = ProjectName::parse(word);
    if name.is_none() {
        let last = Path::new(word).file_name().and_then(|last| ProjectName::parse(last.to_str()?));
        let remedy = match last {
            Some(last) => format!("`labelsyncd init {last} --project-dir {} …`", shell_word(word)),
            None => "use 1 to 64 letters, digits, `_` or `-`, beginning with a letter or digit".to_owned(),
        };
        problems.push(Problem::new("NAME", format!("`{}` is no project name", printable(word)), remedy));
    }
    name
}

/// One side's flags.
struct Flags<'a> {
    side: &'static str,
    store: &'a str,
    path: Option<&'a str>,
    params: Option<&'a str>,
    known: &'static [Key],
    cwd: &'a Path,
}

fn sides(args: &InitArgs, cwd: &Path, findings: &mut Findings) -> (Option<Side>, Option<Side>) {
    let mut args = args.clone();
    // The documentation's GCS target line says `--source-path` where it means `--target-path`.
    if args.source.is_none() && args.target.is_some() && args.target_path.is_none() && args.source_path.is_some() {
        args.target_path = args.source_path.take();
        let remedy = format!("the line should be: {}", line(&args, None, None));
        let message = "without `--source` is taken as `--target-path`";
        findings.warnings.push(Problem::new("--source-path", message, remedy));
    }
    for (option, given, kind, needs) in [
        ("--source-path", args.source_path.is_some(), &args.source, "--source s3"),
        ("--source-params", args.source_params.is_some(), &args.source, "--source s3"),
        ("--target-path", args.target_path.is_some(), &args.target, "--target s3-completions"),
        ("--target-params", args.target_params.is_some(), &args.target, "--target s3-completions"),
    ] {
        if given && kind.is_none() {
            let flag = needs.split(' ').next().unwrap_or(needs);
            findings.problems.push(Problem::new(option, format!("needs `{flag}`"), format!("add `{needs}`")));
        }
    }
    if args.source.is_none() && args.target.is_none() {
        let remedy = "add `--source s3 --source-path BUCKET`, `--target s3-completions --target-path BUCKET` or both";
        findings.problems.push(Problem::new("init", "neither a source nor a target is named", remedy));
    }
    let source = args.source.as_deref().map(|store| {
        let (path, params) = (args.source_path.as_deref(), args.source_params.as_deref());
        let flags = Flags { side: "source", store, path, params, known: keys::SOURCE, cwd };
        side(&flags, &|json| line(&args, Some(json), None), findings)
    });
    let target = args.target.as_deref().map(|store| {
        let (path, params) = (args.target_path.as_deref(), args.target_params.as_deref());
        let flags = Flags { side: "target", store, path, params, known: keys::TARGET, cwd };
        side(&flags, &|json| line(&args, None, Some(json)), findings)
    });
    (source, target)
}

fn side(flags: &Flags<'_>, corrected: &dyn Fn(&str) -> String, findings: &mut Findings) -> Side {
    let mut settings = vec![Setting::text("type", flags.store)];
    match flags.path {
        Some(path) if flags.store == "local" => {
            let path = absolute(flags.cwd, Path::new(path));
            settings.push(Setting::text("path", &path.to_string_lossy()));
        }
        Some(bucket) => settings.push(Setting::text("bucket", bucket)),
        None => {
            let option = format!("--{}-path", flags.side);
            findings.problems.push(Problem::new(&option, "is missing", format!("add `{option} BUCKET`")));
        }
    }
    let option = format!("--{}-params", flags.side);
    let params = flags.params.map(|json| params::read(&option, json, flags.known, corrected, findings));
    let mut params = params.unwrap_or_default();
    // Label Studio's own pages write a region for every storage; Google's knows none, and Label Studio passes it over.
    if flags.store.starts_with("gcs") && params.iter().any(|setting| setting.key == "region") {
        params.retain(|setting| setting.key != "region");
        let message = "means nothing for Google Cloud Storage, in Label Studio too: left out";
        findings.warnings.push(Problem::new(format!("{option} region"), message, "leave it out"));
    }
    params.sort_by_key(|setting| flags.known.iter().position(|key| key.name == setting.key));
    settings.append(&mut params);
    Side { settings }
}

/// The command line as it should be typed, with other parameters where they are given.
fn line(args: &InitArgs, source_params: Option<&str>, target_params: Option<&str>) -> String {
    let name = args.words.last().map_or("NAME", String::as_str);
    let options = [
        ("--source", args.source.as_deref()),
        ("--source-path", args.source_path.as_deref()),
        ("--source-params", source_params.or(args.source_params.as_deref())),
        ("--target", args.target.as_deref()),
        ("--target-path", args.target_path.as_deref()),
        ("--target-params", target_params.or(args.target_params.as_deref())),
        ("--project-dir", args.project_dir.as_deref().and_then(Path::to_str)),
        ("--label-config", args.label_config.as_deref().and_then(Path::to_str)),
    ];
    let mut line = format!("labelsyncd init {}", shell_word(name));
    for (option, value) in options {
        if let Some(value) = value {
            // A secret that stands in the other side's parameters is not repeated.
            let value = if option.ends_with("-params") && keys::is_secret(value) { "{…}" } else { value };
            line += &format!(" {option} {}", shell_word(value));
        }
    }
    if args.config_dir != Path::new(super::DEFAULT_CONFIG_DIR) && !args.config_dir.as_os_str().is_empty() {
        line += &format!(" --config-dir {}", shell_word(&args.config_dir.display().to_string()));
    }
    line
}
