use super::*;

/// A fleet of `count` devices that beat at 0, one after the other, and then nobody.
fn silent_fleet(count: i64) -> Bench {
    let mut bench = Bench::live();
    for device in 0..count {
        bench.beat(&format!("d{device:02}"), device);
    }
    bench
}

impl Bench {
    /// Somebody is heard on another partition of the source, and nobody before.
    fn hear_elsewhere(&mut self, at_ms: i64) {
        self.hear_of("h", at_ms);
    }

    fn hear_of(&mut self, hub: &str, at_ms: i64) {
        let witness = Witness { hub: hub.into(), heard: Heard::once(at(at_ms)) };
        self.engine.heard_elsewhere([(7, witness)]);
    }
}

/// Nine of ten are heard, one after the other.
fn beat_all_but_the_last(bench: &mut Bench, from_ms: i64) {
    for device in 0..9 {
        bench.beat(&format!("d{device:02}"), from_ms + device);
    }
}

const HELD: Option<BlindReason> = Some(BlindReason::RouteUnproven);

#[test]
fn when_nobody_of_many_is_heard_nobody_is_flagged_and_the_partition_says_why() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.engine.blind_reason(), HELD);
    assert_eq!(bench.engine.stats().identities[State::Late as usize], 10);
}

#[test]
fn of_a_few_each_is_flagged_and_the_verdict_says_that_the_route_was_not_proven() {
    let mut bench = silent_fleet(9);
    bench.prove(DUE_MS + 60_000);
    assert!(bench.out.transitions.iter().all(|transition| transition.outage.route_unproven));
    assert_eq!(bench.out.transitions.len(), 9);
}

#[test]
fn after_the_silence_of_all_everybody_has_a_new_window_and_only_who_stays_silent_is_flagged() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    let back = DUE_MS + 70_000;
    beat_all_but_the_last(&mut bench, back);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.engine.blind_reason(), None);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, back)]);
    beat_all_but_the_last(&mut bench, back + WINDOW_MS);
    bench.pass(back + 2 * DUE_MS);
    let told = bench.decided();
    assert!(told.iter().any(|line| line.starts_with("d09 9..")), "{told:?}");
}

#[test]
fn somebody_heard_on_another_partition_of_the_source_proves_the_route() {
    let mut bench = silent_fleet(10);
    bench.hear_elsewhere(DUE_MS);
    bench.prove(DUE_MS + 2_000);
    assert_eq!(bench.decided().len(), 10);
    assert_eq!(bench.engine.blind_reason(), None);
}

#[test]
fn who_is_heard_of_another_hub_proves_nothing_about_the_route_of_this_one() {
    let mut bench = silent_fleet(10);
    bench.hear_of("another", DUE_MS);
    bench.prove(DUE_MS + 60_000);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.engine.blind_reason(), HELD);
}

#[test]
fn an_old_message_that_was_on_its_way_ends_no_hold() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    bench.beat("d03", 2);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.engine.blind_reason(), HELD);
}

#[test]
fn a_shard_that_splits_while_verdicts_are_held_takes_them_with_it() {
    let bench = Bench::new();
    let mut bench = Bench { engine: bench.engine.with_shards(12, 8), ..bench };
    bench.attach(0, Backlog::Empty);
    for device in 0..10 {
        bench.beat(&format!("d{device:02}"), device);
    }
    bench.prove(DUE_MS + 60_000);
    assert_eq!((bench.engine.blind_reason(), bench.engine.shards.len()), (HELD, 1));
    for device in 10..40 {
        bench.beat(&format!("d{device:02}"), 9);
    }
    assert_eq!(bench.engine.blind_reason(), HELD);
    assert!(bench.engine.shards.len() > 2, "{}", bench.engine.shards.len());
    bench.prove(DUE_MS + 62_000);
    assert_eq!((bench.engine.blind_reason(), bench.decided()), (HELD, Vec::new()));
    let back = DUE_MS + 70_000;
    bench.hear_elsewhere(back);
    bench.prove(back + 1_000);
    assert_eq!(
        (bench.engine.blind_reason(), bench.gaps()),
        (None, vec![(GapReason::RouteUnproven, 9, back)])
    );
    bench.hear_elsewhere(back + WINDOW_MS);
    bench.prove(back + 2 * DUE_MS);
    assert_eq!(bench.decided().len(), 40);
}

