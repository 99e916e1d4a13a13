use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A dense log: every step some device beats, at most `bridge` later than the one before.
#[derive(Clone, Debug)]
struct Log {
    /// (device, event time), in the order of the log.
    beats: Vec<(u8, i64)>,
}

/// Beats of five devices with steps of up to `step_ms`, out of order by at most `disorder_ms`.
fn log(disorder_ms: i64, step_ms: i64) -> impl Strategy<Value = Log> {
    let step = (prop_oneof![4 => 0..3_u8, 1 => 3..6_u8], 0..step_ms, 0..=disorder_ms);
    prop::collection::vec(step, 1..150).prop_map(move |steps| {
        let mut now = 0;
        let beats = steps.into_iter().map(|(device, step, back)| {
            now += step;
            (device, (now - back).max(0))
        });
        Log { beats: beats.collect() }
    })
}

/// What an observer who knows every beat says: the silences that are over by `clock`, and their ends.
fn outages(beats: &[(u8, i64)], clock: i64) -> Vec<String> {
    let mut by_device: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for &(device, ms) in beats {
        by_device.entry(device).or_default().push(ms);
    }
    let mut lines = Vec::new();
    for (device, mut times) in by_device {
        times.sort_unstable();
        times.push(i64::MAX);
        for pair in times.windows(2) {
            let deadline = pair[0] + DUE_MS;
            if pair[1] > deadline && deadline <= clock {
                lines.push(format!("d{device} {}..{deadline} silent", pair[0]));
                if pair[1] < i64::MAX {
                    lines.push(format!("d{device} {}..{deadline} resolved Heartbeat", pair[0]));
                }
            }
        }
    }
    lines.sort();
    lines
}

/// No hole between its messages is longer than `bridge`.
fn is_dense(log: &Log) -> bool {
    let mut newest = log.beats[0].1;
    log.beats.iter().all(|&(_, ms)| {
        let dense = ms - newest <= GRACE_MS;
        newest = newest.max(ms);
        dense
    })
}

