//! Reading what another user's process writes, and never what is no plain file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labelsync::project::files::{Dir, EntryKind, FileErrorKind, Fingerprint, IfAbsent, Leftover};
use libtest_mimic::Trial;
use proptest::prelude::*;
use rustix::fs::{CWD, Mode};

use super::child;
use super::support::{StopsOnDrop, names, now, project, test};

pub fn trials() -> Vec<Trial> {
    vec![
        test("l31_links_fifos_sockets_devices_directories_are_never_read", nothing_but_plain_files_is_read),
        test("l31_a_file_swapped_with_a_link_is_never_followed", swapped_files_are_not_followed),
        test("l31_a_directory_swapped_with_a_link_is_never_followed", swapped_directories_are_not_followed),
        test("l31_names_are_single_entries", names_are_single_entries),
        test("l22_a_file_changed_while_it_is_read_is_not_read_half_old_half_new", no_mixture_is_read),
        test("l16_absent_removed_and_too_large_differ", absent_is_not_unreadable),
        test("fingerprints_survive_their_text", fingerprints_survive_their_text),
        test("names_come_with_their_kind_and_are_bounded", names_come_with_their_kind),
        test("l42_leftovers_of_a_crash_are_removed_or_handed_back", leftovers_are_cleaned),
        test("l43_a_lock_excludes_and_dies_with_its_process", locks_exclude),
    ]
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, labelsync::project::files::FileError>) -> FileErrorKind {
    result.unwrap_err().kind
}

fn nothing_but_plain_files_is_read() {
    let (temp, dir) = project();
    let at = |name: &str| temp.path().join(name);
    fs::write(at("secret"), "secret").unwrap();
    symlink("secret", at("1.json")).unwrap();
    symlink("nowhere", at("2.json")).unwrap();
    rustix::fs::mkfifoat(CWD, at("3.json"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("4.json")).unwrap();
    fs::create_dir(at("5.json")).unwrap();
    let started = Instant::now();
    for name in ["1.json", "2.json", "3.json", "4.json", "5.json"] {
        assert_eq!(kind_of(dir.read(name, 100)), FileErrorKind::NotAFile, "{name}");
        assert_eq!(kind_of(dir.open_reader(name)), FileErrorKind::NotAFile, "{name}");
        assert_eq!(kind_of(dir.fingerprint(name)), FileErrorKind::NotAFile, "{name}");
        assert_eq!(kind_of(dir.lock(name, IfAbsent::Create)), FileErrorKind::NotAFile, "{name}");
        assert_eq!(kind_of(super::support::write_new(&dir, name, b"x")), FileErrorKind::NotAFile, "{name}");
    }
    assert_eq!(kind_of(Dir::open(Path::new("/dev")).unwrap().read("null", 100)), FileErrorKind::NotAFile);
    assert!(started.elapsed() < Duration::from_secs(5), "a fifo without a writer must not be waited for");
    symlink(".", at("link")).unwrap();
    for name in ["link", "secret", "3.json"] {
        assert_eq!(kind_of(dir.sub(name, true)), FileErrorKind::NotAFile, "{name}");
    }
    assert_eq!(fs::read(at("secret")).unwrap(), b"secret");
}

/// Puts two things at one name in turn while `look` runs.
fn while_swapping(a: &Path, b: &Path, look: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _stops = StopsOnDrop(&stop);
        look();
    });
}

/// Whether to look once more: 20,000 times, and until both were met, where the two threads share one CPU.
fn many_or_both(looks: &mut u32, read: u32, refused: u32) -> bool {
    *looks += 1;
    *looks <= 20_000 || ((read == 0 || refused == 0) && *looks < 2_000_000)
}

fn swapped_files_are_not_followed() {
    let (temp, dir) = project();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(temp.path().join("1.json"), "{}").unwrap();
    symlink(outside.path().join("secret"), temp.path().join("other")).unwrap();
    let (mut read, mut refused) = (0, 0);
    while_swapping(&temp.path().join("1.json"), &temp.path().join("other"), || {
        let mut looks = 0;
        while many_or_both(&mut looks, read, refused) {
            match dir.read("1.json", 100) {
                Ok(Some(contents)) => {
                    assert_eq!(contents.bytes, b"{}", "the link was followed");
                    read += 1;
                }
                Ok(None) => panic!("one of the two is always there"),
                Err(e) if e.kind == FileErrorKind::NotAFile => refused += 1,
                Err(e) => assert_eq!(e.kind, FileErrorKind::Changing),
            }
        }
    });
    assert!(read > 0 && refused > 0, "the race was not run: {read} read, {refused} refused");
}

