//! `GET /v1/events`: one JSON object a line.
//!
//! Promise: a reader that is too slow is told how many events it lost; a stopping daemon says so in the last line.
//! Not here: where events come from.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures::stream;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::EventFeed;
use super::api::Event;
use crate::clock::{Clock, SystemClock};
use crate::names::ProjectName;

/// What is asked of the feed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// Only this project's; `-`: the only one's.
    pub project: Option<String>,
    /// Stay, and send those to come.
    pub follow: bool,
    /// Only events after this one. From a daemon's earlier life: all.
    pub since: Option<u64>,
}

/// The stream of lines as a body. It ends when the client goes, when `stop` is cancelled, or after the recent events.
pub fn body(feed: EventFeed, project: Option<ProjectName>, wanted: &Wanted, guard: Guard) -> Body {
    let newest = feed.recent.last().map_or(0, |event| event.seq);
    // A number that was never reached was counted by an earlier daemon.
    let since = wanted.since.filter(|since| *since <= newest).unwrap_or(0);
    let recent: Vec<Event> = feed.recent.into_iter().filter(|event| event.seq > since).collect();
    let lines = Lines {
        recent: recent.into_iter(),
        live: wanted.follow.then_some(feed.live),
        project,
        last_seq: newest,
        guard,
    };
    Body::from_stream(stream::unfold(lines, |mut lines| async move {
        let event = lines.next().await?;
        Some((Ok::<_, Infallible>(line(&event)), lines))
    }))
}

/// What a feed holds while it runs.
#[derive(Debug)]
pub struct Guard {
    /// Its place among the streams, given back when the stream is dropped.
    #[expect(dead_code, reason = "held, not read")]
    pub place: OwnedSemaphorePermit,
    /// Ends it.
    pub stop: CancellationToken,
}

struct Lines {
    recent: std::vec::IntoIter<Event>,
    /// `None`: not followed, or over.
    live: Option<tokio::sync::broadcast::Receiver<Event>>,
    project: Option<ProjectName>,
    last_seq: u64,
    guard: Guard,
}

impl Lines {
    async fn next(&mut self) -> Option<Event> {
        for event in self.recent.by_ref() {
            if wants(self.project.as_ref(), &event) {
                return Some(event);
            }
        }
        loop {
            let received = tokio::select! {
                biased;
                () = self.guard.stop.cancelled() => None,
                received = self.live.as_mut()?.recv() => Some(received),
            };
            match received {
                Some(Ok(event)) if event.seq <= self.last_seq => {}
                Some(Ok(event)) => {
                    self.last_seq = event.seq;
                    if wants(self.project.as_ref(), &event) {
                        return Some(event);
                    }
                }
                Some(Err(RecvError::Lagged(lost))) => {
                    let message =
                        format!("{lost} events are not shown here: this reader is too slow; the log has them");
                    return Some(self.own_event("warning", "events_lost", message));
                }
                Some(Err(RecvError::Closed)) | None => {
                    self.live = None;
                    let message = "labelsyncd is stopping: no more events here".to_owned();
                    return Some(self.own_event("notice", "daemon_stopping", message));
                }
            }
        }
    }

    /// An event of the feed itself; it has the number of the one before it.
    fn own_event(&self, level: &str, kind: &str, message: String) -> Event {
        Event {
            seq: self.last_seq,
            at: SystemClock.now(),
            project: None,
            level: level.to_owned(),
            kind: kind.to_owned(),
            message,
            key: None,
            task: None,
            bucket: None,
            duration_usec: None,
            error: None,
            actor: None,
        }
    }
}

fn wants(project: Option<&ProjectName>, event: &Event) -> bool {
    project.is_none_or(|project| event.project.as_deref() == Some(project.as_str()))
}

fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("an event is plain data with string keys");
    line.push(b'\n');
    line.into()
}
