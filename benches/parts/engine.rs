//! An engine that hears everything live, and what it is given.

use std::sync::Arc;

use lastseen::engine::rules::{Policy, ProofOfLife, Terms};
use lastseen::engine::{
    Attached, Backlog, ClockSettings, Dating, Generation, IdentityRef, Message, Output, Partition,
    Sighted, Signal, SignalKind, Timestamp,
};

/// Where the log begins.
pub(crate) const T0_MS: i64 = 1_767_225_600_000;

/// The hub of all.
pub(crate) const HUB: &str = "example-hub";

/// An engine that hears everything live.
pub(crate) fn engine(window_ms: i64) -> Partition {
    let terms = Terms {
        window_ms,
        grace_ms: 10_000,
        first_window_ms: 600_000,
        proof_of_life: ProofOfLife::Any,
    };
    let policy = Policy { default: terms, rules: Vec::new(), conditions: Vec::new() };
    let settings = ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: 10_000 };
    let mut engine = Partition::new(Arc::new(policy), settings, 1);
    let attached = Attached {
        at: Timestamp::from_ms(T0_MS),
        error_ms: 0,
        stream: Some(1),
        first_available: Some(0),
        backlog: Backlog::Empty,
        dating: Dating::EventTime,
    };
    engine.attach(attached, &mut Output::default());
    engine
}

/// An identity of the fleet.
pub(crate) fn identity(id: &str) -> IdentityRef<'_> {
    IdentityRef { hub: HUB, device: id, module: None }
}

/// A heartbeat: the `sequence`th message of the log.
pub(crate) fn message(id: &str, sequence: u64, at_ms: i64) -> Message<'_> {
    let at = Timestamp::from_ms(at_ms);
    Message {
        sequence: i64::try_from(sequence).unwrap_or(0),
        event_time: Some(at),
        append_time: Some(at),
        signal: Some(Signal {
            identity: identity(id),
            kind: SignalKind::Telemetry,
            generation: Generation::from_bits(638_712_345_678_901_234),
            conditions: 0,
            created_by_device: None,
        }),
    }
}

/// As a partition's worker does it: everything that a message makes due is fired before it is applied.
pub(crate) fn apply(
    engine: &mut Partition,
    message: &Message<'_>,
    sighted: Option<&Sighted<'_>>,
    out: &mut Output,
) {
    engine.prepare(message, out);
    while !engine.fire(4_096, out) {}
    engine.apply_sighted(message, sighted, out);
}
