//! What is decided at a tick, in order. It is found in runs, each of which is put into order by itself, and the runs are
//! merged as decisions are taken: so no step takes longer because many fall due together.

use std::cmp::Ordering;
use std::ops::Range;

use super::table::Slot;
use super::timers::Decision;

/// A decision, and the shard of its identity.
pub(super) type Item = (usize, Decision);

/// The decisions of a tick.
#[derive(Default)]
pub(super) struct Agenda {
    items: Vec<Item>,
    /// What is left of each run that is in order: a heap, the run with the earliest decision first.
    runs: Vec<Range<usize>>,
    /// Where the run begins that is still being found.
    open_from: usize,
}

impl Agenda {
    /// Adds to the run that is being found.
    pub(super) fn add(&mut self, items: impl IntoIterator<Item = Item>) {
        self.items.extend(items);
    }

    /// Decisions of the run that is being found.
    pub(super) fn open(&self) -> usize {
        self.items.len() - self.open_from
    }

    /// Puts the run that was found into order.
    pub(super) fn close_run(&mut self, compare: impl Fn(&Item, &Item) -> Ordering) {
        let run = self.open_from..self.items.len();
        self.open_from = run.end;
        if run.is_empty() {
            return;
        }
        self.items[run.clone()].sort_by(&compare);
        self.runs.push(run);
        let mut at = self.runs.len() - 1;
        while at > 0 {
            let above = (at - 1) / 2;
            if !self.is_earlier(at, above, &compare) {
                break;
            }
            self.runs.swap(at, above);
            at = above;
        }
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Item> {
        self.runs.first().map(|run| self.items[run.start])
    }

    /// Takes the earliest out.
    pub(super) fn take_first(&mut self, compare: impl Fn(&Item, &Item) -> Ordering) {
        let Some(first) = self.runs.first_mut() else { return };
        first.start += 1;
        if first.start == first.end {
            self.runs.swap_remove(0);
        }
        if self.runs.is_empty() && self.open() == 0 {
            self.items.clear();
            self.open_from = 0;
        }
        let mut at = 0;
        loop {
            let below =
                [2 * at + 1, 2 * at + 2].into_iter().filter(|&below| below < self.runs.len());
            let earliest = below.fold(at, |earliest, below| {
                if self.is_earlier(below, earliest, &compare) { below } else { earliest }
            });
            if earliest == at {
                return;
            }
            self.runs.swap(at, earliest);
            at = earliest;
        }
    }

    /// The identities of a shard stand elsewhere now: `places` has where, in the order of their former slots.
    pub(super) fn follow(&mut self, shard: usize, places: &[(Slot, (usize, Slot))]) {
        for (of, decision) in self.items.iter_mut().filter(|(of, _)| *of == shard) {
            if let Ok(found) = places.binary_search_by_key(&decision.slot, |(slot, _)| *slot) {
                (*of, decision.slot) = places[found].1;
            }
        }
    }

    fn is_earlier(&self, a: usize, b: usize, compare: impl Fn(&Item, &Item) -> Ordering) -> bool {
        let first = |run: usize| &self.items[self.runs[run].start];
        compare(first(a), first(b)).is_lt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::Timestamp;

    fn item(ms: i64, slot: Slot) -> Item {
        (0, Decision { deadline: Timestamp::from_ms(ms), slot })
    }

    fn order((_, a): &Item, (_, b): &Item) -> Ordering {
        (a.deadline, a.slot).cmp(&(b.deadline, b.slot))
    }

    proptest! {
        #[test]
        fn decisions_found_in_runs_of_any_length_are_taken_in_order(
            runs in prop::collection::vec(prop::collection::vec((0..30_i64, 0..9_u32), 0..20), 0..20)
        ) {
            let mut agenda = Agenda::default();
            for run in &runs {
                agenda.add(run.iter().map(|&(ms, slot)| item(ms, slot)));
                prop_assert_eq!(agenda.open(), run.len());
                agenda.close_run(order);
            }
            let mut expected: Vec<Item> =
                runs.iter().flatten().map(|&(ms, slot)| item(ms, slot)).collect();
            expected.sort_by(order);
            let mut taken = Vec::new();
            while let Some(first) = agenda.first() {
                taken.push(first);
                agenda.take_first(order);
            }
            prop_assert_eq!(taken, expected);
            prop_assert!(agenda.items.is_empty());
        }
    }
}
