//! The life of one attachment: deliveries in, acknowledgements and questions out.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use metrics::Counter;
use tokio_util::sync::CancellationToken;

use super::asking;
use super::attach::{Receiver, Sole};
use super::link::{self, Broken};
use super::message;
use super::time::{Now, QueueTime};
use crate::clock;
use crate::config::{Amqp091Config, QueueType};
use crate::engine::{Attached, BlindReason, Millis, Proof};
use crate::source::{Delivery as Received, Event, MAX_BATCH, PartitionLink, Progress};
use crate::wire::RawMessage;

/// How often to look whether we are the only consumer left, and whether the broker still answers where no proof is asked.
const SHARED_RETRY_MS: Millis = 10_000;

/// How an attachment ended without being broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// We were asked to stop.
    Stopped,
    /// The worker is gone.
    NobodyListens,
    /// The other consumers are gone: attaching again may prove that we are alone.
    AloneAgain,
}

/// Why an attachment is over.
#[derive(Debug)]
pub(super) enum Over {
    Ended(Ended),
    Broken(Broken),
}

impl From<Broken> for Over {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What outlives an attachment.
pub(super) struct Feed {
    pub(super) config: Amqp091Config,
    pub(super) partition: PartitionLink,
    pub(super) stop: CancellationToken,
    pub(super) time: QueueTime,
    pub(super) proofs: Counter,
    /// Number of the attachment.
    pub(super) attachment: u64,
    /// Deliveries of this process, for queues.
    pub(super) delivered: i64,
    /// Where a stream goes on.
    pub(super) resume: Option<i64>,
}

/// An attachment at work.
pub(super) struct Session<'a> {
    feed: &'a mut Feed,
    receiver: Receiver,
    /// Delivered and not acknowledged: sequence and delivery tag, both growing. At most `prefetch`.
    unacknowledged: VecDeque<(i64, u64)>,
    attached_ms: Millis,
    asked_ms: Option<Millis>,
}

/// The time on both clocks.
pub(super) fn now() -> Now {
    Now { boot_ms: clock::boot_ms(), wall: clock::wall() }
}

impl Feed {
    /// Hands an event to the worker; waits while its queue is full.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Over> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Over::Ended(Ended::Stopped)),
            told = self.partition.events.send(event) => {
                told.map_err(|_| Over::Ended(Ended::NobodyListens))
            }
        }
    }

    /// Announces an attachment, and whether it can be observed.
    async fn announce(&mut self, receiver: &Receiver) -> Result<(), Over> {
        self.attachment += 1;
        let asked = receiver.asked.unwrap_or_else(now);
        let attached = Attached {
            at: self.time.at(asked),
            error_ms: self.time.error_ms(asked),
            stream: None,
            first_available: receiver.first_available,
            backlog: receiver.backlog,
            dating: self.time.dating(),
        };
        self.tell(Event::Attached { attachment: self.attachment, attached }).await?;
        match &receiver.sole {
            None | Some(Sole::Proven) => Ok(()),
            Some(Sole::Others(detail) | Sole::Unknowable(detail)) => {
                self.tell(Event::Blind { reason: BlindReason::Shared, detail: detail.clone() })
                    .await
            }
        }
    }
}

