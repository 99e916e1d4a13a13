//! Brings into the processor's cache what the next messages will need.

use super::identity::IdentityRef;
use super::key::Key;
use super::partition::Partition;
use super::table::{Slot, Table};

/// Messages looked ahead at: as many lines of memory as a processor has under way at a time, and some more.
pub const LOOK_AHEAD: usize = 32;

/// An identity that was looked ahead at: its hash is known, and where its record probably is.
#[derive(Clone, Copy)]
pub struct Sighted<'a> {
    pub(super) key: Key<'a>,
    pub(super) slot: Option<Slot>,
}

/// What was seen of the next identities, in their order.
pub struct Ahead<'a>([Option<Sighted<'a>>; LOOK_AHEAD]);

impl<'a> Ahead<'a> {
    /// The identity at this place; `None` where there is none, or none of a known hub.
    pub fn get(&self, place: usize) -> Option<&Sighted<'a>> {
        self.0.get(place)?.as_ref()
    }
}

impl Partition {
    /// Brings what applying signals about these identities will need into the processor's cache: index, records and ids are
    /// asked for all at once, where applying message after message would wait for each. It changes nothing. At most
    /// [`LOOK_AHEAD`] are looked at.
    pub fn look_ahead<'a>(
        &self,
        identities: impl Iterator<Item = Option<IdentityRef<'a>>>,
    ) -> Ahead<'a> {
        let mut ahead = [None; LOOK_AHEAD];
        // Nearly all are of one hub, and say so with the very same text.
        let mut hub = ("", None);
        for (sighted, identity) in ahead.iter_mut().zip(identities) {
            let Some(identity) = identity else { continue };
            if !std::ptr::eq(identity.hub, hub.0) {
                hub = (identity.hub, self.known_hub(identity.hub));
            }
            let Some(hub) = hub.1 else { continue };
            let key = Key::new(&self.hasher, hub, identity.device, identity.module);
            self.table_of(&key).prefetch_index(key.hash());
            *sighted = Some(Sighted { key, slot: None });
        }
        let mut any_is_cut = false;
        for sighted in ahead.iter_mut().flatten() {
            let table = self.table_of(&sighted.key);
            sighted.slot = table.candidate(sighted.key.hash());
            if let Some(slot) = sighted.slot {
                table.prefetch_record(slot);
            }
            any_is_cut |= sighted.key.is_cut();
        }
        if any_is_cut {
            for Sighted { key, slot } in ahead.iter().flatten().filter(|ahead| ahead.key.is_cut()) {
                slot.iter().for_each(|&slot| self.table_of(key).prefetch_tail(slot));
            }
        }
        Ahead(ahead)
    }

    #[inline]
    fn table_of(&self, key: &Key<'_>) -> &Table {
        &self.shards[self.shard_of(key.device_hash())].table
    }
}
