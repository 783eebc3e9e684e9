//! Reads and small writes without the SDK's machinery, which costs more than all the rest of a mirror or a push: the
//! way of the SDK's own first read, and write, is learnt, and gone again.
//!
//! Promise: a request goes where the SDK's went, over its connections and proxy, with its headers, its credentials and
//! its signature's scope; what cannot be learnt for certain stays with the SDK. Nothing is sent twice, no redirect is
//! followed, every wait ends.
//! Not here: what an answer means (`error`), whether a body is the right one (`checksum`), whether to try again (`cloud`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ConnectorError, ErrorMetadata, SdkError};
use aws_sdk_s3::primitives::SdkBody;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::{
    Identity, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::GetIdentityResolver;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::amend::OWNER_HEADER;
use super::xml::{Piece, Xml, unescape};
use crate::clock::{Clock, SystemClock};
use crate::names::Key;
use crate::store::Precondition;
use crate::store::crc32c::Crc32c;
use crate::store::skew::Skew;

/// Larger bodies go through the SDK: beside their transfer its machinery costs nothing, and it asks the server first
/// whether it wants them (`Expect`).
const BODY_MAX_BYTES: usize = 1 << 20;

/// The methods whose ways are learnt.
const GET: &str = "GET";
const PUT: &str = "PUT";

/// Answers to writes have no body, errors a short one.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// What a key keeps as it is: what SigV4 calls unreserved, and the slash.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The signature that is learnt. Others (of several regions, of S3 Express) stay with the SDK.
const SIGV4: &str = "sigv4";

/// Headers that are sent again as the SDK sent them.
const KEPT: [&str; 7] = [
    "user-agent",
    "x-amz-user-agent",
    "content-type",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-mode",
    "amz-sdk-request",
    OWNER_HEADER,
];

/// Headers that each request has of its own. One that is neither here nor in [`KEPT`] means something that is not
/// known here: the SDK sends such requests itself.
const OWN: [&str; 11] = [
    "authorization",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-checksum-crc32c",
    "amz-sdk-invocation-id",
    "content-length",
    "if-match",
    "if-none-match",
    "host",
    "accept",
];

/// What was learnt so far; one for each client of the SDK and each method.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    method: &'static str,
    /// Held for one assignment.
    known: Arc<Mutex<Known>>,
    skew: Arc<Skew>,
}

/// What is known of a way.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    Way(Arc<Way>),
    /// The answers on it are not understood: the SDK makes all requests.
    Unfit,
}

impl Learnt {
    /// Nothing yet of reads. `skew`: is told the time that the server tells.
    pub fn reads(skew: &Arc<Skew>) -> Self {
        Self { method: GET, known: Arc::default(), skew: skew.clone() }
    }

    /// Nothing yet of writes.
    pub fn writes(skew: &Arc<Skew>) -> Self {
        Self { method: PUT, ..Self::reads(skew) }
    }

    /// The way, where it is known.
    pub fn way(&self) -> Option<Arc<Way>> {
        match &*self.lock() {
            Known::Way(way) => Some(way.clone()),
            Known::Nothing | Known::Unfit => None,
        }
    }

    /// The server does not take it any more: the SDK goes first again.
    pub fn forget(&self) {
        self.learn(None);
    }

    /// An answer on it says what is not known here: it is not gone again.
    pub fn leave(&self) {
        *self.lock() = Known::Unfit;
    }

    /// To go with a request of the SDK.
    pub fn from(&self, key: &Key, connect: Duration) -> Learning {
        Learning { learnt: self.clone(), key: key.clone(), connect }
    }

