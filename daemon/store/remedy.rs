//! What a person does about a failed operation of a store: the permission by its name, the setting, the command.
//!
//! Promise: a remedy holds no text of an answer and no secret; a kind without a closer one keeps its own.
//! Not here: what kind of failure it is (each provider's `error`).

use super::{StoreError, StoreErrorKind as Kind};
use crate::names::printable;

/// The provider, by the URL of what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Provider {
    S3,
    Gcs,
    Local,
}

impl Provider {
    fn of(url: &str) -> Self {
        match url.split_once("://") {
            Some(("s3", _)) => Self::S3,
            Some(("gs", _)) => Self::Gcs,
            Some(_) | None => Self::Local,
        }
    }
}

impl StoreError {
    /// What a person does next about this very failure.
    pub fn remedy(&self) -> String {
        let provider = Provider::of(&self.url);
        let closer = match self.kind {
            Kind::AccessDenied => permission(provider, self.operation, &self.url),
            Kind::Auth => credentials(provider, &self.detail),
            Kind::Configuration => configuration(provider, &self.detail),
            Kind::Unreachable => way(&self.detail),
            Kind::RegionMismatch => self.region.as_ref().map(|region| format!("set `region = \"{region}\"`")),
            Kind::BucketMissing if provider != Provider::Local => Some(format!(
                "make the bucket `{}`, or correct `bucket`; check the endpoint and the account too",
                bucket(&self.url)
            )),
            Kind::BucketMissing => {
                Some("check that the directory is there and its file system mounted, or correct `path`".to_owned())
            }
            _ => None,
        };
        closer.unwrap_or_else(|| self.kind.remedy().to_owned())
    }
}

/// The bucket of `s3://bucket/key`.
fn bucket(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    printable(rest.split('/').next().unwrap_or_default()).into_owned()
}

fn permission(provider: Provider, operation: &str, url: &str) -> Option<String> {
    let bucket = bucket(url);
    let allow = |permission: &str, resource: String, file: &str| {
        Some(format!(
            "allow {permission} on {resource} (config/{file} has the least that is needed), then `lsctl sync`"
        ))
    };
    match (provider, operation) {
        (Provider::S3, "list") => allow("`s3:ListBucket`", format!("arn:aws:s3:::{bucket}"), "s3-source-policy.json"),
        (Provider::S3, "read" | "look up") => {
            allow("`s3:GetObject`", format!("arn:aws:s3:::{bucket}/…"), "s3-source-policy.json")
        }
        (Provider::S3, "write") => allow("`s3:PutObject`", format!("arn:aws:s3:::{bucket}/…"), "s3-target-policy.json"),
        (Provider::S3, "delete") => {
            allow("`s3:DeleteObject`", format!("arn:aws:s3:::{bucket}/…"), "s3-target-policy.json")
        }
        (Provider::Gcs, "list") => allow("`storage.objects.list`", format!("gs://{bucket}"), "gcs-source-role.yaml"),
        (Provider::Gcs, "read" | "look up") => {
            allow("`storage.objects.get`", format!("gs://{bucket}"), "gcs-source-role.yaml")
        }
        (Provider::Gcs, "write") => allow(
            "`storage.objects.create` and, to replace, `storage.objects.delete`",
            format!("gs://{bucket}"),
            "gcs-target-role.yaml",
        ),
        (Provider::Gcs, "delete") => {
            allow("`storage.objects.delete`", format!("gs://{bucket}"), "gcs-target-role.yaml")
        }
        _ => None,
    }
}

