use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::alert::id::AlertId;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);
/// The longest hold after anything was found last.
const LONGEST_HOLD_MS: Millis = 5_000;

/// A machine with three clocks.
struct World {
    vitals: Vitals,
    now: Look,
    told: Vec<SelfAlert>,
}

impl World {
    fn new() -> Self {
        let now =
            Look { boot_ms: 50_000, monotonic_ms: 40_000, wall: MIDNIGHT, unwritten_ms: None };
        let mut world = Self { vitals: Vitals::default(), now, told: Vec::new() };
        world.look();
        world
    }

    fn look(&mut self) -> Vec<SelfAlert> {
        let told = self.vitals.look(self.now);
        self.told.extend(told.clone());
        told
    }

    /// Everything runs for this long, then there is a look.
    fn after(&mut self, ms: Millis) -> Vec<SelfAlert> {
        self.now.boot_ms += ms;
        self.now.monotonic_ms += ms;
        self.now.wall = self.now.wall.plus(ms);
        self.look()
    }

    fn healthy(&mut self, ms: Millis) -> Vec<SelfAlert> {
        (0..ms / LOOK_EVERY_MS).flat_map(|_| self.after(LOOK_EVERY_MS)).collect()
    }

    fn held(&self) -> Option<SelfReason> {
        self.vitals.hold(self.now.boot_ms).map(|hold| hold.reason)
    }
}

fn reasons(told: &[SelfAlert]) -> Vec<(SelfReason, Status)> {
    told.iter().map(|alert| (alert.reason, alert.status)).collect()
}

fn fired(reason: SelfReason) -> Vec<(SelfReason, Status)> {
    vec![(reason, Status::Firing)]
}

#[test]
fn a_process_that_was_frozen_is_starved_holds_for_a_while_and_is_told_once_with_its_end() {
    let mut world = World::new();
    let told = world.after(10_000);
    let at = world.now.wall;
    assert_eq!(reasons(&told), fired(SelfReason::Starved));
    assert_eq!(told[0].id, AlertId::of_self("starved", "", at));
    assert_eq!((told[0].since, told[0].at), (at.minus(9_900), at));
    let counts = BTreeMap::from([("times".to_owned(), 1), ("longest_ms".to_owned(), 9_900)]);
    assert_eq!(told[0].counts, counts);
    assert_eq!(world.held(), Some(SelfReason::Starved));
    assert_eq!(world.healthy(1_900), []);
    assert_eq!(world.held(), Some(SelfReason::Starved));
    world.healthy(100);
    assert_eq!(world.held(), None);
    assert_eq!(world.after(3_000), [], "told already");
    assert_eq!(world.healthy(CLEAR_AFTER_MS), []);
    let ended = world.healthy(LOOK_EVERY_MS);
    assert_eq!((ended[0].id, ended[0].status), (told[0].id, Status::Resolved));
    assert_eq!(ended[0].counts["times"], 2);
    assert_eq!(world.vitals.open().count(), 0);
}

#[test]
fn a_machine_that_slept_was_suspended_and_not_starved() {
    let mut world = World::new();
    world.now.boot_ms += 3_600_000;
    world.now.wall = world.now.wall.plus(3_600_000 + 2_500);
    assert_eq!(reasons(&world.after(100)), fired(SelfReason::Suspended));
    assert_eq!(world.held(), Some(SelfReason::Suspended));
    world.healthy(5_000);
    assert_eq!(world.held(), None);
}

#[test]
fn a_wall_clock_that_was_set_holds_and_says_how_far_and_a_leap_second_or_a_slew_does_not() {
    for (step_ms, name) in [(3_600_000, "furthest_forward_ms"), (-20_000, "furthest_back_ms")] {
        let mut world = World::new();
        world.now.wall = world.now.wall.plus(step_ms);
        let told = world.after(100);
        assert_eq!(reasons(&told), fired(SelfReason::ClockStepped));
        assert_eq!(told[0].counts[name], step_ms.unsigned_abs());
        assert_eq!(world.held(), Some(SelfReason::ClockStepped));
    }
    let mut world = World::new();
    world.now.wall = world.now.wall.minus(1_000);
    assert_eq!(world.after(100), []);
    for _ in 0..10_000 {
        world.now.wall = world.now.wall.plus(10);
        assert_eq!(world.after(100), [], "a slew of a tenth, for a quarter of an hour");
    }
}

