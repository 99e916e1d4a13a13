//! Sinks as the service has them (in order per lane, with retries), and the receivers behind them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lastseen::alert::Message;
use lastseen::alert::body::Status;
use lastseen::journal::Mark;

use crate::random::Random;

/// How long a mark that a message was delivered may take to be durable if nothing is wrong with the store.
const SETTLED_MS: i64 = 1_500;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Accepted,
    /// It was received, but the answer did not come back.
    AnswerLost,
    Refused,
}

#[derive(Clone, Debug)]
struct Held {
    partition: usize,
    mark: Mark,
    message: Message,
    may_have_arrived: bool,
    /// The life of the process, or of its partition, that sends it.
    life: u64,
    /// When it is attempted, or the attempt ends.
    at_ms: i64,
    under_way: Option<Attempt>,
}

/// The sender of one process to one receiver.
#[derive(Debug, Default)]
pub struct Sink {
    lanes: BTreeMap<u64, VecDeque<Held>>,
    /// Outages that were over before the receiver can have heard of them.
    unheard: BTreeSet<String>,
    /// Of the planted bug: ids by number.
    numbers: BTreeMap<String, usize>,
}

/// A receiver of webhooks.
#[derive(Debug, Default)]
pub struct Receiver {
    pub down_until_ms: i64,
    pub slow_until_ms: i64,
    pub loses_answers: i64,
    known: BTreeMap<String, Known>,
    /// What came in for the first time, in order, and when.
    pub received: Vec<(i64, Message)>,
    pub repeats: usize,
}

#[derive(Debug)]
struct Known {
    message: Message,
    /// The life of the process that sent it last, whether it heard an answer, and when.
    life: u64,
    unanswered: bool,
    at_ms: i64,
    /// When that process ended.
    ended_ms: Option<i64>,
}

impl Sink {
    pub fn held(&self) -> usize {
        self.lanes.values().map(VecDeque::len).sum()
    }

    /// Takes a message over. Returns marks that need no telling: an outage of which the receiver can't have heard is over.
    pub fn put(
        &mut self,
        partition: usize,
        mark: Mark,
        message: Message,
        may_have_arrived: bool,
        life: u64,
        now_ms: i64,
    ) -> Vec<(usize, Mark)> {
        if self.unheard.contains(&message.alert_id) {
            return vec![(partition, mark)];
        }
        let lane = self.lanes.entry(message.lane).or_default();
        let same = |held: &&Held| held.message.alert_id == message.alert_id;
        let begins = lane.iter().filter(same).any(|held| held.message.status == Status::Firing);
        let untouched =
            !lane.iter().filter(same).any(|held| held.may_have_arrived || held.under_way.is_some());
        if message.status.is_end() && !may_have_arrived && begins && untouched {
            let id = &message.alert_id;
            let cancelled = lane.iter().filter(|held| held.message.alert_id == *id);
            let marks = cancelled.map(|held| (held.partition, held.mark));
            let marks = marks.chain([(partition, mark)]).collect();
            lane.retain(|held| held.message.alert_id != *id);
            self.unheard.insert(id.clone());
            return marks;
        }
        let at_ms = now_ms;
        let under_way = None;
        lane.push_back(Held { partition, mark, message, may_have_arrived, life, at_ms, under_way });
        Vec::new()
    }

    /// Of a planted bug.
    pub fn number_id(&mut self, message: &mut Message) {
        let next = self.numbers.len();
        let number = *self.numbers.entry(message.alert_id.clone()).or_insert(next);
        message.alert_id = format!("number {number}");
        message.message_id = format!("number {number} {}", message.status.as_str());
    }

