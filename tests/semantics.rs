//! SEMANTICS.md: every promise has its tests, and they are there; what may be ignored is written down.
//!
//! Promise: a promise without a test is on a list that can only get shorter; a test that is gone is named; no test is
//! ignored unseen.
//! Not here: whether a test is a good one.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many promises there are.
const PROMISES: u32 = 95;

/// Promises that no test holds yet: a number that has tests must leave, and none may come.
const NOT_YET: [u32; 0] = [];

/// How many clauses the contract with Label Studio has.
const CLAUSES: u32 = 25;

/// One line of SEMANTICS.md.
struct Promise {
    /// P1: it gates a release.
    gates: bool,
    sentence: String,
    tests: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `| 12 | P1 | Sentence. | `test` `test` |`.
fn promises() -> BTreeMap<u32, Promise> {
    let page = std::fs::read_to_string(root().join("SEMANTICS.md")).unwrap();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, weight, sentence, tests] = cells[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        let tests: Vec<String> = match tests {
            "none" => Vec::new(),
            named => named.split(' ').map(|name| name.trim_matches('`').to_owned()).collect(),
        };
        let promise = Promise { gates: weight == "P1", sentence: sentence.to_owned(), tests };
        assert!(found.insert(number, promise).is_none(), "promise {number} stands there twice");
    }
    found
}

/// All Rust below `dir`, in one text.
fn code_below(dir: &Path, all: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code_below(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests/semantics.rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn l94_every_promise_has_its_tests() {
    let mut code = "fn l94_every_promise_has_its_tests()".to_owned();
    for dir in ["tests", "daemon", "ctl"] {
        code_below(&root().join(dir), &mut code);
    }
    let exists = |name: &str| code.contains(&format!("fn {name}(")) || code.contains(&format!("\"{name}\""));
    let promises = promises();
    let numbers: Vec<u32> = promises.keys().copied().collect();
    assert_eq!(numbers, (1..=PROMISES).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (number, promise) in &promises {
        let (not_yet, none) = (NOT_YET.contains(number), promise.tests.is_empty());
        if not_yet && !none {
            wrong.push(format!("{number} has tests now: take it out of NOT_YET"));
        }
        if none && !not_yet {
            wrong.push(format!("{number} has no test"));
        }
        let is_its_own =
            |name: &String| name.split('_').any(|part| part == format!("l{number}") || part == format!("l{number:02}"));
        if promise.gates && !promise.tests.iter().any(is_its_own) {
            wrong.push(format!("{number} is P1, and none of its tests carries its number"));
        }
        let missing = promise.tests.iter().filter(|name| !exists(name));
        wrong.extend(missing.map(|name| format!("{number} names `{name}`, which is gone")));
        let one_sentence = promise.sentence.ends_with('.') && !promise.sentence.contains(". ");
        if !one_sentence {
            wrong.push(format!("{number} is not one sentence"));
        }
    }
    assert!(wrong.is_empty(), "SEMANTICS.md:\n{}", wrong.join("\n"));
}

#[test]
fn l94_the_numbers_of_tests_are_promises() {
    let mut code = String::new();
    for dir in ["tests", "daemon", "ctl"] {
        code_below(&root().join(dir), &mut code);
    }
    let named = code.split("fn l").skip(1).filter_map(|rest| rest.split_once('_')?.0.parse::<u32>().ok());
    let wrong: BTreeSet<u32> = named.filter(|number| !(1..=PROMISES).contains(number)).collect();
    assert!(wrong.is_empty(), "no promises: {wrong:?}");
}

/// What `tests/run` says of a log, and whether it is content.
fn ignored(log: &str) -> (String, bool) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, log.as_bytes()).unwrap();
    let script = root().join("tests/support/ignored.sh");
    let done = std::process::Command::new("bash").arg(script).arg(file.path()).output().unwrap();
    (String::from_utf8(done.stdout).unwrap(), done.status.success())
}

#[test]
fn no_test_is_ignored_unseen() {
    assert_eq!(ignored("test a ... ok\ntest b ... FAILED\n"), ("Ignored tests:\n  none\n".to_owned(), true));
    for allowed in [
        "test moto::l1_x     ... ignored (tests/support/install.sh: pip could not install the test servers)",
        "test sync_draws_a_bar_on_a_terminal ... ignored (`script` (util-linux) is not installed)",
        "test l38_a_full_project_heals ... ignored (needs a mount namespace of its own (root))",
        "test c18_x ... ignored (Label Studio 0.8.2 needs Python 3.8, which is not installed (pyenv install 3.8))",
    ] {
        let (said, content) = ignored(allowed);
        assert!(content && said.lines().count() == 2, "{allowed}: {said}");
    }
    for new in [
        "test moto::l1_x ... ignored (moto did not start: killed)",
        "test l38_a_full_project_heals ... ignored (it was slow)",
        "test a_new_one ... ignored, for now",
        "test a_new_one ... ignored",
    ] {
        let (said, content) = ignored(new);
        assert!(!content && said.contains("write it down there"), "{new}: {said}");
    }
}

#[test]
fn what_may_be_ignored_is_there() {
    let mut code = String::new();
    code_below(&root().join("tests"), &mut code);
    let pinned = std::fs::read_to_string(root().join("tests/ignored.txt")).unwrap();
    let names = pinned.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" | "));
    for (name, _) in names.filter(|(name, _)| !name.contains(['*', ':'])) {
        let of_each = name.trim_end_matches("gcs");
        let there = [format!("fn {name}("), format!("\"{name}\""), format!("\"{of_each}{{provider}}\"")];
        assert!(there.iter().any(|text| code.contains(text)), "tests/ignored.txt names `{name}`, which is gone");
    }
}

#[test]
fn every_clause_of_the_contract_has_its_tests() {
    let mut code = String::new();
    for dir in ["tests", "daemon", "ctl"] {
        code_below(&root().join(dir), &mut code);
    }
    let page = std::fs::read_to_string(root().join("LABEL_STUDIO.md")).unwrap();
    let mut clauses = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [clause, _, tests] = cells[..] else { continue };
        let Some(Ok(number)) = clause.strip_prefix('C').map(str::parse::<u32>) else { continue };
        clauses.push(number);
        let tests: Vec<&str> = tests.split(' ').map(|name| name.trim_matches('`')).collect();
        assert!(tests.iter().any(|name| name.contains(&format!("c{number:02}_"))), "C{number}: no test names it");
        for name in tests {
            // One of each provider is named in the code with a hole at its end.
            let of_each = name.trim_end_matches("s3").trim_end_matches("gcs");
            let there = [format!("fn {name}("), format!("\"{name}\""), format!("\"{of_each}{{provider}}\"")];
            assert!(there.iter().any(|name| code.contains(name)), "C{number} names `{name}`, which is gone");
        }
    }
    assert_eq!(clauses, (1..=CLAUSES).collect::<Vec<_>>());
}
