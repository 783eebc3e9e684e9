//! Ledgers that are cut, damaged, older, newer, somebody else's.

use std::path::Path;

use super::repair::ENDS;
use super::*;
use crate::names::{ETag, Key, Sha256, TaskId};
use crate::sync::action::{Form, NearAction, TaskAction};
use crate::sync::ids::Ids;

const ROWS: u64 = 300;

fn add(id: u64, key: &str) -> TaskAction {
    TaskAction::Add {
        id: TaskId::new(id).unwrap(),
        key: Key::new(key),
        etag: ETag::new("1"),
        form: Form::Json,
        body: Some("{\"data\":{}}".to_owned()),
        data_hash: Sha256::of(key.as_bytes()),
    }
}

fn filled(path: &Path) -> Ledger {
    let ledger = Ledger::open(path).unwrap();
    let origin = ledger.origin("s3://b").unwrap();
    let actions: Vec<TaskAction> = (0..ROWS).map(|n| add(n, &format!("key-{n}"))).collect();
    ledger.reserve(origin, &actions).unwrap();
    ledger
}

fn rows(ledger: &Ledger) -> u64 {
    ledger.count("SELECT count(*) FROM tasks").unwrap()
}

/// A whole ledger as one file.
fn bytes(dir: &Path) -> Vec<u8> {
    let path = dir.join("whole.sqlite");
    drop(filled(&path));
    assert!(!beside(&path, "-wal").exists());
    std::fs::read(path).unwrap()
}

#[test]
fn l41_a_ledger_cut_at_any_length_is_an_error_and_never_an_emptier_one() {
    let dir = tempfile::tempdir().unwrap();
    let whole = bytes(dir.path());
    let path = dir.path().join("cut.sqlite");
    let lengths = (0..whole.len()).step_by(1_024).chain([1, 15, 16, 99, 100, 101, whole.len() - 1]);
    for length in lengths {
        std::fs::write(&path, &whole[..length]).unwrap();
        let opened = Ledger::open_known(&path);
        let code = opened.as_ref().err().map(LedgerError::code);
        assert!(matches!(code, Some("ledger_damaged" | "ledger_missing")), "cut at {length}: {opened:?}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(rows(&Ledger::open_known(&path).unwrap()), ROWS);
}

#[test]
fn l41_damaged_pages_are_found_when_the_ledger_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let whole = bytes(dir.path());
    let path = dir.path().join("damaged.sqlite");
    for page in 0..whole.len() / 4_096 {
        let mut damaged = whole.clone();
        damaged[page * 4_096..(page + 1) * 4_096].fill(0x5a);
        std::fs::write(&path, &damaged).unwrap();
        let opened = Ledger::open_known(&path);
        let code = opened.as_ref().err().map(LedgerError::code);
        assert_eq!(code, Some("ledger_damaged"), "page {page}: {opened:?}");
    }
}

/// Its pages are as sound as before; only the row and the index do not agree.
#[test]
fn l41_a_byte_of_a_key_that_is_another_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let whole = bytes(dir.path());
    let path = dir.path().join("flipped.sqlite");
    let places: Vec<usize> = (0..whole.len() - 7).filter(|at| whole[*at..].starts_with(b"key-299")).collect();
    assert!(places.len() >= 2, "in the row and in the index");
    let mut found = 0;
    for at in places {
        let mut flipped = whole.clone();
        flipped[at + 5] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        match Ledger::open_known(&path) {
            Err(error) => {
                assert_eq!(error.code(), "ledger_damaged", "at {at}");
                found += 1;
                // Neither key is believed; its id stays taken.
                let rebuilt = Rebuilding::begin(&path, dir.path()).unwrap();
                assert_eq!(rebuilt.rows, ROWS, "all but one, and the bucket's");
                let ledger = rebuilt.ledger();
                assert_eq!((rows(ledger), ledger.highest_id().unwrap()), (ROWS - 1, TaskId::new(ROWS - 1)));
                assert_eq!(ledger.known_task(TaskId::new(ROWS - 1).unwrap()).unwrap(), None);
            }
            // In what SQLite has left behind on a page.
            Ok(ledger) => assert_eq!(ledger.count("SELECT count(*) FROM tasks WHERE key = 'key-299'").unwrap(), 1),
        }
    }
    assert_eq!(found, 2);
}

