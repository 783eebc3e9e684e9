//! What `walk` promises, on a store in memory with faults.

use std::sync::Arc;

use super::*;
use crate::store::faulty::{Faults, Faulty, ListingFault};
use crate::store::memory::MemoryStore;

fn store_of(keys: &[&str], page_objects: usize) -> (Faulty<MemoryStore>, Faults) {
    let store = MemoryStore::new("s3://bucket").with_page_objects(page_objects);
    for key in keys {
        store.insert(&Key::new(*key), key.as_bytes().to_vec());
    }
    Faulty::new(store)
}

fn keys(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|object| object.key.as_str()).collect()
}

const KEYS: [&str; 7] = ["Z", "a", "a-b", "a/b", "a/c/d", "z", "é"];

#[tokio::test]
async fn a_listing_is_passed_on_in_byte_order_whatever_the_page_size() {
    for page_objects in 1..=8 {
        let (store, _) = store_of(&KEYS, page_objects);
        let dir = tempfile::tempdir().expect("a directory");
        for order in [Order::Check, Order::Sort(dir.path().to_owned())] {
            let all = collect(&store, &ListRequest::default(), &order).await.expect("a listing");
            assert_eq!(keys(&all), KEYS);
        }
    }
}

#[tokio::test]
async fn l1_a_listing_that_fails_at_any_page_is_not_complete() {
    let pages = 4;
    for failing in 1..=pages {
        let (store, faults) = store_of(&KEYS, 2);
        faults.fail_page(failing, StoreErrorKind::Unreachable);
        let error = collect(&store, &ListRequest::default(), &Order::Check).await.expect_err("page fails");
        assert!(matches!(error, ListingError::Store(error) if error.kind == StoreErrorKind::Unreachable));
        assert_eq!(faults.requests().pages, failing);
    }
    let (store, faults) = store_of(&KEYS, 2);
    collect(&store, &ListRequest::default(), &Order::Check).await.expect("a listing");
    assert_eq!(faults.requests().pages, pages, "the loop above failed every page");
}

#[tokio::test]
async fn l4_the_same_token_twice_ends_in_an_error_after_two_requests() {
    let dir = tempfile::tempdir().expect("a directory");
    for order in [Order::Check, Order::Sort(dir.path().to_owned())] {
        let (store, faults) = store_of(&KEYS, 2);
        faults.listing(ListingFault::RepeatToken);
        let error = collect(&store, &ListRequest::default(), &order).await.expect_err("a repeated token");
        assert!(matches!(error, ListingError::Store(error) if error.kind == StoreErrorKind::Malformed));
        assert_eq!(faults.requests().pages, 2);
    }
}

#[tokio::test]
async fn l4_empty_pages_for_ever_end_in_an_error() {
    let (store, faults) = store_of(&KEYS, 2);
    faults.listing(ListingFault::EmptyPages);
    let error = collect(&store, &ListRequest::default(), &Order::Check).await.expect_err("no progress");
    assert!(matches!(error, ListingError::Store(error) if error.kind == StoreErrorKind::Malformed));
    assert_eq!(faults.requests().pages, u64::from(MAX_EMPTY_PAGES));
}

#[test]
fn l4_a_circle_of_tokens_of_any_length_is_found() {
    for lead in 0..20_u32 {
        for length in 1..20_u32 {
            let mut circle = Circle::default();
            let token = |step: u32| if step < lead { step } else { lead + (step - lead) % length };
            let found = (0..200).find(|&step| circle.closes(&PageToken::Next(token(step).to_string())));
            let found = found.expect("a circle is found");
            assert!(found >= lead + length, "nothing came twice before step {found}");
            assert!(found <= 3 * (lead + length) + 2, "late: {found} for {lead} and {length}");
        }
    }
}

#[tokio::test]
async fn l5_a_listing_out_of_order_is_noticed_and_can_be_sorted() {
    let (store, faults) = store_of(&KEYS, 3);
    faults.listing(ListingFault::Reversed);
    let error = collect(&store, &ListRequest::default(), &Order::Check).await.expect_err("disorder");
    assert!(matches!(error, ListingError::OutOfOrder { after } if after.as_str() == "a"));
    let dir = tempfile::tempdir().expect("a directory");
    let all = collect(&store, &ListRequest::default(), &Order::Sort(dir.path().to_owned())).await.expect("sorted");
    assert_eq!(keys(&all), KEYS);
    let direct = collect(store.inner(), &ListRequest::default(), &Order::Check).await.expect("a listing");
    assert_eq!(all, direct, "versions and sizes survive sorting");
}

#[tokio::test]
async fn more_than_a_page_is_sorted() {
    let store = MemoryStore::new("s3://bucket").with_page_objects(700);
    for number in 0..2500 {
        store.insert(&Key::new(format!("{number:04}")), "");
    }
    let (store, faults) = Faulty::new(store);
    faults.listing(ListingFault::Reversed);
    let dir = tempfile::tempdir().expect("a directory");
    let all = collect(&store, &ListRequest::default(), &Order::Sort(dir.path().to_owned())).await.expect("sorted");
    assert_eq!(all.len(), 2500);
    assert!(all.windows(2).all(|pair| pair[0].key < pair[1].key));
}

#[tokio::test]
async fn a_sorting_file_leaves_nothing_behind_and_clears_what_a_crash_left() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("listing-of-a-crash"), "x").expect("written");
    std::fs::write(dir.path().join("ledger.sqlite"), "x").expect("written");
    let (store, _) = store_of(&KEYS, 3);
    let (sender, mut receiver) = mpsc::channel(PAGES_AHEAD);
    let order = Order::Sort(dir.path().to_owned());
    let request = ListRequest::default();
    let look = async {
        receiver.recv().await.expect("the first page");
        let names: Vec<_> =
            std::fs::read_dir(dir.path()).expect("read").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names, ["ledger.sqlite"], "while it is sorted the file has no name");
    };
    let mut marks = Marks::default();
    let (complete, ()) = tokio::join!(walk(&store, &request, &order, &mut marks, sender), look);
    complete.expect("sorted");
}

#[tokio::test]
async fn a_directory_that_cannot_hold_the_sorting_file_is_named() {
    let (store, _) = store_of(&KEYS, 3);
    let order = Order::Sort("/nowhere/at/all".into());
    let error = collect(&store, &ListRequest::default(), &order).await.expect_err("no directory");
    assert!(matches!(&error, ListingError::Sort { dir, .. } if dir == "/nowhere/at/all"), "{error}");
}

#[tokio::test]
async fn a_full_channel_holds_the_walk_back_and_a_closed_one_ends_it() {
    let (store, faults) = store_of(&KEYS, 1);
    let store = Arc::new(store);
    let (sender, mut receiver) = mpsc::channel(PAGES_AHEAD);
    let walking = tokio::spawn({
        let store = Arc::clone(&store);
        async move { walk(&*store, &ListRequest::default(), &Order::Check, &mut Marks::default(), sender).await }
    });
    receiver.recv().await.expect("the first page");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(faults.requests().pages <= 3, "one taken, one in the channel, one waiting");
    drop(receiver);
    let error = walking.await.expect("no panic").expect_err("nobody listens");
    assert!(matches!(error, ListingError::GivenUp));
}

#[tokio::test]
async fn an_empty_listing_is_complete() {
    let (store, faults) = store_of(&[], 3);
    assert_eq!(collect(&store, &ListRequest::default(), &Order::Check).await.expect("complete"), []);
    assert_eq!(faults.requests().pages, 1);
}
