//! One partition with its journal: everything that a partition's worker does, without sockets, files and clocks.
//!
//! Inputs are calls, effects are what [`Desk::take`] gives to be written, and what the outbox gives to be sent once that is
//! durable. A desk that was restored reads the log again from its snapshot to the end of its journal, and judges nobody
//! until it is there.

use std::sync::Arc;

use super::book::{Book, Pace, Urgency};
use super::entry::{Entry, Mark, Record, What};
use super::outbox::Outbox;
use super::stored::{Resume, Snapshot, Stored};
use crate::alert::mute::Mute;
use crate::alert::{self, Alert, Origin};
use crate::engine::rules::Policy;
use crate::engine::{
    Attached, Backlog, BlindReason, Change, ClockSettings, ForeignClocks, Identity, IdentityRef,
    Message, Millis, News, Output, Partition, PartitionId, Proof, Reply, Sighted, Timestamp,
    Transition, Witness,
};

mod recovery;

use recovery::Recovery;

/// The most questions of other partitions that wait for the end of a recovery. What comes beyond is answered as if the
/// identity were not known here; the asking partition then waits for this one's clock all the same.
const MAX_DEFERRED: usize = 65_536;

/// What a desk is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Windows.
    pub policy: Arc<Policy>,
    /// How time is judged.
    pub clock: ClockSettings,
    /// Spreads ids over buckets.
    pub seed: u64,
    /// Name of the source.
    pub source: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Names of the sinks.
    pub sinks: Arc<[Arc<str>]>,
    /// Messages can be read again, under the same event times.
    pub has_log: bool,
    /// Reading can go on from a place. True for every log, and for a stream whose messages are dated by their receipt.
    pub has_places: bool,
    /// Names this process in what it writes.
    pub owner: String,
    /// How soon things are written.
    pub pace: Pace,
}

/// When something is done, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Boot time: orders and measures.
    pub boot_ms: Millis,
    /// Wall time: only dates.
    pub wall: Timestamp,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It is applied.
    Applied,
    /// It was applied before the start, and is taken up again.
    Absorbed,
    /// What it makes due has not all been fired: call again with the same message.
    MoreToFire,
}

/// What has to be written next.
#[derive(Debug)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// The entry.
    pub entry: Entry,
    /// A snapshot of everything up to and including it, to be written once the entry is durable.
    pub snapshot: Option<Snapshot>,
}

/// What follows from a durable entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Everything of this attachment up to this sequence may be acknowledged.
    pub acknowledge: Option<(u64, i64)>,
}

/// See the module.
pub struct Desk {
    engine: Partition,
    setup: Setup,
    book: Book,
    mute: Mute,
    /// No receiver was ever attached, in any life of the journal.
    is_new: bool,
    applied: Option<i64>,
    /// The message whose due was asked for.
    prepared: bool,
    recovery: Option<Recovery>,
    deferred: Vec<(Identity, PartitionId, News)>,
    /// What may be acknowledged once the open entry is durable, and once the one being written is.
    acknowledge: Option<(u64, i64)>,
    acknowledge_in_flight: Option<(u64, i64)>,
    /// The place in the log of the last entry.
    written: Option<i64>,
    /// Something of the journal could not be read: nothing is known before the next attachment.
    is_damaged: bool,
    /// Proofs are not to be relied on at the moment.
    is_held: bool,
    /// What other partitions have to be told after a start is told.
    has_announced: bool,
}

impl Desk {
    /// What a store holds of a partition, taken up; an empty store gives an empty partition. A snapshot whose content can't
    /// be read counts as none: the next older one, or none, has to be given then.
    pub fn new(
        setup: Setup,
        stored: Stored,
        now: Moment,
    ) -> Result<Self, crate::engine::ImageError> {
        let (policy, clock) = (setup.policy.clone(), setup.clock);
        let engine = match &stored.snapshot {
            Some((_, snapshot)) => Partition::restore(policy, clock, &snapshot.image)?,
            None => Partition::new(policy, clock, setup.seed),
        };
        let mut desk = Self::over(setup, engine, &stored, now);
        if desk.is_new {
            return Ok(desk);
        }
        desk.begin_recovery(stored, now);
        Ok(desk)
    }

