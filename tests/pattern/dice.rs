//! Random patterns and texts from fixed seeds.

use crate::oracle::Case;

/// A fixed stream of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit") % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

#[rustfmt::skip]
const TEXT_PIECES: &[&str] = &[
    "", "a", "b", "ab", "aa", "ba", "1", "_", "-", "/", ".", " ", "\n", "\n", "A", "é", "É", "\u{301}", "²", "٣",
    "\u{1c}", "\u{85}", "ſ", "ı", "K", "😀", "x", "#", "[", "]", "\u{203f}", "\u{200d}",
];

fn wide_text(dice: &mut Dice) -> String {
    (0..dice.roll(7)).map(|_| dice.pick(TEXT_PIECES)).collect()
}

#[rustfmt::skip]
const ATOMS: &[&str] = &[
    "a", "b", "a", "b", ".", "1", "/", "-", " ", "#", "é", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\.", r"\/",
    r"\x61", r"\u00e9", r"\n", r"\101", r"\0", "^", "$", r"\A", r"\Z", r"\b", r"\B", "]", "}", "{", "\n", "[ab]",
    "[^ab]", "[a-c]", "[]a]", "[^]a]", "[a&&b]", "[a--b]", "[[a]", "[a~~b]", r"[\w-]", r"[^\d\s]", r"[\b]",
    "[[:alpha:]]", "[^é]", r"[\x00-\U0010ffff]", "[K-ſ]", "k", "s", "i", "(?#c)", "(?i)", "(?m)",
];

#[rustfmt::skip]
const REPEATS: &[&str] = &[
    "", "", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "*?", "+?", "??", "{0,1}?", "{0}",
];

/// Well-formed more often than not; nothing here is slow in CPython for short texts.
fn wide_pattern(dice: &mut Dice, depth: usize, groups: &mut usize) -> String {
    let mut out = String::new();
    for _ in 0..dice.roll(4) + 1 {
        let piece = if depth == 0 || dice.roll(3) > 0 {
            dice.pick(ATOMS).to_owned()
        } else {
            let kind = dice.roll(14);
            let open = match kind {
                0..=3 => "(".to_owned(),
                4..=5 => "(?:".to_owned(),
                6 => dice.pick(&["(?i:", "(?s:", "(?m:", "(?-i:", "(?a:", "(?x:", "(?u:"]).to_owned(),
                7..=8 => "(?=".to_owned(),
                9 => "(?!".to_owned(),
                10 => "(?<=".to_owned(),
                11 => "(?<!".to_owned(),
                12 if *groups > 0 => format!("(?({})", dice.roll(*groups) + 1),
                _ if *groups > 0 => {
                    out.push_str(&format!(r"\{}", dice.roll(*groups) + 1));
                    out.push_str(dice.pick(REPEATS));
                    continue;
                }
                _ => "(".to_owned(),
            };
            if open == "(" {
                *groups += 1;
            }
            let mut inner = wide_pattern(dice, depth - 1, groups);
            if dice.roll(3) == 0 {
                inner.push('|');
                inner.push_str(&wide_pattern(dice, depth - 1, groups));
            }
            format!("{open}{inner})")
        };
        let place = ["^", "$", r"\A", r"\Z", r"\b", r"\B", "(?#c)", "(?i)", "(?m)"].contains(&piece.as_str());
        out.push_str(&piece);
        out.push_str(if place && dice.roll(20) > 0 { "" } else { dice.pick(REPEATS) });
    }
    out
}

/// Patterns of everything Python's syntax has, and texts that try them.
pub fn wide_cases(seed: u64, count: usize) -> Vec<Case> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|_| {
            let prefix = dice.pick(&["", "", "", "", "(?i)", "(?s)", "(?m)", "(?x)", "(?a)", "(?im)", "(?ia)"]);
            let pattern = format!("{prefix}{}", wide_pattern(&mut dice, 3, &mut 0));
            let texts = (0..12).map(|_| wide_text(&mut dice)).collect();
            Case { pattern, texts }
        })
        .collect()
}

/// Few letters, so that most patterns match something: groups, branches, references, repeats of what can be empty.
fn dense_pattern(dice: &mut Dice, depth: usize, groups: &mut usize) -> String {
    const ATOMS: &[&str] = &["a", "b", "a", "b", "c", ".", "[ab]", "[^a]", "", "$", "^", r"\b", r"\B", r"\n"];
    const REPEATS: &[&str] =
        &["", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "*?", "+?", "??", "{1,2}?", "{2,}?"];
    let mut out = String::new();
    for _ in 0..dice.roll(3) + 1 {
        if depth == 0 || dice.roll(2) > 0 {
            let atom = dice.pick(ATOMS);
            out.push_str(atom);
            let place = ["", "$", "^", r"\b", r"\B"].contains(&atom);
            out.push_str(if place { "" } else { dice.pick(REPEATS) });
            continue;
        }
        let open = match dice.roll(16) {
            0..=5 => "(",
            6..=7 => "(?:",
            8 => "(?=",
            9 => "(?!",
            10 => "(?<=",
            11 => "(?<!",
            12 if *groups > 0 => &format!("(?({})", dice.roll(*groups) + 1),
            _ if *groups > 0 => {
                out.push_str(&format!(r"\{}", dice.roll(*groups) + 1));
                out.push_str(dice.pick(REPEATS));
                continue;
            }
            _ => "(",
        };
        *groups += usize::from(open == "(");
        let branches = dice.roll(3) + 1;
        let inner: Vec<String> = (0..branches.min(2)).map(|_| dense_pattern(dice, depth - 1, groups)).collect();
        out.push_str(open);
        out.push_str(&inner.join("|"));
        out.push(')');
        out.push_str(if open.starts_with("(?") && !open.starts_with("(?:") && dice.roll(4) > 0 {
            ""
        } else {
            dice.pick(REPEATS)
        });
    }
    out
}

/// Patterns of few letters, and texts of the same letters.
pub fn dense_cases(seed: u64, count: usize) -> Vec<Case> {
    let mut dice = Dice(seed);
    let text = |dice: &mut Dice| (0..dice.roll(7)).map(|_| dice.pick(&["a", "b", "a", "b", "c", "\n"])).collect();
    (0..count)
        .map(|_| Case {
            pattern: dense_pattern(&mut dice, 3, &mut 0),
            texts: (0..14).map(|_| text(&mut dice)).collect(),
        })
        .collect()
}