fn credentials(provider: Provider, detail: &str) -> Option<String> {
    let has = |word: &str| detail.contains(word);
    let text = match provider {
        Provider::S3 if has("Expired") || has("TokenRefreshRequired") => {
            "the session has expired: renew it (`aws sso login`, a new session token); it is read again without a restart"
        }
        Provider::S3 if has("InvalidAccessKeyId") || has("InvalidClientTokenId") => {
            "this access key does not exist there: put the right one where the daemon finds it (profile, environment); \
             it is read again without a restart"
        }
        Provider::S3 if has("SignatureDoesNotMatch") => {
            "the secret does not belong to the access key: put the right pair where the daemon finds it"
        }
        Provider::S3 if has("no credentials found") => {
            "give the daemon credentials: a `profile`, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment, \
             an instance role, or systemd's LoadCredential="
        }
        Provider::Gcs if has("no credentials found") => {
            "give the daemon credentials: `credentials_file`, GOOGLE_APPLICATION_CREDENTIALS in its environment, or a \
             service account of the machine; `anonymous = true` goes without"
        }
        Provider::Gcs => {
            "check the key or account of `credentials_file` or GOOGLE_APPLICATION_CREDENTIALS: disabled, deleted, expired?"
        }
        Provider::S3 | Provider::Local => return None,
    };
    Some(text.to_owned())
}

fn configuration(provider: Provider, detail: &str) -> Option<String> {
    let text = match provider {
        Provider::S3 if detail.contains("profile is not defined") => {
            "add the profile to ~/.aws/config or ~/.aws/credentials of the daemon's user (AWS_CONFIG_FILE, \
             AWS_SHARED_CREDENTIALS_FILE), or correct `profile`"
        }
        Provider::S3 if detail.contains("credentials") => {
            "correct the profile in ~/.aws/config or ~/.aws/credentials of the daemon's user"
        }
        Provider::Gcs if detail.contains("credentials") => {
            "give a key file as Google gives it, readable by the daemon's user"
        }
        Provider::S3 | Provider::Gcs | Provider::Local => return None,
    };
    Some(text.to_owned())
}

fn way(detail: &str) -> Option<String> {
    let text = match detail {
        _ if detail.contains("certificate") => {
            "install the server's certificate authority on this machine (`update-ca-certificates`, or SSL_CERT_FILE in the \
             daemon's environment), or renew the server's certificate; it is never skipped"
        }
        _ if detail.contains("cannot be resolved") => {
            "check this machine's DNS and network; where `endpoint` is set, correct its host (without it the provider's own \
             is asked, whatever AWS_ENDPOINT_URL says)"
        }
        _ if detail.contains("refused") => "start the server, or correct the host and port of `endpoint`",
        _ if detail.contains("in time") => {
            "the server accepts and says nothing, or packets are dropped: check firewall, proxy and the server"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(kind: Kind, operation: &'static str, url: &str, detail: &str) -> String {
        StoreError::new(kind, operation, url, detail).remedy()
    }

    #[test]
    fn a_permission_is_called_by_its_name() {
        for (operation, url, said) in [
            ("list", "s3://pictures/in/", "`s3:ListBucket` on arn:aws:s3:::pictures "),
            ("read", "s3://pictures/in/a", "`s3:GetObject`"),
            ("look up", "s3://pictures/in/a", "`s3:GetObject`"),
            ("write", "s3://pictures/1", "`s3:PutObject`"),
            ("delete", "s3://pictures/1", "`s3:DeleteObject`"),
            ("list", "gs://pictures/in/", "`storage.objects.list` on gs://pictures "),
            ("write", "gs://pictures/1", "`storage.objects.create`"),
        ] {
            let text = remedy(Kind::AccessDenied, operation, url, "403");
            assert!(text.contains(said), "{operation}: {text}");
            let file = text.split_once("(config/").and_then(|(_, rest)| rest.split_once(' ')).expect("a file").0;
            assert!(std::path::Path::new("config").join(file).exists(), "{file}");
        }
    }

    #[test]
    fn a_kind_without_a_closer_remedy_keeps_its_own() {
        assert_eq!(remedy(Kind::Throttled, "list", "s3://b/", "503"), Kind::Throttled.remedy());
        assert_eq!(remedy(Kind::AccessDenied, "list", "file:///b", ""), Kind::AccessDenied.remedy());
        assert!(remedy(Kind::Auth, "list", "s3://b/", "400 ExpiredToken").contains("has expired"));
        assert!(
            remedy(Kind::Unreachable, "list", "s3://b/", "connection refused").contains("correct the host and port")
        );
    }
}
