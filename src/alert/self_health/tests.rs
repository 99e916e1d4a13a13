use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn sink(name: &str) -> Arc<str> {
    name.into()
}

fn given_up(name: &str) -> Notice {
    Notice::GivenUp { sink: sink(name), since: MIDNIGHT }
}

fn delivering(name: &str) -> Notice {
    Notice::Delivering { sink: sink(name) }
}

/// A watch whose wall clock is midnight plus boot time.
#[derive(Default)]
struct World {
    watch: DeliveryWatch,
    now_ms: Millis,
}

impl World {
    fn notice(&mut self, notice: &Notice) -> Option<SelfAlert> {
        self.watch.notice(notice, self.now_ms, MIDNIGHT.plus(self.now_ms))
    }

    fn look_after(&mut self, step_ms: Millis) -> Vec<SelfAlert> {
        self.now_ms += step_ms;
        self.watch.look(self.now_ms, MIDNIGHT.plus(self.now_ms))
    }
}

#[test]
fn giving_up_opens_one_alert_which_ends_after_delivering_for_long_enough() {
    let mut world = World { now_ms: 60_000, ..World::default() };
    let told = world.notice(&given_up("ops")).expect("told");
    let at = MIDNIGHT.plus(60_000);
    assert_eq!(told.id, AlertId::of_self("delivery_failing", "ops", at));
    assert_eq!((told.status, told.reason), (Status::Firing, SelfReason::DeliveryFailing));
    assert_eq!((told.since, told.detected_at, told.at), (MIDNIGHT, at, at));
    assert_eq!(told.counts, BTreeMap::from([("given_up".to_owned(), 1)]));
    assert_eq!(world.notice(&given_up("ops")), None);
    assert_eq!(world.look_after(CLEAR_AFTER_MS), []);
    assert_eq!(world.notice(&delivering("ops")), None);
    assert_eq!(world.look_after(CLEAR_AFTER_MS - 1), []);
    let ended = world.look_after(1);
    let counts = BTreeMap::from([("given_up".to_owned(), 2)]);
    assert_eq!(ended, [SelfAlert { counts, ..told.resolved(MIDNIGHT.plus(world.now_ms)) }]);
    assert_eq!(world.look_after(CLEAR_AFTER_MS), []);
}

#[test]
fn another_message_given_up_puts_the_end_off() {
    let mut world = World::default();
    world.notice(&given_up("ops"));
    for _ in 0..5 {
        world.notice(&delivering("ops"));
        assert_eq!(world.look_after(CLEAR_AFTER_MS - 1), []);
        assert_eq!(world.notice(&given_up("ops")), None);
        assert_eq!(world.look_after(2), []);
    }
}

#[test]
fn a_sink_that_is_disabled_meanwhile_fires_again_under_the_same_id() {
    let mut world = World::default();
    let failing = world.notice(&given_up("ops")).expect("told");
    let disabled = world.notice(&Notice::Disabled { sink: sink("ops") }).expect("told");
    assert_eq!((disabled.id, disabled.ordinal), (failing.id, 1));
    assert_eq!(disabled.reason, SelfReason::EndpointDisabled);
    for notice in [given_up("ops"), Notice::Disabled { sink: sink("ops") }] {
        assert_eq!(world.notice(&notice), None);
    }
}

#[test]
fn an_alert_of_an_earlier_process_ends_under_its_own_id() {
    let mut world = World::default();
    world.notice(&Notice::Disabled { sink: sink("ops") });
    world.notice(&given_up("lab"));
    let open: Vec<SelfAlert> = world.watch.open().cloned().collect();
    let about_all = SelfAlert::firing(SelfReason::Storage, None, MIDNIGHT, MIDNIGHT);
    let restored = DeliveryWatch::restored(open.iter().cloned().chain([about_all]));
    let mut world = World { watch: restored, now_ms: 1_000 };
    assert!(world.watch.open().eq(&open));
    assert_eq!(world.notice(&delivering("ops")), None);
    let ended = world.look_after(CLEAR_AFTER_MS);
    assert_eq!(ended.iter().map(|alert| alert.id).collect::<Vec<_>>(), [open[1].id]);
    assert!(world.watch.open().eq(&open[..1]));
}

#[test]
fn no_more_sinks_are_watched_than_there_can_be() {
    let mut world = World::default();
    for number in 0..2 * MAX_SINKS {
        let told = world.notice(&given_up(&number.to_string()));
        assert_eq!(told.is_some(), number < MAX_SINKS);
    }
}

#[test]
fn reasons_have_names_of_their_own() {
    let mut names = SelfReason::ALL.map(SelfReason::as_str).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SelfReason::ALL.len());
}

proptest! {
    #[test]
    fn each_sink_has_at_most_one_open_alert_and_every_end_follows_its_beginning(
        steps in prop::collection::vec((0..5_u8, 0..3_usize, 0..CLEAR_AFTER_MS), 0..200)
    ) {
        let mut world = World::default();
        let mut open: BTreeMap<Arc<str>, (AlertId, u32)> = BTreeMap::new();
        for (step, index, step_ms) in steps {
            let name = sink(["a", "b", "c"][index]);
            let told = match step {
                0 => world.notice(&Notice::GivenUp { sink: name, since: MIDNIGHT }),
                1 => world.notice(&Notice::Disabled { sink: name }),
                2 => world.notice(&Notice::Delivering { sink: name }),
                _ => None,
            };
            if let Some(alert) = told {
                prop_assert_eq!(alert.status, Status::Firing);
                let name = alert.sink.clone().expect("it is about a sink");
                match open.insert(name, (alert.id, alert.ordinal)) {
                    Some((id, ordinal)) => {
                        prop_assert_eq!(id, alert.id);
                        prop_assert_eq!(ordinal + 1, alert.ordinal);
                        prop_assert_eq!(alert.reason, SelfReason::EndpointDisabled);
                    }
                    None => prop_assert_eq!(alert.ordinal, 0),
                }
            }
            for alert in world.look_after(if step < 3 { 1 } else { step_ms }) {
                prop_assert_eq!(alert.status, Status::Resolved);
                let name = alert.sink.clone().expect("it is about a sink");
                prop_assert_eq!(open.remove(&name).map(|(id, _)| id), Some(alert.id));
            }
        }
    }
}
