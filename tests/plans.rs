//! Golden plans: what is decided, in lines that a reviewer can read.
//!
//! Promise: the same scenario, the same plan; a plan that changes shows as a difference of a committed file
//! (`UPDATE_PLANS=1` writes them anew). Promises 1 to 3, 6, 10, 12 to 14, 18, 23, 26, 29; contract C8, C9.
//! Not here: looking, doing (`histories`).

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "plans/completions.rs"]
mod completions;
#[path = "plans/golden.rs"]
mod golden;
#[path = "plans/near.rs"]
mod near;
#[path = "plans/scene.rs"]
mod scene;
#[path = "plans/source.rs"]
mod source;
