use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);
const SECOND: Millis = 1_000;

fn sight(name: &str, blind: Option<BlindReason>) -> PartitionSight {
    PartitionSight { blind, judged: 10, ..PartitionSight::gone(name.into()) }
}

fn dark(name: &str) -> PartitionSight {
    sight(name, Some(BlindReason::LinkDown))
}

fn seen(name: &str) -> PartitionSight {
    sight(name, None)
}

/// A watch that is looked through once a second.
struct World {
    watch: PathWatch,
    now_ms: Millis,
}

impl World {
    fn new() -> Self {
        Self { watch: PathWatch::new("hub".into(), PathLimits::default()), now_ms: 5_000_000 }
    }

    fn look_after(&mut self, ms: Millis, sights: &[PartitionSight]) -> Option<PathAlert> {
        self.now_ms += ms;
        self.watch.look(self.now_ms, MIDNIGHT.plus(self.now_ms), sights)
    }

    /// So many looks, and what they told.
    fn looks(&mut self, count: usize, sights: &[PartitionSight]) -> Vec<PathAlert> {
        (0..count).filter_map(|_| self.look_after(SECOND, sights)).collect()
    }

    fn wall(&self) -> Timestamp {
        MIDNIGHT.plus(self.now_ms)
    }
}

fn names(alert: &PathAlert) -> Vec<&str> {
    alert.partitions.iter().map(|name| &**name).collect()
}

#[test]
fn a_partition_blind_for_a_minute_is_told_once_with_its_identities_and_the_beginning() {
    let mut world = World::new();
    assert_eq!(world.looks(5, &[seen("0"), seen("1")]), []);
    let since = world.wall();
    assert_eq!(world.looks(59, &[seen("0"), dark("1")]), []);
    let told = world.looks(1, &[seen("0"), dark("1")]);
    let [alert] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((alert.status, alert.ordinal, names(alert)), (Status::Firing, 0, vec!["1"]));
    assert_eq!((alert.identities, alert.partitions_total), (10, 1));
    assert_eq!((alert.since, alert.detected_at, alert.at), (since, world.wall(), world.wall()));
    let reason = PathReason::Blind(BlindReason::LinkDown);
    assert_eq!(alert.reasons, BTreeMap::from([(reason, 1)]));
    assert_eq!(world.looks(3_600, &[seen("0"), dark("1")]), []);
}

#[test]
fn reading_a_backlog_is_told_only_after_ten_minutes() {
    let lagging = [sight("0", Some(BlindReason::Lagging))];
    let mut world = World::new();
    assert_eq!(world.looks(600, &lagging), []);
    assert_eq!(world.looks(1, &lagging)[0].status, Status::Firing);
}

#[test]
fn a_link_that_is_down_for_two_fifths_of_the_time_is_told_although_no_break_is_long() {
    let mut world = World::new();
    let mut told = Vec::new();
    for _ in 0..60 {
        told.extend(world.looks(4, &[dark("0")]));
        told.extend(world.looks(6, &[seen("0")]));
    }
    let statuses: Vec<_> = told.iter().map(|alert| alert.status).collect();
    assert_eq!(statuses, [Status::Firing]);
    let resolved = world.looks(60, &[seen("0")]);
    assert_eq!(resolved[0].status, Status::Resolved);
}

#[test]
fn a_link_that_breaks_for_four_seconds_a_minute_is_not_told() {
    let mut world = World::new();
    for _ in 0..120 {
        assert_eq!(world.looks(4, &[dark("0")]), []);
        assert_eq!(world.looks(56, &[seen("0")]), []);
    }
}

