//! Brings into the processor's cache what the next messages will need.

use super::identity::IdentityRef;
use super::key::Key;
use super::partition::Partition;
use super::table::Slot;

/// Messages looked ahead at: as many loads from memory as a processor has under way at a time, and some more.
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
    /// Reads what applying signals about these identities will need. It changes nothing: index, records and ids are brought
    /// into the processor's cache by loads that don't wait for one another, where applying message after message would wait
    /// for each. At most [`LOOK_AHEAD`] are looked at.
    pub fn look_ahead<'a>(
        &self,
        identities: impl Iterator<Item = Option<IdentityRef<'a>>>,
    ) -> Ahead<'a> {
        // Each loop reads one kind of thing and does little else: so the processor has many of its loads under way.
        let mut ahead = [None; LOOK_AHEAD];
        let mut homes = [(0, 0, 0); LOOK_AHEAD];
        let mut known = 0;
        for (place, identity) in identities.take(LOOK_AHEAD).enumerate() {
            let Some(identity) = identity else { continue };
            let Some(hub) = self.known_hub(identity.hub) else { continue };
            let key = Key::new(&self.hasher, hub, identity.device, identity.module);
            ahead[place] = Some(Sighted { key, slot: None });
            homes[known] = (place, self.shard_of(key.device_hash()), key.hash());
            known += 1;
        }
        let homes = &homes[..known];
        let mut sum = 0_u64;
        for &(_, shard, hash) in homes {
            sum = sum.wrapping_add(self.shards[shard].table.touch_index(hash));
        }
        let mut found = [(0, 0); LOOK_AHEAD];
        let mut count = 0;
        for &(place, shard, hash) in homes {
            let slot = self.shards[shard].table.candidate(hash);
            if let (Some(sighted), Some(candidate)) = (&mut ahead[place], slot) {
                sighted.slot = slot;
                found[count] = (shard, candidate);
                count += 1;
            }
        }
        let found = &found[..count];
        let mut tails = [None; LOOK_AHEAD];
        for (tail, &(shard, slot)) in tails.iter_mut().zip(found) {
            *tail = self.shards[shard].table.touch_record(slot);
        }
        for (tail, &(shard, _)) in tails.iter().zip(found) {
            let touched = tail.map_or(0, |tail| self.shards[shard].table.touch_tail(tail));
            sum = sum.wrapping_add(touched);
        }
        // So that the reads are not left out.
        std::hint::black_box(sum);
        Ahead(ahead)
    }
}
