//! `tasks.json` as a stream: read entry by entry, written anew with edits.
//!
//! Promise: entries that are not ours pass through byte for byte; a file that ends in the middle is torn, never "no
//! tasks"; memory does not grow with the file.
//! Not here: opening, replacing and durability (`files`); what an entry means (`sync::near`).

use std::io::{self, Read, Write};

pub use super::entries::scan;
use crate::names::{Sha256, TaskId};
use crate::project::strict_json::{self, Duplicates, JsonLimits, MAX_OWN_DEPTH};
use crate::sync::canon;

/// Why a `tasks.json` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TasksFileError {
    /// It ends in the middle: Label Studio is writing it, or died while writing.
    #[error("tasks.json ends in the middle")]
    Torn,
    /// It is whole and no map of ids to tasks.
    #[error("tasks.json is not a map of task ids to tasks: {0}")]
    Invalid(String),
    /// The disk.
    #[error("tasks.json cannot be read or written")]
    Io(#[source] io::Error),
}

/// What to do with an entry that stands in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// It stays as it is.
    Keep,
    /// It leaves.
    Drop,
    /// This stands there instead.
    Replace(String),
}

/// The edits of one replacement.
pub trait Edits {
    /// What becomes of an entry that stands in the file.
    fn edit(&mut self, id: TaskId) -> io::Result<Edit>;
    /// The next entry to append; `None` at the end. Asked after every entry of the file was seen.
    fn next_added(&mut self) -> io::Result<Option<(TaskId, String)>>;
    /// Whether every entry of the file stays as it is, and none of what is added stands there: it need not be read then.
    fn only_adds(&self) -> bool {
        false
    }
}

/// Writes the file anew: every entry of `base` as its edit says, then what is added. One entry a line.
pub fn rewrite(base: Option<&mut dyn Read>, edits: &mut dyn Edits, out: &mut dyn Write) -> Result<(), TasksFileError> {
    let mut separator: &[u8] = b"{";
    let mut entry = |out: &mut dyn Write, id: TaskId, text: &str| {
        out.write_all(separator)?;
        separator = b",\n";
        write!(out, "\"{id}\": {text}")
    };
    if let Some(base) = base {
        scan(base, &mut |id, text| match edits.edit(id)? {
            Edit::Keep => entry(out, id, text),
            Edit::Drop => Ok(()),
            Edit::Replace(text) => entry(out, id, &text),
        })?;
    }
    while let Some((id, text)) = edits.next_added().map_err(TasksFileError::Io)? {
        entry(out, id, &text).map_err(TasksFileError::Io)?;
    }
    let end: &[u8] = if separator == b"{" { b"{}" } else { b"}" };
    out.write_all(end).map_err(TasksFileError::Io)
}

/// Writes what is added after a file's last entry, and the end of the map: the file was copied to before its `}`.
pub fn append(edits: &mut dyn Edits, out: &mut dyn Write) -> io::Result<()> {
    while let Some((id, text)) = edits.next_added()? {
        write!(out, ",\n\"{id}\": {text}")?;
    }
    out.write_all(b"}")
}

/// The data of an entry, as Label Studio takes them: what stands under `data`, or the whole entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryFacts {
    /// Hash of the data.
    pub data_hash: Sha256,
    /// The first value of the data, at top level, that is a cloud URL.
    pub url: Option<String>,
}