fn play(bench: &mut Bench, beats: &[(u8, i64)]) {
    for &(device, ms) in beats {
        bench.beat(&format!("d{device}"), ms);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn with_disorder_inside_the_allowance_exactly_the_true_outages_are_told(log in log(1_000, 1_900)) {
        let mut bench = Bench::live();
        play(&mut bench, &log.beats);
        // A resolve whose heartbeat is already read may precede the clock: let it pass everything.
        let end = log.beats.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
        bench.prove(end + 1_100);
        let clock = bench.clock_ms();
        // Of two heartbeats in the wrong order, the one that was read first ends the outage.
        let without_end = |line: String| match line.split_once(" Heartbeat ") {
            Some((outage, _)) => format!("{outage} Heartbeat"),
            None => line,
        };
        let mut decided: Vec<String> = bench.decided().into_iter().map(without_end).collect();
        decided.sort();
        prop_assert_eq!(decided, outages(&log.beats, clock));
        prop_assert_eq!(bench.out.false_offline, 0);
        prop_assert_eq!(bench.gaps(), vec![]);
    }

    #[test]
    fn with_any_disorder_what_is_told_and_not_taken_back_is_true(log in log(40_000, 1_900)) {
        let mut bench = Bench::live();
        play(&mut bench, &log.beats);
        let end = log.beats.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
        bench.prove(end + 1_100);
        let clock = bench.clock_ms();
        let mut open: BTreeMap<(String, Timestamp), (Judged, Option<Timestamp>)> = BTreeMap::new();
        for transition in bench.out.transitions.drain(..) {
            let key = (transition.identity.device.to_string(), transition.outage.first_armed_at);
            match transition.kind {
                TransitionKind::Offline => {
                    let doubled = open.insert(key.clone(), (transition.outage.judged, None));
                    prop_assert!(doubled.is_none(), "told twice: {:?}", key);
                }
                TransitionKind::Resolved { at, .. } => {
                    let known = open.get_mut(&key);
                    prop_assert!(known.as_ref().is_some_and(|(_, end)| end.is_none()), "{:?}", key);
                    if let Some(outage) = known { outage.1 = Some(at); }
                }
                TransitionKind::Retracted { .. } => {
                    prop_assert!(open.remove(&key).is_some(), "taken back but never told: {:?}", key);
                }
                TransitionKind::Amended { .. } => {
                    let known = open.get_mut(&key);
                    prop_assert!(known.is_some(), "amended but never told: {:?}", key);
                    if let Some(outage) = known { outage.0 = transition.outage.judged; }
                }
            }
        }
        // Every outage that is still standing was a silence of at least one window and grace, as far as beats were read.
        let mut last: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (device, ms) in &log.beats {
            last.entry(format!("d{device}")).or_default().push(*ms);
        }
        for ((device, _), (judged, _)) in &open {
            let from = judged.armed_at.as_ms() - T0;
            let silent = last[device].iter().all(|&ms| ms <= from || ms > from + DUE_MS);
            prop_assert!(silent, "{device} was heard within a window after {from}");
        }
        // Nothing is missing: whoever is silent at the end is told.
        for (device, times) in &last {
            let newest = times.iter().copied().max().unwrap_or(0);
            if newest + DUE_MS <= clock {
                prop_assert_eq!(bench.state(device), Some(State::Offline));
            }
        }
    }

    #[test]
    fn live_equals_backlog(log in log(1_500, 600), budget in 1..4_usize, backlog_part in 0..=100_usize) {
        prop_assume!(is_dense(&log));
        let mut live = Bench::live();
        play(&mut live, &log.beats);
        let mut other = Bench::with_budget(budget);
        let backlog = log.beats.len() * backlog_part / 100;
        let end = i64::try_from(backlog).unwrap_or(0);
        let newest = log.beats.iter().take(backlog).map(|(_, ms)| *ms).max().unwrap_or(0);
        other.attach(newest, if backlog == 0 { Backlog::Empty } else { Backlog::UpTo(end) });
        play(&mut other, &log.beats);
        prop_assert_eq!(live.decided(), other.decided());
        prop_assert_eq!(live.engine.clock(), other.engine.clock());
        prop_assert_eq!(other.gaps(), vec![]);
    }

    #[test]
    fn duplicates_change_nothing(log in log(3_000, 1_900), twice in prop::collection::vec(any::<bool>(), 150)) {
        let mut plain = Bench::live();
        play(&mut plain, &log.beats);
        let mut doubled = Bench::live();
        for (beat, twice) in log.beats.iter().zip(twice) {
            play(&mut doubled, &[*beat]);
            if twice {
                play(&mut doubled, &[*beat]);
            }
        }
        prop_assert_eq!(plain.decided(), doubled.decided());
        prop_assert_eq!(plain.out.false_offline, doubled.out.false_offline);
    }

    #[test]
    fn the_size_of_the_shards_can_not_be_seen(
        steps in prop::collection::vec((0..30_u8, 0..4_000_i64, 0..10_u8), 1..120),
        capacity in 1..6_usize,
    ) {
        let mut whole = Bench::live();
        let mut split = Bench::live();
        split.engine = split.engine.with_shards(capacity, 100_000);
        let mut now = 0;
        for (device, step, what) in steps {
            now += step;
            let name = format!("gw-{device}");
            let (module, kind) = match what {
                0 => (None, SignalKind::Deleted),
                1 => (None, SignalKind::Created),
                2..5 => (Some("sensor"), SignalKind::Telemetry),
                _ => (None, SignalKind::Telemetry),
            };
            for bench in [&mut whole, &mut split] {
                bench.send(now, Some(signal(&name, module, kind, "")));
            }
        }
        for bench in [&mut whole, &mut split] {
            bench.prove(now + 200_000);
        }
        prop_assert_eq!(whole.decided(), split.decided());
        let (whole, split) = (whole.engine.stats(), split.engine.stats());
        prop_assert_eq!(whole.identities, split.identities);
        prop_assert_eq!(whole.clock, split.clock);
    }
}