/// Everything that is recorded, one line a row.
fn told(ledger: &Ledger) -> String {
    let mut told = String::new();
    for (table, columns) in sums::SUMS.into_iter().chain([("origins", "id, root")]) {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {columns}");
        let rows = ledger.read(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let count = statement.column_count();
            let rows = statement.query_map([], |row| {
                (0..count).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<rusqlite::types::Value>>>()
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        told += &format!("{table}: {:?}\n", rows.unwrap());
    }
    told
}

/// Rows of every table.
fn of_all_kinds(path: &Path) -> Ledger {
    use crate::project::ledger::completions::{CompletionRow, CompletionWrite};
    use crate::sync::completions::{Recorded, RecordedState};
    let ledger = Ledger::open(path).unwrap();
    let origin = ledger.origin("s3://b").unwrap();
    let id = |n| TaskId::new(n).unwrap();
    let bad = TaskAction::Quarantine {
        id: None,
        key: Key::new("bad"),
        etag: ETag::new("5"),
        reason: "not_json".to_owned(),
        detail: "no".to_owned(),
    };
    let actions: Vec<TaskAction> = (0..40).map(|n| add(n, &format!("key-{n}"))).chain([bad]).collect();
    ledger.reserve(origin, &actions).unwrap();
    ledger.note_highest(id(77)).unwrap();
    let hash = Sha256::of(b"pushed");
    let row = |n, state| CompletionRow {
        id: id(n),
        recorded: Recorded {
            state,
            sha: Some(hash),
            etag: Some(ETag::new("9")),
            data_hash: Some(hash),
            disputed: None,
            resolution: None,
            begun: None,
        },
        print: Some("print".to_owned()),
    };
    let writes: Vec<CompletionWrite> = [(0, RecordedState::InStep), (1, RecordedState::Buried)]
        .map(|(n, state)| CompletionWrite { row: row(n, state), reason: String::new(), detail: String::new() })
        .into();
    ledger.record_completions(&writes, UnixMillis(5)).unwrap();
    let hold = HoldRow {
        id: "0123abcd".to_owned(),
        code: "mass_removal".to_owned(),
        message: "11 of 20".to_owned(),
        consequence: "hide".to_owned(),
        since: UnixMillis(5),
        accepted: false,
    };
    ledger.hold("mass_removal", Some(&hold)).unwrap();
    ledger
}

/// Each byte of the file stands for nothing, or its change is said: no id, key, version or receipt is another one unseen.
#[test]
fn l41_a_byte_that_is_another_one_is_found_or_means_nothing() {
    /// All of them take minutes.
    const EVERY: usize = 307;
    // Each try makes files durable, which means nothing here.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().join("l.sqlite");
    let expected = told(&of_all_kinds(&path));
    let whole = std::fs::read(&path).unwrap();
    // Key, version, form, body and hash of a task.
    let row = (0..whole.len()).find(|at| whole[*at..].starts_with(b"key-171json")).expect("a row");
    let row = row..row + "key-171json{'data':{}}".len() + 32;
    let (mut found, mut silent) = (0, 0);
    for at in (0..whole.len()).step_by(EVERY).chain(row.clone()) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        ENDS.iter().for_each(|end| remove_if_there(&beside(&path, end)).unwrap());
        std::fs::write(&path, &flipped).unwrap();
        match Ledger::open_known(&path) {
            Ok(ledger) => {
                silent += 1;
                assert!(!row.contains(&at), "at {at}");
                assert!(told(&ledger) == expected, "at {at}");
            }
            Err(error) => {
                found += 1;
                let code = error.code();
                assert!(matches!(code, "ledger_damaged" | "ledger_missing" | "ledger_newer"), "at {at}: {error:?}");
            }
        }
    }
    assert!(found > row.len() && silent > 0, "{found} found, {silent} in what SQLite has left behind");
}

/// What a row says beside its sum is found out anew; ids, keys and what a person deleted stay.
#[test]
fn l45_a_row_that_does_not_fit_its_sum_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    drop(of_all_kinds(&path));
    let broken = Connection::open(&path).unwrap();
    // As a disk does it: the row changes, and not its sum.
    broken.pragma_update(None, "writable_schema", true).unwrap();
    for (table, sum) in sums::SUMS {
        let sql = format!(
            "UPDATE sqlite_schema SET sql = replace(sql, 'GENERATED ALWAYS AS (row_sum({sum})) STORED', '') WHERE name = '{table}'"
        );
        assert_eq!(broken.execute(&sql, []).unwrap(), 1, "{table}");
    }
    drop(broken);
    let broken = Connection::open(&path).unwrap();
    broken
        .execute_batch(
            "UPDATE tasks SET data_hash = zeroblob(32) WHERE id = 3;
             UPDATE completions SET etag = '8', sha = zeroblob(32);
             UPDATE meta SET value = '78';",
        )
        .unwrap();
    drop(broken);
    let rebuilt = Rebuilding::begin(&path, dir.path()).unwrap();
    let (id, data_hash) = (TaskId::new(3).unwrap(), Sha256::of(b"key-3"));
    assert_eq!(rebuilt.doubt.suspects, [id].into());
    let standing = StandingTask { id, text: "{}".to_owned(), data_hash, url: None };
    assert_eq!(rebuilt.ledger().reconcile(&[standing], &rebuilt.doubt).unwrap(), 0, "no orphan");
    let ledger = rebuilt.ledger();
    assert_eq!(ledger.known_task(id).unwrap().map(|task| task.data_hash), Some(data_hash));
    let told = told(ledger);
    assert!(told.contains("Text(\"key-3\"), Text(\"\")"), "its object is looked at again: {told}");
    assert_eq!(ledger.completion(TaskId::new(0).unwrap()).unwrap(), None, "found out anew");
    assert!(ledger.completion(TaskId::new(1).unwrap()).unwrap().is_some(), "stays deleted");
    ledger.check().unwrap();
}

#[test]
fn l16_a_ledger_that_is_missing_is_not_made_where_the_project_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.sqlite");
    assert_eq!(Ledger::open_known(&path).unwrap_err().code(), "ledger_missing");
    assert!(!path.exists());
    // What is left of one whose log was lost before its tables came to the file.
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch("CREATE TABLE t (x); DROP TABLE t").unwrap();
    drop(connection);
    assert_eq!(Ledger::open_known(&path).unwrap_err().code(), "ledger_missing");
}

