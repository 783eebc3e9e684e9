//! What the service manager is told, and the credentials that it hands over.
//!
//! Promise: told where it listens, a path or an abstract name (`@…`); elsewhere, and where it fails, nothing happens:
//! a missing notification is the service manager's to notice, it has its own timeouts.
//! A directory of credentials without the credentials is an error, never a daemon that goes without.
//! Not here: when (`main`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use sd_notify::NotifyState;

use crate::settings::Problem;

/// Tells these states in one datagram.
pub fn notify(states: &[NotifyState]) {
    // The protocol of sd_notify(3): the address is in the environment.
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let _told = send(&address, &message);
}

/// How often the service manager wants a sign of life at least (sd_watchdog_enabled(3)), of the two variables that say so.
pub fn watchdog_time(usec: Option<String>, pid: Option<String>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec))
}

/// What is wrong with `$CREDENTIALS_DIRECTORY`: it was asked for (`LoadCredential=`), so it is to be there, hold
/// something, and hold every one of the `named` files that should stand in it, each with its name for people.
pub fn credential_problems(dir: &Path, named: impl Iterator<Item = (String, PathBuf)>) -> Vec<Problem> {
    let place = format!("CREDENTIALS_DIRECTORY {}", dir.display());
    let remedy = "correct LoadCredential= of the unit (`systemctl cat labelsyncd`) and the file that it names, then \
                  `systemctl restart labelsyncd`";
    let mut entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return vec![Problem::new(place, format!("cannot be read: {}", error.kind()), remedy)],
    };
    if entries.next().is_none() {
        return vec![Problem::new(place, "is empty: the credentials that the unit asks for did not come", remedy)];
    }
    let missing = named.filter(|(_, file)| file.starts_with(dir)).filter_map(|(name, file)| {
        let message = match std::fs::metadata(&file) {
            Ok(meta) if meta.len() > 0 => return None,
            Ok(_) => "is an empty file".to_owned(),
            Err(error) => format!("cannot be read: {}", error.kind()),
        };
        Some(Problem::new(name, format!("{} {message}", file.display()), remedy))
    });
    missing.collect()
}

fn send(address: &OsStr, message: &str) -> io::Result<()> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l82_the_watchdog_is_fed_where_it_watches_this_process() {
        let of = |usec: &str, pid: Option<String>| watchdog_time(Some(usec.to_owned()), pid);
        assert_eq!(of("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some(std::process::id().to_string())), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("1".to_owned())), None);
        assert_eq!((of("0", None), of("x", None), watchdog_time(None, None)), (None, None, None));
    }

    #[test]
    fn l84_a_path_and_an_abstract_name_are_told_in_one_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("@{}", path.display());
        let name = SocketAddr::from_abstract_name(&abstract_name.as_bytes()[1..]).unwrap();
        let named = [SocketAddr::from_pathname(&path).unwrap(), name];
        for (address, given) in named.iter().zip([path.as_os_str(), OsStr::new(&abstract_name)]) {
            let manager = UnixDatagram::bind_addr(address).unwrap();
            send(given, "READY=1\nSTATUS=x\n").unwrap();
            let mut bytes = [0; 64];
            let length = manager.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1\nSTATUS=x\n");
        }
        send(OsStr::new(&dir.path().join("nobody")), "x").unwrap_err();
    }
}
