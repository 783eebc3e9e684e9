//! A write in one request: what the object is, then its bytes.
//!
//! Promise: the bytes go out as they are, with the CRC32C that the server checks them against.
//! Not here: sending.

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::header::HeaderValue;

use crate::names::{Key, Sha256};
use crate::store::crc32c::Crc32c;

/// A `multipart/related` body.
pub(super) struct Upload {
    /// The header of the whole.
    pub content_type: HeaderValue,
    /// Both parts.
    pub body: Bytes,
}

/// The write of these bytes under this key.
pub(super) fn multipart(key: &Key, bytes: &Bytes) -> Upload {
    // No text holds its own hash, so the boundary is not in the bytes.
    let boundary = Sha256::of(bytes).to_string();
    let metadata = serde_json::json!({ "name": key.as_str(), "crc32c": Crc32c::of(bytes) });
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n\
         --{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    let end = format!("\r\n--{boundary}--\r\n");
    let mut body = BytesMut::with_capacity(head.len() + bytes.len() + end.len());
    body.put_slice(head.as_bytes());
    body.put_slice(bytes);
    body.put_slice(end.as_bytes());
    let content_type = HeaderValue::try_from(format!("multipart/related; boundary={boundary}"));
    Upload { content_type: content_type.expect("hexadecimal digits"), body: body.freeze() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_carries_its_key_its_checksum_and_its_bytes() {
        let upload = multipart(&Key::new("a\"/ü\n"), &Bytes::from_static(b"123456789"));
        let body = std::str::from_utf8(&upload.body).expect("UTF-8");
        let boundary = upload.content_type.to_str().expect("ASCII").split_once("boundary=").expect("a boundary").1;
        assert!(boundary.len() <= 70, "RFC 2046: {boundary}");
        let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
        let ["", metadata, media, "--\r\n"] = parts[..] else { panic!("{parts:?}") };
        let (_, json) = metadata.split_once("\r\n\r\n").expect("a head");
        // The check value of CRC-32C belongs to 123456789.
        let expected = serde_json::json!({"name": "a\"/ü\n", "crc32c": "4waSgw=="});
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).expect("JSON"), expected);
        assert_eq!(media.split_once("\r\n\r\n").expect("a head").1, "123456789\r\n");
    }
}