#[test]
fn l44_an_older_format_is_migrated_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::TABLES).unwrap();
    old.execute_batch(
        "INSERT INTO tasks (id, state, settled, data_hash, url) VALUES (7, 3, 1, zeroblob(32), 's3://b/k');
         INSERT INTO origins VALUES (1, 's3://b');
         INSERT INTO keys_without_id VALUES (1, 'gone', 1, '', '', '');
         INSERT INTO meta VALUES ('project', 'uuid');
         INSERT INTO completions (name, state, at) VALUES ('7', 'buried', 5)",
    )
    .unwrap();
    old.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let kept = schema::old_path(&path, 1);
    // Twice: the second finds nothing to do.
    for _ in 0..2 {
        let ledger = Ledger::open_known(&path).unwrap();
        assert_eq!(ledger.highest_id().unwrap(), TaskId::new(7));
        assert!(ledger.is_imported("s3://b/k").unwrap());
        assert_eq!(ledger.meta("project").unwrap().as_deref(), Some("uuid"));
        assert!(ledger.completion(TaskId::new(7).unwrap()).unwrap().is_some());
        assert_eq!(ledger.count("SELECT count(*) FROM keys_without_id").unwrap(), 1);
        assert_eq!(ledger.orphan(Sha256::from_slice(&[0; 32]).unwrap()).unwrap(), None);
        let kept = Connection::open(&kept).unwrap();
        let format: i64 = kept.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(format, 1);
        assert_eq!(kept.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}

#[test]
fn l44_a_newer_format_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.sqlite");
    drop(filled(&path));
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    for _ in 0..2 {
        assert_eq!(Ledger::open_known(&path).unwrap_err().code(), "ledger_newer");
    }
}

