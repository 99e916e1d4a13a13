//! The watchdog, and what of it is owed.

use super::*;
use crate::alert::watchdog::Watchdog;
use crate::engine::State;

const INTERVAL_MS: i64 = 60_000;

/// The journal of a fleet with two sinks, and what is durable of it.
struct Kennel {
    desk: FleetDesk,
    store: Store,
    now_ms: i64,
}

impl Kennel {
    fn new(store: Store, now_ms: i64) -> Self {
        let sinks = setup(true).sinks;
        let stored = store.stored();
        let pace = Pace::default();
        let desk = FleetDesk::new(sinks, "test".into(), pace, &stored, moment(now_ms));
        Self { desk, store, now_ms }
    }

    fn beat(&mut self, to: &[&str]) -> usize {
        self.now_ms += INTERVAL_MS;
        let watchdog = Watchdog {
            sequence: 0,
            sent_at: at(self.now_ms),
            interval_ms: INTERVAL_MS,
            partitions: 1,
            oldest_clock_age_ms: None,
            identities: [0; State::ALL.len()],
            waiting_messages: 0,
            last_verdict_at: None,
        };
        let to: Vec<Arc<str>> = to.iter().map(|&sink| sink.into()).collect();
        self.desk.tell_watchdog(watchdog, &to, moment(self.now_ms))
    }

    fn write(&mut self) {
        let taken = self.desk.take(moment(self.now_ms), true, true).unwrap();
        self.store.entries.insert(taken.number, taken.entry.encode().unwrap());
        self.desk.committed(taken.number);
        if let Some(snapshot) = taken.snapshot {
            self.store.snapshots.insert(taken.number, snapshot.encode().unwrap());
            self.desk.snapshot_kept(taken.number);
        }
    }

    fn deliver(&mut self, sink: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.desk.outbox().next(sink) {
                Next::Nothing => return told,
                Next::Fetch(number) => {
                    let entry = Entry::decode(&self.store.entries[&number]).unwrap();
                    assert_eq!(self.desk.outbox().refill(sink, number, Some(&entry)), []);
                }
                Next::Send { mark, message, .. } => {
                    self.desk.delivered(mark, moment(self.now_ms));
                    let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
                    told.push(format!("{} {}", body["type"], body["data"]["sequence"]));
                }
            }
        }
    }
}

#[test]
fn a_sink_that_takes_nothing_is_owed_one_watchdog_and_the_others_get_every_one() {
    let mut kennel = Kennel::new(Store::default(), 0);
    assert_eq!(kennel.beat(&["ops", "audit"]), 2);
    assert_eq!(kennel.beat(&["ops", "audit"]), 0, "not durable yet");
    kennel.write();
    assert_eq!(kennel.deliver("ops"), ["\"watchdog\" 1"]);
    for sequence in 3..6 {
        assert_eq!(kennel.beat(&["ops", "audit"]), 1);
        kennel.write();
        assert_eq!(kennel.deliver("ops"), [format!("\"watchdog\" {sequence}")]);
    }
    assert_eq!(kennel.deliver("audit"), ["\"watchdog\" 1"]);
    assert_eq!(kennel.beat(&["ops", "audit"]), 2);
}

#[test]
fn only_the_sinks_that_are_named_are_told() {
    let mut kennel = Kennel::new(Store::default(), 0);
    assert_eq!(kennel.beat(&["audit", "nobody"]), 1);
    kennel.write();
    assert_eq!(kennel.deliver("ops"), Vec::<String>::new());
    assert_eq!(kennel.deliver("audit"), ["\"watchdog\" 1"]);
}

#[test]
fn what_an_earlier_process_owes_holds_the_next_back_too() {
    let mut kennel = Kennel::new(Store::default(), 0);
    kennel.beat(&["ops", "audit"]);
    kennel.write();
    kennel.deliver("ops");
    kennel.beat(&["ops"]);
    kennel.write();
    let mut kennel = Kennel::new(kennel.store, kennel.now_ms);
    assert_eq!(kennel.beat(&["ops", "audit"]), 0, "both are owed one");
    assert_eq!(kennel.deliver("audit"), Vec::<String>::new(), "the earlier one may still run");
    kennel.write();
    assert_eq!(kennel.deliver("audit"), ["\"watchdog\" 1"]);
    assert_eq!(kennel.beat(&["ops", "audit"]), 1);
}
