use super::*;

#[test]
fn without_proof_or_message_a_silent_partition_flags_nobody() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.engine.blind(BlindReason::LinkDown);
    bench.prove(1_000_000);
    assert_eq!(bench.decided(), Vec::<String>::new());
    assert_eq!(bench.engine.blind_reason(), Some(BlindReason::LinkDown));
}

#[test]
fn a_proof_counts_only_for_what_was_applied_and_is_held_back_by_the_route_lag() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.prove_up_to(60_000, 2);
    assert_eq!(bench.decided(), Vec::<String>::new());
    let late = Message {
        sequence: 2,
        event_time: Some(at(1_000)),
        append_time: Some(at(6_000)),
        signal: None,
    };
    bench.engine.prepare(&late, &mut bench.out);
    bench.fire();
    bench.engine.apply(&late, &mut bench.out);
    bench.prove_up_to(DUE_MS + 4_999, 2);
    assert_eq!(bench.decided(), Vec::<String>::new());
    bench.prove_up_to(DUE_MS + 5_000, 2);
    assert_eq!(bench.decided(), ["a 0..12000 silent"]);
}

#[test]
fn an_empty_partitions_clock_starts_at_its_first_attachment_and_never_goes_back() {
    let mut bench = Bench::live();
    assert_eq!(bench.clock_ms(), -1_000);
    bench.prove(5_000);
    assert_eq!(bench.clock_ms(), 4_000);
    bench.prove(3_000);
    bench.beat("a", 2_000);
    assert_eq!(bench.clock_ms(), 4_000);
}

fn attach_queue(bench: &mut Bench, ms: i64, backlog: Backlog) {
    bench.attach_as(Attached {
        at: at(ms),
        error_ms: 0,
        stream: None,
        first_available: None,
        backlog,
        dating: Dating::EventTime,
    });
}

#[test]
fn what_others_took_from_a_shared_queue_is_a_gap_up_to_the_attachment_that_is_ours_alone() {
    let mut bench = Bench::new();
    attach_queue(&mut bench, 0, Backlog::Empty);
    bench.beat("a", 500);
    bench.beat("b", 1_000);
    bench.engine.blind(BlindReason::LinkDown);
    attach_queue(&mut bench, 2_000, Backlog::Empty);
    bench.engine.blind(BlindReason::Shared);
    // What a sends goes to the others.
    for ms in (3_000..=11_000).step_by(1_000) {
        bench.beat("b", ms);
    }
    attach_queue(&mut bench, 12_000, Backlog::Count(1));
    bench.beat("b", 11_500);
    assert_eq!(bench.gaps(), [(GapReason::Shared, 2_000, 12_000)]);
    for ms in (13_000..=24_000).step_by(1_000) {
        bench.beat("b", ms);
    }
    assert_eq!(bench.decided(), Vec::<String>::new());
}

/// Devices a and b beat every 5 s until 20 s; b goes on, a is silent from then on.
fn busy_until(bench: &mut Bench, from_ms: i64, until_ms: i64, a_until_ms: i64) {
    for ms in (from_ms..until_ms).step_by(1_000) {
        bench.beat("b", ms);
        if ms % 5_000 == 0 && ms <= a_until_ms {
            bench.beat("a", ms);
        }
    }
}

#[test]
fn a_cut_link_over_a_busy_log_loses_nothing_the_silent_device_is_flagged_on_return() {
    let mut bench = Bench::live();
    busy_until(&mut bench, 0, 20_000, 20_000);
    bench.engine.blind(BlindReason::LinkDown);
    let cut_at = bench.sequence;
    bench.attach(20_000 + 10 * DUE_MS, Backlog::UpTo(cut_at + 121));
    assert_eq!(bench.engine.blind_reason(), Some(BlindReason::Lagging));
    busy_until(&mut bench, 20_000, 20_000 + 10 * DUE_MS, 20_000);
    assert_eq!(bench.decided(), ["a 20000..32000 silent"]);
    assert_eq!(bench.gaps(), []);
    assert_eq!(bench.engine.blind_reason(), None);
}

