//! Patterns against CPython: what compiles matches the same texts, what CPython refuses is refused.
//!
//! Needs `python3`, 3.8 or later (the promise is about 3.8). `LABELSYNC_PYTHON` names another one, `LABELSYNC_SEED`
//! other random patterns.

#[path = "pattern/corpus.rs"]
mod corpus;
#[path = "pattern/dice.rs"]
mod dice;
#[path = "pattern/oracle.rs"]
mod oracle;

use corpus::{CORPUS, KEYS};
use labelsync::sync::pattern::{MAX_NESTED_GROUPS, MAX_PATTERN_CHARS, Pattern, StepLimit};
use oracle::{Case, Tally, ask, compare};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn cases(patterns: &[&str], on: &[&str]) -> Vec<Case> {
    patterns.iter().map(|&pattern| Case { pattern: pattern.to_owned(), texts: texts(on) }).collect()
}

#[test]
fn l58_c24_the_corpus_means_what_cpython_means() {
    let tally = compare(&cases(CORPUS, KEYS));
    tally.agree();
    assert_eq!(tally.step_limits, 0);
    assert!(tally.refused_by_both > 90, "{}", tally.refused_by_both);
    assert!(tally.not_supported.is_empty(), "{:?}", tally.not_supported);
    assert!(tally.misplaced.is_empty(), "{}", tally.misplaced.join("\n"));
}

/// The same patterns every time; another seed looks at others.
fn seed() -> u64 {
    std::env::var("LABELSYNC_SEED").map_or(0x6c61_6265_6c73_796e, |seed| seed.parse().expect("a number"))
}

fn good_for_something(tally: &Tally) {
    tally.agree();
    let patterns = tally.linear_patterns + tally.backtracking_patterns;
    assert!(patterns > 900 && tally.linear_patterns > 200 && tally.backtracking_patterns > 200, "{patterns}");
    assert!(tally.matches * 20 > tally.same, "{} of {} texts matched", tally.matches, tally.same);
    assert!(tally.not_supported.len() * 5 < patterns, "{} not supported", tally.not_supported.len());
    assert!(tally.step_limits * 1000 < tally.same, "{} step limits", tally.step_limits);
}

#[test]
fn l58_c24_random_patterns_of_all_syntax() {
    good_for_something(&compare(&dice::wide_cases(seed(), 2500)));
}

#[test]
fn l58_c24_random_patterns_of_few_letters() {
    good_for_something(&compare(&dice::dense_cases(seed(), 2500)));
}

/// Characters of Unicode 12.1, the tables of CPython 3.8, without those for private use.
fn known_characters() -> Vec<String> {
    let known = regex::Regex::new(r"\A[\p{age:12.1}--\p{Co}]\z").expect("the regex crate knows ages");
    (0..=u32::from(char::MAX)).filter_map(char::from_u32).map(String::from).filter(|ch| known.is_match(ch)).collect()
}

#[test]
fn l58_classes_agree_over_all_code_points() {
    let texts = known_characters();
    assert!(texts.len() > 130_000);
    let patterns = [r"\w", r"\d", r"\s", r"[^\W]", r"(?i)[\w\s]", r"(?a)\w", r"(?a)\s", "."];
    let cases = patterns.map(|pattern| Case { pattern: pattern.to_owned(), texts: texts.clone() });
    for (case, answer) in cases.iter().zip(ask(&cases)) {
        let pattern = Pattern::compile(&case.pattern).unwrap();
        let differ: Vec<&String> = (case.texts.iter().zip(&answer.matched))
            .filter(|(text, theirs)| pattern.is_match(text).unwrap() != **theirs)
            .map(|(text, _)| text)
            .collect();
        assert!(differ.is_empty(), "{}: {differ:?}", case.pattern);
    }
}

/// Equal under `(?i)` only for later CPython versions than 3.8, which ours does not follow.
const SAME_SINCE_3_9: &[char] = &['ᲀ', 'ᲁ', 'ᲂ', 'ᲃ', 'ᲄ', 'ᲅ', 'ᲆ', 'ᲇ', 'ᲈ'];

