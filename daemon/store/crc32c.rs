//! The checksum that buckets check a write by.
//!
//! Promise: CRC-32C (Castagnoli), as the providers write it.
//! Not here: where it stands in a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest};

/// A CRC-32C in the making.
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Of all of these, as a text.
    pub fn of(bytes: &[u8]) -> String {
        let mut crc = Self::new();
        crc.update(bytes);
        crc.text()
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As S3 and GCS write it: base 64 of the big-endian bytes.
    pub fn text(&self) -> String {
        STANDARD.encode(self.number().to_be_bytes())
    }

    /// As a number.
    pub fn number(&self) -> u32 {
        u32::try_from(self.0.finalize()).expect("32 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_nine_digits_is_the_published_one() {
        assert_eq!(Crc32c::of(b"123456789"), "4waSgw==");
    }
}
