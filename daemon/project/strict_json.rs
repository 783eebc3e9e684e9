//! JSON from outside: decoded as Label Studio decodes it, refused where Label Studio cannot live with it (C11).
//!
//! Promise: no bytes make this panic, overflow the stack or take memory beyond the limits; the limits are checked
//! in one pass without allocation, before anything is built; what is accepted is written and read back unchanged.
//! Not here: what a task is (`validate`).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::rejected::{
    COMPRESSED, DUPLICATE_KEY, LONE_SURROGATE, NOT_JSON, NOT_UTF8, NUMBER_OUT_OF_RANGE, Rejected, TOO_DEEP,
    TOO_MANY_VALUES, named,
};

/// Nesting that is accepted from outside (C11): Label Studio copies tasks recursively and fails from some 480 on.
pub const MAX_DEPTH: usize = 400;

/// Nesting of what labelsync itself wrote: [`MAX_DEPTH`] inside `{"data": …}` inside `tasks.json`, with room to spare.
/// Also what bounds the stack: to parse, hash, write and drop so many levels takes under 1 MiB in a debug build.
pub const MAX_OWN_DEPTH: usize = 416;

/// Starts of compressed bodies: gzip, zstd, xz. (Brotli has no such mark and ends up as "not UTF-8" or "not JSON".)
const COMPRESSED_STARTS: [(&[u8], &str); 3] =
    [(&[0x1f, 0x8b], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (&[0xfd, b'7', b'z', b'X', b'Z'], "xz")];

/// Which encodings a body may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyRules {
    /// S3 and local files: strict UTF-8 without a byte order mark.
    Utf8,
    /// GCS: UTF-8, UTF-16 and UTF-32, with a byte order mark or recognised by their zero bytes (RFC 4627).
    AnyUnicode,
}

/// What one JSON text may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonLimits {
    /// Arrays and objects inside each other; at most [`MAX_OWN_DEPTH`] counts.
    pub depth: usize,
    /// Strings, numbers, literals, arrays and objects, keys included.
    pub values: usize,
}

/// What is done with a key that one object holds twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duplicates {
    /// Refused: [`DUPLICATE_KEY`].
    Refuse,
    /// The last one counts, as for Label Studio's readers.
    TakeLast,
}

/// The text of a body.
pub fn decode(body: &[u8], rules: BodyRules) -> Result<Cow<'_, str>, Rejected> {
    if let Some((_, kind)) = COMPRESSED_STARTS.iter().find(|(start, _)| body.starts_with(start)) {
        return Err(Rejected::new(COMPRESSED, format_args!("the body is {kind}-compressed")));
    }
    let (encoding, mark_bytes) = encoding_of(body);
    if rules == BodyRules::Utf8 && (encoding != Encoding::Utf8 || mark_bytes > 0) {
        let mark = if mark_bytes > 0 { " with a byte order mark" } else { "" };
        return Err(Rejected::new(NOT_UTF8, format_args!("the body is {}{mark}", encoding.name())));
    }
    let body = &body[mark_bytes..];
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(body)
            .map(Cow::Borrowed)
            .map_err(|e| Rejected::new(NOT_UTF8, format_args!("no UTF-8 at byte {}", mark_bytes + e.valid_up_to()))),
        Encoding::Utf16(order) => utf16(body, order).map(Cow::Owned),
        Encoding::Utf32(order) => utf32(body, order).map(Cow::Owned),
    }
}

/// The value of a text that keeps to the limits and to C11.
pub fn parse(text: &str, limits: &JsonLimits, duplicates: Duplicates) -> Result<Value, Rejected> {
    let scan = scan(text, limits);
    if scan.ends_in_the_middle {
        return Err(Rejected::new(NOT_JSON, "the text is empty or ends in the middle"));
    }
    scan.problem.map_or(Ok(()), Err)?;
    // Python reads `-0` as the integer 0, serde_json as -0.0.
    let mut text = Cow::Borrowed(text);
    for minus in scan.minus_zeros {
        text.to_mut().replace_range(minus..=minus, " ");
    }
    let mut reader = serde_json::Deserializer::from_str(&text);
    // The scan has bounded the nesting.
    reader.disable_recursion_limit();
    Strict { duplicates }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|e| Rejected::new(if e.is_data() { DUPLICATE_KEY } else { NOT_JSON }, e))
}

