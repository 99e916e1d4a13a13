//! A partition's worker: takes the source's events in order, and is the only one that feeds the partition's log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Partitions;
use super::batch::{BatchProgress, Pause, note};
use super::shared::Shared;
use super::writer::now;
use crate::clock;
use crate::engine::{Attached, BlindReason, Outlook, Output, Proof};
use crate::source::{Delivery, Event};
use crate::store::decoding::{Decoding, Treatment};

/// How often a silent partition looks whether the clocks of the others have moved.
const IDLE: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    partitions: Arc<Partitions>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    /// The attachment that events have to be of; what came on an earlier one and waited is dropped.
    attachment: u64,
    decoding: Decoding,
}

impl Worker {
    pub(super) fn new(
        partitions: Arc<Partitions>,
        shared: Arc<Shared>,
        events: mpsc::Receiver<Event>,
        decoding: Decoding,
    ) -> Self {
        Self { partitions, shared, events, attachment: 0, decoding }
    }

    /// Runs until the process is to stop.
    pub(super) async fn run(mut self) {
        self.work().await;
        self.decoding.end();
    }

    async fn work(&mut self) {
        let stop = self.partitions.environment.stop.clone();
        loop {
            self.alive();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = self.events.recv() => event,
                () = tokio::time::sleep(IDLE) => {
                    self.settle();
                    continue;
                }
            };
            let Some(event) = event else { return };
            let handled = self.handle(event);
            if stop.run_until_cancelled(handled).await.is_none() {
                return;
            }
        }
    }

    /// Somebody may look whether it makes progress. Waiting for room is none.
    fn alive(&self) {
        self.shared.alive_ms.store(clock::boot_ms(), Ordering::Release);
    }

    async fn handle(&mut self, event: Event) {
        self.partitions.tell_clocks(&self.shared);
        match event {
            Event::Attached { attachment, attached } => self.attach(attachment, attached).await,
            Event::Batch { attachment, deliveries } if attachment == self.attachment => {
                self.apply(deliveries).await;
            }
            Event::Proof { attachment, proof } if attachment == self.attachment => {
                self.prove(proof).await;
            }
            Event::Batch { .. } | Event::Proof { .. } => {}
            Event::Blind { reason, detail } => self.blind(reason, &detail),
        }
        self.settle();
    }

    async fn attach(&mut self, attachment: u64, attached: Attached) {
        self.attachment = attachment;
        let mut out = Output::default();
        self.shared.desk().attach(attached, now(), &mut out);
        note(&self.shared, &mut out);
        self.fire().await;
    }

    async fn apply(&mut self, deliveries: Vec<Delivery>) {
        if self.decoding.is_calm() {
            return self.apply_as(deliveries, Treatment::Together).await;
        }
        let mut together = Vec::new();
        for delivery in deliveries {
            match self.decoding.treatment(&delivery.raw, delivery.sequence) {
                Treatment::Together => together.push(delivery),
                how @ (Treatment::Alone | Treatment::Refused) => {
                    self.apply_as(std::mem::take(&mut together), Treatment::Together).await;
                    self.apply_as(vec![delivery], how).await;
                }
            }
        }
        self.apply_as(together, Treatment::Together).await;
    }

    async fn apply_as(&mut self, deliveries: Vec<Delivery>, how: Treatment) {
        let last = deliveries.last().map(|delivery| delivery.sequence);
        let mut batch = BatchProgress::new(deliveries, how == Treatment::Refused);
        while !batch.is_done() {
            match self.advance(&mut batch, how) {
                Pause::Full => {
                    self.decoding.end();
                    self.wait_for_room().await;
                }
                Pause::MoreToFire | Pause::Told if batch.is_done() => {}
                Pause::MoreToFire | Pause::Told => tokio::task::yield_now().await,
            }
        }
        self.decoding.end();
        self.fire().await;
        self.bury(std::mem::take(&mut batch.dead)).await;
        if let Some(sequence) = last {
            self.decoding.passed(sequence);
            let committed = self.shared.desk().acknowledge(self.attachment, sequence, now());
            self.shared.acknowledge(committed);
        }
    }

    /// Applies some messages, with a note of what is being decoded. Suspects of all partitions are decoded one after the
    /// other: of two at once it could not be said which one ended the process.
    fn advance(&mut self, batch: &mut BatchProgress, how: Treatment) -> Pause {
        match (how, batch.first()) {
            (Treatment::Alone, Some(suspect)) => {
                let partitions = self.partitions.clone();
                let _one_at_a_time =
                    partitions.suspects.lock().unwrap_or_else(PoisonError::into_inner);
                self.decoding.begin_alone(&suspect.raw);
                let pause = batch.advance(&self.partitions, &self.shared);
                self.decoding.end();
                pause
            }
            (Treatment::Together | Treatment::Alone | Treatment::Refused, _) => {
                if let (Treatment::Together, Some((first, last))) = (how, batch.places()) {
                    self.decoding.begin(first, last);
                }
                batch.advance(&self.partitions, &self.shared)
            }
        }
    }

    /// Until something is durable or delivered. Meanwhile the source gives no more credit, and the broker holds the backlog.
    async fn wait_for_room(&self) {
        self.shared.ledger.wake.notify_one();
        let room = self.shared.ledger.room.notified();
        let _looked = tokio::time::timeout(IDLE, room).await;
    }

    async fn prove(&mut self, proof: Proof) {
        let held = self.partitions.pulse.held(clock::boot_ms());
        {
            let mut desk = self.shared.desk();
            desk.hold(held.is_some());
            desk.prove(proof);
        }
        self.fire().await;
    }

    fn blind(&mut self, reason: BlindReason, detail: &str) {
        tracing::warn!(
            source = %self.shared.key.source,
            partition = %self.shared.key.partition,
            reason = reason.as_str(),
            detail,
            "blind: nobody on this partition is judged"
        );
        self.shared.desk().blind(reason);
    }

    /// Fires what is due, with turns for others in between.
    async fn fire(&mut self) {
        loop {
            if self.shared.desk().book().is_full() {
                self.wait_for_room().await;
                continue;
            }
            let done = self.partitions.fire_some(&self.shared);
            self.alive();
            if done {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// After every event: the end of a replay ends the muting, others are answered, and the source learns how far things are.
    fn settle(&mut self) {
        let (Outlook { clock, next_deadline, .. }, heard) = {
            let desk = self.shared.desk();
            self.shared.tell_clock(&desk);
            let heard = if desk.is_recovering() { None } else { desk.engine().heard() };
            (desk.engine().outlook(), heard)
        };
        self.shared.tell_heard(heard);
        self.partitions.answer_deferred(&self.shared);
        let is_due = {
            let mut desk = self.shared.desk();
            desk.settle(now());
            desk.due_ms().is_some()
        };
        if is_due {
            self.shared.ledger.wake.notify_one();
        }
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.clock != clock || progress.next_deadline != next_deadline;
            progress.clock = clock;
            progress.next_deadline = next_deadline;
            changed
        });
    }

    async fn bury(&self, letters: Vec<crate::store::dead_letter::DeadLetter>) {
        for letter in letters {
            tracing::warn!(
                source = %self.shared.key.source,
                partition = %self.shared.key.partition,
                sequence = letter.sequence,
                reason = letter.reason,
                detail = letter.detail,
                "a message could not be read and went to the dead letters"
            );
            if let Err(error) = self.partitions.environment.dead_letters.put(&letter).await {
                self.shared.counters.dead_letters_failed.increment(1);
                tracing::error!(%error, "a message that could not be read is not kept");
            }
        }
    }
}
