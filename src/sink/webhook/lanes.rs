//! The messages that a sink holds: in order per lane, and out of one another's way between lanes.
//!
//! A message that waits for its retry is parked: it delays only what comes behind it in its own lane.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use crate::alert::Message;
use crate::alert::body::Status;
use crate::engine::Timestamp;
use crate::sink::{Parcel, Ticket};
use crate::store::dead_letter::UndeliveredReason;

/// The most messages held, those under way, those parked and those whose settlement waits to be told included; beyond,
/// the caller's queue is not read. Room for the failures of a thousand identities at about 1 kB each, and for 20 MB at
/// worst.
pub(super) const MAX_HELD: usize = 1_024;

/// The most beginnings remembered that were given up; the oldest go first, and then their ends are told although nobody
/// heard of the beginning.
const MAX_GIVEN_UP: usize = 1_024;

/// A message, and how far it has come.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) message: Message,
    pub(super) ticket: Ticket,
    /// When it was first attempted.
    pub(super) attempted_at: Option<Timestamp>,
    /// Attempts that failed.
    pub(super) failures: usize,
    /// Those of them that the receiver rejected.
    pub(super) rejections: usize,
    /// Whether the receiver may have it: by an earlier process, or by an attempt that failed.
    pub(super) may_have_arrived: bool,
    /// Why it is not attempted any more: it has to be put into the dead letters.
    pub(super) ending: Option<Ending>,
}

impl From<Parcel> for Held {
    fn from(Parcel { message, ticket, may_have_arrived }: Parcel) -> Self {
        Self {
            message,
            ticket,
            attempted_at: None,
            failures: 0,
            rejections: 0,
            may_have_arrived,
            ending: None,
        }
    }
}

/// Why a message is not attempted any more.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) reason: UndeliveredReason,
    /// What the last attempt came to.
    pub(super) detail: String,
}

/// All lanes that hold something.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Lane>,
    /// Lanes whose turn it is, first come first served.
    ready: VecDeque<u64>,
    /// Lanes whose first message is parked, by the end of its wait.
    parked: BTreeSet<(Instant, u64)>,
    held: usize,
    /// Alerts whose beginning was given up, so that the receiver knows nothing of them.
    given_up: VecDeque<String>,
}

#[derive(Debug)]
struct Lane {
    /// Without the one that is under way.
    messages: VecDeque<Held>,
    turn: Turn,
}

#[derive(Debug)]
enum Turn {
    /// Its first message can be attempted.
    Ready,
    /// A message about this alert is being attempted.
    UnderWay { alert_id: String },
    /// Its first message waits for its retry.
    Parked(Instant),
}

impl Lanes {
    /// Messages held, those under way and those parked included.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes a message in. If it ends an alert of which the receiver can't have heard, that whole alert is cancelled
    /// with it; returns the tickets of what was cancelled.
    pub(super) fn put(&mut self, parcel: Parcel) -> Vec<Ticket> {
        let id = parcel.message.lane;
        let is_end = parcel.message.status.is_end() && !parcel.may_have_arrived;
        if is_end && self.is_unheard_of(id, &parcel.message.alert_id) {
            let mut cancelled = self.cancel(id, &parcel.message.alert_id);
            cancelled.push(parcel.ticket);
            return cancelled;
        }
        let lane = self.lanes.entry(id).or_insert_with(|| {
            self.ready.push_back(id);
            Lane { messages: VecDeque::new(), turn: Turn::Ready }
        });
        lane.messages.push_back(parcel.into());
        self.held += 1;
        Vec::new()
    }

    /// The next message whose turn it is. Its lane stands until [`Lanes::delivered`], [`Lanes::give_up`] or
    /// [`Lanes::park`].
    pub(super) fn take(&mut self) -> Option<Held> {
        let lane = self.lanes.get_mut(&self.ready.pop_front()?)?;
        let held = lane.messages.pop_front()?;
        lane.turn = Turn::UnderWay { alert_id: held.message.alert_id.clone() };
        Some(held)
    }

    /// The message under way has been delivered.
    pub(super) fn delivered(&mut self, message: &Message) {
        self.forget(&message.alert_id);
        self.done(message);
    }

