//! Reads what a journal's store holds at the start. Nothing that is damaged keeps the service from starting: the snapshot
//! before, or the log, or a new window for everybody take its place.

use futures_util::{StreamExt, stream};

use crate::journal::{Entry, Snapshot, Stored};
use crate::store::StoreError;
use crate::store::journal::{Journal, READ_AHEAD};

/// What was found.
pub(super) struct Found {
    pub(super) stored: Stored,
    /// Snapshots that can be read, newest first.
    pub(super) kept: Vec<u64>,
}

/// Reads the newest snapshot that can be read and the entries behind it. So many of the newest snapshots as `skip` says are
/// passed over: their content was of no use.
pub(super) async fn load(journal: &Journal, skip: usize) -> Result<Found, StoreError> {
    let numbers = journal.snapshots().await?;
    let (snapshot, unreadable) = newest(journal, &numbers, skip).await?;
    let entries = journal.numbers().await?;
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
    let read = |number| async move { Ok::<_, StoreError>((number, journal.entry(number).await?)) };
    let mut reading = stream::iter(wanted).map(read).buffered(READ_AHEAD);
    while let Some(entry) = reading.next().await {
        let (number, bytes) = entry?;
        match bytes.as_deref().map(Entry::decode) {
            Some(Ok(entry)) => stored.entries.push((number, entry)),
            Some(Err(error)) => {
                stored.damaged = true;
                tracing::warn!(?journal, number, %error, "an entry is passed over");
            }
            None => stored.damaged = true,
        }
    }
    let kept = numbers.into_iter().skip(unreadable).collect();
    Ok(Found { stored, kept })
}

type Numbered = Option<(u64, Snapshot)>;

/// The newest snapshot that can be read, and how many were passed over.
async fn newest(
    journal: &Journal,
    numbers: &[u64],
    skip: usize,
) -> Result<(Numbered, usize), StoreError> {
    for (index, &number) in numbers.iter().enumerate().skip(skip) {
        match journal.snapshot(number).await?.as_deref().map(Snapshot::decode) {
            Some(Ok(snapshot)) => return Ok((Some((number, snapshot)), index)),
            Some(Err(error)) => {
                tracing::warn!(?journal, number, %error, "a snapshot is passed over");
            }
            None => {}
        }
    }
    Ok((None, numbers.len()))
}
