//! The demo in simulated time and without sockets: fleet, hub, decoding, engine and alert bodies are the real ones.

use proptest::prelude::*;

use super::*;
use crate::alert::{Alert, Origin, body};
use crate::cli::demo::driver::perform;
use crate::devhub::hub::{Hub, HubOptions};
use crate::devhub::receiver;
use crate::engine::{
    Attached, Audience, Backlog, ClockSettings, Dating, ForeignClocks, Output, Partition, Proof,
};
use crate::wire::{EventTimeFrom, HubName, Profile, RawMessage, Stamps, decode};

/// Time between two looks of the readers at the log, and between two proofs.
const STEP_MS: Millis = 50;

const PARTITIONS: usize = 4;

struct Reader {
    engine: Partition,
    out: Output,
    next: i64,
}

struct Play {
    hub: Hub,
    profile: Profile,
    readers: Vec<Reader>,
    notices: Vec<Notice>,
}

impl Play {
    fn new(options: &FleetOptions) -> Self {
        let hub = Hub::new(
            HubOptions {
                name: "demo".into(),
                entity: "events".into(),
                partitions: PARTITIONS,
                retention_messages: 100_000,
                key_name: "k".into(),
                key: "k".into(),
            },
            options.start,
        );
        let settings = ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: 1_000 };
        let policy = Arc::new(service::policy(options));
        let attached = Attached {
            at: options.start,
            error_ms: 0,
            stream: Some(1),
            first_available: Some(0),
            backlog: Backlog::Empty,
            dating: Dating::EventTime,
        };
        let readers = (0..PARTITIONS).map(|_| {
            let mut out = Output::default();
            let mut engine = Partition::new(Arc::clone(&policy), settings, 7);
            engine.attach(attached, &mut out);
            Reader { engine, out, next: 0 }
        });
        let profile = Profile {
            hub: HubName::Fixed("demo".into()),
            stamps: Stamps::Annotations,
            event_time: EventTimeFrom::Stamps,
            mapping: None,
            conditions: [].into(),
        };
        Self { hub, profile, readers: readers.collect(), notices: Vec::new() }
    }

    /// Every partition is read to its end, and proven to be.
    fn read(&mut self, now: Timestamp) {
        for index in 0..PARTITIONS {
            let mut records = Vec::new();
            let next = self.readers[index].next;
            self.hub.read(index, next, usize::MAX, &mut records).unwrap();
            for record in records {
                let raw = RawMessage::Amqp10(record.encoded);
                let decoded = decode(&raw, &self.profile, now, now.plus(30_000)).unwrap();
                let message = decoded.message(record.sequence);
                let Reader { engine, out, next } = &mut self.readers[index];
                engine.prepare(&message, out);
                assert!(engine.fire(usize::MAX, out));
                engine.apply(&message, out);
                *next = record.sequence + 1;
                self.pass_tidings(index);
            }
            let last = self.hub.partition_info(index).unwrap().last_sequence;
            let last_enqueued = (last >= 0).then_some(last);
            let Reader { engine, out, .. } = &mut self.readers[index];
            engine.prove(Proof { at: now, last_enqueued });
            assert!(engine.fire(usize::MAX, out));
            self.tell(index, now);
        }
    }

    fn pass_tidings(&mut self, from: usize) {
        let number = |index: usize| u64::try_from(index).unwrap();
        for tiding in std::mem::take(&mut self.readers[from].out.tidings) {
            for to in (0..PARTITIONS).filter(|&to| to != from) {
                if tiding.to == Audience::Everyone || tiding.to == Audience::One(number(to)) {
                    let who = tiding.identity.as_ref();
                    let Reader { engine, out, .. } = &mut self.readers[to];
                    let reply = engine.told(who, number(from), &tiding.news, out);
                    let Reader { engine, out, .. } = &mut self.readers[from];
                    engine.answered(who, number(to), reply, out);
                }
            }
        }
        let clocks = (0..).zip(&self.readers);
        let clocks: Vec<_> =
            clocks.map(|(index, reader)| reader.engine.as_foreign(index)).collect();
        for (own, reader) in (0_u64..).zip(&mut self.readers) {
            let others = clocks.iter().copied().filter(|other| other.partition != own);
            reader.engine.foreign_clocks(ForeignClocks::new(others.collect()));
        }
    }

    /// Transitions become alert bodies, and these what the receiver reads in them.
    fn tell(&mut self, index: usize, now: Timestamp) {
        self.pass_tidings(index);
        for transition in std::mem::take(&mut self.readers[index].out.transitions) {
            let origin = Origin {
                source: "hub".into(),
                partition: index.to_string().into(),
                rule: "default".into(),
                observation_lag_ms: 0,
            };
            let message = body::message(&Alert { transition, origin }, "demo");
            let notice = receiver::read(&message.message_id, &message.body, now);
            self.notices.push(notice.expect("the receiver reads what the service writes"));
        }
    }
}

fn simulate(args: &DemoArgs) -> (FleetOptions, Verdict) {
    let options = settings::fleet(args, NOON).unwrap();
    let record = Record::new(Truth::new(&options));
    let mut play = Play::new(&options);
    let mut plan = Plan::new(options).unwrap().peekable();
    let mut now = options.start;
    while now < options.end() {
        now = now.plus(STEP_MS);
        while let Some(event) = plan.next_if(|event| event.at <= now) {
            perform(event, options.roster, &play.hub, event.at, &record);
        }
        play.read(now);
    }
    let verdict = Verdict::judge(&record.lock(), &play.notices, now, options.settle_ms);
    (options, verdict)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_the_seed_exactly_the_silent_are_flagged_and_those_that_return_resolved(
        seed in any::<u64>(),
        devices in 1..150_u32,
        silence_percent in prop::sample::select(vec![0.0, 1.0, 10.0, 50.0, 100.0]),
    ) {
        let args = DemoArgs {
            devices,
            interval_ms: 2_000,
            window_ms: 6_000,
            silence_percent,
            duration_ms: 40_000,
            seed,
            json: false,
        };
        let (options, verdict) = simulate(&args);
        prop_assert!(verdict.passed(), "{verdict:#?}");
        prop_assert_eq!(verdict.flagged, u64::from(options.silenced));
        prop_assert_eq!(verdict.resolved, verdict.returned);
        let slowest = verdict.verdict_delay_ms.last().copied().unwrap_or(0);
        prop_assert!(slowest <= settings::ALLOWANCE_MS + 200, "{slowest}");
    }
}
