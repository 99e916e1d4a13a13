//! What becomes of each message: delivered, tried again, put into the dead letters, cancelled.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::alert::self_health::Notice;
use crate::clock;
use crate::sink::{Parcel, Settled, Settlement, Ticket};
use crate::store::dead_letter::{DeadLetterError, UndeliveredReason};

use super::Webhook;
use super::lanes::{Ending, Held, Lanes, MAX_HELD};
use super::outcome::{Attempt, Outcome};

/// Rejections after which a message is given up: the receiver has had two and a half minutes to change its mind, and an
/// answer to these very bytes will not become another one in three days.
const MAX_REJECTIONS: usize = 5;

/// What changes while an endpoint is served.
pub(super) struct Work<'a> {
    webhook: &'a Webhook,
    notices: &'a mpsc::Sender<Notice>,
    pub(super) lanes: Lanes,
    /// Settlements that wait until there is room for them.
    pub(super) unsent: VecDeque<Settled>,
    /// More messages may come.
    pub(super) is_open: bool,
    /// Nothing is tried again.
    pub(super) is_stopping: bool,
    /// Set by a 410, until the process is started again.
    pub(super) is_disabled: bool,
    /// Whether the next success is news: nothing has been delivered yet, or the last attempt failed.
    is_success_news: bool,
}

impl<'a> Work<'a> {
    pub(super) fn new(webhook: &'a Webhook, notices: &'a mpsc::Sender<Notice>) -> Self {
        Self {
            webhook,
            notices,
            lanes: Lanes::default(),
            unsent: VecDeque::new(),
            is_open: true,
            is_stopping: false,
            is_disabled: false,
            is_success_news: true,
        }
    }

