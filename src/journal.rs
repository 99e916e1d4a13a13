//! PURE. What a partition has to keep before anybody is told anything: numbered entries, snapshots, and the outbox of what
//! sinks are still owed.
//!
//! Nothing is acknowledged and no alert is sent before the entry that contains it is durable. An entry is created once and
//! never changed; who writes entry `n` owns the journal up to the next one. The state of a partition is a snapshot, the
//! entries behind it, and what its log holds between the two positions.

pub mod book;
pub mod desk;
pub mod entry;
pub mod fleet;
pub mod frame;
pub mod outbox;
pub mod stored;

#[cfg(test)]
mod tests;

pub use book::{Book, Pace};
pub use desk::{Desk, Moment, Read, Setup, Taken};
pub use entry::{Entry, Mark, Owed, Record};
pub use fleet::{FleetDesk, FleetState};
pub use frame::FrameError;
pub use outbox::{Next, Outbox};
pub use stored::{Resume, Snapshot, Stored};
