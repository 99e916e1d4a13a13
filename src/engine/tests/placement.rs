use super::*;

/// Partitions of one hub in one process, as the composition root joins them.
struct Fleet {
    benches: Vec<Bench>,
}

impl Fleet {
    fn new(count: usize) -> Self {
        Self { benches: (0..count).map(|_| Bench::live()).collect() }
    }

    fn beat(&mut self, partition: usize, device: &str, ms: i64) {
        self.benches[partition].beat(device, ms);
        self.settle(partition);
    }

    fn say(&mut self, partition: usize, device: &str, ms: i64, kind: SignalKind) {
        self.benches[partition].say(device, ms, kind);
        self.settle(partition);
    }

    /// A message of nobody on one partition, after all clocks were exchanged.
    fn pass(&mut self, partition: usize, ms: i64) {
        self.benches[partition].pass(ms);
        self.settle(partition);
    }

    fn settle(&mut self, from: usize) {
        let own = u64::try_from(from).unwrap();
        while !self.benches[from].out.tidings.is_empty() {
            let tiding = self.benches[from].out.tidings.remove(0);
            for to in 0..self.benches.len() {
                let wanted = match tiding.to {
                    Audience::Everyone => true,
                    Audience::One(home) => home == to as u64,
                };
                if to == from || !wanted {
                    continue;
                }
                let bench = &mut self.benches[to];
                let reply =
                    bench.engine.told(tiding.identity.as_ref(), own, &tiding.news, &mut bench.out);
                let bench = &mut self.benches[from];
                let by = u64::try_from(to).unwrap();
                bench.engine.answered(tiding.identity.as_ref(), by, reply, &mut bench.out);
            }
        }
        let clocks = (0_u64..).zip(&self.benches);
        let clocks: Vec<ForeignClock> =
            clocks.map(|(index, bench)| bench.engine.as_foreign(index)).collect();
        for (index, bench) in (0_u64..).zip(&mut self.benches) {
            let others = clocks.iter().copied().filter(|other| other.partition != index);
            bench.engine.foreign_clocks(ForeignClocks::new(others.collect()));
        }
    }

    fn decided(&mut self) -> Vec<Vec<String>> {
        self.benches.iter_mut().map(Bench::decided).collect()
    }
}

const NONE: Vec<String> = Vec::new();

#[test]
fn a_created_device_is_judged_on_the_least_clock_of_all_partitions() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, "a", 0, SignalKind::Created);
    fleet.pass(0, FIRST_MS + GRACE_MS + 10_000);
    fleet.pass(0, FIRST_MS + GRACE_MS + 20_000);
    assert_eq!(fleet.decided(), [NONE, NONE], "partition 1 has not been read that far");
    fleet.beat(1, "a", 5_000);
    fleet.pass(1, FIRST_MS + GRACE_MS + 10_000);
    fleet.pass(0, FIRST_MS + GRACE_MS + 30_000);
    assert_eq!(fleet.decided(), [NONE, vec!["a 5000..17000 silent".to_owned()]]);
    assert_eq!(fleet.benches[0].state("a"), None, "its home is where it is heard");
}

#[test]
fn a_created_device_that_is_heard_nowhere_is_reported_by_its_partition() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, "a", 0, SignalKind::Created);
    fleet.pass(0, FIRST_MS + GRACE_MS + 10_000);
    fleet.pass(1, FIRST_MS + GRACE_MS + 10_000);
    fleet.pass(0, FIRST_MS + GRACE_MS + 10_200);
    assert_eq!(fleet.decided(), [vec!["a 0..62000 never_seen".to_owned()], NONE]);
}

#[test]
fn a_partition_that_is_ahead_of_the_create_notification_keeps_the_device() {
    let mut fleet = Fleet::new(2);
    fleet.beat(1, "a", 40_000);
    fleet.say(0, "a", 0, SignalKind::Created);
    fleet.pass(0, 200_000);
    fleet.pass(0, 200_200);
    assert_eq!(fleet.decided(), [NONE, NONE]);
    fleet.say(0, "a", 201_000, SignalKind::Deleted);
    assert_eq!(fleet.benches[1].state("a"), Some(State::Deleted));
    fleet.pass(1, 400_000);
    assert_eq!(fleet.decided(), [NONE, NONE]);
}

