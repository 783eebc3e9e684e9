//! What only a directory can do wrong; what all stores promise is in `tests/stores.rs`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::listing::{Order, collect};
use super::*;

const LIMIT: u64 = 1 << 20;

fn store() -> (tempfile::TempDir, LocalStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = LocalStore::open(dir.path()).expect("a store");
    (dir, store)
}

async fn keys(store: &LocalStore, prefix: &str, one_level: bool) -> Vec<String> {
    let request = ListRequest { prefix: prefix.into(), one_level };
    let all = collect(store, &request, &Order::Check).await.expect("a listing");
    all.into_iter().map(|object| object.key.as_str().to_owned()).collect()
}

async fn put(store: &LocalStore, key: &str) -> Result<ETag, StoreError> {
    store.put(&Key::new(key), Bytes::from(key.to_owned()), &Precondition::Absent).await
}

fn kind<T: fmt::Debug>(outcome: Result<T, StoreError>) -> Kind {
    outcome.expect_err("an error").kind
}

#[tokio::test]
async fn l31_links_pipes_sockets_and_directories_are_no_objects() {
    let (dir, store) = store();
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("secret"), "secret").expect("written");
    std::fs::create_dir(dir.path().join("empty")).expect("made");
    symlink(outside.path().join("secret"), dir.path().join("link")).expect("linked");
    symlink(outside.path(), dir.path().join("way")).expect("linked");
    symlink("/nowhere", dir.path().join("dangling")).expect("linked");
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
        .expect("a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
    std::fs::write(dir.path().join("file"), "x").expect("written");
    assert_eq!(keys(&store, "", false).await, ["file"]);
    assert_eq!(keys(&store, "way/", false).await, [""; 0]);
    for key in ["link", "way/secret", "dangling", "pipe", "socket", "empty", "file/below", "none"] {
        let key = Key::new(key);
        assert_eq!(kind(store.get(&key, LIMIT).await), Kind::ObjectMissing, "{key}");
        assert_eq!(store.head(&key).await.expect("looked up"), None, "{key}");
    }
    for key in ["link", "way/new", "file/below", "empty", "pipe"] {
        let outcome = kind(put(&store, key).await);
        assert!(matches!(outcome, Kind::UnsupportedKey), "{key}: {outcome:?}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).expect("read").count(), 1, "nothing was written outside");
}

#[tokio::test]
async fn l67_a_key_that_leads_outside_is_refused() {
    let (dir, store) = store();
    for key in ["../x", "a/../../x", "/etc/passwd", "..", ".", "", "a//b", "dir/", "a/./b", "nul\0", ".labelsync-lock"]
    {
        let key = Key::new(key);
        assert_eq!(kind(store.get(&key, LIMIT).await), Kind::UnsupportedKey, "{key}");
        assert_eq!(kind(put(&store, key.as_str()).await), Kind::UnsupportedKey, "{key}");
        assert_eq!(store.head(&key).await.expect("looked up"), None, "{key}");
        store.delete(&key, &ETag::new("x")).await.expect("gone already");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
}

#[tokio::test]
async fn names_that_are_not_utf8_are_left_out() {
    let (dir, store) = store();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"a\xff")), "x").expect("written");
    std::fs::write(dir.path().join("b"), "x").expect("written");
    assert_eq!(keys(&store, "", false).await, ["b"]);
}

#[tokio::test]
async fn a_listing_is_in_the_order_of_whole_keys() {
    let (_dir, store) = store();
    let sorted = ["a-b", "a.b", "a/b", "a/c/d", "a/c0", "a0", "b", "é/x"];
    for key in sorted.iter().rev() {
        put(&store, key).await.expect("written");
    }
    assert_eq!(keys(&store, "", false).await, sorted);
    assert_eq!(keys(&store, "a", false).await, ["a-b", "a.b", "a/b", "a/c/d", "a/c0", "a0"]);
    assert_eq!(keys(&store, "a", true).await, ["a-b", "a.b", "a0"]);
    assert_eq!(keys(&store, "a/", true).await, ["a/b", "a/c0"]);
    assert_eq!(keys(&store, "a/c", false).await, ["a/c/d", "a/c0"]);
    for none in ["a//", "/", "//", "../", "a/b/", "none/", "a/../a"] {
        assert_eq!(keys(&store, none, false).await, [""; 0], "{none}");
    }
}

