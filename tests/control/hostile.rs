//! Clients that are silent, slow, mad or gone.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use labelsync::control::server::{CONNECTIONS_MAX, EVENT_STREAMS_MAX, FINISH_TIME, REQUEST_TIME};
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::daemon::{Daemon, PATIENCE};
use crate::fake::event;

/// A person waits that long without a thought.
const AT_ONCE: Duration = Duration::from_secs(3);

/// This process is daemon and clients at once.
fn allow_descriptors(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    let maximum = now.maximum.unwrap_or(wanted);
    assert!(maximum >= wanted, "the hard limit of open files is {maximum}, the test needs {wanted}");
    if now.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum }).unwrap();
    }
}

fn quickly<T>(what: &str, deed: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let done = deed();
    assert!(begin.elapsed() < AT_ONCE, "{what} took {:?}", begin.elapsed());
    done
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn l62_a_thousand_silent_clients_block_nobody() {
    allow_descriptors(4_000);
    let daemon = Daemon::start();
    let mut silent: Vec<UnixStream> = (0..1_000).map(|_| daemon.connect()).collect();
    for half in silent.iter_mut().step_by(2) {
        // The ones that were turned out by later ones may be closed already.
        let _ = half.write_all(b"GET /v1/sta");
    }
    for (at, half) in silent.iter().enumerate().filter(|(at, _)| at % 3 == 0) {
        let _ = half.shutdown(if at % 2 == 0 { Shutdown::Write } else { Shutdown::Both });
    }
    quickly("status beside silent clients", || daemon.ok(&["status"]));
    let more: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| daemon.connect()).collect();
    quickly("status beside still more", || daemon.ok(&["status"]));
    drop((silent, more));
    quickly("status after they vanished", || daemon.ok(&["status"]));
}

#[test]
fn l62_slow_requests_are_given_up() {
    let daemon = Daemon::start();
    let table: [(&str, &[u8], &str); 3] = [
        ("silent", b"", ""),
        ("half a head", b"GET /v1/status HTTP/1.1\r\nhost:", ""),
        (
            "half a body",
            b"PATCH /v1/projects/cats/source HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
            "too_slow",
        ),
    ];
    std::thread::scope(|scope| {
        for (name, request, code) in table {
            let daemon = &daemon;
            scope.spawn(move || {
                let begin = Instant::now();
                let mut stream = daemon.connect();
                stream.write_all(request).unwrap();
                let mut answer = Vec::new();
                let ended = stream.read_to_end(&mut answer);
                assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset), "{name}");
                let took = begin.elapsed();
                assert!(took >= REQUEST_TIME / 2 && took < REQUEST_TIME * 3, "{name} took {took:?}");
                assert!(String::from_utf8_lossy(&answer).contains(code), "{name}: {answer:?}");
            });
        }
        // One byte a second is progress, but no request.
        let trickle = scope.spawn(|| {
            let mut stream = daemon.connect();
            let begin = Instant::now();
            while begin.elapsed() < PATIENCE {
                if stream.write_all(b"G").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            panic!("a trickling client is still there");
        });
        quickly("status beside slow clients", || daemon.ok(&["status"]));
        trickle.join().unwrap();
    });
}

#[test]
fn l62_a_reader_that_does_not_read_is_dropped() {
    let daemon = Daemon::start();
    daemon.fake.backup.lock().unwrap().resize(8 << 20, 7);
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v1/projects/cats/backup HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    // The limit is 10 s; then the rest of the answer is not there.
    std::thread::sleep(Duration::from_secs(13));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.len() < 8 << 20, "all {} bytes came", bytes.len());
    let ran = daemon.lsctl(&["backup", daemon.dir.path().join("copy").to_str().unwrap()]);
    assert_eq!(ran.code, 0, "who reads gets it all: {}", ran.err);
}

#[test]
fn l62_waiting_clients_leave_room_or_get_an_answer() {
    allow_descriptors(4_000);
    let daemon = Daemon::start();
    daemon.fake.hangs.store(true, Ordering::Relaxed);
    let plan = b"GET /v1/projects/cats/plan HTTP/1.1\r\nhost: x\r\n\r\n";
    let ask = || {
        let before = daemon.fake.hung.load(Ordering::Relaxed);
        let mut stream = daemon.connect();
        stream.write_all(plan).unwrap();
        until("the request is in hand", || daemon.fake.hung.load(Ordering::Relaxed) > before);
        stream
    };
    let waiting: Vec<UnixStream> = (0..CONNECTIONS_MAX - 1).map(|_| ask()).collect();
    let _silent = daemon.connect();
    quickly("status in the silent one's place", || daemon.ok(&["status"]));
    let _last = ask();
    let mut answer = String::new();
    quickly("the answer to one too many", || daemon.connect().read_to_string(&mut answer).unwrap());
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"code\":\"too_many\""), "{answer}");
    drop(waiting);
    until("status after they have gone", || daemon.lsctl(&["status"]).code == 0);
    quickly("status after that", || daemon.ok(&["status"]));
}