#[test]
fn a_store_that_cannot_be_written_holds_as_long_as_that_lasts() {
    let mut world = World::new();
    for unwritten_ms in (0..STORAGE_MS).step_by(100) {
        world.now.unwritten_ms = Some(unwritten_ms);
        assert_eq!(world.after(100), []);
        assert_eq!(world.held(), None);
    }
    world.now.unwritten_ms = Some(STORAGE_MS);
    assert_eq!(reasons(&world.after(100)), fired(SelfReason::Storage));
    for unwritten_ms in (STORAGE_MS..300_000).step_by(100) {
        world.now.unwritten_ms = Some(unwritten_ms);
        assert_eq!(world.after(100), []);
        assert_eq!(world.held(), Some(SelfReason::Storage));
    }
    world.now.unwritten_ms = None;
    world.healthy(1_000);
    assert_eq!(world.held(), None);
    let open: Vec<_> = world.vitals.open().map(|alert| alert.counts["longest_ms"]).collect();
    assert_eq!(open, [299_900]);
}

#[test]
fn looks_that_are_late_again_and_again_are_late_ticks_and_a_single_one_is_none() {
    let mut world = World::new();
    assert_eq!(world.after(2_000), [], "one look, late by 1.9 s");
    assert_eq!(world.held(), None);
    world.healthy(10_000);
    let told: Vec<_> = (0..10).flat_map(|_| world.after(1_000)).collect();
    assert_eq!(reasons(&told), fired(SelfReason::LateTicks));
    assert_eq!(world.held(), Some(SelfReason::LateTicks));
    world.healthy(20_000);
    assert_eq!(world.held(), None);
}

#[test]
fn alerts_of_an_earlier_process_end_under_their_own_ids_and_fire_no_second_time() {
    let starved = SelfAlert::firing(SelfReason::Starved, None, MIDNIGHT, MIDNIGHT);
    let of_a_sink =
        SelfAlert::firing(SelfReason::DeliveryFailing, Some("ops".into()), MIDNIGHT, MIDNIGHT);
    let mut world = World::new();
    world.vitals = Vitals::restored([starved.clone(), of_a_sink]);
    assert_eq!(world.healthy(1_000), []);
    assert_eq!(world.after(30_000), [], "it is open already");
    let ended = world.healthy(CLEAR_AFTER_MS + LOOK_EVERY_MS);
    assert_eq!((ended.len(), ended[0].id, ended[0].status), (1, starved.id, Status::Resolved));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Runs(Millis),
    Sleeps(Millis),
    Sets(Millis),
    Fails(Option<Millis>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..400_i64).prop_map(Step::Runs),
        1 => (400..20_000_i64).prop_map(Step::Runs),
        1 => Just(Step::Runs(90_000)),
        1 => (0..10_000_000_i64).prop_map(Step::Sleeps),
        1 => (-10_000_000..10_000_000_i64).prop_map(Step::Sets),
        1 => prop::option::of(0..10_000_i64).prop_map(Step::Fails),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn a_machine_that_is_busy_and_slews_its_clock_is_held_up_by_nothing(
        looks in prop::collection::vec((100..350_i64, -35..35_i64), 1..500),
    ) {
        let mut world = World::new();
        for (ms, slew_ms) in looks {
            world.now.wall = world.now.wall.plus(slew_ms);
            prop_assert_eq!(world.after(ms), []);
            prop_assert_eq!(world.held(), None);
        }
    }

    #[test]
    fn whatever_happens_each_hold_has_its_open_alert_and_all_of_it_ends(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Runs(ms) => drop(world.after(ms)),
                Step::Sleeps(ms) => {
                    world.now.boot_ms += ms;
                    world.now.wall = world.now.wall.plus(ms);
                    world.look();
                }
                Step::Sets(ms) => {
                    world.now.wall = world.now.wall.plus(ms);
                    world.look();
                }
                Step::Fails(ms) => world.now.unwritten_ms = ms,
            }
            if let Some(Hold { reason, until_ms }) = world.vitals.hold(world.now.boot_ms) {
                prop_assert!(until_ms - world.now.boot_ms <= LONGEST_HOLD_MS);
                prop_assert!(world.vitals.open().any(|alert| alert.reason == reason));
            }
            prop_assert!(world.vitals.open().count() <= HOLDS.len());
        }
        world.now.unwritten_ms = None;
        world.healthy(LONGEST_HOLD_MS + 10_000);
        prop_assert_eq!(world.held(), None);
        world.healthy(CLEAR_AFTER_MS + LOOK_EVERY_MS);
        prop_assert_eq!(world.vitals.open().count(), 0);
        let mut open = BTreeMap::new();
        for alert in &world.told {
            match alert.status {
                Status::Firing => prop_assert_eq!(open.insert(alert.reason, alert.id), None),
                Status::Resolved => prop_assert_eq!(open.remove(&alert.reason), Some(alert.id)),
                Status::Retracted | Status::Amended | Status::Updated => prop_assert!(false),
            }
        }
        prop_assert!(open.is_empty());
    }
}
