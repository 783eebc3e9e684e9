//! What the doctor asks of an S3 bucket besides its objects: who asks, which region, where it is in public.
//!
//! Promise: of credentials only where they were found, the end of the key's name, and when they expire.
//! Not here: the steps (`probe`).

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;

use super::error::no_credentials;
use super::{Asked, S3Store, client};
use crate::clock::{Clock, SystemClock};
use crate::names::{Key, printable};
use crate::store::{StoreError, StoreErrorKind as Kind};

/// How much of an access key's name is shown: enough to tell two apart, too little to be one.
const KEY_END_CHARS: usize = 4;

impl S3Store {
    /// Who asks, in words: where the credentials were found, which key, how long it lasts.
    pub async fn who(&self) -> Result<String, StoreError> {
        let asked = Asked { operation: "look up the credentials of", url: self.root.clone() };
        let provider = client::credentials(&self.settings).await;
        let found = provider.provide_credentials().await.map_err(|error| {
            let (kind, detail) = no_credentials(&error);
            asked.failed(kind, detail)
        })?;
        let now = SystemClock.now().0 / 1000;
        let left = found
            .expiry()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX) - now);
        let lasts = match left {
            Some(left) if left <= 0 => return Err(asked.failed(Kind::Auth, "the credentials Expired")),
            Some(left) => format!("expire in {} min", left / 60),
            None => "do not expire".to_owned(),
        };
        let profile = match &self.settings.profile {
            Some(profile) => format!(", profile {}", printable(profile)),
            None => String::new(),
        };
        Ok(format!("from {}{profile}; the key ends in {}; they {lasts}", source(&found), key_end(&found)))
    }

    /// The region of the settings, where that stands, and the one that the bucket named instead.
    pub async fn region(&self) -> (String, &'static str, Option<String>) {
        let (region, origin) = client::region(&self.settings).await;
        let found = self.sessions.get().await.0.region;
        (region.to_string(), origin, found)
    }

    /// Where anybody reaches the bucket.
    pub async fn public_url(&self) -> String {
        let bucket = &self.settings.bucket;
        match &self.settings.endpoint {
            Some(endpoint) if self.settings.path_style => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            Some(endpoint) => endpoint.replacen("://", &format!("://{bucket}."), 1),
            None => {
                let (region, _, found) = self.region().await;
                let region = found.unwrap_or(region);
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://s3.{region}.amazonaws.com{china}/{bucket}")
            }
        }
    }

    /// Where a browser finds an object.
    pub async fn object_url(&self, key: &Key) -> String {
        let key = percent_encoding::utf8_percent_encode(key.as_str(), crate::store::UNSAFE);
        format!("{}/{key}", self.public_url().await.trim_end_matches('/'))
    }
}

/// The names that the SDK gives to its sources, in words.
fn source(found: &Credentials) -> String {
    // There is no accessor; what the SDK shows of credentials holds no secret, and only the name is taken.
    let shown = format!("{found:?}");
    let name = shown.split_once("provider_name: \"").and_then(|(_, rest)| rest.split_once('"')).map_or("", |(n, _)| n);
    match name {
        "EnvironmentVariable" => "the environment (AWS_ACCESS_KEY_ID)".to_owned(),
        "ProfileFile" => "the files ~/.aws/config and credentials".to_owned(),
        "CredentialProcess" => "a credential_process".to_owned(),
        "AssumeRoleProvider" => "an assumed role".to_owned(),
        "WebIdentityToken" => "a web identity's role".to_owned(),
        "SSO" => "an SSO session".to_owned(),
        "EcsContainer" | "HttpProvider" => "the container's role".to_owned(),
        "IMDSv2" | "InstanceProfile" => "the instance's role".to_owned(),
        other => format!("{} (as the SDK calls it)", printable(other)),
    }
}

fn key_end(found: &Credentials) -> String {
    let key: Vec<char> = found.access_key_id().chars().collect();
    // A short key is shown not at all: its end would be most of it.
    let from = key.len().checked_sub(KEY_END_CHARS).filter(|from| *from >= 2 * KEY_END_CHARS).unwrap_or(key.len());
    printable(&format!("…{}", key[from..].iter().collect::<String>())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l78_of_a_key_only_its_end_is_shown() {
        let of = |key: &str| key_end(&Credentials::new(key, "canary", None, None, "test"));
        assert_eq!(of("AKIAIOSFODNN7EXAMPLE"), "…MPLE");
        assert_eq!(of("short"), "…");
        assert_eq!(source(&Credentials::new("a", "canary", None, None, "IMDSv2")), "the instance's role");
        assert_eq!(source(&Credentials::new("a", "canary", None, None, "New")), "New (as the SDK calls it)");
    }
}
