//! The manual pages and completions, given to the programs that are to take them.
//!
//! Promise: a program that is not installed is the reason why its test is ignored.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Each page of `lsctl man`.
const PAGES: [&str; 3] = ["lsctl", "labelsyncd", "labelsyncd.toml"];

fn lsctl(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lsctl")).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why this program cannot be asked, if it cannot.
fn missing(program: &str) -> Option<String> {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    (!found.status.success()).then(|| format!("{program} is not installed"))
}

/// The text in a file of its own.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

pub fn man() -> Option<String> {
    if let Some(reason) = missing("man").or_else(|| missing("groff")) {
        return Some(reason);
    }
    for page in PAGES {
        let (_dir, path) = file(page, &lsctl(&["man", page]));
        let shown = Command::new("man").args(["--warnings", "-l"]).arg(&path).env("MANWIDTH", "80").output().unwrap();
        let warned = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(shown.status.success() && warned.is_empty(), "{page}: {warned}");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("NAME"), "{page}");
    }
    None
}

pub fn mandoc() -> Option<String> {
    if let Some(reason) = missing("mandoc") {
        return Some(reason);
    }
    for page in PAGES {
        let (_dir, path) = file(page, &lsctl(&["man", page]));
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output().unwrap();
        // A page is of a version, not of a day.
        let warned: Vec<String> =
            said(&lint).lines().filter(|line| !line.contains("missing date")).map(str::to_owned).collect();
        assert!(warned.is_empty(), "{page}: {warned:#?}");
    }
    None
}

/// What a shell offers after these words has all of `wanted`.
fn offers(shell: &str, script: &str, wanted: &[&str]) {
    // Without the settings of whoever runs the test.
    let own: &[&str] = if shell == "zsh" { &["-f"] } else { &[] };
    let mut command = Command::new(shell);
    command.args(own).args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    let said = said(&output);
    for word in wanted {
        assert!(said.contains(word), "{shell} does not offer {word}: {said}");
    }
}

pub fn bash() -> Option<String> {
    if let Some(reason) = missing("bash") {
        return Some(reason);
    }
    let (_dir, path) = file("lsctl.bash", &lsctl(&["shell-completion", "bash"]));
    let complete = |words: &str, last: &str, before: &str| {
        format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _lsctl lsctl '{last}' '{before}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            path.display()
        )
    };
    offers("bash", &complete("lsctl 'set-'", "set-", "lsctl"), &["set-source", "set-target"]);
    offers("bash", &complete("lsctl list --state ''", "", "--state"), &["quarantined", "conflict"]);
    None
}

pub fn zsh() -> Option<String> {
    if let Some(reason) = missing("zsh") {
        return Some(reason);
    }
    let (dir, _) = file("_lsctl", &lsctl(&["shell-completion", "zsh"]));
    // Without a terminal the completion's own candidates cannot be shown: what it would describe is taken.
    let script = format!(
        "fpath=({} $fpath); autoload -Uz compinit; compinit -u -d {}/dump; \
         [[ ${{_comps[lsctl]}} == _lsctl ]] && autoload +X -Uz _lsctl && print taken && functions _lsctl",
        dir.path().display(),
        dir.path().display()
    );
    offers("zsh", &script, &["taken", "set-source", "quarantined"]);
    None
}

pub fn fish() -> Option<String> {
    if let Some(reason) = missing("fish") {
        return Some(reason);
    }
    let (_dir, path) = file("lsctl.fish", &lsctl(&["shell-completion", "fish"]));
    let complete = |line: &str| format!("source {}; complete -C '{line}'", path.display());
    offers("fish", &complete("lsctl set-"), &["set-source", "set-target"]);
    offers("fish", &complete("lsctl list --state "), &["quarantined", "conflict"]);
    None
}
