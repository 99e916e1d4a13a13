//! PURE. An order of devices that looks like none, without a list of them.

/// A cycle through the numbers below `count` that meets each once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    count: u64,
    stride: u64,
    shift: u64,
}

impl Order {
    pub(crate) fn new(count: u32, seed: u64) -> Self {
        let count = u64::from(count.max(1));
        let near = count / 3 + seed % (count / 3 + 1);
        let stride = (near.max(1)..).find(|stride| gcd(*stride, count) == 1).unwrap_or(1);
        Self { count, stride, shift: (seed >> 32) % count }
    }

    /// The device at a place of the endless cycle.
    pub(crate) fn at(&self, place: u64) -> u32 {
        let number = (place % self.count * self.stride + self.shift) % self.count;
        u32::try_from(number).unwrap_or(0)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cycle_meets_every_device_once() {
        for (count, seed) in [(1, 0), (2, 9), (10, u64::MAX), (1_000, 7), (4_096, 1 << 40)] {
            let order = Order::new(count, seed);
            for cycle in 0..3 {
                let places = (0..u64::from(count)).map(|place| cycle * u64::from(count) + place);
                let met: BTreeSet<u32> = places.map(|place| order.at(place)).collect();
                assert_eq!(met.len(), count as usize, "{count} {seed}");
            }
        }
    }
}
