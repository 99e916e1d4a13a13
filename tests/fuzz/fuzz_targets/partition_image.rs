//! Whatever stands in the image of a partition: it is taken up or refused; and a partition that was taken up goes on, and
//! can be written and taken up again.
#![no_main]

use std::sync::Arc;

use lastseen::engine::rules::{Pattern, Policy, ProofOfLife, Rule, Terms};
use lastseen::engine::{
    Attached, Backlog, ClockSettings, Dating, Generation, IdentityRef, Message, Output, Partition,
    Proof, Signal, SignalKind, Stats, Timestamp,
};
use libfuzzer_sys::fuzz_target;

const DAY_MS: i64 = 86_400_000;
const NOW: Timestamp = Timestamp::from_ms(1_767_225_600_000);
const SETTINGS: ClockSettings =
    ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: 2_000 };

fn policy() -> Arc<Policy> {
    let default = Terms {
        window_ms: 10_000,
        grace_ms: 2_000,
        first_window_ms: 4_000,
        proof_of_life: ProofOfLife::Any,
    };
    let any = || Pattern::Glob("*".to_owned());
    let modules = Rule { hub: None, device: any(), module: Some(any()), terms: default };
    Arc::new(Policy { default, rules: vec![modules], conditions: Vec::new() })
}

fn image(partition: &Partition) -> Vec<u8> {
    let mut image = Vec::new();
    partition.image(&mut image);
    image
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut partition) = Partition::restore(policy(), SETTINGS, bytes) else { return };
    let again = Partition::restore(policy(), SETTINGS, &image(&partition));
    // Tables grow by doubling: how large they are depends on what was in them before.
    let looks = |of: &Partition| Stats { memory_bytes: 0, ..of.stats() };
    let again = again.map(|again| looks(&again));
    assert_eq!(again, Ok(looks(&partition)), "it is written as something else");
    // Timers are looked at once a quarter of an hour: a clock that comes from another century would be all that is tested.
    if NOW.since(partition.clock()) > DAY_MS && partition.clock() > Timestamp::MIN {
        return;
    }
    partition.resume(None);
    let mut out = Output::default();
    let attached = Attached {
        at: NOW,
        error_ms: 0,
        stream: Some(1),
        first_available: None,
        backlog: Backlog::Empty,
        dating: Dating::EventTime,
    };
    partition.attach(attached, &mut out);
    while !partition.fire(64, &mut out) {}
    let identity = IdentityRef { hub: "example-hub", device: "live", module: None };
    for step in 0..4 {
        let at = NOW.plus(step * 15_000);
        let signal = Signal {
            identity,
            kind: SignalKind::Telemetry,
            generation: Generation::UNKNOWN,
            conditions: 0,
            created_by_device: None,
        };
        let message = Message {
            sequence: i64::MAX - 4 + step,
            event_time: Some(at),
            append_time: Some(at),
            signal: Some(signal),
        };
        partition.prepare(&message, &mut out);
        while !partition.fire(64, &mut out) {}
        partition.apply(&message, &mut out);
        while !partition.fire(64, &mut out) {}
        partition.prove(Proof { at: at.plus(5_000), last_enqueued: None });
        while !partition.fire(64, &mut out) {}
    }
    let went_on = Partition::restore(policy(), SETTINGS, &image(&partition));
    assert!(went_on.is_ok(), "what is written can't be read");
});
