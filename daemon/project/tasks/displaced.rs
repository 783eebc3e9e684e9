//! A `tasks.json` that was replaced, into which Label Studio may still be writing.
//!
//! Promise: contract C7: the end of a write that is under way is waited for, also by the daemon that comes after the one
//! that died.
//! Not here: what the file of a daemon that lives holds, and what any of it means (`tasks::road`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::events::{Happened, Level};
use crate::names::TaskId;
use crate::project::error::CycleError;
use crate::project::near::NearError;
use crate::project::shared::Shared;
use crate::project::tasks::file;
use crate::project::tasks::road::TORN_PAUSE;

/// How long a torn one is looked at again before it is given up: Label Studio writes 100,000 tasks in one second.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What it wrote into a file that was being displaced when the last daemon died; a torn one is waited for. Blocks.
pub fn at_start(shared: &Shared) -> Result<BTreeMap<TaskId, String>, CycleError> {
    let began = Instant::now();
    loop {
        let mut rescued = BTreeMap::new();
        let mut is_torn = false;
        for bytes in shared.near.displaced_at_start()? {
            let mut found = BTreeMap::new();
            let collect = &mut |id, text: &str| {
                found.insert(id, text.to_owned());
                Ok(())
            };
            match file::scan(bytes.as_slice(), collect).map_err(NearError::from) {
                Ok(()) => rescued.extend(found),
                Err(error) => is_torn |= error.is_transient(),
            }
        }
        // That daemon may have died a moment ago: Label Studio is in the middle of writing it.
        if !is_torn {
            return Ok(rescued);
        }
        if began.elapsed() >= PATIENCE {
            tell_torn(shared);
            return Ok(rescued);
        }
        std::thread::sleep(TORN_PAUSE);
    }
}

/// It holds nothing that Label Studio could use either.
pub fn tell_torn(shared: &Shared) {
    let text = "the replaced tasks.json was left torn; its imports, if any, are lost to Label Studio as well";
    shared.tell(Happened::new(Level::Warning, "displaced_torn", text));
}