#[test]
fn after_a_broker_was_down_nobody_is_flagged_on_return_and_the_silent_one_a_window_later() {
    for devices_first in [true, false] {
        let mut bench = Bench::live();
        busy_until(&mut bench, 0, 20_000, 20_000);
        bench.engine.blind(BlindReason::LinkDown);
        let back_ms = 20_000 + 10 * DUE_MS;
        if devices_first {
            bench.attach(back_ms + 2_000, Backlog::UpTo(bench.sequence + 1));
        } else {
            bench.attach(back_ms, Backlog::UpTo(bench.sequence));
        }
        busy_until(&mut bench, back_ms + 1_000, back_ms + 5_000, 0);
        assert_eq!(bench.decided(), Vec::<String>::new(), "devices first: {devices_first}");
        let (reason, until) = if devices_first {
            (GapReason::Hole, back_ms + 1_000)
        } else {
            (GapReason::Tail, back_ms)
        };
        assert_eq!(bench.gaps(), [(reason, 19_000, until)]);
        busy_until(&mut bench, back_ms + 5_000, until + DUE_MS + 1_000, 0);
        assert_eq!(bench.decided(), Vec::<String>::new());
        bench.prove(until + DUE_MS + WINDOW_MS / 8 + 1_000);
        let decided = bench.decided();
        assert_eq!(decided.len(), 1, "{decided:?}");
        assert!(
            decided[0].starts_with("a 20000..") || decided[0].starts_with("a 15000.."),
            "{decided:?}"
        );
    }
}

#[test]
fn an_offline_device_stays_offline_over_a_gap_and_its_return_resolves() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.prove(20_000);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach(200_000, Backlog::Empty);
    assert_eq!(bench.state("a"), Some(State::Offline));
    bench.beat("a", 201_000);
    assert_eq!(bench.decided(), ["a 0..12000 silent", "a 0..12000 resolved Heartbeat 201000"]);
}

#[test]
fn a_beat_after_the_old_deadline_but_inside_the_gap_ends_no_outage_that_was_never_declared() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach(100_000, Backlog::UpTo(bench.sequence + 1));
    bench.beat("a", 50_000);
    bench.prove(105_000);
    assert_eq!(bench.decided(), Vec::<String>::new());
    assert_eq!(bench.state("a"), Some(State::Online));
}

#[test]
fn a_short_break_of_an_unbroken_log_is_none() {
    let mut bench = Bench::live();
    for minute in 0..10 {
        bench.engine.blind(BlindReason::LinkDown);
        bench.attach(minute * 2_000 + 1_500, Backlog::UpTo(bench.sequence));
        bench.prove(minute * 2_000 + 1_600);
        if minute == 0 {
            bench.beat("a", 1_700);
        }
        bench.prove(minute * 2_000 + 2_900);
    }
    assert_eq!(bench.gaps(), []);
    assert_eq!(bench.decided(), ["a 1700..13700 silent"]);
}

#[test]
fn a_device_that_gaps_put_off_time_and_again_counts_as_one_that_can_not_be_judged() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    for round in 1..=6 {
        bench.engine.blind(BlindReason::LinkDown);
        bench.attach(round * 10_000, Backlog::UpTo(bench.sequence));
        bench.prove(round * 10_000 + 2_000);
    }
    assert_eq!(bench.decided(), Vec::<String>::new());
    assert_eq!(bench.engine.stats().unjudgeable, 1);
    bench.beat("a", 63_000);
    assert_eq!(bench.engine.stats().unjudgeable, 0);
}

#[test]
fn a_gap_that_no_message_has_ended_yet_is_one_after_another_attachment_too() {
    let reset = Attached {
        at: at(2_500),
        error_ms: 0,
        stream: Some(2),
        first_available: Some(0),
        backlog: Backlog::UpTo(0),
        dating: Dating::EventTime,
    };
    let mut bench = Bench::live();
    bench.beat("a", 1_000);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach_as(reset);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach_as(reset);
    bench.sequence = -1;
    bench.beat("b", 2_000);
    let gaps = bench.gaps();
    assert_eq!(gaps[0], (GapReason::StreamReset, 1_000, 2_000));
}

