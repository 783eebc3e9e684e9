//! The settings files as they are written: everything optional, each value with the line it stands on.
//!
//! Promise: a key that is not in `keys` is a problem, never ignored; one broken file hides no problem of another;
//! of a file with syntax errors only what stands before the first error is taken. No message quotes a value of an
//! unknown key: it may be a secret.
//! Not here: what a value may be (`check`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::Problem;
use super::keys::{self, Key, Kind};
use crate::names::{ProjectName, printable};

/// A settings file is written by hand or by `labelsyncd init`; a larger one is something else.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// One file a project, with much room: more in `conf.d` is a mistake.
pub const FILES_MAX: usize = 4_096;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A settings file.
    File {
        /// As it was named to the daemon.
        file: Arc<str>,
        /// Counted from 1.
        line: usize,
    },
    /// A runtime change.
    Lsctl,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", printable(file)),
            Self::Lsctl => f.write_str("set with lsctl"),
        }
    }
}

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// Something else, which is a problem already: the key is there all the same.
    Unusable,
}

/// A value and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// One table of the file. Every key is one of [`keys`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Where it begins; `None`: it is not written.
    pub origin: Option<Origin>,
    /// By key.
    pub entries: BTreeMap<&'static str, Written>,
}

impl Table {
    fn merge(&mut self, later: Self) {
        self.origin = later.origin.or_else(|| self.origin.take());
        self.entries.extend(later.entries);
    }
}

/// `[projects.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawProject {
    /// Its own keys.
    pub own: Table,
    /// `[projects.NAME.source]`.
    pub source: Option<Table>,
    /// `[projects.NAME.target]`.
    pub target: Option<Table>,
}

/// All files, merged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Raw {
    /// `[daemon]`.
    pub daemon: Table,
    /// `[projects.NAME]`.
    pub projects: BTreeMap<ProjectName, RawProject>,
    /// Some file could not be read to its end: what is missing may stand there.
    pub incomplete: bool,
}

impl Raw {
    /// Lays a later file over this one: its keys win, other keys stay.
    pub fn merge(&mut self, later: Self) {
        self.daemon.merge(later.daemon);
        self.incomplete |= later.incomplete;
        for (name, project) in later.projects {
            let own = self.projects.entry(name).or_default();
            own.own.merge(project.own);
            merge_section(&mut own.source, project.source);
            merge_section(&mut own.target, project.target);
        }
    }
}

fn merge_section(earlier: &mut Option<Table>, later: Option<Table>) {
    if let Some(later) = later {
        earlier.get_or_insert_default().merge(later);
    }
}

/// Reads `config_file`, then `conf.d/*.toml` beside it in the order of their names. That there is no file at all is a
/// problem only where one is `needed`.
pub fn read(config_file: &Path, needed: bool, problems: &mut Vec<Problem>) -> Raw {
    let fragments = fragments(config_file, problems);
    let mut raw = Raw::default();
    for file in std::iter::once(config_file).chain(fragments.iter().map(PathBuf::as_path)) {
        let may_be_missing = file == config_file && (!fragments.is_empty() || !needed);
        match read_text(file) {
            Ok(text) => raw.merge(parse(&file.display().to_string(), &text, problems)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_missing => {}
            Err(error) => {
                raw.incomplete = true;
                problems.push(unreadable(file, &error));
            }
        }
    }
    raw
}

/// Reads one file's text.
///
/// # Errors
/// It cannot be read, is larger than [`FILE_BYTES_MAX`] or no UTF-8.
pub fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut limited = File::open(file)?.take(FILE_BYTES_MAX + 1);
    limited.read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The files of `conf.d`, sorted by name; what does not end in `.toml` or begins with a dot is no settings file.
fn fragments(config_file: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let dir = config_file.with_file_name("conf.d");
    let names = std::fs::read_dir(&dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = match names {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(unreadable(&dir, &error));
            return Vec::new();
        }
    };
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    names.sort();
    if names.len() > FILES_MAX {
        let message = format!("holds {} settings files, more than {FILES_MAX}", names.len());
        problems.push(Problem::new(dir.display().to_string(), message, "put several projects into one file"));
        names.truncate(FILES_MAX);
    }
    names.into_iter().map(|name| dir.join(name)).collect()
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    let path = printable(&file.display().to_string()).into_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Problem::new(
            path,
            "there is no settings file",
            "make a project with `labelsyncd init NAME --source s3 --source-path BUCKET`, \
             or name another file with `--config FILE`",
        ),
        io::ErrorKind::PermissionDenied => Problem::new(
            path,
            "cannot be read: permission denied",
            "let the user that runs labelsyncd read it (`chgrp labelsyncd`, `chmod 0640`)",
        ),
        io::ErrorKind::InvalidData => Problem::new(path, "is no UTF-8 text", "save it as UTF-8"),
        _ => Problem::new(path, format!("cannot be read: {error}"), "it must be a TOML file that labelsyncd can read"),
    }
}

