//! The journal's own protocol: one datagram, one entry (systemd's "Native Journal Protocol").
//!
//! Promise: values are sent with their length, so that no key can end a field or begin another.
//! Not here: which fields (`telemetry`).

use std::io;
use std::os::unix::net::UnixDatagram;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: String,
}

impl Journal {
    /// Where there is one.
    pub fn open() -> Option<Self> {
        Self::at(SOCKET)
    }

    fn at(path: &str) -> Option<Self> {
        std::path::Path::new(path).exists().then_some(())?;
        let socket = UnixDatagram::unbound().ok()?;
        // A journal that takes nothing must not stop the daemon: the line is lost then, and counted by journald.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, path: path.to_owned() })
    }

    /// One entry. Names are upper case, digits and `_`.
    ///
    /// # Errors
    /// journald is gone, or takes nothing now.
    pub fn send(&self, fields: &[(&str, &str)]) -> io::Result<()> {
        let mut entry = Vec::with_capacity(512);
        for (name, value) in fields {
            entry.extend_from_slice(name.as_bytes());
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
            entry.extend_from_slice(value.as_bytes());
            entry.push(b'\n');
        }
        self.socket.send_to(&entry, &self.path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l71_a_value_is_sent_with_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path.to_str().unwrap()).unwrap();
        journal.send(&[("MESSAGE", "a"), ("LABELSYNC_KEY", "x\nPRIORITY=0")]).unwrap();
        let mut bytes = [0; 256];
        let length = journald.recv(&mut bytes).unwrap();
        let wanted = b"MESSAGE\n\x01\0\0\0\0\0\0\0a\nLABELSYNC_KEY\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\n";
        assert_eq!(&bytes[..length], wanted);
        drop(journald);
        std::fs::remove_file(&path).unwrap();
        journal.send(&[("MESSAGE", "a")]).unwrap_err();
        assert!(Journal::at(path.to_str().unwrap()).is_none());
    }
}
