//! An attached receiver of a queue: deliveries, acceptances, and drains that prove that nothing is left.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::Data;
use fe2o3_amqp::{Delivery as Received, Receiver};
use futures_util::FutureExt;
use metrics::{Counter, Gauge};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::queue_clock::QueueClock;
use crate::clock;
use crate::config::Amqp10Config;
use crate::engine::{Attached, Backlog, BlindReason, Millis, Proof, Timestamp};
use crate::source::amqp_link::connection::Connection;
use crate::source::amqp_link::guard::GuardHandle;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::{CREDIT_SLACK, DATA_LINK_PREFIX, LinkCounts, MAX_MESSAGE_BYTES};
use crate::source::{Delivery, Event, MAX_BATCH, PartitionLink, SourceContext};
use crate::wire::RawMessage;

const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether a proof is wanted.
const TICK: Duration = Duration::from_millis(100);
/// Between two drains.
const AGAIN_MS: Millis = 200;
/// A queue without messages and proofs for this long is drained although no deadline is near.
const IDLE_MS: Millis = 10_000;
/// A broker that has not answered a drain by then gives no proofs.
const DRAIN_TIMEOUT_MS: Millis = 10_000;
/// Neither does one whose links fail on drains. Once may be chance.
const MAX_FAILED_DRAINS: u32 = 2;

const NO_DRAINS: &str = "the broker does not answer drains: nothing can be proven of this queue; with RabbitMQ before 4.0 use amqp091";

/// What the source keeps over its connections.
pub(super) struct Feed {
    pub(super) config: Amqp10Config,
    pub(super) context: SourceContext,
    pub(super) partition: PartitionLink,
    pub(super) clock: QueueClock,
    pub(super) proofs: Counter,
    pub(super) connects: Counter,
    pub(super) connected: Gauge,
    pub(super) attachment: u64,
    /// Deliveries of this process: the sequence number of the last one.
    pub(super) delivered: i64,
    /// Links that failed while a drain was under way, without one that was answered in between.
    pub(super) failed_drains: u32,
}

impl Feed {
    async fn tell(&self, event: Event) -> Result<(), LinkError> {
        let told = self.partition.events.send(event).await;
        told.map_err(|_| LinkError::Ended("the partition's worker has ended".to_owned()))
    }

    async fn announce(&mut self, at: Timestamp) -> Result<(), LinkError> {
        self.attachment += 1;
        self.tell(Event::Attached {
            attachment: self.attachment,
            attached: Attached {
                at,
                error_ms: self.clock.error_ms(),
                stream: None,
                first_available: None,
                backlog: Backlog::Empty,
                dating: self.clock.dating(),
            },
        })
        .await
    }

    fn report(&self, degraded: Option<String>) {
        self.connected.set(1.0);
        self.context.status.send_modify(|status| {
            status.connects += u64::from(!status.connected);
            status.connected = true;
            status.reason = degraded;
        });
    }
}

/// Attaches and receives until the link fails.
pub(super) async fn receive(connection: &mut Connection, feed: &mut Feed) -> Result<(), LinkError> {
    let mut session = connection.begin().await?;
    let receiver = attach(&mut session, feed).await?;
    feed.connects.increment(1);
    tracing::info!(source = &*feed.context.name, "attached");
    let guard = connection.guard();
    let gives_proofs = feed.failed_drains < MAX_FAILED_DRAINS && !guard.peer_is_old_rabbitmq();
    let mut intake = Intake {
        first_attachment: feed.attachment + 1,
        attached_boot_ms: clock::boot_ms(),
        guard: connection.guard().clone(),
        link: receiver.name().to_owned(),
        receiver,
        feed,
        unsettled: VecDeque::new(),
        received: 0,
        live: false,
        drain: None,
        gives_proofs,
        asked_boot_ms: 0,
        evidence_boot_ms: clock::boot_ms(),
    };
    let ended = intake.run().await;
    if intake.drain.is_some_and(|drain| drain.answer.is_none()) {
        intake.feed.failed_drains += 1;
    }
    ended
}

