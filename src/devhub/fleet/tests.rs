//! Promises of the plan, the record of truth and the verdict.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn options(seed: u64, devices: u32, silenced: u32) -> FleetOptions {
    FleetOptions {
        seed,
        roster: Roster { devices, gateway_every: 10 },
        interval_ms: 2_000,
        jitter_percent: 20,
        window_ms: 6_000,
        grace_ms: 1_000,
        silenced,
        deleted: (devices - silenced).min(devices / 50 + 1),
        storms: 2,
        storm_percent: 30,
        start: START,
        duration_ms: 40_000,
        settle_ms: 3_000,
    }
}

fn any_options() -> impl Strategy<Value = FleetOptions> {
    (any::<u64>(), 1..200_u32, 0..=100_u32)
        .prop_map(|(seed, devices, percent)| options(seed, devices, devices * percent / 100))
}

/// Plays the plan to its end as a hub does that takes everything from devices that are not deleted.
fn play(options: &FleetOptions) -> (Vec<FleetEvent>, Truth) {
    let end = options.end();
    let events: Vec<FleetEvent> =
        Plan::new(*options).unwrap().take_while(|event| event.at <= end).collect();
    let mut truth = Truth::new(options);
    for event in &events {
        match event.action {
            Action::Heartbeat | Action::Telemetry => truth.sent(event.who, event.at),
            Action::Delete => truth.deleted(event.who.device, event.at),
            Action::Create | Action::Connect | Action::Disconnect => {}
        }
    }
    (events, truth)
}

fn notice(truth: &Truth, who: Member, status: NoticeStatus, outage: &TrueOutage) -> Notice {
    let device_id = truth.roster().device_id(who.device);
    let at = match status {
        NoticeStatus::Resolved => outage.ended.unwrap_or(outage.deadline),
        NoticeStatus::Firing | NoticeStatus::Retracted | NoticeStatus::Amended => outage.deadline,
    };
    Notice {
        message_id: format!("{who:?} {status:?} {}", outage.deadline),
        device_id,
        module_id: who.module.map(|module| module.as_str().to_owned()),
        status,
        first_missed_at: outage.deadline,
        detected_at: outage.deadline.plus(40),
        received_at: at.plus(700),
    }
}

