//! A partition with its journal in a store, a log or a queue before it and sinks behind it. Time and devices are the test's.

use std::sync::Arc;

use bytes::Bytes;

use crate::alert::Message as Told;
use crate::engine::rules::{Pattern, Policy, ProofOfLife, Rule, Terms};
use crate::engine::{
    Attached, Backlog, ClockSettings, Dating, Facts, ForeignClock, ForeignClocks, Generation,
    IdentityRef, Message, Output, PartitionId, Proof, Reply, Signal, SignalKind, State, Timestamp,
};
use crate::journal::{Desk, Moment, Next, Pace, Read, Setup};
use crate::partitions::restore;
use crate::store::journal::Journal;

/// 2026-01-01T00:00:00Z.
const T0_MS: i64 = 1_767_225_600_000;
pub(super) const WINDOW_MS: i64 = 10_000;
pub(super) const GRACE_MS: i64 = 2_000;
pub(super) const SINKS: [&str; 2] = ["audit", "ops"];

const GENERATION: &str = "638712345678901234";
/// Another partition of the same source.
pub(super) const NEXT_TO_IT: PartitionId = 77;

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(T0_MS + ms)
}

pub(super) fn moment(ms: i64) -> Moment {
    Moment { boot_ms: ms, wall: at(ms) }
}

pub(super) fn device(device: &str) -> IdentityRef<'_> {
    IdentityRef { hub: "example-hub", device, module: None }
}

/// `has_log`: of a log, otherwise of a queue.
pub(super) fn setup(has_log: bool) -> Setup {
    let terms = Terms {
        window_ms: WINDOW_MS,
        grace_ms: GRACE_MS,
        first_window_ms: 4_000,
        proof_of_life: ProofOfLife::Any,
    };
    let rule = Rule {
        hub: None,
        device: Pattern::Glob("gw-*".to_owned()),
        module: Some(Pattern::Exact("sensor".to_owned())),
        terms,
    };
    Setup {
        policy: Arc::new(Policy { default: terms, rules: vec![rule], conditions: Vec::new() }),
        clock: ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: GRACE_MS },
        seed: 7,
        source: "hub".into(),
        partition: "0".into(),
        sinks: Arc::new(SINKS.map(Into::into)),
        has_log,
        has_places: has_log,
        owner: "a-process".to_owned(),
        pace: Pace::default(),
    }
}

/// One message of the log.
#[derive(Clone)]
struct Line {
    at_ms: i64,
    device: &'static str,
    module: Option<&'static str>,
    kind: SignalKind,
}

pub(super) struct Scene {
    pub(super) desk: Desk,
    pub(super) now_ms: i64,
    journal: Journal,
    has_log: bool,
    log: Vec<Line>,
    /// How many of the log were read, and of a queue acknowledged.
    read: usize,
    acknowledged: usize,
    attachment: u64,
    /// What sinks were sent since the last start.
    pub(super) told: Vec<(&'static str, Told)>,
}

impl Scene {
    /// Nothing is stored, and nobody attached.
    pub(super) fn new(journal: Journal, has_log: bool) -> Self {
        let desk = Desk::empty(setup(has_log), moment(0));
        Self {
            desk,
            now_ms: 0,
            journal,
            has_log,
            log: Vec::new(),
            read: 0,
            acknowledged: 0,
            attachment: 0,
            told: Vec::new(),
        }
    }

    /// The same world with another store, in which a new process starts after `down_ms`.
    pub(super) async fn restarted(&self, journal: &Journal, down_ms: i64) -> Self {
        let now_ms = self.now_ms + down_ms;
        let (desk, _) = restore::desk(journal, &setup(self.has_log), moment(now_ms))
            .await
            .expect("a start never fails for what is in the store");
        let read = match (self.has_log, desk.resume()) {
            (true, Some(resume)) => usize::try_from(resume.after).unwrap(),
            (true, None) => 0,
            (false, _) => self.acknowledged,
        };
        let mut scene = Self {
            desk,
            now_ms,
            journal: journal.clone(),
            has_log: self.has_log,
            log: self.log.clone(),
            read,
            acknowledged: self.acknowledged,
            attachment: self.attachment,
            told: Vec::new(),
        };
        scene.attach();
        scene
    }

    pub(super) fn attach(&mut self) {
        self.attachment += 1;
        let backlog = match (self.log.len() - self.read, self.has_log) {
            (0, _) => Backlog::Empty,
            (_, true) => Backlog::UpTo(i64::try_from(self.log.len()).unwrap()),
            (waiting, false) => Backlog::Count(waiting as u64),
        };
        let attached = Attached {
            at: at(self.now_ms),
            stream: self.has_log.then_some(1),
            first_available: self.has_log.then_some(1),
            backlog,
            dating: Dating::EventTime,
        };
        let now = moment(self.now_ms);
        self.desk.foreign_clocks(next_to_it(at(self.now_ms)));
        self.desk.attach(attached, now, &mut Output::default());
        self.fire();
        self.read();
    }

    fn fire(&mut self) {
        while !self.desk.fire(usize::MAX, moment(self.now_ms), &mut Output::default()) {}
    }

