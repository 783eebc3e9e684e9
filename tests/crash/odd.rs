//! A bucket that answers as no bucket should, for a while: between the daemon and a real server stands one who changes
//! answers, or gives its own.
//!
//! Promise: only what a fault names is changed; a request that gets a made-up answer does not reach the server.
//! Not here: connections that break (`network`), one answer at a time (`stores`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::support::Server;
use crate::support::double::{Double, Reaction, Request, answer};
use crate::support::rig::{PATIENCE, find_code, until};
use crate::world::World;

const XML: &str = "Content-Type: application/xml\r\n";

/// What is odd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Odd {
    Nothing,
    /// 403 to every write.
    WritesRefused,
    /// 409 to every write: somebody else is just writing, for ever.
    WritesDisputed,
    /// 403 to every read of an object; listings are answered.
    ReadsRefused,
    /// An error behind a 200: the write did not happen, or it did.
    ErrorBehindWrite {
        happened: bool,
    },
    /// The last key of a page stands there twice.
    KeyTwice,
    /// A page's keys come in the other order.
    Backwards,
    /// `IsTruncated` and no token.
    MoreWithoutToken,
    /// A page that ends in the middle, its length right.
    HalfAPage,
    /// A page that counts a key more than it holds.
    KeyLost,
    /// Objects without a body, their length right.
    NoBodies,
    /// A length that no task may have.
    HugeLength,
    /// No ETag but in listings.
    NoEtag,
    /// `W/"…"` but in listings.
    WeakEtag,
    /// Listings tell other ETags than everything else: as if each object had been replaced since.
    OtherEtagsListed,
    /// A body that is shorter, or longer, than its length says.
    Length {
        more: bool,
    },
}

const ALL: [Odd; 18] = [
    Odd::WritesRefused,
    Odd::WritesDisputed,
    Odd::ReadsRefused,
    Odd::ErrorBehindWrite { happened: false },
    Odd::ErrorBehindWrite { happened: true },
    Odd::KeyTwice,
    Odd::Backwards,
    Odd::MoreWithoutToken,
    Odd::HalfAPage,
    Odd::KeyLost,
    Odd::NoBodies,
    Odd::HugeLength,
    Odd::NoEtag,
    Odd::WeakEtag,
    Odd::Length { more: true },
    Odd::Length { more: false },
    // Of more than ten that are known: held, until it is over.
    Odd::OtherEtagsListed,
    Odd::Nothing,
];

impl Odd {
    /// The code that the status must tell, where one must be told.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::WritesRefused | Self::ReadsRefused => Some("access_denied"),
            Self::MoreWithoutToken | Self::HalfAPage | Self::KeyLost | Self::NoBodies | Self::HugeLength => {
                Some("malformed_answer")
            }
            Self::WritesDisputed => Some("overtaken"),
            Self::OtherEtagsListed => Some("mass_change"),
            _ => None,
        }
    }
}

/// A request of the daemon's, as far as faults go by it.
struct Asked {
    is_write: bool,
    is_listing: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let is_listing = request.line.starts_with("GET ") && request.line.contains("list-type=2");
        Self { is_write: request.line.starts_with("PUT "), is_listing }
    }
}

fn react(odd: Odd, server: &str, request: &Request, struck: &AtomicU64) -> Reaction {
    let asked = Asked::of(request);
    let refusal = || answer("403 Forbidden", XML, "<Error><Code>AccessDenied</Code></Error>");
    let made_up = match odd {
        Odd::WritesRefused if asked.is_write => Some(refusal()),
        Odd::WritesDisputed if asked.is_write => {
            Some(answer("409 Conflict", XML, "<Error><Code>ConditionalRequestConflict</Code></Error>"))
        }
        Odd::ReadsRefused if !asked.is_write && !asked.is_listing => Some(refusal()),
        Odd::ErrorBehindWrite { happened } if asked.is_write => {
            if happened {
                forward(server, request);
            }
            Some(answer("200 OK", XML, "<Error><Code>InternalError</Code></Error>"))
        }
        _ => None,
    };
    if let Some(made_up) = made_up {
        struck.fetch_add(1, Ordering::Relaxed);
        return made_up;
    }
    let whole = forward(server, request);
    let changed = changed(odd, &asked, &whole).filter(|changed| *changed != whole);
    struck.fetch_add(u64::from(changed.is_some()), Ordering::Relaxed);
    Reaction::Send(changed.unwrap_or(whole))
}

/// The server's answer, every byte of it.
fn forward(server: &str, request: &Request) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).expect("the server is there");
    let kept = request.headers.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let headers: String = kept.map(|line| format!("{line}\r\n")).collect();
    let head = format!("{}\r\n{headers}Connection: close\r\n\r\n", request.line);
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body)).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    answer
}

/// The answer with what is odd; `None`: it is not about this one.
fn changed(odd: Odd, asked: &Asked, whole: &[u8]) -> Option<Vec<u8>> {
    let end = whole.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&whole[..end]).ok()?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    let body = &whole[end..];
    if asked.is_listing {
        let page = odd_page(odd, std::str::from_utf8(body).ok()?)?;
        return Some(with_length(head, page.len(), page.as_bytes()));
    }
    match odd {
        Odd::NoEtag => Some([without(head, "etag:").as_bytes(), body].concat()),
        Odd::WeakEtag => {
            let weak = |line: &str| line.replacen('"', "W/\"", 1);
            Some([by_line(head, "etag:", weak).as_bytes(), body].concat())
        }
        Odd::Length { more: true } if !body.is_empty() => Some(with_length(head, body.len() + 5, body)),
        Odd::NoBodies => Some(with_length(head, 0, b"")),
        Odd::HugeLength if !body.is_empty() => Some(with_length(head, 5 << 30, body)),
        Odd::Length { more: false } if body.len() > 5 => Some(with_length(head, body.len() - 5, body)),
        _ => None,
    }
}

