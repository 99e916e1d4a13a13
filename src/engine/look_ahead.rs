//! Brings into the processor's cache what the next messages will need.

use super::identity::IdentityRef;
use super::key::Key;
use super::partition::Partition;

/// Messages looked ahead at: as many loads from memory as a processor has under way at a time, and some more.
pub const LOOK_AHEAD: usize = 32;

impl Partition {
    /// Reads what applying signals about these identities will need. It changes nothing: index, records and ids are brought
    /// into the processor's cache by loads that don't wait for one another, where applying message after message would wait
    /// for each. Returns the sum of what it read, so that the reads are not left out. At most [`LOOK_AHEAD`] are looked at.
    pub fn look_ahead<'a>(&self, identities: impl Iterator<Item = IdentityRef<'a>>) -> u64 {
        // Each loop reads one kind of thing and does little else: so the processor has many of its loads under way.
        let mut hashes = [(0, 0); LOOK_AHEAD];
        let mut known = 0;
        for identity in identities.take(LOOK_AHEAD) {
            let Some(hub) = self.known_hub(identity.hub) else { continue };
            let key = Key::new(&self.hasher, hub, identity.device, identity.module);
            hashes[known] = (self.shard_of(key.device_hash()), key.hash());
            known += 1;
        }
        let hashes = &hashes[..known];
        let mut sum = 0_u64;
        for &(shard, hash) in hashes {
            sum = sum.wrapping_add(self.shards[shard].table.touch_index(hash));
        }
        let mut found = [(0, 0); LOOK_AHEAD];
        let mut count = 0;
        for &(shard, hash) in hashes {
            if let Some(slot) = self.shards[shard].table.candidate(hash) {
                found[count] = (shard, slot);
                count += 1;
            }
        }
        let found = &found[..count];
        let mut tails = [None; LOOK_AHEAD];
        for (tail, &(shard, slot)) in tails.iter_mut().zip(found) {
            *tail = self.shards[shard].table.touch_record(slot);
        }
        for (tail, &(shard, _)) in tails.iter().zip(found) {
            let touched = tail.map_or(0, |at| self.shards[shard].table.touch_tail(at));
            sum = sum.wrapping_add(touched);
        }
        sum
    }
}
