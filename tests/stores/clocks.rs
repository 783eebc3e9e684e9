//! What servers tell of the time, with answers and refusals.

use std::time::Duration;

use labelsync::clock::{Clock, SystemClock};
use labelsync::store::gcs::{GcsLimits, GcsStore};
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{ListRequest, Store};

use crate::support::Trials;
use crate::support::double::{Double, answer};

pub fn add(trials: &mut Trials) {
    trials.test("l47_the_skew_of_a_clock_is_read_from_answers", l47_the_skew_of_a_clock_is_read_from_answers);
}

/// A server whose clock is so far behind, and refuses.
async fn behind(by: Duration) -> Double {
    let then = SystemClock.now().0 / 1000 - i64::try_from(by.as_secs()).expect("small");
    let then = jiff::Timestamp::from_second(then).expect("a time").to_zoned(jiff::tz::TimeZone::UTC);
    let date = jiff::fmt::rfc2822::to_string(&then).expect("a date");
    Double::always(answer("403 Forbidden", &format!("Date: {date}\r\n"), "")).await
}

async fn l47_the_skew_of_a_clock_is_read_from_answers() {
    let double = behind(Duration::from_secs(600)).await;
    let s3 = S3Limits { attempts: 1, ..S3Limits::default() };
    let s3 = S3Store::connect_with(&double.settings(), s3).await.expect("a store");
    let gcs = GcsLimits { attempts: 1, ..GcsLimits::default() };
    let gcs = GcsStore::connect_with(&double.gcs_settings(), gcs).await.expect("a store");
    for store in [&s3 as &dyn Store, &gcs] {
        assert_eq!(store.clock_skew_seconds(), None, "{}: nothing was asked yet", store.root());
        store.list_page(&ListRequest::default(), None).await.expect_err("refused");
        let skew = store.clock_skew_seconds().expect("told");
        assert!((595..=630).contains(&skew), "{}: {skew}", store.root());
    }
}