    /// The message under way is in the dead letters. If its alert has ended meanwhile and the receiver can't have heard
    /// of it, what is left of the alert is cancelled; returns the tickets of that.
    pub(super) fn give_up(&mut self, held: &Held) -> Vec<Ticket> {
        if held.may_have_arrived {
            self.forget(&held.message.alert_id);
        } else if held.message.status == Status::Firing {
            if self.given_up.len() >= MAX_GIVEN_UP {
                self.given_up.pop_front();
            }
            self.given_up.push_back(held.message.alert_id.clone());
        }
        self.done(&held.message);
        self.cancel_if_ended(held.message.lane, &held.message.alert_id)
    }

    /// Nothing more happens to the message under way.
    fn done(&mut self, message: &Message) {
        self.held -= 1;
        self.advance(message.lane);
    }

    /// The message under way waits until then. If its alert has ended meanwhile and the receiver can't have heard of
    /// it, the whole alert is cancelled instead; returns the tickets of that.
    pub(super) fn park(&mut self, held: Held, until: Instant) -> Vec<Ticket> {
        let id = held.message.lane;
        let alert_id = held.message.alert_id.clone();
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.messages.push_front(held);
            lane.turn = Turn::Parked(until);
            self.parked.insert((until, id));
        }
        self.cancel_if_ended(id, &alert_id)
    }

    /// When the first wait ends.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.parked.first().map(|&(until, _)| until)
    }

    /// Gives those their turn whose wait is over.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.parked.first().filter(|(until, _)| *until <= now) {
            self.parked.remove(&(until, id));
            self.advance(id);
        }
    }

    /// Gives everything its turn.
    pub(super) fn wake_all(&mut self) {
        for (_, id) in std::mem::take(&mut self.parked) {
            self.advance(id);
        }
    }

    /// The receiver may know of this alert, or its end has come.
    fn forget(&mut self, alert_id: &str) {
        self.given_up.retain(|given_up| given_up != alert_id);
    }

    /// Gives a lane that does not wait any more its turn, or forgets it.
    fn advance(&mut self, id: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.messages.is_empty() {
            self.lanes.remove(&id);
        } else {
            lane.turn = Turn::Ready;
            self.ready.push_back(id);
        }
    }

    fn cancel_if_ended(&mut self, id: u64, alert_id: &str) -> Vec<Ticket> {
        let is_end =
            |held: &Held| held.message.alert_id == alert_id && held.message.status.is_end();
        let has_ended = self.lanes.get(&id).is_some_and(|lane| lane.messages.iter().any(is_end));
        match has_ended && self.is_unheard_of(id, alert_id) {
            true => self.cancel(id, alert_id),
            false => Vec::new(),
        }
    }

    /// Whether the alert began, and nothing about it can have reached the receiver.
    fn is_unheard_of(&self, id: u64, alert_id: &str) -> bool {
        let is_same = |held: &&Held| held.message.alert_id == alert_id;
        let lane = self.lanes.get(&id);
        let is_under_way = lane.is_some_and(|lane| match &lane.turn {
            Turn::UnderWay { alert_id: under_way } => under_way == alert_id,
            Turn::Ready | Turn::Parked(_) => false,
        });
        let mut waiting = lane.into_iter().flat_map(|lane| &lane.messages).filter(is_same);
        let begins = waiting.clone().any(|held| held.message.status == Status::Firing);
        let began = begins || self.given_up.iter().any(|given_up| given_up == alert_id);
        began && !is_under_way && !waiting.any(|held| held.may_have_arrived)
    }

    /// Takes everything that waits about an alert out of its lane.
    fn cancel(&mut self, id: u64, alert_id: &str) -> Vec<Ticket> {
        self.forget(alert_id);
        let Some(lane) = self.lanes.get_mut(&id) else { return Vec::new() };
        let is_same = |held: &Held| held.message.alert_id == alert_id;
        let first_goes = lane.messages.front().is_some_and(is_same);
        let waiting = lane.messages.iter().filter(|held| is_same(held));
        let tickets: Vec<Ticket> = waiting.map(|held| held.ticket).collect();
        lane.messages.retain(|held| !is_same(held));
        self.held -= tickets.len();
        match lane.turn {
            Turn::Parked(until) if first_goes => {
                self.parked.remove(&(until, id));
                self.advance(id);
            }
            Turn::Ready if lane.messages.is_empty() => {
                self.ready.retain(|ready| *ready != id);
                self.lanes.remove(&id);
            }
            Turn::Ready | Turn::Parked(_) | Turn::UnderWay { .. } => {}
        }
        tickets
    }
}

#[cfg(test)]
mod tests;
