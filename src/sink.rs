//! Adapters out. A sink is given [`Parcel`]s through a bounded queue, delivers them in order per lane, and says of each
//! what became of it: [`Settled`].

use crate::alert::Message;

pub mod address_guard;
pub mod http_client;
pub mod webhook;

/// Which owed message; given back unchanged when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Whose book owes it.
    pub book: u64,
    /// Number of the entry in that book's journal.
    pub entry: u64,
    /// Place within the entry.
    pub index: u32,
}

/// A message on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// What is to be told.
    pub message: Message,
    /// Settles it.
    pub ticket: Ticket,
    /// An earlier process, or an attempt, may have delivered it already.
    pub may_have_arrived: bool,
}

/// What became of a message: nothing more will be attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The receiver took it.
    Delivered,
    /// Its alert ended before the receiver heard of it.
    Cancelled,
    /// All attempts failed, or too many were rejected: it is in the delivery dead letters.
    GivenUp,
    /// The endpoint answered 410, to it or to one before: it is in the delivery dead letters.
    Disabled,
}

/// A sink's word on one parcel. Every parcel that a sink took in is settled once, but for those that wait for a retry
/// or are under way when it is stopped: these stay owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// Which.
    pub ticket: Ticket,
    /// What became of it.
    pub settlement: Settlement,
}
