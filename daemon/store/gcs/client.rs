//! How a bucket is reached: endpoint, connections, credentials, and how long anything may take.
//!
//! Promise: a token goes only to Google or to the endpoint of the settings, never to one that the environment
//! names; redirects are not followed; every wait ends; nothing here asks the network before the first request.
//! Not here: requests and what their answers mean.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use google_cloud_auth::credentials::{
    Builder, CacheableResource, Credentials, external_account, impersonated, service_account, user_account,
};
use hyper::http::Extensions;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::super::asked::Asked;
use super::super::session::CloudLimits;
use super::super::{StoreError, StoreErrorKind};
use super::error::{no_token, unusable};
use crate::settings::{GcsSettings, file};

/// Google's own endpoint.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Names an emulator, to Google's own libraries too.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";

/// Names a file of credentials, to Google's own libraries too.
const GOOGLE_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// A token may come from a command or a metadata service that is slow.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);

/// An idle connection older than this is not used again: a server that closes it just then would leave a write
/// without an answer.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(30);

/// Where requests go.
pub(super) struct Reach {
    /// Keeps connections.
    pub http: Client,
    /// Without a slash at its end.
    pub base: String,
    is_anonymous: bool,
}

impl Reach {
    /// By the settings, then the environment, else Google.
    pub fn of(settings: &GcsSettings, limits: &CloudLimits) -> Result<Self, StoreError> {
        let emulator = std::env::var(EMULATOR).ok().filter(|host| !host.is_empty());
        let (base, is_anonymous) = endpoint(settings, emulator.as_deref())?;
        if emulator.is_some() && settings.endpoint.is_none() {
            tracing::warn!(root = %format!("gs://{}", settings.bucket), "{EMULATOR} is set: an emulator is asked, not Google");
        }
        // Whoever made one before has the right to.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = Client::builder()
            .user_agent(concat!("labelsync/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(limits.connect)
            .pool_idle_timeout(IDLE_CONNECTION_MAX);
        if is_loopback(&base) {
            // A proxy of the environment is for the world outside: it could not reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|_| wrong(settings, "no connection can be made with TLS's settings"))?;
        Ok(Self { http, base: base.as_str().trim_end_matches('/').to_owned(), is_anonymous })
    }

    /// The credentials of the settings, else Google's application default credentials; `None` where requests go out
    /// without any. Asks only files.
    pub fn credentials(&self, settings: &GcsSettings) -> Result<Option<Credentials>, StoreError> {
        if self.is_anonymous {
            return Ok(None);
        }
        let asked = Asked { operation: "reach", url: format!("gs://{}", settings.bucket) };
        let built = match &settings.credentials_file {
            Some(path) => of_file(of_path(settings, path)?),
            None => Builder::default().build(),
        };
        built.map(Some).map_err(|error| unusable(&asked, &error))
    }
}

/// Where the credentials are found, in words; Google's own order.
pub(super) fn origin(settings: &GcsSettings) -> String {
    if let Some(file) = &settings.credentials_file {
        return format!("`credentials_file` {}", file.display());
    }
    if let Some(file) = std::env::var_os(GOOGLE_FILE) {
        return format!("{GOOGLE_FILE} {}", Path::new(&file).display());
    }
    "gcloud's own file, or the machine's service account".to_owned()
}

/// The headers that say who asks.
pub(super) async fn authorization(asked: &Asked, credentials: Option<&Credentials>) -> Result<HeaderMap, StoreError> {
    let Some(credentials) = credentials else { return Ok(HeaderMap::new()) };
    let Ok(headers) = timeout(TOKEN_TIMEOUT, credentials.headers(Extensions::new())).await else {
        return Err(asked.failed(StoreErrorKind::Auth, "the token server gave no answer in time"));
    };
    match headers.map_err(|error| no_token(asked, &error))? {
        CacheableResource::New { data, .. } => Ok(data),
        // Only for those who say which they have.
        CacheableResource::NotModified => Err(asked.failed(StoreErrorKind::Auth, "the credentials give no token")),
    }
}

/// Where requests go, and whether they go without credentials: to an emulator that the environment names always, to
/// `http://` where no file names credentials: a token in the clear is nobody's default.
fn endpoint(settings: &GcsSettings, emulator: Option<&str>) -> Result<(Url, bool), StoreError> {
    let (text, is_anonymous) = match (&settings.endpoint, emulator) {
        (Some(endpoint), _) => {
            let is_clear = endpoint.starts_with("http://");
            (endpoint.clone(), settings.anonymous || (is_clear && settings.credentials_file.is_none()))
        }
        (None, Some(host)) if host.contains("://") => (host.to_owned(), true),
        (None, Some(host)) => (format!("http://{host}"), true),
        (None, None) => (GOOGLE.to_owned(), settings.anonymous),
    };
    let text = text.trim_end_matches('/').trim_end_matches("/storage/v1");
    let no_url = || wrong(settings, "the endpoint is no URL such as https://host:port");
    let url: Url = text.parse().map_err(|_| no_url())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.query().is_some() {
        return Err(no_url());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(settings, "the endpoint holds a user name; credentials come from `credentials_file`"));
    }
    Ok((url, is_anonymous))
}

fn of_path(settings: &GcsSettings, path: &Path) -> Result<Value, StoreError> {
    let text = file::read_text(path).map_err(|error| {
        wrong(settings, &format!("`credentials_file` {} cannot be read: {}", path.display(), error.kind()))
    })?;
    // The parser's own error may quote what it read.
    serde_json::from_str(&text)
        .map_err(|_| wrong(settings, &format!("`credentials_file` {} holds no JSON", path.display())))
}

fn of_file(json: Value) -> Result<Credentials, google_cloud_auth::build_errors::Error> {
    match json["type"].as_str() {
        Some("authorized_user") => user_account::Builder::new(json).build(),
        Some("impersonated_service_account") => impersonated::Builder::new(json).build(),
        Some("external_account") => external_account::Builder::new(json).build(),
        // A key without a `type` is refused there.
        _ => service_account::Builder::new(json).build(),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn wrong(settings: &GcsSettings, detail: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Configuration, "reach", format!("gs://{}", settings.bucket), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: Option<&str>) -> GcsSettings {
        GcsSettings { bucket: "bucket".into(), endpoint: endpoint.map(str::to_owned), ..GcsSettings::default() }
    }

    fn seen(settings: &GcsSettings, emulator: Option<&str>) -> (String, bool) {
        let (url, is_anonymous) = endpoint(settings, emulator).expect("an endpoint");
        (url.as_str().trim_end_matches('/').to_owned(), is_anonymous)
    }

    #[test]
    fn the_settings_name_the_endpoint_and_else_the_environment() {
        for (own, emulator, expected) in [
            (None, None, (GOOGLE, false)),
            (None, Some("127.0.0.1:9"), ("http://127.0.0.1:9", true)),
            (None, Some("http://127.0.0.1:9/storage/v1/"), ("http://127.0.0.1:9", true)),
            (None, Some("https://emulator"), ("https://emulator", true)),
            (Some("http://127.0.0.1:9"), None, ("http://127.0.0.1:9", true)),
            (Some("https://private.example/base"), Some("127.0.0.1:9"), ("https://private.example/base", false)),
        ] {
            let (base, is_anonymous) = seen(&with(own), emulator);
            assert_eq!((base.as_str(), is_anonymous), expected, "{own:?} {emulator:?}");
        }
    }

    #[test]
    fn no_token_goes_to_a_host_of_the_environment() {
        let with_key = |endpoint| GcsSettings { credentials_file: Some("/key.json".into()), ..with(endpoint) };
        assert!(seen(&with_key(None), Some("https://elsewhere")).1);
        assert!(!seen(&with_key(Some("http://127.0.0.1:9")), None).1, "the settings ask for it");
        let anonymous = GcsSettings { anonymous: true, ..with_key(None) };
        assert!(seen(&anonymous, None).1);
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_user() {
        for bad in ["", "minio", "ftp://x", "http://", "http://canary:canary@host", "http://host?canary"] {
            let error = endpoint(&with(Some(bad)), None).expect_err(bad);
            assert_eq!(error.kind, StoreErrorKind::Configuration, "{bad}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn l78_what_a_credentials_file_holds_is_never_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let google = GcsSettings { endpoint: Some(GOOGLE.into()), ..with(None) };
        let reach = Reach::of(&google, &CloudLimits::default()).expect("a client");
        for (text, said) in [
            ("canary", "holds no JSON"),
            (r#"{"type": "canary", "private_key": "canary"}"#, "not what it should be"),
            (r#"{"type": "service_account", "private_key": "canary"}"#, "not what it should be"),
            (r#"{"type": "authorized_user", "refresh_token": "canary"}"#, "not what it should be"),
            (r#"{"type": "external_account", "audience": "canary"}"#, "not what it should be"),
            ("{}", "not what it should be"),
        ] {
            let path = dir.path().join("key.json");
            std::fs::write(&path, text).expect("written");
            let settings = GcsSettings { credentials_file: Some(path), ..with(None) };
            let error = reach.credentials(&settings).expect_err(text);
            assert_eq!(error.kind, StoreErrorKind::Configuration);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(said) && !shown.contains("canary"), "{shown}");
        }
        let missing = GcsSettings { credentials_file: Some(dir.path().join("none.json")), ..with(None) };
        let error = reach.credentials(&missing).expect_err("missing");
        assert!(error.to_string().contains("none.json cannot be read"), "{error}");
    }
}