fn swapped_directories_are_not_followed() {
    let (temp, dir) = project();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("1.json"), "secret").unwrap();
    fs::create_dir(temp.path().join("completions")).unwrap();
    fs::write(temp.path().join("completions/1.json"), "{}").unwrap();
    symlink(outside.path(), temp.path().join("other")).unwrap();
    let (mut read, mut refused) = (0, 0);
    while_swapping(&temp.path().join("completions"), &temp.path().join("other"), || {
        let mut looks = 0;
        while many_or_both(&mut looks, read, refused) {
            match dir.sub("completions", false).and_then(|dir| dir.read("1.json", 100)) {
                Ok(contents) => {
                    assert_eq!(contents.unwrap().bytes, b"{}", "the link was followed");
                    read += 1;
                }
                Err(e) => {
                    assert_eq!(e.kind, FileErrorKind::NotAFile);
                    refused += 1;
                }
            }
        }
    });
    assert!(read > 0 && refused > 0, "the race was not run: {read} read, {refused} refused");
}

fn names_are_single_entries() {
    let (temp, dir) = project();
    fs::create_dir(temp.path().join("sub")).unwrap();
    fs::write(temp.path().join("sub/x"), "x").unwrap();
    for name in ["", ".", "..", "../x", "/etc/passwd", "sub/x", "sub/", "a\0b", &"x".repeat(256)] {
        assert_eq!(kind_of(dir.read(name, 100)), FileErrorKind::BadName, "{name:?}");
        assert_eq!(kind_of(dir.sub(name, true)), FileErrorKind::BadName, "{name:?}");
        assert_eq!(kind_of(super::support::write_new(&dir, name, b"x")), FileErrorKind::BadName, "{name:?}");
    }
    assert_eq!(names(temp.path()), ["sub"]);
}

/// A writer fills the whole file with one letter, then with the next; what is read of a version that was at rest must
/// be of one letter. Most reads run into a write at some time: the file is read without a pause.
fn no_mixture_is_read() {
    const SIZE: usize = 1 << 20;
    const REST: Duration = Duration::from_millis(60);
    let (temp, dir) = project();
    let path = temp.path().join("1.json");
    fs::write(&path, vec![b'a'; SIZE]).unwrap();
    let stop = AtomicBool::new(false);
    let (mut rounds, mut whole, mut changing) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            for letter in (b'b'..=b'z').cycle() {
                file.write_all_at(&vec![letter; SIZE], 0).unwrap();
                std::thread::sleep(Duration::from_millis(65 + 10 * u64::from(letter % 5)));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _stops = StopsOnDrop(&stop);
        let deadline = Instant::now() + Duration::from_secs(60);
        while (rounds < 10_000 || whole < 10 || changing < 10) && Instant::now() < deadline {
            rounds += 1;
            let before = now();
            match dir.read("1.json", SIZE as u64) {
                Ok(contents) => {
                    let contents = contents.unwrap();
                    if contents.print.is_at_rest(before, REST) {
                        let one_letter = contents.bytes[1..] == contents.bytes[..SIZE - 1];
                        assert!(one_letter, "half old, half new");
                        whole += 1;
                    }
                }
                Err(e) => {
                    assert_eq!(e.kind, FileErrorKind::Changing);
                    changing += 1;
                }
            }
        }
    });
    assert!(whole >= 10 && changing >= 10, "the race was not run: {rounds} rounds, {whole} whole, {changing} changing");
}

