//! Markdown pages: their blocks, links and words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use labelsync::settings::load_texts;

/// The pages for people.
pub const PAGES: [&str; 5] = ["README.md", "ARCHITECTURE.md", "LABEL_STUDIO.md", "CHANGELOG.md", "docs/operations.md"];

/// Files whose words about `lsctl` are checked.
const SPEAKERS: [&str; 8] = [
    "docs/operations.md",
    "README.md",
    "ARCHITECTURE.md",
    "LABEL_STUDIO.md",
    "CHANGELOG.md",
    "config/labelsyncd.toml",
    "systemd/labelsyncd.service",
    "systemd/prometheus-rules.yml",
];

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a language, each with the line it begins on.
pub fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let page_text = text(page);
    let mut found = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in page_text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(name)) => open = Some((number + 1, name.to_owned(), String::new())),
            (None, None) => {}
            (Some(_), Some(end)) => {
                assert_eq!(end, "", "{page}:{}: a block begins in a block", number + 1);
                let (start, name, body) = open.take().unwrap();
                assert_ne!(name, "", "{page}:{start}: a block without a language is not checked");
                if name == language {
                    found.push((start, body));
                }
            }
            (Some((_, _, body)), None) => {
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    found
}

pub fn settings_blocks() {
    let blocks = blocks("README.md", "toml");
    assert!(!blocks.is_empty());
    for (line, body) in &blocks {
        if let Err(problems) = load_texts(&[("README.md", body)]) {
            panic!("README.md:{line}: {problems:#?}");
        }
    }
    // They may stand in one file.
    let all: String = blocks.into_iter().map(|(_, body)| body).collect();
    let loaded = load_texts(&[("README.md", &all)]).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(loaded.settings.projects.len() >= 2);
}

pub fn links() {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)").unwrap();
    for page in PAGES {
        for line in text(page).lines() {
            for found in link.captures_iter(line) {
                let to = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
                if to.starts_with("https://") {
                    continue;
                }
                let file = to.split('#').next().unwrap();
                // A link is relative to its page.
                let dir = Path::new(page).parent().unwrap();
                assert!(file.is_empty() || path("").join(dir).join(file).exists(), "{page} links to {to}");
            }
        }
    }
}

pub fn verbs() {
    let known = known_verbs();
    let spoken = regex::Regex::new(r"`lsctl ([a-z-]+)").unwrap();
    let mut checked = 0;
    for name in SPEAKERS {
        for found in spoken.captures_iter(&text(name)) {
            assert!(known.contains(&found[1]), "{name} names `lsctl {}`", &found[1]);
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} are few: does the pattern still see them?");
}

pub fn all_verbs() {
    let readme = text("README.md");
    // For scripts, packages and scrapers; `--help` has them.
    let quiet = ["version", "metrics", "man", "shell-completion", "help"];
    for verb in known_verbs().iter().filter(|verb| !quiet.contains(&verb.as_str())) {
        let line = regex::Regex::new(&format!(r"(?m)^(\$ )?lsctl {verb}( |$)|`{verb}`")).unwrap();
        assert!(line.is_match(&readme), "README.md does not show `lsctl {verb}`");
    }
}

/// From `lsctl --help`.
fn known_verbs() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_lsctl")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let verbs: BTreeSet<String> =
        commands.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(verbs.len() > 15, "{verbs:?}");
    verbs
}

pub fn release() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = text("CHANGELOG.md");
    assert!(changelog.contains(&format!("\n## [{version}]")), "CHANGELOG.md has no {version}");
    assert!(text("LICENSE").contains("Apache License"));
}
