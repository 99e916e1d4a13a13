//! One partition: attaches a receiver, hands its messages over in order, and answers of the prover behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::{Fields, SenderSettleMode};
use fe2o3_amqp::types::messaging::{Data, Source};
use fe2o3_amqp::types::primitives::{Symbol, Value};
use fe2o3_amqp::{Delivery as Received, Receiver};
use futures_util::FutureExt;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::management::{Management, PartitionProperties};
use super::start::{Plan, Position, plan};
use crate::clock;
use crate::config::Start;
use crate::engine::{Attached, BlindReason, Dating, Millis, Proof, Timestamp};
use crate::journal::Resume;
use crate::source::amqp_link::broker_clock::BrokerClock;
use crate::source::amqp_link::dial::sleep_ms;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::{CREDIT_SLACK, DATA_LINK_PREFIX, MAX_MESSAGE_BYTES};
use crate::source::{Delivery, Event, MAX_BATCH, PartitionLink};
use crate::wire::RawMessage;
use crate::wire::amqp10::log_position;

const SELECTOR: &str = "apache.org:selector-filter:string";
/// The selector's number in the registry of AMQP filters.
const SELECTOR_CODE: u64 = 0x0000_468C_0000_0004;
const EPOCH: &str = "com.microsoft:epoch";
const RECEIVER_NAME: &str = "com.microsoft:receiver-name";
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a full channel may keep a partition from saying that it is blind; what follows says so too.
const BLIND_TIMEOUT: Duration = Duration::from_secs(1);
/// The broker says that there is more, we wait for it, and it doesn't come: after this long a new connection is made.
const STALLED_MS: Millis = 30_000;
/// The most times that a log has begun anew under one creation time: a stored stream is known by its distance from the
/// hash of today's.
const MAX_RESETS: u64 = 1_000;

/// An answer of the prover's.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Broker time at the asking.
    pub(super) asked_at: Timestamp,
    pub(super) properties: PartitionProperties,
}

/// What a partition keeps over its connections.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: String,
    pub(super) link: PartitionLink,
    attachment: u64,
    /// Of the last message handed over, and the log it was in.
    position: Option<Position>,
    stream: Option<u64>,
    /// Distinguishes logs whose creation time does not.
    resets: u64,
    /// Where an earlier process was, until it is known whether this is the same log.
    stored: Option<Resume>,
}

/// What all partitions of a connection are given.
pub(super) struct Shared {
    pub(super) source: Arc<str>,
    pub(super) entity: String,
    pub(super) consumer_group: String,
    pub(super) start: Start,
    pub(super) owner_level: Option<i64>,
    pub(super) credit: u32,
    /// Endpoint, entity and creation time, hashed.
    pub(super) stream: u64,
    pub(super) session: Mutex<SessionHandle<()>>,
    pub(super) management: Arc<Management>,
    pub(super) clock: BrokerClock,
    pub(super) stop: CancellationToken,
    /// How long to leave a partition to the receiver that took it.
    pub(super) stolen_wait_ms: Millis,
    pub(super) counters: Counters,
}

/// Counters of a source.
#[derive(Clone)]
pub(super) struct Counters {
    pub(super) unplaced: metrics::Counter,
    pub(super) proofs: metrics::Counter,
}

/// What the prover is told by a partition while it is attached.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Boot time of the last message or proof; 0 while not attached.
    pub(super) boot_ms: AtomicI64,
    /// Date of the last proof; 0 before the first.
    pub(super) proven_at_ms: AtomicI64,
}

/// A partition's ends towards the prover and the source.
pub(super) struct Attachments {
    pub(super) answers: mpsc::Receiver<Answer>,
    pub(super) evidence: Arc<Evidence>,
    /// Told the partition's state: `None` when attached, else why not.
    pub(super) report: mpsc::Sender<(String, Option<String>)>,
}

impl Partition {
    pub(super) fn new(id: String, link: PartitionLink) -> Self {
        let stored = link.resume;
        Self { id, link, attachment: 0, position: None, stream: None, resets: 0, stored }
    }

    /// Says that the partition can't be observed.
    pub(super) async fn blind(&self, reason: BlindReason, detail: String) {
        let blind = self.link.events.send(Event::Blind { reason, detail });
        let _ = timeout(BLIND_TIMEOUT, blind).await;
    }

