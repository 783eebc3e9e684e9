//! `labelsyncd init`: a project from the flags and the JSON that Label Studio's documentation shows.
//!
//! Promise: all problems at once, and nothing is written while there is one; run again with the same words it changes
//! nothing; what Label Studio or an operator wrote is never overwritten.
//! Not here: what settings may say (`settings`), the objects of the bucket.

pub mod adopt;
pub mod directory;
pub mod params;
pub mod plan;
pub mod request;
pub mod unit;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::names::printable;
use crate::settings::Problem;

use self::plan::{InitPlan, apply, look, plan_init};
use self::request::Request;

/// Where settings are without `--config-dir`.
pub const DEFAULT_CONFIG_DIR: &str = "/etc/labelsyncd";

/// The words of `labelsyncd init`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InitArgs {
    /// The project's name (the words `label-studio start` before it are passed over)
    #[arg(value_name = "NAME", required = true, num_args = 1..=3)]
    pub words: Vec<String>,
    /// What Label Studio's own command line says; it means nothing here
    #[arg(long, hide = true)]
    pub init: bool,
    /// Type of the source storage: s3, gcs, local
    #[arg(short = 's', long, value_name = "TYPE")]
    pub source: Option<String>,
    /// The source's bucket (local: directory)
    #[arg(long, value_name = "BUCKET")]
    pub source_path: Option<String>,
    /// The source's parameters, such as '{"prefix": "in/", "regex": ".*", "use_blob_urls": true}'
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub source_params: Option<String>,
    /// Type of the target storage: s3-completions, gcs-completions, local
    #[arg(short = 't', long, value_name = "TYPE")]
    pub target: Option<String>,
    /// The target's bucket (local: directory)
    #[arg(long, value_name = "BUCKET")]
    pub target_path: Option<String>,
    /// The target's parameters, such as '{"prefix": "done"}'
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub target_params: Option<String>,
    /// The Label Studio project directory; default: NAME in the current directory
    #[arg(long, value_name = "DIR")]
    pub project_dir: Option<PathBuf>,
    /// The label config of a directory that is made
    #[arg(short = 'l', long, value_name = "FILE")]
    pub label_config: Option<PathBuf>,
    /// Where the settings are
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config_dir: PathBuf,
    /// Where the drop-in goes that lets the project into systemd's labelsyncd.service; default: /etc/systemd/system
    /// for root on a machine with systemd, with the settings in their usual place; elsewhere none is written
    #[arg(long, value_name = "DIR")]
    pub unit_dir: Option<PathBuf>,
    /// Take over a project whose own cloud storages labelsync replaces
    #[arg(long)]
    pub adopt: bool,
}

/// Ended well.
const OK: i32 = 0;
/// The disk, or whoever reads the output.
const FAILED: i32 = 1;
/// The words are wrong.
const USAGE: i32 = 2;
/// What they ask for does not fit.
const CONFIGURATION: i32 = 78;

/// Does it, says on `out` what was done or every problem, and returns the exit code.
pub fn run(args: &InitArgs, out: &mut dyn Write) -> i32 {
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            let _ =
                writeln!(out, "error: cannot find the current directory: {error}\n  hint: name --project-dir in full");
            return FAILED;
        }
    };
    let mut args = args.clone();
    let usual = args.config_dir == Path::new(DEFAULT_CONFIG_DIR);
    // sd_booted(3): the directory is there where systemd is the system's manager.
    if usual && rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir() {
        args.unit_dir.get_or_insert_with(|| PathBuf::from(unit::UNIT_DIR));
    }
    let (code, text) = run_in(&args, &cwd);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => code.max(FAILED),
    }
}

/// The same in a named directory: the exit code and what is to be said.
pub fn run_in(args: &InitArgs, cwd: &Path) -> (i32, String) {
    let mut problems = Vec::new();
    let mut adopted = Vec::new();
    let filled = if args.adopt {
        match adopt::fill(args, cwd, &mut adopted) {
            Ok(filled) => filled,
            Err(problem) => return (CONFIGURATION, said(&[problem], "error")),
        }
    } else {
        args.clone()
    };
    let Some(mut request) = Request::of(&filled, cwd, &mut problems) else {
        return (USAGE, said(&problems, "error"));
    };
    request.warnings.splice(0..0, adopted);
    let code = if problems.is_empty() { CONFIGURATION } else { USAGE };
    let plan = match plan_init(&request, &look(&request)) {
        Ok(plan) => plan,
        Err(mut more) => {
            problems.append(&mut more);
            return (code, said(&request.warnings, "warning") + &said(&problems, "error"));
        }
    };
    if !problems.is_empty() {
        return (code, said(&request.warnings, "warning") + &said(&problems, "error"));
    }
    if let Err(problem) = apply(&plan) {
        return (FAILED, said(&[problem], "error"));
    }
    let mut text = done(&plan);
    if let Some(dir) = &args.unit_dir {
        match unit::write(&cwd.join(dir), plan.name.as_str(), &plan.project_dir, &plan.needs) {
            Ok(written) => text += &let_in(&written),
            Err(error) => {
                let path = unit::path(dir, plan.name.as_str()).display().to_string();
                let remedy = "run it again as root, or write it by hand (docs/operations.md)";
                let problem = Problem::new(printable(&path), format!("cannot be written: {error}"), remedy);
                return (FAILED, text + &said(&[problem], "error"));
            }
        }
    }
    (OK, text + &next(&request.config_dir))
}

/// After everything else: the command that reads the settings from where they were written.
fn next(config_dir: &Path) -> String {
    let config = match config_dir == Path::new(DEFAULT_CONFIG_DIR) {
        true => String::new(),
        false => {
            let file = config_dir.join("labelsyncd.toml");
            format!(" --config {}", params::shell_word(&file.display().to_string()))
        }
    };
    format!(
        "next: `labelsyncd{config} --check`, then start `labelsyncd{config}`, or `lsctl reload` where it runs with these \
         settings\n"
    )
}

fn let_in(written: &unit::Written) -> String {
    let said = said(&written.warnings, "warning");
    let path = printable(&written.path.display().to_string()).into_owned();
    match written.new {
        true => {
            format!(
                "{said}drop-in {path}: written\n  `systemctl daemon-reload`, and `systemctl restart labelsyncd` where it runs\n"
            )
        }
        false => format!("{said}drop-in {path}: left as it is\n"),
    }
}

fn said(problems: &[Problem], word: &str) -> String {
    problems.iter().map(|problem| format!("{word}: {problem}\n")).collect()
}

fn done(plan: &InitPlan) -> String {
    let shown = |path: &Path| printable(&path.display().to_string()).into_owned();
    let directory = match plan.directory {
        Some(_) => "made as Label Studio 0.8 makes it",
        None => "left as it is",
    };
    let settings = match plan.settings_text {
        Some(_) => "written",
        None => "say so already, left as they are",
    };
    let mut text = said(&plan.warnings, "warning");
    text += &format!("project directory {}: {directory}\n", shown(&plan.project_dir));
    text += &format!("settings {}: {settings}\n", shown(&plan.settings_file));
    if plan.adopts {
        text += "config.json: Label Studio's storages are local now; it was kept as config.json.before-labelsync\n";
        text += "Label Studio is started after labelsyncd; `labelsyncd release` is the way back\n";
    }
    text
}
