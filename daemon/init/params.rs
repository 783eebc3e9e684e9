//! `--source-params` and `--target-params`: the JSON of Label Studio's storages.
//!
//! Promise: what Label Studio knows means the same here; credentials are refused; JSON that a shell has eaten into is
//! answered with the line as it should be typed.
//! Not here: whether values are valid (`settings::check`).

use serde_json::Value;

use crate::names::printable;
use crate::settings::Problem;
use crate::settings::keys::{Key, Kind, did_you_mean, is_secret};

/// A command line holds no more; a longer text is a file by mistake.
const PARAMS_BYTES_MAX: usize = 64 << 10;

/// A setting as it will stand in the file: its key and its value in TOML.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// One of the side's keys.
    pub key: &'static str,
    /// In TOML's form.
    pub toml: String,
}

impl Setting {
    /// A string.
    pub fn text(key: &'static str, text: &str) -> Self {
        Self { key, toml: toml::Value::String(text.to_owned()).to_string() }
    }

    fn flag(key: &'static str, flag: bool) -> Self {
        Self { key, toml: flag.to_string() }
    }
}

/// Parameters that are said by other flags.
const SAID_BY_FLAGS: [&str; 3] = ["type", "bucket", "path"];
/// Parameters that Label Studio overrides in a target.
const WITHOUT_MEANING_IN_TARGET: [&str; 3] = ["regex", "use_blob_urls", "data_key"];

/// What is said while parameters are read.
#[derive(Debug, Default)]
pub struct Findings {
    /// They stop.
    pub problems: Vec<Problem>,
    /// They do not.
    pub warnings: Vec<Problem>,
}

/// Reads parameters. `option` is `--source-params` or `--target-params`, `known` the keys of that side, and
/// `corrected` makes the whole command line with other parameters.
pub fn read(
    option: &str,
    json: &str,
    known: &'static [Key],
    corrected: &dyn Fn(&str) -> String,
    findings: &mut Findings,
) -> Vec<Setting> {
    if json.len() > PARAMS_BYTES_MAX {
        let message = format!("has {} bytes", json.len());
        findings.problems.push(Problem::new(option, message, format!("at most {PARAMS_BYTES_MAX}")));
        return Vec::new();
    }
    let map = match serde_json::from_str::<Value>(json) {
        Ok(Value::Object(map)) => map,
        Ok(_) => {
            findings.problems.push(Problem::new(option, "is JSON, but no object", example(option)));
            return Vec::new();
        }
        Err(error) => {
            findings.problems.push(eaten(option, json, &error, corrected));
            return Vec::new();
        }
    };
    map.iter().filter_map(|(name, value)| setting(option, name, value, known, findings)).collect()
}

fn setting(option: &str, name: &str, value: &Value, known: &'static [Key], findings: &mut Findings) -> Option<Setting> {
    let path = format!("{option} {}", printable(name));
    if is_secret(name) {
        let remedy = "leave it out (and replace it: a command line is seen by everybody on this machine); give \
                      credentials through the environment, ~/.aws or systemd's LoadCredential=";
        findings.problems.push(Problem::new(path, "credentials are never taken from here", remedy));
        return None;
    }
    if option == "--target-params" && WITHOUT_MEANING_IN_TARGET.contains(&name) {
        let message = "means nothing for a target, in Label Studio too: left out";
        findings.warnings.push(Problem::new(path, message, "leave it out"));
        return None;
    }
    let key = known.iter().find(|key| key.name == name && !SAID_BY_FLAGS.contains(&name));
    let Some(key) = key else {
        let names = known.iter().map(|key| key.name);
        let remedy = match did_you_mean(name, names) {
            Some(meant) if !SAID_BY_FLAGS.contains(&name) => format!("did you mean `{meant}`?"),
            Some(_) | None => "leave it out".to_owned(),
        };
        findings.warnings.push(Problem::new(
            path,
            "is not known, and left out (Label Studio passes it over too)",
            remedy,
        ));
        return None;
    };
    match (key.kind, value) {
        (Kind::Text, Value::Null) => None,
        (Kind::Text, Value::String(text)) => {
            if key.name == "data_key" && text.ends_with('-') {
                let message = format!("`{}` ends in `-`: a shell takes `$value` out of double quotes", printable(text));
                let remedy = "name the label config's data key (for `value=\"$image\"` it is `image`), or leave it out";
                findings.warnings.push(Problem::new(path, message, remedy));
            }
            Some(Setting::text(key.name, text))
        }
        (Kind::Flag, Value::Bool(flag)) => Some(Setting::flag(key.name, *flag)),
        (Kind::Text | Kind::Flag, _) => {
            let wanted = if key.kind == Kind::Flag { "true or false" } else { "a string" };
            let remedy = match key.kind {
                Kind::Flag => format!("write it as \"{name}\": true"),
                Kind::Text => format!("write it as \"{name}\": \"…\""),
            };
            findings.problems.push(Problem::new(path, format!("must be {wanted}"), remedy));
            None
        }
    }
}

fn example(option: &str) -> String {
    format!("write it in single quotes: {option} '{{\"prefix\": \"in/\", \"regex\": \".*\"}}'")
}

/// The text is no JSON: most often a shell took its quotes (and `$value`), as it does with the documentation's own line.
fn eaten(option: &str, json: &str, error: &serde_json::Error, corrected: &dyn Fn(&str) -> String) -> Problem {
    let message =
        format!("is no JSON as it arrived here (column {}): the shell takes quotes and `$…` away", error.column());
    let Some(repaired) = repair(json) else {
        return Problem::new(option, message, example(option));
    };
    Problem::new(option, message, format!("in single quotes nothing is lost:\n    {}", corrected(&repaired)))
}

/// What was probably meant by an object whose quotes a shell took. `None`: it cannot be told.
fn repair(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut pairs = Vec::new();
    for pair in split_outside_quotes(inner, ',') {
        let (name, value) = pair.split_once(':')?;
        let name = name.trim().trim_matches('"');
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || is_secret(name) {
            return None;
        }
        let mut value: Value = match serde_json::from_str(value.trim()) {
            Ok(value) => value,
            Err(_) => Value::String(value.trim().trim_matches('"').to_owned()),
        };
        // The documentation's `my-object-tag-$value`, of which a shell leaves the beginning.
        if let ("data_key", Value::String(text)) = (name, &mut value)
            && text.ends_with('-')
        {
            text.push_str("$value");
        }
        pairs.push(format!("{}: {value}", Value::String(name.to_owned())));
    }
    (!pairs.is_empty()).then(|| format!("{{{}}}", pairs.join(", ")))
}

fn split_outside_quotes(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
    .collect()
}

/// A word as a shell takes it without change.
pub fn shell_word(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b'=');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_took_is_put_back() {
        let documented = r#"{"data_key": "my-object-tag-", "use_blob_urls": true, "regex": .*}"#;
        let meant = r#"{"data_key": "my-object-tag-$value", "use_blob_urls": true, "regex": ".*"}"#;
        assert_eq!(repair(documented).as_deref(), Some(meant));
        assert_eq!(repair("{prefix:in/,regex:.*}").as_deref(), Some(r#"{"prefix": "in/", "regex": ".*"}"#));
        for lost in ["", "{", "{}", "prefix=in", "{a b: 1}", "{regex:a{1,2}}", "{aws_secret_access_key: x}"] {
            assert_eq!(repair(lost), None, "{lost}");
        }
    }

    #[test]
    fn l72_words_pass_a_shell_unchanged() {
        assert_eq!(shell_word("my-s3-bucket"), "my-s3-bucket");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("a'b $x"), r"'a'\''b $x'");
    }
}
