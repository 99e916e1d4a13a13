use super::*;

#[test]
fn a_created_device_that_never_beats_is_reported_once_after_its_first_window() {
    let mut bench = Bench::live();
    bench.say("a", 0, SignalKind::Created);
    assert_eq!(bench.state("a"), Some(State::Pending));
    bench.prove(FIRST_MS + GRACE_MS + 999);
    assert_eq!(bench.decided(), Vec::<String>::new());
    bench.prove(FIRST_MS + GRACE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 0..62000 never_seen"]);
    bench.beat("a", 70_000);
    assert_eq!(bench.decided(), ["a 0..62000 resolved Heartbeat 70000"]);
}

#[test]
fn a_first_beat_brings_the_deadline_forward() {
    let mut bench = Bench::live();
    bench.say("a", 0, SignalKind::Created);
    bench.beat("a", 1_000);
    bench.prove(1_000 + DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 1000..13000 silent"]);
}

#[test]
fn a_deleted_device_never_alerts_and_its_open_outage_is_closed_once() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.say("a", 5_000, SignalKind::Deleted);
    bench.prove(100_000);
    assert_eq!((bench.decided(), bench.state("a")), (vec![], Some(State::Deleted)));

    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.prove(20_000);
    bench.say("a", 30_000, SignalKind::Deleted);
    bench.say("a", 30_000, SignalKind::Deleted);
    bench.beat("a", 30_500);
    bench.prove(100_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 resolved Deleted 30000"]);
    assert_eq!(
        bench.state("a"),
        Some(State::Deleted),
        "what the dead generation sends revives nobody"
    );
}

#[test]
fn a_tombstone_goes_after_eight_days() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.say("a", 5_000, SignalKind::Deleted);
    let days = 86_400_000;
    bench.prove(7 * days);
    assert_eq!(bench.state("a"), Some(State::Deleted));
    bench.prove(9 * days);
    assert_eq!(bench.state("a"), None);
    assert_eq!(bench.engine.stats().identities, [0; 5]);
}

#[test]
fn a_re_created_device_inherits_neither_last_seen_nor_outage() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.prove(20_000);
    bench.say("a", 30_000, SignalKind::Deleted);
    bench.say("a", 31_000, SignalKind::Created);
    assert_eq!(bench.state("a"), Some(State::Pending));
    bench.beat("a", 29_000); // late, of the dead generation
    assert_eq!(bench.state("a"), Some(State::Pending));
    bench.send(40_000, Some(signal("a", None, SignalKind::Telemetry, "200")));
    assert_eq!(bench.state("a"), Some(State::Online));
    bench.prove(60_000);
    assert_eq!(
        bench.decided(),
        ["a 0..12000 silent", "a 0..12000 resolved Deleted 30000", "a 40000..52000 silent"]
    );
}

#[test]
fn a_new_generation_ends_the_outage_of_the_old_one_without_any_notification() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.prove(20_000);
    bench.send(30_000, Some(signal("a", None, SignalKind::Telemetry, "200")));
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 resolved Recreated 30000"]);
}

#[test]
fn a_modules_telemetry_keeps_its_device_alive_and_only_named_modules_are_judged() {
    let mut bench = Bench::live();
    for ms in [0, 8_000, 16_000, 24_000] {
        bench.send(ms, Some(signal("gw-1", Some("other"), SignalKind::Telemetry, "100")));
    }
    bench.send(0, Some(signal("gw-1", Some("sensor"), SignalKind::Telemetry, "100")));
    bench.prove(26_000);
    assert_eq!(bench.decided(), ["gw-1/sensor 0..12000 silent"]);
    assert_eq!(bench.state("gw-1"), Some(State::Online));
}

#[test]
fn deleting_a_device_ends_its_modules() {
    let mut bench = Bench::live();
    bench.send(0, Some(signal("gw-1", Some("sensor"), SignalKind::Telemetry, "100")));
    bench.prove(20_000);
    bench.say("gw-1", 30_000, SignalKind::Deleted);
    bench.prove(100_000);
    assert_eq!(
        bench.decided(),
        [
            "gw-1 0..12000 silent",
            "gw-1/sensor 0..12000 silent",
            "gw-1 0..12000 resolved Deleted 30000",
            "gw-1/sensor 0..12000 resolved Deleted 30000",
        ]
    );
}

#[test]
fn connection_events_and_last_wills_are_no_proof_of_life() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.say("a", 10_000, SignalKind::Connected(ConnectionSequence([1; 32])));
    bench.say("a", 11_000, SignalKind::LastWill);
    bench.prove(DUE_MS + 1_000);
    assert_eq!(bench.decided(), ["a 0..12000 last_will"]);
    bench.say("b", 20_000, SignalKind::LastWill);
    assert_eq!(bench.state("b"), None, "nor do they make an identity known");
}

#[test]
fn a_modules_generation_is_not_its_devices() {
    let mut bench = Bench::live();
    bench.beat("gw-1", 0);
    bench.send(1_000, Some(signal("gw-1", Some("sensor"), SignalKind::Telemetry, "900")));
    bench.beat("gw-1", 8_000);
    bench.beat("gw-1", 16_000);
    bench.prove(20_000);
    assert_eq!(bench.decided(), ["gw-1/sensor 1000..13000 silent"]);
}

#[test]
fn a_full_table_admits_nobody_and_goes_on_judging_whom_it_has() {
    let mut bench = Bench::live();
    bench.engine = bench.engine.with_shards(2, 1);
    for device in ["a", "b", "c"] {
        bench.beat(device, 0);
    }
    assert_eq!((bench.out.not_admitted, bench.state("c")), (1, None));
    bench.prove(20_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "b 0..12000 silent"]);
}
