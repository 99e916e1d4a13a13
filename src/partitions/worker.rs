//! A partition's worker: takes the source's events in order, and is the only one that feeds the partition's log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::batch::{BatchProgress, FIRE_BUDGET, Pause, note};
use super::{Partitions, Shared};
use crate::clock;
use crate::engine::{Attached, Backlog, BlindReason, Outlook, Output, Proof};
use crate::source::{Delivery, Event};

/// How often a silent partition looks whether the clocks of the others have moved.
const IDLE: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    partitions: Arc<Partitions>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    /// The attachment that events have to be of; what came on an earlier one and waited is dropped.
    attachment: u64,
    /// The first attach begins a replay of old history.
    first_attach: bool,
}

impl Worker {
    pub(super) fn new(
        partitions: Arc<Partitions>,
        shared: Arc<Shared>,
        events: mpsc::Receiver<Event>,
    ) -> Self {
        Self { partitions, shared, events, attachment: 0, first_attach: true }
    }

    /// Runs until the process is to stop.
    pub(super) async fn run(mut self) {
        let stop = self.partitions.environment.stop.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = self.events.recv() => event,
                () = tokio::time::sleep(IDLE) => {
                    self.settle().await;
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
        self.settle().await;
    }

    async fn attach(&mut self, attachment: u64, attached: Attached) {
        self.attachment = attachment;
        if std::mem::take(&mut self.first_attach) && replays(attached.backlog) {
            self.shared.mute().await;
        }
        let mut out = Output::default();
        self.shared.engine().partition.attach(attached, &mut out);
        note(&self.shared, out);
        self.fire().await;
    }

    async fn apply(&mut self, deliveries: Vec<Delivery>) {
        let last = deliveries.last().map(|delivery| delivery.sequence);
        let mut batch = BatchProgress::new(deliveries);
        while !batch.is_done() {
            let pause = batch.advance(&self.partitions, &self.shared, clock::wall());
            if pause == Pause::MoreToFire || !batch.is_done() {
                self.send_decided().await;
                tokio::task::yield_now().await;
            }
        }
        self.fire().await;
        self.bury(std::mem::take(&mut batch.dead)).await;
        if let Some(sequence) = last {
            let acknowledge = Some((self.attachment, sequence));
            self.shared.progress.send_modify(|progress| progress.acknowledge = acknowledge);
        }
    }

    async fn prove(&mut self, proof: Proof) {
        self.shared.engine().partition.prove(proof);
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
        self.shared.engine().partition.blind(reason);
    }

    /// Fires what is due, with turns for others in between.
    async fn fire(&mut self) {
        loop {
            let mut out = Output::default();
            let done = {
                let mut engine = self.shared.engine();
                let done = engine.partition.fire(FIRE_BUDGET, &mut out);
                engine.decided.extend(out.transitions.drain(..));
                done
            };
            note(&self.shared, out);
            if done {
                return;
            }
            self.send_decided().await;
            tokio::task::yield_now().await;
        }
    }

    /// After every event: what was decided goes out, the end of a replay ends the muting, and the source learns how far
    /// things are.
    async fn settle(&mut self) {
        let Outlook { clock, blind, next_deadline } = self.shared.engine().partition.outlook();
        self.shared.told_clock_ms.store(clock.as_ms(), Ordering::Release);
        let environment = &self.partitions.environment;
        if !self.first_attach && blind.is_none() {
            self.shared.unmute(&environment.policy, &environment.router).await;
        }
        self.send_decided().await;
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.clock != clock || progress.next_deadline != next_deadline;
            progress.clock = clock;
            progress.next_deadline = next_deadline;
            changed
        });
    }

    async fn send_decided(&self) {
        let environment = &self.partitions.environment;
        self.shared.send_decided(&environment.policy, &environment.router).await;
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

/// Whether what an attachment begins with is old history up to a known end.
fn replays(backlog: Backlog) -> bool {
    match backlog {
        Backlog::UpTo(_) | Backlog::Count(_) => true,
        Backlog::Empty | Backlog::Endless => false,
    }
}
