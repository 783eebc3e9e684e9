//! CPython's `re`, asked over a pipe.
//!
//! Promise: every case is answered by one process of the machine's `python3` (`LABELSYNC_PYTHON` names another).

use std::io::Write as _;
use std::process::{Command, Stdio};

use labelsync::sync::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// Reads one case a line, answers one a line; a case that takes CPython too long is answered "slow".
const ORACLE: &str = r#"
import json, re, signal, sys, warnings
warnings.simplefilter("ignore")
class Slow(Exception): pass
def stop(*_): raise Slow()
signal.signal(signal.SIGALRM, stop)
for line in sys.stdin.buffer:
    case = json.loads(line)
    answer = {"error": None, "position": None, "slow": False, "matched": [], "found": []}
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        pattern = re.compile(case["pattern"])
        for text in case["texts"]:
            answer["matched"].append(pattern.match(text) is not None)
            answer["found"].append(pattern.search(text) is not None)
    except Slow:
        answer["slow"] = True
    except re.error as error:
        answer["error"] = str(error.msg)
        answer["position"] = error.pos
    except Exception as error:
        answer["error"] = repr(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(answer))
"#;

/// A pattern and what to try it on.
#[derive(Clone, Serialize)]
pub struct Case {
    pub pattern: String,
    pub texts: Vec<String>,
}

/// What CPython says.
#[derive(Deserialize)]
pub struct Answer {
    /// Why it refuses the pattern.
    pub error: Option<String>,
    position: Option<usize>,
    slow: bool,
    /// `re.match`, a text each.
    pub matched: Vec<bool>,
    found: Vec<bool>,
}

/// What comparing showed.
#[derive(Default)]
pub struct Tally {
    /// Texts on which both agree, for `match` and for `search`.
    pub same: usize,
    /// Those of them that matched.
    pub matches: usize,
    pub linear_patterns: usize,
    pub backtracking_patterns: usize,
    pub refused_by_both: usize,
    pub not_supported: Vec<String>,
    pub step_limits: usize,
    pub wrong: Vec<String>,
    /// Refused by both, at another place.
    pub misplaced: Vec<String>,
}

/// Asks CPython.
pub fn ask(cases: &[Case]) -> Vec<Answer> {
    let python = std::env::var("LABELSYNC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut child = Command::new(&python)
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("these tests compare with CPython: cannot start {python}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines: String = cases.iter().map(|case| serde_json::to_string(case).expect("a case is JSON") + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all cases");
    assert!(output.status.success(), "{python} failed");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let answers: Vec<Answer> = text.lines().map(|line| serde_json::from_str(line).expect("an answer a line")).collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

/// Asks CPython and compares.
pub fn compare(cases: &[Case]) -> Tally {
    let mut tally = Tally::default();
    for (case, answer) in cases.iter().zip(ask(cases)) {
        let source = &case.pattern;
        match (Pattern::compile(source), &answer.error) {
            (_, None) if answer.slow => {}
            (Ok(pattern), None) => tally.texts(&pattern, case, &answer),
            (Err(error), Some(theirs)) => {
                tally.refused_by_both += 1;
                if answer.position.is_some_and(|position| position != error.position) {
                    tally.misplaced.push(format!("{source:?}: {error}, CPython {theirs} at {:?}", answer.position));
                }
            }
            (Err(error), None) => {
                let said = ["not supported", "memory", "Python 3.11"].iter().any(|word| error.message.contains(word));
                let list = if said { &mut tally.not_supported } else { &mut tally.wrong };
                list.push(format!("{source:?}: CPython takes it, refused: {error}"));
            }
            // CPython 3.8 only warned, and 3.6 could not scope these flags yet.
            (Ok(_), Some(error)) if error.starts_with("global flags not at the start") => {}
            (Ok(_), Some(error)) if error.contains("cannot turn on global flag") => {}
            (Ok(_), Some(error)) => tally.wrong.push(format!("{source:?}: taken, CPython refuses: {error}")),
        }
    }
    tally
}

impl Tally {
    fn texts(&mut self, pattern: &Pattern, case: &Case, answer: &Answer) {
        if pattern.is_linear() {
            self.linear_patterns += 1;
        } else {
            self.backtracking_patterns += 1;
        }
        let source = &case.pattern;
        for (text, (&matched, &found)) in case.texts.iter().zip(answer.matched.iter().zip(&answer.found)) {
            for (verb, ours, theirs) in
                [("match", pattern.is_match(text), matched), ("search", pattern.is_found(text), found)]
            {
                match ours {
                    Ok(ours) if ours == theirs => {
                        self.same += 1;
                        self.matches += usize::from(ours);
                    }
                    Ok(ours) => self.wrong.push(format!("{source:?}.{verb}({text:?}): {ours}, CPython {theirs}")),
                    Err(_) => self.step_limits += 1,
                }
            }
        }
    }

    /// Fails if they disagree anywhere.
    pub fn agree(&self) {
        let shown: Vec<&str> = self.wrong.iter().take(20).map(String::as_str).collect();
        assert!(self.wrong.is_empty(), "{} disagreements with CPython:\n{}", self.wrong.len(), shown.join("\n"));
    }
}
