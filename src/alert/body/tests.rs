use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::alert::sample;
use crate::engine::{Generation, Judged, LastSignal};

/// The body in the order in which it is sent, indented.
fn pretty(alert: &Alert) -> String {
    let message = message(alert, "ops");
    let payload = Payload::new(alert, &message.alert_id, &message.message_id);
    assert_eq!(message.body, serde_json::to_vec(&payload).unwrap());
    serde_json::to_string_pretty(&payload).unwrap()
}

#[test]
fn firing_is_pinned() {
    assert_snapshot!(pretty(&sample::firing()));
}

#[test]
fn firing_of_a_module_by_an_unproven_route_is_pinned() {
    assert_snapshot!(pretty(&sample::module_by_unproven_route()));
}

#[test]
fn never_seen_is_pinned() {
    assert_snapshot!(pretty(&sample::never_seen()));
}

#[test]
fn resolved_is_pinned() {
    assert_snapshot!(pretty(&sample::resolved()));
}

#[test]
fn retracted_is_pinned() {
    assert_snapshot!(pretty(&sample::retracted()));
}

#[test]
fn amended_is_pinned() {
    assert_snapshot!(pretty(&sample::amended()));
}

#[test]
fn a_window_of_a_second_and_a_half_keeps_its_half() {
    let mut alert = sample::firing();
    alert.transition.outage.window_ms = 1_500;
    let body: serde_json::Value = serde_json::from_slice(&message(&alert, "ops").body).unwrap();
    assert_eq!(body["data"]["window_s"], serde_json::json!(1.5));
    assert_eq!(body["data"]["grace_s"], serde_json::json!(10));
}

#[test]
fn a_generation_that_is_no_number_is_left_out() {
    let mut alert = sample::firing();
    alert.transition.outage.generation = Generation::parse("gen-a");
    let body: serde_json::Value = serde_json::from_slice(&message(&alert, "ops").body).unwrap();
    assert_eq!(body["data"].get("generation_id"), None);
}

#[test]
fn each_end_of_an_outage_has_its_name_and_its_words() {
    for (by, name, words) in [
        (ResolvedBy::Heartbeat, "heartbeat", "is back"),
        (ResolvedBy::Deleted, "deleted", "was deleted, which"),
        (ResolvedBy::Recreated, "recreated", "was deleted and created again"),
    ] {
        let mut alert = sample::resolved();
        let at = Timestamp::from_ms(1_767_225_900_000);
        alert.transition.kind = TransitionKind::Resolved { at, by };
        let body: serde_json::Value = serde_json::from_slice(&message(&alert, "ops").body).unwrap();
        assert_eq!(body["data"]["resolved_by"], name);
        assert!(body["data"]["summary"].as_str().unwrap().contains(words));
    }
}

#[test]
fn a_deadline_that_a_gap_has_moved_says_so() {
    let mut alert = sample::firing();
    alert.transition.outage.judged.deadline = Timestamp::from_ms(1_767_225_600_000 + 370_000);
    let body: serde_json::Value = serde_json::from_slice(&message(&alert, "ops").body).unwrap();
    let summary = body["data"]["summary"].as_str().unwrap();
    assert!(
        summary
            .contains("due by 2026-01-01T00:06:10.000Z (put off by 5m that could not be observed)")
    );
}

/// Texts that grow most when they are escaped for the summary and then for JSON.
fn hostile(bytes: usize) -> impl Strategy<Value = String> {
    prop::sample::select(vec!["\"", "\\", "\u{1}", "\u{202e}", "\u{10ffff}", "x", "'", "</script>"])
        .prop_map(move |part| part.repeat(bytes / part.len()))
}

proptest! {
    #[test]
    fn no_id_and_no_name_can_make_a_body_too_large_or_change_its_structure(
        hub in hostile(4_000),
        device in hostile(128),
        module in hostile(128),
        names in hostile(100_000),
        alert in prop::sample::select(vec![
            sample::module_by_unproven_route(), sample::never_seen(), sample::resolved(), sample::retracted(), sample::amended(),
        ]),
    ) {
        let mut alert = alert;
        let transition = &mut alert.transition;
        transition.identity.hub = hub.into();
        transition.identity.device = device.clone().into();
        transition.identity.module = Some(module.clone().into());
        transition.outage.generation = Generation::from_bits(u64::MAX >> 1);
        transition.outage.window_ms = i64::MIN + 1;
        transition.outage.grace_ms = i64::MIN + 1;
        transition.decided_at = Timestamp::MIN;
        transition.outage.judged.armed_at = Timestamp::MIN;
        transition.outage.last_signal = Some(LastSignal { sequence: i64::MIN, event_time: Timestamp::MIN });
        alert.origin.source = names.clone().into();
        alert.origin.partition = names.clone().into();
        alert.origin.rule = names.into();

        let body = message(&alert, "ops").body;
        prop_assert!(body.len() <= MAX_BODY_BYTES, "{} bytes", body.len());
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&parsed["data"]["device_id"], &device);
        prop_assert_eq!(&parsed["data"]["module_id"], &module);
        let summary = parsed["data"]["summary"].as_str().unwrap();
        prop_assert!(!summary.chars().any(char::is_control));
    }
}

/// The alert that the README shows, with its summary cut.
#[test]
fn the_alert_in_the_readme_is_one_that_is_sent() {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown: serde_json::Value = serde_json::from_str(block.unwrap()).unwrap();
    let data = &shown["data"];
    let instant = |name: &str| {
        let instant: jiff::Timestamp = data[name].as_str().unwrap().parse().unwrap();
        Timestamp::from_ms(instant.as_millisecond())
    };
    let mut alert = sample::firing();
    let transition = &mut alert.transition;
    transition.identity.device = data["device_id"].as_str().unwrap().into();
    transition.decided_at = instant("detected_at");
    let outage = &mut transition.outage;
    outage.judged =
        Judged { armed_at: instant("silent_since"), deadline: instant("first_missed_at") };
    outage.first_armed_at = outage.judged.armed_at;
    outage.generation = Generation::UNKNOWN;
    let sequence = data["last_seen"]["sequence"].as_i64().unwrap();
    outage.last_signal = Some(LastSignal { sequence, event_time: outage.judged.armed_at });
    alert.origin.observation_lag_ms = data["observation_lag_ms"].as_i64().unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&message(&alert, "ops").body).unwrap();
    let mut expected = sent.clone();
    let summary = data["summary"].as_str().unwrap();
    let begin = summary.strip_suffix("...").expect("it is cut");
    assert!(sent["data"]["summary"].as_str().unwrap().starts_with(begin), "{sent}");
    expected["data"]["summary"] = summary.into();
    for (name, value) in data.as_object().unwrap() {
        assert_eq!(value, &expected["data"][name], "{name} in {sent}");
    }
    assert_eq!((&shown["type"], &shown["timestamp"]), (&sent["type"], &sent["timestamp"]));
}
