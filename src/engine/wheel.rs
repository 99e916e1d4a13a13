//! One timer wheel a shard: a ring of ticks with lazily re-armed entries.
//!
//! An entry is never cancelled: whoever owns a timer remembers the tick it is armed at, and an entry that turns up at
//! another tick is dropped by the owner. A deadline beyond the horizon waits in the furthest slot and is armed again from
//! there, so nothing ever cascades.
//!
//! The timers of a tick stand in blocks of one line of the processor's cache, so that going through them waits for memory
//! once a block, not once a timer.

/// Ticks in the ring: with ticks of 100 ms a horizon of 13.6 minutes.
const SLOTS: u64 = 8_192;
const WORDS: usize = (SLOTS / 64) as usize;
/// End of a slot's list.
const NIL: u32 = u32::MAX;
/// What fits into 64 bytes beside the link and the count.
const BLOCK_TIMERS: usize = 14;

/// Some timers of one tick. Only the first block of a list may have room.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block {
    timers: [u32; BLOCK_TIMERS],
    used: u32,
    next: u32,
}

/// Timers of a tick that has passed, on their way out of the wheel.
#[derive(Debug)]
pub(crate) struct Taken(u32);

/// The ring. Ticks are absolute and grow.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    heads: Vec<u32>,
    occupied: [u64; WORDS],
    blocks: Vec<Block>,
    free: u32,
    /// Every tick up to and including this one has been taken.
    now: u64,
}

