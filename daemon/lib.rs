//! labelsync keeps Label Studio projects and object storage in step. Start at `ARCHITECTURE.md`.

pub mod clock;
pub mod control;
pub mod demo;
pub mod events;
pub mod handover;
pub mod init;
pub mod meters;
pub mod names;
pub mod project;
pub mod pulse;
pub mod settings;
pub mod store;
pub mod supervisor;
pub mod sync;
pub mod systemd;
pub mod telemetry;
