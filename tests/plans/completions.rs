//! What a completion's file, its object and what was in step come to: the table of the design, whole.

use std::fmt::Write;

use labelsync::names::{ETag, Sha256, TaskId};
use labelsync::sync::action::Dispute;
use labelsync::sync::completions::{
    Decision, Local, Meaning, Recorded, RecordedState, Remote, Resolution, TargetPolicy, TaskFacts, decide,
};

use crate::golden::golden;

const POLICY: TargetPolicy = TargetPolicy { create_local_copy: true, delete_objects: false };

fn h(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

fn recorded(state: RecordedState) -> Recorded {
    Recorded {
        state,
        sha: Some(h("B")),
        etag: Some(ETag::new("e1")),
        data_hash: Some(h("data")),
        disputed: None,
        resolution: None,
        begun: None,
    }
}

fn file(bytes: &str, data: &str) -> Local {
    Local::File { sha: h(bytes), canonical: h(bytes.trim_end()), data_hash: h(data), goes_back: false }
}

/// A file that is older than the one that was here last.
fn older(bytes: &str) -> Local {
    Local::File { sha: h(bytes), canonical: h(bytes.trim_end()), data_hash: h("data"), goes_back: true }
}

fn object(etag: &str, bytes: &str, data: &str) -> Remote {
    let meaning = Some(Meaning { canonical: h(bytes.trim_end()), data_hash: h(data) });
    Remote::Object { etag: ETag::new(etag), sha: h(bytes), meaning }
}

fn task() -> TaskFacts {
    TaskFacts { known: true, present: Some(h("data")), hashes: vec![h("older data"), h("data")] }
}

fn locals() -> Vec<(&'static str, Local)> {
    let bad = Local::Bad { sha: Some(h("?")), reason: "not_json".to_owned(), detail: "no JSON".to_owned() };
    vec![
        ("no file", Local::Absent),
        ("file as recorded", Local::AsRecorded),
        ("file with the bytes recorded", file("B", "data")),
        ("file changed", file("L", "data")),
        ("file about older data", file("L", "older data")),
        ("file about other data", file("L", "other data")),
        ("file not at rest", Local::Unsettled),
        ("file not read", Local::Unread),
        ("file that is no completion", bad),
    ]
}

fn remotes() -> Vec<(&'static str, Remote)> {
    vec![
        ("object not looked at", Remote::Unseen),
        ("no object", Remote::Absent),
        ("object as recorded", Remote::Version(ETag::new("e1"))),
        ("object in another version", Remote::Version(ETag::new("e2"))),
        ("object in another version with the bytes recorded", object("e2", "B", "data")),
        ("object with the file's bytes", object("e2", "L", "data")),
        ("object that means the same", object("e2", "L\n", "data")),
        ("object of a push without receipt", object("e2", "S", "data")),
        ("object of somebody else", object("e2", "R", "data")),
        ("object about other data", object("e2", "R", "other data")),
        ("object that is no completion", Remote::Object { etag: ETag::new("e2"), sha: h("?"), meaning: None }),
    ]
}

fn line(b: Option<&Recorded>, l: &Local, r: &Remote, task: &TaskFacts, policy: TargetPolicy) -> String {
    match decide(b, l, r, task, policy) {
        Decision::Nothing("") => "nothing to do".to_owned(),
        Decision::Nothing(why) => format!("left alone: {why}"),
        Decision::Wait => "wait until it has come to rest".to_owned(),
        Decision::ReadLocal => "read the file first".to_owned(),
        Decision::LookRemote => "look the object up first".to_owned(),
        Decision::ReadRemote => "read the object first".to_owned(),
        Decision::Act(action) => action.line(TaskId::new(7).unwrap()),
    }
}

fn table(title: &str, b: Option<&Recorded>, task: &TaskFacts, policy: TargetPolicy) -> String {
    table_of(&locals(), title, b, task, policy)
}

fn table_of(
    locals: &[(&str, Local)],
    title: &str,
    b: Option<&Recorded>,
    task: &TaskFacts,
    policy: TargetPolicy,
) -> String {
    let mut text = format!("# {title}\n");
    for (local_text, l) in locals {
        let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
        for (remote_text, r) in remotes() {
            let line = line(b, l, &r, task, policy);
            match rows.iter_mut().find(|(other, _)| *other == line) {
                Some((_, remotes)) => remotes.push(remote_text),
                None => rows.push((line, vec![remote_text])),
            }
        }
        writeln!(text, "{local_text}").unwrap();
        for (line, remotes) in rows {
            let when = if remotes.len() == remotes_count() { "always".to_owned() } else { remotes.join("; ") };
            writeln!(text, "    {line}\n        {when}").unwrap();
        }
    }
    text
}

fn remotes_count() -> usize {
    remotes().len()
}

#[test]
fn l23_what_was_never_in_step() {
    golden("completion_new", &table("never in step", None, &task(), POLICY));
    let hidden = TaskFacts { present: None, ..task() };
    golden("completion_hidden_task", &table("never in step, the task is hidden", None, &hidden, POLICY));
    golden("completion_unknown_task", &table("no such task", None, &TaskFacts::default(), POLICY));
}

#[test]
fn l29_what_was_in_step() {
    let b = recorded(RecordedState::InStep);
    let mut text = table("in step", Some(&b), &task(), POLICY);
    let delete = TargetPolicy { delete_objects: true, ..POLICY };
    text += &table("in step, on_deleted = delete", Some(&b), &task(), delete);
    let leave = TargetPolicy { create_local_copy: false, ..POLICY };
    text += &table("in step, create_local_copy = false", Some(&b), &task(), leave);
    golden("completion_in_step", &text);
}

#[test]
fn l26_a_push_without_receipt() {
    let first =
        Recorded { begun: Some(h("S")), sha: None, etag: None, data_hash: None, ..recorded(RecordedState::Begun) };
    let later = Recorded { begun: Some(h("S")), ..recorded(RecordedState::InStep) };
    let mut text = table("the first push has no receipt", Some(&first), &task(), POLICY);
    text += &table("a later push has no receipt", Some(&later), &task(), POLICY);
    let hidden = TaskFacts { present: None, ..task() };
    text += &table("the first push has no receipt, the task is hidden", Some(&first), &hidden, POLICY);
    golden("completion_begun", &text);
}

#[test]
fn l29_what_was_deleted_or_is_missing() {
    let buried = Recorded { sha: None, ..recorded(RecordedState::Buried) };
    let mut text = table("deleted here, the object was kept", Some(&buried), &task(), POLICY);
    let missing = recorded(RecordedState::Missing);
    text += &table("missing in the target", Some(&missing), &task(), POLICY);
    let wanted = Recorded { resolution: Some(Resolution::Local), ..missing };
    text += &table("missing in the target, wanted there again", Some(&wanted), &task(), POLICY);
    golden("completion_gone", &text);
}

#[test]
fn l23_a_dispute_ends_as_the_person_says() {
    let mut b = recorded(RecordedState::Disputed(Dispute::BothChanged));
    b.disputed = Some((Some(h("L")), Some(ETag::new("e2"))));
    let mut text = table("in dispute", Some(&b), &task(), POLICY);
    b.resolution = Some(Resolution::Local);
    text += &table("in dispute, the file wins", Some(&b), &task(), POLICY);
    b.resolution = Some(Resolution::Remote);
    text += &table("in dispute, the object wins", Some(&b), &task(), POLICY);
    // The object came from elsewhere: no file, and nothing was ever in step.
    let mut b = Recorded { sha: None, etag: None, data_hash: None, ..b };
    for (dispute, words) in
        [(Dispute::NoCompletion, "no completion"), (Dispute::DeletedHere, "a change of a deleted one")]
    {
        b.state = RecordedState::Disputed(dispute);
        b.disputed = Some((None, Some(ETag::new("e2"))));
        b.resolution = None;
        text += &table(&format!("the object in dispute is {words}"), Some(&b), &task(), POLICY);
        b.resolution = Some(Resolution::Remote);
        text += &table(&format!("the object in dispute is {words}, it wins"), Some(&b), &task(), POLICY);
    }
    golden("completion_disputed", &text);
}

#[test]
fn l23_a_file_that_is_older_than_the_one_before() {
    let put_back = [("older file", older("L")), ("older file with the bytes recorded", older("B"))];
    let of = |title: &str, b: Option<&Recorded>| table_of(&put_back, title, b, &task(), POLICY);
    let in_step = recorded(RecordedState::InStep);
    let mut text = of("never in step", None);
    text += &of("in step", Some(&in_step));
    let taken_back = [("no file, in an older directory", Local::TakenBack)];
    let delete = TargetPolicy { delete_objects: true, ..POLICY };
    text += &table_of(&taken_back, "in step, on_deleted = delete", Some(&in_step), &task(), delete);
    text += &of("a later push has no receipt", Some(&Recorded { begun: Some(h("S")), ..in_step }));
    text += &of("missing in the target", Some(&recorded(RecordedState::Missing)));
    text += &of("deleted here", Some(&Recorded { sha: None, ..recorded(RecordedState::Buried) }));
    let mut b = recorded(RecordedState::Disputed(Dispute::OlderHere));
    b.disputed = Some((Some(h("O")), Some(ETag::new("e1"))));
    let put_back = [("the older file", older("O")), ("the older file, saved again", file("O", "data"))];
    let of = |title: &str, b: Option<&Recorded>| table_of(&put_back, title, b, &task(), POLICY);
    text += &table("an older file in dispute", Some(&b), &task(), POLICY);
    text += &of("an older file in dispute", Some(&b));
    let gone = [("no file", Local::Absent)];
    text += &table_of(&gone, "an older file in dispute, on_deleted = delete", Some(&b), &task(), delete);
    b.resolution = Some(Resolution::Local);
    text += &of("an older file in dispute, it wins", Some(&b));
    b.resolution = Some(Resolution::Remote);
    text += &of("an older file in dispute, the object wins", Some(&b));
    golden("completion_older", &text);
}

#[test]
fn l33_a_quarantined_file() {
    let mut b = recorded(RecordedState::Quarantined);
    b.disputed = Some((Some(h("?")), Some(ETag::new("e1"))));
    golden("completion_quarantined", &table("the file was no completion", Some(&b), &task(), POLICY));
}
