//! Reads what a journal's store holds at the start. Nothing that is damaged keeps the service from starting: the snapshot
//! before, or the log, or a new window for everybody take its place.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::journal::{Desk, Entry, Moment, Setup, Snapshot, Stored};
use crate::store::StoreError;
use crate::store::journal::{Journal, READ_AHEAD};

/// At a million entries a second it is reached in 292,000 years.
const MAX_NUMBER: u64 = u64::MAX / 2;

/// What was found.
pub(super) struct Found {
    pub(super) stored: Stored,
    /// Snapshots that can be read, newest first.
    pub(super) kept: Vec<u64>,
}

/// A partition as its journal left it, and the snapshots that are kept, newest first. The newest snapshot may be readable
/// and its content of no use: then the one before takes its place, or none.
pub(super) async fn desk(
    journal: &Journal,
    setup: &Setup,
    now: Moment,
) -> Result<(Desk, Vec<u64>), StoreError> {
    let mut skip = 0;
    loop {
        let Found { stored, kept } = load(journal, skip).await?;
        let had_snapshot = stored.snapshot.is_some();
        let entries = stored.entries.len();
        match Desk::new(setup.clone(), stored, now) {
            Ok(desk) => {
                let (source, partition) = (&setup.source, &setup.partition);
                let identities: u64 = desk.engine().stats().identities.iter().sum();
                tracing::info!(%source, %partition, identities, entries, clock = %desk.engine().clock(), "restored");
                return Ok((desk, kept));
            }
            Err(error) if had_snapshot => {
                tracing::warn!(?journal, %error, "a snapshot is passed over");
                skip += 1;
            }
            Err(error) => {
                tracing::error!(?journal, %error, "nothing can be restored: everybody is unknown");
                return Ok((Desk::empty(setup.clone(), now), kept));
            }
        }
    }
}

/// Reads the newest snapshot that can be read and the entries behind it. So many of the newest snapshots as `skip` says are
/// passed over: their content was of no use.
pub(super) async fn load(journal: &Journal, skip: usize) -> Result<Found, StoreError> {
    let numbers = ours(journal.snapshots().await?);
    let (snapshot, unreadable) = newest(journal, &numbers, skip).await?;
    let entries = ours(journal.numbers().await?);
    let after = snapshot.as_ref().map_or(0, |(number, _)| *number);
    let wanted: Vec<u64> = entries.into_iter().filter(|number| *number > after).collect();
    let newest = numbers.first().copied().unwrap_or(0);
    let last = wanted.last().copied().unwrap_or(after).max(newest);
    let mut stored = Stored {
        snapshot,
        // A number that is missing was collected behind a newer snapshot, or lost.
        damaged: last - after != wanted.len() as u64,
        next: last + 1,
        entries: Vec::with_capacity(wanted.len()),
    };
    let read = |number| async move { Ok::<_, StoreError>((number, entry(journal, number).await?)) };
    let mut reading = stream::iter(wanted).map(read).buffered(READ_AHEAD);
    while let Some(read) = reading.next().await {
        match read? {
            (number, Some(entry)) => stored.entries.push((number, entry)),
            (_, None) => stored.damaged = true,
        }
    }
    let kept = numbers.into_iter().skip(unreadable).collect();
    Ok(Found { stored, kept })
}

/// Without the numbers that nobody ever counts up to: there has to be room above for whoever goes on counting.
fn ours(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.retain(|number| *number <= MAX_NUMBER);
    numbers
}

type Numbered = Option<(u64, Snapshot)>;

/// The newest snapshot that can be read, and how many were passed over.
async fn newest(
    journal: &Journal,
    numbers: &[u64],
    skip: usize,
) -> Result<(Numbered, usize), StoreError> {
    for (index, &number) in numbers.iter().enumerate().skip(skip) {
        let bytes = readable(journal.snapshot(number).await)?;
        match bytes.map(|bytes| Snapshot::decode_as(number, &bytes)) {
            Some(Ok(snapshot)) => return Ok((Some((number, snapshot)), index)),
            Some(Err(error)) => {
                tracing::warn!(?journal, number, %error, "a snapshot is passed over");
            }
            None => {}
        }
    }
    Ok((None, numbers.len()))
}

/// Entry `number`, if it is there and can be read.
pub(super) async fn entry(journal: &Journal, number: u64) -> Result<Option<Entry>, StoreError> {
    let bytes = readable(journal.entry(number).await)?;
    match bytes.map(|bytes| Entry::decode_as(number, &bytes)) {
        Some(Ok(entry)) => Ok(Some(entry)),
        Some(Err(error)) => {
            tracing::warn!(?journal, number, %error, "an entry is passed over");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// An object that is larger than any that is written is none of ours: it counts as damaged. What can't be read at the
/// moment does not: it would be given up for lost.
fn readable(read: Result<Option<Bytes>, StoreError>) -> Result<Option<Bytes>, StoreError> {
    match read {
        Err(error @ StoreError::TooLarge { .. }) => {
            tracing::warn!(%error, "an object is passed over");
            Ok(None)
        }
        Ok(_)
        | Err(
            StoreError::Unavailable { .. }
            | StoreError::Refused { .. }
            | StoreError::TooMany { .. }
            | StoreError::Settings { .. },
        ) => read,
    }
}

#[cfg(test)]
mod tests;
