//! Patterns against CPython: what compiles matches the same texts, what CPython refuses is refused.
//!
//! Needs `python3`, any from 3.6; the promise is about 3.8 (`LABELSYNC_PYTHON` names another).

#[path = "pattern/dice.rs"]
mod dice;
#[path = "pattern/oracle.rs"]
mod oracle;

use labelsync::sync::pattern::{MAX_NESTED_GROUPS, MAX_PATTERN_CHARS, Pattern, StepLimit};
use oracle::{Case, Tally, ask, compare};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn cases(patterns: &[&str], on: &[&str]) -> Vec<Case> {
    patterns.iter().map(|&pattern| Case { pattern: pattern.to_owned(), texts: texts(on) }).collect()
}

const KEYS: &[&str] = &[
    "", "a", "b", "ab", "aa", "abab", "img/a.jpg", "img/a.jpgx", "a/img/1", "img/b.PNG", "img/a.jpg\n", "a\nb", "\n", "a\n",
    "a\n\n", "a-b", "a&b", "&", "-", "~", "[", "]", "a]", "[a]", "[:alpha:]", "a{b", "a{,3}", "aaa", "a{1", "x{}", "#", "a #b", " ",
    "a b", "a\tb", "é", "É", "e\u{301}", "²", "٣", "12", "_", "\u{203f}", "\u{1c}", "\u{85}", "\u{a0}", "\u{200d}", "K", "k",
    "K", "ſ", "s", "S", "ı", "İ", "i", "I", "ß", "ẞ", "µ", "μ", "ς", "Σ", "в", "ᲀ", "ꭰ", "Ꭰ", "😀", "\u{10400}", "\u{10428}", "\u{e000}", "A",
    "\0", "cat/cat.jpg", "cat/dog.jpg", "<a>", "<a", "a.b", "aXb", "a1", "1a", "foo bar", "foobar", "cafés", "\u{8}", "\u{7}", "\\", "'\"",
];

