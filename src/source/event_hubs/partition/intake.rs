//! An attached receiver of one partition.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use fe2o3_amqp::types::messaging::Data;
use fe2o3_amqp::{Delivery as Received, Receiver};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::super::start::Position;
use super::{Answer, Evidence, Partition, Shared};
use crate::clock;
use crate::engine::{Attached, Backlog, Dating, Millis, Proof, Timestamp};
use crate::source::amqp_link::CREDIT_SLACK;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::{Delivery, Event, MAX_BATCH};
use crate::wire::RawMessage;
use crate::wire::amqp10::log_position;

/// The broker says that there is more, we wait for it, and it doesn't come: after this long a new connection is made.
const STALLED_MS: Millis = 30_000;

/// An attached receiver.
pub(super) struct Intake<'a> {
    pub(super) partition: &'a mut Partition,
    pub(super) receiver: Receiver,
    pub(super) shared: &'a Shared,
    pub(super) evidence: &'a Evidence,
    /// Everything up to here is handed over, or was before this attachment.
    pub(super) applied: Option<i64>,
    /// Where this attachment began.
    pub(super) began: Option<i64>,
    /// Credit used since it was last topped up.
    pub(super) used: u32,
    /// An answer that names messages which have not come yet.
    pub(super) waiting: Option<Answer>,
}

impl Intake<'_> {
    pub(super) async fn run(
        &mut self,
        answers: &mut mpsc::Receiver<Answer>,
    ) -> Result<(), LinkError> {
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
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(received) = next {
            let raw = Bytes::from(received.into_body().0.into_vec());
            let before = position.clone();
            metric = self.place(&raw, &mut position);
            let sequence = position.as_ref().map_or(0, |position| position.sequence);
            if self.is_behind_a_hole(deliveries.last(), sequence) {
                self.hand_over(std::mem::take(&mut deliveries), before).await?;
                self.attach_again(sequence).await?;
            }
            deliveries.push(Delivery {
                sequence,
                raw: RawMessage::Amqp10(raw),
                received_at: Timestamp::MIN,
            });
            taken += 1;
            next = match taken < MAX_BATCH {
                true => self.receiver.recv::<Data>().now_or_never().transpose()?,
                false => None,
            };
        }
        self.hand_over(deliveries, position).await?;
        self.top_up().await?;
        match metric {
            Some((last, at)) if Some(last) == self.applied => self.send_proof(at, last).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn hand_over(
        &mut self,
        mut deliveries: Vec<Delivery>,
        position: Option<Position>,
    ) -> Result<(), LinkError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        // Only now, since the stamps of these very messages may be the first to tell the broker's time.
        let received_at = self.shared.clock.now();
        for delivery in &mut deliveries {
            delivery.received_at = received_at;
        }
        self.used = self.used.saturating_add(u32::try_from(deliveries.len()).unwrap_or(u32::MAX));
        self.partition
            .send(Event::Batch { attachment: self.partition.attachment, deliveries })
            .await?;
        self.applied = position.as_ref().map(|position| position.sequence);
        self.partition.position = position;
        self.evidence.boot_ms.store(clock::boot_ms(), Ordering::Relaxed);
        Ok(())
    }

    /// A log numbers its messages one by one, so what is missing in front of this one aged out before it was delivered. Where
    /// that guess is wrong, nobody is judged falsely: deadlines are put off by a window.
    fn is_behind_a_hole(&self, before: Option<&Delivery>, sequence: i64) -> bool {
        let applied = self.applied.filter(|_| self.applied != self.began);
        let last = before.map(|delivery| delivery.sequence).or(applied);
        last.is_some_and(|last| sequence > last.saturating_add(1))
    }

    /// A message behind a hole begins a new attachment, as if the receiver had been away meanwhile.
    async fn attach_again(&mut self, sequence: i64) -> Result<(), LinkError> {
        let asked_at = self.shared.clock.now();
        let properties = self.shared.management.partition(&self.partition.id).await?;
        let Partition { id, attachment, resets, .. } = &mut *self.partition;
        tracing::warn!(
            source = &*self.shared.source,
            partition = &**id,
            applied = self.applied,
            sequence,
            "messages aged out before they were read: the time in between can't be judged"
        );
        *attachment += 1;
        let attached = Attached {
            at: asked_at,
            stream: Some(self.shared.stream.wrapping_add(*resets)),
            first_available: Some(sequence),
            backlog: Backlog::UpTo(properties.last.max(sequence)),
            dating: Dating::EventTime,
        };
        let attachment = *attachment;
        self.partition.send(Event::Attached { attachment, attached }).await
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