impl Wheel {
    /// A wheel in which everything up to tick `now` has passed.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            heads: vec![NIL; usize::try_from(SLOTS).unwrap_or(0)],
            occupied: [0; WORDS],
            blocks: Vec::new(),
            free: NIL,
            now,
        }
    }

    /// Arms `timer` for `tick`, or for the next or the furthest tick there is; returns the tick it is armed at.
    pub(crate) fn arm(&mut self, timer: u32, tick: u64) -> u64 {
        let tick = tick.clamp(self.now + 1, self.now + SLOTS);
        let slot = slot(tick);
        let head = self.heads[slot];
        if let Some(block) = self.blocks.get_mut(head as usize)
            && let Some(place) = block.timers.get_mut(block.used as usize)
        {
            *place = timer;
            block.used += 1;
            return tick;
        }
        self.heads[slot] = self.new_block(timer, head);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        tick
    }

    fn new_block(&mut self, timer: u32, next: u32) -> u32 {
        let mut block = Block { timers: [0; BLOCK_TIMERS], used: 1, next };
        block.timers[0] = timer;
        let index = self.free;
        if let Some(place) = self.blocks.get_mut(index as usize) {
            self.free = place.next;
            *place = block;
            return index;
        }
        self.blocks.push(block);
        u32::try_from(self.blocks.len() - 1).unwrap_or(NIL)
    }

    /// The next tick that holds an entry.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        let first = slot(self.now + 1);
        for step in 0..=WORDS {
            let word = (first / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (first % 64));
            }
            if bits != 0 {
                let found = word as u64 * 64 + u64::from(bits.trailing_zeros());
                let ahead = (found + SLOTS - first as u64) % SLOTS;
                return Some(self.now + 1 + ahead);
            }
        }
        None
    }

    /// Moves on to `tick`, which must not skip an occupied one. The timers found there are [`Wheel::unload`]ed.
    pub(crate) fn take(&mut self, tick: u64) -> Taken {
        debug_assert!(
            self.next_tick().is_none_or(|next| next >= tick),
            "an occupied tick was skipped"
        );
        if tick <= self.now {
            return Taken(NIL);
        }
        self.now = tick;
        let slot = slot(tick);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        Taken(std::mem::replace(&mut self.heads[slot], NIL))
    }

    /// Moves timers of what was taken into `found`, until it holds `most` or a few more, or nothing is left.
    pub(crate) fn unload(&mut self, taken: &mut Taken, most: usize, found: &mut Vec<u32>) {
        while found.len() < most
            && let Some(block) = self.blocks.get_mut(taken.0 as usize)
        {
            found.extend_from_slice(&block.timers[..block.used as usize]);
            let next = std::mem::replace(&mut block.next, self.free);
            self.free = std::mem::replace(&mut taken.0, next);
        }
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<u32>() + self.blocks.capacity() * size_of::<Block>()
    }

    /// The last tick taken.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_tick_is_found_at_every_distance() {
        for now in [0, 1, 63, 64, 8_190, 8_191, 8_192, 1_000_000] {
            for ahead in [1, 2, 63, 64, 65, 4_000, 8_191, 8_192] {
                let mut wheel = Wheel::new(now);
                assert_eq!(wheel.arm(7, now + ahead), now + ahead);
                assert_eq!(wheel.next_tick(), Some(now + ahead), "{now} + {ahead}");
                let mut found = Vec::new();
                let mut taken = wheel.take(now + ahead);
                wheel.unload(&mut taken, usize::MAX, &mut found);
                assert_eq!((found, wheel.next_tick()), (vec![7], None));
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// The timer's deadline is moved to this many ticks from now: forward or back.
        Move(u32, u64),
        Advance(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let deadline = prop_oneof![1..20_u64, 1..400_u64, 8_000..8_400_u64, 1..40_000_u64];
        let op = prop_oneof![
            3 => (0..12_u32, deadline).prop_map(|(timer, ahead)| Op::Move(timer, ahead)),
            2 => prop_oneof![1..5_u64, 1..300_u64, 1..20_000_u64].prop_map(Op::Advance),
        ];
        prop::collection::vec(op, 1..120)
    }

    /// Drives the wheel as a shard does: the owner remembers where a timer is armed, re-arms lazily, and inserts again
    /// only when a deadline comes forward.
    #[derive(Default)]
    struct Owner {
        armed: BTreeMap<u32, u64>,
        deadline: BTreeMap<u32, u64>,
        fired: Vec<(u64, u32)>,
    }

    impl Owner {
        fn set(&mut self, wheel: &mut Wheel, timer: u32, deadline: u64) {
            self.deadline.insert(timer, deadline);
            if self.armed.get(&timer).is_none_or(|&armed| deadline < armed) {
                self.armed.insert(timer, wheel.arm(timer, deadline));
            }
        }

        fn advance(&mut self, wheel: &mut Wheel, to: u64) {
            let mut found = Vec::new();
            while let Some(tick) = wheel.next_tick().filter(|&tick| tick <= to) {
                let mut taken = wheel.take(tick);
                wheel.unload(&mut taken, usize::MAX, &mut found);
                found.sort_unstable();
                for timer in found.drain(..) {
                    if self.armed.get(&timer) != Some(&tick) {
                        continue;
                    }
                    self.armed.remove(&timer);
                    match self.deadline.get(&timer) {
                        Some(&deadline) if deadline <= tick => {
                            self.deadline.remove(&timer);
                            self.fired.push((deadline, timer));
                        }
                        Some(&deadline) => {
                            self.armed.insert(timer, wheel.arm(timer, deadline));
                        }
                        None => {}
                    }
                }
            }
            let mut taken = wheel.take(to);
            wheel.unload(&mut taken, usize::MAX, &mut found);
            assert!(found.is_empty());
        }
    }

    proptest! {
        #[test]
        fn fires_what_a_sorted_map_fires_at_the_same_tick_with_deadlines_moving_both_ways(ops in ops(), start in 0..100_000_u64) {
            let mut wheel = Wheel::new(start);
            let mut owner = Owner::default();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = start;
            for op in ops {
                match op {
                    Op::Move(timer, ahead) => {
                        owner.set(&mut wheel, timer, now + ahead);
                        model.insert(timer, now + ahead);
                    }
                    Op::Advance(ticks) => {
                        now += ticks;
                        owner.advance(&mut wheel, now);
                        let mut expected: Vec<(u64, u32)> =
                            model.iter().filter(|(_, d)| **d <= now).map(|(t, d)| (*d, *t)).collect();
                        model.retain(|_, deadline| *deadline > now);
                        expected.sort_unstable();
                        prop_assert_eq!(std::mem::take(&mut owner.fired), expected);
                        prop_assert_eq!(wheel.now(), now);
                    }
                }
            }
        }
    }
}