    /// Receives until the connection is given up. A partition that another receiver took is left alone for a while.
    pub(super) async fn run(
        &mut self,
        shared: &Shared,
        ends: &mut Attachments,
    ) -> Result<(), LinkError> {
        loop {
            let ended = tokio::select! {
                ended = self.attach_and_receive(shared, ends) => ended,
                () = shared.stop.cancelled() => return Ok(()),
            };
            ends.evidence.boot_ms.store(0, Ordering::Relaxed);
            let error = match ended {
                Err(error) if error.is("amqp:link:stolen") => error,
                Err(error) if error.is("com.microsoft:georeplication:invalid-offset") => {
                    if let Some(position) = &mut self.position {
                        position.offset = None;
                    }
                    return Err(error);
                }
                other => return other,
            };
            let detail = format!("partition {}: {error}", self.id);
            tracing::warn!(source = &*shared.source, "{detail}; left to that receiver");
            let _ = ends.report.try_send((self.id.clone(), Some(detail.clone())));
            self.blind(BlindReason::NotOwner, detail).await;
            tokio::select! {
                () = sleep_ms(shared.stolen_wait_ms) => {}
                () = shared.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn attach_and_receive(
        &mut self,
        shared: &Shared,
        ends: &mut Attachments,
    ) -> Result<(), LinkError> {
        // What comes behind the end of the log as it is now is read live, however long attaching takes.
        let asked_at = shared.clock.now();
        let properties = shared.management.partition(&self.id).await?;
        let plan = self.plan(shared, &properties);
        let receiver = attach(shared, &self.id, &plan).await?;
        self.attachment += 1;
        self.stream = Some(shared.stream);
        let attached = Attached {
            at: asked_at,
            stream: Some(shared.stream.wrapping_add(self.resets)),
            first_available: Some(properties.begin),
            backlog: plan.backlog,
            dating: Dating::EventTime,
        };
        self.send(Event::Attached { attachment: self.attachment, attached }).await?;
        ends.evidence.boot_ms.store(clock::boot_ms(), Ordering::Relaxed);
        ends.evidence.proven_at_ms.store(0, Ordering::Relaxed);
        while ends.answers.try_recv().is_ok() {}
        let _ = ends.report.try_send((self.id.clone(), None));
        let mut intake = Intake {
            partition: self,
            receiver,
            shared,
            evidence: &ends.evidence,
            applied: plan.applied,
            began: plan.applied,
            used: 0,
            waiting: None,
        };
        intake.run(&mut ends.answers).await
    }

    fn plan(&mut self, shared: &Shared, properties: &PartitionProperties) -> Plan {
        if let Some(stored) = self.stored.take() {
            self.take_up(shared.stream, stored);
        }
        let same_log = self.stream == Some(shared.stream);
        if !same_log {
            self.position = None;
        }
        let another_before = !same_log && self.stream.is_some();
        let plan = plan(properties, self.position.as_ref(), another_before, shared.start);
        if plan.reset {
            self.resets += 1;
            self.position = None;
        }
        plan
    }

    /// Goes on where an earlier process was. Of another log it is known only that there was one.
    fn take_up(&mut self, stream: u64, stored: Resume) {
        let resets = stored.stream.map(|known| known.wrapping_sub(stream));
        match resets.filter(|&resets| resets <= MAX_RESETS) {
            Some(resets) => {
                self.resets = resets;
                self.stream = Some(stream);
                self.position = Some(Position { sequence: stored.after, offset: None });
            }
            None => self.stream = stored.stream,
        }
    }

    async fn send(&self, event: Event) -> Result<(), LinkError> {
        self.link
            .events
            .send(event)
            .await
            .map_err(|_| LinkError::Ended("the partition's worker has ended".to_owned()))
    }
}

async fn attach(shared: &Shared, id: &str, plan: &Plan) -> Result<Receiver, LinkError> {
    let group = &shared.consumer_group;
    let address = format!("{}/ConsumerGroups/{group}/Partitions/{id}", shared.entity);
    let selector = Described {
        descriptor: Descriptor::Code(SELECTOR_CODE),
        value: Value::String(plan.selector.clone()),
    };
    let mut properties = Fields::default();
    properties.insert(
        Symbol::from(RECEIVER_NAME),
        Value::String(format!("lastseen-{}", shared.source).chars().take(64).collect()),
    );
    if let Some(level) = shared.owner_level {
        properties.insert(Symbol::from(EPOCH), Value::Long(level));
    }
    let mut session = shared.session.lock().await;
    let attach = Receiver::builder()
        .name(format!("{DATA_LINK_PREFIX}{id}"))
        .source(Source::builder().address(address).add_to_filter(SELECTOR, selector).build())
        .properties(properties)
        .add_desired_capabilities(RUNTIME_METRIC)
        .sender_settle_mode(SenderSettleMode::Settled)
        .credit_mode(CreditMode::Manual)
        .max_message_size(MAX_MESSAGE_BYTES as u64 + 64)
        .verify_incoming_source(false)
        .attach(&mut session);
    let mut receiver = timeout(ATTACH_TIMEOUT, attach)
        .await
        .map_err(|_| LinkError::Timeout("attaching a receiver"))??;
    receiver.set_credit(shared.credit + CREDIT_SLACK).await?;
    Ok(receiver)
}

/// An attached receiver.
struct Intake<'a> {
    partition: &'a mut Partition,
    receiver: Receiver,
    shared: &'a Shared,
    evidence: &'a Evidence,
    /// Everything up to here is handed over, or was before this attachment.
    applied: Option<i64>,
    /// Where this attachment began.
    began: Option<i64>,
    /// Credit used since it was last topped up.
    used: u32,
    /// An answer that names messages which have not come yet.
    waiting: Option<Answer>,
}

impl Intake<'_> {
    async fn run(&mut self, answers: &mut mpsc::Receiver<Answer>) -> Result<(), LinkError> {
        loop {
            tokio::select! {
                received = self.receiver.recv::<Data>() => self.batch(received?).await?,
                Some(answer) = answers.recv() => {
                    self.stalled(&answer)?;
                    self.waiting = Some(answer);
                }
            }
            self.prove().await?;
        }
    }

    /// Hands over what is ready, without waiting for more.
    async fn batch(&mut self, first: Received<Data>) -> Result<(), LinkError> {
        let mut deliveries = Vec::with_capacity(16);
        let mut position = self.partition.position.clone();
        let mut metric = None;
        let mut next = Some(first);
        while let Some(received) = next {
            let raw = Bytes::from(received.into_body().0.into_vec());
            metric = self.place(&raw, &mut position);
            deliveries.push(Delivery {
                sequence: position.as_ref().map_or(0, |position| position.sequence),
                raw: RawMessage::Amqp10(raw),
                received_at: Timestamp::MIN,
            });
            self.used += 1;
            next = match deliveries.len() < MAX_BATCH {
                true => self.receiver.recv::<Data>().now_or_never().transpose()?,
                false => None,
            };
        }
        // Only now, since the stamps of these very messages may be the first to tell the broker's time.
        let received_at = self.shared.clock.now();
        for delivery in &mut deliveries {
            delivery.received_at = received_at;
        }
        self.partition
            .send(Event::Batch { attachment: self.partition.attachment, deliveries })
            .await?;
        self.applied = position.as_ref().map(|position| position.sequence);
        self.partition.position = position;
        self.evidence.boot_ms.store(clock::boot_ms(), Ordering::Relaxed);
        self.top_up().await?;
        match metric {
            Some((last, at)) if Some(last) == self.applied => self.send_proof(at, last).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Moves the position to a message. One that has none gets the next number. Returns the runtime metric: the log's last
    /// sequence number, and when the broker looked.
    fn place(&self, raw: &[u8], position: &mut Option<Position>) -> Option<(i64, Timestamp)> {
        let guess = position
            .as_ref()
            .map(|position| position.sequence)
            .or(self.applied)
            .map_or(0, |last| last.saturating_add(1));
        let found = log_position(raw).ok();
        let sequence = found.and_then(|found| found.sequence).unwrap_or_else(|| {
            self.shared.counters.unplaced.increment(1);
            guess
        });
        *position = Some(Position {
            sequence,
            offset: found.and_then(|found| found.offset).map(str::to_owned),
        });
        let found = found?;
        for stamp in [found.append_time, found.retrieved_at].into_iter().flatten() {
            self.shared.clock.observe(stamp);
        }
        Some((found.last_enqueued_sequence?, found.retrieved_at?))
    }

    /// Only after the worker has room, so that a slow worker leaves the backlog with the broker.
    async fn top_up(&mut self) -> Result<(), LinkError> {
        if self.used >= self.shared.credit / 2 {
            self.used = 0;
            self.receiver.set_credit(self.shared.credit + CREDIT_SLACK).await?;
        }
        Ok(())
    }

    /// Sends the proof that waits, once everything it speaks of has been handed over.
    async fn prove(&mut self) -> Result<(), LinkError> {
        let Some(answer) = &self.waiting else {
            return Ok(());
        };
        let last = answer.properties.last;
        if self.applied.is_none_or(|applied| applied < last) {
            return Ok(());
        }
        let at = answer.asked_at;
        self.waiting = None;
        self.send_proof(at, last).await
    }

    /// As long as nothing has come on this attachment there is nothing that has to be applied first: what the log held
    /// before is applied, not asked for, or gone, and then the worker has never heard of the place where it ends.
    async fn send_proof(&self, at: Timestamp, last: i64) -> Result<(), LinkError> {
        let proof = Proof { at, last_enqueued: Some(last).filter(|_| self.applied != self.began) };
        self.partition.send(Event::Proof { attachment: self.partition.attachment, proof }).await?;
        self.shared.counters.proofs.increment(1);
        self.evidence.boot_ms.store(clock::boot_ms(), Ordering::Relaxed);
        self.evidence.proven_at_ms.store(at.as_ms(), Ordering::Relaxed);
        Ok(())
    }

    fn stalled(&self, answer: &Answer) -> Result<(), LinkError> {
        let silent_ms = clock::boot_ms() - self.evidence.boot_ms.load(Ordering::Relaxed);
        let behind = self.applied.is_some_and(|applied| applied < answer.properties.last);
        if behind && silent_ms > STALLED_MS {
            return Err(LinkError::Stalled(format!(
                "partition {}: the broker has messages up to {} and delivers none",
                self.partition.id, answer.properties.last
            )));
        }
        Ok(())
    }
}