fn odd_page(odd: Odd, page: &str) -> Option<String> {
    let (from, to) = (page.find("<Contents>")?, page.rfind("</Contents>")? + "</Contents>".len());
    let objects: Vec<&str> = page[from..to].split_inclusive("</Contents>").collect();
    let again = |objects: Vec<&str>| Some(format!("{}{}{}", &page[..from], objects.concat(), &page[to..]));
    match odd {
        Odd::KeyTwice => again([objects.as_slice(), &[objects[objects.len() - 1]]].concat()),
        Odd::Backwards => again(objects.into_iter().rev().collect()),
        Odd::KeyLost => again(objects[1..].to_vec()),
        Odd::MoreWithoutToken => Some(page.replace("<IsTruncated>false", "<IsTruncated>true")),
        Odd::OtherEtagsListed => Some(page.replace("<ETag>\"", "<ETag>\"0").replace("<ETag>&quot;", "<ETag>&quot;0")),
        Odd::HalfAPage => Some(page[..to - 20].to_owned()),
        _ => None,
    }
}

/// The head with other lines of this name.
fn by_line(head: &str, name: &str, other: impl Fn(&str) -> String) -> String {
    let is = |line: &str| line.to_ascii_lowercase().starts_with(name);
    head.split_inclusive("\r\n").map(|line| if is(line) { other(line) } else { line.to_owned() }).collect()
}

fn without(head: &str, name: &str) -> String {
    by_line(head, name, |_| String::new())
}

fn with_length(head: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = by_line(head, "content-length:", |_| format!("Content-Length: {length}\r\n"));
    [head.as_bytes(), body].concat()
}

/// Promises 1, 4, 5, 23, 26, 74: whatever is odd, nothing is lost, nothing comes twice, nothing needs a person, and it is
/// over when the bucket is as it should be.
pub fn l05_a_bucket_that_answers_oddly_loses_nothing(server: Arc<Server>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let odd = Arc::new(Mutex::new(Odd::Nothing));
    let struck = Arc::new(AtomicU64::new(0));
    let double = runtime.block_on(Double::start({
        let (odd, struck, server) = (odd.clone(), struck.clone(), server.endpoint.clone());
        move |_, request| {
            let odd = *odd.lock().unwrap_or_else(PoisonError::into_inner);
            react(odd, &server, request, &struck)
        }
    }));
    let (mut world, _) = World::behind(&server, double.endpoint());
    for key in ["a.json", "b.json"] {
        world.put(key);
    }
    world.rig.start();
    assert!(world.tasks_or_dead(2));
    for (n, next) in ALL.into_iter().enumerate() {
        *odd.lock().unwrap_or_else(PoisonError::into_inner) = next;
        let before = struck.load(Ordering::Relaxed);
        world.put(&format!("c{n:02}.json"));
        world.label(0, &format!("choice {n}"));
        world.label(n as u64, "new");
        if next != Odd::Nothing {
            let is_seen = || struck.load(Ordering::Relaxed) >= before + 2;
            until(&format!("{next:?} to be met"), PATIENCE, || {
                world.rig.sync();
                is_seen().then_some(())
            });
        }
        if let Some(code) = next.code() {
            world.rig.until_status(&format!("{next:?}"), |status| find_code(status, code).is_some());
        }
        world.look();
        *odd.lock().unwrap_or_else(PoisonError::into_inner) = Odd::Nothing;
        until(&format!("all tasks after {next:?}"), PATIENCE, || {
            world.rig.sync();
            (world.look() >= n + 3).then_some(())
        });
    }
    world.goes_on();
}

/// In a bucket that keeps versions a deletion is a marker: what is under it is gone, and comes back with it.
pub fn l06_delete_markers_are_deletions_that_can_be_undone(server: Arc<Server>) {
    let (mut world, _) = World::behind(&server, &server.endpoint);
    world.keep_versions();
    for key in ["a.json", "b.json", "c.json"] {
        world.put(key);
    }
    world.rig.start();
    assert!(world.tasks_or_dead(3));
    world.label(0, "cat");
    assert!(world.pushed_or_dead(0));
    world.rig.until_status("the receipt", |status| status["target"]["in_step"] == 1);

    let marker = world.delete(true, "a.json").expect("versions are kept");
    let gone = |world: &World| world.rig.list("removed").iter().filter(|item| item["reason"] == "object_gone").count();
    until("an object that is gone", PATIENCE, || (gone(&world) == 1).then_some(()));
    world.look();
    assert_eq!(world.rig.tasks().len(), 3, "its task stays");
    assert!(world.is_pushed(0), "and its completion");
    world.undelete("a.json", &marker);
    until("its object again", PATIENCE, || (gone(&world) == 0).then_some(()));

    world.delete(false, "done/0").expect("versions are kept");
    world.rig.until_status("a completion that is missing", |status| status["target"]["target_missing"] == 1);
    world.rig.ok(&["resolve", "cats", "0", "--keep", "local"]);
    assert!(world.pushed_or_dead(0), "over the marker");
    world.goes_on();
}