    fn learn(&self, way: Option<Way>) {
        let mut known = self.lock();
        if !matches!(*known, Known::Unfit) {
            *known = way.map_or(Known::Nothing, |way| Known::Way(Arc::new(way)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a request of the SDK as it leaves.
#[derive(Debug)]
pub(super) struct Learning {
    learnt: Learnt,
    key: Key,
    connect: Duration,
}

impl Intercept for Learning {
    fn name(&self) -> &'static str {
        "Learning"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let seen = Seen::of(context.request(), self.learnt.method, &self.key);
        let way = seen.and_then(|seen| Way::of(seen, components, self.connect, self.learnt.skew.clone()));
        self.learnt.learn(way);
        Ok(())
    }
}

/// What a signed request shows.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    before_key: String,
    after_key: String,
    headers: Vec<(String, String)>,
    region: String,
    service: String,
    /// `x-amz-date`, seconds since 1970.
    signed_at: i64,
}

impl Seen {
    /// `None`: something in it is not understood.
    fn of(request: &HttpRequest, method: &str, key: &Key) -> Option<Self> {
        if request.method() != method || key.as_str().is_empty() {
            return None;
        }
        let (path, after_key) = match request.uri().find('?') {
            Some(at) => request.uri().split_at(at),
            None => (request.uri(), ""),
        };
        let before_key = path.strip_suffix(&encoded(key))?.to_owned();
        let mut headers = Vec::new();
        for (name, value) in request.headers() {
            if KEPT.contains(&name) {
                headers.push((name.to_owned(), value.to_owned()));
            } else if !OWN.contains(&name) {
                return None;
            }
        }
        // `AWS4-HMAC-SHA256 Credential=KEY/20261120/eu-west-1/s3/aws4_request, SignedHeaders=…`
        let signature = request.headers().get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
        let mut scope = signature.split_once(',')?.0.rsplit('/');
        let (Some("aws4_request"), Some(service), Some(region)) = (scope.next(), scope.next(), scope.next()) else {
            return None;
        };
        let date = request.headers().get("x-amz-date")?;
        let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
        Some(Self {
            before_key,
            after_key: after_key.to_owned(),
            headers,
            region: region.to_owned(),
            service: service.to_owned(),
            signed_at: date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second(),
        })
    }
}

/// Whether a read goes this way. The empty key is none, which the SDK says.
pub(super) fn is_readable(key: &Key) -> bool {
    !key.as_str().is_empty()
}

/// Whether a write does.
pub(super) fn is_small(key: &Key, bytes: &Bytes) -> bool {
    bytes.len() <= BODY_MAX_BYTES && is_readable(key)
}

/// A write that is to be made.
#[derive(Debug)]
pub(super) struct Put<'a> {
    pub key: &'a Key,
    pub bytes: &'a Bytes,
    pub precondition: &'a Precondition,
    /// For all of it.
    pub limit: Duration,
}

/// How an object's requests of one method get to the bucket.
pub(super) struct Way {
    seen: Seen,
    /// What the SDK adds to this machine's time, seconds: it has noticed that the clock is wrong.
    ahead: i64,
    connector: SharedHttpConnector,
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    skew: Arc<Skew>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("before_key", &self.seen.before_key).finish_non_exhaustive()
    }
}

impl Way {
    fn of(seen: Seen, components: &RuntimeComponents, connect: Duration, skew: Arc<Skew>) -> Option<Self> {
        let settings = HttpConnectorSettings::builder().connect_timeout(connect).build();
        let ahead = seen.signed_at - now_seconds();
        Some(Self {
            seen,
            // Within a second it is the rounding of the date.
            ahead: if ahead.abs() <= 1 { 0 } else { ahead },
            connector: components.http_client()?.http_connector(&settings, components),
            cache: components.identity_cache(),
            resolver: components.identity_resolver(AuthSchemeId::from(SIGV4))?,
            components: components.clone(),
            skew,
        })
    }

