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

fn parcel(lane: u64, number: usize) -> Parcel {
    let ticket = Ticket { book: lane, entry: number as u64, index: 0 };
    Parcel { message: message(lane, number), ticket, may_have_arrived: false }
}

#[derive(Clone, Debug)]
enum Step {
    /// The next message of a lane, which an earlier process may have delivered or not.
    Put(u64, bool),
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
        4 => (0..3_u64, prop::bool::weighted(0.1)).prop_map(|(lane, maybe)| Step::Put(lane, maybe)),
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
    /// Tickets of what was put in and is not settled.
    owed: BTreeSet<Ticket>,
    /// Ids of alerts of which something reached the receiver, of those of which something may have, and of those whose
    /// end was cancelled.
    heard: BTreeSet<String>,
    maybe_heard: BTreeSet<String>,
    cancelled: BTreeSet<String>,
    /// Per lane, the numbers of attempts in their order.
    attempted: BTreeMap<u64, Vec<usize>>,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(lane, maybe) => {
                let number = self.put.entry(*lane).or_default();
                let parcel = Parcel { may_have_arrived: *maybe, ..parcel(*lane, *number) };
                *number += 1;
                let alert_id = parcel.message.alert_id.clone();
                assert!(self.owed.insert(parcel.ticket));
                if *maybe {
                    self.maybe_heard.insert(alert_id.clone());
                }
                let cancelled = self.lanes.put(parcel);
                self.cancel(&alert_id, &cancelled);
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
        let Message { lane, alert_id, status, .. } = &held.message;
        assert!(self.under_way.iter().all(|other| other.message.lane != *lane));
        assert!(
            !status.is_end() || self.maybe_heard.contains(alert_id),
            "an end is told although nobody heard of its alert"
        );
        let number = held.message.message_id.parse().unwrap();
        self.attempted.entry(*lane).or_default().push(number);
        self.under_way.push(held);
    }

    fn end(&mut self, mut held: Held, end: End) {
        let arrived = matches!(end, End::Delivered | End::Unsure(true) | End::GivenUpArrived);
        let alert_id = held.message.alert_id.clone();
        if arrived {
            self.heard.insert(alert_id.clone());
        }
        if arrived || matches!(end, End::Unsure(_)) {
            self.maybe_heard.insert(alert_id.clone());
        }
        let cancelled = match end {
            End::Delivered => {
                self.lanes.delivered(&held.message);
                self.settle(held.ticket);
                Vec::new()
            }
            End::GivenUp | End::GivenUpArrived => {
                held.may_have_arrived |= arrived;
                self.settle(held.ticket);
                self.lanes.give_up(&held)
            }
            End::Refused | End::Unsure(_) => {
                held.may_have_arrived |= matches!(end, End::Unsure(_));
                self.lanes.park(held, Instant::now() + Duration::from_secs(10))
            }
        };
        self.cancel(&alert_id, &cancelled);
    }

    fn settle(&mut self, ticket: Ticket) {
        assert!(self.owed.remove(&ticket), "settled twice, or never put in");
    }

    fn cancel(&mut self, alert_id: &str, tickets: &[Ticket]) {
        for &ticket in tickets {
            self.settle(ticket);
            self.cancelled.insert(alert_id.to_owned());
        }
    }
}

proptest! {
    #[test]
    fn each_is_settled_once_in_the_order_of_its_lane_and_an_end_is_told_only_if_its_alert_may_be_known(
        steps in steps()
    ) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            prop_assert_eq!(world.lanes.len(), world.owed.len());
        }
        while !world.lanes.is_empty() {
            world.step(&Step::Wake);
            world.step(&Step::Take);
            world.step(&Step::End(0, End::Delivered));
        }
        prop_assert_eq!(world.owed, BTreeSet::new());
        prop_assert!(world.lanes.lanes.is_empty() && world.lanes.ready.is_empty());
        prop_assert!(world.lanes.parked.is_empty());
        for attempted in world.attempted.values() {
            prop_assert!(attempted.is_sorted());
        }
        let both: Vec<_> = world.maybe_heard.intersection(&world.cancelled).collect();
        prop_assert!(both.is_empty(), "{:?}", both);
        prop_assert!(world.heard.is_subset(&world.maybe_heard));
    }
}

#[test]
fn an_end_cancels_its_alert_and_leaves_the_others_of_its_lane() {
    let mut lanes = Lanes::default();
    for number in 0..2 {
        assert_eq!(lanes.put(parcel(1, number)), []);
    }
    let next_alert = parcel(1, 3);
    assert_eq!(lanes.put(next_alert.clone()), []);
    let first = lanes.take().unwrap();
    let later = Instant::now() + Duration::from_secs(3_600);
    assert_eq!(lanes.park(first, later), []);
    assert!(lanes.take().is_none());
    let tickets = [0, 1, 2].map(|number| parcel(1, number).ticket);
    assert_eq!(lanes.put(parcel(1, 2)), tickets);
    assert_eq!(lanes.take().unwrap().message, next_alert.message);
    assert_eq!((lanes.held, lanes.next_retry()), (1, None));
}

#[test]
fn an_end_that_came_during_the_attempt_cancels_its_alert_when_that_is_refused() {
    let mut lanes = Lanes::default();
    lanes.put(parcel(1, 0));
    let first = lanes.take().unwrap();
    assert_eq!(lanes.put(parcel(1, 2)), []);
    let tickets = [0, 2].map(|number| parcel(1, number).ticket);
    assert_eq!(lanes.park(first, Instant::now()), tickets);
    assert!(lanes.is_empty() && lanes.next_retry().is_none());
}

#[test]
fn what_an_earlier_process_may_have_delivered_is_never_cancelled() {
    for maybe in [0, 2] {
        let mut lanes = Lanes::default();
        for number in [0, 2] {
            let may_have_arrived = number == maybe;
            assert_eq!(lanes.put(Parcel { may_have_arrived, ..parcel(1, number) }), []);
        }
        let first = lanes.take().unwrap();
        assert_eq!(lanes.park(first, Instant::now()), []);
        assert_eq!(lanes.len(), 2);
    }
}

#[test]
fn the_memory_of_beginnings_that_were_given_up_is_bounded() {
    let mut lanes = Lanes::default();
    for lane in 0..2 * MAX_GIVEN_UP as u64 {
        lanes.put(parcel(lane, 0));
        let held = lanes.take().unwrap();
        assert_eq!(lanes.give_up(&held), []);
    }
    assert_eq!((lanes.given_up.len(), lanes.lanes.len()), (MAX_GIVEN_UP, 0));
}
