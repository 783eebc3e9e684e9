//! What the benches share: a bare S3 double, programs that are measured from outside, where things are.
//!
//! Promise: every program that is compared is a process of its own, and is measured in the same way.
//! Not here: what is measured.

#![allow(dead_code, reason = "each bench uses a part")]

pub mod double;
pub mod floor;
pub mod measure;

use std::io::Write;
use std::path::PathBuf;

/// The bucket of the double.
pub const BUCKET: &str = "bench";

/// The variables that every S3 client here needs, with the key of the tests' servers; the double checks no signature.
pub const CREDENTIALS: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "labelsync-test-key"),
    ("AWS_SECRET_ACCESS_KEY", "labelsync-canary-secret"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("NO_PROXY", "127.0.0.1"),
];

/// Keys are spread over directories of this many, as uploads by day are.
const KEYS_A_DIRECTORY: u64 = 10_000;

/// The nth key of a bucket of unchanging objects, in byte order of n.
pub fn key(n: u64) -> String {
    format!("incoming/2026/{:05}/image-{n:09}.jpg", n / KEYS_A_DIRECTORY)
}

/// Its ETag, as S3 writes it.
pub fn etag(n: u64) -> String {
    format!("\"{:032x}\"", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// Prints a line; whoever reads may have gone.
pub fn say(line: impl std::fmt::Display) {
    let _gone = writeln!(std::io::stdout(), "{line}");
}

/// A number among the arguments, or the one that is taken without it.
pub fn number(nth: usize, default: u64) -> u64 {
    std::env::args().skip(1).filter_map(|arg| arg.replace('_', "").parse().ok()).nth(nth).unwrap_or(default)
}

/// The value of `--name value`.
pub fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.next().and_then(|_| args.next())
}

/// A peer's program: named by `PEERS` (a directory), or found on the path.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::var_os("PEERS").map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// This machine, in a line.
pub fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cpus} CPUs, {}, load {load} at the start", model.map_or("unknown", |(_, name)| name))
}