async fn attach(session: &mut SessionHandle<()>, feed: &Feed) -> Result<Receiver, LinkError> {
    let attach = Receiver::builder()
        .name(format!("{DATA_LINK_PREFIX}{}", feed.attachment))
        .source(feed.config.address.clone())
        .sender_settle_mode(SenderSettleMode::Unsettled)
        .credit_mode(CreditMode::Manual)
        .max_message_size(MAX_MESSAGE_BYTES as u64 + 64)
        .verify_incoming_source(false)
        .attach(session);
    let mut receiver = timeout(ATTACH_TIMEOUT, attach)
        .await
        .map_err(|_| LinkError::Timeout("attaching a receiver"))??;
    receiver.set_credit(feed.config.credit + CREDIT_SLACK).await?;
    Ok(receiver)
}

/// A drain that was asked for.
#[derive(Clone, Copy)]
struct Drain {
    asked_at: Timestamp,
    asked_boot_ms: Millis,
    /// What was known of the link when it was asked for.
    before: LinkCounts,
    /// The broker's answer.
    answer: Option<LinkCounts>,
}

struct Intake<'a> {
    feed: &'a mut Feed,
    receiver: Receiver,
    guard: GuardHandle,
    link: String,
    /// Messages of this link have this attachment or a later one.
    first_attachment: u64,
    attached_boot_ms: Millis,
    /// Delivered and not accepted, in order. At most the credit.
    unsettled: VecDeque<(i64, DeliveryInfo)>,
    /// Messages taken from the link.
    received: u64,
    /// The queue was seen empty after the lock time: what comes is new.
    live: bool,
    drain: Option<Drain>,
    gives_proofs: bool,
    asked_boot_ms: Millis,
    evidence_boot_ms: Millis,
}

