//! Brokers: logs that can be read again, and queues that can't.

use std::collections::{BTreeSet, VecDeque};

use crate::plan::{Fact, Kind, Plan, Sent};
use crate::random::Random;

/// A message as a receiver gets it: its place, and which one of the plan's it is.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    pub sequence: i64,
    pub index: usize,
}

/// One partition of a broker.
#[derive(Debug)]
pub struct Broker {
    pub kind: Kind,
    /// The next message of the plan to arrive.
    arriving: usize,
    /// No message is taken and no receiver served up to here.
    pub down_until_ms: i64,
    /// What happened before is lost if it has not arrived yet.
    lost_before_ms: i64,
    // A log.
    pub stream: u64,
    pub messages: VecDeque<Stored>,
    pub next_sequence: i64,
    /// Everything up to here is in a journal that is in force.
    pub durable: Option<i64>,
    /// The last message given to the receiver: one that falls behind what is kept is sent away.
    pub given: i64,
    // A queue.
    pub unacknowledged: VecDeque<(i64, usize)>,
    /// Another receiver is there.
    pub other: bool,
    /// Whoever attached last: process and attachment.
    pub receiver: Option<(u64, u64)>,
    /// The messages of the plan that nobody could read.
    pub lost: BTreeSet<usize>,
}

impl Broker {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            arriving: 0,
            down_until_ms: 0,
            lost_before_ms: i64::MIN,
            stream: 1,
            messages: VecDeque::new(),
            next_sequence: 0,
            durable: None,
            given: -1,
            unacknowledged: VecDeque::new(),
            other: false,
            receiver: None,
            lost: BTreeSet::new(),
        }
    }

    pub fn is_up(&self, now_ms: i64) -> bool {
        now_ms >= self.down_until_ms
    }

    pub fn first(&self) -> i64 {
        self.messages.front().map_or(self.next_sequence, |stored| stored.sequence)
    }

    pub fn last(&self) -> i64 {
        self.next_sequence - 1
    }

    /// Takes what has come by now; drops what is too old.
    pub fn step(
        &mut self,
        now_ms: i64,
        plan: &Plan,
        sent: &[Sent],
        facts: &mut [Fact],
        random: &mut Random,
    ) {
        if !self.is_up(now_ms) {
            return;
        }
        while let Some(message) = sent.get(self.arriving).filter(|sent| sent.append_ms <= now_ms) {
            let index = self.arriving;
            self.arriving += 1;
            let goes_elsewhere = self.other && (self.receiver.is_none() || random.permille(500));
            if message.event_ms < self.lost_before_ms || goes_elsewhere {
                self.lose(sent, index, facts);
                continue;
            }
            self.messages.push_back(Stored { sequence: self.next_sequence, index });
            self.next_sequence += 1;
        }
        if self.kind == Kind::Log {
            let oldest_ms = now_ms - plan.retention_ms;
            while let Some(first) = self.messages.front().copied()
                && sent[first.index].append_ms < oldest_ms
            {
                self.messages.pop_front();
                self.lose_if_not_durable(first, sent, facts);
                if self.given < first.sequence {
                    self.detach();
                }
            }
        }
    }

    fn lose_if_not_durable(&mut self, stored: Stored, sent: &[Sent], facts: &mut [Fact]) {
        if self.durable.is_none_or(|durable| stored.sequence > durable) {
            self.lose(sent, stored.index, facts);
        }
    }

    /// The broker is gone for a while, and what is sent meanwhile with it.
    pub fn go_down(&mut self, until_ms: i64) {
        self.down_until_ms = until_ms;
        self.lost_before_ms = until_ms;
        self.detach();
    }

    /// Another log takes the place of this one, from another hub: what was not read is lost.
    pub fn reset(&mut self, now_ms: i64, sent: &[Sent], facts: &mut [Fact], random: &mut Random) {
        self.detach();
        self.stream += 1;
        self.lost_before_ms = now_ms;
        for stored in std::mem::take(&mut self.messages) {
            self.lose_if_not_durable(stored, sent, facts);
        }
        self.durable = None;
        self.next_sequence = random.pick(&[0, 0, self.next_sequence, self.next_sequence + 50]);
    }

    /// The receiver is gone.
    pub fn detach(&mut self) {
        self.receiver = None;
        for (_, index) in std::mem::take(&mut self.unacknowledged).into_iter().rev() {
            self.messages.push_front(Stored { sequence: 0, index });
        }
    }

    /// Another receiver of the queue comes, and takes what nobody else is given.
    pub fn share(&mut self, sent: &[Sent], facts: &mut [Fact]) {
        self.detach();
        self.other = true;
        for stored in std::mem::take(&mut self.messages) {
            self.lose(sent, stored.index, facts);
        }
    }

    pub fn acknowledge(&mut self, up_to: i64) {
        while self.unacknowledged.pop_front_if(|(sequence, _)| *sequence <= up_to).is_some() {}
    }

    fn lose(&mut self, sent: &[Sent], index: usize, facts: &mut [Fact]) {
        self.lost.insert(index);
        if let Some(fact) = sent[index].fact
            && !sent[index].repeated
        {
            facts[fact].lost += 1;
        }
    }
}