    /// Makes a write, once. The answer has a good status.
    pub async fn put(&self, put: &Put<'_>) -> Result<HttpResponse, Failed> {
        let condition = match put.precondition {
            Precondition::Absent => ("if-none-match", "*".to_owned()),
            Precondition::Matches(etag) => ("if-match", etag.as_str().to_owned()),
        };
        let length = ("content-length", put.bytes.len().to_string());
        let checksum = ("x-amz-checksum-crc32c", Crc32c::of(put.bytes));
        let own = [condition, length, checksum];
        within(put.limit, async {
            let mut answer = self.send(PUT, put.key, put.bytes, own).await?;
            // Reading it to its end keeps the connection.
            match Limited::new(answer.take_body(), ANSWER_MAX_BYTES).collect().await {
                Ok(_nothing) => Ok(answer),
                Err(error) => Err(SdkError::response_error(error, answer)),
            }
        })
        .await
    }

    /// Asks for an object, once. The answer has a good status, and its body is unread.
    pub async fn get(&self, key: &Key, limit: Duration) -> Result<HttpResponse, Failed> {
        within(limit, self.send(GET, key, &Bytes::new(), [])).await
    }

    async fn send<const N: usize>(
        &self,
        method: &str,
        key: &Key,
        body: &Bytes,
        own: [(&'static str, String); N],
    ) -> Result<HttpResponse, Failed> {
        // As the SDK says it.
        let identity = self.identity().await;
        let identity = identity.map_err(|error| SdkError::dispatch_failure(ConnectorError::other(error, None)))?;
        let request = self.request(method, key, body, own, &identity).map_err(SdkError::construction_failure)?;
        let answer = self.connector.call(request).await.map_err(SdkError::dispatch_failure)?;
        self.skew.saw(answer.headers().get("date"));
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }

    async fn identity(&self) -> Result<Identity, BoxError> {
        let config = ConfigBag::base();
        self.cache.resolve_cached_identity(self.resolver.clone(), &self.components, &config).await
    }

    fn request<const N: usize>(
        &self,
        method: &str,
        key: &Key,
        body: &Bytes,
        own: [(&'static str, String); N],
        identity: &Identity,
    ) -> Result<HttpRequest, BoxError> {
        let mut request = HttpRequest::new(SdkBody::from(body.clone()));
        request.set_method(method)?;
        request.set_uri(format!("{}{}{}", self.seen.before_key, encoded(key), self.seen.after_key))?;
        let headers = request.headers_mut();
        for (name, value) in &self.seen.headers {
            headers.try_insert(name.clone(), value.clone())?;
        }
        for (name, value) in own {
            headers.try_insert(name, value)?;
        }
        self.sign(&mut request, body, identity)?;
        Ok(request)
    }

    /// As S3 wants it: the path as it is, the body's hash in a header.
    fn sign(&self, request: &mut HttpRequest, bytes: &Bytes, identity: &Identity) -> Result<(), BoxError> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(now_seconds() + self.ahead)?);
        let params = v4::SigningParams::builder()
            .identity(identity)
            .region(&self.seen.region)
            .name(&self.seen.service)
            .time(time)
            .settings(settings)
            .build()?;
        let unsigned = SignableRequest::new(
            request.method(),
            request.uri(),
            request.headers().iter(),
            SignableBody::Bytes(bytes),
        )?;
        let (signed, _) = sign(unsigned, &SigningParams::V4(params))?.into_parts();
        for header in signed.into_parts().0 {
            request.headers_mut().try_insert(header.name(), header.value().to_owned())?;
        }
        Ok(())
    }
}

/// A request that failed.
type Failed = SdkError<ErrorMetadata, HttpResponse>;

async fn within<T>(limit: Duration, sent: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    match tokio::time::timeout(limit, sent).await {
        Ok(answer) => answer,
        Err(silent) => Err(SdkError::timeout_error(silent)),
    }
}

/// An answer with a bad status, whose body may say why.
async fn refused(mut answer: HttpResponse) -> Failed {
    let body = Limited::new(answer.take_body(), ANSWER_MAX_BYTES);
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return SdkError::response_error(error, answer),
    };
    let code = error_code(&bytes);
    *answer.body_mut() = SdkBody::from(bytes);
    let mut meaning = ErrorMetadata::builder();
    if let Some(code) = code {
        meaning = meaning.code(code);
    }
    SdkError::service_error(meaning.build(), answer)
}

/// `<Error><Code>SlowDown</Code>…`.
fn error_code(body: &[u8]) -> Option<String> {
    let mut xml = Xml::new(std::str::from_utf8(body).ok()?);
    let Ok(Piece::Open("Error")) = xml.next() else { return None };
    while let Ok(Piece::Open(name)) = xml.next() {
        if name == "Code" {
            let code = xml.text().ok()?;
            return unescape(code, &mut String::new()).ok().map(str::to_owned);
        }
        xml.skip().ok()?;
    }
    None
}

fn encoded(key: &Key) -> String {
    utf8_percent_encode(key.as_str(), IN_PATH).to_string()
}

/// Since 1970.
fn now_seconds() -> i64 {
    SystemClock.now().0 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str =
        "AWS4-HMAC-SHA256 Credential=AKID/20261120/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0";

    /// As the SDK sends it, with another header.
    fn sent(uri: &str, name: &str, value: &str) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method("PUT").expect("a method");
        request.set_uri(uri.to_owned()).expect("a URL");
        let headers = [
            ("authorization", SCOPE),
            ("x-amz-date", "20261120T101112Z"),
            ("user-agent", "sdk"),
            ("if-none-match", "*"),
            (OWNER_HEADER, "123456789012"),
            (name, value),
        ];
        for (name, value) in headers {
            request.headers_mut().try_insert(name.to_owned(), value.to_owned()).expect("a header");
        }
        request
    }