    /// Attempts what is due. Returns what was delivered.
    pub fn step(
        &mut self,
        now_ms: i64,
        receiver: &mut Receiver,
        random: &mut Random,
    ) -> Result<Vec<(usize, Mark)>, String> {
        let mut delivered = Vec::new();
        for lane in self.lanes.values_mut() {
            while let Some(held) = lane.front_mut().filter(|held| held.at_ms <= now_ms) {
                let Some(attempt) = held.under_way.take() else {
                    held.under_way = Some(receiver.outcome(now_ms, random));
                    held.at_ms = now_ms + receiver.takes_ms(now_ms, random);
                    continue;
                };
                match attempt {
                    Attempt::Accepted => {
                        receiver.receive(&held.message, held.life, false, now_ms)?;
                        delivered.push((held.partition, held.mark));
                        lane.pop_front();
                    }
                    Attempt::AnswerLost => {
                        receiver.receive(&held.message, held.life, true, now_ms)?;
                        held.may_have_arrived = true;
                        held.at_ms = now_ms + random.range(100, 2_000);
                    }
                    Attempt::Refused => held.at_ms = now_ms + random.range(100, 2_000),
                }
            }
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        Ok(delivered)
    }

    /// The process ends: what is under way may arrive or not.
    pub fn crash(
        &self,
        now_ms: i64,
        receiver: &mut Receiver,
        random: &mut Random,
    ) -> Result<(), String> {
        for held in self.lanes.values().filter_map(VecDeque::front) {
            let arrives = match held.under_way {
                Some(Attempt::Accepted | Attempt::AnswerLost) => random.permille(500),
                Some(Attempt::Refused) | None => false,
            };
            if arrives {
                receiver.receive(&held.message, held.life, true, now_ms)?;
            }
        }
        Ok(())
    }
}

impl Receiver {
    fn outcome(&self, now_ms: i64, random: &mut Random) -> Attempt {
        if now_ms < self.down_until_ms {
            Attempt::Refused
        } else if random.permille(self.loses_answers) {
            Attempt::AnswerLost
        } else {
            Attempt::Accepted
        }
    }

    fn takes_ms(&self, now_ms: i64, random: &mut Random) -> i64 {
        if now_ms < self.slow_until_ms { random.range(500, 5_000) } else { random.range(1, 40) }
    }

    /// The process that sends to it has ended.
    pub fn sender_ended(&mut self, now_ms: i64) {
        for known in self.known.values_mut() {
            known.ended_ms.get_or_insert(now_ms);
        }
    }

    /// A request has arrived. Whether it may have been repeated is for the life that sent it, or for its answer, to say.
    fn receive(
        &mut self,
        message: &Message,
        life: u64,
        unanswered: bool,
        now_ms: i64,
    ) -> Result<(), String> {
        match self.known.get_mut(&message.message_id) {
            Some(known) => {
                if known.message != *message {
                    let told =
                        |message: &Message| String::from_utf8_lossy(&message.body).into_owned();
                    let (one, other) = (told(&known.message), told(message));
                    return Err(format!("one id, two messages:\n{one}\n{other}"));
                }
                if !known.unanswered && known.life == life {
                    return Err(format!("{} was repeated without a crash", message.message_id));
                }
                self.repeats += 1;
                (known.life, known.unanswered, known.at_ms) = (life, unanswered, now_ms);
                known.ended_ms = None;
            }
            None => {
                let (message, at_ms) = (message.clone(), now_ms);
                let known = Known { message, life, unanswered, at_ms, ended_ms: None };
                let id = known.message.message_id.clone();
                self.received.push((now_ms, known.message.clone()));
                self.known.insert(id, known);
            }
        }
        Ok(())
    }

    /// Checks that a message which is owed again after a crash may be: that it was delivered can't have been durable.
    pub fn may_be_owed_again(
        &self,
        message: &Message,
        store_trouble_ms: i64,
    ) -> Result<(), String> {
        let Some(known) = self.known.get(&message.message_id).filter(|known| !known.unanswered)
        else {
            return Ok(());
        };
        let ended_ms = known.ended_ms.unwrap_or(known.at_ms);
        if ended_ms - known.at_ms > SETTLED_MS && store_trouble_ms < known.at_ms - SETTLED_MS {
            return Err(format!("{} is owed again long after its delivery", message.message_id));
        }
        Ok(())
    }
}
