//! What the doctor asks of a Google bucket besides its objects: who asks, and where it is in public.
//!
//! Promise: of credentials only where they were found, never what they hold.
//! Not here: the steps (`probe`).

use super::{Asked, GcsStore, client};
use crate::names::Key;
use crate::store::StoreError;

impl GcsStore {
    /// Who asks, in words; a token is fetched where there are credentials.
    pub async fn who(&self) -> Result<String, StoreError> {
        let asked = Asked { operation: "look up the credentials of", url: self.root.clone() };
        let credentials = self.credentials.get().await.0;
        if credentials.is_none() {
            return Ok("none: requests go out without credentials".to_owned());
        }
        client::authorization(&asked, credentials.as_ref()).await?;
        Ok(format!("from {}; they give a token", client::origin(&self.settings)))
    }

    /// Where anybody reaches the bucket.
    pub fn public_url(&self) -> String {
        format!("{}/storage/v1/b/{}", self.reach.base, self.settings.bucket)
    }

    /// Where a browser finds an object: Label Studio signs URLs of the XML API.
    pub fn object_url(&self, key: &Key) -> String {
        let key = percent_encoding::utf8_percent_encode(key.as_str(), crate::store::UNSAFE);
        format!("{}/{}/{key}", self.reach.base, self.settings.bucket)
    }
}