#[test]
fn a_device_heard_on_two_partitions_is_judged_once_and_on_both() {
    let mut fleet = Fleet::new(2);
    fleet.beat(0, "a", 0);
    fleet.beat(1, "a", 4_000);
    fleet.pass(0, 30_000);
    fleet.pass(0, 30_200);
    assert_eq!(fleet.decided(), [NONE, NONE], "partition 1 may still hold a heartbeat");
    fleet.beat(1, "a", 8_000);
    fleet.pass(1, 30_000);
    fleet.pass(0, 30_400);
    assert_eq!(fleet.decided(), [vec!["a 8000..20000 silent".to_owned()], NONE]);
    fleet.beat(1, "a", 31_000);
    assert_eq!(fleet.decided(), [vec!["a 8000..20000 resolved Heartbeat 31000".to_owned()], NONE]);
}

#[test]
fn an_outage_that_is_over_already_waits_for_the_other_partition_too() {
    let mut fleet = Fleet::new(2);
    fleet.beat(0, "a", 0);
    fleet.beat(1, "a", 500);
    fleet.beat(0, "a", 13_000);
    fleet.pass(0, 20_000);
    fleet.pass(0, 20_100);
    assert_eq!(fleet.decided(), [Vec::<String>::new(), Vec::new()]);
    fleet.beat(1, "a", 8_000);
    fleet.pass(1, 20_000);
    fleet.pass(0, 20_200);
    assert_eq!(fleet.decided(), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn a_device_that_moves_to_another_partition_is_judged_there() {
    let mut fleet = Fleet::new(2);
    fleet.beat(0, "a", 0);
    fleet.pass(0, 60_000);
    fleet.pass(1, 60_000);
    fleet.beat(1, "a", 61_000);
    assert_eq!(
        fleet.decided(),
        [
            vec!["a 0..12000 silent".to_owned(), "a 0..12000 resolved Heartbeat 61000".to_owned()],
            NONE
        ]
    );
    assert_eq!(fleet.benches[0].state("a"), None);
    fleet.pass(1, 61_000 + DUE_MS + 1_000);
    assert_eq!(fleet.decided(), [NONE, vec!["a 61000..73000 silent".to_owned()]]);
}

#[test]
fn a_device_stays_with_a_partition_that_was_not_read_for_as_long_as_it_is_heard_elsewhere() {
    let mut fleet = Fleet::new(2);
    fleet.beat(0, "a", 0);
    fleet.pass(0, 10_000);
    fleet.beat(1, "a", 100_000);
    assert_eq!(fleet.benches[0].state("a"), Some(State::Online));
    fleet.pass(1, 130_000);
    fleet.pass(1, 130_200);
    assert_eq!(fleet.decided(), [NONE, NONE], "partition 0 may still hold a heartbeat");
    fleet.pass(0, 130_000);
    fleet.pass(0, 130_200);
    let told =
        ["a 0..12000 silent", "a 0..12000 resolved Heartbeat 100000", "a 100000..112000 silent"];
    assert_eq!(fleet.decided(), [told.map(str::to_owned).to_vec(), NONE]);
}

#[test]
fn a_home_that_knows_of_a_later_deletion_is_told_once_what_a_guest_heard_before_it() {
    let mut fleet = Fleet::new(2);
    fleet.beat(0, "a", 0);
    fleet.benches[0].say("a", 5_000, SignalKind::Deleted);
    fleet.settle(0);
    fleet.beat(1, "a", 4_000);
    fleet.pass(0, 30_000);
    fleet.pass(1, 30_000);
    fleet.pass(0, 30_200);
    assert_eq!(fleet.decided(), [NONE, NONE]);
}

#[test]
fn when_the_home_of_a_guest_has_moved_elsewhere_only_one_partition_judges() {
    let mut fleet = Fleet::new(3);
    fleet.beat(0, "a", 0);
    fleet.beat(1, "a", 1_000); // guest of 0
    for (partition, ms) in [(1, 20_000), (0, 20_000), (0, 40_000)] {
        fleet.pass(partition, ms);
    }
    fleet.beat(2, "a", 100_000); // not heard on 0 for long: moves to 2
    assert_eq!(fleet.benches[0].state("a"), None);
    let told = ["a 1000..13000 silent", "a 1000..13000 resolved Heartbeat 100000"];
    assert_eq!(fleet.decided(), [told.map(str::to_owned).to_vec(), NONE, NONE]);
    fleet.beat(1, "a", 101_000); // 0 does not know it any more: 2 judges, on both clocks
    fleet.pass(2, 130_000);
    fleet.pass(2, 130_200);
    assert_eq!(fleet.decided(), [NONE, NONE, NONE], "partition 1 may still hold a heartbeat");
    fleet.pass(1, 130_000);
    fleet.pass(2, 130_400);
    assert_eq!(fleet.decided(), [NONE, NONE, vec!["a 101000..113000 silent".to_owned()]]);
}