/// Parses one file. `file` is how messages name it.
pub fn parse(file: &str, text: &str, problems: &mut Vec<Problem>) -> Raw {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader =
        Reader { file: file.into(), line_starts: line_starts(text), found: Vec::new(), last_line: usize::MAX };
    for error in &errors {
        let line = reader.line(error.span().map_or(text.len(), |span| span.start));
        reader.last_line = reader.last_line.min(line);
        let place = format!("{}:{line}", printable(file));
        let message = format!("no TOML: {}", error.message());
        problems.push(Problem::new(place, message, "correct this line; what follows it was not looked at"));
    }
    let mut raw = reader.document(table.get_ref());
    raw.incomplete = !errors.is_empty();
    problems.append(&mut reader.found);
    raw
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Walks one parsed file.
struct Reader {
    file: Arc<str>,
    line_starts: Vec<usize>,
    found: Vec<Problem>,
    /// The line of the first syntax error: from there on nothing is taken.
    last_line: usize,
}

/// A key with its value, its line, and the path of the table it stands in.
struct Entry<'t> {
    name: &'t str,
    value: &'t DeValue<'t>,
    line: usize,
}

impl Reader {
    fn document(&mut self, table: &DeTable<'_>) -> Raw {
        let mut raw = Raw::default();
        for entry in self.entries(table) {
            match (entry.name, entry.value) {
                ("daemon", DeValue::Table(table)) => raw.daemon = self.table("daemon", table, keys::DAEMON, entry.line),
                ("projects", DeValue::Table(table)) => raw.projects = self.projects(table),
                ("daemon" | "projects", _) => self.no_table("", &entry),
                _ => self.unknown("", &entry, &["daemon", "projects"], None),
            }
        }
        raw
    }

    fn projects(&mut self, table: &DeTable<'_>) -> BTreeMap<ProjectName, RawProject> {
        let mut projects = BTreeMap::new();
        for entry in self.entries(table) {
            let Some(name) = ProjectName::parse(entry.name) else {
                let message = format!("`{}` is no project name{}", printable(entry.name), self.place(entry.line));
                let remedy = "use 1 to 64 letters, digits, `_` or `-`, beginning with a letter or digit";
                self.found.push(Problem::new("projects", message, remedy));
                continue;
            };
            let DeValue::Table(table) = entry.value else {
                self.no_table("projects", &entry);
                continue;
            };
            let project = self.project(&format!("projects.{name}"), table, entry.line);
            projects.insert(name, project);
        }
        projects
    }

    fn project(&mut self, path: &str, table: &DeTable<'_>, line: usize) -> RawProject {
        let mut project = RawProject::default();
        project.own.origin = Some(self.origin(line));
        for entry in self.entries(table) {
            match (entry.name, entry.value) {
                ("source", DeValue::Table(table)) => {
                    project.source = Some(self.table(&format!("{path}.source"), table, keys::SOURCE, entry.line));
                }
                ("target", DeValue::Table(table)) => {
                    project.target = Some(self.table(&format!("{path}.target"), table, keys::TARGET, entry.line));
                }
                ("source" | "target", _) => self.no_table(path, &entry),
                (name, _) => match keys::PROJECT.iter().find(|key| key.name == name) {
                    Some(key) => self.value(path, &entry, key, &mut project.own),
                    None => self.unknown_in_project(path, &entry),
                },
            }
        }
        project
    }

