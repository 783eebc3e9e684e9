//! Counts the cases under each rule and holds them against `under_rules.txt`, so that their number cannot grow unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use crate::cases::{self, Case};
use crate::support::rig::Ran;

/// `GROUP RULE COUNT CASE…`, one line each.
const PINNED: &str = include_str!("under_rules.txt");

/// Of one group; shared by the threads that run its cases.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    cases: usize,
    compared: usize,
    under: BTreeMap<&'static str, BTreeSet<String>>,
    differences: Vec<String>,
    refused: Vec<String>,
}

impl Tally {
    /// A case is over.
    pub fn add(&self, case: &Case, under: &BTreeSet<&'static str>) {
        let mut counts = self.0.lock().expect("no panic within");
        counts.cases += 1;
        for rule in under {
            counts.under.entry(rule).or_default().insert(case.id().to_owned());
        }
    }

    /// `labelsyncd init` has spoken.
    pub fn refused(&self, case: &Case, ran: &Ran) {
        if ran.code != 0 {
            self.0.lock().expect("no panic within").refused.push(format!("{}: {}{}", case.id(), ran.out, ran.err));
        }
    }

    /// Tasks, or objects, that were held against Label Studio's.
    pub fn compared(&self, things: usize) {
        self.0.lock().expect("no panic within").compared += things;
    }

    pub fn differs(&self, text: String) {
        self.0.lock().expect("no panic within").differences.push(text);
    }

    /// Prints the sum; fails on a difference that no rule explains, and where the cases under a rule are others.
    pub fn end(self, group: &str) {
        let counts = self.0.into_inner().expect("no panic within");
        let mut out = std::io::stdout();
        let ruled: BTreeSet<&String> = counts.under.values().flatten().collect();
        let mut lines: Vec<String> = Vec::new();
        for (rule, cases) in &counts.under {
            let names: Vec<&str> = cases.iter().map(String::as_str).collect();
            lines.push(format!("{group} {rule} {} {}", cases.len(), names.join(" ")));
        }
        let (all, compared) = (counts.cases, counts.compared);
        let head = format!("{group}: {all} cases, {} under rules; {compared} things compared", ruled.len());
        writeln!(out, "{head}\n  {}", lines.join("\n  ")).expect("printed");
        for refused in &counts.refused {
            writeln!(out, "  refused by init: {}", refused.trim()).expect("printed");
        }
        assert!(counts.differences.is_empty(), "{group}: no rule explains\n{}", counts.differences.join("\n"));
        // Another directory may have no case of a group; it is said above.
        assert!(compared > 0 || !cases::are_own(), "{group}: nothing was compared");
        if cases::are_own() {
            let pinned: Vec<&str> = PINNED.lines().filter(|line| line.starts_with(&format!("{group} "))).collect();
            let path = Path::new("tests/vectors/under_rules.txt");
            assert_eq!(pinned, lines, "{group}: other cases are under rules than {} says", path.display());
        }
    }
}