fn absent_is_not_unreadable() {
    let (temp, dir) = project();
    fs::create_dir(temp.path().join("completions")).unwrap();
    let completions = dir.sub("completions", false).unwrap();
    assert!(completions.read("1.json", 10).unwrap().is_none());
    assert_eq!(kind_of(dir.sub("absent", false)), FileErrorKind::Missing);
    fs::write(temp.path().join("big"), "12345678901").unwrap();
    assert_eq!(kind_of(dir.read("big", 10)), FileErrorKind::TooLarge);
    assert_eq!(dir.read("big", 11).unwrap().unwrap().bytes, b"12345678901");
    fs::remove_dir(temp.path().join("completions")).unwrap();
    fs::create_dir(temp.path().join("completions")).unwrap();
    for gone in [kind_of(completions.read("1.json", 10)), kind_of(completions.names(1).map(|_| ()))] {
        assert_eq!(gone, FileErrorKind::Missing, "a removed directory is not an empty one");
    }
    assert!(!completions.is_at(&temp.path().join("completions")));
    assert!(dir.sub("completions", false).unwrap().is_at(&temp.path().join("completions")));
}

fn fingerprints_survive_their_text() {
    let number = any::<u64>;
    let fields = (number(), number(), number(), any::<i64>(), any::<i64>(), number());
    proptest!(|((dev, ino, size_bytes, mtime_ns, ctime_ns, nlink) in fields)| {
        let print = Fingerprint { dev, ino, size_bytes, mtime_ns, ctime_ns, nlink };
        prop_assert_eq!(print.to_string().parse(), Ok(print));
    });
    for bad in ["", "v1:1:2:3:4:5", "v2:1:2:3:4:5:6", "v1:1:2:3:4:5:6:7", "v1:1:2:3:4:5:x", "v1:-1:2:3:4:5:6"] {
        assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
    }
}

fn names_come_with_their_kind() {
    let (temp, dir) = project();
    let odd = std::ffi::OsStr::from_bytes(b"\xff.json");
    fs::write(temp.path().join(odd), "").unwrap();
    fs::create_dir(temp.path().join("d")).unwrap();
    symlink("d", temp.path().join("l")).unwrap();
    let mut seen: Vec<_> = dir.names(3).unwrap().map(|e| e.unwrap()).map(|e| (e.name, e.kind)).collect();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        seen,
        [("d".into(), EntryKind::Directory), ("l".into(), EntryKind::Other), (odd.to_owned(), EntryKind::File)]
    );
    let bounded: Vec<_> = dir.names(2).unwrap().collect();
    assert_eq!(bounded.len(), 3);
    assert_eq!(bounded[2].as_ref().unwrap_err().kind, FileErrorKind::TooManyEntries);
}

fn leftovers_are_cleaned() {
    let (temp, dir) = project();
    for name in ["tasks.json", "tasks.json.lsd-tmp", "tasks.json.lsd-old", "7.json.lsd-old3", ".lsd-old", "x.lsd-oldx"]
    {
        fs::write(temp.path().join(name), name).unwrap();
    }
    let leftover = |name: &str, of: &str| Leftover { name: name.to_owned(), of: of.to_owned() };
    let found = dir.clean_leftovers().unwrap();
    assert_eq!(found, [leftover("7.json.lsd-old3", "7.json"), leftover("tasks.json.lsd-old", "tasks.json")]);
    for leftover in &found {
        dir.discard_leftover(leftover).unwrap();
    }
    assert_eq!(names(temp.path()), [".lsd-old", "tasks.json", "x.lsd-oldx"]);
    assert_eq!(dir.clean_leftovers().unwrap(), []);
}

fn locks_exclude() {
    let (temp, dir) = project();
    assert_eq!(kind_of(dir.lock("labelsync.json", IfAbsent::Fail)), FileErrorKind::Missing);
    assert_eq!(names(temp.path()), Vec::<String>::new(), "locking makes no marker");
    let lock = dir.lock("labelsync.json", IfAbsent::Create).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(temp.path(), elsewhere.path().join("link")).unwrap();
    let other = Dir::open(&elsewhere.path().join("link")).unwrap();
    assert_eq!(kind_of(other.lock("labelsync.json", IfAbsent::Fail)), FileErrorKind::Locked);
    drop(lock);

    let mut holder = child::command(&[], "hold_lock", temp.path());
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()), &mut said).unwrap();
    assert_eq!(said, "locked\n");
    assert_eq!(kind_of(dir.lock("labelsync.json", IfAbsent::Create)), FileErrorKind::Locked);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let _lock = dir.lock("labelsync.json", IfAbsent::Fail).unwrap();
}