impl<'a> Session<'a> {
    /// Works until something ends it.
    pub(super) async fn run(feed: &'a mut Feed, mut receiver: Receiver) -> Over {
        if let Err(over) = feed.announce(&receiver).await {
            return over;
        }
        let early = std::mem::take(&mut receiver.early);
        let mut session = Self {
            feed,
            receiver,
            unacknowledged: VecDeque::new(),
            attached_ms: clock::boot_ms(),
            asked_ms: None,
        };
        match session.work(early).await {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn work(&mut self, early: Vec<Delivery>) -> Result<std::convert::Infallible, Over> {
        self.hand_over(early).await?;
        let stop = self.feed.stop.clone();
        loop {
            let wait = self.wait_to_ask();
            tokio::select! {
                () = stop.cancelled() => {
                    self.acknowledge().await?;
                    return Err(Over::Ended(Ended::Stopped));
                }
                changed = self.feed.partition.progress.changed() => {
                    changed.map_err(|_| Over::Ended(Ended::NobodyListens))?;
                    self.acknowledge().await?;
                }
                next = self.receiver.consumer.next() => {
                    let first = link::taken(next)?;
                    self.hand_over(vec![first]).await?;
                }
                () = tokio::time::sleep(wait) => self.ask().await?,
            }
        }
    }

    /// Sends these deliveries and all others that have arrived, in batches.
    async fn hand_over(&mut self, mut deliveries: Vec<Delivery>) -> Result<(), Over> {
        loop {
            while deliveries.len() < MAX_BATCH {
                match link::ready(&mut self.receiver.consumer)? {
                    Some(delivery) => deliveries.push(delivery),
                    None => break,
                }
            }
            let rest = deliveries.split_off(deliveries.len().min(MAX_BATCH));
            if deliveries.is_empty() {
                return Ok(());
            }
            let event = Event::Batch {
                attachment: self.feed.attachment,
                deliveries: self.take_in(deliveries)?,
            };
            self.feed.tell(event).await?;
            deliveries = rest;
        }
    }

    fn take_in(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<Received>, Broken> {
        let now = now();
        let mut received = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let sequence = self.sequence(&delivery)?;
            self.unacknowledged.push_back((sequence, delivery.delivery_tag));
            let message = message::convert(delivery);
            self.feed.time.observe(&message, now);
            received.push(Received {
                raw: RawMessage::Amqp091(Box::new(message)),
                sequence,
                received_at: self.feed.time.at(now),
            });
        }
        Ok(received)
    }

    /// The place of a delivery in its partition. A stream goes on behind it after a break.
    fn sequence(&mut self, delivery: &Delivery) -> Result<i64, Broken> {
        match self.feed.config.queue_type {
            QueueType::Classic | QueueType::Quorum => {
                self.feed.delivered += 1;
                Ok(self.feed.delivered)
            }
            QueueType::Stream => {
                let offset = message::stream_offset(delivery).ok_or_else(|| {
                    Broken::link_down("the broker sent a message of a stream without its offset")
                })?;
                self.feed.resume = Some(offset.saturating_add(1));
                Ok(offset)
            }
        }
    }

    /// Acknowledges what the worker has finished, if it came on this attachment: tags mean nothing on another channel.
    async fn acknowledge(&mut self) -> Result<(), Over> {
        let acknowledge = self.feed.partition.progress.borrow_and_update().acknowledge;
        let Some((attachment, upto)) = acknowledge else {
            return Ok(());
        };
        if attachment != self.feed.attachment {
            return Ok(());
        }
        let mut tag = None;
        while let Some((_, finished)) =
            self.unacknowledged.pop_front_if(|(sequence, _)| *sequence <= upto)
        {
            tag = Some(finished);
        }
        match tag {
            Some(tag) => Ok(link::acknowledge(&self.receiver.channel, tag).await?),
            None => Ok(()),
        }
    }

    /// How long until there is something to ask.
    fn wait_to_ask(&self) -> Duration {
        let now = now();
        let ms = if self.can_prove() {
            let progress: Progress = *self.feed.partition.progress.borrow();
            let since = self.asked_ms.map(|asked| now.boot_ms - asked);
            asking::wait_ms(progress, self.feed.time.at(now), since)
        } else {
            SHARED_RETRY_MS - (now.boot_ms - self.asked_ms.unwrap_or(self.attached_ms))
        };
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Only a classic queue answers from the process that also sends us its messages. In a cluster a quorum queue sends
    /// from the nearest replica but answers from its leader, so "nothing ready" can overtake messages.
    fn can_prove(&self) -> bool {
        self.feed.config.queue_type == QueueType::Classic
            && self.receiver.sole == Some(Sole::Proven)
    }

    /// Asks the broker whether anything is left, or whether we are alone.
    async fn ask(&mut self) -> Result<(), Over> {
        let at = self.feed.time.at(now());
        match &self.receiver.sole {
            Some(Sole::Proven) if self.can_prove() => self.prove(at).await?,
            Some(Sole::Others(_)) => {
                let (_, consumers) = self.counts().await?;
                if consumers <= 1 {
                    return Err(Over::Ended(Ended::AloneAgain));
                }
            }
            // A question keeps a broker from being silent for longer than an answer may take.
            None | Some(Sole::Proven | Sole::Unknowable(_)) => {
                self.counts().await?;
            }
        }
        self.asked_ms = Some(clock::boot_ms());
        Ok(())
    }

    /// A proof is an empty queue, and the arrival of all that was sent before the answer.
    async fn prove(&mut self, at: crate::engine::Timestamp) -> Result<(), Over> {
        if self.unacknowledged.len() >= usize::from(self.feed.config.prefetch) {
            return Ok(()); // Nothing more can be delivered, so nothing can be proven.
        }
        // Zero consumers, although we are one: the broker answered without asking the queue.
        let (ready, consumers) = self.counts().await?;
        if ready > 0 || consumers == 0 {
            return Ok(());
        }
        // The broker's channel handles one thing after the other: what the queue sent before its answer to the question
        // above is delivered before this is answered.
        link::qos(&self.receiver.channel, self.feed.config.prefetch).await?;
        self.hand_over(Vec::new()).await?;
        self.feed.proofs.increment(1);
        self.feed
            .tell(Event::Proof {
                attachment: self.feed.attachment,
                proof: Proof { at, last_enqueued: None },
            })
            .await
    }

    async fn counts(&self) -> Result<(u32, u32), Broken> {
        link::counts(&self.receiver.channel, &self.feed.config.queue).await
    }
}
