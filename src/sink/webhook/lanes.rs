//! The messages that a sink holds: in order per lane, and out of one another's way between lanes.
//!
//! A message that waits for its retry is parked: it delays only what comes behind it in its own lane.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use crate::alert::Message;
use crate::alert::body::Status;

/// The most messages held, those under way and those parked included; beyond, the caller's queue is not read. Room for
/// the failures of a thousand identities at about 1 kB each, and for 20 MB at worst.
pub(super) const MAX_HELD: usize = 1_024;

/// The most beginnings remembered that were given up; the oldest go first, and then their ends are told although nobody
/// heard of the beginning.
const MAX_GIVEN_UP: usize = 1_024;

/// A message, and how far it has come.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) message: Message,
    /// Attempts that failed.
    pub(super) failures: usize,
    /// Those of them that the receiver rejected.
    pub(super) rejections: usize,
    /// Whether an attempt that failed may have reached the receiver all the same.
    pub(super) may_have_arrived: bool,
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
    pub(super) fn has_room(&self) -> bool {
        self.held < MAX_HELD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes a message in. If it ends an alert of which the receiver can't have heard, that whole alert is dropped
    /// with it; returns how many messages that were.
    pub(super) fn put(&mut self, message: Message) -> usize {
        if message.status.is_end() && self.is_unheard_of(&message) {
            return self.cancel(&message);
        }
        let id = message.lane;
        let lane = self.lanes.entry(id).or_insert_with(|| {
            self.ready.push_back(id);
            Lane { messages: VecDeque::new(), turn: Turn::Ready }
        });
        let held = Held { message, failures: 0, rejections: 0, may_have_arrived: false };
        lane.messages.push_back(held);
        self.held += 1;
        0
    }

    /// The next message to be attempted. Its lane stands until [`Lanes::done`] or [`Lanes::park`].
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

    /// The message under way will not be attempted again.
    pub(super) fn give_up(&mut self, held: &Held) {
        if held.may_have_arrived {
            self.forget(&held.message.alert_id);
        } else if held.message.status == Status::Firing {
            if self.given_up.len() >= MAX_GIVEN_UP {
                self.given_up.pop_front();
            }
            self.given_up.push_back(held.message.alert_id.clone());
        }
        self.done(&held.message);
    }

    /// The message under way is dropped.
    pub(super) fn done(&mut self, message: &Message) {
        self.held -= 1;
        self.advance(message.lane);
    }

    /// The message under way waits for its retry.
    pub(super) fn park(&mut self, held: Held, until: Instant) {
        let id = held.message.lane;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.messages.push_front(held);
            lane.turn = Turn::Parked(until);
            self.parked.insert((until, id));
        }
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

    /// Drops every message that waits for its retry; what is behind it gets its turn. Returns how many.
    pub(super) fn drop_parked(&mut self) -> usize {
        let parked = std::mem::take(&mut self.parked);
        for &(_, id) in &parked {
            let first = self.lanes.get_mut(&id).and_then(|lane| lane.messages.pop_front());
            if let Some(held) = first {
                self.held -= 1;
                if held.may_have_arrived {
                    self.forget(&held.message.alert_id);
                }
            }
            self.advance(id);
        }
        parked.len()
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

    /// Whether the alert began, and nothing about it can have reached the receiver.
    fn is_unheard_of(&self, end: &Message) -> bool {
        let is_same = |held: &&Held| held.message.alert_id == end.alert_id;
        let lane = self.lanes.get(&end.lane);
        let is_under_way = lane.is_some_and(|lane| match &lane.turn {
            Turn::UnderWay { alert_id } => *alert_id == end.alert_id,
            Turn::Ready | Turn::Parked(_) => false,
        });
        let mut waiting = lane.into_iter().flat_map(|lane| &lane.messages).filter(is_same);
        let begins = waiting.clone().any(|held| held.message.status == Status::Firing);
        let began = begins || self.given_up.contains(&end.alert_id);
        began && !is_under_way && !waiting.any(|held| held.may_have_arrived)
    }

    fn cancel(&mut self, end: &Message) -> usize {
        self.forget(&end.alert_id);
        let Some(lane) = self.lanes.get_mut(&end.lane) else { return 1 };
        let is_same = |held: &Held| held.message.alert_id == end.alert_id;
        let first_goes = lane.messages.front().is_some_and(is_same);
        let before = lane.messages.len();
        lane.messages.retain(|held| !is_same(held));
        let dropped = before - lane.messages.len();
        self.held -= dropped;
        match lane.turn {
            Turn::Parked(until) if first_goes => {
                self.parked.remove(&(until, end.lane));
                self.advance(end.lane);
            }
            Turn::Ready if lane.messages.is_empty() => {
                self.ready.retain(|id| *id != end.lane);
                self.lanes.remove(&end.lane);
            }
            Turn::Ready | Turn::Parked(_) | Turn::UnderWay { .. } => {}
        }
        dropped + 1
    }
}

#[cfg(test)]
mod tests;
