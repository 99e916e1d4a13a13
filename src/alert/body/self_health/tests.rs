use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::MAX_BODY_BYTES;
use super::*;
use crate::alert::id::AlertId;
use crate::engine::Timestamp;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn firing() -> SelfAlert {
    let sink = Some("ops".into());
    let at = MIDNIGHT.plus(150_000);
    SelfAlert {
        counts: BTreeMap::from([("given_up".to_owned(), 1)]),
        ..SelfAlert::firing(SelfReason::DeliveryFailing, sink, MIDNIGHT, at)
    }
}

fn disabled() -> SelfAlert {
    let at = MIDNIGHT.plus(200_000);
    SelfAlert { reason: SelfReason::EndpointDisabled, ordinal: 1, at, ..firing() }
}

fn storage() -> SelfAlert {
    SelfAlert::firing(SelfReason::Storage, None, MIDNIGHT, MIDNIGHT.plus(5_000))
}

/// The body in the order in which it is sent, indented.
fn pretty(alert: &SelfAlert) -> String {
    let message = self_message(alert, "lab");
    let payload = Payload::new(alert, &message.alert_id, &message.message_id);
    assert_eq!(message.body, serde_json::to_vec(&payload).unwrap());
    assert_eq!(message.status, alert.status);
    serde_json::to_string_pretty(&payload).unwrap()
}

#[test]
fn delivery_that_fails_is_pinned() {
    assert_snapshot!(pretty(&firing()));
}

#[test]
fn an_endpoint_that_is_disabled_is_pinned() {
    assert_snapshot!(pretty(&disabled()));
}

#[test]
fn a_store_that_fails_is_pinned() {
    assert_snapshot!(pretty(&storage()));
}

#[test]
fn delivery_that_works_again_is_pinned() {
    assert_snapshot!(pretty(&firing().resolved(MIDNIGHT.plus(600_000))));
}

#[test]
fn messages_about_one_alert_share_alert_id_and_lane_and_differ_in_message_id() {
    let messages = [firing(), disabled(), disabled().resolved(MIDNIGHT.plus(600_000))]
        .map(|alert| self_message(&alert, "lab"));
    for (at, message) in messages.iter().enumerate() {
        assert_eq!((&message.alert_id, message.lane), (&messages[0].alert_id, messages[0].lane));
        assert!(messages[..at].iter().all(|earlier| earlier.message_id != message.message_id));
    }
}

#[test]
fn the_id_depends_on_reason_subject_and_time() {
    let id = AlertId::of_self("storage", "", MIDNIGHT);
    for other in [
        AlertId::of_self("starved", "", MIDNIGHT),
        AlertId::of_self("storage", "ops", MIDNIGHT),
        AlertId::of_self("storage", "", MIDNIGHT.plus(1)),
        AlertId::of_path("storage", MIDNIGHT),
    ] {
        assert_ne!(id, other);
    }
}

#[test]
fn every_reason_says_what_is_wrong_what_to_do_and_that_it_is_over() {
    for reason in SelfReason::ALL {
        let alert = SelfAlert { reason, ..storage() };
        let (wrong, next) = wrong(reason);
        let told = summary(&alert);
        assert!(told.contains(wrong) && told.contains(next), "{told}");
        let ended = summary(&alert.resolved(MIDNIGHT.plus(65_000)));
        assert!(ended.contains(over(reason).0) && ended.contains("1m 5s after"), "{ended}");
    }
}

proptest! {
    #[test]
    fn no_name_can_make_a_body_too_large_or_change_its_structure(
        part in prop::sample::select(vec!["\"", "\\", "\u{1}", "\u{202e}", "\u{10ffff}", "x", "</script>"]),
        reason in prop::sample::select(SelfReason::ALL.to_vec()),
    ) {
        let name = part.repeat(10_000);
        let alert = SelfAlert {
            reason,
            sink: Some(name.clone().into()),
            since: Timestamp::MIN,
            ordinal: u32::MAX,
            counts: BTreeMap::from([("given_up".to_owned(), u64::MAX)]),
            ..firing()
        };
        let body = self_message(&alert, &name).body;
        prop_assert!(body.len() <= MAX_BODY_BYTES, "{} bytes", body.len());
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        prop_assert!(name.starts_with(parsed["data"]["sink"].as_str().unwrap()));
        let summary = parsed["data"]["summary"].as_str().unwrap();
        prop_assert!(!summary.chars().any(char::is_control));
    }
}
