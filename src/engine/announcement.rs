//! What partitions tell one another after a start.
//!
//! What one tells another stands in two journals, of which one may be ahead of the other at a crash. So after a start it is
//! told again, before anything is decided.

use std::sync::Arc;

use super::change::Change;
use super::facts::Facts;
use super::identity::Identity;
use super::partition::Partition;
use super::placement::{Audience, News, Reply, Tiding};
use super::shard::{Output, Shard};
use super::table::{Slot, State};

/// What other partitions have to be told after a crash: the exchange about it may have been cut off, on their side or on
/// ours.
#[derive(Debug, Default)]
pub(super) struct Unannounced {
    /// Identities that were new here, or about which others have answered, and what was known then.
    pub(super) arrivals: Vec<(Identity, Facts)>,
    /// Those that are heard on other partitions too are told from this place on.
    pub(super) shared_from: Option<(usize, Slot)>,
}

impl Partition {
    /// Makes ready for [`Partition::announce`] before `changes` are made again.
    pub fn will_announce<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) {
        self.unannounced.shared_from = Some((0, Slot::MIN));
        for change in changes {
            if let Change::Answered {
                identity,
                reply: Reply::Mine(facts) | Reply::Yours(facts),
                ..
            } = change
            {
                self.unannounced.arrivals.push((identity.clone(), *facts));
            }
        }
    }

    /// After a start, and before anything is fired: what other partitions have to be told, at most `budget` identities. True
    /// when nothing is left.
    pub fn announce(&mut self, budget: usize, out: &mut Output) -> bool {
        let mut unannounced = std::mem::take(&mut self.unannounced);
        let some = unannounced.arrivals.len().min(budget);
        for (identity, known) in unannounced.arrivals.drain(..some) {
            let mut facts = known;
            self.on_shard(identity.as_ref(), |shard, key, _| {
                facts = shard.facts(shard.table.find(key)?);
                None
            });
            let news = News::again(facts);
            out.tidings.push(Tiding { identity, news, to: Audience::Everyone });
        }
        let mut left = budget - some;
        while let Some((index, from)) = unannounced.shared_from.filter(|_| left > 0) {
            let Some(shard) = self.shards.get(index) else {
                unannounced.shared_from = None;
                break;
            };
            let next = shard.beside.next_shared(from);
            if let Some(slot) = next {
                shard.announce(slot, &self.hubs, out);
                left -= 1;
            }
            let behind = next.and_then(|slot| Some((index, slot.checked_add(1)?)));
            unannounced.shared_from = behind.or(Some((index + 1, Slot::MIN)));
        }
        let is_done = unannounced.arrivals.is_empty() && unannounced.shared_from.is_none();
        self.unannounced = unannounced;
        is_done
    }
}

impl Shard {
    /// Tells every other partition on which the identity is heard what is known of it here.
    fn announce(&self, slot: Slot, hubs: &[Arc<str>], out: &mut Output) {
        let identity = self.identity(slot, hubs);
        let is_open = self.table.record(slot).state == State::Offline;
        let news = News { is_open, ..News::again(self.facts(slot)) };
        let home = self.beside.homes.get(&slot).copied();
        let elsewhere = self.beside.elsewhere.get(&slot);
        let others = elsewhere.into_iter().flat_map(|elsewhere| &elsewhere.others);
        let others = others.map(|sighting| sighting.partition).filter(|other| Some(*other) != home);
        for partition in home.into_iter().chain(others) {
            let to = Audience::One(partition);
            out.tidings.push(Tiding { identity: identity.clone(), news, to });
        }
    }
}
