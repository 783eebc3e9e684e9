//! As whom a bucket behind HTTP is asked, and how patiently: the same for every provider.
//!
//! Promise: credentials that the bucket refuses are looked up again, for everybody at once, and not too often; every
//! wait has an end.
//! Not here: what a session is made of (`s3`, `gcs`), when it is refused (`cloud`).

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// A connection that is not there after this long does not come: three SYNs go out in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence of a server that ends a request: the providers answer within seconds, and a busy local server lists a page
/// of 1,000 keys in under ten.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The slowest transfer that is waited for, bytes a second; slower than this a poll is better begun anew.
const SLOWEST_BYTES_PER_SECOND: u64 = 32 * 1024;

/// Tries of a request that changes nothing. Three ride out a restarted front end; more only hide an outage
/// from the status.
const ATTEMPTS: u32 = 3;

/// Credentials that the store refuses are looked up again no more often than this: a wrong key must not
/// become a storm of requests to the metadata service or the token server.
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// How long things may take and how often they are tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CloudLimits {
    /// For a connection.
    pub connect: Duration,
    /// For an answer to begin, and between two pieces of a body.
    pub silence: Duration,
    /// Tries of a request that changes nothing, at least 1; writes are sent once.
    pub attempts: u32,
    /// Between two look-ups of credentials that the store refuses.
    pub renew_every: Duration,
}

impl Default for CloudLimits {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, silence: SILENCE_TIMEOUT, attempts: ATTEMPTS, renew_every: RENEW_EVERY }
    }
}

impl CloudLimits {
    /// The longest that a transfer of so many bytes is waited for, its answer included.
    pub(super) fn transfer(&self, bytes: u64) -> Duration {
        self.silence + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
    }
}

/// The session in use. It keeps credentials, and some of their providers keep files' contents for ever; so it is made
/// anew when the store refuses them.
pub(super) struct Sessions<S> {
    /// Held while another is made: everybody waits for that one.
    current: Mutex<Current<S>>,
}

/// One of them.
pub(super) struct Current<S> {
    pub session: S,
    /// How many there were before.
    pub generation: u64,
    /// When its credentials were looked up.
    pub since: Instant,
}

impl<S: Clone> Sessions<S> {
    /// The first.
    pub fn new(session: S) -> Self {
        Self { current: Mutex::new(Current { session, generation: 0, since: Instant::now() }) }
    }

    /// The one in use, and its generation.
    pub async fn get(&self) -> (S, u64) {
        let current = self.lock().await;
        (current.session.clone(), current.generation)
    }

    /// For who puts another in its place.
    pub async fn lock(&self) -> MutexGuard<'_, Current<S>> {
        self.current.lock().await
    }

    /// The store refused the session of this generation: whether there is a newer one now. `make`: of the one in use.
    pub async fn renew<M: Future<Output = Option<S>>>(
        &self,
        generation: u64,
        every: Duration,
        make: impl FnOnce(S) -> M,
    ) -> bool {
        let mut current = self.lock().await;
        if current.generation > generation {
            return true;
        }
        if current.since.elapsed() < every {
            return false;
        }
        let Some(session) = make(current.session.clone()).await else { return false };
        *current = Current { session, generation: generation + 1, since: Instant::now() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l76_every_transfer_has_an_end() {
        assert_eq!(CloudLimits::default().transfer(1 << 20), Duration::from_secs(30 + 32));
    }

    #[tokio::test(start_paused = true)]
    async fn l54_a_refused_session_is_made_anew_once_and_not_too_often() {
        let sessions = Sessions::new(1);
        let every = Duration::from_secs(20);
        assert!(!sessions.renew(0, every, |one| async move { Some(one + 1) }).await, "it has just been made");
        tokio::time::advance(every).await;
        assert!(!sessions.renew(0, every, |_| async { None }).await, "there is no other");
        assert!(sessions.renew(0, every, |one| async move { Some(one + 1) }).await);
        assert_eq!(sessions.get().await, (2, 1));
        assert!(sessions.renew(0, every, |_| async { None }).await, "somebody else was refused the same one");
        assert!(!sessions.renew(1, every, |one| async move { Some(one + 1) }).await, "too soon");
    }
}
