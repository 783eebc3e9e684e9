//! Local copies: hostile keys, damaged bodies, limits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use labelsync::names::{ETag, Key};
use labelsync::project::copies::{Copies, CopyLimits, CopyPath, ManifestLine};
use labelsync::project::files::{Dir, FileError, FileErrorKind};
use libtest_mimic::Trial;
use proptest::prelude::*;

use super::support::{names, project, test};

const ROOMY: CopyLimits = CopyLimits { max_bytes: 1 << 30, free_kept_bytes: 1 << 20 };

pub fn trials() -> Vec<Trial> {
    vec![
        test("l67_no_key_leads_outside_the_copies", no_key_leads_outside),
        test("l67_a_link_among_the_copies_is_not_followed", links_are_not_followed),
        test("l68_keys_with_two_dots_are_copied", two_dots_are_allowed),
        test("l69_two_keys_never_share_a_copy", keys_never_share),
        test("l74_short_long_or_changed_bodies_are_never_visible", damaged_bodies_are_never_visible),
        test("copies_are_bounded_in_size_and_leave_free_space", copies_are_bounded),
        test("copies_are_replaced_removed_and_measured_again", copies_are_accounted_for),
        test("the_manifest_says_whose_copy_a_file_is", the_manifest_names_keys),
    ]
}

fn etag(text: &str) -> ETag {
    ETag::new(text)
}

fn copy(copies: &Copies, key: &Key, body: &[u8]) -> Result<CopyPath, FileError> {
    let size = body.len() as u64;
    let copied = copies.store(key, &etag("e"), size, |out| out.write_all(body).map(|()| etag("e")))?;
    Ok(copied.path)
}

fn hostile_keys() -> Vec<Key> {
    let long = "x".repeat(300);
    let keys = [
        "../x",
        "a/../../x",
        "/abs",
        "/etc/passwd",
        "a/./b",
        "a\0b",
        "..",
        ".",
        "~",
        "~/x",
        "%2e%2e/x",
        "%2e%2e%2fx",
        "..%2fx",
        "a//b",
        "a/b",
        "a",
        "a/",
        "dir/",
        "",
        "/",
        "//",
        "\\..\\x",
        "C:\\x",
        "x.jpg/../../y.jpg",
        "a.\u{202e}gpj",
        "a.j/pg",
        "a.\n",
        "x.tmp",
        "manifest.jsonl",
        "tmp/0.lsd-tmp",
        "$(touch x)",
        "é.jpg",
        "e\u{301}.jpg",
        &long,
    ];
    keys.map(Key::new).to_vec()
}

/// Every path below a directory with the bytes of each file.
fn tree(path: &Path, prefix: &str, into: &mut BTreeMap<String, Vec<u8>>) {
    for name in names(path) {
        let (at, shown) = (path.join(&name), format!("{prefix}/{name}"));
        if at.is_dir() && !at.is_symlink() {
            tree(&at, &shown, into);
        } else {
            into.insert(shown, fs::read(&at).unwrap_or_default());
        }
    }
}

fn no_key_leads_outside() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("annotations/project");
    fs::create_dir_all(&path).unwrap();
    for (at, body) in [("x", "1"), ("annotations/x", "2"), ("annotations/project/x", "3")] {
        fs::write(outer.path().join(at), body).unwrap();
    }
    let snapshot = || {
        let mut all = BTreeMap::new();
        tree(outer.path(), "", &mut all);
        all.retain(|name, _| !name.starts_with("/annotations/project/source/"));
        all
    };
    let before = snapshot();
    let copies = Copies::open(&Dir::open(&path).unwrap(), ROOMY, None).unwrap();
    for (n, key) in hostile_keys().iter().enumerate() {
        let placed = copy(&copies, key, n.to_string().as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(path.join(placed.to_string())).unwrap(), n.to_string(), "{key}");
    }
    assert_eq!(snapshot(), before);
    for (n, key) in hostile_keys().iter().enumerate() {
        let at = path.join(CopyPath::of(key).to_string());
        assert_eq!(fs::read_to_string(at).unwrap(), n.to_string(), "{key} was overwritten by another key");
    }
}

