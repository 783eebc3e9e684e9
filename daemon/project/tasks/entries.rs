//! The entries of `tasks.json`, one after the other, from a window that moves over the file.
//!
//! Promise: memory grows with the largest entry, not with the file; what ends in the middle is torn, wherever it ends.
//! Not here: what is done with them (`tasks::file`).

use std::io::{self, Read};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error};

use super::file::TasksFileError;
use crate::names::{TaskId, printable};

/// Read at once: a parser over a slice takes a third of the time of one over a stream, which is asked for each byte.
const WINDOW_BYTES: usize = 256 * 1024;

/// Walks the entries in file order. An error of `each` ends the walk.
pub fn scan(file: impl Read, each: &mut dyn FnMut(TaskId, &str) -> io::Result<()>) -> Result<(), TasksFileError> {
    let mut window = Window { file, bytes: Vec::new(), at: 0, ended: false, line: 1, column: 0 };
    let mut place = Place::Start;
    loop {
        match next(window.rest(), place) {
            Ok((Piece::Entry(id, text), bytes)) => {
                each(id, text).map_err(TasksFileError::Io)?;
                window.pass(bytes);
                place = Place::AfterEntry;
            }
            Ok((Piece::Open, bytes)) => {
                window.pass(bytes);
                place = Place::First;
            }
            Ok((Piece::Close, bytes)) => {
                window.pass(bytes);
                place = Place::End;
            }
            Ok((Piece::Nothing, _)) if window.ended => return Ok(()),
            Err(Stop::Short) if window.ended => return Err(TasksFileError::Torn),
            Ok((Piece::Nothing, _)) | Err(Stop::Short) => window.more().map_err(TasksFileError::Io)?,
            Err(Stop::Invalid(what, after)) => return Err(window.invalid(&what, after)),
        }
    }
}

/// Where in the map the next piece stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    First,
    AfterEntry,
    End,
}

enum Piece<'a> {
    Open,
    Entry(TaskId, &'a str),
    Close,
    /// White space, as far as was read.
    Nothing,
}

enum Stop {
    /// More of the file must be seen.
    Short,
    /// What is wrong, and how many bytes on.
    Invalid(String, usize),
}

/// The next piece of the map, and the bytes that it takes with what stands before it.
fn next(rest: &[u8], place: Place) -> Result<(Piece<'_>, usize), Stop> {
    let mut at = blank(rest, 0);
    let Some(&byte) = rest.get(at) else {
        return if place == Place::End { Ok((Piece::Nothing, 0)) } else { Err(Stop::Short) };
    };
    match (place, byte) {
        (Place::Start, b'{') => return Ok((Piece::Open, at + 1)),
        (Place::First | Place::AfterEntry, b'}') => return Ok((Piece::Close, at + 1)),
        (Place::First, _) => {}
        (Place::AfterEntry, b',') => at += 1,
        (Place::Start, _) => return Err(Stop::Invalid("no map".to_owned(), at)),
        (Place::AfterEntry, _) => return Err(Stop::Invalid("expected `,` or `}`".to_owned(), at)),
        (Place::End, _) => return Err(Stop::Invalid("something stands behind the map".to_owned(), at)),
    }
    at = expect(rest, at, b'"')?;
    let (name, end): (String, usize) = value(rest, at)?;
    let Some(id) = TaskId::parse(&name) else {
        return Err(Stop::Invalid(format!("`{}` is no task id", printable(&name)), at));
    };
    let colon = expect(rest, end, b':')?;
    let (text, end): (&RawValue, usize) = value(rest, colon + 1)?;
    if !text.get().starts_with('{') {
        return Err(Stop::Invalid(format!("task {id} is no object"), colon + 1));
    }
    Ok((Piece::Entry(id, text.get()), end))
}

/// Where this byte stands, past white space.
fn expect(rest: &[u8], at: usize, byte: u8) -> Result<usize, Stop> {
    let at = blank(rest, at);
    match rest.get(at) {
        Some(found) if *found == byte => Ok(at),
        Some(_) => Err(Stop::Invalid(format!("expected `{}`", byte as char), at)),
        None => Err(Stop::Short),
    }
}

/// A JSON value, and where it ends.
fn value<'a, T: Deserialize<'a>>(rest: &'a [u8], at: usize) -> Result<(T, usize), Stop> {
    let text = rest.get(at..).unwrap_or_default();
    let mut values = Deserializer::from_slice(text).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok((value, at + values.byte_offset())),
        Some(Err(error)) if !error.is_eof() => Err(Stop::Invalid(without_place(&error), at)),
        Some(Err(_)) | None => Err(Stop::Short),
    }
}

/// Its place is one in the window.
fn without_place(error: &Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// Past white space, as JSON has it.
fn blank(rest: &[u8], at: usize) -> usize {
    let blanks = rest.iter().skip(at).take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    at + blanks.count()
}

struct Window<R> {
    file: R,
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
    /// Of `at`, from 1 and from 0.
    line: usize,
    column: usize,
}

impl<R: Read> Window<R> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn pass(&mut self, count: usize) {
        (self.line, self.column) = self.place_after(count);
        self.at += count;
    }

    fn place_after(&self, count: usize) -> (usize, usize) {
        let passed = self.rest().get(..count).unwrap_or_default();
        match memchr::memrchr(b'\n', passed) {
            None => (self.line, self.column + count),
            Some(last) => (self.line + memchr::memchr_iter(b'\n', passed).count(), count - last - 1),
        }
    }

    /// As much again as stands there unread: an entry larger than the window is begun anew a few times, not many.
    fn more(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let count = self.bytes.len().max(WINDOW_BYTES);
        let read = self.file.by_ref().take(count as u64).read_to_end(&mut self.bytes)?;
        self.ended = read < count;
        Ok(())
    }

    fn invalid(&self, what: &str, after: usize) -> TasksFileError {
        let (line, column) = self.place_after(after);
        TasksFileError::Invalid(format!("{} at line {line} column {}", printable(what), column + 1))
    }
}
