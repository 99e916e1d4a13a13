//! From decisions to the sinks' queues.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Shared;
use crate::alert::path::PathAlert;
use crate::alert::{self, Alert, Message, Origin};
use crate::clock;
use crate::engine::Transition;
use crate::engine::rules::Policy;

/// The queues of the sinks.
#[derive(Clone, Debug, Default)]
pub struct Router {
    sinks: Vec<(Arc<str>, mpsc::Sender<Message>)>,
}

impl Router {
    /// Every message goes to every sink.
    pub fn new(sinks: Vec<(Arc<str>, mpsc::Sender<Message>)>) -> Self {
        Self { sinks }
    }

    /// Queues the messages that tell an alert about an identity.
    async fn tell(&self, alert: &Alert) {
        self.send(|sink| alert::message(alert, sink)).await;
    }

    /// Queues the messages that tell an alert about a source.
    pub(super) async fn tell_path(&self, alert: &PathAlert) {
        self.send(|sink| alert::path_message(alert, sink)).await;
    }

    /// Queues a message for each sink, rendered for it; waits while a queue is full. A sink that has ended gets nothing: the
    /// process is ending with it.
    async fn send(&self, render: impl Fn(&str) -> Message) {
        for (name, queue) in &self.sinks {
            let message = render(name);
            let alert_id = message.alert_id.clone();
            if queue.send(message).await.is_err() {
                tracing::warn!(sink = %name, alert_id, "the sink has ended: an alert is not told");
            }
        }
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
            rule: policy.rule_name(transition.outage.rule),
            observation_lag_ms: clock::wall().since(transition.decided_at).max(0),
        }
    }
}
