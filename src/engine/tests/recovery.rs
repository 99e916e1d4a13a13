//! Crash-equivalence of the engine: snapshot, journal and log bring back a partition that decides what the one that never
//! stopped decides.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A device's heartbeat, dated back by so much.
    Beat {
        device: u8,
        back_ms: i64,
    },
    /// The same from a module of it.
    Module {
        device: u8,
    },
    Say {
        device: u8,
        kind: SignalKind,
    },
    Nobody,
    Prove {
        ahead_ms: i64,
    },
    /// The link breaks and comes back.
    Break {
        after_ms: i64,
    },
    /// Another partition tells of a device.
    Told {
        device: u8,
        back_ms: i64,
    },
    /// Another partition answers that it judges the device, or has given it up.
    Answered {
        device: u8,
        mine: bool,
    },
    /// What is over by now was told to nobody.
    Hush,
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..4_u8;
    let kinds = prop::sample::select(vec![
        SignalKind::Created,
        SignalKind::Deleted,
        SignalKind::LastWill,
        SignalKind::Connected(ConnectionSequence([1; 32])),
        SignalKind::Disconnected(ConnectionSequence([2; 32])),
    ]);
    prop_oneof![
        12 => (device.clone(), prop_oneof![3 => Just(0), 2 => 0..900_i64, 1 => 0..20_000_i64])
            .prop_map(|(device, back_ms)| Step::Beat { device, back_ms }),
        2 => device.clone().prop_map(|device| Step::Module { device }),
        2 => (device.clone(), kinds).prop_map(|(device, kind)| Step::Say { device, kind }),
        2 => Just(Step::Nobody),
        3 => (0..9_000_i64).prop_map(|ahead_ms| Step::Prove { ahead_ms }),
        1 => (0..40_000_i64).prop_map(|after_ms| Step::Break { after_ms }),
        1 => (device.clone(), 0..20_000_i64).prop_map(|(device, back_ms)| Step::Told { device, back_ms }),
        1 => (device, any::<bool>()).prop_map(|(device, mine)| Step::Answered { device, mine }),
        1 => Just(Step::Hush),
    ]
}

fn history() -> impl Strategy<Value = Vec<(i64, Step)>> {
    prop::collection::vec((prop_oneof![4 => 0..1_500_i64, 1 => 0..14_000_i64], step()), 2..90)
}

/// Device, module, and what is said.
type About = Option<(String, Option<String>, SignalKind)>;
/// Sequence, event time, and about whom.
type Logged = (i64, i64, About);

/// A partition, the log it reads, and the journal that is kept of it.
struct Kept {
    bench: Bench,
    now_ms: i64,
    log: Vec<Logged>,
    journal: Vec<(i64, Change)>,
}

impl Kept {
    fn new(has_log: bool) -> Self {
        let mut bench = Bench::new();
        if !has_log {
            bench.engine = bench.engine.without_log();
        }
        let mut kept = Self { bench, now_ms: 0, log: Vec::new(), journal: Vec::new() };
        kept.bench.attach(0, Backlog::Empty);
        kept.note(0);
        kept
    }

    fn note(&mut self, after: i64) {
        self.journal.extend(self.bench.out.changes.drain(..).map(|change| (after, change)));
    }

    fn send(&mut self, event_ms: i64, about: About) {
        let sequence = self.bench.sequence + 1;
        self.bench.sequence = sequence;
        self.log.push((sequence, event_ms, about.clone()));
        with_message(&(sequence, event_ms, about), |message| {
            self.bench.engine.prepare(message, &mut self.bench.out);
            self.bench.fire();
            self.journal.extend(self.bench.out.changes.drain(..).map(|c| (sequence - 1, c)));
            self.bench.engine.apply(message, &mut self.bench.out);
            self.bench.fire();
        });
        self.note(sequence);
    }

    fn play(&mut self, (wait_ms, step): (i64, Step)) {
        self.now_ms += wait_ms;
        let now_ms = self.now_ms;
        let name = |device: u8| format!("gw-{device}");
        match step {
            Step::Beat { device, back_ms } => {
                self.send(
                    (now_ms - back_ms).max(0),
                    Some((name(device), None, SignalKind::Telemetry)),
                );
            }
            Step::Module { device } => {
                let about = (name(device), Some("sensor".to_owned()), SignalKind::Telemetry);
                self.send(now_ms, Some(about));
            }
            Step::Say { device, kind } => self.send(now_ms, Some((name(device), None, kind))),
            Step::Nobody => self.send(now_ms, None),
            Step::Prove { ahead_ms } => {
                self.now_ms += ahead_ms;
                self.bench.prove(self.now_ms);
            }
            Step::Break { after_ms } => {
                self.now_ms += after_ms;
                self.break_and_attach();
            }
            Step::Told { device, back_ms } => {
                let facts = Facts::heard(at((now_ms - back_ms).max(0)), 9, Generation::UNKNOWN);
                let identity =
                    Identity { hub: "h".into(), device: name(device).into(), module: None };
                let Bench { engine, out, .. } = &mut self.bench;
                engine.told(identity.as_ref(), 77, &News::of(facts), out);
            }
            Step::Answered { device, mine } => {
                let identity =
                    Identity { hub: "h".into(), device: name(device).into(), module: None };
                let facts = Facts::heard(at(0), 9, Generation::UNKNOWN);
                let reply = if mine { Reply::Mine(facts) } else { Reply::Yours(facts) };
                let Bench { engine, out, .. } = &mut self.bench;
                engine.answered(identity.as_ref(), 77, reply, out);
            }
            Step::Hush => {
                let Bench { engine, out, .. } = &mut self.bench;
                engine.hush(out);
            }
        }
        self.bench.out.tidings.clear();
        self.note(self.bench.sequence);
    }