#[test]
fn identities_put_off_and_an_hour_with_gaps_are_told_at_once_with_their_reasons() {
    let mut world = World::new();
    let put_off = PartitionSight { unjudgeable: 3, ..seen("0") };
    let gaps = PartitionSight { unobserved_percent: 21, ..seen("1") };
    let alert = world.look_after(SECOND, &[put_off, gaps, seen("2")]).unwrap();
    assert_eq!((names(&alert), alert.identities), (vec!["0", "1"], 3));
    let reasons = BTreeMap::from([(PathReason::Gaps, 1), (PathReason::PutOff, 1)]);
    assert_eq!(alert.reasons, reasons);
}

#[test]
fn gaps_of_a_fifth_of_the_hour_are_told_above_it_and_clear_only_below_a_tenth() {
    let gaps = |unobserved_percent| [PartitionSight { unobserved_percent, ..seen("0") }];
    let mut world = World::new();
    assert_eq!(world.looks(10, &gaps(20)), []);
    assert_eq!(world.looks(1, &gaps(21))[0].status, Status::Firing);
    assert_eq!(world.looks(300, &gaps(10)), []);
    assert_eq!(world.looks(59, &gaps(9)), []);
    assert_eq!(world.looks(1, &gaps(9))[0].status, Status::Resolved);
    assert_eq!(world.looks(300, &gaps(20)), []);
}

#[test]
fn it_is_resolved_only_after_a_minute_of_sight_and_a_new_outage_has_a_new_id() {
    let mut world = World::new();
    let firing = world.looks(61, &[dark("0")]).remove(0);
    assert_eq!(world.looks(59, &[seen("0")]), []);
    assert_eq!(world.looks(1, &[dark("0")]), []);
    assert_eq!(world.looks(59, &[seen("0")]), []);
    let resolved = world.looks(1, &[seen("0")]).remove(0);
    assert_eq!((resolved.status, resolved.id), (Status::Resolved, firing.id));
    assert_eq!((resolved.since, resolved.detected_at), (firing.since, firing.detected_at));
    assert_eq!((names(&resolved), resolved.identities), (vec!["0"], 0));
    assert_eq!(resolved.at, world.wall());
    let again = world.looks(61, &[dark("0")]).remove(0);
    assert_ne!(again.id, firing.id);
}

#[test]
fn another_partition_is_told_by_an_update_but_not_within_a_minute_of_the_last_word() {
    let mut world = World::new();
    let firing = world.looks(61, &[dark("0"), seen("1")]).remove(0);
    let put_off = PartitionSight { unjudgeable: 1, ..seen("1") };
    assert_eq!(world.looks(59, &[dark("0"), put_off.clone()]), []);
    let updated = world.looks(1, &[dark("0"), put_off]).remove(0);
    assert_eq!((updated.status, updated.ordinal), (Status::Updated, 1));
    assert_eq!((updated.id, names(&updated)), (firing.id, vec!["0", "1"]));
    assert_eq!((updated.identities, updated.detected_at), (11, firing.detected_at));
}

#[test]
fn a_number_that_has_doubled_is_told_and_one_that_has_less_than_doubled_is_not() {
    let mut world = World::new();
    let blind = |judged| [PartitionSight { judged, ..dark("0") }];
    world.looks(61, &blind(10));
    assert_eq!(world.looks(100, &blind(19)), []);
    assert_eq!(world.looks(1, &blind(20))[0].identities, 20);
    assert_eq!(world.looks(100, &blind(5)), []);
}

#[test]
fn no_more_than_32_partitions_are_named_and_all_are_counted() {
    let sights: Vec<_> = (0..40).map(|number| dark(&number.to_string())).collect();
    let alert = World::new().looks(61, &sights).remove(0);
    assert_eq!((alert.partitions.len(), alert.partitions_total), (MAX_NAMED, 40));
    assert_eq!(alert.identities, 400);
}

#[test]
fn a_partition_that_is_gone_counts_as_seen() {
    let mut world = World::new();
    world.looks(61, &[dark("*")]);
    assert_eq!(world.looks(60, &[seen("0")])[0].status, Status::Resolved);
    assert_eq!(world.watch.partitions.len(), 1);
}