/// One line with `, ` and `: ` between things, as Python's `json` writes it.
pub fn to_line(value: &Value) -> String {
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    serde::Serialize::serialize(value, &mut writer).expect("a Value has string keys, and a Vec takes every byte");
    String::from_utf8(out).expect("serde_json writes UTF-8")
}

/// What one pass over a text found.
pub(crate) struct Scan {
    /// An array, an object or a string is not closed, or there is nothing at all.
    pub(crate) ends_in_the_middle: bool,
    /// The first thing that the limits or C11 forbid.
    pub(crate) problem: Option<Rejected>,
    /// Where the minus of each integer `-0` stands, bytes.
    minus_zeros: Vec<usize>,
}

/// Looks for what C11 and the limits forbid. It is no parser: it knows strings, numbers and brackets, and leaves the
/// grammar to one; so it answers for every text, and in memory for each `-0` alone.
pub(crate) fn scan(text: &str, limits: &JsonLimits) -> Scan {
    let bytes = text.as_bytes();
    let (mut depth, mut values, mut at, mut open_string) = (0_usize, 0_usize, 0, false);
    let mut problem = None;
    let mut minus_zeros = Vec::new();
    let depth_limit = limits.depth.min(MAX_OWN_DEPTH);
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_limit {
                    problem.get_or_insert_with(|| {
                        Rejected::new(TOO_DEEP, format_args!("nested deeper than {depth_limit} at byte {start}"))
                    });
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                continue;
            }
            b'"' => {
                let string = scan_string(bytes, at);
                at = string.end;
                open_string = !string.is_closed;
                if string.has_lone_surrogate {
                    problem.get_or_insert_with(|| {
                        Rejected::new(
                            LONE_SURROGATE,
                            format_args!("half a surrogate pair in the string at byte {start}"),
                        )
                    });
                }
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                at = bytes[start..].iter().position(|b| !is_word(*b)).map_or(bytes.len(), |length| start + length);
                if &text[start..at] == "-0" {
                    minus_zeros.push(start);
                }
                if let Some(what) = forbidden_number(&text[start..at]) {
                    problem.get_or_insert_with(|| {
                        Rejected::new(NUMBER_OUT_OF_RANGE, format_args!("{what} at byte {start}"))
                    });
                }
            }
            _ => continue,
        }
        values += 1;
    }
    if values > limits.values {
        let detail = format_args!("{values} values, more than {}", limits.values).to_string();
        problem.get_or_insert_with(|| Rejected::new(TOO_MANY_VALUES, detail));
    }
    Scan { ends_in_the_middle: depth > 0 || open_string || values == 0, problem, minus_zeros }
}

struct ScannedString {
    end: usize,
    is_closed: bool,
    has_lone_surrogate: bool,
}

/// `at` is after the opening quote.
fn scan_string(bytes: &[u8], mut at: usize) -> ScannedString {
    let mut has_lone_surrogate = false;
    let mut expects_low = false;
    while let Some(byte) = bytes.get(at) {
        let unit = match byte {
            b'"' => {
                return ScannedString {
                    end: at + 1,
                    is_closed: true,
                    has_lone_surrogate: has_lone_surrogate | expects_low,
                };
            }
            b'\\' => {
                at += 2;
                if bytes.get(at - 1) == Some(&b'u') { hex_unit(bytes.get(at..at + 4)) } else { None }
            }
            _ => {
                at += 1;
                None
            }
        };
        let is_low = unit.is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
        has_lone_surrogate |= expects_low != is_low;
        expects_low = unit.is_some_and(|unit| (0xd800..0xdc00).contains(&unit));
        if unit.is_some() {
            at += 4;
        }
    }
    ScannedString { end: bytes.len(), is_closed: false, has_lone_surrogate }
}