#[test]
fn l58_ignoring_case_agrees_over_all_letters() {
    let letters: Vec<char> = known_characters()
        .iter()
        .filter_map(|text| text.chars().next())
        .filter(|ch| !ch.to_lowercase().eq([*ch]) || !ch.to_uppercase().eq([*ch]))
        .filter(|ch| !SAME_SINCE_3_9.contains(ch))
        .collect();
    assert!(letters.len() > 2600, "{}", letters.len());
    let mut families = std::collections::BTreeMap::<char, Vec<char>>::new();
    let key = |ch: char| ch.to_lowercase().next().and_then(|ch| ch.to_uppercase().next()).unwrap_or(ch);
    letters.iter().for_each(|&ch| families.entry(key(ch)).or_default().push(ch));
    let cases: Vec<Case> = letters
        .iter()
        .flat_map(|&ch| {
            let texts: Vec<String> = families[&key(ch)].iter().chain(&['i', 's', 'z']).map(char::to_string).collect();
            ["", "^"].map(|not| Case { pattern: format!("(?i)[{not}{ch}]"), texts: texts.clone() })
        })
        .collect();
    let tally = compare(&cases);
    tally.agree();
    assert!(tally.linear_patterns > 4700, "{}", tally.linear_patterns);
    let odd: Vec<&String> = tally.not_supported.iter().filter(|text| !text.contains("beyond U+FFFF")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

/// Unicode's folding, Rust's and later CPython's take other letters for the same.
#[test]
fn l58_ignoring_case_follows_cpython_3_8() {
    for (source, text, matched) in [
        ("(?i)i", "ı", true),
        ("(?i)i", "İ", true),
        ("(?i)s", "ſ", true),
        ("(?i)k", "\u{212a}", true),
        ("(?i)ß", "ẞ", true),
        ("(?i)в", "ᲀ", false),
        ("(?i)ß", "ss", false),
        ("(?i)ɤ", "\u{a7cb}", false),
        ("(?ia)k", "\u{212a}", false),
    ] {
        assert_eq!(Pattern::compile(source).unwrap().is_match(text), Ok(matched), "{source} {text}");
    }
}

#[test]
fn c24_what_label_studio_took() {
    let keys = [
        "a",
        "a/",
        "a/1.jpg",
        "a/2.json",
        "a/b/",
        "a/b/3.jpg",
        "a/b/c/4.jpg",
        "a//6.jpg",
        "ab/5.jpg",
        "b.jpg",
        "dir/",
        "/lead.jpg",
        "z.jpg",
    ];
    let recorded: &[(&str, &[&str])] = &[
        (r".*\.jpg", &["a/1.jpg", "a/b/3.jpg", "a/b/c/4.jpg", "a//6.jpg", "ab/5.jpg", "b.jpg", "/lead.jpg", "z.jpg"]),
        (r"a/\d\.", &["a/1.jpg", "a/2.json"]),
        (r".*jpg$", &["a/1.jpg", "a/b/3.jpg", "a/b/c/4.jpg", "a//6.jpg", "ab/5.jpg", "b.jpg", "/lead.jpg", "z.jpg"]),
        (
            r"(?i).*\.JPG",
            &["a/1.jpg", "a/b/3.jpg", "a/b/c/4.jpg", "a//6.jpg", "ab/5.jpg", "b.jpg", "/lead.jpg", "z.jpg"],
        ),
        ("a/(?!b).*", &["a/", "a/1.jpg", "a/2.json", "a//6.jpg"]),
        ("z", &["z.jpg"]),
        ("^b", &["b.jpg"]),
        ("jpg", &[]),
        (r"[^/]*$", &["a", "b.jpg", "z.jpg"]),
    ];
    for (source, taken) in recorded {
        let pattern = Pattern::compile(source).unwrap();
        let ours: Vec<&str> = keys.into_iter().filter(|key| pattern.is_match(key).unwrap()).collect();
        assert_eq!(&ours, taken, "{source}");
    }
    let digits = Pattern::compile(r"\d+\.jpg$").unwrap();
    let taken = ["1.jpg", "\u{663}.jpg", "12.jpgx", "a1.jpg"].map(|key| digits.is_match(key).unwrap());
    assert_eq!(taken, [true, true, false, false]);
    let error = Pattern::compile("(").unwrap_err();
    assert!(error.to_string().starts_with("missing ), unterminated subpattern"), "{error}");
    assert_eq!(error.position, 0);
}

#[test]
fn l58_anchored_at_the_start_only() {
    let pattern = Pattern::compile("img/.*").unwrap();
    assert_eq!(pattern.is_match("a/img/1"), Ok(false));
    assert_eq!(pattern.is_found("a/img/1"), Ok(true));
    assert_eq!(Pattern::compile("img/a").unwrap().is_match("img/abc"), Ok(true));
    assert_eq!(Pattern::compile("a.b").unwrap().is_match("a\nb"), Ok(false));
    assert_eq!(Pattern::compile("").unwrap().is_match(""), Ok(true));
}

/// CPython 3.8 takes these and only warns; later ones refuse them.
#[test]
fn c24_global_flags_anywhere() {
    for (source, text, matched) in
        [("a(?i)", "A", true), ("a(?i)b", "AB", true), ("(a(?s)).", "a\n", true), ("a b(?x)", "ab", true)]
    {
        assert_eq!(Pattern::compile(source).unwrap().is_match(text), Ok(matched), "{source}");
    }
}

#[test]
fn c24_what_is_not_supported_is_said_with_its_place() {
    for (source, position, words) in [
        (r"a\N{EM DASH}", 1, "write the character itself"),
        (r"[a\N{EM DASH}]", 2, "write the character itself"),
        ("é(?>a)", 2, "Python 3.11"),
        ("éa*+", 3, "Python 3.11"),
        ("a{2}+", 4, "Python 3.11"),
        (r"(?i)(a)\1", 7, "(?-i:"),
        (r"(a)*\1", 4, "repeat"),
        (r"(?!(a))b\1", 8, "negative look-around"),
        (r"((?(1)a|b))", 4, "not closed"),
        (r"(?(1)a|b)(c)", 3, "not closed"),
        ("(?P<é>a)", 4, "ASCII"),
        ("(?t)a", 2, "leave it out"),
        ("(?i)[a\u{10400}]", 4, "both cases"),
        (r"()\1{1000}", 0, "rounds"),
        (r"\p{L}", 0, "Python knows no"),
        (r"a\z", 1, r"\Z"),
        (r"(?<name>a)", 1, "(?P<name>"),
        (r"(?<=a*)b", 0, "fixed-width"),
    ] {
        let error = Pattern::compile(source).expect_err(source);
        assert_eq!(error.position, position, "{source}: {error}");
        assert!(error.message.contains(words), "{source}: {error}");
    }
}

#[test]
fn l57_compiling_is_bounded() {
    let nested = |open: &str, close: &str, levels: usize| format!("{}a{}", open.repeat(levels), close.repeat(levels));
    let behind: String = (0..60).map(|i| format!(r"(?<=\w{{20}}{i})")).collect();
    for source in [
        "a{4294967294}".to_owned(),
        r"\w{4000}".to_owned(),
        nested("(?:", "){1000}", 5),
        nested("(?:(?=a)", "){1000}", 5),
        r"()(?:(?:\1{1000}){1000}){1000}b".to_owned(),
        r"(?=a)(?:(?:(?:){1000}){1000}){1000}b".to_owned(),
        format!("{}a", "(?=".repeat(MAX_NESTED_GROUPS + 1)),
        nested("(", ")", MAX_NESTED_GROUPS + 1),
        "(".repeat(MAX_PATTERN_CHARS),
        "a".repeat(MAX_PATTERN_CHARS + 1),
        behind,
    ] {
        let start: String = source.chars().take(40).collect();
        let error = Pattern::compile(&source).expect_err(&start);
        assert!(!error.message.is_empty());
    }
    for source in [
        "é".repeat(MAX_PATTERN_CHARS),
        r"\w{64}".to_owned(),
        r"(?=\w)\w{64}".to_owned(),
        nested("(", ")", MAX_NESTED_GROUPS),
        nested("(?=", ")", MAX_NESTED_GROUPS),
        nested("(?:b|", ")*?(?!c)", MAX_NESTED_GROUPS),
        "(?:(?:(?:){1000}){1000}){1000}".to_owned(),
    ] {
        let start: String = source.chars().take(40).collect();
        assert!(Pattern::compile(&source).is_ok(), "{start}");
    }
}

#[test]
fn l57_matching_is_linear_or_limited() {
    let key = "a".repeat(1024);
    for source in ["(a*)*$", "(a|a)*b", "(a+)+$b?", r"(?:.*a){12}x", r"^(.*)/([^/]*)\.jpe?g$", r"(?a)\ba+\b", "(?m)a$b"]
    {
        let pattern = Pattern::compile(source).unwrap();
        assert_eq!(pattern.is_linear(), source != "(a+)+$b?", "{source}");
        assert!(!pattern.is_linear() || pattern.is_match(&key).is_ok(), "{source}");
    }
    for source in ["(?:a|a(?=a))*b", r"(.*)(.*)(.*)\1\2\3x", r"(?:a|a(?=.*a))*b"] {
        assert_eq!(Pattern::compile(source).unwrap().is_match(&key), Err(StepLimit), "{source}");
    }
    for (source, matched) in
        [(".*.*(?=x)", false), (r"(a*)\1$", true), (r".*(?<!b)$", true), (r"()(?:(?:\1*)*)*b", false)]
    {
        assert_eq!(Pattern::compile(source).unwrap().is_match(&key), Ok(matched), "{source}");
    }
}

#[test]
fn equal_when_written_the_same() {
    let pattern = Pattern::compile(r"a\.jpg").unwrap();
    assert_eq!(pattern.as_str(), r"a\.jpg");
    assert_eq!(pattern, Pattern::compile(r"a\.jpg").unwrap());
    assert_ne!(pattern, Pattern::compile(r"a[.]jpg").unwrap());
}
