//! Buckets that are in another region than was asked for.

use std::time::Duration;

use bytes::Bytes;
use labelsync::names::Key;
use labelsync::store::s3::{S3Limits, S3Store};
use labelsync::store::{ListRequest, Precondition, Store, StoreErrorKind};

use crate::support::Trials;
use crate::support::double::{Double, Reaction, Request, answer};

pub fn add(trials: &mut Trials) {
    trials.test("s3::a_region_that_the_bucket_names_is_followed_and_remembered", followed_and_remembered);
    trials.test("s3::a_region_is_followed_once_and_only_where_it_is_one", followed_once);
}

const XML: &str = "Content-Type: application/xml\r\n";

const PAGE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
    xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><EncodingType>url</EncodingType>\
    <IsTruncated>false</IsTruncated></ListBucketResult>";

async fn store(double: &Double) -> S3Store {
    let limits = S3Limits { silence: Duration::from_secs(5), ..S3Limits::default() };
    S3Store::connect_with(&double.settings(), limits).await.expect("a store")
}

/// `301` with the region in a header, or `400` with the region in the body.
fn elsewhere(status: &str, region: &str) -> Reaction {
    if status.starts_with("301") {
        let body = "<?xml version=\"1.0\"?><Error><Code>PermanentRedirect</Code></Error>";
        return answer(status, &format!("{XML}x-amz-bucket-region: {region}\r\n"), body);
    }
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>"
    );
    answer(status, XML, &body)
}

fn is_signed_for(request: &Request, region: &str) -> bool {
    request.header("authorization").is_some_and(|text| text.contains(&format!("/{region}/s3/")))
}

async fn followed_and_remembered() {
    for status in ["301 Moved Permanently", "400 Bad Request"] {
        let double = Double::start(move |_, request| {
            if !is_signed_for(request, "eu-west-3") {
                return elsewhere(status, "eu-west-3");
            }
            match request.line.starts_with("PUT") {
                true => answer("200 OK", "ETag: \"1\"\r\n", ""),
                false => answer("200 OK", XML, PAGE),
            }
        })
        .await;
        // A write too: what was refused for its region was not done.
        let writing = store(&double).await;
        writing.put(&Key::new("a"), Bytes::from("a"), &Precondition::Absent).await.expect("written");
        assert_eq!(double.requests().len(), 2, "{status}");
        let listing = store(&double).await;
        for _ in 0..3 {
            listing.list_page(&ListRequest::default(), None).await.expect("listed");
        }
        let requests = double.requests();
        assert_eq!(requests.len(), 2 + 1 + 3, "{status}: asked elsewhere once");
        assert!(requests[3..].iter().all(|request| is_signed_for(request, "eu-west-3")));
    }
}

async fn followed_once() {
    for region in ["eu-west-3", "evil.example", "a/b", "A B", ""] {
        let double = Double::always(elsewhere("301 Moved Permanently", region)).await;
        let error = store(&double).await.list_page(&ListRequest::default(), None).await.expect_err("elsewhere");
        assert_eq!(error.kind, StoreErrorKind::RegionMismatch, "{region}");
        let followed = region == "eu-west-3";
        assert_eq!(double.requests().len(), 1 + usize::from(followed), "{region}: {error}");
    }
}
