//! From decisions to the sinks' queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::Shared;
use crate::alert::path::PathAlert;
use crate::alert::{self, Alert, Message, Origin};
use crate::clock;
use crate::engine::rules::{Pattern, Policy};
use crate::engine::{Transition, TransitionKind};
use crate::sink::{Parcel, Ticket};

/// The queues of the sinks.
#[derive(Clone, Debug, Default)]
pub struct Router {
    sinks: Vec<(Arc<str>, mpsc::Sender<Parcel>)>,
    /// Number of the next message.
    next: Arc<AtomicU64>,
}

impl Router {
    /// Every message goes to every sink.
    pub fn new(sinks: Vec<(Arc<str>, mpsc::Sender<Parcel>)>) -> Self {
        Self { sinks, next: Arc::default() }
    }

    /// Queues the messages that tell an alert about an identity.
    async fn tell(&self, alert: &Alert) {
        self.send(|sink| alert::message(alert, sink, ordinal(&alert.transition))).await;
    }

    /// Queues the messages that tell an alert about a source.
    pub(super) async fn tell_path(&self, alert: &PathAlert) {
        self.send(|sink| alert::path_message(alert, sink)).await;
    }

    /// Queues a message of the dead letters for its sink again, if there is room: then true. `None` if there is no such
    /// sink any more. Somebody asked for it, so it is never cancelled.
    pub(super) fn replay(&self, sink: &str, message: Message) -> Option<bool> {
        let (_, queue) = self.sinks.iter().find(|(name, _)| **name == *sink)?;
        let parcel = Parcel { may_have_arrived: true, ..self.parcel(message) };
        Some(queue.try_send(parcel).is_ok())
    }

    fn parcel(&self, message: Message) -> Parcel {
        let entry = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { book: 0, entry, index: 0 };
        Parcel { message, ticket, may_have_arrived: false }
    }

    /// Queues a message for each sink, rendered for it; waits while a queue is full. A sink that has ended gets nothing: the
    /// process is ending with it.
    async fn send(&self, render: impl Fn(&str) -> Message) {
        for (name, queue) in &self.sinks {
            let message = render(name);
            let alert_id = message.alert_id.clone();
            if queue.send(self.parcel(message)).await.is_err() {
                tracing::warn!(sink = %name, alert_id, "the sink has ended: an alert is not told");
            }
        }
    }
}

/// Tells apart several amendments of one outage: the instant that each found, in its low bits. Everything else is told once.
fn ordinal(transition: &Transition) -> u32 {
    match transition.kind {
        TransitionKind::Amended { .. } => {
            let found = transition.outage.judged.armed_at.as_ms() & i64::from(u32::MAX);
            u32::try_from(found).unwrap_or(0)
        }
        TransitionKind::Offline
        | TransitionKind::Resolved { .. }
        | TransitionKind::Retracted { .. } => 0,
    }
}

impl Shared {
    /// Sends what was decided, in order. Whoever calls it sends for all.
    pub(super) async fn send_decided(&self, policy: &Policy, router: &Router) {
        let mut mute = self.outgoing.lock().await;
        loop {
            let next = self.engine().decided.pop_front();
            let Some(transition) = next else { return };
            self.counters.transition(&transition);
            let alert = Alert { origin: self.origin(&transition, policy), transition };
            if let Some(alert) = mute.pass(alert) {
                router.tell(&alert).await;
            }
        }
    }

    /// Begins to hold alerts back: what is decided until [`Shared::unmute`] is old history.
    pub(super) async fn mute(&self) {
        *self.outgoing.lock().await = alert::mute::Mute::muted();
    }

    /// Ends the muting and tells what is still open.
    pub(super) async fn unmute(&self, policy: &Policy, router: &Router) {
        self.send_decided(policy, router).await;
        let mut mute = self.outgoing.lock().await;
        for alert in mute.unmute() {
            router.tell(&alert).await;
        }
    }

    fn origin(&self, transition: &Transition, policy: &Policy) -> Origin {
        Origin {
            source: self.key.source.clone(),
            partition: self.key.partition.clone(),
            rule: rule_name(policy, transition.outage.rule),
            observation_lag_ms: clock::wall().since(transition.decided_at).max(0),
        }
    }
}

/// `default`, or the position and the pattern of a rule.
fn rule_name(policy: &Policy, index: u16) -> Arc<str> {
    let Some(rule) = policy.rules.get(usize::from(index)) else { return "default".into() };
    let text = |pattern: &Pattern| match pattern {
        Pattern::Exact(text) | Pattern::Glob(text) => text.clone(),
    };
    let module = rule.module.as_ref().map(|module| format!("/{}", text(module)));
    format!("match[{index}] {}{}", text(&rule.device), module.unwrap_or_default()).into()
}