#[test]
fn a_device_that_falls_silent_alone_is_flagged_as_ever() {
    let mut bench = silent_fleet(10);
    for step in 1..=4 {
        for device in 1..10 {
            bench.beat(&format!("d{device:02}"), step * 5_000 + device);
        }
    }
    assert_eq!(bench.decided(), ["d00 0..12000 silent"]);
}

#[test]
fn what_a_stopped_route_kept_back_disproves_nothing_when_it_comes_in_its_order() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    assert_eq!(bench.engine.blind_reason(), HELD);
    for step in 1..=14 {
        for device in 0..10 {
            bench.beat(&format!("d{device:02}"), step * 5_000 + device);
        }
    }
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!((bench.engine.blind_reason(), bench.gaps()), (None, Vec::new()));
}

#[test]
fn what_a_stopped_route_has_lost_of_what_it_kept_back_is_no_silence() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    for step in 8..=15 {
        assert_eq!(bench.engine.blind_reason(), HELD);
        for device in 0..10 {
            bench.beat(&format!("d{device:02}"), step * 5_000 + device);
        }
    }
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.engine.blind_reason(), None);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, 75_000)]);
}

#[test]
fn who_is_heard_late_elsewhere_proves_no_route() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS - 3_000);
    bench.hear_elsewhere(DUE_MS - 5_000);
    bench.prove(DUE_MS + 60_000);
    assert_eq!((bench.engine.blind_reason(), bench.decided()), (HELD, Vec::new()));
}

#[test]
fn a_queue_on_which_everything_comes_late_has_a_slower_clock_and_nobody_is_flagged() {
    let mut bench = Bench { says_arrival: false, ..Bench::live() };
    for step in 1..=40 {
        for device in 0..10 {
            bench.beat(&format!("d{device:02}"), step * 3_000 + device);
        }
        bench.prove(step * 3_000 + 6_000);
    }
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!((bench.engine.blind_reason(), bench.gaps()), (None, Vec::new()));
    assert_eq!(bench.engine.clock(), at(123_000));
}

#[test]
fn a_silence_of_all_flags_nobody_if_a_message_and_no_proof_comes_first_after_it() {
    let mut bench = silent_fleet(10);
    let back = DUE_MS + 70_000;
    beat_all_but_the_last(&mut bench, back);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, back)]);
    beat_all_but_the_last(&mut bench, back + WINDOW_MS);
    bench.pass(back + 2 * DUE_MS);
    let told = bench.decided();
    assert!(told.iter().any(|line| line.starts_with("d09 9..")), "{told:?}");
}

#[test]
fn who_is_heard_after_the_deadline_proves_no_route_before_it() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS);
    bench.beat("d00", DUE_MS + 500);
    bench.prove(DUE_MS + 5_000);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, DUE_MS + 500)]);
}

#[test]
fn who_is_heard_elsewhere_after_the_deadline_ends_the_silence_and_proves_nothing_before_it() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    bench.hear_elsewhere(DUE_MS + 61_000);
    bench.prove(DUE_MS + 63_000);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, DUE_MS + 62_000)]);
    assert_eq!(bench.engine.blind_reason(), None);
}

#[test]
fn a_restart_forgets_no_silence_of_all() {
    let mut bench = silent_fleet(10);
    bench.prove(DUE_MS + 60_000);
    let mut image = Vec::new();
    bench.engine.image(&mut image);
    bench.engine = Partition::restore(Arc::new(policy()), settings(), &image).unwrap();
    bench.engine.resume(None);
    bench.attach(DUE_MS + 60_000, Backlog::Empty);
    bench.beat("d00", DUE_MS + 61_000);
    bench.prove(DUE_MS + 62_000);
    assert_eq!(bench.decided(), [""; 0]);
    assert_eq!(bench.gaps(), [(GapReason::RouteUnproven, 9, DUE_MS + 61_000)]);
}
