//! Promises of the schedule and of its record.

use super::*;

const START: Timestamp = Timestamp::from_ms(1_000_000);

fn profile(more: &str) -> Profile {
    let text = format!(
        "{{ about: a test, source: hub, identities: 1000, interval: 2s, window: 5s, grace: 1s, silenced: 50, silenced_within: 3s{more} }}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

/// Everything until `ms` after the start, played in steps.
fn played(plan: &mut Plan, ms: Millis) -> Vec<Moment> {
    let mut moments = Vec::new();
    for step in 0..ms / 7 {
        plan.play(START.plus(step * 7), &mut moments);
    }
    plan.play(START.plus(ms), &mut moments);
    moments
}

fn heartbeats(moments: &[Moment], number: u32) -> Vec<Timestamp> {
    let of = moments.iter().filter(|m| m.number == number && m.action == Action::Heartbeat);
    of.map(|moment| moment.at).collect()
}

#[test]
fn everybody_sends_once_in_every_interval_evenly_and_in_order() {
    let mut plan = Plan::new(&profile(", returning_percent: 0"), 1, START);
    let moments = played(&mut plan, 1_999);
    assert_eq!(moments.len(), 1_000);
    assert!(moments.is_sorted_by_key(|moment| moment.at));
    let numbers: std::collections::BTreeSet<u32> = moments.iter().map(|m| m.number).collect();
    assert_eq!(numbers.len(), 1_000);
    assert_eq!(moments.iter().filter(|m| m.at.since(START) < 1_000).count(), 500);
}

#[test]
fn the_same_seed_gives_the_same_moments_and_another_seed_others() {
    let of = |seed| played(&mut Plan::new(&profile(", zipf_percent: 50"), seed, START), 6_000);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn the_moments_do_not_depend_on_when_they_are_asked_for() {
    let profile = profile(
        ", returning_percent: 50, zipf_percent: 30, storm: { percent: 20, away: 1s, back_within: 1s }",
    );
    let mut steps = Plan::new(&profile, 1, START);
    let mut at_once = steps.clone();
    let mut moments = Vec::new();
    at_once.play(START.plus(20_000), &mut moments);
    assert_eq!(played(&mut steps, 20_000), moments);
}

#[test]
fn a_silence_is_due_a_window_and_grace_after_the_last_heartbeat_and_ends_with_the_next() {
    let mut plan = Plan::new(&profile(", returning_percent: 50"), 1, START);
    let moments = played(&mut plan, 30_000);
    let outages: Vec<Outage> = plan.outages().collect();
    assert_eq!(outages.len(), 50);
    for outage in &outages {
        let sent = heartbeats(&moments, outage.number);
        let before = sent.iter().filter(|at| **at < outage.deadline);
        assert_eq!(before.max().unwrap().plus(6_000), outage.deadline);
        assert_eq!(sent.iter().find(|at| **at >= outage.deadline), outage.returned.as_ref());
        assert!(outage.deadline <= plan.settled_at());
    }
    assert!(outages.iter().any(|outage| outage.returned.is_some()));
    assert!(outages.iter().any(|outage| outage.returned.is_none()));
}

#[test]
fn with_a_last_gasp_deadlines_are_as_close_together_as_the_silences_begin() {
    let mut plan = Plan::new(&profile(", last_gasp: true"), 1, START);
    played(&mut plan, 6_000);
    let from = START.plus(2_000 + 6_000);
    for outage in plan.outages() {
        assert!((0..3_000).contains(&outage.deadline.since(from)), "{outage:?}");
    }
}

#[test]
fn a_storm_keeps_nobody_away_for_long_and_everybody_is_back_with_a_heartbeat() {
    let storm = ", storm: { percent: 50, away: 1s, back_within: 1s }";
    let mut plan = Plan::new(&profile(storm), 1, START);
    let moments = played(&mut plan, 20_000);
    let back: Vec<&Moment> = moments.iter().filter(|m| m.action == Action::Connect).collect();
    assert!((400..600).contains(&back.len()), "{}", back.len());
    for moment in back {
        assert!(heartbeats(&moments, moment.number).contains(&moment.at.plus(1)));
    }
    assert!(plan.longest_pause_ms() <= 5_000, "{}", plan.longest_pause_ms());
}

#[test]
fn by_zipfs_law_few_devices_send_much_of_what_is_on_top() {
    let mut plan = Plan::new(&profile(", zipf_percent: 100"), 1, START);
    let moments = played(&mut plan, 20_000);
    assert!((18_500..20_500).contains(&moments.len()), "{}", moments.len());
    let mut counts = vec![0_u32; 1_000];
    moments.iter().for_each(|moment| counts[moment.number as usize] += 1);
    counts.sort_unstable();
    let of_ten: u32 = counts.iter().rev().take(10).sum();
    assert!(of_ten > 3_000, "{of_ten}");
    assert_eq!(plan.longest_pause_ms(), 2_000);
}

#[test]
fn what_is_rushed_goes_out_at_once_and_the_pace_goes_on_afterwards() {
    let mut plan = Plan::new(&profile(""), 1, START);
    played(&mut plan, 12_000);
    let mut moments = Vec::new();
    let now = START.plus(12_100);
    plan.rush(5_000, now, &mut moments);
    assert_eq!(moments.len(), 5 * (1_000 - 50));
    assert!(moments.iter().all(|moment| moment.at == now));
    moments.clear();
    plan.play(now.plus(1_999), &mut moments);
    assert_eq!(moments.len(), 1_000 - 50);
    assert!(plan.longest_pause_ms() <= 2_100, "{}", plan.longest_pause_ms());
}