/// What a service without fault would have told by the end.
fn perfect(truth: &Truth, end: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    for who in truth.watched() {
        for outage in truth.outages(who, end.minus(700)) {
            notices.push(notice(truth, who, NoticeStatus::Firing, &outage));
            if outage.ended.is_some_and(|ended| ended.plus(700) <= end) {
                notices.push(notice(truth, who, NoticeStatus::Resolved, &outage));
            }
        }
    }
    notices
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_options_give_the_same_events_and_another_seed_gives_others(options in any_options()) {
        let other = FleetOptions { seed: options.seed ^ 1, ..options };
        let (events, _) = play(&options);
        prop_assert_eq!(&events, &play(&options).0);
        prop_assert_ne!(&events, &play(&other).0);
    }

    #[test]
    fn events_come_in_time_order_and_what_is_held_does_not_grow_with_time(options in any_options()) {
        let mut plan = Plan::new(options).unwrap();
        let bound = plan.held();
        let mut last = START;
        for event in plan.by_ref().take_while(|event| event.at <= options.end().plus(600_000)) {
            prop_assert!(event.at >= last);
            last = event.at;
        }
        prop_assert!(plan.held() <= bound);
    }

    #[test]
    fn exactly_the_devices_that_were_to_fall_silent_do_each_once_and_in_time(options in any_options()) {
        let (_, truth) = play(&options);
        let mut silent = HashSet::new();
        for who in truth.watched() {
            for outage in truth.outages(who, options.end()) {
                prop_assert!(silent.insert(who.device), "{who:?} twice");
                prop_assert!(outage.deadline.plus(options.settle_ms) <= options.end());
                let told = outage.deadline.plus(options.settle_ms);
                prop_assert!(outage.ended.is_none_or(|ended| ended >= told));
            }
        }
        prop_assert_eq!(silent.len(), options.silenced as usize);
    }

    #[test]
    fn a_deleted_device_says_nothing_until_it_is_created_again(options in any_options()) {
        let (events, _) = play(&options);
        let mut deleted = HashSet::new();
        for event in &events {
            match event.action {
                Action::Delete => prop_assert!(deleted.insert(event.who.device)),
                Action::Create => prop_assert!(deleted.remove(&event.who.device)),
                Action::Heartbeat | Action::Telemetry | Action::Connect => {
                    prop_assert!(!deleted.contains(&event.who.device));
                }
                Action::Disconnect => {}
            }
        }
        let deletions = events.iter().filter(|event| event.action == Action::Delete).count();
        prop_assert_eq!(deletions, options.deleted as usize);
    }

    #[test]
    fn truth_agrees_with_a_naive_recomputation_from_the_log(
        log in prop::collection::vec((0..12_u32, 0..4_u8, 0..9_000_i64), 0..200),
    ) {
        let options = options(1, 12, 0);
        let mut truth = Truth::new(&options);
        let mut at = START;
        let mut lives: BTreeMap<Member, Vec<Vec<Timestamp>>> = BTreeMap::new();
        for (device, kind, pause) in log {
            at = at.plus(pause);
            let sensor = Member { device, module: Some(Module::Sensor) };
            let alive: &[Member] = match kind {
                0 => {
                    truth.deleted(device, at);
                    for who in [Member::device(device), sensor] {
                        let life = lives.entry(who).or_default();
                        if let Some(last) = life.last_mut().filter(|last| !last.is_empty()) {
                            last.push(at);
                            life.push(Vec::new());
                        }
                    }
                    continue;
                }
                1 => &[Member::device(device), sensor],
                _ => &[Member::device(device)],
            };
            truth.sent(if kind == 1 { sensor } else { Member::device(device) }, at);
            for who in alive {
                let life = lives.entry(*who).or_default();
                if life.is_empty() {
                    life.push(Vec::new());
                }
                life.last_mut().unwrap().push(at);
            }
        }
        let end = at.plus(7_500);
        for device in 0..12 {
            for module in [None, Some(Module::Sensor)] {
                let who = Member { device, module };
                let mut expected = Vec::new();
                let life = lives.remove(&who).unwrap_or_default();
                for (index, beats) in life.iter().enumerate() {
                    for pair in beats.windows(2) {
                        if pair[1].since(pair[0]) > 7_000 {
                            expected.push((pair[0], Some(pair[1])));
                        }
                    }
                    let current = index + 1 == life.len();
                    let last = beats.last().filter(|last| current && end.since(**last) > 7_000);
                    expected.extend(last.map(|&last| (last, None)));
                }
                let found: Vec<_> =
                    truth.outages(who, end).map(|outage| (outage.last_sent, outage.ended)).collect();
                prop_assert_eq!(found, expected, "{:?}", who);
            }
        }
    }

    #[test]
    fn a_service_without_fault_passes_and_every_fault_is_counted(
        options in any_options(),
        dropped in any::<prop::sample::Index>(),
        pick in any::<prop::sample::Index>(),
    ) {
        let (_, truth) = play(&options);
        let end = options.end();
        let judge = |notices: &[Notice]| Verdict::judge(&truth, notices, end, options.settle_ms);
        let notices = perfect(&truth, end);
        let good = judge(&notices);
        let silenced = u64::from(options.silenced);
        prop_assert!(good.passed());
        prop_assert_eq!((good.silenced, good.flagged), (silenced, silenced));
        prop_assert_eq!(good.resolved, good.returned);
        prop_assert!(good.verdict_delay_ms.iter().all(|&ms| ms == 700));
        prop_assert!(good.detection_lag_ms.iter().all(|&ms| ms == 40));

        let twice: Vec<Notice> = notices.iter().chain(&notices).cloned().collect();
        prop_assert_eq!(&judge(&twice), &good);

        let firing: Vec<usize> = (0..notices.len())
            .filter(|&index| notices[index].status == NoticeStatus::Firing)
            .collect();
        if !firing.is_empty() {
            let victim = firing[dropped.index(firing.len())];
            let mut fewer = notices.clone();
            fewer.remove(victim);
            let verdict = judge(&fewer);
            prop_assert_eq!((verdict.missed, verdict.flagged), (1, silenced - 1));

            let mut moved = notices.clone();
            moved[victim].first_missed_at = moved[victim].first_missed_at.minus(1);
            let verdict = judge(&moved);
            prop_assert_eq!((verdict.missed, verdict.false_offline), (1, 1));

            let mut retracted = notices.clone();
            retracted.push(Notice {
                status: NoticeStatus::Retracted,
                message_id: "retracted".into(),
                ..notices[victim].clone()
            });
            prop_assert_eq!(judge(&retracted).missed, 1);

            let mut early = notices.clone();
            early[victim].received_at = early[victim].first_missed_at.minus(1);
            let verdict = judge(&early);
            prop_assert_eq!((verdict.missed, verdict.false_offline), (1, 1));
        }

        let mut more = notices;
        let device = u32::try_from(pick.index(options.roster.devices as usize)).unwrap();
        more.push(Notice {
            message_id: "false".into(),
            device_id: truth.roster().device_id(device),
            module_id: None,
            status: NoticeStatus::Firing,
            first_missed_at: START,
            detected_at: START,
            received_at: end,
        });
        more.push(Notice {
            message_id: "stranger".into(),
            device_id: "nobody".into(),
            ..more[more.len() - 1].clone()
        });
        let verdict = judge(&more);
        prop_assert_eq!((verdict.missed, verdict.false_offline), (0, 2));
        prop_assert_eq!(verdict.false_examples.len(), 2);
    }
}

