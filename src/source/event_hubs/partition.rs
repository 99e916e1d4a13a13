//! One partition: attaches a receiver, hands its messages over in order, and answers of the prover behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::{Fields, SenderSettleMode};
use fe2o3_amqp::types::messaging::Source;
use fe2o3_amqp::types::primitives::{Symbol, Value};
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::management::{Management, PartitionProperties};
use super::start::{Plan, Position, plan};
use crate::clock;
use crate::config::Start;
use crate::engine::{Attached, BlindReason, Dating, Millis, Timestamp};
use crate::journal::Resume;
use crate::source::amqp_link::broker_clock::BrokerClock;
use crate::source::amqp_link::dial::sleep_ms;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::{CREDIT_SLACK, DATA_LINK_PREFIX, MAX_MESSAGE_BYTES};
use crate::source::{Event, PartitionLink};

mod intake;

use intake::Intake;

const SELECTOR: &str = "apache.org:selector-filter:string";
/// The selector's number in the registry of AMQP filters.
const SELECTOR_CODE: u64 = 0x0000_468C_0000_0004;
const EPOCH: &str = "com.microsoft:epoch";
const RECEIVER_NAME: &str = "com.microsoft:receiver-name";
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a full channel may keep a partition from saying that it is blind; what follows says so too.
const BLIND_TIMEOUT: Duration = Duration::from_secs(1);
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
