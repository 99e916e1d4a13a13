//! PURE. Decides which identities are alive: clock, last-seen table, timer wheel, rules, lifecycle.
//! No tokio, I/O, clock, randomness, logs or metrics; time is an argument, effects are values.

mod agenda;
mod announcement;
mod beside;
pub mod change;
pub mod clock;
pub mod facts;
mod fire;
mod guests;
mod hold;
pub mod identity;
pub mod image;
mod index;
mod key;
pub mod look;
mod look_ahead;
mod observation;
pub mod partition;
pub mod placement;
#[doc(hidden)]
pub mod planted;
mod prefetch;
mod record;
mod recovery;
mod route;
pub mod rules;
mod shard;
pub mod signal;
mod slab;
mod split;
mod table;
pub mod time;
mod timers;
pub mod transition;
mod verdicts;
mod wheel;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use clock::{ClockSettings, PartitionClock};
pub use facts::Facts;
pub use hold::{Heard, Witness};
pub use identity::{Identity, IdentityRef};
pub use image::ImageError;
pub use look::Known;
pub use look_ahead::{Ahead, LOOK_AHEAD, Sighted};
pub use partition::{Outlook, Partition, Stats};
pub use placement::{Audience, ForeignClock, ForeignClocks, News, PartitionId, Reply, Tiding};
pub use shard::Output;
pub use signal::{
    Attached, Backlog, BlindReason, ConnectionSequence, Dating, Gap, GapReason, Generation,
    Message, Proof, Signal, SignalKind,
};
pub use table::State;
pub use time::{Millis, Timestamp};
pub use transition::{Cause, Judged, LastSignal, Outage, ResolvedBy, Transition, TransitionKind};