#[test]
fn l62_followers_of_events_are_bounded() {
    let daemon = Daemon::start();
    let follow = || {
        let mut stream = daemon.connect();
        stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (String::from_utf8_lossy(&head).into_owned(), stream)
    };
    let followers: Vec<_> = (0..EVENT_STREAMS_MAX).map(|_| follow()).collect();
    assert!(followers.iter().all(|(head, _)| head == "HTTP/1.1 200"));
    assert_eq!(follow().0, "HTTP/1.1 503");
    drop(followers);
    until("a place is given back when its reader goes", || follow().0 == "HTTP/1.1 200");
}

#[test]
fn l62_a_slow_follower_is_told_what_it_lost() {
    let mut daemon = Daemon::start();
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    // Larger than what the socket takes, and more than the double's channel keeps.
    let text = "x".repeat(100_000);
    for seq in 3..60 {
        daemon.fake.live.send(event(seq, "cats", &text)).unwrap();
    }
    let mut answer = Vec::new();
    let is_told = |answer: &[u8]| String::from_utf8_lossy(answer).contains("\"kind\":\"events_lost\"");
    while !is_told(&answer) {
        let mut more = [0; 64 << 10];
        let bytes = stream.read(&mut more).unwrap();
        assert!(bytes > 0, "it ended after {} bytes", answer.len());
        answer.extend_from_slice(&more[..bytes]);
    }
    daemon.stop.cancel();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.trim_end().ends_with("0"), "the stream ends as it should");
    assert!(answer.contains("\"kind\":\"daemon_stopping\""), "{} bytes", answer.len());
    daemon.stop();
}

#[test]
fn l55_a_change_is_done_whole_though_the_client_vanishes() {
    let daemon = Daemon::start();
    *daemon.fake.change_takes.lock().unwrap() = Duration::from_millis(500);
    let mut stream = daemon.connect();
    let body = r#"{"prefix":"new/"}"#;
    let head = format!("PATCH /v1/projects/cats/source HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).unwrap();
    until("the change is in hand", || daemon.fake.changing.load(Ordering::Relaxed) > 0);
    drop(stream);
    until("the change is made", || daemon.fake.asked.lock().unwrap().len() == 1);
}

#[test]
fn requests_in_hand_are_finished_at_the_stop_and_none_waits_for_ever() {
    let mut daemon = Daemon::start();
    *daemon.fake.change_takes.lock().unwrap() = Duration::from_millis(700);
    let idle = daemon.connect();
    let command = daemon.command(&["set-source", "--prefix", "new/"]).stdout(std::process::Stdio::piped()).spawn();
    until("the change is in hand", || daemon.fake.changing.load(Ordering::Relaxed) > 0);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < FINISH_TIME, "an idle connection is not waited for: {:?}", begin.elapsed());
    assert_eq!(command.unwrap().wait_with_output().unwrap().status.code(), Some(0));
    drop(idle);

    let mut daemon = Daemon::start();
    daemon.fake.hangs.store(true, Ordering::Relaxed);
    let mut plan = daemon.command(&["plan"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    until("the request is in hand", || daemon.fake.hung.load(Ordering::Relaxed) > 0);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < FINISH_TIME * 2, "{:?}", begin.elapsed());
    assert_eq!(plan.wait().unwrap().code(), Some(1));
}

/// Random bytes, and requests with random wounds.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let request = "PATCH /v1/projects/cats/source?dry_run=true HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
                   content-type: application/json\r\n\r\n11\r\n{\"regex\":\"x.*\"}\r\n0\r\n\r\n";
    let wounded = (any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..12), any::<bool>());
    let wounded = proptest::collection::vec(wounded, 0..4).prop_map(move |wounds| {
        let mut bytes = request.as_bytes().to_vec();
        for (at, with, cut) in wounds {
            let at = at.index(bytes.len() + 1);
            let to = if cut { bytes.len() } else { at };
            bytes.splice(at..to, with);
        }
        bytes
    });
    let long = (1..200_000_usize, prop::sample::select(vec![b'A', b'\n', b' ', 0]))
        .prop_map(|(bytes, byte)| [b"GET /".as_slice(), &vec![byte; bytes]].concat());
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..3_000), wounded, long]
}

#[test]
fn l63_any_bytes_end_in_an_answer_or_a_close() {
    let daemon = Daemon::start();
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&bytes(), |bytes| {
        let begin = Instant::now();
        let mut stream = daemon.connect();
        // The server may close before it has read all.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        prop_assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
        prop_assert!(begin.elapsed() < AT_ONCE, "it took {:?}", begin.elapsed());
        prop_assert!(answer.len() < 100_000);
        Ok(())
    });
    outcome.unwrap();
    daemon.ok(&["status"]);
}
