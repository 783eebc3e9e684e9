//! Differences on their way from the walk to the plan: in memory while they are few, on the disk when they are many.

use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::SpooledTempFile;

/// Bytes kept in memory before the spool goes to the disk: some ten thousand differences.
const MEMORY_MAX_BYTES: usize = 4 << 20;

/// Values written in one order and read back in the same.
#[derive(Debug)]
pub struct Spool<T> {
    file: BufWriter<SpooledTempFile>,
    count: u64,
    kind: PhantomData<T>,
}

/// The values again.
#[derive(Debug)]
pub struct Spooled<T> {
    lines: BufReader<SpooledTempFile>,
    kind: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// Empty; `dir` is where its file goes, which has no name and vanishes with the process.
    pub fn new(dir: &Path) -> Self {
        let file = tempfile::spooled_tempfile_in(MEMORY_MAX_BYTES, dir);
        Self { file: BufWriter::new(file), count: 0, kind: PhantomData }
    }

    /// Appends one.
    pub fn push(&mut self, value: &T) -> std::io::Result<()> {
        self.count += 1;
        serde_json::to_writer(&mut self.file, value)?;
        self.file.write_all(b"\n")
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// From the start.
    pub fn read(self) -> std::io::Result<Spooled<T>> {
        let mut file = self.file.into_inner().map_err(|e| e.into_error())?;
        file.rewind()?;
        Ok(Spooled { lines: BufReader::new(file), kind: PhantomData })
    }
}

impl<T: DeserializeOwned> Spooled<T> {
    /// The next ones, at most `limit`; empty at the end.
    pub fn batch(&mut self, limit: usize) -> std::io::Result<Vec<T>> {
        let mut batch = Vec::new();
        let mut line = Vec::new();
        while batch.len() < limit {
            line.clear();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            batch.push(serde_json::from_slice(&line)?);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l71_keys_with_newlines_come_back_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let values: Vec<String> = (0..5_000).map(|n| format!("k\n{n}\u{2028}\"\\")).collect();
        values.iter().for_each(|v| spool.push(v).unwrap());
        assert_eq!(spool.count(), 5_000);
        let mut spooled = spool.read().unwrap();
        let mut back = spooled.batch(4_999).unwrap();
        back.extend(spooled.batch(10).unwrap());
        assert!(spooled.batch(1).unwrap().is_empty());
        assert_eq!(back, values);
    }
}
