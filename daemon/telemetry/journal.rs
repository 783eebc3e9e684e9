//! The journal's own protocol: one datagram, one entry (systemd's "Native Journal Protocol").
//!
//! Promise: values are sent with their length, so that no key can end a field or begin another. What the journal does not
//! take is counted, and said when it takes something again.
//! Not here: which fields (`telemetry`).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: String,
    /// Entries lost since it was last said.
    lost: AtomicU64,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The journal has it.
    Taken,
    /// It takes nothing now; counted.
    Lost,
    /// It is larger than a datagram may be.
    TooLarge,
}

impl Journal {
    /// Where there is one.
    pub fn open() -> Option<Self> {
        Self::at(SOCKET)
    }

    fn at(path: &str) -> Option<Self> {
        std::path::Path::new(path).exists().then_some(())?;
        let socket = UnixDatagram::unbound().ok()?;
        // A journal that takes nothing must not stop the daemon.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, path: path.to_owned(), lost: AtomicU64::new(0) })
    }

    /// One entry. Names are upper case, digits and `_`.
    pub fn send(&self, fields: &[(&str, &str)]) -> Sent {
        self.say_lost();
        match self.try_send(fields) {
            Ok(()) => Sent::Taken,
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => Sent::TooLarge,
            // Its queue is full, or it is being started again: the same whichever way is tried.
            Err(_) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Sent::Lost
            }
        }
    }

    /// Says how many were lost, once it takes that.
    fn say_lost(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let text = format!("lines of this log were not taken by the journal, and are lost: {lost}");
        let said = [("MESSAGE", text.as_str()), ("PRIORITY", "4"), ("SYSLOG_IDENTIFIER", "labelsyncd")];
        if self.try_send(&said).is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    fn try_send(&self, fields: &[(&str, &str)]) -> io::Result<()> {
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
        let sent = journal.send(&[("MESSAGE", "a"), ("LABELSYNC_KEY", "x\nPRIORITY=0")]);
        assert_eq!(sent, Sent::Taken);
        let mut bytes = [0; 256];
        let length = journald.recv(&mut bytes).unwrap();
        let wanted = b"MESSAGE\n\x01\0\0\0\0\0\0\0a\nLABELSYNC_KEY\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\n";
        assert_eq!(&bytes[..length], wanted);
        drop(journald);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(journal.send(&[("MESSAGE", "a")]), Sent::Lost);
        assert!(Journal::at(path.to_str().unwrap()).is_none());
    }

    #[test]
    fn l39_what_the_journal_does_not_take_is_counted_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path.to_str().unwrap()).unwrap();
        assert_eq!(journal.send(&[("MESSAGE", &"x".repeat(64 << 20))]), Sent::TooLarge);
        // Nobody reads: its queue fills, as while journald is stopped or behind.
        let mut taken = 0;
        while journal.send(&[("MESSAGE", "a")]) == Sent::Taken {
            taken += 1;
        }
        assert_eq!(journal.send(&[("MESSAGE", "a")]), Sent::Lost);
        let read = || {
            let mut bytes = [0; 256];
            let length = journald.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        (0..taken).for_each(|_| drop(read()));
        assert_eq!(journal.send(&[("MESSAGE", "b")]), Sent::Taken);
        let said = read();
        assert!(said.contains("not taken by the journal, and are lost: 2\n"), "{said}");
        assert!(read().contains("b\n"));
        assert_eq!(journal.send(&[("MESSAGE", "c")]), Sent::Taken);
        assert!(read().contains("c\n"), "said once");
    }
}