    #[test]
    fn l7_the_way_is_the_sdks_own() {
        let url = "https://b.s3.eu-west-1.amazonaws.com/done/a%20b/7?x-id=PutObject";
        let seen =
            Seen::of(&sent(url, "content-length", "7"), PUT, &Key::new("done/a b/7")).expect("all of it is known");
        assert_eq!(seen.before_key, "https://b.s3.eu-west-1.amazonaws.com/");
        assert_eq!(seen.after_key, "?x-id=PutObject");
        assert_eq!((seen.region.as_str(), seen.service.as_str()), ("eu-west-1", "s3"));
        assert_eq!(seen.signed_at, 1_795_169_472);
        let mut headers = seen.headers.clone();
        headers.sort();
        let kept = [("user-agent", "sdk"), (OWNER_HEADER, "123456789012")];
        assert_eq!(headers, kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_not_understood_stays_with_the_sdk() {
        let of = |uri, name, value, key| Seen::of(&sent(uri, name, value), PUT, &Key::new(key));
        assert!(of("http://h/b/7", "x", "y", "7").is_none(), "an unknown header");
        assert!(of("http://h/b/7", "content-length", "1", "8").is_none(), "another key");
        assert!(
            of("http://h/b/7", "authorization", "AWS4-ECDSA-P256-SHA256 Credential=A/d/s3/aws4_request, x", "7")
                .is_none()
        );
        assert!(of("http://h/b/7", "authorization", "Bearer x", "7").is_none());
        assert!(of("http://h/b/7", "x-amz-date", "yesterday", "7").is_none());
        assert!(of("http://h/b/", "content-length", "1", "").is_none(), "no key");
        assert!(of("http://h/b/7", "content-length", "1", "7").is_some());
    }

    #[test]
    fn the_code_of_an_error_is_read_wherever_it_stands() {
        let code = |body: &str| error_code(body.as_bytes());
        let whole =
            "<?xml version=\"1.0\"?>\n<Error><Message>a<b/></Message><Code>SlowDown</Code><Region>x</Region></Error>";
        assert_eq!(code(whole).as_deref(), Some("SlowDown"));
        for none in ["", "<html/>", "<Error/>", "<Error><Message>x", "{\"code\": 1}"] {
            assert_eq!(code(none), None, "{none}");
        }
    }
}
