//! The way to a server: its name, a connection, TLS, and what its clock says; without credentials.
//!
//! Promise: one request, not followed anywhere, its answer's body unread.
//! Not here: what the server thinks of our credentials.

use std::time::Duration;

use reqwest::header::DATE;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::timeout;

use super::super::StoreErrorKind as Kind;
use super::super::asked::{Asked, SILENT};
use super::super::skew::ahead_of;
use super::{SILENCE, STEP_MAX, Step};

/// S3 refuses requests of a clock that is further off.
pub(super) const SKEW_S3: Duration = Duration::from_secs(15 * 60);

/// Google refuses to give a token to a clock that is further off.
pub(super) const SKEW_GCS: Duration = Duration::from_secs(5 * 60);

/// A clock that drifts is worth a word long before it hurts.
const SKEW_NOTABLE: Duration = Duration::from_secs(60);

/// The same as the stores'.
const CONNECT: Duration = Duration::from_secs(5);

/// A client as the stores have theirs: no redirects, no second tries, no proxy on the way to this machine itself.
pub(super) fn client(url: &Url) -> Result<Client, reqwest::Error> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let builder = Client::builder()
        .user_agent(concat!("labelsync/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .timeout(SILENCE);
    if is_loopback(url) { builder.no_proxy().build() } else { builder.build() }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// DNS, connection with TLS, clock; what cannot be looked at any more is left out.
pub(super) async fn look(url: &str, skew_max: Duration) -> Vec<Step> {
    let Ok(url) = url.parse::<Url>() else {
        return vec![Step::fail("dns", Kind::Configuration.code(), "the endpoint is no URL", "correct `endpoint`")];
    };
    let mut steps = vec![name(&url).await];
    let asked = Asked { operation: "reach", url: String::new() };
    let sent = match client(&url) {
        Ok(client) => timeout(STEP_MAX, client.get(url.clone()).send()).await,
        Err(_) => {
            let text = "no connection can be made with TLS's settings";
            steps.push(Step::fail("tls", Kind::Configuration.code(), text, Kind::Configuration.remedy()));
            return steps;
        }
    };
    let answer = match sent {
        Ok(Ok(answer)) => answer,
        failed => {
            let error = match failed {
                Ok(Err(error)) if !error.is_timeout() => asked.undelivered(&error),
                _ => Some(asked.failed(Kind::Unreachable, SILENT)),
            };
            let error = error.unwrap_or_else(|| asked.failed(Kind::Unreachable, "the connection was lost"));
            steps.push(Step::fail("tls", Kind::Unreachable.code(), error.detail.clone(), error.remedy()));
            return steps;
        }
    };
    let how =
        if url.scheme() == "https" { "TLS, its certificate is trusted" } else { "http, nothing is secret on the way" };
    steps.push(Step::ok("tls", format!("{how}; it answers {}", answer.status().as_u16())));
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    steps.push(clock(date, skew_max));
    steps
}

async fn name(url: &Url) -> Step {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Step::ok("dns", "the endpoint is an address, no name");
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let found = timeout(CONNECT, tokio::net::lookup_host((host.as_str(), port))).await;
    let seen = match found.map(|found| found.is_ok_and(|mut addresses| addresses.next().is_some())) {
        Ok(true) => return Step::ok("dns", format!("{host} is known")),
        Ok(false) => format!("the name {host} cannot be resolved"),
        Err(_) => format!("the name {host} cannot be resolved in time"),
    };
    Step::fail("dns", Kind::Unreachable.code(), seen, "correct the host of `endpoint`, or this machine's DNS")
}

fn clock(date: Option<&str>, skew_max: Duration) -> Step {
    let Some(off) = date.and_then(ahead_of) else {
        return Step::ok("clock", "the server does not tell its time");
    };
    let word = if off > 0 { "ahead of" } else { "behind" };
    let seen = format!("this machine's clock is {} s {word} the server's", off.unsigned_abs());
    let remedy = "set this machine's clock (`timedatectl set-ntp true`), or the server's";
    match Duration::from_secs(off.unsigned_abs()) {
        off if off > skew_max => Step::fail("clock", Kind::ClockSkew.code(), seen, remedy),
        off if off > SKEW_NOTABLE => Step::warn("clock", Kind::ClockSkew.code(), seen, remedy),
        _ => Step::ok("clock", "this machine's and the server's agree"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn l47_a_clock_that_is_off_is_said_before_it_hurts() {
        let at = |seconds: i64| {
            let time = jiff::Timestamp::from_second(SystemClock.now().0 / 1000 + seconds).expect("a time");
            jiff::fmt::rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC)).expect("a date")
        };
        for (off, outcome) in [
            (0, Outcome::Ok),
            (30, Outcome::Ok),
            (-200, Outcome::Warn),
            (200, Outcome::Warn),
            (1200, Outcome::Fail),
            (-1200, Outcome::Fail),
        ] {
            assert_eq!(clock(Some(&at(off)), SKEW_S3).outcome, outcome, "{off}");
        }
        assert_eq!(clock(Some(&at(400)), SKEW_GCS).outcome, Outcome::Fail);
        assert_eq!(clock(None, SKEW_S3).outcome, Outcome::Ok);
        assert_eq!(clock(Some("soon"), SKEW_S3).outcome, Outcome::Ok);
    }
}
