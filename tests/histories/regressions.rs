//! Histories that once ended badly, as short as they can be, each with what it showed.

use labelsync::names::Key;

use crate::label_studio::{Act, Anew as Files, When};
use crate::mortal::Side;
use crate::ops::Op::{self, *};
use crate::tear::Kind;
use crate::world::World;

fn ends_well(blobs: bool, ops: &[Op]) {
    if let Err(why) = crate::run(blobs, ops) {
        panic!("{ops:?}: {why}");
    }
}

/// `tasks.json` was empty as all tasks were hidden, and the next one was appended to it as if an entry stood before it:
/// `{,`, which neither Label Studio nor labelsync can read. Found by seed 1795402833873.
#[test]
fn l19_a_task_is_not_appended_to_an_empty_map_as_if_it_followed_another() {
    ends_well(false, &[Put(4, 8), Source(true), Put(0, 0), Regex(3), Source(true), Regex(2)]);
    let (blobs, ops) = crate::history(1_795_402_833_873);
    ends_well(blobs, &ops);
}

/// An object for a task that is not shown was read again in every cycle.
#[test]
fn an_object_that_cannot_be_brought_in_is_not_read_again_and_again() {
    ends_well(false, &[Put(0, 0), Put(3, 1), Source(true), Other(1, 1), Regex(2)]);
}

/// A push was begun and never made, and the file was deleted: the ledger waited for it for ever.
#[test]
fn l29_a_push_that_was_begun_ends_with_its_file() {
    ends_well(true, &[Target(1), Import, Source(true), PutFails(1), Label(0, 0), Target(1), Unlabel(0, true)]);
    ends_well(true, &[Target(1), Import, Source(true), PutLost(1), Label(0, 0), Target(1), Unlabel(0, true)]);
    let delete = [DeleteObjects(true), PutLost(1), Label(0, 0), Target(1), Unlabel(0, true)];
    ends_well(true, &[[Target(1), Import, Source(true)].as_slice(), &delete].concat());
}

/// The first push happened and its answer was lost, the second never happened: our own object was taken for somebody
/// else's.
#[test]
fn l26_a_second_push_does_not_forget_the_first() {
    let ops = [Put(0, 0), Source(true), List, Target(1), Label(0, 0), PutLost(1), Target(1)];
    ends_well(false, &[ops.as_slice(), &[Label(0, 1), PutFails(1), Target(1)]].concat());
    ends_well(
        false,
        &[ops.as_slice(), &[Label(0, 1), PutLost(1), Target(1), Label(0, 2), PutFails(1), Target(1)]].concat(),
    );
}

/// Label Studio wrote an import into the displaced `tasks.json`, under the id that ours had got in the new one: the
/// import was lost.
#[test]
fn c07_an_import_in_the_displaced_file_keeps_its_id_and_ours_moves() {
    ends_well(true, &[Meanwhile(When::Into, Act::Import), Put(5, 7), Source(true)]);
    ends_well(false, &[Meanwhile(When::Into, Act::Import), Put(3, 2), Source(true)]);
    ends_well(
        true,
        &[Put(1, 11), Source(true), List, Put(2, 0), Meanwhile(When::Into, Act::Import), Source(true), Delete(0)],
    );
}

/// The daemon died with Label Studio's import in the displaced file, before and after it was looked at: it was lost,
/// also when the displaced file was removed before its import was recorded.
#[test]
fn c07_an_import_in_the_displaced_file_survives_the_daemon() {
    for blobs in [true, false] {
        ends_well(blobs, &[Meanwhile(When::Into, Act::Import), Put(0, 5), Source(true), Restart]);
        for gap in 1..40 {
            let ops =
                [Meanwhile(When::Into, Act::Import), Put(0, 5), Crash(Side::Near, gap), Source(true), Source(true)];
            ends_well(blobs, &ops);
        }
    }
}

/// The daemon died between writing `tasks.json` and its receipt, and took its own file for Label Studio's: tasks that
/// Label Studio had never seen, lost by its next write from memory, counted as deleted by the user.
#[test]
fn c08_a_file_that_the_daemon_wrote_before_it_died_is_not_label_studios() {
    for gap in 1..24 {
        let ops = [Import, Source(true), List, Put(0, 0), Put(1, 0), Crash(Side::Near, gap), Source(true), Restart];
        ends_well(true, &[ops.as_slice(), &[Source(false), Delete(0), Source(true)]].concat());
    }
}

/// What the displaced file held made a look at our own file necessary, which was then taken for Label Studio's.
#[test]
fn c08_a_look_for_the_displaced_files_sake_makes_nothing_seen() {
    let ops = [Import, Import, Source(true), Put(0, 0), Put(1, 0), Meanwhile(When::Into, Act::Import), Source(true)];
    ends_well(true, &[ops.as_slice(), &[Source(false), Delete(0), Source(true)]].concat());
}

