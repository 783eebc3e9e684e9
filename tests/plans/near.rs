//! What `tasks.json`, as Label Studio left it, comes to: the whole table.

use std::fmt::Write;

use labelsync::names::{Sha256, TaskId};
use labelsync::sync::near::{KnownTask, Listing, TaskState, decide};

use crate::golden::golden;

const FILES: [(&str, Option<&str>); 4] =
    [("our data", Some("now")), ("older data of ours", Some("old")), ("other data", Some("other")), ("nothing", None)];

const LISTINGS: [(&str, Listing); 4] = [
    ("listed by Label Studio", Listing::Has),
    ("not listed", Listing::Lacks),
    ("no source.json", Listing::Missing),
    ("source.json torn", Listing::Unreadable),
];

fn table(state: TaskState) -> String {
    let mut text = String::new();
    for (seen, settled) in [(false, false), (false, true), (true, false), (true, true)] {
        let seen_text = if seen { "seen by Label Studio" } else { "not seen by Label Studio" };
        let settled_text = if settled { "written" } else { "to be written" };
        writeln!(text, "# {state:?}, {settled_text}, {seen_text}").unwrap();
        let known = KnownTask { state, data_hash: Sha256::of(b"now"), older: vec![Sha256::of(b"old")], seen, settled };
        for (file_text, file) in FILES {
            let mut row: Vec<(String, Vec<&str>)> = Vec::new();
            for (listing_text, listing) in LISTINGS {
                let file = file.map(|data| Sha256::of(data.as_bytes()));
                let action = decide(TaskId::new(7).unwrap(), file, Some(&known), listing);
                let line = action.map_or_else(|| "nothing to do".to_owned(), |action| action.to_string());
                match row.iter_mut().find(|(other, _)| *other == line) {
                    Some((_, listings)) => listings.push(listing_text),
                    None => row.push((line, vec![listing_text])),
                }
            }
            let always = row.len() == 1;
            for (line, listings) in row {
                let when = if always { String::new() } else { format!(" ({})", listings.join(", ")) };
                writeln!(text, "{file_text}{when}: {line}").unwrap();
            }
        }
    }
    text
}

#[test]
fn c08_c09_tasks_of_ours() {
    golden("near_live", &table(TaskState::Live));
    golden("near_hidden", &table(TaskState::Hidden));
    golden("near_retired", &table(TaskState::Retired));
}

#[test]
fn c08_c09_tasks_of_label_studio() {
    golden("near_foreign", &table(TaskState::Foreign));
    golden("near_spent", &table(TaskState::Spent));
}

#[test]
fn an_unknown_task_is_label_studios() {
    let id = TaskId::new(7).unwrap();
    let action = decide(id, Some(Sha256::of(b"")), None, Listing::Has).unwrap();
    assert_eq!(action.to_string(), "= task 7 is Label Studio's own");
    assert_eq!(decide(id, None, None, Listing::Has), None);
}