#[test]
fn a_reset_stream_and_an_aged_out_position_are_gaps_however_fresh_the_log_is() {
    let reset = Attached {
        at: at(2_500),
        error_ms: 0,
        stream: Some(2),
        first_available: Some(0),
        backlog: Backlog::Empty,
        dating: Dating::EventTime,
    };
    let mut bench = Bench::live();
    bench.beat("a", 1_000);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach_as(reset);
    assert_eq!(bench.gaps(), [(GapReason::StreamReset, 1_000, 2_500)]);

    let mut bench = Bench::live();
    bench.beat("a", 1_000);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach_as(Attached { stream: Some(1), first_available: Some(9), ..reset });
    assert_eq!(bench.gaps(), [(GapReason::AgedOut, 1_000, 2_500)]);
}

#[test]
fn a_queues_clock_stands_until_what_was_ready_has_been_applied() {
    let queue = |dating| Attached {
        at: at(100_000),
        error_ms: 0,
        stream: None,
        first_available: None,
        backlog: Backlog::Count(2),
        dating,
    };
    let mut bench = Bench::new();
    bench.attach_as(queue(Dating::EventTime));
    bench.beat("a", 98_900);
    assert_eq!(bench.engine.clock(), Timestamp::MIN);
    bench.beat("b", 99_000);
    assert_eq!(bench.clock_ms(), 99_000);

    let mut bench = Bench::new();
    bench.attach_as(Attached { at: at(0), backlog: Backlog::Empty, ..queue(Dating::Receipt) });
    bench.beat("a", 500);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach_as(queue(Dating::Receipt));
    bench.beat("b", 100_100);
    assert_eq!(bench.clock_ms(), -500);
    bench.beat("b", 100_200);
    assert_eq!(
        bench.gaps(),
        [(GapReason::Undated, 500, 100_000), (GapReason::Undated, 100_000, 100_200)]
    );
    bench.prove(104_000);
    assert_eq!(bench.decided(), Vec::<String>::new());
}

#[test]
fn two_receivers_on_a_queue_make_it_blind_for_messages_too() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.engine.blind(BlindReason::Shared);
    bench.beat("b", 100_000);
    bench.prove(200_000);
    assert_eq!(bench.decided(), Vec::<String>::new());
    assert_eq!(bench.clock_ms(), -1_000);
}

#[test]
fn a_recorded_file_ends_without_proof_and_its_holes_are_gaps() {
    let mut bench = Bench::new();
    bench.attach_as(Attached {
        at: at(1_000_000),
        error_ms: 0,
        stream: None,
        first_available: None,
        backlog: Backlog::Endless,
        dating: Dating::EventTime,
    });
    bench.beat("a", 0);
    for ms in (1_000..20_000).step_by(1_000) {
        bench.beat("b", ms);
    }
    assert_eq!(bench.decided(), ["a 0..12000 silent"]);
    bench.beat("b", 60_000);
    assert_eq!(bench.decided(), Vec::<String>::new());
    assert_eq!(bench.gaps(), [(GapReason::Hole, 19_000, 60_000)]);
}

#[test]
fn what_is_dated_by_receipt_is_judged_by_proofs_once_they_come() {
    let mut bench = Bench::new();
    let attached = Attached {
        at: at(0),
        error_ms: 0,
        stream: None,
        first_available: None,
        backlog: Backlog::Empty,
        dating: Dating::Receipt,
    };
    bench.attach_as(attached);
    bench.beat("a", 0);
    bench.beat("b", 0);
    bench.prove(5_000);
    // This process read nothing for a while: what it reads then is dated too late, and more is behind it.
    bench.beat("a", 30_000);
    assert_eq!(bench.decided(), [""; 0]);
    bench.beat("b", 30_000);
    bench.prove(33_000);
    let told = bench.decided();
    assert!(
        told.iter().all(|line| line.contains("resolved") || line.contains("0..12000")),
        "{told:?}"
    );
}

#[test]
fn a_gap_that_ends_far_in_the_future_ends_with_the_first_message_that_is_read_live() {
    let mut bench = Bench::live();
    bench.beat("a", 0);
    bench.engine.blind(BlindReason::LinkDown);
    bench.attach(86_400_000, Backlog::Empty);
    assert_eq!(bench.gaps(), [(GapReason::Tail, 0, 86_400_000)]);
    bench.beat("b", 20_000);
    bench.prove(40_000);
    // The wheel looks again at the latest at its horizon.
    bench.pass(20_000 + 900_000);
    assert_eq!(bench.state("a"), Some(State::Offline));
}
