use super::*;

#[test]
fn a_silent_device_is_flagged_when_the_clock_reaches_its_deadline_and_not_before() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.pass(DUE_MS + 999);
    assert_eq!((bench.decided(), bench.state("a")), (vec![], Some(State::Late)));
    bench.pass(DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent"]);
    assert_eq!((bench.clock_ms(), bench.state("a")), (DUE_MS, Some(State::Offline)));
}

#[test]
fn what_a_message_makes_due_is_fired_before_the_message_is_applied() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.beat("a", DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 resolved Heartbeat 13000"]);
}

#[test]
fn deadlines_fire_in_their_order_whatever_the_size_of_the_step_and_of_the_budget() {
    for budget in [1, 2, usize::MAX] {
        let mut bench = Bench::with_budget(budget);
        bench.attach(0, Backlog::Empty);
        for (device, ms) in [("c", 40), ("a", 30), ("b", 30), ("d", 1_500)] {
            bench.beat(device, ms);
        }
        bench.pass(600_000);
        let order: Vec<String> = bench.decided();
        assert_eq!(
            order,
            [
                "a 30..12030 silent",
                "b 30..12030 silent",
                "c 40..12040 silent",
                "d 1500..13500 silent"
            ]
        );
    }
}

#[test]
fn a_message_waits_until_everything_due_has_fired() {
    let mut bench = Bench::with_budget(1);
    bench.attach(0, Backlog::Empty);
    bench.beat("a", 0);
    bench.beat("b", 10);
    let message = Message {
        sequence: 3,
        event_time: Some(at(60_000)),
        append_time: None,
        signal: Some(signal("a", None, SignalKind::Telemetry, "100")),
    };
    bench.engine.prepare(&message, &mut bench.out);
    assert!(!bench.engine.fire(1, &mut bench.out));
    assert_eq!(bench.decided(), ["a 0..12000 silent"]);
    assert_eq!(bench.clock_ms(), 12_100, "the clock stands at the tick of the last fired deadline");
    assert!(bench.engine.fire(1, &mut bench.out));
    bench.engine.apply(&message, &mut bench.out);
    assert_eq!(bench.decided(), ["b 10..12010 silent", "a 0..12000 resolved Heartbeat 60000"]);
}

#[test]
fn a_heartbeat_beyond_a_deadline_that_the_clock_has_not_reached_is_outage_and_end() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.beat("a", DUE_MS + 500);
    assert_eq!(bench.decided(), Vec::<String>::new());
    bench.pass(DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 resolved Heartbeat 12500"]);
    assert_eq!(bench.state("a"), Some(State::Online));
}

#[test]
fn a_heartbeat_dated_in_between_cancels_the_crossing_or_moves_it_on() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.beat("a", DUE_MS + 500);
    bench.beat("a", 1_000);
    bench.pass(DUE_MS + 2_000);
    assert_eq!(bench.decided(), Vec::<String>::new());

    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.beat("a", DUE_MS + 900);
    bench.beat("a", 300);
    bench.pass(DUE_MS + 2_000);
    assert_eq!(bench.decided(), ["a 300..12300 silent", "a 300..12300 resolved Heartbeat 12900"]);
    assert_eq!(bench.out.false_offline, 0);
}

#[test]
fn a_heartbeat_inside_the_judged_window_retracts_and_is_counted() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.pass(DUE_MS + 1_000);
    bench.beat("a", 5_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 retracted 5000"]);
    assert_eq!((bench.out.false_offline, bench.state("a")), (1, Some(State::Online)));
    bench.pass(5_000 + DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 5000..17000 silent"]);
}

#[test]
fn a_heartbeat_inside_the_judged_window_whose_own_deadline_has_passed_amends() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.pass(60_000);
    bench.beat("a", 5_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 5000..17000 amended 12000"]);
    assert_eq!(bench.state("a"), Some(State::Offline));
    bench.beat("a", 62_000);
    assert_eq!(bench.decided(), ["a 5000..17000 resolved Heartbeat 62000"]);
}

#[test]
fn a_verdict_can_be_disproved_after_its_end() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.pass(20_000);
    bench.beat("a", 20_500);
    bench.decided();
    bench.beat("a", 11_000);
    assert_eq!(bench.decided(), ["a 0..12000 retracted 11000"]);
    assert_eq!(bench.state("a"), Some(State::Online));
    bench.beat("a", 11_000);
    assert_eq!(bench.decided(), Vec::<String>::new(), "a duplicate changes nothing");
}

#[test]
fn without_another_devices_message_in_the_last_half_of_the_window_the_route_is_unproven() {
    let unproven = |others_ms: &[i64]| {
        let mut bench = Bench::live();
        bench.beat("a", 0);
        for &ms in others_ms {
            bench.beat("b", ms);
        }
        bench.prove(DUE_MS + 1_000);
        let first = bench.out.transitions.first().expect("a is flagged");
        assert_eq!(&*first.identity.device, "a");
        first.outage.route_unproven
    };
    assert!(unproven(&[]));
    assert!(unproven(&[6_999]));
    assert!(!unproven(&[7_000]));
}

#[test]
fn the_cause_is_what_the_hub_said_last() {
    let sequence = |n: u8| ConnectionSequence([n; 32]);
    let cause = |kinds: &[SignalKind]| {
        let mut bench = Bench::live();
        bench.beat("a", 0);
        for &kind in kinds {
            bench.say("a", 1_000, kind);
        }
        bench.prove(20_000);
        bench.out.transitions[0].outage.cause
    };
    assert_eq!(cause(&[]), Cause::Silent);
    assert_eq!(cause(&[SignalKind::Disconnected(sequence(2))]), Cause::Disconnected);
    let reordered = [SignalKind::Connected(sequence(3)), SignalKind::Disconnected(sequence(2))];
    assert_eq!(cause(&reordered), Cause::ConnectedButSilent);
    assert_eq!(cause(&[SignalKind::LastWill]), Cause::LastWill);
}

#[test]
fn an_outage_is_as_short_as_its_earliest_end() {
    let mut bench = Bench::live();
    bench.beat("b", 25_000);
    bench.beat("a", 0);
    bench.beat("a", 27_800);
    bench.beat("a", 22_000);
    bench.beat("a", 12_000);
    assert_eq!(
        bench.decided(),
        ["a 0..12000 silent", "a 0..12000 resolved Heartbeat 27800", "a 0..12000 retracted 12000"]
    );
}

#[test]
fn an_outage_that_was_told_to_nobody_and_is_over_is_not_corrected() {
    let mut bench = Bench::live();
    bench.beat("over", 0);
    bench.beat("open", 0);
    bench.pass(20_000);
    bench.beat("over", 21_000);
    bench.decided();
    let Bench { engine, out, .. } = &mut bench;
    engine.hush(out);
    bench.beat("over", 5_000);
    bench.beat("open", 5_000);
    let decided = bench.decided();
    assert!(matches!(&decided[..], [one] if one.starts_with("open ")), "{decided:?}");
}