fn hex_unit(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// What a number is that Label Studio would take from a bucket but could not keep.
fn forbidden_number(word: &str) -> Option<&'static str> {
    if matches!(word, "NaN" | "Infinity" | "-Infinity") {
        return Some("`NaN` or `Infinity`");
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        let overflows = word.parse::<f64>().is_ok_and(f64::is_infinite);
        return overflows.then_some("a number beyond ±1.8e308");
    }
    let lowest = i64::MIN.unsigned_abs();
    let fits = digits.parse::<u64>().is_ok_and(|size| digits.len() == word.len() || size <= lowest);
    (!fits).then_some("an integer outside -2^63 to 2^64-1")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteOrder {
    Big,
    Little,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Utf8,
    Utf16(ByteOrder),
    Utf32(ByteOrder),
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16(_) => "UTF-16",
            Self::Utf32(_) => "UTF-32",
        }
    }
}

/// The encoding and the length of its byte order mark. Every JSON text starts with two ASCII characters (or is one
/// ASCII character), so zero bytes tell the width and the order; this is what Python's `json.loads` does with bytes.
fn encoding_of(body: &[u8]) -> (Encoding, usize) {
    use ByteOrder::{Big, Little};
    match body {
        [0, 0, 0xfe, 0xff, ..] => (Encoding::Utf32(Big), 4),
        [0xff, 0xfe, 0, 0, ..] => (Encoding::Utf32(Little), 4),
        [0xfe, 0xff, ..] => (Encoding::Utf16(Big), 2),
        [0xff, 0xfe, ..] => (Encoding::Utf16(Little), 2),
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        [0, 0, _, _, ..] => (Encoding::Utf32(Big), 0),
        [0, _, _, _, ..] | [0, _] => (Encoding::Utf16(Big), 0),
        [_, 0, 0, 0, ..] => (Encoding::Utf32(Little), 0),
        [_, 0, _, _, ..] | [_, 0] => (Encoding::Utf16(Little), 0),
        _ => (Encoding::Utf8, 0),
    }
}

fn utf16(body: &[u8], order: ByteOrder) -> Result<String, Rejected> {
    let (pairs, rest) = body.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Rejected::new(NOT_UTF8, "the body is UTF-16 with an odd number of bytes"));
    }
    let units = pairs.iter().map(|pair| match order {
        ByteOrder::Big => u16::from_be_bytes(*pair),
        ByteOrder::Little => u16::from_le_bytes(*pair),
    });
    char::decode_utf16(units)
        .collect::<Result<_, _>>()
        .map_err(|_| Rejected::new(LONE_SURROGATE, "half a surrogate pair in a UTF-16 body"))
}

fn utf32(body: &[u8], order: ByteOrder) -> Result<String, Rejected> {
    let (quads, rest) = body.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Rejected::new(NOT_UTF8, "the body is UTF-32 with a cut character"));
    }
    let points = quads.iter().map(|quad| match order {
        ByteOrder::Big => u32::from_be_bytes(*quad),
        ByteOrder::Little => u32::from_le_bytes(*quad),
    });
    points
        .map(|point| match point {
            0xd800..0xe000 => Err(Rejected::new(LONE_SURROGATE, "half a surrogate pair in a UTF-32 body")),
            _ => char::from_u32(point).ok_or_else(|| Rejected::new(NOT_UTF8, "no UTF-32: a number beyond Unicode")),
        })
        .collect()
}

/// Builds a [`Value`], and fails (as a data error, the only one it makes) on a key that stands there twice.
#[derive(Clone, Copy)]
struct Strict {
    duplicates: Duplicates,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if self.duplicates == Duplicates::Refuse && out.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {} twice in one object", named(&key))));
            }
            out.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(out))
    }
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
