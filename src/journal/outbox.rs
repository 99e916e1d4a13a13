//! What sinks are still owed. The messages themselves stand in the journal; here is which, and the next few of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::entry::{Entry, Mark, Owed};
use crate::alert::Message;

/// Messages of one sink that are kept in memory besides the journal: about a megabyte. The others are read again when
/// their turn comes.
const MAX_IN_MEMORY: usize = 1_024;

/// The most messages owed by one journal, all sinks together: some 50 MB of marks. Beyond, nothing more is applied until
/// sinks have taken some.
pub const MAX_OWED: usize = 1_048_576;

/// What to do for a sink next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Nothing is owed that is not on its way already.
    Nothing,
    /// This message is to be sent.
    Send {
        /// Where it stands.
        mark: Mark,
        /// The message.
        message: Message,
        /// It may have been delivered by an earlier process.
        may_have_arrived: bool,
    },
    /// Its message has to be read again: give the entry with this number to [`Outbox::refill`].
    Fetch(u64),
}

/// All sinks of one journal.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: BTreeMap<Arc<str>, Queue>,
    /// Nothing is given out: another process may still give out the same.
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    owed: BTreeMap<Mark, Waiting>,
    /// Everything up to here is on its way.
    handed_out: Option<Mark>,
    in_memory: usize,
}

#[derive(Debug)]
struct Waiting {
    message: Option<Message>,
    may_have_arrived: bool,
}

impl Outbox {
    /// Of these sinks; what others were owed is dropped with them.
    pub fn new(sinks: &[Arc<str>]) -> Self {
        let queues = sinks.iter().map(|sink| (sink.clone(), Queue::default())).collect();
        Self { queues, is_closed: false }
    }

    /// Gives out nothing until [`Outbox::open`].
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Gives out what is owed.
    pub fn open(&mut self) {
        self.is_closed = false;
    }

    /// Takes up what a durable entry owes.
    pub fn owe(&mut self, entry: u64, owed: Vec<Owed>) {
        for (index, Owed { sink, message }) in (0..).zip(owed) {
            if let Some(queue) = self.queues.get_mut(&*sink) {
                queue.put(Mark { entry, index }, Some(message), false);
            }
        }
    }

    /// Takes up what an earlier process owed: it may have been delivered.
    pub fn owe_again(&mut self, sink: &str, mark: Mark) {
        if let Some(queue) = self.queues.get_mut(sink) {
            queue.put(mark, None, true);
        }
    }

    /// The next message for a sink. It is given out once.
    pub fn next(&mut self, sink: &str) -> Next {
        if self.is_closed {
            return Next::Nothing;
        }
        let Some(queue) = self.queues.get_mut(sink) else { return Next::Nothing };
        let after = queue.handed_out.map_or(Bound::Unbounded, Bound::Excluded);
        let Some((&mark, waiting)) = queue.owed.range_mut((after, Bound::Unbounded)).next() else {
            return Next::Nothing;
        };
        match waiting.message.take() {
            Some(message) => {
                queue.in_memory -= 1;
                queue.handed_out = Some(mark);
                Next::Send { mark, message, may_have_arrived: waiting.may_have_arrived }
            }
            None => Next::Fetch(mark.entry),
        }
    }

    /// Gives back the messages of an entry that was read again. Those that it should hold and does not can't be told any
    /// more: returns their marks.
    pub fn refill(&mut self, sink: &str, number: u64, entry: Option<&Entry>) -> Vec<Mark> {
        let Some(queue) = self.queues.get_mut(sink) else { return Vec::new() };
        let range = Mark { entry: number, index: 0 }..=Mark { entry: number, index: u32::MAX };
        let mut lost = Vec::new();
        for (mark, waiting) in queue.owed.range_mut(range) {
            let on_its_way = queue.handed_out.is_some_and(|handed_out| *mark <= handed_out);
            if on_its_way || waiting.message.is_some() {
                continue;
            }
            let owed = entry.and_then(|entry| entry.owed.get(usize::try_from(mark.index).ok()?));
            match owed.filter(|owed| owed.sink == sink) {
                Some(owed) => {
                    waiting.message = Some(owed.message.clone());
                    queue.in_memory += 1;
                }
                None => lost.push(*mark),
            }
        }
        for mark in &lost {
            queue.owed.remove(mark);
        }
        lost
    }

    /// A message needs no more telling. False if nobody was owed it.
    pub fn settle(&mut self, mark: Mark) -> bool {
        self.queues.values_mut().any(|queue| queue.settle(mark))
    }

    /// Whether a sink is owed the message that stands there.
    pub fn is_owed(&self, sink: &str, mark: Mark) -> bool {
        self.queues.get(sink).is_some_and(|queue| queue.owed.contains_key(&mark))
    }

    /// How many messages are owed.
    pub fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.owed.len()).sum()
    }

    /// Whether nobody is owed anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything owed: sink and mark.
    pub fn marks(&self) -> impl Iterator<Item = (&str, Mark)> {
        let of_queue = |(sink, queue)| {
            let (sink, queue): (&Arc<str>, &Queue) = (sink, queue);
            queue.owed.keys().map(move |mark| (&**sink, *mark))
        };
        self.queues.iter().flat_map(of_queue)
    }
}

impl Queue {
    fn put(&mut self, mark: Mark, message: Option<Message>, may_have_arrived: bool) {
        let message = message.filter(|_| self.in_memory < MAX_IN_MEMORY);
        self.in_memory += usize::from(message.is_some());
        self.owed.insert(mark, Waiting { message, may_have_arrived });
    }

    fn settle(&mut self, mark: Mark) -> bool {
        let settled = self.owed.remove(&mark);
        if settled.as_ref().is_some_and(|waiting| waiting.message.is_some()) {
            self.in_memory -= 1;
        }
        settled.is_some()
    }
}
