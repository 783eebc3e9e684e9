//! Runtime changes: checked as the file is; on disk absent or whole, never guessed, whatever happened while they were written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use labelsync::settings::overrides::{OverridesError, OverridesStore};
use labelsync::settings::{OnDeleted, Overrides, SourcePatch, TargetPatch};

use super::{CATS, loaded, name};

#[test]
fn l55_an_invalid_change_is_refused_with_the_checkers_words() {
    let loaded = loaded(CATS);
    let source = SourcePatch { poll_interval: Some("0s".into()), ..SourcePatch::default() };
    let target = TargetPatch { prefix: Some("x".repeat(2000)), ..TargetPatch::default() };
    let changes = BTreeMap::from([(name("cats"), Overrides { source, target, ..Overrides::default() })]);
    let problems = loaded.with_overrides(&changes).unwrap_err();
    let said: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    assert_eq!(
        said,
        [
            "projects.cats.source.poll_interval: `0s` is out of range (set with lsctl)",
            "projects.cats.target.prefix: has 2000 bytes; 1004 is the most that a key has room for (set with lsctl)",
        ]
    );
}

#[test]
fn a_change_of_a_side_that_is_not_there_is_refused_and_of_a_project_that_is_gone_left_out() {
    let text = "[projects.c]\npath='/p'\n[projects.c.target]\ntype='local'\npath='/out'\n";
    let source = SourcePatch { prefix: Some("x".into()), ..SourcePatch::default() };
    let changed = Overrides { source, ..Overrides::default() };
    let problems = loaded(text).with_overrides(&BTreeMap::from([(name("c"), changed.clone())])).unwrap_err();
    assert_eq!(problems[0].message, "is changed at runtime, but project `c` has no source");
    let settings = loaded(text).with_overrides(&BTreeMap::from([(name("gone"), changed)])).unwrap();
    assert_eq!(settings, loaded(text).settings);
}

#[test]
fn l16_runtime_changes_are_absent_or_whole_and_never_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverridesStore::open(dir.path()).unwrap();
    let cats = name("cats");
    assert_eq!(store.load(&cats).unwrap(), Overrides::default());
    let kept = overrides("first");
    store.save(&cats, &kept).unwrap();
    assert_eq!(store.load(&cats).unwrap(), kept);
    let whole = std::fs::read(store.path(&cats)).unwrap();
    for length in 0..whole.len() {
        std::fs::write(store.path(&cats), &whole[..length]).unwrap();
        let error = store.load(&cats).unwrap_err();
        assert!(matches!(error, OverridesError::Damaged { .. }), "{length}: {error}");
        assert!(error.problem().remedy.contains("restore the file from a backup"), "{}", error.problem());
    }
    for (at, byte) in whole.iter().enumerate() {
        let mut flipped = whole.clone();
        flipped[at] = byte ^ 1;
        std::fs::write(store.path(&cats), &flipped).unwrap();
        assert!(store.load(&cats).is_err(), "byte {at}");
    }
    let errors = store.load_all([&cats, &name("dogs")]).unwrap_err();
    assert_eq!(errors.len(), 1);
}

#[test]
fn l44_runtime_changes_of_a_newer_labelsync_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverridesStore::open(dir.path()).unwrap();
    let cats = name("cats");
    store.save(&cats, &overrides("x")).unwrap();
    let text = std::fs::read_to_string(store.path(&cats)).unwrap().replace("format 1", "format 2");
    std::fs::write(store.path(&cats), text).unwrap();
    assert!(matches!(store.load(&cats).unwrap_err(), OverridesError::Newer { format: 2, .. }));
}

#[test]
fn l60_only_the_daemon_reads_runtime_changes() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = OverridesStore::open(dir.path()).unwrap();
    store.save(&name("cats"), &overrides("x")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&store.path(&name("cats"))), 0o600);
    assert_eq!(mode(&dir.path().join("overrides")), 0o700);
}

#[test]
fn l38_a_save_that_fails_leaves_the_old_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverridesStore::open(dir.path()).unwrap();
    let cats = name("cats");
    store.save(&cats, &overrides("old")).unwrap();
    // Root passes every permission: so the directory itself goes away.
    let moved = dir.path().join("moved");
    std::fs::rename(dir.path().join("overrides"), &moved).unwrap();
    let error = store.save(&cats, &overrides("new")).unwrap_err();
    assert!(error.problem().remedy.contains("the state directory is gone"), "{error}");
    std::fs::rename(&moved, dir.path().join("overrides")).unwrap();
    assert_eq!(store.load(&cats).unwrap(), overrides("old"));
    store.save(&cats, &overrides("new")).unwrap();
    assert_eq!(store.load(&cats).unwrap(), overrides("new"));
}

/// Under this name the test runs itself as the process that saves and is killed.
const SAVES_IN: &str = "LABELSYNC_TEST_SAVES_IN";

#[test]
fn l55_a_kill_at_any_instant_leaves_old_or_new() {
    let (cats, even, odd) = (name("cats"), overrides(&"even".repeat(2_000)), overrides("odd"));
    if let Some(state_dir) = std::env::var_os(SAVES_IN) {
        let store = OverridesStore::open(Path::new(&state_dir)).unwrap();
        loop {
            store.save(&cats, &even).unwrap();
            store.save(&cats, &odd).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(dir.path().join("overrides")).unwrap().count();
    let mut leftovers = 0;
    for round in 0..40 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durable::l55_a_kill_at_any_instant_leaves_old_or_new"])
            .env(SAVES_IN, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let file = OverridesStore::peek(dir.path()).path(&cats);
        while !file.exists() {
            assert!(child.try_wait().unwrap().is_none(), "the saving process ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(20_000 + round * 777));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = OverridesStore::peek(dir.path()).load(&cats).unwrap();
        assert!(found == even || found == odd, "round {round}");
        leftovers += entries() - 1;
        OverridesStore::open(dir.path()).unwrap();
        assert_eq!(entries(), 1, "l42: leftovers are cleaned");
        std::fs::remove_file(&file).unwrap();
    }
    assert!(leftovers > 0, "no kill fell into a save: the test proves nothing, make the saves slower");
}

fn overrides(prefix: &str) -> Overrides {
    let source =
        SourcePatch { prefix: Some(prefix.into()), regex: Some(r"a\.'b\n\\".into()), ..SourcePatch::default() };
    Overrides {
        paused: true,
        source,
        target: TargetPatch { on_deleted: Some(OnDeleted::Delete), ..TargetPatch::default() },
    }
}