#[test]
fn a_span_that_nobody_looked_at_makes_nobody_blind_for_long() {
    let mut world = World::new();
    world.look_after(SECOND, &[dark("0")]);
    assert_eq!(world.look_after(3_600_000, &[dark("0")]), None);
}

/// One look at a partition: its state lasted for four seconds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    blind: Option<BlindReason>,
    percent: i64,
    unjudgeable: u64,
}

const STEP: Millis = 4_000;
const LIMITS: PathLimits = PathLimits {
    after_ms: 20_000,
    lagging_after_ms: 60_000,
    clear_after_ms: 16_000,
    update_every_ms: 24_000,
};

/// Runs of equal looks, so that long conditions occur.
fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let blind = prop::sample::select(vec![
        None,
        None,
        Some(BlindReason::LinkDown),
        Some(BlindReason::Shared),
        Some(BlindReason::Lagging),
    ]);
    let percent = prop::sample::select(vec![0, 0, 0, 0, 9, 10, 20, 21, 100]);
    let unjudgeable = prop::sample::select(vec![0, 0, 0, 0, 0, 7]);
    let run = (blind, percent, unjudgeable, 1..20_usize).prop_map(
        |(blind, percent, unjudgeable, length)| {
            vec![Moment { blind, percent, unjudgeable }; length]
        },
    );
    prop::collection::vec(run, 1..12).prop_map(|runs| runs.concat())
}

/// Net blindness of the worst span that ends with the last of `moments`, by trying every span.
fn worst(moments: &[Moment], counts: impl Fn(BlindReason) -> bool) -> Millis {
    let net = |moment: &Moment| match moment.blind {
        Some(reason) if counts(reason) => STEP,
        Some(_) => 0,
        None => -STEP / 4,
    };
    (0..=moments.len()).map(|from| moments[from..].iter().map(net).sum()).max().unwrap()
}

/// Whether the partition is concerned after each look, from its whole history.
fn naive(moments: &[Moment]) -> Vec<bool> {
    let is_lagging = |reason| reason == BlindReason::Lagging;
    let (mut concerned, mut gaps, mut begin, mut well) = (false, false, 1, 0);
    let mut result = Vec::new();
    for (at, moment) in moments.iter().enumerate() {
        gaps = moment.percent > 20 || gaps && moment.percent >= 10;
        let clear = moment.blind.is_none() && !gaps && moment.unjudgeable == 0;
        // The first look lasts for no time: what was before it is not known.
        let since = &moments[begin.min(at + 1)..=at];
        let long = worst(since, |reason| !is_lagging(reason)) >= LIMITS.after_ms
            || worst(since, is_lagging) >= LIMITS.lagging_after_ms;
        well = if clear { well + 1 } else { 0 };
        let well_ms = if well > at { at } else { well } as Millis * STEP;
        if concerned && clear && well_ms >= LIMITS.clear_after_ms {
            (concerned, begin) = (false, at + 1);
        } else if !clear {
            concerned |= gaps || moment.unjudgeable > 0 || moment.blind.is_some() && long;
        }
        result.push(concerned);
    }
    result
}

