//! The drop-in that lets a project into the hardened unit: systemd keeps everything else read-only or out of sight.
//!
//! Promise: a drop-in that is there is left as it is; names are quoted as systemd reads them.
//! Not here: the unit itself (`systemd/`).

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::names::printable;
use crate::settings::{Problem, atomic};

/// Where drop-ins of administrators are.
pub const UNIT_DIR: &str = "/etc/systemd/system";

/// The service.
const SERVICE: &str = "labelsyncd.service";

/// Its own user, of `systemd/sysusers.d`.
const OWN_USER: &str = "labelsyncd";

/// What `ProtectHome=yes` and `PrivateTmp=yes` of the unit take out of sight.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Where somebody who did not make it sees that it may be edited.
const HEAD: &str = "# Written by `labelsyncd init`; yours to edit.";

/// What a project needs of the file system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// The project directory, and a local target.
    pub written: Vec<PathBuf>,
    /// A local source.
    pub read: Vec<PathBuf>,
}

/// The file of a project.
pub fn path(unit_dir: &Path, project: &str) -> PathBuf {
    unit_dir.join(format!("{SERVICE}.d")).join(format!("{project}.conf"))
}

/// Its text. `user`: who owns the project directory, where that is not the service's own user.
pub fn text(project: &str, needs: &Needs, user: Option<&str>) -> String {
    let hidden = |path: &&PathBuf| HIDDEN.iter().any(|dir| path.starts_with(dir));
    let mut text = format!("{HEAD} Lets the project `{project}` into {SERVICE}.\n[Service]\n");
    // With `-` a directory that is missing does not keep the other projects from starting.
    for path in &needs.written {
        let key = if hidden(&path) { "BindPaths" } else { "ReadWritePaths" };
        text += &format!("{key}={}\n", quoted(path));
    }
    for path in needs.read.iter().filter(hidden) {
        text += &format!("BindReadOnlyPaths={}\n", quoted(path));
    }
    if needs.written.iter().chain(&needs.read).any(|path| hidden(&path)) {
        text += "# Homes are empty for the service, but for what is bound above.\nProtectHome=tmpfs\n";
    }
    if let Some(user) = user {
        text +=
            &format!("# Whose the project directory is: what labelsync replaces there keeps its owner.\nUser={user}\n");
    }
    text
}

/// As systemd.syntax(7) and systemd.unit(5) read a list of paths.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    // BindPaths= takes `from:to`.
    let text = text.replace(':', "\\:");
    if text.contains([' ', '\t', '\'', '"', '\\']) { format!("\"-{text}\"") } else { format!("-{text}") }
}

/// What became of the drop-in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// False: it was there already.
    pub new: bool,
    /// To be said.
    pub warnings: Vec<Problem>,
}

/// Writes the drop-in of a project, where there is none yet.
///
/// # Errors
/// The disk.
pub fn write(unit_dir: &Path, project: &str, dir: &Path, needs: &Needs) -> io::Result<Written> {
    let path = path(unit_dir, project);
    if let Ok(there) = std::fs::read_to_string(&path) {
        let mut warnings = Vec::new();
        let missing = needs.written.iter().find(|wanted| !there.contains(quoted(wanted).trim_matches('"')));
        if let Some(missing) = missing {
            let message = "is left as it is, and does not name what the project needs".to_owned();
            let remedy = format!("add ReadWritePaths={} there", quoted(missing));
            warnings.push(Problem::new(printable(&path.display().to_string()), message, remedy));
        }
        return Ok(Written { path, new: false, warnings });
    }
    let (user, warnings) = user_of(unit_dir, dir, &path)?;
    let below = path.parent().expect("a file below the unit's directory");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(below)?;
    atomic::replace(&path, text(project, needs, user.as_deref()).as_bytes(), 0o644)?;
    Ok(Written { path, new: true, warnings })
}

/// Who the service must be to keep the owner of the project's files.
fn user_of(unit_dir: &Path, dir: &Path, own: &Path) -> io::Result<(Option<String>, Vec<Problem>)> {
    let uid = std::fs::metadata(dir)?.uid();
    let shown = printable(&dir.display().to_string()).into_owned();
    if uid == 0 {
        let remedy = format!(
            "`chown -R USER: {shown}` with Label Studio's user, remove {} and run this again",
            printable(&own.display().to_string())
        );
        let message = "belongs to root: the service's user cannot write there";
        return Ok((None, vec![Problem::new(shown, message, remedy)]));
    }
    let user = name_of(uid).unwrap_or_else(|| uid.to_string());
    if user == OWN_USER {
        return Ok((None, Vec::new()));
    }
    if let Some(other) = other_user(unit_dir).filter(|other| *other != user) {
        let message = format!("belongs to {user}, and another project's drop-in lets the service run as {other}");
        let remedy = "let one user own all projects, or give the service CAP_CHOWN (README, \"Whose files\")";
        return Ok((None, vec![Problem::new(shown, message, remedy)]));
    }
    Ok((Some(user), Vec::new()))
}

/// The user's name: of the local users only, others stay a number, which systemd takes too.
fn name_of(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    };
    users.lines().find_map(of)
}

/// The user that drop-ins of the service name already.
fn other_user(unit_dir: &Path) -> Option<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(unit_dir.join(format!("{SERVICE}.d")))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    files.sort();
    let user = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().rev().find_map(|line| Some(line.trim().strip_prefix("User=")?.trim().to_owned()))
    };
    files.iter().rev().find_map(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(written: &[&str], read: &[&str]) -> Needs {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        Needs { written: paths(written), read: paths(read) }
    }

    #[test]
    fn what_is_below_homes_is_bound_and_the_rest_is_let_in() {
        let plain = text("cats", &needs(&["/srv/cats", "/srv/100%/a b"], &["/srv/in"]), Some("label-studio"));
        assert!(plain.contains("\nReadWritePaths=-/srv/cats\nReadWritePaths=\"-/srv/100%%/a b\"\n"), "{plain}");
        assert!(plain.contains("\nUser=label-studio\n") && !plain.contains("Protect"), "{plain}");
        assert!(!plain.contains("/srv/in"), "everything may be read: {plain}");
        let home = text("cats", &needs(&["/home/ls/cats"], &["/home/ls/in"]), None);
        assert!(home.contains("\nBindPaths=-/home/ls/cats\nBindReadOnlyPaths=-/home/ls/in\n"), "{home}");
        assert!(home.contains("\nProtectHome=tmpfs\n") && !home.contains("User="), "{home}");
    }

    #[test]
    fn a_drop_in_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let needs = Needs { written: vec![dir.path().to_owned()], read: Vec::new() };
        let first = write(dir.path(), "cats", dir.path(), &needs).unwrap();
        assert!(first.new && first.path.ends_with("labelsyncd.service.d/cats.conf"));
        let again = write(dir.path(), "cats", dir.path(), &needs).unwrap();
        assert!(!again.new && again.warnings.is_empty(), "{again:?}");
        std::fs::write(&first.path, "[Service]\n").unwrap();
        let edited = write(dir.path(), "cats", dir.path(), &needs).unwrap();
        assert_eq!((edited.new, edited.warnings.len()), (false, 1));
        assert_eq!(std::fs::read_to_string(&first.path).unwrap(), "[Service]\n");
    }
}