    /// Nothing is stored.
    pub fn empty(setup: Setup, now: Moment) -> Self {
        let engine = Partition::new(setup.policy.clone(), setup.clock, setup.seed);
        Self::over(setup, engine, &Stored::default(), now)
    }

    fn over(setup: Setup, engine: Partition, stored: &Stored, now: Moment) -> Self {
        let mut outbox = Outbox::new(&setup.sinks);
        if stored.was_in_force(setup.has_log) {
            for (mark, sink) in stored.owed() {
                outbox.owe_again(&sink, mark);
            }
        }
        let mut book = Book::new(setup.owner.clone(), setup.pace, stored.next.max(1), outbox);
        let snapshot = stored.snapshot.as_ref().map(|(number, _)| *number);
        book.began_from(snapshot, stored.entries.len(), now.boot_ms);
        // Without a snapshot a log is read from where the configuration says, as if nothing had been stored.
        let is_usable = stored.snapshot.is_some() || (!setup.has_log && stored.next > 1);
        Self {
            engine: if setup.has_log { engine } else { engine.without_log() },
            book,
            mute: Mute::open(),
            is_new: !is_usable,
            applied: None,
            prepared: false,
            recovery: None,
            deferred: Vec::new(),
            acknowledge: None,
            acknowledge_in_flight: None,
            written: None,
            is_damaged: stored.damaged || (setup.has_log && stored.lost_its_snapshot()),
            is_held: false,
            has_announced: true,
            setup,
        }
    }

    /// Plants a mistake in the engine, for tests of tests.
    #[doc(hidden)]
    pub fn plant(&mut self, planted: crate::engine::planted::Planted) {
        self.engine.plant(planted);
    }

    /// Where its source goes on; `None`: where the configuration says.
    pub fn resume(&self) -> Option<Resume> {
        if !self.setup.has_places {
            return None;
        }
        let clock = self.engine.clock_image();
        let (after, stream) = match &self.recovery {
            Some(recovery) => (recovery.at, recovery.stream()),
            None => (self.applied.or(clock.position()), clock.stream()),
        };
        Some(Resume { after: after?, stream })
    }

    /// Whether it is still on its way to the end of its journal.
    pub fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// A receiver was attached.
    pub fn attach(&mut self, attached: Attached, now: Moment, out: &mut Output) {
        if let Some(recovery) = &mut self.recovery {
            if recovery.can_read(attached) {
                recovery.attached = Some(attached);
                return;
            }
            // What lies between the snapshot and the end of the journal is gone from the log. Who was told what is in the
            // journal; what was heard in between is not known any more, so that span counts for nothing.
            let (at, stream) = (recovery.at, recovery.stream());
            self.end_recovery(now);
            if stream == attached.stream {
                self.lose(attached, out);
                self.engine.go_back(at);
                self.applied = at;
            }
        }
        if std::mem::take(&mut self.is_damaged) {
            self.lose(attached, out);
        }
        if std::mem::take(&mut self.is_new) && replays(attached.backlog) {
            self.mute = Mute::muted();
        }
        self.engine.attach(attached, out);
        self.after_call(now, out);
    }

    /// The partition can't be observed from now on.
    pub fn blind(&mut self, reason: BlindReason) {
        self.engine.blind(reason);
    }

    /// From now on proofs count, or do not. Messages do in any case: their clock is the log's.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Nothing unread remains on the partition. While verdicts are held that moves nothing: the next proof after it does.
    pub fn prove(&mut self, proof: Proof) {
        if self.recovery.is_none() && !self.is_held {
            self.engine.prove(proof);
        }
    }

    /// The clocks of other partitions have moved.
    pub fn foreign_clocks(&mut self, clocks: ForeignClocks) {
        self.engine.foreign_clocks(clocks);
    }

    /// When somebody of the hub was heard on other partitions of the same source.
    pub fn heard_elsewhere(&mut self, others: impl IntoIterator<Item = (PartitionId, Witness)>) {
        self.engine.heard_elsewhere(others);
    }

    /// Reads a message: fires what it makes due, at most `budget` decisions, and applies it.
    pub fn read(
        &mut self,
        message: &Message<'_>,
        budget: usize,
        now: Moment,
        out: &mut Output,
    ) -> Read {
        self.read_sighted(message, None, budget, now, out)
    }