    fn unknown_in_project(&mut self, path: &str, entry: &Entry<'_>) {
        let known: Vec<&str> = keys::PROJECT.iter().map(|key| key.name).chain(["source", "target"]).collect();
        let below = keys::SOURCE.iter().chain(keys::TARGET).any(|key| key.name == entry.name);
        let elsewhere = format!("it belongs under `[{path}.source]` or `[{path}.target]`");
        self.unknown(path, entry, &known, below.then_some(elsewhere));
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, known: &'static [Key], line: usize) -> Table {
        let mut out = Table { origin: Some(self.origin(line)), entries: BTreeMap::new() };
        for entry in self.entries(table) {
            match known.iter().find(|key| key.name == entry.name) {
                Some(key) => self.value(path, &entry, key, &mut out),
                None => {
                    let names: Vec<&str> = known.iter().map(|key| key.name).collect();
                    self.unknown(path, &entry, &names, None);
                }
            }
        }
        out
    }

    fn value(&mut self, path: &str, entry: &Entry<'_>, key: &Key, out: &mut Table) {
        let value = match (key.kind, entry.value) {
            (Kind::Text, DeValue::String(text)) => Value::Text(text.clone().into_owned()),
            (Kind::Flag, DeValue::Boolean(flag)) => Value::Flag(*flag),
            (kind, other) => {
                let wanted = match kind {
                    Kind::Text => "a string",
                    Kind::Flag => "true or false",
                };
                let message = format!("must be {wanted}, not of type {}{}", other.type_str(), self.place(entry.line));
                let remedy = format!("write it as `{} = {}`", key.name, key.example);
                self.found.push(Problem::new(join(path, key.name), message, remedy));
                Value::Unusable
            }
        };
        out.entries.insert(key.name, Written { value, origin: self.origin(entry.line) });
    }

    fn no_table(&mut self, path: &str, entry: &Entry<'_>) {
        let path = join(path, entry.name);
        let message = format!("must be a table, not of type {}{}", entry.value.type_str(), self.place(entry.line));
        let remedy = format!("write `[{path}]` on a line of its own and the keys below it");
        self.found.push(Problem::new(path, message, remedy));
    }

    fn unknown(&mut self, path: &str, entry: &Entry<'_>, known: &[&str], elsewhere: Option<String>) {
        let place = self.place(entry.line);
        let (message, remedy) = if keys::is_secret(entry.name) {
            let remedy = "remove it here (a credential that stood in a file should be replaced); give credentials \
                          through the environment, a profile (`profile = …`) or systemd's LoadCredential=";
            (format!("credentials are never taken from this file{place}"), remedy.to_owned())
        } else if let Some(elsewhere) = elsewhere {
            (format!("unknown key{place}"), elsewhere)
        } else if let Some(meant) = keys::did_you_mean(entry.name, known.iter().copied()) {
            (format!("unknown key{place}"), format!("did you mean `{meant}`?"))
        } else {
            (format!("unknown key{place}"), format!("remove it; known here: {}", known.join(", ")))
        };
        self.found.push(Problem::new(join(path, entry.name), message, remedy));
    }

    /// The entries before the first syntax error, in the order of their lines.
    fn entries<'t>(&self, table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
        let mut entries: Vec<Entry<'t>> = table
            .iter()
            .map(|(name, value)| Entry {
                name: name.get_ref(),
                value: value.get_ref(),
                line: self.line(name.span().start),
            })
            .filter(|entry| entry.line < self.last_line)
            .collect();
        entries.sort_by_key(|entry| entry.line);
        entries
    }

    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File { file: self.file.clone(), line }
    }

    fn place(&self, line: usize) -> String {
        format!(" ({})", self.origin(line))
    }
}

/// `path.name`, with a name that could not be one made visible and short.
fn join(path: &str, name: &str) -> String {
    /// Longer names are no names of ours; their beginning finds them.
    const NAME_CHARS_MAX: usize = 80;
    let short: String = name.chars().take(NAME_CHARS_MAX).collect();
    let short = printable(&short);
    if path.is_empty() { short.into_owned() } else { format!("{path}.{short}") }
}
