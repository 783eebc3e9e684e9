//! A bucket that is large: a server of our own makes up its pages.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::double::{Double, Reaction, answer};
use crate::support::environment;
use crate::support::rig::{IMAGE_CONFIG, Rig, in_time};

/// As S3 gives them.
const PAGE_KEYS: usize = 1_000;

/// One of so many keys is wanted, so that what is listed is counted, and not what becomes of it.
const WANTED_EACH: usize = 10_000;

/// What the daemon may need more for a large bucket than for one page: buffers that grew to a page's size, and what the
/// allocator keeps. The keys alone would take twice as much in the short form.
const MORE_KIB: u64 = 24 * 1024;

/// Page `n` of so many, in byte order.
fn page(n: usize, pages: usize) -> Reaction {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>bucket</Name>");
    xml.push_str("<EncodingType>url</EncodingType>");
    if n + 1 < pages {
        write!(xml, "<IsTruncated>true</IsTruncated><NextContinuationToken>p{}</NextContinuationToken>", n + 1)
    } else {
        write!(xml, "<IsTruncated>false</IsTruncated>")
    }
    .expect("into a string");
    for key in n * PAGE_KEYS..(n + 1) * PAGE_KEYS {
        let end = if key.is_multiple_of(WANTED_EACH) { "png" } else { "txt" };
        let name = format!("a-directory-of-some-length/and-another-one-below-it/{:0>120}.{end}", format!("{key:08}"));
        write!(xml, "<Contents><Key>{name}</Key><ETag>&quot;{key:032x}&quot;</ETag><Size>3</Size></Contents>")
            .expect("into a string");
    }
    xml.push_str("</ListBucketResult>");
    answer("200 OK", "Content-Type: application/xml\r\n", &xml)
}

fn peak_kib(rig: &Rig) -> u64 {
    let path = format!("/proc/{}/status", rig.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Promise 51: 200,000 keys here, a million in the soak.
pub fn l51_a_large_bucket_needs_no_more_memory_and_the_status_answers() {
    let pages = if std::env::var_os("SOAK").is_some() { 1_000 } else { 200 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let there = Arc::new(AtomicUsize::new(1));
    let served = there.clone();
    let double = runtime.block_on(Double::start(move |_, request| {
        let (_, token) = request.line.split_once("continuation-token=p").unwrap_or(("", "0"));
        let nth: String = token.chars().take_while(char::is_ascii_digit).collect();
        page(nth.parse().expect("our token"), served.load(Ordering::Relaxed))
    }));
    let mut rig = Rig::new();
    rig.environment = environment();
    rig.project("cats", IMAGE_CONFIG);
    let (dir, endpoint) = (rig.dir.path().display(), double.endpoint());
    rig.settings(&format!(
        "[projects.cats]\npath = \"{dir}/cats\"\nlabel_studio_has_credentials = true\n\
         [projects.cats.source]\ntype = \"s3\"\nbucket = \"bucket\"\nendpoint = \"{endpoint}\"\nallow_http = true\n\
         poll_interval = \"1h\"\nregex = '.*\\.png'\n"
    ));
    rig.start();
    rig.until_tasks(1);
    assert_eq!(rig.sync(), 0);
    let small = peak_kib(&rig);

    there.store(pages, Ordering::Relaxed);
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        let (rig, listing) = (&rig, scope.spawn(|| rig.sync()));
        while !listing.is_finished() {
            let asked = Instant::now();
            assert_eq!(rig.lsctl(&["status"]).code, 0);
            slowest = slowest.max(asked.elapsed());
            answers += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(listing.join().expect("it ended"), 0);
    });
    assert_eq!(rig.tasks().len(), pages * PAGE_KEYS / WANTED_EACH);
    assert!(answers > 3, "it was asked while it listed: {answers}");
    assert!(slowest < in_time(Duration::from_secs(1)), "the status took {slowest:?}");
    let large = peak_kib(&rig);
    assert!(large < small + MORE_KIB, "{small} KiB for one page, {large} KiB for {pages}");
}
