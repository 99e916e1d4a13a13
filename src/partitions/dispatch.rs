//! From durable entries to the sinks' queues, and back what became of each message.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Ledgers};
use super::restore;
use super::writer::now;
use crate::failpoint::fail_point;
use crate::journal::{Mark, Next};
use crate::sink::{Parcel, Settled, Settlement, Ticket};

/// Messages of one journal before those of another get their turn.
const TURN: usize = 64;

/// The queues of the sinks. A queue that is full holds back only its own sink.
#[derive(Clone, Default)]
pub struct Router {
    sinks: Arc<[Outlet]>,
    ledgers: Ledgers,
}

struct Outlet {
    name: Arc<str>,
    queue: mpsc::Sender<Parcel>,
    /// Something may have become durable.
    wake: Notify,
}

impl Router {
    /// Every message goes to every sink.
    pub fn new(sinks: Vec<(Arc<str>, mpsc::Sender<Parcel>)>) -> Self {
        let outlet = |(name, queue)| Outlet { name, queue, wake: Notify::new() };
        Self { sinks: sinks.into_iter().map(outlet).collect(), ledgers: Ledgers::default() }
    }

    /// Names of the sinks.
    pub fn names(&self) -> Arc<[Arc<str>]> {
        self.sinks.iter().map(|outlet| outlet.name.clone()).collect()
    }

    pub(super) fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// Something has become durable.
    pub(super) fn wake(&self) {
        for outlet in self.sinks.iter() {
            outlet.wake.notify_one();
        }
    }

    /// Hands to one sink what it is owed, until `stop` or until the sink ends.
    pub async fn feed(self, sink: usize, stop: CancellationToken) {
        let Some(outlet) = self.sinks.get(sink) else { return };
        let feeding = async {
            loop {
                let woken = outlet.wake.notified();
                match self.feed_all(outlet).await {
                    Fed::Nothing => woken.await,
                    Fed::Something => {}
                    Fed::Closed => return,
                }
            }
        };
        let _stopped = stop.run_until_cancelled(feeding).await;
    }

    async fn feed_all(&self, outlet: &Outlet) -> Fed {
        let mut fed = Fed::Nothing;
        for ledger in self.ledgers.all() {
            for _ in 0..TURN {
                match ledger.next(&outlet.name) {
                    Next::Nothing => break,
                    Next::Fetch(number) => fetch(&*ledger, &outlet.name, number).await,
                    Next::Send { mark, message, may_have_arrived } => {
                        fed = Fed::Something;
                        let ticket =
                            Ticket { book: ledger.id(), entry: mark.entry, index: mark.index };
                        fail_point("send");
                        let parcel = Parcel { message, ticket, may_have_arrived };
                        if outlet.queue.send(parcel).await.is_err() {
                            return Fed::Closed;
                        }
                    }
                }
            }
        }
        fed
    }

    /// Takes note of what became of each message, until the sinks have ended.
    pub async fn settle(self, mut settled: mpsc::Receiver<Settled>) {
        while let Some(Settled { ticket, settlement }) = settled.recv().await {
            match settlement {
                Settlement::Delivered
                | Settlement::Cancelled
                | Settlement::GivenUp
                | Settlement::Disabled => {}
            }
            let Some(ledger) = self.ledgers.get(ticket.book) else { continue };
            fail_point("settled");
            ledger.settle(Mark { entry: ticket.entry, index: ticket.index }, now());
            ledger.store().wake.notify_one();
            ledger.store().room.notify_waiters();
        }
    }
}

enum Fed {
    Nothing,
    Something,
    Closed,
}

/// Reads the messages of an entry again.
async fn fetch(ledger: &dyn Ledger, sink: &str, number: u64) {
    let entry = match restore::entry(&ledger.store().journal, number).await {
        Ok(entry) => entry,
        Err(error) => {
            tracing::warn!(sink, source = ledger.source(), number, %error, "an owed alert can't be read yet");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            return;
        }
    };
    let lost = ledger.refill(sink, number, entry.as_ref());
    if !lost.is_empty() {
        tracing::error!(
            sink,
            source = ledger.source(),
            number,
            messages = lost.len(),
            "owed alerts can't be read any more: the entry of the journal is damaged or gone, they are not told"
        );
    }
}
