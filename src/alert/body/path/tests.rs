use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::MAX_BODY_BYTES;
use super::*;
use crate::alert::id::AlertId;
use crate::alert::path::MAX_NAMED;
use crate::engine::Timestamp;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn firing() -> PathAlert {
    let detected_at = MIDNIGHT.plus(60_000);
    PathAlert {
        id: AlertId::of_path("hub", detected_at),
        status: Status::Firing,
        ordinal: 0,
        source: "hub".into(),
        partitions: vec!["3".into()],
        partitions_total: 1,
        reasons: BTreeMap::from([(PathReason::Blind(BlindReason::LinkDown), 1)]),
        identities: 4_711,
        since: MIDNIGHT,
        detected_at,
        at: detected_at,
        found: None,
    }
}

fn updated() -> PathAlert {
    PathAlert {
        status: Status::Updated,
        ordinal: 1,
        partitions: ["0", "1", "2", "3"].map(Into::into).to_vec(),
        partitions_total: 4,
        reasons: BTreeMap::from([
            (PathReason::Blind(BlindReason::Unauthorized), 3),
            (PathReason::Gaps, 1),
        ]),
        identities: 18_000,
        at: MIDNIGHT.plus(120_000),
        ..firing()
    }
}

fn resolved() -> PathAlert {
    PathAlert {
        status: Status::Resolved,
        ordinal: 2,
        identities: 0,
        at: MIDNIGHT.plus(300_000),
        found: Some(Found {
            unobserved: Some((MIDNIGHT.minus(1_500), MIDNIGHT.plus(230_000))),
            silent: 12,
        }),
        ..updated()
    }
}

#[test]
fn a_path_whose_backlog_held_everything_says_so() {
    let found = Some(Found { unobserved: None, silent: 1 });
    let summary = summary(&PathAlert { found, ..resolved() });
    let end = "What was sent meanwhile has been read; 1 device or module is silent at the moment.";
    assert!(summary.ends_with(end), "{summary}");
}

/// The body in the order in which it is sent, indented.
fn pretty(alert: &PathAlert) -> String {
    let message = path_message(alert, "ops");
    let payload = Payload::new(alert, &message.alert_id, &message.message_id);
    assert_eq!(message.body, serde_json::to_vec(&payload).unwrap());
    assert_eq!(message.status, alert.status);
    serde_json::to_string_pretty(&payload).unwrap()
}

#[test]
fn a_path_that_fires_is_pinned() {
    assert_snapshot!(pretty(&firing()));
}

#[test]
fn a_path_whose_extent_has_changed_is_pinned() {
    assert_snapshot!(pretty(&updated()));
}

#[test]
fn a_path_that_is_seen_again_is_pinned() {
    assert_snapshot!(pretty(&resolved()));
}

#[test]
fn messages_about_one_path_share_alert_id_and_lane_and_differ_in_message_id() {
    let messages = [firing(), updated(), resolved()].map(|alert| path_message(&alert, "ops"));
    let other = path_message(&PathAlert { ordinal: 2, ..updated() }, "ops");
    for (at, message) in messages.iter().enumerate() {
        assert_eq!((&message.alert_id, message.lane), (&other.alert_id, other.lane));
        assert_ne!(message.message_id, other.message_id);
        assert!(messages[..at].iter().all(|earlier| earlier.message_id != message.message_id));
    }
}

#[test]
fn every_reason_has_its_own_words_and_tells_where_to_look() {
    let reasons = BlindReason::ALL.map(PathReason::Blind);
    for reason in reasons.into_iter().chain([PathReason::Gaps, PathReason::PutOff]) {
        let alert = PathAlert { reasons: BTreeMap::from([(reason, 1)]), ..firing() };
        let (why, look_at) = words(reason);
        let summary = summary(&alert);
        assert!(summary.contains(why) && summary.contains(look_at), "{summary}");
        assert!(why.len() > 10 && look_at.len() > 10, "{reason:?}");
    }
}

proptest! {
    #[test]
    fn no_name_can_make_a_body_too_large_or_change_its_structure(
        part in prop::sample::select(vec!["\"", "\\", "\u{1}", "\u{202e}", "\u{10ffff}", "x", "</script>"]),
        alert in prop::sample::select(vec![firing(), updated(), resolved()]),
    ) {
        let name = part.repeat(10_000);
        let reasons = BlindReason::ALL.map(|reason| (PathReason::Blind(reason), u64::MAX));
        let alert = PathAlert {
            source: name.clone().into(),
            partitions: vec![name.clone().into(); MAX_NAMED],
            partitions_total: usize::MAX,
            reasons: BTreeMap::from(reasons),
            identities: u64::MAX,
            since: Timestamp::MIN,
            ordinal: u32::MAX,
            ..alert
        };
        let body = path_message(&alert, "ops").body;
        prop_assert!(body.len() <= MAX_BODY_BYTES, "{} bytes", body.len());
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let named = parsed["data"]["partitions"].as_array().unwrap();
        prop_assert!(named.iter().all(|named| name.starts_with(named.as_str().unwrap())));
        let summary = parsed["data"]["summary"].as_str().unwrap();
        prop_assert!(!summary.chars().any(char::is_control));
    }
}
