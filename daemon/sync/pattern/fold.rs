//! Sets of code points, and which of them `(?i)` takes for the same.
//!
//! Promise: the letters CPython 3.8 takes for the same, measured over all code points (not Unicode's simple folding:
//! `i`, `I`, `ı`, `İ` are one to Python, and `в`, `ᲀ` are two).
//! Not here: what a set is written as (`emit`).

use std::sync::OnceLock;

/// No letter that has another case lies beyond it in Unicode 12.1.
const LAST_CASED: u32 = 0x1_E943;

/// CPython's `re` compares lower-case letters, and takes these for the same too: they share an upper-case letter.
const SAME_UPPER_CASE: [&[u32]; 16] = [
    &[0x69, 0x131],
    &[0x73, 0x17f],
    &[0xb5, 0x3bc],
    &[0x345, 0x3b9, 0x1fbe],
    &[0x390, 0x1fd3],
    &[0x3b0, 0x1fe3],
    &[0x3b2, 0x3d0],
    &[0x3b5, 0x3f5],
    &[0x3b8, 0x3d1],
    &[0x3ba, 0x3f0],
    &[0x3c0, 0x3d6],
    &[0x3c1, 0x3f1],
    &[0x3c2, 0x3c3],
    &[0x3c6, 0x3d5],
    &[0x1e61, 0x1e9b],
    &[0xfb05, 0xfb06],
];

/// A set of code points.
#[derive(Clone, Debug, Default)]
pub struct CodePoints {
    /// Both ends included, in the order they were added.
    ranges: Vec<(u32, u32)>,
}

impl CodePoints {
    pub fn add(&mut self, low: u32, high: u32) {
        self.ranges.push((low, high));
    }

    fn contains(&self, code: u32) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&code))
    }

    /// The ranges, sorted, apart, and without surrogates: no text contains them.
    pub fn ranges(&self) -> Vec<(u32, u32)> {
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for &(low, high) in &self.ranges {
            parts.extend((low < 0xd800).then(|| (low, high.min(0xd7ff))));
            parts.extend((high > 0xdfff).then(|| (low.max(0xe000), high)));
        }
        parts.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (low, high) in parts {
            match merged.last_mut() {
                // Regex-syntax negates ranges that meet at the surrogates wrongly, so they are made one.
                Some(last) if low <= last.1.saturating_add(1) || (last.1, low) == (0xd7ff, 0xe000) => {
                    last.1 = last.1.max(high);
                }
                _ => merged.push((low, high)),
            }
        }
        merged
    }

    /// Adds what `(?i)` takes for the same.
    pub fn fold(&mut self) {
        let missing: Vec<u32> =
            classes().iter().filter(|class| class.iter().any(|&c| self.contains(c))).flatten().copied().collect();
        self.ranges.extend(missing.into_iter().map(|code| (code, code)));
    }

    /// Adds what `(?ai)` takes for the same.
    pub fn fold_ascii(&mut self) {
        for upper in u32::from('A')..=u32::from('Z') {
            let lower = upper + 32;
            if self.contains(upper) || self.contains(lower) {
                self.ranges.extend([(upper, upper), (lower, lower)]);
            }
        }
    }
}

/// Whether `(?i)` takes another character for the same as this one.
pub fn has_case(code: u32) -> bool {
    classes().iter().any(|class| class.contains(&code))
}

/// Characters that are one under `(?i)`, two or more together.
fn classes() -> &'static [Vec<u32>] {
    static CLASSES: OnceLock<Vec<Vec<u32>>> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let known = regex::Regex::new(r"\A\p{age:12.1}\z").expect("the regex crate knows ages");
        let known = |ch: char| known.is_match(ch.encode_utf8(&mut [0; 4]));
        let mut classes = std::collections::BTreeMap::<u32, Vec<u32>>::new();
        for upper in (0..=LAST_CASED).filter_map(char::from_u32) {
            let lower = upper.to_lowercase().next().unwrap_or(upper);
            if lower != upper && known(upper) {
                classes.entry(u32::from(lower)).or_insert_with(|| vec![u32::from(lower)]).push(u32::from(upper));
            }
        }
        for same in SAME_UPPER_CASE {
            let together = same.iter().flat_map(|code| classes.remove(code).unwrap_or_else(|| vec![*code])).collect();
            classes.insert(same[0], together);
        }
        classes.into_values().collect()
    })
}