fn links_are_not_followed() {
    let (temp, dir) = project();
    let outside = tempfile::tempdir().unwrap();
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    let key = Key::new("a.jpg");
    let placed = CopyPath::of(&key).to_string();
    let shard = temp.path().join(&placed).parent().unwrap().to_owned();
    symlink(outside.path(), &shard).unwrap();
    assert_eq!(copy(&copies, &key, b"x").unwrap_err().kind, FileErrorKind::NotAFile);
    fs::remove_file(&shard).unwrap();
    fs::create_dir(&shard).unwrap();
    fs::write(outside.path().join("victim"), "untouched").unwrap();
    symlink(outside.path().join("victim"), temp.path().join(&placed)).unwrap();
    assert_eq!(copy(&copies, &key, b"x").unwrap_err().kind, FileErrorKind::NotAFile);
    assert_eq!(names(outside.path()), ["victim"]);
    assert_eq!(fs::read(outside.path().join("victim")).unwrap(), b"untouched");
    assert_eq!(names(&temp.path().join("source/tmp")), Vec::<String>::new());

    fs::remove_dir_all(temp.path().join("source")).unwrap();
    symlink(outside.path(), temp.path().join("source")).unwrap();
    assert_eq!(Copies::open(&dir, ROOMY, None).unwrap_err().kind, FileErrorKind::NotAFile);
}

fn two_dots_are_allowed() {
    let (temp, dir) = project();
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    for (key, ending) in [("file..txt", ".txt"), ("..backup", ".backup"), ("a..b", ".b"), ("x.JPEG", ".jpeg")] {
        let placed = copy(&copies, &Key::new(key), key.as_bytes()).unwrap().to_string();
        assert!(placed.ends_with(ending), "{placed}");
        assert_eq!(fs::read_to_string(temp.path().join(placed)).unwrap(), key);
    }
    for (key, reason) in [("a", "none"), ("a.b/c", "the directory's"), ("a.", "empty"), ("a.längst", "not ASCII")] {
        assert!(!CopyPath::of(&Key::new(key)).to_string().contains('.'), "{key}: {reason}");
    }
    assert_eq!(CopyPath::of(&Key::new("a.123456789")).in_copies().len(), 3 + 64, "a long ending is left out");
}

fn keys_never_share() {
    let tricky = prop_oneof!["[aA/.]{0,6}", "[é\u{65}\u{301}]{0,4}", ".{0,40}", "[a-c/]{0,3}(//|/|)x\\.(jpg|JPG|jPg)"];
    proptest!(ProptestConfig::with_cases(2_000), |(a in tricky.clone(), b in tricky)| {
        let (at_a, at_b) = (CopyPath::of(&Key::new(a.as_str())), CopyPath::of(&Key::new(b.as_str())));
        prop_assert_eq!(a == b, at_a == at_b);
        // Nor on a file system that ignores case or normalises.
        prop_assert_eq!(a == b, at_a.to_string().to_lowercase() == at_b.to_string().to_lowercase());
        prop_assert!(at_a.to_string().is_ascii() && at_a.in_copies().len() <= 3 + 64 + 9);
    });
    let near = ["a//b", "a/b", "a", "a/", "a/b/", "é", "e\u{301}", "A", "x.jpg", "x.JPG", "X.jpg", "a/./b", "./a"];
    let places: BTreeMap<CopyPath, &str> = near.iter().map(|key| (CopyPath::of(&Key::new(*key)), *key)).collect();
    assert_eq!(places.len(), near.len());
}

