//! Plans of the source.

use labelsync::settings::{OnChanged, OnRemoved};
use labelsync::sync::action::Form;

use crate::golden::golden;
use crate::scene::{Held, Scene};

#[test]
fn l12_first_mirror_then_nothing_to_do() {
    let mut scene = Scene::new();
    for key in ["img/b.jpg", "img/a.jpg", "img/10.jpg", "img/2.jpg", "a-b", "é", "Z"] {
        scene.put(key, "x");
    }
    scene.step("first mirror: ids in byte order");
    scene.step("nothing to do");
    scene.put("img/15.jpg", "x").step("one more, in the middle: the next id");
    golden("first_mirror", scene.text());
}

#[test]
fn l18_a_changed_object_keeps_its_id() {
    let mut blobs = Scene::new();
    blobs.put("a", "1").put("b", "1").step("blobs");
    blobs.put("a", "2").step("a blob has changed: its URL has not");
    golden("changed_blob", blobs.text());
    let mut json = Scene::new().json();
    json.put("a", "1").put("b", "1").step("JSON tasks");
    json.put("a", "2").step("one has changed, on_changed = update");
    json.policy.on_changed = OnChanged::Keep;
    json.put("b", "2").step("one has changed, on_changed = keep");
    json.policy.on_changed = OnChanged::Update;
    json.step("nothing to do");
    golden("changed_json", json.text());
}

#[test]
fn l06_a_removed_object_keeps_or_hides_its_task() {
    let mut scene = Scene::new();
    scene.put("a", "1").put("b", "1").put("c", "1").step("first mirror");
    scene.remove("a").step("removed, on_removed = keep");
    scene.step("nothing to do");
    scene.policy.on_removed = OnRemoved::Hide;
    scene.remove("b").step("removed, on_removed = hide: also what was gone before");
    scene.step("nothing to do");
    scene.put("a", "2").put("b", "1").step("both are back, under their ids");
    scene.policy.on_removed = OnRemoved::Keep;
    scene.regex(Some("[ab]")).remove("a").remove("b").step("removed again");
    scene.regex(Some("nothing")).step("deselected");
    scene.regex(Some(".*")).step("selected again: the tasks stay, as their objects' going hid none");
    scene.step("nothing to do");
    scene.regex(Some("nothing")).step("deselected");
    scene.policy.on_removed = OnRemoved::Hide;
    scene.regex(Some(".*")).step("selected again with on_removed = hide: known as removed");
    scene.step("nothing to do");
    scene.policy.on_removed = OnRemoved::Keep;
    scene.step("what is known as removed waits for its object");
    golden("removed", scene.text());
}

#[test]
fn l13_a_regex_narrowed_and_widened_renumbers_nothing() {
    let mut scene = Scene::new();
    scene.put("a.jpg", "1").put("b.png", "1").put("c.jpg", "1").put("d.png", "1").step("first mirror");
    let before = ["a.jpg", "b.png", "c.jpg", "d.png"].map(|key| scene.id(key));
    scene.regex(Some(r".*\.png")).step("narrowed");
    scene.step("nothing to do");
    scene.put("a.jpg", "2").put("e.jpg", "1").remove("c.jpg").step("what is not selected may change");
    scene.regex(None).step("no regex: nothing is selected");
    scene.regex(Some(".*")).put("c.jpg", "1").step("widened");
    scene.step("nothing to do");
    assert_eq!(["a.jpg", "b.png", "c.jpg", "d.png"].map(|key| scene.id(key)), before);
    golden("regex", scene.text());
}

#[test]
fn l13_another_prefix_renumbers_nothing() {
    let mut scene = Scene::new();
    scene.prefix("in", true).put("in/a", "1").put("in/deep/b", "1").put("other/c", "1").put("input", "1");
    scene.step("in/, all levels");
    scene.prefix("in/", false).step("in/, one level");
    scene.prefix("other", true).step("other/");
    scene.prefix("", true).step("everything");
    golden("prefix", scene.text());
}