impl Intake<'_> {
    async fn run(&mut self) -> Result<(), LinkError> {
        self.begin().await?;
        let mut progress = self.feed.partition.progress.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let drains = self.drain.filter(|drain| drain.answer.is_none());
            let wanted = drains.map(|drain| drain.before.drains + 1);
            tokio::select! {
                received = self.receiver.recv::<Data>() => self.batch(received?).await?,
                counts = self.guard.drained(&self.link, wanted.unwrap_or(u64::MAX)) => {
                    if let Some(drain) = &mut self.drain {
                        drain.answer = Some(counts);
                        self.feed.failed_drains = 0;
                    }
                }
                Ok(()) = progress.changed() => self.accept().await?,
                _ = tick.tick() => self.ask().await?,
            }
            self.conclude().await?;
        }
    }

    /// Says that it is attached, and why that is not yet, or never, enough.
    async fn begin(&mut self) -> Result<(), LinkError> {
        let at = self.feed.clock.now();
        self.feed.announce(at).await?;
        let (reason, detail) = if !self.feed.config.sole_consumer {
            let detail = "others may receive from this queue; set sole_consumer if nobody does";
            (BlindReason::Shared, detail)
        } else if self.gives_proofs {
            (BlindReason::Lagging, "what the queue held at the attach is being read")
        } else {
            (BlindReason::Stalled, NO_DRAINS)
        };
        let detail = detail.to_owned();
        self.feed.report(Some(detail.clone()));
        self.feed.tell(Event::Blind { reason, detail }).await
    }

    async fn batch(&mut self, first: Received<Data>) -> Result<(), LinkError> {
        let received_at = self.feed.clock.now();
        let mut deliveries = Vec::with_capacity(16);
        let mut next = Some(first);
        while let Some(received) = next {
            self.received += 1;
            self.feed.delivered += 1;
            self.unsettled.push_back((self.feed.delivered, DeliveryInfo::from(&received)));
            deliveries.push(Delivery {
                raw: RawMessage::Amqp10(Bytes::from(received.into_body().0.into_vec())),
                sequence: self.feed.delivered,
                received_at,
            });
            next = match deliveries.len() < MAX_BATCH {
                true => self.receiver.recv::<Data>().now_or_never().transpose()?,
                false => None,
            };
        }
        if let Some(last) = deliveries.last() {
            self.feed.clock.observe(&last.raw);
        }
        let attachment = self.feed.attachment;
        self.feed.tell(Event::Batch { attachment, deliveries }).await?;
        self.evidence_boot_ms = clock::boot_ms();
        self.accept().await
    }

    /// Accepts what may be, in ranges, and tops up the credit by it.
    async fn accept(&mut self) -> Result<(), LinkError> {
        let progress = *self.feed.partition.progress.borrow();
        if let Some((attachment, sequence)) = progress.acknowledge
            && attachment >= self.first_attachment
        {
            let done = self.unsettled.partition_point(|(own, _)| *own <= sequence);
            if done > 0 {
                let accepted = self.unsettled.drain(..done).map(|(_, info)| info);
                self.receiver.accept_all(accepted.collect::<Vec<_>>()).await?;
            }
        }
        let left = self.left();
        let room = self.room();
        if self.drain.is_none() && room > left && (room - left) * 2 >= self.feed.config.credit {
            self.receiver.set_credit(room + CREDIT_SLACK).await?;
        }
        Ok(())
    }

    /// Credit that the broker has left.
    fn left(&self) -> u32 {
        self.receiver.credit().saturating_sub(CREDIT_SLACK)
    }

    /// How many more messages may be under way.
    fn room(&self) -> u32 {
        let unsettled = u32::try_from(self.unsettled.len()).unwrap_or(u32::MAX);
        self.feed.config.credit.saturating_sub(unsettled)
    }

    /// Drains, if a proof is wanted and can be had.
    async fn ask(&mut self) -> Result<(), LinkError> {
        let boot_ms = clock::boot_ms();
        if let Some(drain) = &self.drain {
            if drain.answer.is_none() && boot_ms - drain.asked_boot_ms > DRAIN_TIMEOUT_MS {
                tracing::warn!(source = &*self.feed.context.name, "{NO_DRAINS}");
                self.gives_proofs = false;
                self.feed.report(Some(NO_DRAINS.to_owned()));
                self.end_drain().await?;
            }
            return Ok(());
        }
        let config = &self.feed.config;
        let may = config.sole_consumer
            && self.gives_proofs
            && boot_ms - self.attached_boot_ms >= config.lock_ms
            && boot_ms - self.asked_boot_ms >= AGAIN_MS
            && self.left() > 0;
        if may && (!self.live || self.wanted(boot_ms)) {
            self.asked_boot_ms = boot_ms;
            self.drain = Some(Drain {
                asked_at: self.feed.clock.now(),
                asked_boot_ms: boot_ms,
                before: self.guard.counts(&self.link),
                answer: None,
            });
            self.receiver.drain().await?;
        }
        Ok(())
    }

    fn wanted(&self, boot_ms: Millis) -> bool {
        let progress = *self.feed.partition.progress.borrow();
        let now = self.feed.clock.now();
        let due = progress
            .next_deadline
            .is_some_and(|deadline| progress.clock < deadline && now >= deadline);
        due || boot_ms - self.evidence_boot_ms.max(self.asked_boot_ms) >= IDLE_MS
    }

    /// Once everything that came before the answer has been handed over: credit that was left over is the proof.
    async fn conclude(&mut self) -> Result<(), LinkError> {
        let Some(Drain { asked_at, before, answer: Some(answer), .. }) = self.drain else {
            return Ok(());
        };
        if self.received < answer.drained_at {
            return Ok(());
        }
        self.end_drain().await?;
        if answer.skipped == before.skipped {
            return Ok(());
        }
        self.evidence_boot_ms = clock::boot_ms();
        if !self.live {
            self.live = true;
            self.feed.report(None);
            return self.feed.announce(asked_at).await;
        }
        let attachment = self.feed.attachment;
        let proof = Proof { at: asked_at, last_enqueued: None };
        self.feed.tell(Event::Proof { attachment, proof }).await?;
        self.feed.proofs.increment(1);
        Ok(())
    }

    async fn end_drain(&mut self) -> Result<(), LinkError> {
        self.drain = None;
        let room = self.room();
        Ok(self.receiver.set_credit(room + CREDIT_SLACK).await?)
    }
}