/// The import was recorded as Label Studio's own and ours as moved, then the daemon died: the next look took what
/// still stood in the file, ours, for another import under that id.
#[test]
fn c09_what_is_to_be_written_again_is_not_what_stands_there() {
    ends_well(
        false,
        &[Meanwhile(When::Into, Act::Import), Put(0, 3), Source(true), Crash(Side::Source, 1), Source(true)],
    );
    ends_well(
        true,
        &[Put(2, 9), Meanwhile(When::Into, Act::Import), Source(true), Crash(Side::Source, 1), Source(true)],
    );
}

/// Before the import was found in the displaced file, its id was deleted, which showed our task then.
#[test]
fn c08_in_doubt_an_import_comes_back() {
    for blobs in [true, false] {
        ends_well(blobs, &[Meanwhile(When::Into, Act::Import), Put(0, 5), Source(true), Import, Delete(0)]);
    }
}

/// `resolve --keep remote` of an object that is no completion was tried in every cycle for ever.
#[test]
fn what_cannot_be_brought_in_stays_a_dispute() {
    let ops = [Put(0, 0), Source(true), List, Label(0, 0), Target(1), Label(0, 1), Other(0, 0), Target(1)];
    ends_well(true, &[ops.as_slice(), &[Resolve(0, false), Target(0)]].concat());
}

/// `tasks.json` vanished between the look and the write: the new one held the new tasks only, and nobody missed the
/// others.
#[test]
fn c08_a_tasks_file_that_vanishes_before_the_write_comes_back_whole() {
    let ops = [Put(0, 0), Put(1, 0), Import, Source(true), List, Put(2, 0), Meanwhile(When::Listing, Act::Lose)];
    ends_well(true, &[ops.as_slice(), &[Source(true)]].concat());
}

/// After seventeen versions of an object the newest was not remembered: what Label Studio wrote back from memory
/// counted as an import under that id, and the object's task as deleted by the user.
#[test]
fn c04_the_data_that_stood_there_last_are_remembered() {
    let mut ops = vec![Import, Put(0, 0), Source(true), List];
    for version in 12..32 {
        ops.extend([Put(0, version), Source(true), List]);
    }
    ends_well(false, &[ops.as_slice(), &[Put(0, 40), Source(true), Delete(0), Source(true)]].concat());
}

/// A ledger that was lost, or put back from a backup: what the target holds is some older task's.
#[test]
fn l17_ids_of_the_target_are_not_given_again() {
    let mut world = World::new(true);
    let object = br#"{"id": 7, "data": {"image": "x"}, "completions": []}"#;
    world.target.memory().insert(&Key::new("done/7"), object.to_vec());
    for op in [Target(1), Put(0, 0), Source(true)] {
        world.step(op).unwrap();
    }
    let ids: Vec<u64> = world.label_studio().tasks().unwrap().into_keys().collect();
    assert_eq!(ids, [8]);
}

/// A push whose answer was lost, then its task was deleted and its id given to an import: the import's completion was
/// pushed over the first task's.
#[test]
fn l12_a_push_without_receipt_is_not_replaced_by_another_tasks() {
    let ops =
        [Put(0, 7), Source(true), Import, Label(2, 0), PutLost(3), Target(1), DeleteAll, ImportUrl(2), Label(2, 3)];
    ends_well(false, &ops);
}

/// Label Studio listed our task under the id of an import that was still in the displaced file; ours moved, and Label
/// Studio wrote it back from memory: the import was lost, and our task stood there twice.
#[test]
fn c09_ours_written_back_under_the_id_it_has_left_is_taken_out_again() {
    let ops = [Import, Source(true), Meanwhile(When::Into, Act::Import), Put(0, 5), Source(true), List, Source(true)];
    for blobs in [true, false] {
        ends_well(blobs, &[ops.as_slice(), &[Delete(0), Source(true)]].concat());
    }
}

/// The same, where ours stood under that id once more in a displaced file that was found at the start.
#[test]
fn c09_what_moved_away_is_no_import() {
    ends_well(false, &[Meanwhile(When::Into, Act::Import), Put(4, 8), Source(true), Source(true), Restart]);
}

/// The push was refused, as somebody else's object stood there, and then its file and its task were deleted: the
/// object was read in every cycle for ever.
#[test]
fn l26_a_refused_push_ends_with_its_file() {
    let ops = [Other(0, 0), Put(0, 0), Source(true), List, Source(false), Label(0, 0), Target(0), DeleteAll];
    ends_well(true, &ops);
    ends_well(true, &[ops.as_slice(), &[Restart, Import, Label(0, 0)]].concat());
}

