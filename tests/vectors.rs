//! The recorded cases of Label Studio's own cloud storages, given to labelsync: what Label Studio did against what the
//! real daemon does, or the real Label Studio with local storages and labelsync together.
//!
//! Promise: keys, order, ids, tasks, target keys and bodies are the same, or a named rule (`LABEL_STUDIO.md`) turns
//! Label Studio's outcome into ours; the cases under rules are counted in `vectors/under_rules.txt`.
//! `LABELSYNC_VECTORS=DIRECTORY` runs other cases of the same form.
//! Not here: the rules of one task, without a daemon (`task_vectors`).

#[path = "vectors/cases.rs"]
mod cases;
#[path = "vectors/expect.rs"]
mod expect;
#[path = "vectors/local.rs"]
mod local;
#[path = "vectors/pair.rs"]
mod pair;
#[path = "vectors/rules.rs"]
mod rules;
#[path = "vectors/source.rs"]
mod source;
mod support;
#[path = "vectors/tally.rs"]
mod tally;
#[path = "vectors/target.rs"]
mod target;

use support::Kind;
use support::label_studio::installed;

fn main() -> std::process::ExitCode {
    support::trials(|t| {
        let name = "c07_c08_local_storages_come_to_what_label_studio_came_to";
        t.test_with(name, || installed("0.8.2"), |installed| local::run(&installed));
        t.test_with("l94_every_rule_and_its_reason_is_documented", || Ok(()), |()| documented());
        for (kind, provider) in [(Kind::Moto, "s3"), (Kind::Gcs, "gcs")] {
            let servers = t.servers();
            let name = format!("c06_c24_c25_sources_come_to_what_label_studio_came_to_{provider}");
            t.test_with(&name, move || servers.get(kind), move |server| source::run(&server, provider));
            let servers = t.servers();
            let name = format!("c16_c17_c18_targets_come_to_what_label_studio_came_to_{provider}");
            let both = move || Ok((installed("0.8.2")?, servers.get(kind)?));
            t.test_with(&name, both, move |(installed, server)| target::run(&installed, &server, provider));
        }
    })
}

/// Every rule stands in the table of differences, and the table names no other.
fn documented() {
    let page = include_str!("../LABEL_STUDIO.md");
    let table = regex::Regex::new(r"(?m)^\| `([a-z]\d\d_[a-z0-9_]+)` \| \S").expect("a pattern");
    let mut said: Vec<&str> = table.captures_iter(page).filter_map(|row| Some(row.get(1)?.as_str())).collect();
    let mut rules: Vec<&str> = rules::TASK_RULES
        .iter()
        .map(|rule| rule.name)
        .chain(expect::SOURCE_RULES)
        .chain(expect::REFUSALS.map(|(name, _)| name))
        .chain(target::TARGET_RULES)
        .chain(local::LOCAL_RULES)
        .collect();
    said.sort_unstable();
    rules.sort_unstable();
    assert_eq!(said, rules, "LABEL_STUDIO.md, the table of differences");
}
