//! Whose a target prefix is: a mark at the bucket's root, on which preconditions are probed too.
//!
//! Promise: two projects, or two installations, never push under one prefix unnoticed.
//! Not here: what is pushed.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::names::Key;
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

/// Claims the prefix, or finds whose it is. `take`: also from another owner (the operator accepted).
pub async fn claim(store: &dyn Store, prefix: &str, me: &Owner, take: bool) -> Result<Claim, StoreError> {
    let key = mark_key(prefix);
    let body = Bytes::from(serde_json::to_vec(me).expect("an owner is plain text"));
    let first = store.put(&key, body.clone(), &Precondition::Absent).await;
    match first {
        Ok(_) | Err(StoreError { kind: StoreErrorKind::PreconditionFailed | StoreErrorKind::OutcomeUnknown, .. }) => {}
        Err(error) if error.kind == StoreErrorKind::AccessDenied => return Ok(Claim::Unmarked(error)),
        Err(error) => return Err(error),
    }
    let found = store.get(&key, MARK_MAX_BYTES).await?;
    let owner: Option<Owner> = serde_json::from_slice(&found.bytes).ok();
    let owner = owner.unwrap_or_else(|| Owner {
        project: String::new(),
        installation: String::new(),
        name: "an unreadable mark".to_owned(),
    });
    if !owner.is(me) {
        if !take {
            return Ok(Claim::Foreign(owner));
        }
        store.put(&key, body.clone(), &Precondition::Matches(found.etag)).await?;
    }
    // The mark is there: a store that honours preconditions refuses to make it again.
    let preconditions = match store.put(&key, body, &Precondition::Absent).await {
        Ok(_) => false,
        Err(error) if error.kind == StoreErrorKind::PreconditionFailed => true,
        Err(error) => return Err(error),
    };
    Ok(Claim::Ours { preconditions })
}
