//! A shard that has grown too large becomes two.

use super::partition::Partition;
use super::shard::Shard;

impl Partition {
    /// Splits a shard by the next bit of the hash (extendible hashing), doubling the directory if that bit is new.
    pub(super) fn split(&mut self, index: usize) {
        let depth = self.depths[index];
        if 1_usize << depth == self.directory.len() {
            self.directory = self.directory.iter().flat_map(|&shard| [shard, shard]).collect();
        }
        let sibling = self.shards.len();
        let bits = self.directory.len().trailing_zeros();
        for (place, shard) in self.directory.iter_mut().enumerate() {
            if *shard == index && place >> (bits - depth - 1) & 1 == 1 {
                *shard = sibling;
            }
        }
        self.depths[index] += 1;
        self.depths.push(depth + 1);
        let tick = self.shards[index].wheel.now();
        let mut old =
            std::mem::replace(&mut self.shards[index], Shard::new(self.hasher.clone(), tick));
        self.shards.push(Shard::new(self.hasher.clone(), tick));
        let mut places = Vec::new();
        for slot in old.table.slots() {
            let home = self.shard_of(old.table.key(slot).device_hash());
            let own = self.with_shard(home, |shard, context| shard.adopt(&mut old, slot, context));
            places.push((slot, (home, own)));
        }
        self.agenda.follow(index, &places);
        self.shards[index].link_modules();
        self.shards[sibling].link_modules();
    }
}
