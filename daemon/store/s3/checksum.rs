//! The checksum that an answer announces for its body, for answers that the SDK does not check.
//!
//! Promise: a body that came differently from how it was uploaded is noticed, as the SDK notices it.
//! Not here: the SDK's own answers; the checksum of what is written (`crc32c`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest};

/// What the header of every checksum begins with.
const HEADER: &str = "x-amz-checksum-";

/// Says what the others are of, and is none.
const TYPE: &str = "type";

/// The checksum of a body in the making, and what it must come to. The default: nothing was announced.
#[derive(Default)]
pub(super) struct Check(Option<(Digest, Vec<u8>)>);

impl Check {
    /// What these headers of an answer announce. `None`: a checksum that is not known here.
    pub fn announced<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut check = Self::default();
        for (name, value) in headers {
            let Some(name) = name.strip_prefix(HEADER).filter(|name| *name != TYPE) else { continue };
            // A checksum of the checksums of an upload's parts: nobody can check it by the body alone.
            if value.contains('-') {
                continue;
            }
            let algorithm = match name {
                "crc32" => CrcAlgorithm::Crc32IsoHdlc,
                "crc32c" => CrcAlgorithm::Crc32Iscsi,
                "crc64nvme" => CrcAlgorithm::Crc64Nvme,
                _ => return None,
            };
            let expected = STANDARD.decode(value).ok().filter(|sum| matches!(sum.len(), 4 | 8))?;
            check.0 = Some((Digest::new(algorithm), expected));
        }
        Some(check)
    }

    /// A piece of the body came.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some((digest, _)) = &mut self.0 {
            digest.update(piece);
        }
    }

    /// Whether all pieces together are what was announced.
    pub fn is_right(&self) -> bool {
        // Big-endian; those of 32 bits have nothing in front.
        let is = |(digest, expected): &(Digest, Vec<u8>)| {
            let sum = digest.finalize().to_be_bytes();
            sum.strip_suffix(expected.as_slice()).is_some_and(|front| front.iter().all(|byte| *byte == 0))
        };
        self.0.as_ref().is_none_or(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(name: &str, value: &str, body: &[u8]) -> Option<bool> {
        let mut check = Check::announced([("etag", "x"), (name, value)].into_iter())?;
        body.chunks(4).for_each(|piece| check.update(piece));
        Some(check.is_right())
    }

    #[test]
    fn what_is_announced_is_held_against_the_body() {
        // The published values of nine digits.
        for (name, value) in [("crc32", "y/Q5Jg=="), ("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg=")] {
            let name = format!("{HEADER}{name}");
            assert_eq!(after(&name, value, b"123456789"), Some(true), "{name}");
            assert_eq!(after(&name, value, b"123456780"), Some(false), "{name}");
            assert_eq!(after(&name, value, b""), Some(false), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_left_to_the_sdk_or_to_nobody() {
        assert_eq!(after("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=", b"123456789"), None);
        for odd in ["?", "", "AA=="] {
            assert_eq!(after("x-amz-checksum-crc32", odd, b"123456789"), None, "{odd}");
        }
        assert_eq!(after("x-amz-checksum-type", "FULL_OBJECT", b"123456789"), Some(true));
        assert_eq!(after("x-amz-checksum-crc32", "y/Q5Jg==-2", b"123456789"), Some(true), "of parts");
        assert_eq!(after("content-length", "9", b"123456789"), Some(true), "nothing announced");
    }
}
