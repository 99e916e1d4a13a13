//! Evidence that the route into a partition works: somebody else's message.

use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Per hub the two devices that were heard last on this partition: whichever device is judged, one of them is another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RouteWitness {
    by_hub: Vec<[Option<(u64, Timestamp)>; 2]>,
}

impl RouteWitness {
    /// A message of a device (by hash) was read.
    #[inline]
    pub(crate) fn heard(&mut self, hub: u16, device: u64, at: Timestamp) {
        let hub = usize::from(hub);
        if hub >= self.by_hub.len() {
            self.by_hub.resize(hub + 1, [None, None]);
        }
        let [first, second] = &mut self.by_hub[hub];
        match first {
            Some((known, last)) if *known == device => *last = (*last).max(at),
            Some((_, last)) if at < *last => {
                if second.is_none_or(|(known, last)| known == device || at >= last) {
                    let at =
                        second.filter(|(known, _)| *known == device).map_or(at, |(_, t)| t.max(at));
                    *second = Some((device, at));
                }
            }
            Some(_) | None => {
                *second = *first;
                *first = Some((device, at));
            }
        }
    }

    /// The last message of any device of the hub.
    pub(crate) fn last(&self, hub: u16) -> Option<Timestamp> {
        let [first, _] = self.by_hub.get(usize::from(hub))?;
        first.map(|(_, at)| at)
    }

    /// The last message of any other device of the hub.
    pub(crate) fn last_of_others(&self, hub: u16, device: u64) -> Option<Timestamp> {
        let [first, second] = self.by_hub.get(usize::from(hub))?;
        match first {
            Some((known, _)) if *known == device => second.map(|(_, at)| at),
            Some((_, at)) => Some(*at),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_message_of_the_others_is_found_for_every_device(beats in prop::collection::vec((0..4_u64, 0..50_i64), 0..60)) {
            let mut witness = RouteWitness::default();
            let mut last: BTreeMap<u64, i64> = BTreeMap::new();
            for (device, at) in beats {
                witness.heard(0, device, Timestamp::from_ms(at));
                let entry = last.entry(device).or_insert(at);
                *entry = (*entry).max(at);
                for judged in 0..5 {
                    let others = last.iter().filter(|(d, _)| **d != judged).map(|(_, at)| *at).max();
                    prop_assert_eq!(witness.last_of_others(0, judged), others.map(Timestamp::from_ms));
                }
            }
        }
    }
}
