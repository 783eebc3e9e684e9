//! Plans compared with committed files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

/// Compares with `tests/plans/<name>.txt`.
pub fn golden(name: &str, plan: &str) {
    let file = dir().join(format!("{name}.txt"));
    let update = std::env::var("UPDATE_PLANS").is_ok_and(|value| value == "1");
    if update {
        fs::write(&file, plan).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(plan == expected, "{} is another plan now (UPDATE_PLANS=1 accepts it):\n{plan}", file.display());
}

/// A file that no test compares with would look like a promise.
#[test]
fn every_plan_is_compared() {
    let sources: String = ["source.rs", "near.rs", "completions.rs"]
        .iter()
        .map(|name| fs::read_to_string(dir().join(name)).unwrap())
        .collect();
    let mut unused = BTreeSet::new();
    for entry in fs::read_dir(dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".txt") else { continue };
        if !sources.contains(&format!("\"{stem}\"")) {
            unused.insert(name);
        }
    }
    assert!(unused.is_empty(), "no test compares with {unused:?}");
}
