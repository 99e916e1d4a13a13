use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const STATUSES: [Status; 3] = [Status::Firing, Status::Amended, Status::Resolved];

/// Message `number` of a lane: its alerts follow one another, each with three messages.
fn message(lane: u64, number: usize) -> Message {
    Message {
        message_id: format!("{number}"),
        alert_id: format!("{lane}/{}", number / STATUSES.len()),
        lane,
        status: STATUSES[number % STATUSES.len()],
        body: bytes::Bytes::new(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Take,
    /// What becomes of one of those under way.
    End(usize, End),
    Wake,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    Refused,
    /// It counts as failed; the receiver has it or not.
    Unsure(bool),
    GivenUp,
    /// Given up after an attempt that counts as failed but arrived.
    GivenUpArrived,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop::sample::select(vec![
        End::Delivered,
        End::Refused,
        End::Refused,
        End::Unsure(true),
        End::Unsure(false),
        End::GivenUp,
        End::GivenUpArrived,
    ]);
    let step = prop_oneof![
        4 => (0..3_u64).prop_map(Step::Put),
        2 => Just(Step::Take),
        2 => (0..8_usize, end).prop_map(|(which, end)| Step::End(which, end)),
        1 => Just(Step::Wake),
    ];
    prop::collection::vec(step, 0..200)
}

#[derive(Default)]
struct World {
    lanes: Lanes,
    put: BTreeMap<u64, usize>,
    under_way: Vec<Held>,
    kept: usize,
    /// Ids of alerts of which something reached the receiver, and of those whose end was cancelled.
    heard: BTreeSet<String>,
    cancelled: BTreeSet<String>,
    /// Per lane, the numbers of attempts in their order.
    attempted: BTreeMap<u64, Vec<usize>>,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(lane) => {
                let number = self.put.entry(*lane).or_default();
                let message = message(*lane, *number);
                *number += 1;
                let alert_id = message.alert_id.clone();
                match self.lanes.put(message) {
                    0 => self.kept += 1,
                    dropped => {
                        self.kept -= dropped - 1;
                        self.cancelled.insert(alert_id);
                    }
                }
            }
            Step::Take => self.take(),
            Step::End(which, end) if !self.under_way.is_empty() => {
                let held = self.under_way.remove(which % self.under_way.len());
                self.end(held, *end);
            }
            Step::End(..) => {}
            Step::Wake => self.lanes.wake(Instant::now() + Duration::from_secs(60)),
        }
    }

    fn take(&mut self) {
        let Some(held) = self.lanes.take() else { return };
        let lane = held.message.lane;
        assert!(self.under_way.iter().all(|other| other.message.lane != lane));
        let number = held.message.message_id.parse().unwrap();
        self.attempted.entry(lane).or_default().push(number);
        self.under_way.push(held);
    }

    fn end(&mut self, mut held: Held, end: End) {
        let arrived = matches!(end, End::Delivered | End::Unsure(true) | End::GivenUpArrived);
        if arrived {
            self.heard.insert(held.message.alert_id.clone());
        }
        match end {
            End::Delivered => self.lanes.delivered(&held.message),
            End::GivenUp => self.lanes.give_up(&held),
            End::GivenUpArrived => {
                held.may_have_arrived = true;
                self.lanes.give_up(&held);
            }
            End::Refused | End::Unsure(_) => {
                held.may_have_arrived |= matches!(end, End::Unsure(_));
                return self.lanes.park(held, Instant::now() + Duration::from_secs(10));
            }
        }
        self.kept -= 1;
    }
}

proptest! {
    #[test]
    fn lanes_keep_their_order_and_an_end_is_cancelled_only_if_nobody_heard_of_its_alert(steps in steps()) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            prop_assert_eq!(world.lanes.held, world.kept);
        }
        while !world.lanes.is_empty() {
            world.step(&Step::Wake);
            world.step(&Step::Take);
            world.step(&Step::End(0, End::Delivered));
        }
        prop_assert!(world.lanes.lanes.is_empty() && world.lanes.ready.is_empty());
        prop_assert!(world.lanes.parked.is_empty());
        for attempted in world.attempted.values() {
            prop_assert!(attempted.is_sorted());
        }
        let both: Vec<_> = world.heard.intersection(&world.cancelled).collect();
        prop_assert!(both.is_empty(), "{:?}", both);
    }
}

#[test]
fn an_end_cancels_its_alert_and_leaves_the_others_of_its_lane() {
    let mut lanes = Lanes::default();
    for number in 0..2 {
        assert_eq!(lanes.put(message(1, number)), 0);
    }
    let next_alert = message(1, 3);
    assert_eq!(lanes.put(next_alert.clone()), 0);
    let first = lanes.take().unwrap();
    let later = Instant::now() + Duration::from_secs(3_600);
    lanes.park(first, later);
    assert!(lanes.take().is_none());
    assert_eq!(lanes.put(message(1, 2)), 3);
    assert_eq!(lanes.take().unwrap().message, next_alert);
    assert_eq!((lanes.held, lanes.next_retry()), (1, None));
}

#[test]
fn the_memory_of_beginnings_that_were_given_up_is_bounded() {
    let mut lanes = Lanes::default();
    for lane in 0..2 * MAX_GIVEN_UP as u64 {
        lanes.put(message(lane, 0));
        let held = lanes.take().unwrap();
        lanes.give_up(&held);
    }
    assert_eq!((lanes.given_up.len(), lanes.lanes.len()), (MAX_GIVEN_UP, 0));
}
