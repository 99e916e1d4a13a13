//! Reads the properties of silent partitions, so that each can be shown to hold nothing unread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::management::Management;
use super::partition::{Answer, Evidence};
use super::schedule::{Choice, View, choose};
use crate::clock;
use crate::engine::{BlindReason, Millis, Timestamp};
use crate::source::Progress;
use crate::source::amqp_link::broker_clock::BrokerClock;
use crate::source::amqp_link::dial::sleep_ms;
use crate::source::amqp_link::link_error::LinkError;

/// No reads for this long after the broker has asked for less.
const THROTTLED_MS: Millis = 2_000;

/// A partition as the prover sees it.
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) evidence: Arc<Evidence>,
    pub(super) answers: mpsc::Sender<Answer>,
    pub(super) asked_boot_ms: Millis,
    pub(super) under_way: bool,
}

impl Subject {
    fn view(&self) -> View {
        let progress = *self.progress.borrow();
        let evidence_boot_ms = self.evidence.boot_ms.load(Ordering::Relaxed);
        let proven_at_ms = self.evidence.proven_at_ms.load(Ordering::Relaxed);
        View {
            clock: progress.clock,
            next_deadline: progress.next_deadline,
            asked_boot_ms: self.asked_boot_ms,
            evidence_boot_ms,
            proven_at: (proven_at_ms != 0).then_some(Timestamp::from_ms(proven_at_ms)),
            busy: self.under_way || evidence_boot_ms == 0,
        }
    }
}

/// Asks until a read fails in a way that says that the connection is gone.
pub(super) async fn prove(
    management: Arc<Management>,
    clock: BrokerClock,
    mut subjects: Vec<Subject>,
) -> Result<(), LinkError> {
    let mut reads = JoinSet::new();
    let mut last_ask_boot_ms = Millis::MIN;
    loop {
        let views: Vec<View> = subjects.iter().map(Subject::view).collect();
        let boot_ms = clock::boot_ms();
        match choose(&views, last_ask_boot_ms, boot_ms, clock.now()) {
            Choice::Ask(index) => {
                last_ask_boot_ms = boot_ms;
                let subject = &mut subjects[index];
                subject.asked_boot_ms = boot_ms;
                subject.under_way = true;
                let (id, management) = (subject.id.clone(), management.clone());
                let asked_at = clock.now();
                reads.spawn(async move {
                    let read = management.partition(&id).await;
                    (index, read.map(|properties| Answer { asked_at, properties }))
                });
            }
            Choice::Wait(wait_ms) => tokio::select! {
                () = sleep_ms(wait_ms) => {}
                Some(Ok((index, read))) = reads.join_next() => {
                    let subject = &mut subjects[index];
                    subject.under_way = false;
                    match read {
                        // A partition that is busy sending has newer evidence than this.
                        Ok(answer) => drop(subject.answers.try_send(answer)),
                        Err(error) if error.consequence().reason == BlindReason::Throttled => {
                            last_ask_boot_ms = boot_ms + THROTTLED_MS;
                        }
                        Err(error) => return Err(error),
                    }
                }
            },
        }
    }
}