    /// The same; `sighted` is what was seen of its identity when it was looked ahead at.
    pub fn read_sighted(
        &mut self,
        message: &Message<'_>,
        sighted: Option<&Sighted<'_>>,
        budget: usize,
        now: Moment,
        out: &mut Output,
    ) -> Read {
        if self.absorbed(message, now, out) {
            return Read::Absorbed;
        }
        if !self.announce(budget, now, out) {
            return Read::MoreToFire;
        }
        if !self.prepared {
            self.engine.prepare(message, out);
            self.prepared = true;
        }
        let fired = self.engine.fire(budget, out);
        self.after_call(now, out);
        if !fired {
            return Read::MoreToFire;
        }
        self.engine.apply_sighted(message, sighted, out);
        self.prepared = false;
        self.applied = Some(message.sequence);
        self.after_call(now, out);
        Read::Applied
    }

    /// Notes that a message was refused because of the time at which it was read.
    pub fn refused(&mut self, sequence: i64) {
        if self.setup.has_log {
            self.book.record(Record { after: Some(sequence), what: What::Refused });
        }
    }

    /// Fires what is due, at most `budget` decisions; true when nothing is left.
    pub fn fire(&mut self, budget: usize, now: Moment, out: &mut Output) -> bool {
        if !self.announce(budget, now, out) {
            return false;
        }
        let fired = self.engine.fire(budget, out);
        self.after_call(now, out);
        fired
    }

    /// After a start others have to be told before anything is decided, and what they asked has to be answered
    /// ([`Desk::deferred`]). False while that is not done.
    fn announce(&mut self, budget: usize, now: Moment, out: &mut Output) -> bool {
        if self.recovery.is_none() && !self.deferred.is_empty() {
            return false;
        }
        if self.has_announced {
            return true;
        }
        self.has_announced = self.engine.announce(budget, out);
        self.after_call(now, out);
        self.has_announced && out.tidings.is_empty()
    }

    /// Another partition tells what it knows of an identity.
    pub fn told(
        &mut self,
        identity: IdentityRef<'_>,
        from: PartitionId,
        news: &News,
        now: Moment,
        out: &mut Output,
    ) -> Reply {
        if self.recovery.is_some() {
            if self.deferred.len() < MAX_DEFERRED {
                self.deferred.push((identity.to_owned(), from, *news));
            }
            return Reply::Later;
        }
        let reply = self.engine.told(identity, from, news, out);
        self.after_call(now, out);
        reply
    }

    /// Another partition has answered.
    pub fn answered(
        &mut self,
        identity: IdentityRef<'_>,
        by: PartitionId,
        reply: Reply,
        now: Moment,
        out: &mut Output,
    ) {
        self.engine.answered(identity, by, reply, out);
        self.after_call(now, out);
    }

    /// Questions that could not be answered before the end of the recovery: to be asked again now.
    pub fn deferred(&mut self) -> Vec<(Identity, PartitionId, News)> {
        if self.recovery.is_some() { Vec::new() } else { std::mem::take(&mut self.deferred) }
    }

    /// After every event: the end of a replay ends the muting, and what moved wants to be written some time.
    pub fn settle(&mut self, now: Moment) {
        if self.recovery.is_some() {
            return;
        }
        if self.mute.is_muted() && self.engine.blind_reason().is_none() && !self.is_new {
            let open: Vec<Alert> = self.mute.unmute().collect();
            for alert in &open {
                self.owe(alert, now);
            }
            let mut out = Output::default();
            self.engine.hush(&mut out);
            self.after_call(now, &mut out);
            self.book.wants(Urgency::Urgent, now.boot_ms);
        }
        if !self.holds_back() && self.applied != self.written {
            self.book.wants(Urgency::Idle, now.boot_ms);
        }
    }

    /// Everything of this attachment up to this sequence is applied. Gives it back if it may be acknowledged at once: what
    /// stands in a log can be read again.
    pub fn acknowledge(&mut self, attachment: u64, sequence: i64, now: Moment) -> Committed {
        if self.setup.has_places {
            return Committed { acknowledge: Some((attachment, sequence)) };
        }
        self.acknowledge = Some((attachment, sequence));
        self.book.wants(Urgency::Acknowledge, now.boot_ms);
        Committed::default()
    }