#[test]
fn l95_the_ledger_refuses_what_must_never_be_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(&dir.path().join("l.sqlite"));
    let origin = ledger.origin("s3://b").unwrap();
    let cases = [("an id of another key", add(3, "other")), ("a second id for a key", add(ROWS, "key-3"))];
    for (what, action) in cases {
        let error = ledger.reserve(origin, &[add(ROWS + 1, "good"), action]).unwrap_err();
        assert_eq!(error.code(), "invariant_broken", "{what}: {error}");
        assert!(crate::project::error::CycleError::from(error).is_fatal(), "it stops the project");
        assert_eq!(rows(&ledger), ROWS, "{what}: nothing of it is written");
    }
}

#[test]
fn l45_a_repair_that_dies_anywhere_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    let mut damaged = bytes(dir.path());
    let middle = damaged.len() / 2 / 4_096 * 4_096;
    damaged[middle..middle + 4_096].fill(0x5a);
    for died in ["before anything", "with the new one unfinished", "with the old one moved aside"] {
        std::fs::remove_file(&path).ok();
        match died {
            "before anything" => std::fs::write(&path, &damaged).unwrap(),
            "with the new one unfinished" => {
                std::fs::write(&path, &damaged).unwrap();
                std::fs::write(beside(&path, ".new"), "half a ledger").unwrap();
                std::fs::write(beside(&path, ".new-wal"), "half a log").unwrap();
            }
            _ => std::fs::write(beside(&path, ".damaged-99"), &damaged).unwrap(),
        }
        let building = Rebuilding::begin(&path, dir.path()).unwrap();
        let read = building.rows;
        assert!(read > ROWS / 2, "{died}: {read} rows were read");
        building.finish(UnixMillis(5)).unwrap();
        let ledger = Ledger::open_known(&path).unwrap();
        assert!(rows(&ledger) > ROWS / 2, "{died}");
        drop(ledger);
    }
}

/// An import came back out of a displaced file while another stands under its id: until it is written, that one explains
/// what is seen; what nobody has seen there is Label Studio's new word.
#[test]
fn c09_what_an_unwritten_import_replaces_is_known() {
    use crate::sync::near::{Listing, decide};
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("l.sqlite")).unwrap();
    let id = TaskId::new(2).unwrap();
    let hash = |text: &str| Sha256::of(text.as_bytes());
    let import = |action: fn(TaskId) -> NearAction, text: &str| {
        let file = Some((format!("{{\"id\":2,\"data\":\"{text}\"}}"), hash(text), None));
        NearChange { action: action(id), file }
    };
    let record = |changes: &[NearChange]| ledger.record_near(changes, &mut Ids::after(Some(id))).map(drop).unwrap();
    let seen = |text: &str| decide(id, Some(hash(text)), ledger.known_task(id).unwrap().as_ref(), Listing::Has);

    record(&[import(NearAction::Foreign, "first")]);
    record(&[import(NearAction::ForeignChanged, "second"), NearChange { action: NearAction::Restore(id), file: None }]);
    assert_eq!(seen("first"), None, "the second is about to be written over it");
    assert_eq!(seen("second"), None);
    assert_eq!(seen("third"), Some(NearAction::ForeignChanged(id)));

    ledger.settle("print", None).unwrap();
    assert_eq!(seen("first"), Some(NearAction::ForeignChanged(id)), "imported again");
}