    fn break_and_attach(&mut self) {
        self.bench.engine.blind(BlindReason::LinkDown);
        self.bench.attach(self.now_ms, Backlog::Empty);
        self.note(self.bench.sequence);
    }
}

fn with_message<T>((sequence, event_ms, about): &Logged, act: impl FnOnce(&Message<'_>) -> T) -> T {
    let signal = about
        .as_ref()
        .map(|(device, module, kind)| signal(device, module.as_deref(), *kind, "100"));
    let event_time = Some(at(*event_ms));
    act(&Message { sequence: *sequence, event_time, append_time: event_time, signal })
}

/// What a snapshot and the end of the journal hold.
struct Snapshot {
    image: Vec<u8>,
    sequence: i64,
    records: usize,
}

fn snapshot(kept: &Kept) -> Snapshot {
    let mut image = Vec::new();
    kept.bench.engine.image(&mut image);
    Snapshot { image, sequence: kept.bench.sequence, records: kept.journal.len() }
}

/// Restores the snapshot and reads on to where `kept` is.
fn recover(kept: &Kept, from: &Snapshot, has_log: bool) -> Partition {
    let mut partition =
        Partition::restore(Arc::new(policy()), settings(), &from.image).expect("an image");
    if !has_log {
        partition = partition.without_log();
    }
    let mut records = kept.journal[from.records..].iter().peekable();
    for message in kept.log.iter().filter(|(sequence, ..)| has_log && *sequence > from.sequence) {
        while let Some((_, change)) = records.next_if(|(after, _)| *after < message.0) {
            partition.redo(change);
        }
        with_message(message, |message| partition.absorb(message));
    }
    for (_, change) in records {
        partition.redo(change);
    }
    partition.resume(Some(kept.bench.engine.clock_image()));
    partition
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_restart_at_any_point_changes_no_decision(
        history in history(),
        points in (0..90_usize, 0..90_usize),
        has_log in any::<bool>(),
    ) {
        let crash_at = points.0 % history.len();
        let snapshot_at = points.1 % (crash_at + 1);
        let mut kept = Kept::new(has_log);
        let mut saved = snapshot(&kept);
        for (index, step) in history[..crash_at].iter().enumerate() {
            if index == snapshot_at {
                saved = snapshot(&kept);
            }
            kept.play(*step);
        }
        let engine = recover(&kept, &saved, has_log);
        let mut restarted = Kept {
            bench: Bench { engine, out: Output::default(), sequence: kept.bench.sequence, says_arrival: true, budget: usize::MAX },
            now_ms: kept.now_ms,
            log: Vec::new(),
            journal: Vec::new(),
        };
        for bench in [&kept.bench, &restarted.bench] {
            prop_assert_eq!(bench.engine.clock(), kept.bench.engine.clock());
        }
        for device in 0..4 {
            let name = format!("gw-{device}");
            let heard = |bench: &Bench| bench.heard(&name);
            prop_assert_eq!(heard(&kept.bench), heard(&restarted.bench), "{}", name);
        }
        kept.bench.out = Output::default();
        for side in [&mut kept, &mut restarted] {
            side.break_and_attach();
            for step in &history[crash_at..] {
                side.play(*step);
            }
            side.now_ms += 60_000;
            side.bench.prove(side.now_ms);
        }
        prop_assert_eq!(kept.bench.decided(), restarted.bench.decided());
        let counts = |kept: &Kept| kept.bench.engine.stats().identities;
        prop_assert_eq!(counts(&kept), counts(&restarted));
    }
}

#[test]
fn a_heartbeat_after_its_deadline_is_none_if_the_rules_wait_longer_after_a_restart() {
    for (window_ms, told) in [(WINDOW_MS, 2), (WINDOW_MS + 200, 0)] {
        let mut before = Bench::live();
        before.beat("a", 0);
        before.pass(DUE_MS + 50);
        before.beat("a", DUE_MS + 100);
        let mut image = Vec::new();
        before.engine.image(&mut image);

        let default = Terms { window_ms, ..terms() };
        let policy = Policy { default, ..policy() };
        let mut after = Bench::new();
        after.engine = Partition::restore(Arc::new(policy), settings(), &image).unwrap();
        after.engine.resume(Some(before.engine.clock_image()));
        after.attach(DUE_MS + 200, Backlog::Empty);
        after.prove(DUE_MS + 5_000);
        assert_eq!(after.decided().len(), told, "{window_ms}");
    }
}

#[test]
fn whoever_was_heard_on_a_queue_whose_clock_never_moved_is_judged_after_a_restart() {
    let queue = |ms: i64| Attached {
        at: at(ms),
        error_ms: 0,
        stream: None,
        first_available: None,
        backlog: Backlog::Count(1),
        dating: Dating::EventTime,
    };
    let mut before = Bench::new();
    before.attach_as(queue(0));
    before.engine.blind(BlindReason::Shared);
    before.beat("a", 500);
    assert_eq!(before.engine.clock(), Timestamp::MIN);
    let mut image = Vec::new();
    before.engine.image(&mut image);

    let mut after = Bench::new();
    after.engine = Partition::restore(Arc::new(policy()), settings(), &image).unwrap();
    after.engine.resume(Some(before.engine.clock_image()));
    after.attach_as(Attached { backlog: Backlog::Empty, ..queue(30_000) });
    for ms in [31_000, 40_000, 50_000] {
        after.beat("b", ms);
    }
    let decided = after.decided();
    assert!(matches!(&decided[..], [one] if one.starts_with("a 500..")), "{decided:?}");
}
