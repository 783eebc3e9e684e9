//! What a replacement is written into.
//!
//! Promise: what another file holds is copied by the kernel where it can; few, large writes otherwise.
//! Not here: names, durability (`replace`).

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use rustix::fs::copy_file_range;
use rustix::io::Errno;

/// Bytes gathered before each write to the disk.
const BUFFER_BYTES: usize = 128 * 1024;

/// A new file that is being written.
#[derive(Debug)]
pub struct Filling<'f> {
    file: &'f File,
    buffered: BufWriter<&'f File>,
}

impl<'f> Filling<'f> {
    pub(super) fn of(file: &'f File) -> Self {
        Self { file, buffered: BufWriter::with_capacity(BUFFER_BYTES, file) }
    }

    /// A dropped `BufWriter` would try to write once more.
    pub(super) fn forget(self) {
        let (_, _) = self.buffered.into_parts();
    }

    /// Appends these bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffered.write_all(bytes)
    }

    /// Appends the first `bytes` of another file, which stays as it is. Fewer there: `UnexpectedEof`.
    pub fn copy_start_of(&mut self, mut from: &File, bytes: u64) -> io::Result<()> {
        self.buffered.flush()?;
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            match copy_file_range(from, Some(&mut at), self.file, None, left) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                // Another file system, or one that cannot do it.
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
                Err(error) => return Err(error.into()),
            }
        }
        from.seek(SeekFrom::Start(at))?;
        let copied = io::copy(&mut from.take(bytes - at), &mut self.buffered)?;
        if copied == bytes - at { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffered.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffered.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c04_the_start_of_another_file_is_copied_byte_for_byte() {
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        from.write_all(&bytes).unwrap();
        let mut filling = Filling::of(&to);
        filling.write_all(b"before ").unwrap();
        filling.copy_start_of(&from, 299_999).unwrap();
        filling.write_all(b" after").unwrap();
        filling.flush().unwrap();
        let more = filling.copy_start_of(&from, 300_001);
        assert_eq!(more.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        filling.forget();
        let mut copied = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut copied).unwrap();
        let expected = [b"before ", &bytes[..299_999], b" after"].concat();
        assert_eq!(copied[..expected.len()], expected);
    }
}
