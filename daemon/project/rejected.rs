//! Why an object, a task or a completion is refused, in words that stay.
//!
//! Promise: a code never changes its meaning (status, lists, metrics and scripts use it) and always has a remedy;
//! a detail is short, one line, and never repeats values of the data.
//! Not here: what is refused (`validate`, `strict_json`, `task_url`).

use std::fmt;

use crate::names::printable;

/// The object is larger than the limit.
pub const TOO_LARGE: &str = "too_large";
/// The bytes are not in an encoding that Label Studio takes from this kind of storage.
pub const NOT_UTF8: &str = "not_utf8";
/// The body is compressed.
pub const COMPRESSED: &str = "compressed";
/// The text is not JSON.
pub const NOT_JSON: &str = "not_json";
/// Arrays and objects are nested deeper than the limit.
pub const TOO_DEEP: &str = "too_deep";
/// More values than the limit.
pub const TOO_MANY_VALUES: &str = "too_many_values";
/// A number that Label Studio cannot read back (C11).
pub const NUMBER_OUT_OF_RANGE: &str = "number_out_of_range";
/// Half of a surrogate pair (C11).
pub const LONE_SURROGATE: &str = "lone_surrogate";
/// One object names a key twice.
pub const DUPLICATE_KEY: &str = "duplicate_key";
/// Neither an object nor a list of exactly one object.
pub const NOT_ONE_TASK: &str = "not_one_task";
/// `data` is there and is no object.
pub const DATA_NOT_OBJECT: &str = "data_not_object";
/// The data lack a key of the label config.
pub const DATA_MISSING_KEY: &str = "data_missing_key";
/// A value of the data has not the type that the label config asks for.
pub const DATA_WRONG_TYPE: &str = "data_wrong_type";
/// `meta` is neither an object nor a list.
pub const META_INVALID: &str = "meta_invalid";
/// `predictions` is no list of objects with a list `result`.
pub const PREDICTIONS_INVALID: &str = "predictions_invalid";
/// `completions` is no list of objects with a list `result`.
pub const COMPLETIONS_INVALID: &str = "completions_invalid";
/// An `s3://` or `gs://` URL that Label Studio cannot resolve (C12, C13).
pub const UNRESOLVABLE_URL: &str = "unresolvable_url";
/// A completion file that ends in the middle: Label Studio may still be writing it.
pub const TORN: &str = "torn";
/// Whole JSON, but no completion file of this task (C16).
pub const NOT_A_COMPLETION: &str = "not_a_completion";
/// A task body of the ledger that is not what labelsync stores.
pub const STORED_DAMAGED: &str = "stored_damaged";

/// Every code with its remedy.
pub const REMEDIES: [(&str, &str); 20] = [
    (TOO_LARGE, "make the object smaller, or leave it out with `exclude`"),
    (NOT_UTF8, "store the object as UTF-8 without a byte order mark (on S3 Label Studio reads nothing else)"),
    (COMPRESSED, "store the object uncompressed, or leave it out with `exclude`"),
    (
        NOT_JSON,
        "correct the JSON, or leave the object out with `exclude`; for images and other blobs set `use_blob_urls`",
    ),
    (TOO_DEEP, "nest the JSON less deep: Label Studio fails on such tasks, for everybody"),
    (TOO_MANY_VALUES, "put fewer values into the task, or refer to them by a URL"),
    (NUMBER_OUT_OF_RANGE, "write the number as a string, or leave it out: Label Studio cannot read it back"),
    (LONE_SURROGATE, "correct the text: a `\\ud800` to `\\udfff` without its other half is no character"),
    (DUPLICATE_KEY, "keep one of the two: which value is meant cannot be known"),
    (NOT_ONE_TASK, "store one task an object: `{…}` or `[{…}]`"),
    (DATA_NOT_OBJECT, "make `data` an object with the keys of the label config"),
    (DATA_MISSING_KEY, "add the key to the data, or correct the label config or `data_key`"),
    (DATA_WRONG_TYPE, "correct the value, or use the tag in the label config that fits it"),
    (META_INVALID, "make `meta` an object or a list, or leave it out"),
    (PREDICTIONS_INVALID, "make `predictions` a list of objects with a list `result`, or leave it out"),
    (COMPLETIONS_INVALID, "make `completions` a list of objects with a list `result`, or leave it out"),
    (UNRESOLVABLE_URL, "rename the object or correct the URL: Label Studio cannot fetch it"),
    (TORN, "nothing if Label Studio is writing it now; else restore the file, it is cut off"),
    (NOT_A_COMPLETION, "restore the file, or move it out of completions/: Label Studio fails on it, for everybody"),
    (STORED_DAMAGED, "the ledger is damaged: restore it, or rebuild it with `lsctl repair`"),
];

/// Characters of a name (a key, a bucket) that a detail shows.
const MAX_NAME_CHARS: usize = 80;

/// Something that must not be written or pushed, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Rejected {
    /// Stable: one of the constants of this module.
    pub code: &'static str,
    /// One line for a person.
    pub detail: String,
}

impl Rejected {
    /// With a code of this module.
    pub fn new(code: &'static str, detail: impl fmt::Display) -> Self {
        Self { code, detail: printable(&detail.to_string()).into_owned() }
    }

    /// What a person does next.
    pub fn remedy(&self) -> &'static str {
        remedy_of(self.code).unwrap_or("leave the object out with `exclude`")
    }
}

/// What a person does next about a code of this module.
pub fn remedy_of(code: &str) -> Option<&'static str> {
    REMEDIES.iter().find_map(|(known, remedy)| (*known == code).then_some(*remedy))
}

/// A name from the data as a detail may show it: quoted, short.
pub(crate) fn named(name: &str) -> String {
    if name.chars().count() <= MAX_NAME_CHARS {
        return format!("`{name}`");
    }
    let start: String = name.chars().take(MAX_NAME_CHARS).collect();
    format!("`{start}…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l93_every_code_is_listed_once() {
        let mut codes: Vec<_> = REMEDIES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REMEDIES.len());
    }

    #[test]
    fn l71_a_detail_cannot_forge_a_line() {
        let rejected = Rejected::new(DATA_MISSING_KEY, format_args!("no {}", named("a\n<0>\u{202e}b")));
        assert_eq!(rejected.detail, "no `a\\n<0>\\u{202e}b`");
        assert!(named(&"x".repeat(10_000)).len() < 100);
    }
}
