//! How partitions tell one another about identities that more than one of them knows.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::Partitions;
use super::batch::{FIRE_BUDGET, note};
use super::shared::Shared;
use super::writer::now;
use crate::engine::{Audience, ForeignClocks, IdentityRef, News, Output, Tiding};

impl Partitions {
    /// Tells the others, and gives their answers to `from`, until nothing is left to be told. Decisions that follow are
    /// written down where they were taken.
    pub(super) fn exchange(&self, from: &Arc<Shared>, tidings: Vec<Tiding>) {
        let others = self.others(from);
        if others.is_empty() {
            return;
        }
        let _one_at_a_time = self.placement.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = VecDeque::from(tidings);
        while let Some(tiding) = waiting.pop_front() {
            for other in others.iter().filter(|other| is_audience(&tiding, other)) {
                let identity = tiding.identity.as_ref();
                waiting.extend(ask(from, other, identity, &tiding.news));
            }
        }
    }

    /// Partitions that were restored tell one another what an earlier process may not have told, before anything is read.
    pub fn announce(&self) {
        for shared in self.shared() {
            while !self.fire_some(&shared) {}
        }
    }

    /// Fires what is due, at most so much as fits into one turn, and tells others what they have to know. True when nothing
    /// is left.
    pub(super) fn fire_some(&self, shared: &Arc<Shared>) -> bool {
        let mut out = Output::default();
        let done = shared.desk().fire(FIRE_BUDGET, now(), &mut out);
        note(shared, &mut out);
        if !out.tidings.is_empty() {
            self.exchange(shared, out.tidings);
        }
        if !done {
            self.answer_deferred(shared);
        }
        done
    }

    /// Answers what could not be answered while the partition read again what it had applied before the start.
    pub(super) fn answer_deferred(&self, of: &Arc<Shared>) {
        let deferred = of.desk().deferred();
        if deferred.is_empty() {
            return;
        }
        let others = self.others(of);
        for (identity, asker, news) in deferred {
            let Some(asker) = others.iter().find(|other| other.id == asker) else { continue };
            let tidings = {
                let _one_at_a_time = self.placement.lock().unwrap_or_else(PoisonError::into_inner);
                ask(asker, of, identity.as_ref(), &news)
            };
            self.exchange(asker, tidings);
        }
    }

    /// Tells a partition how far the others have been read.
    pub(super) fn tell_clocks(&self, to: &Arc<Shared>) {
        let others = self.others(to);
        if others.is_empty() {
            return;
        }
        let clocks = others.iter().map(|other| other.told_clock()).collect();
        let of_source = others.iter().filter(|other| other.key.source == to.key.source);
        let heard = of_source.filter_map(|other| Some((other.id, other.told_heard()?)));
        let mut desk = to.desk();
        desk.foreign_clocks(ForeignClocks::new(clocks));
        desk.heard_elsewhere(heard);
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

/// Tells `other` what `from` knows of an identity, and `from` the answer. What has to be told after that.
fn ask(
    from: &Arc<Shared>,
    other: &Arc<Shared>,
    identity: IdentityRef<'_>,
    news: &News,
) -> Vec<Tiding> {
    let mut out = Output::default();
    let reply = other.desk().told(identity, from.id, news, now(), &mut out);
    note(other, &mut out);
    other.ledger.wake.notify_one();
    let mut out = Output::default();
    {
        let mut desk = from.desk();
        // What it took up again does not contain the question: it asks once more when it is there.
        if !desk.is_recovering() {
            desk.answered(identity, other.id, reply, now(), &mut out);
        }
    }
    note(from, &mut out);
    out.tidings
}

fn is_audience(tiding: &Tiding, other: &Shared) -> bool {
    match tiding.to {
        Audience::Everyone => other.could_carry(&tiding.identity.hub),
        Audience::One(id) => other.id == id,
    }
}
