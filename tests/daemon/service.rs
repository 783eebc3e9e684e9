//! What systemd is told (recipe S8: a socket of our own for `NOTIFY_SOCKET`).

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::Signal;

use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig};

struct Told(UnixDatagram);

impl Told {
    /// The next datagram.
    fn next(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = loop {
            match self.0.recv(&mut bytes) {
                // The end of another test's child is a signal, and a wait with a limit is not taken up again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("systemd is told in time"),
            }
        };
        String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
    }
}

/// A project whose buckets nobody serves.
pub fn unreachable() -> Rig {
    let mut rig = Rig::new();
    rig.environment.push(("AWS_ACCESS_KEY_ID", "a-key".to_owned()));
    rig.environment.push(("AWS_SECRET_ACCESS_KEY", "a-secret".to_owned()));
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&settings(&rig, ".*"));
    rig
}

fn settings(rig: &Rig, regex: &str) -> String {
    let side = "endpoint = \"http://127.0.0.1:1\"\nallow_http = true\n";
    format!(
        "[projects.cats]\npath = \"{}\"\nlabel_studio_has_credentials = true\n[projects.cats.source]\ntype = \"s3\"\n\
         bucket = \"the-source\"\nregex = '{regex}'\n{side}[projects.cats.target]\ntype = \"s3\"\nbucket = \"the-target\"\n{side}",
        rig.path("cats").display()
    )
}

pub fn l81_ready_comes_although_the_bucket_is_down() {
    for abstract_name in [false, true] {
        let mut rig = unreachable();
        let path = rig.path("notify").display().to_string();
        let address = if abstract_name {
            SocketAddr::from_abstract_name(path.as_bytes()).expect("a name")
        } else {
            SocketAddr::from_pathname(&path).expect("a path")
        };
        let told = Told(UnixDatagram::bind_addr(&address).expect("bound"));
        told.0.set_read_timeout(Some(PATIENCE)).expect("set");
        rig.environment.push(("NOTIFY_SOCKET", if abstract_name { format!("@{path}") } else { path }));
        rig.spawn();
        assert!(told.next().starts_with("EXTEND_TIMEOUT_USEC="), "a start that gets on is not ended");
        let ready = told.next();
        assert!(!rig.is_over());
        assert!(ready.lines().any(|line| line == "READY=1") && ready.contains("STATUS=projects: 1"), "{ready}");
        assert_eq!(rig.lsctl(&["version"]).code, 0, "ready means that it answers");
        if abstract_name {
            continue;
        }
        let reason = rig.until_code("unreachable");
        assert!(reason["message"].as_str().is_some_and(|text| text.contains("s3://")), "{reason}");
        assert!(reason["hint"].as_str().is_some_and(|text| text.len() > 10), "{reason}");
        assert_eq!(rig.status()["state"], "degraded");
        assert_eq!(rig.sync(), 1);
        reloads(&rig, &told);
        rig.signal(Signal::TERM);
        assert_eq!(told.next().lines().next(), Some("STOPPING=1"));
        assert_eq!(rig.ended(std::time::Duration::from_secs(10)).code(), Some(0));
    }
}

/// Promise 84: in one datagram; READY=1 also when the new settings are bad.
fn reloads(rig: &Rig, told: &Told) {
    for (regex, status) in [
        ("a.*", "settings read again: projects: 0 started, 0 stopped, 1 changed"),
        ("(", "1 problem in the settings: the old ones stay in force"),
    ] {
        rig.settings(&settings(rig, regex));
        rig.signal(Signal::HUP);
        let reloading = told.next();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        let ready = told.next();
        assert!(ready.contains("READY=1") && ready.contains(status), "{ready}");
    }
}
