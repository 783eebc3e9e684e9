//! Credentials, looked up anew whenever they are asked for.
//!
//! Promise: the SDK's providers keep what a file said, and forget why it could not be read; a chain of them is made for
//! each look-up, so that a mended profile, a rotated key and the reason of a failure are always those of now. What was
//! found is kept by the client, until it expires or is refused.
//! Not here: what is found, and where (`aws_config`).

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{ProvideCredentials, Result as Found, future};
use aws_sdk_s3::config::SharedHttpClient;

/// The chain of the AWS tools, or the one profile that the operator names: that comes before the environment, as with
/// `aws --profile`.
#[derive(Debug)]
pub(super) struct Fresh {
    /// `profile` of the settings.
    pub profile: Option<String>,
    /// Where services that give credentials are asked.
    pub region: Region,
    /// How they are reached.
    pub http: SharedHttpClient,
}

impl Fresh {
    async fn look_up(&self) -> Found {
        let config =
            ProviderConfig::without_region().with_region(Some(self.region.clone())).with_http_client(self.http.clone());
        match &self.profile {
            Some(profile) => {
                let builder = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile);
                builder.build().provide_credentials().await
            }
            None => {
                let builder = DefaultCredentialsChain::builder().configure(config).region(self.region.clone());
                builder.build().await.provide_credentials().await
            }
        }
    }
}

impl ProvideCredentials for Fresh {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.look_up())
    }
}