#[test]
fn l10_target_objects_and_directory_markers_are_no_tasks() {
    let mut scene = Scene::new();
    scene.own_target("done/").own_target("");
    for key in ["done/0", "done/12", "done/x", "7", ".labelsync/owner/done", "img/a"] {
        scene.put(key, "1");
    }
    scene.put("img/", "").put("full/", "1").put("/a", "1").put("q?x", "1").put("tab\t", "1");
    scene.step("own_target, directory_marker, unresolvable_url");
    scene.own_target("img/").put("img/3", "1").step("a target prefix is set after the source");
    golden("own_target", scene.text());
    let mut late = Scene::new();
    late.put("done/0", "1").step("before it was a target");
    late.own_target("done/").step("after: its task is hidden");
    golden("own_target_late", late.text());
}

#[test]
fn l34_a_quarantined_object_is_tried_again_in_another_version() {
    let mut scene = Scene::new().json();
    scene.put("a", "bad").put("b", "1").put("c", "gone").step("a is bad, c vanished while it was read");
    scene.step("not tried again; c is");
    scene.put("a", "2").put("b", "bad").put("c", "3").step("a is good now, b has become bad: its task stays");
    scene.step("nothing to do");
    scene.put("a", "bad").put("d", "bad").step("bad ones");
    scene.put("b", "4").remove("d").step("b is good again, d is gone");
    golden("quarantined", scene.text());
}

#[test]
fn another_data_key_is_for_tasks_without_completions() {
    let mut scene = Scene::new();
    scene.put("a", "1").put("b", "1").step("data_key image");
    scene.policy.form = Form::Blob { data_key: "photo".to_owned() };
    scene.completed = vec![1];
    scene.put("c", "1").step("data_key photo; task 1 has completions");
    scene.put("b", "2").step("task 1 keeps its data");
    scene.completed.clear();
    scene.step("its completions were deleted");
    golden("data_key", scene.text());
}

#[test]
fn l34_a_blob_that_is_no_json_task_is_tried_once() {
    let mut scene = Scene::new();
    scene.put("a", "bad").put("b", "1").step("blobs");
    scene.policy.form = Form::Json;
    scene.step("use_blob_urls = false: one is no JSON task");
    scene.step("nothing to do");
    scene.put("a", "2").step("it is one now");
    golden("blobs_to_json", scene.text());
}

#[test]
fn l03_a_mass_removal_is_held() {
    let mut scene = Scene::new();
    scene.policy.on_removed = OnRemoved::Hide;
    for n in 0..20 {
        scene.put(&format!("{n:02}"), "1");
    }
    scene.step("20 objects");
    for n in 0..11 {
        scene.remove(&format!("{n:02}"));
    }
    scene.put("new", "1");
    assert!(scene.step("11 of 20 are gone: nothing is done, also not for the new one") == Held::Yes);
    scene.put("00", "1");
    assert!(scene.step("10 of 20 are gone: half is believed") == Held::No);
    golden("mass_removal", scene.text());
    let mut scene = Scene::new();
    for n in 0..12 {
        scene.put(&format!("{n:02}"), "1");
    }
    scene.regex(Some("0")).step("10 of 12 are selected");
    for n in 0..10 {
        scene.remove(&format!("{n:02}"));
    }
    scene.step("all that were selected are gone, others are listed");
    scene.accepted("the same, accepted");
    golden("mass_removal_accepted", scene.text());
}

#[test]
fn l07_a_mass_change_is_held() {
    let mut scene = Scene::new().json();
    let all = |scene: &mut Scene, numbers: std::ops::Range<u32>, body: &str| {
        for n in numbers {
            scene.put(&format!("{n:02}"), &format!("{body} {n}"));
        }
    };
    all(&mut scene, 0..20, "old");
    scene.step("20 objects");
    all(&mut scene, 0..10, "new");
    assert!(scene.step("10 of 20 have changed: half is believed") == Held::No);
    all(&mut scene, 0..11, "newer");
    scene.put("new", "1");
    assert!(scene.step("11 of 20 have changed: nothing is done, also not for the new one") == Held::Yes);
    scene.accepted("the same, accepted: every task keeps its id");
    for n in 11..17 {
        scene.remove(&format!("{n:02}"));
    }
    all(&mut scene, 0..10, "of another bucket");
    assert!(scene.step("6 of 21 are gone, and of those that are there 10 of 15 are others") == Held::Yes);
    golden("mass_change", scene.text());
}

