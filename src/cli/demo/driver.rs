//! Walks the fleet's plan in real time and keeps the record of what the hub accepted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;
use crate::devhub::fleet::{Action, FleetEvent, Member, Plan, Roster, Truth};
use crate::devhub::hub::{DeviceMessage, Hub, HubError, RegistryChange};
use crate::engine::Timestamp;

/// After so many events in a row without a pause, other tasks get their turn.
const EVENTS_PER_TURN: u32 = 128;

/// The body of a message that is not an empty heartbeat.
const TELEMETRY: &[u8] = br#"{"temperature":21.5}"#;

/// The fleet's record, shared between the driver and those who look at it.
#[derive(Clone)]
pub(super) struct Record(Arc<Mutex<Truth>>);

impl Record {
    /// An empty record.
    pub(super) fn new(truth: Truth) -> Self {
        Self(Arc::new(Mutex::new(truth)))
    }

    /// A lock that a panic poisoned is taken all the same: each entry is complete before anything can panic.
    pub(super) fn lock(&self) -> MutexGuard<'_, Truth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the fleet live until `stop`, or until nobody is left.
pub(super) async fn drive(
    plan: Plan,
    hub: Hub,
    watch: Stopwatch,
    record: Record,
    stop: CancellationToken,
) {
    let roster = record.lock().roster();
    let mut turn = 0;
    for event in plan {
        let wait_ms = event.at.since(watch.now());
        turn += 1;
        if wait_ms > 0 {
            let wait = Duration::from_millis(wait_ms.unsigned_abs());
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            turn = 0;
        } else if turn >= EVENTS_PER_TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
        if stop.is_cancelled() {
            return;
        }
        perform(event, roster, &hub, watch.now(), &record);
    }
}

/// Does it, and records it if the hub accepted it: what the hub refused has not happened.
pub(super) fn perform(
    event: FleetEvent,
    roster: Roster,
    hub: &Hub,
    now: Timestamp,
    record: &Record,
) {
    let FleetEvent { who, action, .. } = event;
    let device = roster.device_id(who.device);
    match action {
        Action::Heartbeat => send(hub, record, who, device, Bytes::new(), now),
        Action::Telemetry => send(hub, record, who, device, Bytes::from_static(TELEMETRY), now),
        Action::Delete => {
            let accepted = hub.registry(&device, None, RegistryChange::Delete, now);
            note_refusal(&accepted);
            if accepted.is_ok() {
                record.lock().deleted(who.device, now);
            }
        }
        Action::Create => note_refusal(&hub.registry(&device, None, RegistryChange::Create, now)),
        Action::Connect => note_refusal(&hub.connection_event(&device, None, true, now)),
        Action::Disconnect => note_refusal(&hub.connection_event(&device, None, false, now)),
    }
}

fn send(hub: &Hub, record: &Record, who: Member, device: String, body: Bytes, now: Timestamp) {
    let message = DeviceMessage {
        device,
        module: who.module.map(|module| module.as_str().to_owned()),
        created: Some(now),
        body,
        ..DeviceMessage::default()
    };
    let accepted = hub.device_to_cloud(message, now);
    note_refusal(&accepted);
    if accepted.is_ok() {
        record.lock().sent(who, now);
    }
}

fn note_refusal(accepted: &Result<(usize, i64), HubError>) {
    if let Err(error) = accepted {
        tracing::debug!(%error, "the hub refused what a simulated device did");
    }
}
