//! A small seeded generator: the same seed gives the same numbers on every machine and in every version.

use crate::engine::Millis;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014). Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator whose numbers follow from `seed` alone.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one purpose: its numbers do not depend on how many were drawn for others.
    pub(super) fn split(seed: u64, purpose: u64) -> Self {
        let mut outer = Self::new(seed);
        Self::new(outer.draw() ^ Self::new(purpose).draw())
    }

    /// The next 64 bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, but without, `bound`; 0 for a bound that is not positive. The bias of the
    /// remainder is below one in a million for every span under 200 years.
    pub(super) fn below(&mut self, bound: Millis) -> Millis {
        let number = (self.draw() >> 1).cast_signed();
        if bound > 0 { number % bound } else { 0 }
    }

    /// True in `percent` of 100 cases.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < Millis::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_sequence_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.draw(), 6_457_827_717_110_365_317);
        assert_eq!(random.draw(), 3_203_168_211_198_807_973);
        assert_eq!(random.draw(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn stays_below_its_bound_and_takes_an_empty_range_as_zero() {
        let mut random = Random::new(1);
        assert!((0..1_000).all(|_| (0..7).contains(&random.below(7))));
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(-5), 0);
        assert!((0..100).all(|_| random.chance(100) && !random.chance(0)));
    }
}
