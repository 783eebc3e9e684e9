//! The bucket that a bench works on: the double's, or a real server's (`--server seaweedfs`).
//!
//! Promise: every program that is compared gets the same one.
//! Not here: what is measured.

use aws_sdk_s3::primitives::ByteStream;
use futures::StreamExt;

use crate::real::servers::{Kind, Server};
use crate::support::double::{Double, json_task};
use crate::support::{BUCKET, option};

/// Objects put into a real server at once.
const PUTS_AT_ONCE: usize = 32;

/// See the top.
pub enum Bucket {
    /// Costs next to nothing.
    Double(Double),
    /// SeaweedFS, installed by the tests.
    Real(Server, tokio::runtime::Runtime),
}

impl Bucket {
    /// Empty, on the server that was asked for.
    pub fn asked_for() -> Self {
        match option("--server").as_deref() {
            None | Some("double") => Self::Double(Double::start(0)),
            Some("seaweedfs") => {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
                let server = Server::start(Kind::SeaweedFs).unwrap_or_else(|why| panic!("SeaweedFS: {why}"));
                runtime.block_on(server.client().create_bucket().bucket(BUCKET).send()).expect("a bucket");
                Self::Real(server, runtime)
            }
            Some(other) => panic!("no server {other} is known: double, seaweedfs"),
        }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Double(double) => double.endpoint(),
            Self::Real(server, _) => server.endpoint.clone(),
        }
    }

    /// So many JSON tasks of about 1 KB, `json/000000.json` and on.
    pub fn add_json_tasks(&self, count: u64) {
        let (server, runtime) = match self {
            Self::Double(double) => return double.add_json_tasks(count),
            Self::Real(server, runtime) => (server, runtime),
        };
        let client = &server.client();
        let puts = futures::stream::iter(0..count).map(|n| async move {
            let body = ByteStream::from(json_task(n).into_bytes());
            client.put_object().bucket(BUCKET).key(format!("json/{n:06}.json")).body(body).send().await
        });
        let mut puts = puts.buffer_unordered(PUTS_AT_ONCE);
        runtime.block_on(async {
            while let Some(put) = puts.next().await {
                put.expect("written");
            }
        });
    }

    /// Whether so many objects have this prefix, of a bucket that took no other writes before. Asked again and again while
    /// something is measured: a real server, whose listing would be most of its work, is asked when `done` says so.
    pub fn has(&self, count: u64, prefix: &str, done: impl Fn() -> bool) -> bool {
        let may_be = match self {
            Self::Double(double) => double.writes() >= count,
            Self::Real(..) => done(),
        };
        may_be && self.count(prefix) >= count
    }

    fn count(&self, prefix: &str) -> u64 {
        let (server, runtime) = match self {
            Self::Double(double) => return double.count(prefix),
            Self::Real(server, runtime) => (server, runtime),
        };
        let list = server.client().list_objects_v2().bucket(BUCKET).prefix(prefix).into_paginator().send();
        runtime.block_on(async {
            let (mut list, mut count) = (list, 0);
            while let Some(page) = list.next().await {
                count += page.expect("listed").contents().len() as u64;
            }
            count
        })
    }

    /// Requests since the last call; a real server does not say.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Double(double) => double.requests(),
            Self::Real(..) => 0,
        }
    }
}
