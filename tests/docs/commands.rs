//! The commands of the README.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use labelsync::handover::release::ReleaseArgs;
use labelsync::init::{InitArgs, run_in};
use labelsync::names::ProjectName;
use labelsync::settings::{load, load_texts};

use crate::pages::{blocks, path, text};

/// What `lsctl` says where there is no daemon: the words themselves were good.
const NO_DAEMON: i32 = 3;

#[derive(Parser)]
struct Init {
    #[command(flatten)]
    args: InitArgs,
}

#[derive(Parser)]
struct Release {
    #[command(flatten)]
    _args: ReleaseArgs,
}

/// The lines of all `sh` blocks.
fn lines() -> Vec<String> {
    let lines: Vec<String> = blocks("README.md", "sh")
        .iter()
        .flat_map(|(_, body)| body.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(lines.len() > 10, "{lines:?}");
    lines
}

/// A line's words, as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let script = format!("set -- {line}\nprintf '%s\\0' \"$@\"");
    let output = Command::new("sh").args(["-euc", &script]).output().unwrap();
    assert!(output.status.success(), "no shell takes `{line}`");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

pub fn readme() {
    for line in lines() {
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["lsctl", rest @ ..] => lsctl(&line, rest),
            ["labelsyncd", "init", rest @ ..] => drop(Init::try_parse_from([&["init"], rest].concat()).expect(&line)),
            ["labelsyncd", "release", rest @ ..] => {
                drop(Release::try_parse_from([&["release"], rest].concat()).expect(&line));
            }
            ["labelsyncd", "--check"] | ["sudo", "systemctl", "stop", "labelsyncd"] => {}
            ["cargo", rest @ ..] => cargo(&line, rest),
            ["sudo", "install", rest @ ..] => install(&line, rest),
            ["sudo", "systemctl", "enable", "--now", units @ ..] => units.iter().for_each(|unit| {
                let file = if unit.contains('.') { (*unit).to_owned() } else { format!("{unit}.service") };
                assert!(path("systemd").join(&file).exists(), "`{line}`: there is no {file}");
            }),
            ["sudo", "systemd-sysusers"] => {}
            ["sudo", "systemd-tmpfiles", "--create", file] => {
                assert!(path("systemd/tmpfiles.d").join(file).exists(), "`{line}`");
            }
            [script] => executable(script),
            _ => panic!("`{line}` is not checked: say how"),
        }
    }
}

fn lsctl(line: &str, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lsctl"))
        .args(words)
        .env("LABELSYNC_SOCKET", dir.path().join("none.sock"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NO_DAEMON), "`{line}`: {said}");
}

fn cargo(line: &str, words: &[&str]) {
    assert!(matches!(words.first(), Some(&("run" | "build"))), "`{line}`");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--bin" {
            is_program(line, words.next().unwrap());
        }
    }
}

fn install(line: &str, words: &[&str]) {
    let (_to, from) = words.split_last().unwrap();
    for file in from.iter().filter(|word| word.contains('/')) {
        match file.strip_prefix("target/release/") {
            Some(program) => is_program(line, program),
            None => assert!(path(file).exists(), "`{line}`: there is no {file}"),
        }
    }
}

fn is_program(line: &str, name: &str) {
    assert!(["labelsyncd", "lsctl"].contains(&name), "`{line}`: there is no program {name}");
}

fn executable(script: &str) {
    let meta = path(script).metadata().unwrap_or_else(|error| panic!("{script}: {error}"));
    assert!(meta.permissions().mode() & 0o111 != 0, "{script} cannot be run");
    let checked = Command::new("bash").arg("-n").arg(path(script)).status().unwrap();
    assert!(checked.success(), "{script} is no shell script");
}

pub fn init_line() {
    let dir = tempfile::tempdir().unwrap();
    let line = lines().into_iter().find(|line| line.starts_with("labelsyncd init ")).expect("the README shows init");
    let mut args = Init::try_parse_from(words(&line).iter().skip(1)).unwrap_or_else(|error| panic!("{error}")).args;
    assert_eq!(args.project_dir.as_deref(), Some(Path::new("/srv/annotations/cats")));
    args.project_dir = Some(dir.path().join("cats"));
    args.config_dir = dir.path().join("etc");
    let (code, said) = run_in(&args, dir.path());
    assert_eq!(code, 0, "{said}");
    assert!(args.config_dir.join("conf.d/cats.toml").exists(), "the README says so");

    let main_file = args.config_dir.join("labelsyncd.toml");
    let cats = ProjectName::parse("cats").unwrap();
    let made = load(&main_file).unwrap_or_else(|problems| panic!("{problems:#?}")).settings.projects[&cats].clone();
    let (_, by_hand) =
        blocks("README.md", "toml").into_iter().find(|(_, body)| body.contains("[projects.cats]")).unwrap();
    let by_hand = load_texts(&[("README.md", &by_hand)]).unwrap().settings.projects[&cats].clone();
    assert_eq!((made.source, made.target), (by_hand.source, by_hand.target));

    let checked = Command::new(env!("CARGO_BIN_EXE_labelsyncd"))
        .args(["--check", "--config"])
        .arg(&main_file)
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{said}");
}

pub fn scripts() {
    let (_, body) = blocks("README.md", "sh").into_iter().find(|(_, body)| body.contains("tests/")).unwrap();
    let command = body.trim();
    assert!(!command.contains('\n'), "one command: {command}");
    executable(command);
    executable(".ci/run");
    let ci = text(".ci/run");
    let wanted = [
        "export CI=true",
        "</dev/null",
        command,
        "cargo fmt --check",
        "--all-targets --locked -- -D warnings",
        "-- demo",
    ];
    for needed in wanted {
        assert!(ci.contains(needed), ".ci/run has no `{needed}`");
    }
    assert!(text(command).contains("cargo test --locked"));
}