    /// Nothing is written while an old log is read for the first time: after a crash that begins again.
    fn holds_back(&self) -> bool {
        self.setup.has_log && (self.mute.is_muted() || self.is_new)
    }

    /// When something has to be written.
    pub fn due_ms(&self) -> Option<Millis> {
        self.book.due_ms().filter(|_| !self.holds_back())
    }

    /// What has to be written now, if anything: when it is due, or in any case if `now` is all the time there is.
    /// A snapshot only if there `may` be one.
    pub fn take(&mut self, now: Moment, is_last: bool, may_snapshot: bool) -> Option<Taken> {
        let due_ms = self.due_ms()?;
        if due_ms > now.boot_ms && !is_last {
            return None;
        }
        let with_snapshot = may_snapshot
            && !self.mute.is_muted()
            && self.recovery.is_none()
            && (is_last || self.book.wants_snapshot(now.boot_ms));
        let (number, mut entry) = self.book.take(with_snapshot, now.boot_ms)?;
        (entry.clock, entry.extra) = match &self.recovery {
            // What was delivered is kept while the log is read again up to where the journal ends.
            Some(recovery) => (recovery.redo.clock.clone(), recovery.redo.extra.clone()),
            None => (Some(self.engine.clock_image()), recovery::extra(self.engine.heard())),
        };
        entry.muted = self.mute.is_muted();
        self.written = self.applied;
        self.acknowledge_in_flight = self.acknowledge.take();
        let snapshot = with_snapshot.then(|| self.snapshot(number, &entry));
        Some(Taken { number, entry, snapshot })
    }

    fn snapshot(&self, number: u64, entry: &Entry) -> Snapshot {
        let mut image = Vec::new();
        self.engine.image(&mut image);
        let owed = self.book.owed_at(number, entry);
        Snapshot { number, image, owed, extra: entry.extra.clone() }
    }

    /// The entry that was taken is durable.
    pub fn committed(&mut self, number: u64) -> Committed {
        self.book.committed(number);
        Committed { acknowledge: self.acknowledge_in_flight.take() }
    }

    /// A snapshot is durable.
    pub fn snapshot_kept(&mut self, number: u64) {
        self.book.snapshot_kept(number);
    }

    /// A message needs no more telling.
    pub fn delivered(&mut self, mark: Mark, now: Moment) {
        self.book.settle(mark, now.boot_ms);
    }

    /// What sinks are owed.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.book.outbox()
    }

    /// The journal's open end.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Partition {
        &self.engine
    }

    /// Whether alerts are held back because an old log is being read.
    pub fn is_muted(&self) -> bool {
        self.mute.is_muted()
    }

    /// Takes over what a call of the engine changed and decided. The transitions stay in `out` for whoever counts them.
    fn after_call(&mut self, now: Moment, out: &mut Output) {
        if out.changes.is_empty() {
            return;
        }
        let new_changes = std::mem::take(&mut out.changes);
        if self.holds_back() {
            for change in new_changes {
                if let Change::Decided(transition) = change {
                    let _held = self.mute.pass(self.setup.alert(transition, now));
                }
            }
            return;
        }
        for change in new_changes {
            if let Change::Decided(transition) = &change
                && let Some(alert) = self.mute.pass(self.setup.alert(transition.clone(), now))
            {
                self.owe(&alert, now);
            }
            self.book.record(Record { after: self.applied, what: What::Changed(change) });
        }
    }

    fn owe(&mut self, alert: &Alert, now: Moment) {
        for sink in self.setup.sinks.iter() {
            self.book.owe(sink, alert::message(alert, sink), now.boot_ms);
        }
    }
}

impl Setup {
    fn alert(&self, transition: Transition, now: Moment) -> Alert {
        let origin = Origin {
            source: self.source.clone(),
            partition: self.partition.clone(),
            rule: self.policy.rule_name(transition.outage.rule),
            observation_lag_ms: now.wall.since(transition.decided_at).max(0),
        };
        Alert { transition, origin }
    }
}

/// Whether what an attachment begins with is old history up to a known end.
fn replays(backlog: Backlog) -> bool {
    match backlog {
        Backlog::UpTo(_) | Backlog::Count(_) => true,
        Backlog::Empty | Backlog::Endless => false,
    }
}
