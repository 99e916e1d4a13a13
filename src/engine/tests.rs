//! The engine as a whole: transcripts of inputs and exact effects, and properties against a naive oracle.

mod gaps;
mod lifecycle;
mod placement;
mod properties;
mod recovery;
mod route;
mod verdicts;

use std::sync::Arc;

use super::*;
use rules::{Pattern, Policy, ProofOfLife, Rule, Terms};

pub(crate) const WINDOW_MS: Millis = 10_000;
pub(crate) const GRACE_MS: Millis = 2_000;
pub(crate) const DUE_MS: Millis = WINDOW_MS + GRACE_MS;
pub(crate) const FIRST_MS: Millis = 60_000;
/// Where the tests' logs begin: not at zero, so that nothing works by accident.
pub(crate) const T0: i64 = 1_767_225_600_000;

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(T0 + ms)
}

pub(crate) fn settings() -> ClockSettings {
    ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: GRACE_MS }
}

pub(crate) fn terms() -> Terms {
    Terms {
        window_ms: WINDOW_MS,
        grace_ms: GRACE_MS,
        first_window_ms: FIRST_MS,
        proof_of_life: ProofOfLife::Any,
    }
}

pub(crate) fn policy() -> Policy {
    let sensor = Rule {
        hub: None,
        device: Pattern::Glob("gw-*".into()),
        module: Some(Pattern::Exact("sensor".into())),
        terms: terms(),
    };
    Policy { default: terms(), rules: vec![sensor], conditions: Vec::new() }
}

/// A partition with its log, and what it decided, as short lines.
pub(crate) struct Bench {
    pub(crate) engine: Partition,
    pub(crate) out: Output,
    pub(crate) sequence: i64,
    /// Whether the broker says when a message arrived: at once.
    says_arrival: bool,
    budget: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_budget(usize::MAX)
    }

    pub(crate) fn with_budget(budget: usize) -> Self {
        Self {
            engine: Partition::new(Arc::new(policy()), settings(), 7),
            out: Output::default(),
            sequence: 0,
            says_arrival: true,
            budget,
        }
    }

    /// A partition that was attached at 0 with nothing to catch up with.
    pub(crate) fn live() -> Self {
        let mut bench = Self::new();
        bench.attach(0, Backlog::Empty);
        bench
    }

    pub(crate) fn attach(&mut self, ms: i64, backlog: Backlog) {
        self.attach_as(Attached {
            at: at(ms),
            error_ms: 0,
            stream: Some(1),
            first_available: Some(0),
            backlog,
            dating: Dating::EventTime,
        });
    }

    pub(crate) fn attach_as(&mut self, attached: Attached) {
        self.engine.attach(attached, &mut self.out);
        self.fire();
    }

    pub(crate) fn send(&mut self, event_ms: i64, signal: Option<Signal<'_>>) {
        self.sequence += 1;
        let message = Message {
            sequence: self.sequence,
            event_time: Some(at(event_ms)),
            append_time: self.says_arrival.then(|| at(event_ms)),
            signal,
        };
        // What is fired after it does not spoil what it has seen.
        let identities = message.signal.iter().map(|signal| Some(signal.identity));
        let ahead = self.engine.look_ahead(identities);
        self.engine.prepare(&message, &mut self.out);
        self.fire();
        self.engine.apply_sighted(&message, ahead.get(0), &mut self.out);
        self.fire();
    }

    pub(crate) fn beat(&mut self, device: &str, event_ms: i64) {
        self.send(event_ms, Some(signal(device, None, SignalKind::Telemetry, "100")));
    }

    pub(crate) fn say(&mut self, device: &str, event_ms: i64, kind: SignalKind) {
        self.send(event_ms, Some(signal(device, None, kind, "")));
    }

    /// A message of nobody: moves the clock only.
    pub(crate) fn pass(&mut self, event_ms: i64) {
        self.send(event_ms, None);
    }

    pub(crate) fn prove(&mut self, ms: i64) {
        self.prove_up_to(ms, self.sequence);
    }

    pub(crate) fn prove_up_to(&mut self, ms: i64, last_enqueued: i64) {
        let last_enqueued = (last_enqueued > 0).then_some(last_enqueued);
        self.engine.prove(Proof { at: at(ms), last_enqueued });
        self.fire();
    }

    pub(crate) fn fire(&mut self) {
        while !self.engine.fire(self.budget, &mut self.out) {}
    }

    pub(crate) fn clock_ms(&self) -> i64 {
        self.engine.clock().as_ms() - T0
    }

    /// What was decided since the last call.
    pub(crate) fn decided(&mut self) -> Vec<String> {
        self.out.transitions.drain(..).map(|transition| line(&transition)).collect()
    }

    pub(crate) fn gaps(&mut self) -> Vec<(GapReason, i64, i64)> {
        let relative = |at: Timestamp| at.as_ms() - T0;
        self.out
            .gaps
            .drain(..)
            .map(|gap| (gap.reason, relative(gap.from), relative(gap.until)))
            .collect()
    }

    pub(crate) fn state(&self, device: &str) -> Option<State> {
        let identity = IdentityRef { hub: "h", device, module: None };
        self.engine.state(identity).map(|(state, _)| state)
    }

    pub(crate) fn heard(&self, device: &str) -> Option<Timestamp> {
        let identity = IdentityRef { hub: "h", device, module: None };
        self.engine.state(identity)?.1
    }
}

pub(crate) fn signal<'a>(
    device: &'a str,
    module: Option<&'a str>,
    kind: SignalKind,
    generation: &str,
) -> Signal<'a> {
    Signal {
        identity: IdentityRef { hub: "h", device, module },
        kind,
        generation: Generation::parse(generation),
        conditions: 0,
        created_by_device: None,
    }
}

/// `device kind armed..deadline`, with what ends or corrects it.
pub(crate) fn line(transition: &Transition) -> String {
    let relative = |at: Timestamp| at.as_ms() - T0;
    let Judged { armed_at, deadline } = transition.outage.judged;
    let identity = match &transition.identity.module {
        Some(module) => format!("{}/{module}", transition.identity.device),
        None => transition.identity.device.to_string(),
    };
    let what = match transition.kind {
        TransitionKind::Offline => transition.outage.cause.as_str().to_owned(),
        TransitionKind::Resolved { at, by } => format!("resolved {by:?} {}", relative(at)),
        TransitionKind::Retracted { heartbeat_at } => {
            format!("retracted {}", relative(heartbeat_at))
        }
        TransitionKind::Amended { told } => format!("amended {}", relative(told.deadline)),
    };
    format!("{identity} {}..{} {what}", relative(armed_at), relative(deadline))
}
