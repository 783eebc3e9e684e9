//! The project's own files: which there are, and the code in them without comments, texts and tests.

use std::path::{Path, PathBuf};

/// Directories that are no part of the project.
const NOT_OURS: [&str; 3] = [".git", "target", ".test-tools"];

/// A file's code.
pub struct Source {
    pub path: String,
    /// Line by line as in the file; comments, texts and test modules are blank.
    pub code: String,
}

impl Source {
    pub fn of(path: &str) -> Self {
        Self::parse(path, &read(path))
    }

    pub fn parse(path: &str, text: &str) -> Self {
        let mut code = blank_texts(text);
        while let Some((from, to)) = test_module(&code) {
            let blank: String = code[from..to].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            code.replace_range(from..to, &blank);
        }
        Self { path: path.to_owned(), code }
    }
}

/// The project's directory.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
pub fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every file of the project, sorted, with `/` between names.
pub fn tracked() -> Vec<String> {
    below(&root())
}

/// Every file below a directory.
pub fn below(dir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let entry = entry.unwrap();
            let path = entry.path();
            let inner = path.strip_prefix(root()).unwrap().to_str().expect("our names are ASCII").to_owned();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !NOT_OURS.contains(&inner.as_str()) => dirs.push(path),
                // A work tree's `.git` is a file.
                kind if kind.is_file() && inner != ".git" => files.push(inner),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// `text` with comments and the insides of literals blanked, lines kept.
fn blank_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Where the comment or literal that begins here ends; `at` where none begins.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let part_of_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => find(chars, at, |rest| rest[0] == '\n'),
        '/' if next(1) == '*' => block_end(chars, at),
        '"' => text_end(chars, at),
        'r' if !part_of_name || chars[at - 1] == 'b' => raw_end(chars, at),
        '\'' if next(1) == '\\' => find(chars, at + 3, |rest| rest[0] == '\'') + 1,
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn block_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn text_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + 1 + hashes) != Some(&'"') {
        return from;
    }
    let is_end = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (find(chars, from + 2 + hashes, is_end) + 1 + hashes).min(chars.len())
}

/// From `#[cfg(test)]` to the end of the module, function or statement after it.
fn test_module(code: &str) -> Option<(usize, usize)> {
    let from = code.find("#[cfg(test)]")?;
    let mut depth = 0;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return Some((from, from + at + 1)),
            _ => continue,
        }
        if depth == 0 {
            return Some((from, from + at + 1));
        }
    }
    Some((from, code.len()))
}
