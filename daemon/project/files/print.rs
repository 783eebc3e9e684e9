//! Fingerprints: what tells one version of a file from another without reading it.
//!
//! Promise: equal fingerprints of a file at rest mean equal bytes.
//! Not here: reading the file; knowing the time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::Stat;

use crate::clock::UnixMillis;

/// A version of a file. Text form (`Display`, `FromStr`): `v1:dev:ino:size:mtime:ctime:nlink`.
///
/// Device numbers may change with a reboot: a stored fingerprint that differs means "read it again", never more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of content or inode, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Names the inode has; 0: it was replaced or removed.
    pub nlink: u64,
}

impl Fingerprint {
    #[allow(clippy::unnecessary_cast, reason = "the types of `Stat` differ from machine to machine")]
    pub(super) fn of(stat: &Stat) -> Self {
        let nanos = |s: i64, ns: u64| s.saturating_mul(1_000_000_000).saturating_add(i64::try_from(ns).unwrap_or(0));
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime_ns: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            nlink: stat.st_nlink as u64,
        }
    }

    /// Whether both are the same inode with the same content: renaming and linking change ctime and nlink only.
    pub fn same_content(&self, other: &Self) -> bool {
        let content = |p: &Self| (p.dev, p.ino, p.size_bytes, p.mtime_ns);
        content(self) == content(other)
    }

    /// Whether content and inode were last changed at least `rest` before `now`, by the wall clock.
    ///
    /// Only an observation over monotonic time ([`super::Settler`]) is right where the file system's clock is
    /// another machine's, or the wall clock jumped.
    pub fn is_at_rest(&self, now: UnixMillis, rest: Duration) -> bool {
        let rest_ns = i64::try_from(rest.as_nanos()).unwrap_or(i64::MAX);
        let latest = now.0.saturating_mul(1_000_000).saturating_sub(rest_ns);
        self.mtime_ns <= latest && self.ctime_ns <= latest
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dev, ino, size_bytes, mtime_ns, ctime_ns, nlink } = self;
        write!(f, "v1:{dev}:{ino}:{size_bytes}:{mtime_ns}:{ctime_ns}:{nlink}")
    }
}

/// The text is no fingerprint of a form that this version knows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a fingerprint")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        fn number<T: FromStr>(field: &str) -> Result<T, NotAFingerprint> {
            field.parse().map_err(|_| NotAFingerprint)
        }
        let fields: Vec<&str> = text.split(':').collect();
        let ["v1", dev, ino, size, mtime, ctime, nlink] = fields[..] else { return Err(NotAFingerprint) };
        Ok(Self {
            dev: number(dev)?,
            ino: number(ino)?,
            size_bytes: number(size)?,
            mtime_ns: number(mtime)?,
            ctime_ns: number(ctime)?,
            nlink: number(nlink)?,
        })
    }
}
