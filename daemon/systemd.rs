//! What the service manager is told.
//!
//! Promise: told where it listens, a path or an abstract name (`@…`); elsewhere, and where it fails, nothing happens:
//! a missing notification is the service manager's to notice, it has its own timeouts.
//! Not here: when (`main`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub use sd_notify::NotifyState;

/// Tells these states in one datagram.
pub fn notify(states: &[NotifyState]) {
    // The protocol of sd_notify(3): the address is in the environment.
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let _told = send(&address, &message);
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