#[tokio::test]
async fn a_page_token_holds_when_its_walk_is_forgotten() {
    let (_dir, store) = store();
    let mut all: Vec<String> = (0..2100).map(|number| format!("d{}/{number:04}", number % 3)).collect();
    for key in &all {
        std::fs::create_dir_all(store.inner.dir.join(&key[..2])).expect("made");
        std::fs::write(store.inner.dir.join(key), "").expect("written");
    }
    all.sort();
    let request = ListRequest::default();
    let first = store.list_page(&request, None).await.expect("a page");
    let again = LocalStore::open(&store.inner.dir).expect("another store, without the walk");
    for store in [&store, &again, &store] {
        let second = store.list_page(&request, first.next.as_ref()).await.expect("a page");
        let third = store.list_page(&request, second.next.as_ref()).await.expect("a page");
        assert_eq!(third.next, None);
        let pages = [&first, &second, &third].into_iter().flat_map(|page| page.objects.iter());
        assert!(pages.map(|object| object.key).eq(all.iter().map(String::as_str)));
    }
    assert_eq!(kind(store.list_page(&request, Some(&PageToken::Next("nonsense".into()))).await), Kind::Malformed);
}

#[tokio::test]
async fn l1_a_directory_that_cannot_be_read_fails_the_listing() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything: a root that is gone is what can be tested.
        let (dir, store) = store();
        dir.close().expect("removed");
        assert_eq!(kind(store.list_page(&ListRequest::default(), None).await), Kind::BucketMissing);
        return;
    }
    let (dir, store) = store();
    put(&store, "shut/x").await.expect("written");
    let shut = dir.path().join("shut");
    std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o0)).expect("shut");
    assert_eq!(kind(store.list_page(&ListRequest::default(), None).await), Kind::Io);
    std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("opened");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_not_an_empty_one() {
    let (dir, store) = store();
    dir.close().expect("removed");
    let key = Key::new("x");
    assert_eq!(kind(store.list_page(&ListRequest::default(), None).await), Kind::BucketMissing);
    let error = store.get(&key, LIMIT).await.expect_err("it is gone").to_string();
    assert!(error.contains(store.root()) && !error.contains("/data/"), "{error}");
    assert_eq!(kind(store.head(&key).await), Kind::BucketMissing);
    assert_eq!(kind(put(&store, "x").await), Kind::BucketMissing);
    assert_eq!(kind(store.delete(&key, &ETag::new("x")).await), Kind::BucketMissing);
}

#[tokio::test]
async fn l22_a_file_is_never_given_out_half_old_half_new() {
    let (dir, store) = store();
    let path = dir.path().join("x");
    std::fs::write(&path, vec![b'a'; 100_000]).expect("written");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            for letter in (b'a'..=b'z').cycle() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
                for part in vec![letter; 100_000].chunks(10_000) {
                    std::io::Write::write_all(&mut file, part).expect("written");
                }
                drop(file);
                std::thread::sleep(std::time::Duration::from_millis(u64::from(letter % 9) * 10));
            }
        }
    });
    let (mut whole, mut changing) = (0, 0);
    for _ in 0..60 {
        match store.get(&Key::new("x"), LIMIT).await {
            Ok(object) => {
                whole += 1;
                assert!(object.bytes.iter().all(|byte| *byte == object.bytes[0]), "torn");
            }
            Err(error) => {
                changing += 1;
                assert_eq!(error.kind, Kind::Malformed, "{error}");
            }
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("the writer ended");
    assert!(whole > 0, "of 60 reads {changing} saw a change");
}

#[tokio::test]
async fn l42_leftovers_of_a_crash_are_removed_and_never_listed() {
    let (dir, store) = store();
    put(&store, "a").await.expect("written");
    let left = dir.path().join(".labelsync-tmp/left");
    std::fs::write(&left, "half").expect("written");
    assert_eq!(keys(&store, "", false).await, ["a"]);
    let (root, busy) = (beneath::open_root(dir.path()), beneath::open_root(&dir.path().join(".labelsync-tmp")));
    let busy = busy.expect("opened");
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockShared).expect("locked");
    write::sweep(root.expect("opened").as_fd()).expect("not swept");
    assert!(left.exists(), "a write is under way");
    drop(busy);
    LocalStore::open(dir.path()).expect("a store");
    assert!(!left.exists());
    assert_eq!(std::fs::read_dir(dir.path().join(".labelsync-tmp")).expect("read").count(), 0, "no write left its own");
}