#[test]
fn l13_a_narrower_regex_is_no_mass_removal() {
    let mut scene = Scene::new();
    for n in 0..12 {
        scene.put(&format!("{n:02}"), "1");
    }
    scene.step("12 objects");
    assert!(scene.regex(Some("nothing")).step("the operator deselected all of them") == Held::No);
    golden("deselected_all", scene.text());
}

#[test]
fn l02_an_empty_listing_is_held() {
    let mut scene = Scene::new();
    scene.step("an empty bucket at the start");
    scene.put("a", "1").put("b", "1").step("two objects");
    scene.remove("a").remove("b");
    assert!(scene.step("nothing is listed") == Held::Yes);
    assert!(scene.step("still nothing: the same hold") == Held::Yes);
    scene.accepted("accepted");
    scene.step("nothing to do");
    scene.put("a", "1").step("one is back");
    golden("empty_listing", scene.text());
}

#[test]
fn l01_a_listing_that_fails_at_any_page_seals_nothing() {
    let mut scene = Scene::with_page_objects(2);
    for n in 0..9 {
        scene.put(&n.to_string(), "1");
    }
    scene.step("9 objects, 5 pages");
    let index = scene.index.clone();
    for key in 0..4 {
        scene.remove(&key.to_string());
    }
    for page in 1..=3 {
        assert!(scene.fails_at_page(page).is_err(), "page {page} failed");
    }
    assert_eq!(scene.index, index);
    scene.step("whole again");
    golden("failed_listing", scene.text());
}

#[test]
fn a_returned_object_gets_its_old_id() {
    let mut scene = Scene::new().json();
    scene.policy.on_removed = OnRemoved::Hide;
    scene.put("a", "1").put("b", "1").put("c", "1").step("first mirror");
    scene.remove("a").remove("b").step("two are removed");
    let same = scene.index.values().next().unwrap().etag.clone();
    scene.put("a", "2").put("b", "bad").step("both return: another version, a bad one");
    assert_ne!(scene.index.values().next().unwrap().etag, same);
    scene.step("the bad one shows its old task");
    golden("returned", scene.text());
}

#[test]
fn l12_a_retired_key_gets_no_task_again() {
    let mut scene = Scene::new();
    scene.put("a", "1").put("b", "1").step("first mirror");
    scene.retire("a").step("the user deleted task 0");
    scene.put("a", "2").step("its object changes");
    scene.remove("a").step("its object goes");
    scene.put("a", "1").put("c", "1").step("its object returns; another gets a new id");
    golden("retired", scene.text());
}

#[test]
fn an_imported_url_is_a_duplicate() {
    let mut scene = Scene::new();
    scene.imported.push("s3://b/a".to_owned());
    scene.put("a", "1").put("b", "1").step("somebody imported s3://b/a by hand");
    scene.step("told again, no id given");
    scene.imported.clear();
    scene.step("the import was deleted");
    golden("duplicate", scene.text());
}

#[test]
fn l14_page_sizes_make_no_difference() {
    let plan = |page_objects| {
        let mut scene = Scene::with_page_objects(page_objects);
        for n in 0..13 {
            scene.put(&format!("k{}", (n * 7) % 13), "1");
        }
        scene.step("first mirror");
        for n in [3, 5, 12] {
            scene.remove(&format!("k{n}"));
        }
        scene.put("k", "1").put("k55", "1").put("z", "1").step("some go, some come");
        scene.text().to_owned()
    };
    let first = plan(1);
    golden("page_sizes", &first);
    for page_objects in 2..20 {
        assert_eq!(plan(page_objects), first, "{page_objects} objects a page");
    }
}

#[test]
fn copies_follow_the_versions() {
    let mut scene = Scene::new();
    scene.policy.copies = true;
    scene.put("a", "1").put("b", "1").step("with local copies");
    scene.step("nothing to do");
    scene.put("a", "2").step("a new version");
    golden("copies", scene.text());
}