fn damaged_bodies_are_never_visible() {
    let (temp, dir) = project();
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    let key = Key::new("a.jpg");
    let path = temp.path().join(CopyPath::of(&key).to_string());
    let body = b"0123456789";
    for old in [None, Some(b"old")] {
        if let Some(old) = old {
            copy(&copies, &key, old).unwrap();
        }
        let check = |what: &str| {
            assert_eq!(fs::read(&path).ok().as_deref(), old.map(|old| &old[..]), "{what}");
            assert_eq!(names(&temp.path().join("source/tmp")), Vec::<String>::new(), "{what}");
            assert_eq!(copies.used_bytes(), old.map_or(0, |old| old.len() as u64), "{what}");
        };
        for cut in 0..body.len() {
            let short = copies.store(&key, &etag("1"), 10, |out| out.write_all(&body[..cut]).map(|()| etag("1")));
            assert_eq!(short.unwrap_err().kind, FileErrorKind::Changing);
            check("short");
        }
        let changed = copies.store(&key, &etag("1"), 10, |out| out.write_all(body).map(|()| etag("2")));
        assert_eq!(changed.unwrap_err().kind, FileErrorKind::Changing);
        check("changed");
        let long = copies.store(&key, &etag("1"), 9, |out| out.write_all(body).map(|()| etag("1")));
        assert_eq!(long.unwrap_err().kind, FileErrorKind::Io);
        check("long");
        let reset = copies.store(&key, &etag("1"), 10, |out| {
            out.write_all(&body[..5])?;
            assert_eq!(fs::read(&path).ok().as_deref(), old.map(|old| &old[..]), "half of it is visible");
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        });
        assert!(reset.is_err());
        check("reset");
        let pending = copies.begin(&key, 10).unwrap();
        pending.file().unwrap().write_all(&body[..5]).unwrap();
        drop(pending);
        check("given up");
    }
    let pending = copies.begin(&key, 10).unwrap();
    pending.file().unwrap().write_all(body).unwrap();
    let copied = copies.commit(pending, &etag("1"), &etag("1")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), body);
    assert_eq!(copies.fingerprint(&key).unwrap(), Some(copied.print));
}

fn copies_are_bounded() {
    let (_temp, dir) = project();
    let free = dir.free_bytes().unwrap();
    let copies = Copies::open(&dir, CopyLimits { max_bytes: 10, free_kept_bytes: 0 }, None).unwrap();
    copy(&copies, &Key::new("a"), b"123456").unwrap();
    let full = copy(&copies, &Key::new("b"), b"12345").unwrap_err();
    assert_eq!(full.code(), "copies_full");
    assert!(full.remedy().contains("local_copy_max"));
    let pending = copies.begin(&Key::new("b"), 4).unwrap();
    assert_eq!(copies.begin(&Key::new("c"), 1).unwrap_err().code(), "copies_full", "pending copies count");
    drop(pending);
    copy(&copies, &Key::new("c"), b"1234").unwrap();
    copies.remove(&Key::new("a")).unwrap();
    copy(&copies, &Key::new("b"), b"12345").unwrap();
    let greedy = CopyLimits { max_bytes: u64::MAX, free_kept_bytes: free / 2 };
    let copies = Copies::open(&dir, greedy, None).unwrap();
    assert_eq!(copies.begin(&Key::new("d"), free).unwrap_err().code(), "disk_full");
    copies.begin(&Key::new("d"), 1).unwrap();
}

fn copies_are_accounted_for() {
    let (temp, dir) = project();
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    let key = Key::new("a.jpg");
    copy(&copies, &key, b"12345").unwrap();
    copy(&copies, &key, b"1234567").unwrap();
    copy(&copies, &Key::new("b"), b"1").unwrap();
    assert_eq!(copies.used_bytes(), 8);
    fs::write(temp.path().join("source/tmp/9.lsd-tmp"), "from a crash").unwrap();
    drop(copies);
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    assert_eq!(copies.used_bytes(), 8);
    assert_eq!(names(&temp.path().join("source/tmp")), Vec::<String>::new());
    for _ in 0..2 {
        copies.remove(&key).unwrap();
        assert_eq!(copies.used_bytes(), 1);
        assert_eq!(copies.fingerprint(&key).unwrap(), None);
    }
}

fn the_manifest_names_keys() {
    let (temp, dir) = project();
    let copies = Copies::open(&dir, ROOMY, None).unwrap();
    let lines = || -> Vec<ManifestLine> {
        let text = fs::read_to_string(temp.path().join("source/manifest.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let key = Key::new("a\n\"b\".jpg");
    let line = ManifestLine::of(&key, &etag("e"));
    copy(&copies, &key, b"x").unwrap();
    assert_eq!(lines(), std::slice::from_ref(&line));
    copies.remove(&key).unwrap();
    assert_eq!(lines()[1], ManifestLine { file: CopyPath::of(&key).in_copies(), key: None, etag: None });
    copies.rewrite_manifest(std::iter::once(line.clone())).unwrap();
    assert_eq!(lines(), [line]);
    assert!(!copies.manifest_is_long());
    assert!(!names(&temp.path().join("source")).iter().any(|name| name.contains("lsd")));
}