    pub(super) fn beat(&mut self, device: &'static str) {
        self.say(device, None, SignalKind::Telemetry, 0);
    }

    /// A signal, dated `back_ms` ago.
    pub(super) fn say(
        &mut self,
        device: &'static str,
        module: Option<&'static str>,
        kind: SignalKind,
        back_ms: i64,
    ) {
        self.wait_in_line(device, module, kind, back_ms);
        self.read();
    }

    /// A signal that nobody reads yet.
    pub(super) fn wait_in_line(
        &mut self,
        device: &'static str,
        module: Option<&'static str>,
        kind: SignalKind,
        back_ms: i64,
    ) {
        self.log.push(Line { at_ms: self.now_ms - back_ms, device, module, kind });
    }

    /// The next message is one that is refused for the time at which it is read.
    pub(super) fn refuse(&mut self) {
        self.desk.refused(i64::try_from(self.log.len()).unwrap() + 1);
    }

    /// Another partition answers what it was told of an identity.
    pub(super) fn answered(&mut self, name: &str, reply: Reply) {
        let now = moment(self.now_ms);
        self.desk.answered(device(name), NEXT_TO_IT, reply, now, &mut Output::default());
    }

    /// The partition next to this one hears a device that is judged here.
    pub(super) fn hear_elsewhere(&mut self, name: &str) {
        let now = moment(self.now_ms);
        self.desk.foreign_clocks(next_to_it(at(self.now_ms)));
        let facts = Facts::heard(at(self.now_ms), self.now_ms, Generation::parse(GENERATION));
        self.desk.told(device(name), NEXT_TO_IT, &facts, now, &mut Output::default());
        self.fire();
    }

    fn read(&mut self) {
        let now = moment(self.now_ms);
        while let Some(line) = self.log.get(self.read) {
            self.read += 1;
            let sequence = i64::try_from(self.read).unwrap();
            let event_time = Some(at(line.at_ms));
            let signal = Signal {
                identity: IdentityRef { module: line.module, ..device(line.device) },
                kind: line.kind,
                generation: Generation::parse(GENERATION),
                conditions: 0,
                created_by_device: None,
            };
            let append_time = event_time.map(|at| at.plus(20));
            let message = Message { sequence, event_time, append_time, signal: Some(signal) };
            let mut out = Output::default();
            while self.desk.read(&message, usize::MAX, now, &mut out) == Read::MoreToFire {}
            while !self.desk.fire(usize::MAX, now, &mut out) {}
            let done = self.desk.acknowledge(self.attachment, sequence, now);
            self.acknowledge(done.acknowledge);
            self.desk.settle(now);
        }
        self.desk.settle(now);
    }

    fn acknowledge(&mut self, up_to: Option<(u64, i64)>) {
        if let Some((attachment, sequence)) = up_to
            && attachment == self.attachment
        {
            self.acknowledged = usize::try_from(sequence).unwrap();
        }
    }

    /// Nothing unread remains.
    pub(super) fn prove(&mut self) {
        let last_enqueued = self.has_log.then(|| i64::try_from(self.log.len()).unwrap());
        self.desk.prove(Proof { at: at(self.now_ms), last_enqueued });
        self.fire();
        self.desk.settle(moment(self.now_ms));
    }

    /// Makes everything that wants to be durable so, in one entry and maybe a snapshot.
    pub(super) async fn write(&mut self, with_snapshot: bool) {
        let Some(taken) = self.desk.take(moment(self.now_ms), true, with_snapshot) else { return };
        let bytes = Bytes::from(taken.entry.encode().unwrap());
        self.journal.create(taken.number, bytes).await.expect("nobody else wrote that number");
        let done = self.desk.committed(taken.number);
        self.acknowledge(done.acknowledge);
        if let Some(snapshot) = taken.snapshot {
            let bytes = Bytes::from(snapshot.encode().unwrap());
            self.journal.put_snapshot(taken.number, bytes).await.unwrap();
            self.desk.snapshot_kept(taken.number);
        }
    }

    /// Sends a sink everything that it may be sent; of that, `settled` are confirmed.
    pub(super) async fn deliver(&mut self, sink: &'static str, settled: usize) {
        let mut marks = Vec::new();
        loop {
            match self.desk.outbox().next(sink) {
                Next::Nothing => break,
                Next::Fetch(number) => {
                    let entry = restore::entry(&self.journal, number).await.unwrap();
                    self.desk.outbox().refill(sink, number, entry.as_ref());
                }
                Next::Send { mark, message, .. } => {
                    self.told.push((sink, message));
                    marks.push(mark);
                }
            }
        }
        for mark in marks.into_iter().take(settled) {
            self.desk.delivered(mark, moment(self.now_ms));
        }
    }

    pub(super) fn state(&self, name: &str) -> Option<State> {
        self.desk.engine().state(device(name)).map(|(state, _)| state)
    }
}

/// The clock of the partition next to this one.
fn next_to_it(clock: Timestamp) -> ForeignClocks {
    let gap_end = Timestamp::MIN;
    ForeignClocks::new(vec![ForeignClock { partition: NEXT_TO_IT, clock, gap_end }])
}