proptest! {
    #[test]
    fn it_is_open_exactly_while_a_partition_is_concerned_and_its_messages_follow_one_another(
        first in moments(), second in moments(),
    ) {
        let length = first.len().min(second.len());
        let partitions = [&first[..length], &second[..length]];
        let expected = partitions.map(naive);
        let mut watch = PathWatch::new("hub".into(), LIMITS);
        let mut open: Option<PathAlert> = None;
        let mut told_at = 0;
        for at in 0..length {
            let sights: Vec<_> = partitions.iter().enumerate().map(|(index, moments)| {
                let Moment { blind, percent, unjudgeable } = moments[at];
                PartitionSight {
                    unobserved_percent: percent, unjudgeable, ..sight(&index.to_string(), blind)
                }
            }).collect();
            let now_ms = at as Millis * STEP;
            let alert = watch.look(now_ms, MIDNIGHT.plus(now_ms), &sights);
            let concerned: Vec<String> =
                (0..2).filter(|&index| expected[index][at]).map(|index| index.to_string()).collect();
            if let Some(alert) = alert {
                match (alert.status, &open) {
                    (Status::Firing, None) => prop_assert_eq!(alert.ordinal, 0),
                    (Status::Updated, Some(last)) => {
                        prop_assert!(now_ms - told_at >= LIMITS.update_every_ms);
                        prop_assert_eq!((alert.id, alert.ordinal), (last.id, last.ordinal + 1));
                    }
                    (Status::Resolved, Some(last)) => {
                        prop_assert_eq!((alert.id, alert.ordinal), (last.id, last.ordinal + 1));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
                if alert.status != Status::Resolved {
                    prop_assert_eq!(names(&alert), concerned.clone());
                    let cant: u64 = sights.iter()
                        .filter(|sight| concerned.iter().any(|name| **name == *sight.partition))
                        .map(|sight| if sight.blind.is_some() { 10 } else { sight.unjudgeable })
                        .sum();
                    prop_assert_eq!(alert.identities, cant);
                    prop_assert!(!alert.reasons.is_empty() && alert.since <= alert.detected_at);
                }
                told_at = now_ms;
                open = (alert.status != Status::Resolved).then_some(alert);
            }
            prop_assert_eq!(open.is_some(), !concerned.is_empty(), "look {}", at);
        }
    }
}

#[test]
fn a_live_partition_whose_clock_is_a_window_behind_is_stalled_if_somebody_is_judged_there() {
    let sight = |live, online, lag_ms: i64| {
        let stats = Stats {
            clock: Timestamp::from_ms(1_000_000),
            blind: None,
            live,
            identities: [0, online, 0, 7, 7],
            unjudgeable: 0,
            unobserved_percent: 0,
            last_gap: None,
            next_deadline: None,
            memory_bytes: 0,
        };
        PartitionSight::of("0".into(), &stats, Timestamp::from_ms(1_000_000 + lag_ms), 70_000).blind
    };
    assert_eq!(sight(true, 1, 70_001), Some(BlindReason::Stalled));
    assert_eq!(sight(true, 1, 70_000), None);
    assert_eq!(sight(true, 0, 70_001), None, "nobody waits for a verdict");
    assert_eq!(sight(false, 1, 70_001), None, "a recording is as old as it is");
}

#[test]
fn when_sight_returns_the_span_that_nobody_saw_and_who_is_silent_are_told() {
    let mut world = World::new();
    world.looks(5, &[seen("0"), seen("1"), seen("2")]);
    let before = world.wall();
    world.looks(70, &[dark("0"), dark("1"), seen("2")]);
    let span = |from_ms, until_ms| Some((before.plus(from_ms), before.plus(until_ms)));
    let back = [
        PartitionSight { silent: 3, last_gap: span(-2_000, 60_000), ..seen("0") },
        PartitionSight { silent: 4, last_gap: span(500, 70_000), ..seen("1") },
        PartitionSight { silent: 90, last_gap: span(0, 80_000), ..seen("2") },
    ];
    let told = world.looks(70, &back);
    let [end] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(end.status, Status::Resolved);
    let unobserved = span(-2_000, 70_000);
    assert_eq!(end.found, Some(Found { unobserved, silent: 7 }));
}

#[test]
fn a_gap_from_before_the_trouble_is_not_told_as_found() {
    let mut world = World::new();
    world.looks(5, &[seen("0")]);
    let old = Some((world.wall().minus(900_000), world.wall().minus(800_000)));
    let with_gap = |sight| PartitionSight { last_gap: old, ..sight };
    world.looks(70, &[with_gap(dark("0"))]);
    let told = world.looks(70, &[with_gap(seen("0"))]);
    let [end] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(end.found, Some(Found::default()));
}