const CORPUS: &[&str] = &[
    // What Label Studio's users write.
    ".*", ".", ".+", r".*\.jpg", r"img/.*\.(jpe?g|png)$", r"^img/", r"img/[^/]*$", r"(?i).*\.(JPG|png)", r"a/(?!b).*", r".*(?<!\.jpg)$",
    r"(?!.*/\.)", r"^(?!.*thumb).*\.jpg$", r"\d+\.jpg$", r"(\w+)/\1\.jpg", r"(?P<n>\w+)/(?P=n)\.jpg", r"(<)?a(?(1)>)", r"(?P<o><)?a(?(o)>|$)",
    r"[\w.-]+/[\w.-]+", r"a|b", "|", "", "()", "(|a)", r"\A.*\Z",
    // Sets.
    "[a&&b]", "[[a]", "[[a]]", "[a--b]", "[a~~b]", "[a||b]", "[[:alpha:]]", "[]a]", "[^]a]", "[a-]", "[-a]", "[a^]", "[^^]", r"[\]]", r"[\b]",
    r"[\d-]", r"[\w-]", r"[.]", "[*+?{}()|$]", r"[\x41-\x5a]", r"[\u0041]", r"[\U0001f600]", r"[\101]", r"[^\s\S]", r"[\s\S]", r"[^\d\D]",
    r"[\x00-\U0010ffff]", r"[^\x00-\U0010ffff]", r"[\ud800-\udfff]", r"\ud83d", r"[^\ud83d]", "[#]", "[ ]", r"[\\]", r"[\^]", "[é-ü]",
    // Braces that are text, and those that are not.
    "a{b", "a{,3}", "a{,}", "a{1", "a{1,", "a{1,2", "x{}", "{", "{1", "}", "a{2}", "a{2,}", "a{0}", "a{1,2}?", "a{ 1}", "a{1 ,2}", "{a}",
    // Places.
    "a$", "$", "$$", r"a$\n", r"$\n", r"(a$)\n?", "(a$|b)c?", "^a", "b^", "(?m)^b", "(?m)a$", r"(?m)$\n^b", r"\Aa", r"a\Z", r"a\n\Z",
    r"\ba", r"\bé", r"é\b", r"\B", r"a\B", r"\b", r"(?a)é\b", r"(?a)\ba\b", r"(?a)\B", r"\b\u203f", r"²\b", r"a\b\n", r"\Bb",
    // Kinds of characters.
    r"\w+$", r"\W+$", r"\d", r"\D", r"\s", r"\S", r"(?a)\w", r"(?a)\d", r"(?a)\s", r"(?a)\W", r"(?u)\w", "(?a:\\w)\\w", r"(?a:(?u:\w))",
    // Flags.
    "(?s).*b", "a.b", "(?s:a.)b", "(?i:a)b", "(?i)a(?-i:b)", "(?i-s:A.)", "(?x) a b # c\n", r"(?x)a\ b", "(?x)[ ]", "(?x:a b) ", "(?-x:a b)",
    "(?x)a #b", "(?x)a{1 }", "(?x)a +", r"(?x)\#", "(?imsx)A", "(?x)(?-x: )", "(?is)(?:A).", "(?iu)É", "(?ia)é", "(?ia)K", "(?ix) k",
    // Case.
    "(?i)k", "(?i)K", "(?i)s", "(?i)ſ", "(?i)i", "(?i)ı", "(?i)İ", "(?i)I", "(?i)ß", "(?i)ẞ", "(?i)µ", "(?i)ς", "(?i)в", "(?i)[a-k]",
    "(?i)[^k]", "(?i)[^a-z]", "(?i)[I]", "(?i)[à-ý]", "(?ai)[k-s]", "(?ai)s", r"(?i)[\x00-\U0010ffff]", r"(?i)[\U00010400-\U00010410]",
    r"(?i)[^\U00010000-\U0010ffff]", r"(?i)\u017f", r"(?i)\w", r"(?i)[\W]", "(?i)Σ", "(?i)😀",
    // Escapes.
    r"\x61", r"\u0061", r"\U00000061", r"\141", r"\0", r"\00", r"\08", r"\t", r"\n", r"\a", r"[\a]", r"\.", r"\/", r"\-", r"\é", r"\_"," \\ ", r"\#",
    r"(a)(b)\2\1", r"(a)\1", r"(a)\11", r"(a)|\1b", r"((a)b)\2", r"(a)(?=\1)",
    // Repeats.
    "(?:a*)*", "(?:a*)+", "(?:a|)*b", "(a*?)*?b", "(?:)*", "a*?", "a+?b", "a??b", "(?:a{2}){2}", "(?:a?){3}", "(?:a|b)*?$", "(?:){3}", "(){2}",
    // Look-around.
    "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?=a)*", "(?!a)?", "(?=(a+))\\1", "a(?=b|$)", "(?<=^)a", "(?<=a|b)b", "(?<=(?:ab))a",
    r"(?<=\b)a", r"(?<=[ab]{2})a", r"(?<!^)b", r"(?=.*\d)(?=.*[a-z]).*", r"(?<=(a))b\1", "(?<=(?=a))a", r"(?<=a(?=b))b", "(?<=)a", "(?!)",
    "(?=)", "(?<!)", r"(a)?(?(1)b|c)", r"(?:(a)|b)(?(1)b)", r"(a)?(?(1)|b)", r"(a)?(?(1))b",
    // Comments.
    "a(?#comment)b", r"(?#\))a", "a(?#)*", "(?#c)", "(?x)a#(\nb",
    // Refused by CPython.
    "(", ")", "a)", "(a", "[", "[a", "[]", "[^]", "[^", "*", "+a", "?", "a**", "a+*", "a?{2}", "{2}", "^*", "$+", r"\b*", r"\A?", "(?:*)", "|*", "(*)", r"\",
    r"a\", r"\q", r"\p{L}", r"\z", r"\Q", r"[\q]", r"[\A]", r"[\Z]", r"[\B]", r"[\8]", r"\8", r"\1", r"(\1)", r"(a)\2", r"\400", r"[\400]", r"\x4", r"\xg", r"\u12",
    r"\U1234", r"\U00110000", r"[b-a]", r"[\d-z]", r"[a-\d]", "a{2,1}", "a{99999999999}", "(?P<n>a)(?P<n>b)", "(?P<1>a)", "(?P<>a)", "(?P<n", "(?P=x)", "(?P=", "(?P",
    "(?Px)", "(?", "(?<", "(?<n>a)", "(?z)", "(?-i)", "(?i-)", "(?i", "(?i-i:a)", "(?-a:b)", "(?au)", "(?a)(?u)", "(?L)a", "(?i-L:a)", "(?(", "(?(1", "(?(a)b)", "(?(0)b)",
    "(?(-1)b)", "(a)(?(1)b|c|d)", "(a)(?(1)b", "(?<=a*)b", "(?<=a|bc)d", "(?<!a?)b", "(?<=(a)\\1)b", "(?#c", "(?:a", "(?=a", "(?P<a>\\g<a>)", "(?P<n>(?P=n))", "(?i:a",
    r"\N", r"(?<=(?P<n>a)(?P=n))", "(?\\i)", "(?P<a b>c)", "(?P\\x", "(?iz)", "(?i-z:a)", "(?i-:a)", "(?1)",
];

#[test]
fn l58_c24_the_corpus_means_what_cpython_means() {
    let tally = compare(&cases(CORPUS, KEYS));
    tally.agree();
    assert_eq!(tally.step_limits, 0);
    assert!(tally.refused_by_both > 90, "{}", tally.refused_by_both);
    assert!(tally.not_supported.is_empty(), "{:?}", tally.not_supported);
    assert!(tally.misplaced.is_empty(), "{}", tally.misplaced.join("\n"));
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
    good_for_something(&compare(&dice::wide_cases(0x6c61_6265_6c73_796e, 2500)));
}

#[test]
fn l58_c24_random_patterns_of_few_letters() {
    good_for_something(&compare(&dice::dense_cases(0x6c61_6265_6c73_796e, 2500)));
}
