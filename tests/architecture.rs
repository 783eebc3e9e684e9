//! The house rules that a program can check.
//!
//! Promise: each rule names the file and line that breaks it, and why the rule is there.
//! Not here: what clippy checks (functions to 70 lines, no `unwrap`, no `unsafe`, nothing printed).

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeMap;

use self::source::{Source, below, read, root, tracked};

/// Longer files are two things (ARCHITECTURE.md, "House rules").
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, each with its length at most: a number here may only fall, and goes when the file is short.
const LONGER: [(&str, usize); 0] = [];

#[test]
fn sync_decides_without_files_network_clock_environment_or_runtime() {
    let forbidden = [
        "tokio",
        "futures",
        "async fn",
        ".await",
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "Mutex",
        "RwLock",
        "mpsc",
        "Atomic",
        "SystemTime",
        "Instant",
        "rusqlite",
        "rustix",
        "tracing",
        "crate::clock",
        "crate::control",
        "crate::events",
        "crate::init",
        "crate::project",
        "crate::telemetry",
        "rand::",
    ];
    let wrong = places(&sources("daemon/sync"), &forbidden);
    assert!(wrong.is_empty(), "sync/ decides and does nothing else:\n{}", wrong.join("\n"));
}

#[test]
fn buckets_know_nothing_of_tasks_and_settings_nothing_of_what_they_cause() {
    let rules: [(&str, &[&str], &str); 4] = [
        ("daemon/store", &["crate::project", "crate::sync", "crate::control", "TaskId"], "a store holds objects"),
        ("daemon/settings", &["crate::project", "crate::store", "crate::events"], "settings are checked, not acted on"),
        ("daemon/control", &["crate::project", "crate::store", "crate::sync"], "the socket carries words"),
        ("ctl", &["labelsync::project", "labelsync::store", "labelsync::sync", "rusqlite"], "lsctl decides nothing"),
    ];
    for (dir, forbidden, why) in rules {
        let wrong = places(&sources(dir), forbidden);
        assert!(wrong.is_empty(), "{dir}: {why}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_machine_is_asked_for_time_and_environment_in_one_place_each() {
    // The last asks for one variable as Google's own libraries do: the SDKs ask for theirs themselves.
    let allowed = ["daemon/clock.rs", "daemon/main.rs", "daemon/telemetry.rs", "daemon/store/gcs/client.rs"];
    let all: Vec<Source> = programs().into_iter().filter(|source| !allowed.contains(&source.path.as_str())).collect();
    let wrong = places(&all, &["SystemTime::now", "env::var", "env::vars"]);
    assert!(wrong.is_empty(), "time and environment are arguments:\n{}", wrong.join("\n"));
}

/// Promise 72: a key cannot reach a shell or an argument list where none is made. (A profile's `credential_process` is
/// started by the SDK, as the profile says.)
#[test]
fn l72_no_program_is_started() {
    let wrong = places(&programs(), &["process::Command", "Command::new", "CommandExt", "execve", "libc::system"]);
    assert!(wrong.is_empty(), "labelsync starts no programs:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_short() {
    let longer = BTreeMap::from(LONGER);
    let mut wrong = Vec::new();
    let mut lengths = BTreeMap::new();
    for path in tracked().into_iter().filter(|path| path.ends_with(".rs")) {
        let lines = read(&path).lines().count();
        let limit = longer.get(path.as_str()).copied().unwrap_or(FILE_LINES_MAX);
        if lines > limit {
            wrong.push(format!("{path}: {lines} lines, the limit is {limit}"));
        }
        lengths.insert(path, lines);
    }
    for path in longer.keys() {
        if lengths.get(*path).is_none_or(|lines| *lines <= FILE_LINES_MAX) {
            wrong.push(format!("{path} is short, or gone: take it out of LONGER"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_unwraps_or_prints() {
    let wrong = places(
        &programs(),
        &[".unwrap()", "println!", "eprintln!", "print!(", "eprint!(", "dbg!", "todo!", "unimplemented!", "unsafe "],
    );
    assert!(wrong.is_empty(), "outside of tests:\n{}", wrong.join("\n"));
}

#[test]
fn no_handler_ends_the_process() {
    let allowed = ["daemon/main.rs"];
    let all: Vec<Source> = programs().into_iter().filter(|source| !allowed.contains(&source.path.as_str())).collect();
    let wrong = places(&all, &["process::exit", "process::abort"]);
    assert!(wrong.is_empty(), "a stop finishes what is in hand:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is() {
    let mut wrong = Vec::new();
    for path in rust_files(&["daemon", "ctl"]) {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        let says = first.strip_prefix("//! ").is_some_and(|said| said.trim().len() > 5);
        if !says {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "the first line is `//! what it is`:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_names_a_build_machine() {
    // In pieces, so that this file does not name them either.
    let homes = ["root", "work", "builds", "Users", "github/workspace"].map(|dir| format!("/{dir}/"));
    let mut wrong = Vec::new();
    for path in tracked() {
        for (number, line) in read(&path).lines().enumerate() {
            let here = homes.iter().any(|home| line.match_indices(home.as_str()).any(|(at, _)| begins_path(line, at)));
            if here {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether an absolute path begins at this slash, and not the middle of another one or of a URL.
fn begins_path(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '_' | '-' | '}' | ')' | '*' | '%'))
}

#[test]
fn the_package_has_its_two_programs_and_no_other() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let bins: BTreeMap<&str, &str> =
        bins.iter().map(|bin| (bin["name"].as_str().unwrap(), bin["path"].as_str().unwrap())).collect();
    assert_eq!(bins, BTreeMap::from([("labelsyncd", "daemon/main.rs"), ("lsctl", "ctl/main.rs")]));
    assert_eq!(manifest["package"]["autobins"].as_bool(), Some(false));
    assert_eq!(manifest["package"]["license"].as_str(), Some("Apache-2.0"));
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for lint in ["unwrap_used", "too_many_lines", "print_stdout", "print_stderr", "await_holding_lock"] {
        assert_eq!(manifest["lints"]["clippy"][lint].as_str(), Some("deny"), "{lint}");
    }
}

#[test]
fn the_top_level_is_the_designs() {
    let mut names: Vec<String> = tracked().iter().filter_map(|path| Some(path.split_once('/')?.0.to_owned())).collect();
    names.dedup();
    let known = [".ci", "benches", "config", "ctl", "daemon", "docs", "systemd", "tests"];
    let unknown: Vec<&String> = names.iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "directories that ARCHITECTURE.md does not know: {unknown:?}");
}

#[test]
fn every_test_file_is_run() {
    // A module that nothing names is never compiled, and green means nothing.
    let manifest = read("Cargo.toml");
    let files = rust_files(&["tests"]);
    let all: Vec<String> = files.iter().map(|path| read(path)).collect();
    let mut wrong = Vec::new();
    for path in &files {
        let inner = path.strip_prefix("tests/").unwrap();
        let name = inner.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let named = all.iter().any(|text| text.contains(&format!("mod {name};")))
            || manifest.contains(&format!("path = \"{path}\""))
            || (name == "mod"
                && inner.rsplit('/').nth(1).is_some_and(|dir| all.iter().any(|t| t.contains(&format!("mod {dir};")))));
        if inner.contains('/') && !named {
            wrong.push(path.clone());
        }
    }
    assert!(wrong.is_empty(), "no file has `mod` for them:\n{}", wrong.join("\n"));
    assert!(manifest.contains("autotests = true"));
}

/// Where the words stand, outside of comments, texts and tests.
fn places(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code.lines().enumerate() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{}:{}: `{word}`", source.path, number + 1));
            }
        }
    }
    found
}

/// `Instant` is not in `Instantly`, `print!(` not in `eprint!(`.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined_before = word.starts_with(is_part) && before.is_some_and(is_part);
        let joined_after = word.ends_with(is_part) && after.is_some_and(is_part);
        !joined_before && !joined_after
    })
}

fn programs() -> Vec<Source> {
    ["daemon", "ctl"].into_iter().flat_map(sources).collect()
}

fn sources(dir: &str) -> Vec<Source> {
    let found: Vec<Source> = rust_files(&[dir])
        .into_iter()
        // Their parents name them under `#[cfg(test)]`.
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| Source::of(&path))
        .collect();
    assert!(!found.is_empty(), "{dir} has no files: is the rule still about anything?");
    found
}

fn rust_files(dirs: &[&str]) -> Vec<String> {
    let mut files: Vec<String> = dirs.iter().flat_map(|dir| below(&root().join(dir))).collect();
    files.retain(|path| path.ends_with(".rs"));
    files
}

#[test]
fn the_rules_see_code_and_nothing_else() {
    let text = r##"//! tokio in a comment
let a = "tokio \" in a text"; // tokio
let b = r#"tokio "raw" text"#; let c = '"'; let d = '\''; fn e<'tokio_>() {}
/* tokio /* nested */ tokio */ let f = tokio::spawn;
#[cfg(test)]
mod tests { fn g() { tokio::spawn(); if true { } } }
let h = tokio::join;
"##;
    let source = Source::parse("x.rs", text);
    assert_eq!(places(&[source], &["tokio"]), ["x.rs:4: `tokio`", "x.rs:7: `tokio`"]);
    assert!(has_word("use std::time::Instant;", "Instant") && !has_word("Instantly", "Instant"));
    assert!(!has_word("eprint!(x)", "print!(") && has_word("    print!(x)", "print!("));
}