#[test]
fn a_healthy_fleet_has_storms_and_nobody_falls_silent() {
    let options = FleetOptions { deleted: 0, ..options(7, 1_000, 0) };
    let (events, truth) = play(&options);
    let lost = events.iter().filter(|event| event.action == Action::Disconnect).count();
    assert!((450..750).contains(&lost), "{lost}");
    let mut connects: HashMap<u32, i32> = HashMap::new();
    for event in &events {
        *connects.entry(event.who.device).or_default() += match event.action {
            Action::Connect => 1,
            Action::Disconnect => -1,
            Action::Heartbeat | Action::Telemetry | Action::Create | Action::Delete => 0,
        };
    }
    assert!(connects.values().all(|&open| open == 1));
    assert!(truth.watched().all(|who| truth.outages(who, options.end()).next().is_none()));
    assert_eq!(truth.watched().count(), 1_050);
}

#[test]
fn what_can_not_be_is_refused_with_the_smallest_value_that_works() {
    let good = options(1, 10, 1);
    assert_eq!(good.check(), Ok(()));
    let check = |change: fn(&mut FleetOptions)| {
        let mut options = good;
        change(&mut options);
        options.check()
    };
    assert_eq!(
        check(|options| options.window_ms = 2_399),
        Err(FleetError::WindowTooShort { at_least_ms: 2_400 })
    );
    assert_eq!(
        check(|options| options.duration_ms = 13_999),
        Err(FleetError::DurationTooShort { at_least_ms: 14_000 })
    );
    assert_eq!(check(|options| options.duration_ms = 14_000), Ok(()));
    assert_eq!(
        check(|options| options.silenced = 10),
        Err(FleetError::TooManyTroubled { troubled: 11, devices: 10 })
    );
    assert_eq!(check(|options| options.interval_ms = 0), Err(FleetError::Empty));
}
