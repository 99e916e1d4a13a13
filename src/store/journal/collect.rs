//! Removing what no start needs any more, a bounded piece at a time.

use std::collections::BTreeSet;

use super::{GROUP, Journal, MAX_COLLECTED};
use crate::store::StoreError;

/// Groups that one call takes on: more than it can empty.
const MAX_NEW_GROUPS: usize = 16;

/// How far collecting has come.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Groups that may hold entries to remove. None before the first listing.
    pending: Option<BTreeSet<u64>>,
    /// The first group that is neither pending nor done.
    next_group: u64,
    /// Every entry below this is gone, or is in `left`.
    done_before: u64,
    /// Entries that were pinned when their group was swept.
    left: BTreeSet<u64>,
}

impl Sweep {
    /// Removes entries; how many.
    pub(super) async fn entries(
        &mut self,
        journal: &Journal,
        before: u64,
        pinned: &BTreeSet<u64>,
    ) -> Result<usize, StoreError> {
        let freed: Vec<u64> =
            self.left.difference(pinned).filter(|&&number| number < before).copied().collect();
        let mut room = MAX_COLLECTED;
        let mut removed = 0;
        let freed = &freed[..freed.len().min(room)];
        removed += remove_entries(journal, freed).await?;
        self.left.retain(|number| !freed.contains(number));
        room -= freed.len();
        if before <= self.done_before {
            return Ok(removed);
        }
        self.extend(journal, before).await?;
        while let Some(group) = self.first_pending(before) {
            let numbers = journal.numbers_of(group).await?;
            let due = numbers.into_iter().filter(|&number| number < before);
            let (left, due): (Vec<u64>, Vec<u64>) = due.partition(|number| pinned.contains(number));
            self.left.extend(left);
            let now = &due[..due.len().min(room)];
            removed += remove_entries(journal, now).await?;
            room -= now.len();
            if now.len() < due.len() {
                return Ok(removed);
            }
            if is_whole(group, before) {
                self.pending.get_or_insert_default().remove(&group);
            } else {
                break;
            }
        }
        if self.first_pending(before).is_none_or(|group| !is_whole(group, before)) {
            self.done_before = before.min(self.next_group.saturating_mul(GROUP));
        }
        Ok(removed)
    }

    /// Takes on the groups up to `before`: at first those that are there, from then on every one.
    async fn extend(&mut self, journal: &Journal, before: u64) -> Result<(), StoreError> {
        // One beyond that of the last number below `before`.
        let end = before.div_ceil(GROUP);
        let pending = match &mut self.pending {
            Some(pending) => pending,
            None => {
                let mut there = journal.groups().await?;
                self.next_group = before / GROUP;
                there.retain(|group| *group < self.next_group);
                self.pending.insert(there)
            }
        };
        pending.extend((self.next_group..end).take(MAX_NEW_GROUPS));
        let taken_on = self.next_group.saturating_add(MAX_NEW_GROUPS as u64).min(end);
        self.next_group = self.next_group.max(taken_on);
        Ok(())
    }

    /// The first group with numbers below `before`.
    fn first_pending(&self, before: u64) -> Option<u64> {
        let first = self.pending.as_ref()?.first().copied()?;
        (first.saturating_mul(GROUP) < before).then_some(first)
    }
}

/// Removes at most `room` snapshots; how many. One that is newer than all of `keep` may be in the making.
pub(super) async fn snapshots(
    journal: &Journal,
    keep: &[u64],
    room: usize,
) -> Result<usize, StoreError> {
    let Some(&newest) = keep.iter().max() else { return Ok(0) };
    if room == 0 {
        return Ok(0);
    }
    let there = journal.snapshots().await?.into_iter();
    let due = there.filter(|number| *number < newest && !keep.contains(number));
    let paths = due.take(room).map(|number| journal.snapshot_path(number)).collect();
    journal.inner.backend.remove(&journal.snapshots_path(), paths).await
}

/// Whether every number of the group is below `before`.
fn is_whole(group: u64, before: u64) -> bool {
    group.checked_add(1).and_then(|next| next.checked_mul(GROUP)).is_some_and(|end| end <= before)
}

async fn remove_entries(journal: &Journal, numbers: &[u64]) -> Result<usize, StoreError> {
    let paths = numbers.iter().map(|&number| journal.entry_path(number)).collect();
    journal.inner.backend.remove(&journal.entries_path(), paths).await
}
