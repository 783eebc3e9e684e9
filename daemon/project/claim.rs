//! Whose a target prefix is: a mark at the bucket's root, on which preconditions are probed too.
//!
//! Promise: two projects, or two installations, never push under one prefix unnoticed.
//! Not here: what is pushed.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::names::{ETag, Key};
use crate::store::{Precondition, Store, StoreError, StoreErrorKind};
use crate::sync::select::MARKS_PREFIX;

/// A mark is a few hundred bytes.
const MARK_MAX_BYTES: u64 = 64 << 10;

/// Who owns a target prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// The project's UUID.
    pub project: String,
    /// The installation's UUID.
    pub installation: String,
    /// The project's name, for people.
    pub name: String,
}

impl Owner {
    /// The same project, as far as identity goes.
    pub fn is(&self, other: &Self) -> bool {
        self.project == other.project && self.installation == other.installation
    }
}

/// What claiming showed.
#[derive(Debug)]
pub enum Claim {
    /// It is ours.
    Ours {
        /// The store refuses a write whose precondition does not hold.
        preconditions: bool,
    },
    /// Somebody else's.
    Foreign(Owner),
    /// The mark cannot be written: pushing goes on, with a warning.
    Unmarked(StoreError),
}

/// Where the mark of a prefix stands; the prefix with its slash, or empty.
pub fn mark_key(prefix: &str) -> Key {
    let name = utf8_percent_encode(prefix.trim_end_matches('/'), NON_ALPHANUMERIC).to_string();
    let name = if name.is_empty() { "_".to_owned() } else { name };
    Key::new(format!("{MARKS_PREFIX}owner/{name}"))
}

/// Whose mark stands at the prefix, and its version; `None`: there is none.
pub async fn marked(store: &dyn Store, prefix: &str) -> Result<Option<(Owner, ETag)>, StoreError> {
    let found = match store.get(&mark_key(prefix), MARK_MAX_BYTES).await {
        Ok(found) => found,
        Err(error) if error.kind == StoreErrorKind::ObjectMissing => return Ok(None),
        Err(error) => return Err(error),
    };
    let owner = serde_json::from_slice(&found.bytes).unwrap_or_else(|_| Owner {
        project: String::new(),
        installation: String::new(),
        name: "an unreadable mark".to_owned(),
    });
    Ok(Some((owner, found.etag)))
}

/// Claims the prefix, or finds whose it is. `take`: also from another owner (the operator accepted).
///
/// It is looked at before it is marked: a store that ignores preconditions would write over another's mark.
pub async fn claim(store: &dyn Store, prefix: &str, me: &Owner, take: bool) -> Result<Claim, StoreError> {
    let key = mark_key(prefix);
    let body = Bytes::from(serde_json::to_vec(me).expect("an owner is plain text"));
    let there = match marked(store, prefix).await {
        // Without the right to list, what is not there is denied.
        Err(error) if error.kind == StoreErrorKind::AccessDenied => None,
        there => there?,
    };
    let there = match there {
        Some(there) => Some(there),
        None => {
            match store.put(&key, body.clone(), &Precondition::Absent).await {
                Ok(_)
                | Err(StoreError {
                    kind: StoreErrorKind::PreconditionFailed | StoreErrorKind::OutcomeUnknown, ..
                }) => {}
                Err(error) if error.kind == StoreErrorKind::AccessDenied => return Ok(Claim::Unmarked(error)),
                Err(error) => return Err(error),
            }
            marked(store, prefix).await?
        }
    };
    let Some((owner, etag)) = there else {
        return Err(StoreError::new(StoreErrorKind::ObjectMissing, "read", store.url(&key), "it was just written"));
    };
    if !owner.is(me) {
        if !take {
            return Ok(Claim::Foreign(owner));
        }
        store.put(&key, body.clone(), &Precondition::Matches(etag)).await?;
    }
    // The mark is there: a store that honours preconditions refuses to make it again.
    let preconditions = match store.put(&key, body, &Precondition::Absent).await {
        Ok(_) => false,
        Err(error) if error.kind == StoreErrorKind::PreconditionFailed => true,
        Err(error) => return Err(error),
    };
    Ok(Claim::Ours { preconditions })
}
