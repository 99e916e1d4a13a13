//! PURE. Decides which identities are alive: clock, last-seen table, timer wheel, rules, lifecycle.
//! No tokio, I/O, clock, randomness, logs or metrics; time is an argument, effects are values.

pub mod identity;
pub mod rules;
pub mod signal;
pub mod time;
pub mod transition;

pub use identity::{Identity, IdentityRef};
pub use signal::{
    Attached, Backlog, BlindReason, ConnectionSequence, Dating, Gap, GapReason, Generation,
    Message, Proof, Signal, SignalKind,
};
pub use time::{Millis, Timestamp};
pub use transition::{Cause, Judged, LastSignal, Outage, ResolvedBy, Transition, TransitionKind};
