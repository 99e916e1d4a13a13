//! Crash-equivalence of a desk: whatever of its journal is durable when it stops, nobody is told anything twice under two
//! ids, nothing that was owed is lost, and what is decided afterwards is what would have been decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::alert::Message as Told;
use crate::alert::body::Status;
use crate::engine::rules::{Policy, ProofOfLife, Terms};
use crate::engine::{
    Attached, Backlog, BlindReason, ClockSettings, Dating, GapReason, Generation, IdentityRef,
    Message, Output, Proof, Signal, SignalKind, Timestamp,
};

mod fleet;
mod hold;
mod route;

const T0: i64 = 1_767_225_600_000;
const WINDOW_MS: i64 = 10_000;
const GRACE_MS: i64 = 2_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(T0 + ms)
}

fn moment(ms: i64) -> Moment {
    Moment { boot_ms: ms, wall: at(ms) }
}

fn setup(has_log: bool) -> Setup {
    let default = Terms {
        window_ms: WINDOW_MS,
        grace_ms: GRACE_MS,
        first_window_ms: 60_000,
        proof_of_life: ProofOfLife::Any,
    };
    Setup {
        policy: Arc::new(Policy { default, rules: Vec::new(), conditions: Vec::new() }),
        clock: ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: GRACE_MS },
        seed: 7,
        source: "hub".into(),
        partition: "0".into(),
        sinks: Arc::new(["ops".into(), "audit".into()]),
        has_log,
        has_places: has_log,
        owner: "test".into(),
        pace: Pace::default(),
    }
}

/// What a store holds, as bytes.
#[derive(Clone, Default)]
struct Store {
    entries: BTreeMap<u64, Vec<u8>>,
    snapshots: BTreeMap<u64, Vec<u8>>,
}

impl Store {
    fn stored(&self) -> Stored {
        let snapshot = self.snapshots.last_key_value();
        let snapshot = snapshot.map(|(n, bytes)| (*n, Snapshot::decode(bytes).unwrap()));
        let from = snapshot.as_ref().map_or(0, |(number, _)| number + 1);
        let entries = self.entries.range(from..);
        let entries = entries.map(|(n, bytes)| (*n, Entry::decode(bytes).unwrap())).collect();
        let next = self.entries.last_key_value().map_or(0, |(number, _)| number + 1);
        Stored { snapshot, entries, damaged: false, next }
    }
}

/// A log, a store, a receiver, and the desk in between.
struct World {
    has_log: bool,
    desk: Desk,
    now_ms: i64,
    /// (sequence, event time, device)
    log: Vec<(i64, i64, u8)>,
    /// The next message of the log that is to be read; of a queue what was not acknowledged.
    next: usize,
    acknowledged: usize,
    store: Store,
    /// What came in, in order, and of each id the bytes.
    received: Vec<Told>,
    bytes: BTreeMap<String, Told>,
    repeats: usize,
    attachment: u64,
}

impl World {
    fn new(has_log: bool) -> Self {
        let desk = Desk::new(setup(has_log), Stored::default(), moment(0)).unwrap();
        let mut world = Self {
            has_log,
            desk,
            now_ms: 0,
            log: Vec::new(),
            next: 0,
            acknowledged: 0,
            store: Store::default(),
            received: Vec::new(),
            bytes: BTreeMap::new(),
            repeats: 0,
            attachment: 0,
        };
        world.attach();
        world
    }

    /// With a log, in which d0 fell silent and d1 did not: each sink is owed that.
    fn with_one_silent() -> Self {
        let mut world = Self::new(true);
        world.beat(0, 0);
        world.write(3, true);
        world.now_ms += 13_500;
        world.beat(1, 0);
        world.write(2, true);
        world
    }

    fn attach(&mut self) {
        self.attachment += 1;
        let waiting = self.log.len() - self.next;
        let backlog = match (waiting, self.has_log) {
            (0, _) => Backlog::Empty,
            (_, true) => Backlog::UpTo(self.log[self.log.len() - 1].0),
            (waiting, false) => Backlog::Count(waiting as u64),
        };
        let attached = Attached {
            at: at(self.now_ms),
            error_ms: 0,
            stream: self.has_log.then_some(1),
            first_available: self.has_log.then_some(1),
            backlog,
            dating: Dating::EventTime,
        };
        let now = moment(self.now_ms);
        self.desk.attach(attached, now, &mut Output::default());
        while !self.desk.fire(usize::MAX, now, &mut Output::default()) {}
        self.read();
    }

