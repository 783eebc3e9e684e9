//! Python's `re` as Label Studio uses it: `re.match` on full keys.
//!
//! Promise: a pattern that compiles means what it means to CPython 3.8 (Unicode 12.1); what is not understood is refused
//! with its place. Compiling and matching are bounded.
//! Not here: which keys a project takes (`select`).
//!
//! Python's syntax is parsed here (`parse`, `escape`) into a small tree (`tree`) and written again for the `regex` crate
//! (`emit`, `fold`), every literal escaped: text is never wrapped. Matching takes linear time, except for what the
//! `regex` crate cannot say (look-around, back references, conditional groups, `\b`, `\B`, a `$` that something follows):
//! those go to `fancy-regex`, which counts its steps.

mod emit;
mod escape;
mod flags;
mod fold;
mod parse;
mod tree;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use emit::{Dialect, Stop};
use parse::Tree;

/// Characters of a pattern: hand-written ones are far shorter, and the parser's work grows with it.
pub const MAX_PATTERN_CHARS: usize = 4096;

/// Groups inside groups: the parsers below recurse (fancy-regex to 64 levels, itself counting some levels twice).
pub const MAX_NESTED_GROUPS: usize = 25;

/// Bytes of a compiled program: `\w` takes 45 KB, so `\w{64}` still compiles.
pub const MAX_PROGRAM_BYTES: usize = 4 << 20;

/// Instructions of a compiled backtracking program: two orders above what hand-written patterns need.
pub const MAX_PROGRAM_STEPS: usize = 50_000;

/// Backtracking steps for one key: a key has 1,024 bytes at most, so this is one quadratic pass over it (some 0.1 s).
pub const MAX_STEPS_PER_KEY: usize = 1_000_000;

/// Rounds of repeats whose body takes no text, beside look-around: `()(?:(?:\1{1000}){1000}){1000}` would run for hours.
pub const MAX_EMPTY_ROUNDS: u64 = 100;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Linear { anchored: regex::Regex, anywhere: regex::Regex },
    Backtracking { anchored: Arc<fancy_regex::Regex>, anywhere: Arc<fancy_regex::Regex> },
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// Why a pattern is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} at character {position}")]
pub struct PatternError {
    /// What is wrong or not supported.
    pub message: String,
    /// Counted in characters from 0.
    pub position: usize,
}

impl PatternError {
    fn new(message: impl Into<String>, position: usize) -> Self {
        Self { message: message.into(), position }
    }
}

/// Matching this key took more steps than a key is allowed (look-around and back references only): skip reason `regex_limit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepLimit;

impl Pattern {
    /// Compiles a Python pattern. Errors: what CPython 3.8 refuses, what is not supported, what is too large.
    pub fn compile(source: &str) -> Result<Self, PatternError> {
        if source.chars().nth(MAX_PATTERN_CHARS).is_some() {
            let message = format!("the pattern is longer than {MAX_PATTERN_CHARS} characters: use a shorter one");
            return Err(PatternError::new(message, MAX_PATTERN_CHARS));
        }
        let tree = parse::parse(source)?;
        let engine = match emit::emit(&tree, Dialect::Linear) {
            Ok(text) => linear(&text)?,
            Err(Stop::Refused(error)) => return Err(error),
            Err(Stop::NeedsBacktracking) => backtracking(&tree)?,
        };
        Ok(Self { source: source.to_owned(), engine })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// `re.match`: anchored at the start, not at the end. Errors: only for patterns that backtrack.
    pub fn is_match(&self, text: &str) -> Result<bool, StepLimit> {
        match &self.engine {
            Engine::Linear { anchored, .. } => Ok(anchored.is_match(text)),
            Engine::Backtracking { anchored, .. } => run(anchored, text),
        }
    }

    /// `re.search`: found anywhere. Errors: only for patterns that backtrack.
    pub fn is_found(&self, text: &str) -> Result<bool, StepLimit> {
        match &self.engine {
            Engine::Linear { anywhere, .. } => Ok(anywhere.is_match(text)),
            Engine::Backtracking { anywhere, .. } => run(anywhere, text),
        }
    }

    /// Whether every text is matched in linear time, without a step limit.
    pub fn is_linear(&self) -> bool {
        matches!(self.engine, Engine::Linear { .. })
    }
}

fn anchored(text: &str) -> String {
    format!(r"\A(?:{text})")
}

fn linear(text: &str) -> Result<Engine, PatternError> {
    Ok(Engine::Linear { anchored: build_linear(&anchored(text))?, anywhere: build_linear(text)? })
}

fn build_linear(text: &str) -> Result<regex::Regex, PatternError> {
    regex::RegexBuilder::new(text)
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map_err(|error| refused(matches!(error, regex::Error::CompiledTooBig(_))))
}

fn backtracking(tree: &Tree) -> Result<Engine, PatternError> {
    let write = |dialect| match emit::emit(tree, dialect) {
        Ok(text) => Ok(text),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::NeedsBacktracking) => Err(refused(false)),
    };
    let text = write(Dialect::Backtracking)?;
    build_linear(&write(Dialect::Size)?)?;
    Ok(Engine::Backtracking { anchored: build_backtracking(&anchored(&text))?, anywhere: build_backtracking(&text)? })
}

fn build_backtracking(text: &str) -> Result<Arc<fancy_regex::Regex>, PatternError> {
    // Its shortcuts have changed meanings before; without them there is less to trust.
    let built = catch_unwind(|| {
        fancy_regex::RegexBuilder::new(text)
            .backtrack_limit(MAX_STEPS_PER_KEY)
            .delegate_size_limit(MAX_PROGRAM_BYTES)
            .delegate_dfa_size_limit(MAX_PROGRAM_BYTES)
            .max_prog_size(MAX_PROGRAM_STEPS)
            .optimize(false)
            .seek(false)
            .build()
    });
    let large = match built {
        Ok(Ok(regex)) => return Ok(Arc::new(regex)),
        Ok(Err(fancy_regex::Error::CompileError(error))) => {
            use fancy_regex::CompileError::{InnerError, PatternTooComplex};
            matches!(*error, InnerError(_) | PatternTooComplex)
        }
        Ok(Err(_)) | Err(_) => false,
    };
    Err(refused(large))
}

/// The engines' own positions are those of the rewritten text, so the whole pattern is named.
fn refused(large: bool) -> PatternError {
    let message = if large {
        "the pattern needs too much memory: use fewer or smaller repeats such as {1,1000}"
    } else {
        "this combination of groups and repeats is not supported: write it simpler"
    };
    PatternError::new(message, 0)
}

/// Both a runtime error and a panic of the engine cost one key, not the project.
fn run(regex: &fancy_regex::Regex, text: &str) -> Result<bool, StepLimit> {
    match catch_unwind(AssertUnwindSafe(|| regex.is_match(text))) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(_) => Err(StepLimit),
    }
}
