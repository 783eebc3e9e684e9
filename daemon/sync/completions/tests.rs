//! The decision table, case by case.

use super::*;

const POLICY: TargetPolicy = TargetPolicy { create_local_copy: true, delete_objects: false };

fn h(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

fn etag(text: &str) -> ETag {
    ETag::new(text)
}

fn recorded(state: RecordedState) -> Recorded {
    Recorded {
        state,
        sha: Some(h("B")),
        etag: Some(etag("e1")),
        data_hash: Some(h("data")),
        disputed: None,
        resolution: None,
        begun: None,
    }
}

fn file(text: &str) -> Local {
    Local::File { sha: h(text), canonical: h(text), data_hash: h("data"), goes_back: false }
}

fn object(version: &str, text: &str) -> Remote {
    let meaning = Some(Meaning { canonical: h(text), data_hash: h("data") });
    Remote::Object { etag: etag(version), sha: h(text), meaning }
}

fn task() -> TaskFacts {
    TaskFacts { known: true, present: Some(h("data")), hashes: vec![h("data")] }
}

fn run(b: Option<&Recorded>, l: &Local, r: &Remote) -> String {
    match decide(b, l, r, &task(), POLICY) {
        Decision::Act(action) => action.line(TaskId::new(7).unwrap()),
        other => format!("{other:?}"),
    }
}

use crate::names::TaskId;

#[test]
fn the_table_of_the_design_holds() {
    let b = recorded(RecordedState::InStep);
    let b = Some(&b);
    assert_eq!(run(b, &file("L"), &Remote::Version(etag("e1"))), "> completion 7 (changed)");
    assert_eq!(run(b, &Local::AsRecorded, &Remote::Version(etag("e2"))), "ReadRemote");
    assert_eq!(run(b, &Local::AsRecorded, &object("e2", "R")), "< completion 7");
    assert_eq!(run(b, &file("L"), &object("e2", "L")), "= completion 7 in step");
    assert_eq!(
        run(b, &file("L"), &object("e2", "R")),
        "! completion 7: the file and the object in the target both changed"
    );
    assert_eq!(run(b, &Local::Absent, &Remote::Version(etag("e1"))), "x completion 7 deleted here, object kept");
    assert_eq!(run(b, &Local::Absent, &Remote::Version(etag("e2"))), "ReadRemote");
    assert_eq!(
        run(b, &Local::Absent, &object("e2", "R")),
        "! completion 7: the file was deleted, and the object in the target changed"
    );
    assert_eq!(run(b, &Local::AsRecorded, &Remote::Absent), "! completion 7 is missing in the target");
    assert_eq!(run(None, &file("L"), &Remote::Absent), "> completion 7");
    assert_eq!(run(None, &file("L"), &object("e9", "L")), "= completion 7 in step");
    assert_eq!(
        run(None, &file("L"), &object("e9", "R")),
        "! completion 7: the file and the object in the target both changed"
    );
    assert_eq!(run(None, &Local::Absent, &object("e9", "R")), "< completion 7");
    assert_eq!(run(b, &Local::AsRecorded, &Remote::Version(etag("e1"))), "Nothing(\"\")");
}

/// A bucket that was copied onto itself, an object that was put again, a proxy that makes `W/"e1"` of `"e1"`.
#[test]
fn l23_another_version_of_the_same_bytes_is_no_change() {
    let b = recorded(RecordedState::InStep);
    let same = object("e2", "B");
    assert_eq!(run(Some(&b), &Local::AsRecorded, &same), "= completion 7 in step");
    let Decision::Act(CompletionAction::Push { expected }) = decide(Some(&b), &file("L"), &same, &task(), POLICY)
    else {
        panic!("nobody else wrote")
    };
    assert_eq!(expected, Some(etag("e2")));
    assert_eq!(run(Some(&b), &Local::Absent, &same), "x completion 7 deleted here, object kept");
    let delete = TargetPolicy { delete_objects: true, ..POLICY };
    let Decision::Act(CompletionAction::DeleteObject { etag: deleted }) =
        decide(Some(&b), &Local::Absent, &same, &task(), delete)
    else {
        panic!("nobody else wrote")
    };
    assert_eq!(deleted, etag("e2"));
}

#[test]
fn l20_a_file_that_is_not_at_rest_is_left_alone() {
    assert_eq!(decide(None, &Local::Unsettled, &Remote::Absent, &task(), POLICY), Decision::Wait);
}

#[test]
fn l26_our_own_write_without_receipt_is_no_conflict() {
    let b = Recorded { begun: Some(h("S1")), ..recorded(RecordedState::InStep) };
    assert_eq!(run(Some(&b), &file("S2"), &Remote::Unseen), "LookRemote");
    assert_eq!(run(Some(&b), &file("S2"), &Remote::Version(etag("e2"))), "ReadRemote");
    let Decision::Act(CompletionAction::Push { expected }) =
        decide(Some(&b), &file("S2"), &object("e2", "S1"), &task(), POLICY)
    else {
        panic!("the newer file follows our own write")
    };
    assert_eq!(expected, Some(etag("e2")));
    assert_eq!(run(Some(&b), &file("S1"), &object("e2", "S1")), "= completion 7 in step");
    assert_eq!(
        run(Some(&b), &file("S2"), &object("e2", "X")),
        "! completion 7: the file and the object in the target both changed"
    );
}

#[test]
fn l12_a_file_about_other_data_is_never_pushed_over_what_the_id_stood_for() {
    let mine = Local::File { sha: h("L"), canonical: h("L"), data_hash: h("other"), goes_back: false };
    let b = recorded(RecordedState::InStep);
    let reused = "! completion 7: the file is about other data than this id stood for: Label Studio gave the id again";
    assert_eq!(run(Some(&b), &mine, &Remote::Version(etag("e1"))), reused);
    assert_eq!(run(None, &mine, &Remote::Absent), reused);
    // The id's task is another one now, and the file is about it: what is in step was about the first.
    let now = TaskFacts { known: true, present: Some(h("other")), hashes: vec![h("other")] };
    let decision = decide(Some(&b), &mine, &Remote::Version(etag("e1")), &now, POLICY);
    assert_eq!(decision, Decision::Act(CompletionAction::Dispute(Dispute::IdReused)));
    // A bucket change explains it.
    let both = TaskFacts { known: true, present: Some(h("other")), hashes: vec![h("data"), h("other")] };
    let decision = decide(Some(&b), &mine, &Remote::Version(etag("e1")), &both, POLICY);
    assert!(matches!(decision, Decision::Act(CompletionAction::Push { .. })));
}

#[test]
fn l29_a_deleted_completion_stays_deleted() {
    let b = Recorded { sha: None, ..recorded(RecordedState::Buried) };
    assert_eq!(run(Some(&b), &Local::Absent, &Remote::Version(etag("e1"))), "Nothing(\"\")");
    assert_eq!(
        run(Some(&b), &Local::Absent, &Remote::Version(etag("e2"))),
        "! completion 7: the file was deleted, and the object in the target changed"
    );
    assert_eq!(run(Some(&b), &file("again"), &Remote::Version(etag("e1"))), "> completion 7 (changed)");
}

#[test]
fn l23_a_dispute_waits_for_a_person_and_ends_as_the_person_says() {
    let mut b = recorded(RecordedState::Disputed(Dispute::BothChanged));
    b.disputed = Some((Some(h("L")), Some(etag("e2"))));
    assert_eq!(run(Some(&b), &file("L"), &object("e2", "R")), "Nothing(\"conflict\")");
    assert_eq!(run(Some(&b), &Local::AsRecorded, &Remote::Unseen), "Nothing(\"conflict\")");
    b.resolution = Some(Resolution::Local);
    assert_eq!(run(Some(&b), &Local::AsRecorded, &Remote::Unseen), "LookRemote");
    assert_eq!(run(Some(&b), &file("L"), &Remote::Version(etag("e2"))), "> completion 7 (changed)");
    // Decided for what was seen; meanwhile the object changed again.
    assert_eq!(
        run(Some(&b), &file("L"), &object("e3", "R2")),
        "! completion 7: the file and the object in the target both changed"
    );
    b.resolution = Some(Resolution::Remote);
    assert_eq!(run(Some(&b), &file("L"), &object("e2", "R")), "< completion 7");
}

#[test]
fn a_missing_object_is_pushed_again_only_when_the_file_changes() {
    let b = recorded(RecordedState::Missing);
    assert_eq!(run(Some(&b), &Local::AsRecorded, &Remote::Absent), "Nothing(\"target_missing\")");
    assert_eq!(run(Some(&b), &file("L"), &Remote::Unseen), "LookRemote");
    assert_eq!(run(Some(&b), &file("L"), &Remote::Absent), "> completion 7");
    assert_eq!(
        run(Some(&b), &Local::AsRecorded, &Remote::Version(etag("e1"))),
        "= completion 7 is in the target again"
    );
}