    fn beat(&mut self, device: u8, back_ms: i64) {
        let sequence = i64::try_from(self.log.len()).unwrap() + 1;
        self.log.push((sequence, (self.now_ms - back_ms).max(0), device));
        self.read();
    }

    fn read(&mut self) {
        let now = moment(self.now_ms);
        while let Some(&(sequence, event_ms, device)) = self.log.get(self.next) {
            let name = format!("d{device}");
            let signal = Signal {
                identity: IdentityRef { hub: "h", device: &name, module: None },
                kind: SignalKind::Telemetry,
                generation: Generation::UNKNOWN,
                conditions: 0,
                created_by_device: None,
            };
            let event_time = Some(at(event_ms));
            let message =
                Message { sequence, event_time, append_time: event_time, signal: Some(signal) };
            let mut out = Output::default();
            while self.desk.read(&message, 1, now, &mut out) == Read::MoreToFire {}
            while !self.desk.fire(1, now, &mut out) {}
            self.next += 1;
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

    fn prove(&mut self) {
        let now = moment(self.now_ms);
        let last_enqueued = self.log.last().map(|(sequence, ..)| *sequence);
        self.desk.prove(Proof { at: at(self.now_ms), last_enqueued });
        while !self.desk.fire(usize::MAX, now, &mut Output::default()) {}
        self.desk.settle(now);
    }

    /// Writes what is due, and stops after as many steps as are given: entry durable, told about it, snapshot durable, told.
    fn write(&mut self, steps: usize, is_last: bool) {
        let Some(taken) = self.desk.take(moment(self.now_ms), is_last, true) else { return };
        if steps > 0 {
            self.store.entries.insert(taken.number, taken.entry.encode().unwrap());
        }
        if steps > 1 {
            let done = self.desk.committed(taken.number);
            self.acknowledge(done.acknowledge);
        }
        if let (Some(snapshot), true) = (&taken.snapshot, steps > 2) {
            self.store.snapshots.insert(taken.number, snapshot.encode().unwrap());
            while self.store.snapshots.len() > 2 {
                self.store.snapshots.pop_first();
            }
            self.desk.snapshot_kept(taken.number);
        }
    }

    /// Sends what may be sent; of the last `unsettled` the answer never comes back.
    fn deliver(&mut self, unsettled: usize) {
        let mut marks = Vec::new();
        for sink in ["ops", "audit"] {
            loop {
                match self.desk.outbox().next(sink) {
                    Next::Nothing => break,
                    Next::Fetch(number) => {
                        let entry = self.store.entries.get(&number);
                        let entry = entry.map(|bytes| Entry::decode(bytes).unwrap());
                        let lost = self.desk.outbox().refill(sink, number, entry.as_ref());
                        assert_eq!(lost, vec![], "an entry that owes something is gone");
                    }
                    Next::Send { mark, message, may_have_arrived } => {
                        self.receive(message, may_have_arrived);
                        marks.push(mark);
                    }
                }
            }
        }
        let settled = marks.len().saturating_sub(unsettled);
        for mark in &marks[..settled] {
            self.desk.delivered(*mark, moment(self.now_ms));
        }
    }

    fn receive(&mut self, message: Told, may_have_arrived: bool) {
        match self.bytes.get(&message.message_id) {
            Some(known) => {
                assert_eq!(*known, message, "one id, two messages");
                assert!(may_have_arrived, "repeated without a crash");
                self.repeats += 1;
            }
            None => {
                self.bytes.insert(message.message_id.clone(), message.clone());
                self.received.push(message);
            }
        }
    }

    fn crash(&mut self, down_ms: i64) {
        self.now_ms += down_ms;
        let stored = self.store.stored();
        self.desk = Desk::new(setup(self.has_log), stored, moment(self.now_ms)).unwrap();
        self.next = match (self.has_log, self.desk.resume()) {
            (true, Some(resume)) => usize::try_from(resume.after).unwrap(),
            (true, None) => 0,
            (false, _) => self.acknowledged,
        };
        self.attach();
    }

    /// Everything is written, delivered and settled.
    fn rest(&mut self) {
        for _ in 0..4 {
            self.now_ms += 10_000;
            self.prove();
            self.write(3, true);
            self.deliver(0);
        }
        assert!(self.desk.outbox().is_empty());
    }

    /// What the receiver "ops" knows: alert ids with all statuses told, in order.
    fn known(&self) -> BTreeMap<String, Vec<Status>> {
        let mut known: BTreeMap<String, Vec<Status>> = BTreeMap::new();
        let ops: BTreeSet<&str> = self.received.iter().map(|told| &*told.message_id).collect();
        assert_eq!(ops.len(), self.received.len());
        for told in &self.received {
            known.entry(told.alert_id.clone()).or_default().push(told.status);
        }
        known
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Beat {
        device: u8,
        back_ms: i64,
    },
    Prove,
    Write {
        steps: usize,
        is_last: bool,
    },
    Deliver {
        unsettled: usize,
    },
    Break,
    /// Without a crash in the reference run.
    Crash {
        down_ms: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        8 => (0..4_u8, prop_oneof![4 => Just(0_i64), 1 => 0..900_i64])
            .prop_map(|(device, back_ms)| Step::Beat { device, back_ms }),
        3 => Just(Step::Prove),
        4 => (0..4_usize, prop::bool::weighted(0.3))
            .prop_map(|(steps, is_last)| Step::Write { steps, is_last }),
        3 => (0..3_usize).prop_map(|unsettled| Step::Deliver { unsettled }),
        1 => Just(Step::Break),
        2 => (0..1_500_i64).prop_map(|down_ms| Step::Crash { down_ms }),
    ];
    prop::collection::vec((prop_oneof![5 => 0..1_800_i64, 1 => Just(13_000_i64)], step), 1..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn whatever_is_durable_at_a_crash_nothing_is_lost_and_nothing_told_twice(
        steps in steps(),
        has_log in any::<bool>(),
    ) {
        let mut world = World::new(has_log);
        for (wait_ms, step) in steps {
            world.now_ms += wait_ms;
            match step {
                Step::Beat { device, back_ms } => world.beat(device, back_ms),
                Step::Prove => world.prove(),
                // An interrupted write ends with the process.
                Step::Write { steps, is_last } => {
                    let before = world.desk.book().next_number();
                    world.write(steps, is_last);
                    if world.desk.book().next_number() != before && steps < 3 {
                        world.crash(100);
                    }
                }
                // Answers get lost with the process.
                Step::Deliver { unsettled } => {
                    world.deliver(unsettled);
                    if unsettled > 0 {
                        world.crash(100);
                    }
                }
                Step::Break => {
                    world.desk.blind(BlindReason::LinkDown);
                    world.next = if has_log { world.next } else { world.acknowledged };
                    world.attach();
                }
                Step::Crash { down_ms } => world.crash(down_ms),
            }
        }
        world.rest();
        // Everybody has been silent for longer than a window by now: each is told once, and the end of nothing but what began.
        for (alert_id, statuses) in world.known() {
            let firing = statuses.iter().filter(|status| **status == Status::Firing).count();
            prop_assert_eq!(firing, 2, "{}: {:?}", alert_id, statuses);
            let ends = statuses.iter().filter(|status| status.is_end()).count();
            prop_assert!(ends == 0 || ends == 2, "{}: {:?}", alert_id, statuses);
        }
        let heard: BTreeSet<u8> = world.log.iter().map(|(_, _, device)| *device).collect();
        let open = world.known().values().filter(|statuses| !statuses.iter().any(|s| s.is_end())).count();
        prop_assert_eq!(open, heard.len());
    }
}

fn attached(ms: i64, stream: u64, first: i64, backlog: Backlog) -> Attached {
    Attached {
        at: at(ms),
        error_ms: 0,
        stream: Some(stream),
        first_available: Some(first),
        backlog,
        dating: Dating::EventTime,
    }
}

fn read(desk: &mut Desk, sequence: i64, ms: i64, out: &mut Output) {
    let (now, event_time) = (moment(ms), Some(at(ms)));
    let message = Message { sequence, event_time, append_time: event_time, signal: None };
    while desk.read(&message, 1, now, out) == Read::MoreToFire {}
    while !desk.fire(1, now, out) {}
    desk.settle(now);
}

fn write(desk: &mut Desk, store: &mut Store, ms: i64, with_snapshot: bool) {
    let taken = desk.take(moment(ms), true, with_snapshot).unwrap();
    store.entries.insert(taken.number, taken.entry.encode().unwrap());
    desk.committed(taken.number);
    if let Some(snapshot) = taken.snapshot {
        desk.snapshot_kept(taken.number);
        store.snapshots.insert(taken.number, snapshot.encode().unwrap());
    }
}

#[test]
fn a_log_that_took_the_place_of_the_snapshots_is_read_again_from_its_beginning() {
    let mut store = Store::default();
    let mut desk = Desk::new(setup(true), Stored::default(), moment(0)).unwrap();
    let mut out = Output::default();
    for (stream, sequence, ms) in [(1, 50, 1_000), (2, 0, 9_000), (2, 1, 9_500)] {
        if desk.engine().clock_image().stream() != Some(stream) {
            desk.blind(BlindReason::LinkDown);
            let attached = attached(ms, stream, sequence, Backlog::Empty);
            desk.attach(attached, moment(ms), &mut out);
        }
        read(&mut desk, sequence, ms, &mut out);
        write(&mut desk, &mut store, ms, stream == 1);
    }
    let desk = Desk::new(setup(true), store.stored(), moment(10_000)).unwrap();
    assert_eq!(desk.resume(), Some(Resume { after: -1, stream: Some(2) }));
}

#[test]
fn what_is_read_again_since_the_log_is_not_whole_any_more_is_not_passed_over_by_the_next_start() {
    let mut store = Store::default();
    let mut desk = Desk::new(setup(true), Stored::default(), moment(0)).unwrap();
    let mut out = Output::default();
    desk.attach(attached(900, 1, 1, Backlog::Empty), moment(900), &mut out);
    for (sequence, with_snapshot) in [(1, true), (2, false), (9, false)] {
        read(&mut desk, sequence, 1_000 * sequence, &mut out);
        write(&mut desk, &mut store, 1_000 * sequence, with_snapshot);
    }
    let mut desk = Desk::new(setup(true), store.stored(), moment(10_000)).unwrap();
    desk.attach(attached(10_000, 1, 5, Backlog::UpTo(9)), moment(10_000), &mut out);
    assert_eq!(out.gaps.pop().map(|gap| gap.reason), Some(GapReason::AgedOut));
    read(&mut desk, 5, 5_000, &mut out);
    write(&mut desk, &mut store, 10_100, true);
    let desk = Desk::new(setup(true), store.stored(), moment(11_000)).unwrap();
    assert_eq!(desk.resume(), Some(Resume { after: 5, stream: Some(1) }));
}

#[test]
fn what_was_delivered_is_kept_until_that_is_durable() {
    let mut world = World::with_one_silent();
    let owing = world.desk.book().pinned();
    assert_eq!(owing.len(), 1);
    for sink in ["ops", "audit"] {
        let Next::Send { mark, .. } = world.desk.outbox().next(sink) else { panic!("one is owed") };
        world.desk.delivered(mark, moment(world.now_ms));
    }
    assert_eq!((world.desk.book().owed(), world.desk.book().pinned()), (0, owing.clone()));
    let taken = world.desk.take(moment(world.now_ms), true, false).unwrap();
    assert_eq!(world.desk.book().pinned(), owing);
    world.desk.committed(taken.number);
    assert_eq!(world.desk.book().pinned(), BTreeSet::new());
}

#[test]
fn while_the_log_is_read_again_alerts_go_out_and_that_they_did_is_kept() {
    let mut world = World::with_one_silent();
    for owed in [2, 0] {
        world.desk = Desk::new(setup(true), world.store.stored(), moment(world.now_ms)).unwrap();
        assert!(world.desk.is_recovering());
        assert_eq!(world.desk.outbox().len(), owed);
        world.write(2, false);
        world.deliver(0);
        world.write(2, true);
    }
    assert_eq!(world.received.len(), 2, "one message for each sink");
    world.crash(0);
    assert!(!world.desk.is_recovering());
    world.rest();
    assert_eq!(world.received.len(), 4, "d1 is silent too by now");
}
