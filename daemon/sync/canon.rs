//! JSON compared by meaning: what Label Studio's readers and writers may change without changing anything.
//!
//! Promise: key order, white space, escapes, and the last digits of a double (ujson 3 reads them inexactly) make no
//! difference; everything else does.

use serde_json::Value;

use crate::names::Sha256;

/// Digits of a double that count: ujson 3.0 may change the 16th and 17th.
const SIGNIFICANT_DIGITS: usize = 14;

/// The hash of a value's meaning.
pub fn hash(value: &Value) -> Sha256 {
    let mut out = Vec::new();
    write(value, &mut out);
    Sha256::of(&out)
}

/// Whether both mean the same.
pub fn equal(a: &Value, b: &Value) -> bool {
    hash(a) == hash(b)
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(b) => out.push(if *b { b't' } else { b'f' }),
        Value::Number(n) => write_number(n, out),
        Value::String(s) => write_text(s, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write(item, out));
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, item) in entries {
                write_text(key, out);
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn write_number(number: &serde_json::Number, out: &mut Vec<u8>) {
    out.push(b'#');
    let text = match number.as_f64() {
        Some(x) if !number.is_i64() && !number.is_u64() => {
            // 1.0 and 1 are written differently by Python but mean the same to every reader of a task.
            if x.fract() == 0.0 && x.abs() < 9e15 {
                format!("{x:.0}")
            } else {
                format!("{x:.*e}", SIGNIFICANT_DIGITS - 1)
            }
        }
        _ => number.to_string(),
    };
    let text = if text == "-0" { "0".to_owned() } else { text };
    out.extend_from_slice(text.as_bytes());
    out.push(b';');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        equal(&serde_json::from_str(a).unwrap(), &serde_json::from_str(b).unwrap())
    }

    #[test]
    fn c4_reformatting_is_no_change() {
        assert!(same(r#"{"a":1,"b":[1.0,"\u00e9\/"]}"#, r#"{ "b": [1, "é/"], "a": 1 }"#));
        assert!(same("94.52706955539223", "94.52706955539225"));
        assert!(same("-0.0", "0"));
    }

    #[test]
    fn c4_another_value_is_a_change() {
        assert!(!same(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!same(r#"["ab","c"]"#, r#"["a","bc"]"#));
        assert!(!same("1.5", "1.50001"));
        assert!(!same("[[1],2]", "[[1,2]]"));
        assert!(!same(r#"{"a":null}"#, "{}"));
        assert!(!same("18446744073709551615", "18446744073709551614"));
    }
}