/// A write of Label Studio's stops in the middle, and the daemon looks: nothing is pushed, replaced or given.
#[test]
fn l16_l20_what_label_studio_is_writing_is_waited_for() {
    let begun = [Put(0, 0), Put(1, 0), Source(true), List, Label(0, 0), Target(1)];
    for cut in [0, 1, 100, 200, 255] {
        let completion = [Tear(Kind::Completion, cut), Label(0, 1), Target(1), Target(0), Restart, Target(1), Mend];
        ends_well(true, &[begun.as_slice(), &completion].concat());
        for kind in [Kind::Tasks, Kind::Map] {
            let tear = [Put(2, 0), Tear(kind, cut), Import, Source(true), Source(false), Target(1)];
            let ends = [&[Mend][..], &[Restart, Source(true), Mend], &[Restart, Source(true), Label(0, 1)]];
            for end in ends {
                ends_well(true, &[begun.as_slice(), &tear, end].concat());
            }
        }
    }
}

/// Label Studio was in the middle of writing an import into the displaced `tasks.json` when the daemon died: the next
/// one took it for one that holds nothing, and the import was lost.
#[test]
fn c07_a_torn_displaced_file_is_waited_for_also_after_a_restart() {
    // The replacement is between two of these.
    for (cut, gap) in [0, 150].into_iter().flat_map(|cut| (9..19).map(move |gap| (cut, gap))) {
        let ops =
            [Put(0, 0), Source(true), List, Put(1, 0), Tear(Kind::Tasks, cut), Meanwhile(When::Into, Act::Import)];
        ends_well(true, &[ops.as_slice(), &[Crash(Side::Near, gap), Source(true), Restart, Source(true)]].concat());
    }
}

/// `tasks.json` was another file than the ledger knew, with ids after all that it knew: what stood there under a task's id
/// was taken for a later version of the task, as after an old ledger was put back, and an import was written over.
#[test]
fn c09_an_import_in_a_file_made_anew_is_no_later_version_of_a_task() {
    let imports = [Import, Import, Import, Label(0, 0), Restart, Source(true)];
    // It is lost with a task that Label Studio never listed.
    let lost = [Import, Source(true), Put(2, 0), Source(true), Anew(Files::Both)];
    ends_well(false, &[lost.as_slice(), &imports].concat());
    // While labelsync is down, the project is copied to another place, or somebody begins anew.
    let down = [Put(0, 0), Put(1, 0), Source(true), List, Source(false), Crash(Side::Near, 1), Source(false)];
    ends_well(false, &[down.as_slice(), &[Anew(Files::Tasks), Delete(1)], &imports].concat());
    ends_well(false, &[down.as_slice(), &[Anew(Files::Both), Anew(Files::Map)], &imports].concat());
}

/// A task that was to be written again, as `tasks.json` was lost, became an object's, and with that counted as written:
/// it came back with the next start only.
#[test]
fn l17_a_task_that_an_object_gets_back_is_still_to_be_written() {
    let ops = [Source(true), Put(1, 3), Put(3, 1), Anew(Files::Both), ImportTwin(1), Restart, Anew(Files::Both)];
    ends_well(false, &ops);
}

/// The same, and Label Studio had written back from memory what the task had been before: the object got a second task.
#[test]
fn l35_data_that_a_task_once_had_are_no_imports() {
    let begun =
        [Put(0, 0), Put(1, 0), Put(3, 1), Source(true), Put(1, 3), Meanwhile(When::Before, Act::List), Source(true)];
    let down = [Delete(3), ImportTwin(3), Crash(Side::Near, 4), Source(false), Anew(Files::Tasks)];
    ends_well(false, &[begun.as_slice(), &down].concat());
}

/// Label Studio had a completion open that another one from the target took the place of, and wrote into it, also only a part
/// at first: what its user saved last stays.
#[test]
fn l23_what_is_saved_while_another_completion_is_brought_in_stays() {
    let begun = [Put(0, 0), Source(true), List, Label(0, 0), Target(1), Other(0, 1), MeanwhileLabel(When::Into)];
    for blobs in [true, false] {
        ends_well(blobs, &[begun.as_slice(), &[Target(1)]].concat());
        for cut in [0, 100, 255] {
            let torn = [Tear(Kind::Completion, cut), Target(1), Target(0)];
            for end in [&[Mend, Target(1)][..], &[Restart, Target(1), Mend], &[Label(0, 1), Target(1)]] {
                ends_well(blobs, &[begun.as_slice(), &torn, end].concat());
            }
        }
    }
}