/// Reads an entry. What Label Studio could not have written (numbers beyond a double) is hashed as its text.
pub fn facts(text: &str) -> EntryFacts {
    let limits = JsonLimits { depth: MAX_OWN_DEPTH, values: usize::MAX };
    let Ok(value) = strict_json::parse(text, &limits, Duplicates::TakeLast) else {
        return EntryFacts { data_hash: Sha256::of(text.as_bytes()), url: None };
    };
    let data = value.get("data").unwrap_or(&value);
    let urls = data.as_object().into_iter().flat_map(|map| map.values()).filter_map(|value| value.as_str());
    let url = urls.into_iter().find(|text| text.starts_with("s3://") || text.starts_with("gs://"));
    EntryFacts { data_hash: canon::hash(data), url: url.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u64, String)>, TasksFileError> {
        let mut seen = Vec::new();
        scan(text.as_bytes(), &mut |id, text| {
            seen.push((id.get(), text.to_owned()));
            Ok(())
        })?;
        Ok(seen)
    }

    /// Gives at most so many bytes at once, as a file may.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(self.1);
            self.0.read(&mut into[..most])
        }
    }

    #[test]
    fn l16_entries_come_whole_wherever_the_window_ends() {
        let large = format!(r#"{{"text": "{}\"{}"}}"#, "é".repeat(100_000), "x".repeat(400_000));
        let body = |id: u64| if id == 1_999 { large.clone() } else { format!(r#"{{"n": [{id}, "\u0041"]}}"#) };
        let entries: Vec<String> = (0..30_000).map(|id| format!("\"{id}\" :{}", body(id))).collect();
        let entries = entries.join(" ,\n");
        for shift in 0..16 {
            let text = format!("{{{}{entries}\n}} \n", " ".repeat(shift));
            let mut seen = 0;
            scan(Slow(text.as_bytes(), 100_003), &mut |id, text| {
                assert_eq!((id.get(), text), (seen, body(seen).as_str()));
                seen += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, 30_000);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = [
            ("[]", "no map at line 1 column 1"),
            ("{\n \"0\": {},\n \"1\": [2]}", "task 1 is no object at line 3 column 6"),
            (r#"{"0": {},}"#, "expected `\"` at line 1 column 10"),
            (r#"{"0": {} "1": {}}"#, "expected `,` or `}` at line 1 column 10"),
            (r#"{"0" {}}"#, "expected `:` at line 1 column 6"),
            (r#"{"x": {}}"#, "`x` is no task id at line 1 column 2"),
            (r#"{"0": {"a" 1}}"#, "expected `:` at line 1 column 6"),
            ("{} {}", "something stands behind the map at line 1 column 4"),
        ];
        for (text, expected) in wrong {
            let Err(TasksFileError::Invalid(said)) = read(text) else { panic!("{text} was read") };
            assert!(said.contains(expected), "{text}: {said}");
        }
        let binary = b"{\"0\": {\"a\": \"\xff\"}}";
        assert!(matches!(scan(&binary[..], &mut |_, _| Ok(())), Err(TasksFileError::Invalid(_))));
    }

    #[test]
    fn l16_a_torn_file_is_never_no_tasks() {
        let whole = r#"{"0": {"id": 0, "data": {"image": "é"}}, "12": {"image": "x"}}"#;
        assert_eq!(read(whole).unwrap().len(), 2);
        for end in (0..whole.len()).filter(|&end| whole.is_char_boundary(end)) {
            assert!(matches!(read(&whole[..end]), Err(TasksFileError::Torn)), "cut at {end}");
        }
        assert!(read("{}").unwrap().is_empty());
        assert!(matches!(read("{} x"), Err(TasksFileError::Invalid(_))));
        assert!(matches!(read("[]"), Err(TasksFileError::Invalid(_))));
        assert!(matches!(read(r#"{"01": {}}"#), Err(TasksFileError::Invalid(_))));
    }

    struct Some3(Vec<(TaskId, String)>);

    impl Edits for Some3 {
        fn edit(&mut self, id: TaskId) -> io::Result<Edit> {
            Ok(match id.get() {
                1 => Edit::Drop,
                2 => Edit::Replace("{\"n\":2}".to_owned()),
                _ => Edit::Keep,
            })
        }
        fn next_added(&mut self) -> io::Result<Option<(TaskId, String)>> {
            Ok(self.0.pop())
        }
    }

    #[test]
    fn c04_entries_that_are_not_ours_pass_through_byte_for_byte() {
        let base = r#"{"0":{"data":{"x":0.1000000000000000055511151231257827},"mine":[1e400]}, "1":{}, "2":{}}"#;
        let mut out = Vec::new();
        let mut edits = Some3(vec![(TaskId::new(9).unwrap(), "{}".to_owned())]);
        rewrite(Some(&mut base.as_bytes()), &mut edits, &mut out).unwrap();
        let expected = "{\"0\": {\"data\":{\"x\":0.1000000000000000055511151231257827},\"mine\":[1e400]},\n\"2\": {\"n\":2},\n\"9\": {}}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn c04_what_is_only_added_reads_as_if_all_was_written_anew() {
        let base = r#"{"0": {"id":0}, "7":{"x": [1e400]}}"#;
        let added =
            || vec![(TaskId::new(9).unwrap(), "{\"n\":9}".to_owned()), (TaskId::new(8).unwrap(), "{}".to_owned())];
        let mut anew = Vec::new();
        rewrite(Some(&mut base.as_bytes()), &mut Some3(added()), &mut anew).unwrap();
        let mut appended = base.as_bytes()[..base.len() - 1].to_vec();
        append(&mut Some3(added()), &mut appended).unwrap();
        let (anew, appended) = (String::from_utf8(anew).unwrap(), String::from_utf8(appended).unwrap());
        assert_eq!(read(&appended).unwrap(), read(&anew).unwrap());
        assert_eq!(read(&appended).unwrap().len(), 4);
    }

    #[test]
    fn an_empty_result_is_an_empty_map() {
        let mut out = Vec::new();
        rewrite(None, &mut Some3(Vec::new()), &mut out).unwrap();
        assert_eq!(out, b"{}");
    }
}
