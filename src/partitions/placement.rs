//! How partitions tell one another about identities that more than one of them knows.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::{Partitions, Shared};
use crate::engine::{Audience, ForeignClocks, Output, Tiding};

impl Partitions {
    /// Tells the others, and gives their answers to `from`, until nothing is left to be told. Decisions that follow are
    /// queued where they were taken.
    pub(super) fn exchange(&self, from: &Arc<Shared>, tidings: Vec<Tiding>) {
        let others = self.others(from);
        if others.is_empty() {
            return;
        }
        let _one_at_a_time = self.placement.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = VecDeque::from(tidings);
        while let Some(tiding) = waiting.pop_front() {
            let identity = tiding.identity.as_ref();
            for other in others.iter().filter(|other| is_audience(&tiding, other)) {
                let mut out = Output::default();
                let reply = {
                    let mut engine = other.engine();
                    let reply = engine.partition.told(identity, from.id, &tiding.facts, &mut out);
                    engine.decided.extend(out.transitions.drain(..));
                    reply
                };
                other.counters.false_offline.increment(out.false_offline);
                let mut engine = from.engine();
                engine.partition.answered(identity, other.id, reply, &mut out);
                engine.decided.extend(out.transitions);
                waiting.extend(out.tidings);
            }
        }
    }

    /// Tells a partition how far the others have been read.
    pub(super) fn tell_clocks(&self, to: &Arc<Shared>) {
        let others = self.others(to);
        if !others.is_empty() {
            let clocks = others.iter().map(|other| (other.id, other.told_clock())).collect();
            to.engine().partition.foreign_clocks(ForeignClocks::new(clocks));
        }
    }

    /// The other partitions that could carry the same hub.
    fn others(&self, from: &Arc<Shared>) -> Vec<Arc<Shared>> {
        let mut others = self.shared();
        others.retain(|other| {
            other.id != from.id
                && match &from.profile.hub {
                    crate::wire::HubName::Fixed(hub) => other.could_carry(hub),
                    crate::wire::HubName::Property(_) => true,
                }
        });
        others
    }
}

fn is_audience(tiding: &Tiding, other: &Shared) -> bool {
    match tiding.to {
        Audience::Everyone => other.could_carry(&tiding.identity.hub),
        Audience::Home(id) => other.id == id,
    }
}
