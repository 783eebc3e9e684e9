//! SEMANTICS.md: every promise has its tests, and they are there.
//!
//! Promise: a promise without a test is on a list that can only get shorter; a test that is gone is named.
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
        let [number, _, sentence, tests] = cells[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        let tests: Vec<String> = match tests {
            "none" => Vec::new(),
            named => named.split(' ').map(|name| name.trim_matches('`').to_owned()).collect(),
        };
        let promise = Promise { sentence: sentence.to_owned(), tests };
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
