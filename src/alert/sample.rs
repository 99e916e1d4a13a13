//! One outage in each of its states, for tests.

use crate::engine::{
    Cause, Generation, Identity, Judged, LastSignal, Outage, ResolvedBy, Timestamp, Transition,
    TransitionKind,
};

use super::{Alert, Origin};

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

pub(crate) fn firing() -> Alert {
    let judged = Judged { armed_at: MIDNIGHT, deadline: MIDNIGHT.plus(70_000) };
    Alert {
        transition: Transition {
            identity: Identity { hub: "example-hub".into(), device: "pump-7".into(), module: None },
            kind: TransitionKind::Offline,
            outage: Outage {
                judged,
                first_armed_at: judged.armed_at,
                cause: Cause::Silent,
                window_ms: 60_000,
                grace_ms: 10_000,
                rule: 0,
                last_signal: Some(LastSignal { sequence: 4_711, event_time: judged.armed_at }),
                generation: Generation::parse("638712345678901234"),
                route_unproven: false,
            },
            decided_at: judged.deadline.plus(30),
        },
        origin: Origin {
            source: "hub".into(),
            partition: "3".into(),
            rule: "default".into(),
            observation_lag_ms: 1_050,
        },
    }
}

pub(crate) fn module_by_unproven_route() -> Alert {
    let mut alert = firing();
    alert.transition.identity.module = Some("sensor".into());
    alert.transition.outage.cause = Cause::Disconnected;
    alert.transition.outage.route_unproven = true;
    alert.origin.rule = "match[1]: gw-*".into();
    alert
}

pub(crate) fn never_seen() -> Alert {
    let mut alert = firing();
    alert.transition.outage.cause = Cause::NeverSeen;
    alert.transition.outage.window_ms = 600_000;
    alert.transition.outage.judged.deadline = MIDNIGHT.plus(610_000);
    alert.transition.outage.last_signal = None;
    alert.transition.outage.generation = Generation::UNKNOWN;
    alert.transition.decided_at = MIDNIGHT.plus(610_100);
    alert
}

pub(crate) fn resolved() -> Alert {
    let mut alert = firing();
    let at = MIDNIGHT.plus(300_000);
    let by = ResolvedBy::Heartbeat;
    alert.transition.kind = TransitionKind::Resolved { at, by };
    alert.transition.decided_at = at;
    alert
}

pub(crate) fn retracted() -> Alert {
    let mut alert = firing();
    let heartbeat_at = MIDNIGHT.plus(65_000);
    alert.transition.kind = TransitionKind::Retracted { heartbeat_at };
    alert.transition.decided_at = MIDNIGHT.plus(80_000);
    alert
}

pub(crate) fn amended() -> Alert {
    let mut alert = firing();
    let outage = &mut alert.transition.outage;
    alert.transition.kind = TransitionKind::Amended { told: outage.judged };
    let heartbeat_at = MIDNIGHT.plus(65_000);
    outage.judged = Judged { armed_at: heartbeat_at, deadline: heartbeat_at.plus(70_000) };
    outage.last_signal = Some(LastSignal { sequence: 4_712, event_time: heartbeat_at });
    alert.transition.decided_at = MIDNIGHT.plus(140_000);
    alert
}
