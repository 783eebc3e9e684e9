//! The SDK's client: where credentials, region and endpoint come from, and how long anything may take.
//!
//! Promise: only the settings name an endpoint; every wait ends; nothing here asks the network.
//! Not here: requests and what their answers mean.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};

use super::super::session::CloudLimits;
use super::super::skew::Skew;
use super::super::{StoreError, StoreErrorKind};
use super::amend::{Amended, ExpectedOwner};
use super::credentials::Fresh;
use super::date::DateSeen;
use crate::settings::S3Settings;

/// Credentials may come from a process or a metadata service that is slower than the SDK's five seconds.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(20);

/// Where nothing names a region: what the AWS tools take for S3, and what S3-compatible servers expect.
const DEFAULT_REGION: &str = "us-east-1";

impl CloudLimits {
    /// Every wait of a request that carries so many bytes.
    pub(super) fn timeouts(&self, bytes: u64) -> TimeoutConfig {
        let whole = self.transfer(bytes);
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            // The time to the answer's head includes sending the body: the attempt's limit bounds it.
            .disable_read_timeout()
            .operation_attempt_timeout(whole)
            .operation_timeout(whole)
            .build()
    }
}

/// A client for this bucket; credentials are looked up at the first request. `found`: the region that the bucket named.
/// `skew`: is told what answers say of the time.
pub(super) async fn build(
    settings: &S3Settings,
    limits: &CloudLimits,
    found: Option<String>,
    skew: &Arc<Skew>,
) -> Result<Client, StoreError> {
    let http = http_client(settings.endpoint.as_deref());
    let region = match found {
        Some(found) => Region::new(found),
        None => region(settings).await.0,
    };
    let sdk = load(settings, limits, region.clone(), http.clone()).await;
    let Some(credentials) = sdk.credentials_provider() else {
        return Err(wrong(settings, "the SDK has no way to find credentials"));
    };
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .credentials_provider(credentials)
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        .http_client(http)
        .timeout_config(limits.timeouts(0))
        // Tries are counted where it is known what may be sent again (`super::S3Store`).
        .retry_config(RetryConfig::disabled())
        // Silence in a body is limited where the body is read, and by the attempt's limit.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenSupported)
        .force_path_style(settings.path_style)
        .interceptor(DateSeen(skew.clone()));
    if let Some(owner) = &settings.expected_bucket_owner {
        config = config.interceptor(Amended(ExpectedOwner(owner.clone())));
    }
    config.set_endpoint_url(endpoint(settings)?);
    config.set_use_fips(sdk.use_fips());
    config.set_use_dual_stack(sdk.use_dual_stack());
    config.set_app_name(AppName::new("labelsync").ok());
    Ok(Client::from_conf(config.build()))
}

/// The chain of the AWS tools for everything but endpoints: an endpoint is the settings' alone, so that no
/// variable of the environment can send signed requests elsewhere or in the clear.
async fn load(settings: &S3Settings, limits: &CloudLimits, region: Region, http: SharedHttpClient) -> SdkConfig {
    let fresh = Fresh { profile: settings.profile.clone(), region: region.clone(), http: http.clone() };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .timeout_config(limits.timeouts(0))
        .credentials_provider(fresh);
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

/// Where the credentials of these settings come from.
pub(super) async fn credentials(settings: &S3Settings) -> Fresh {
    let http = http_client(settings.endpoint.as_deref());
    Fresh { profile: settings.profile.clone(), region: region(settings).await.0, http }
}

/// Settings, environment, profile, then the default, and which of these it was; instance metadata are not asked:
/// outside of EC2 that only costs seconds.
pub(super) async fn region(settings: &S3Settings) -> (Region, &'static str) {
    if let Some(region) = &settings.region {
        return (Region::new(region.clone()), "the setting");
    }
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return (region, "the environment");
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    match profile.build().region().await {
        Some(region) => (region, "the profile"),
        None => (Region::new(DEFAULT_REGION), "the default"),
    }
}

fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    let direct = endpoint.is_some_and(is_loopback);
    Builder::new().build_with_connector_fn(move |settings, components| {
        // A proxy of the environment is for the world outside: it could not reach this machine's loopback.
        let proxy = if direct { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
        let mut connector = Connector::builder().proxy_config(proxy);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

/// The endpoint of the settings, if it can be one.
fn endpoint(settings: &S3Settings) -> Result<Option<String>, StoreError> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let uri: hyper::Uri =
        endpoint.parse().map_err(|_| wrong(settings, "the endpoint is no URL such as https://host:port"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong(settings, "the endpoint is no URL such as https://host:port"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong(settings, "the endpoint holds a user name; credentials come from the provider chain"));
    }
    Ok(Some(endpoint.clone()))
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<hyper::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn wrong(settings: &S3Settings, detail: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Configuration, "reach", format!("s3://{}", settings.bucket), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(endpoint: &str) -> S3Settings {
        S3Settings { bucket: "b".into(), endpoint: Some(endpoint.into()), ..S3Settings::default() }
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_user() {
        for good in ["http://127.0.0.1:9000", "https://minio.example", "http://[::1]:9000/base"] {
            assert_eq!(endpoint(&with_endpoint(good)).expect("an endpoint").as_deref(), Some(good));
        }
        for bad in ["", "minio", "minio:9000", "ftp://x", "http://", "file:///x", "http://canary:canary@host"] {
            let error = endpoint(&with_endpoint(bad)).expect_err(bad);
            assert_eq!(error.kind, StoreErrorKind::Configuration, "{bad}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn only_the_loopback_goes_without_the_proxy() {
        for near in ["http://127.0.0.1:9", "http://localhost", "https://[::1]:443", "http://127.8.9.1"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["https://s3.example", "http://10.0.0.1", "http://localhost.example", "not a url"] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn l76_every_wait_of_a_request_has_an_end() {
        let limits = CloudLimits::default();
        let timeouts = limits.timeouts(1 << 20);
        assert_eq!(timeouts.connect_timeout(), Some(limits.connect));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(Duration::from_secs(30 + 32)));
        assert_eq!(timeouts.operation_timeout(), timeouts.operation_attempt_timeout());
    }
}