    /// Whether another message can be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.lanes.len() + self.unsent.len() < MAX_HELD
    }

    /// Whether nothing is left to be done, given that nothing is under way. What is parked stays owed when it stops.
    pub(super) fn is_done(&self) -> bool {
        let takes_more = self.is_open && self.has_room();
        let is_left = !self.is_stopping && !self.lanes.is_empty();
        self.unsent.is_empty() && !is_left && !takes_more
    }

    /// When something that waits gets its turn.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.lanes.next_retry().filter(|_| !self.is_stopping)
    }

    /// The next message whose turn it is. One with an ending goes to the dead letters.
    pub(super) fn take(&mut self) -> Option<Held> {
        let mut held = self.lanes.take()?;
        if self.is_disabled {
            let detail = || "the endpoint had answered 410 before".to_owned();
            let reason = UndeliveredReason::Disabled;
            held.ending.get_or_insert_with(|| Ending { reason, detail: detail() });
        }
        Some(held)
    }

    pub(super) fn take_in(&mut self, parcel: Parcel) {
        self.webhook.meters.waiting.increment(1.0);
        let alert_id = parcel.message.alert_id.clone();
        let cancelled = self.lanes.put(parcel);
        self.cancelled(&alert_id, &cancelled);
    }

    /// Decides what becomes of a message that was attempted; returns it if it is to be put into the dead letters.
    pub(super) fn attempted(&mut self, mut held: Held, attempt: &Attempt) -> Option<Held> {
        let meters = &self.webhook.meters;
        meters.count(attempt.outcome);
        if attempt.outcome == Outcome::Delivered {
            self.lanes.delivered(&held.message);
            self.settle(held.ticket, Settlement::Delivered);
            self.succeeded();
            return None;
        }
        self.is_success_news = true;
        held.failures += 1;
        held.may_have_arrived |= attempt.may_have_arrived();
        if attempt.outcome == Outcome::Gone {
            self.disable();
            return Some(ended(held, UndeliveredReason::Disabled, attempt));
        }
        held.rejections += usize::from(attempt.outcome == Outcome::Rejected);
        if held.rejections >= MAX_REJECTIONS {
            return Some(self.give_up(held, UndeliveredReason::Rejected, attempt));
        }
        let schedule = &self.webhook.schedule;
        match schedule.wait(held.failures, rand::random(), attempt.asked) {
            None => Some(self.give_up(held, UndeliveredReason::Failed, attempt)),
            Some(wait) => {
                warn!(
                    sink = %self.webhook.name, alert_id = %held.message.alert_id, failures = held.failures, ?wait,
                    reason = %attempt.reason, "delivery failed, it will be tried again"
                );
                self.park(held, wait);
                None
            }
        }
    }

    /// The message is in the dead letters, or could not be put there.
    pub(super) fn buried(&mut self, held: Held, kept: Result<(), DeadLetterError>) {
        let Webhook { name, meters, schedule, .. } = self.webhook;
        if let Err(error) = kept {
            meters.letters_failed.increment(1);
            error!(
                sink = %name, alert_id = %held.message.alert_id, message_id = %held.message.message_id, %error,
                wait = ?schedule.bury_again,
                "a message that was given up can't be put into the dead letters: it is kept, and written later"
            );
            return self.park(held, schedule.bury_again);
        }
        let reason = held.ending.as_ref().map_or(UndeliveredReason::Failed, |ending| ending.reason);
        let (outcome, settlement) = match reason {
            UndeliveredReason::Failed | UndeliveredReason::Rejected => {
                (Outcome::GivenUp, Settlement::GivenUp)
            }
            UndeliveredReason::Disabled => (Outcome::Disabled, Settlement::Disabled),
        };
        meters.count(outcome);
        let cancelled = self.lanes.give_up(&held);
        self.settle(held.ticket, settlement);
        self.cancelled(&held.message.alert_id, &cancelled);
    }

    /// Tells the settlement that has waited longest.
    pub(super) fn report(&mut self, permit: mpsc::Permit<'_, Settled>) {
        if let Some(settled) = self.unsent.pop_front() {
            permit.send(settled);
        }
    }

    /// Nobody is there any more to whom a settlement could be told.
    pub(super) fn nobody_listens(&mut self) {
        warn!(
            sink = %self.webhook.name, settlements = self.unsent.len(),
            "whoever owes these messages has ended: they stay owed although they are settled, and may be sent again"
        );
        self.unsent.clear();
    }

    fn park(&mut self, held: Held, wait: Duration) {
        let alert_id = held.message.alert_id.clone();
        let cancelled = self.lanes.park(held, Instant::now() + wait);
        self.cancelled(&alert_id, &cancelled);
    }

    fn give_up(&self, held: Held, reason: UndeliveredReason, attempt: &Attempt) -> Held {
        let message = &held.message;
        let why = match reason {
            UndeliveredReason::Rejected => "the receiver rejects it again and again",
            UndeliveredReason::Failed | UndeliveredReason::Disabled => "the last retry failed",
        };
        error!(
            sink = %self.webhook.name, alert_id = %message.alert_id, message_id = %message.message_id,
            failures = held.failures, reason = %attempt.reason, why,
            "delivery given up: the message goes to the delivery dead letters"
        );
        let since = held.attempted_at.unwrap_or_else(clock::wall);
        self.tell(Notice::GivenUp { sink: self.webhook.name.clone(), since });
        ended(held, reason, attempt)
    }

    fn disable(&mut self) {
        if std::mem::replace(&mut self.is_disabled, true) {
            return;
        }
        error!(
            sink = %self.webhook.name,
            "the endpoint answered 410: it is disabled until the next start, and its messages go to the delivery dead letters"
        );
        self.tell(Notice::Disabled { sink: self.webhook.name.clone() });
        // What waits for a retry goes there at its turn.
        self.lanes.wake_all();
    }

    fn succeeded(&mut self) {
        if self.is_success_news {
            self.is_success_news =
                !self.tell(Notice::Delivering { sink: self.webhook.name.clone() });
        }
    }

    /// Whether the notice is on its way, or nobody wants any.
    fn tell(&self, notice: Notice) -> bool {
        match self.notices.try_send(notice) {
            Ok(()) | Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => {
                self.webhook.meters.notices_dropped.increment(1);
                false
            }
        }
    }

    fn cancelled(&mut self, alert_id: &str, tickets: &[Ticket]) {
        if tickets.is_empty() {
            return;
        }
        info!(
            sink = %self.webhook.name, alert_id,
            "an alert ended before the receiver took its first message: nothing is told about it"
        );
        for &ticket in tickets {
            self.webhook.meters.count(Outcome::Cancelled);
            self.settle(ticket, Settlement::Cancelled);
        }
    }

    fn settle(&mut self, ticket: Ticket, settlement: Settlement) {
        self.webhook.meters.waiting.decrement(1.0);
        self.unsent.push_back(Settled { ticket, settlement });
    }
}

fn ended(held: Held, reason: UndeliveredReason, attempt: &Attempt) -> Held {
    Held { ending: Some(Ending { reason, detail: attempt.reason.to_string() }), ..held }
}
