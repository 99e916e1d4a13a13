use std::collections::HashSet;

use insta::assert_snapshot;

use super::super::MAX_BODY_BYTES;
use super::*;
use crate::engine::Timestamp;

/// 2026-01-01T00:00:00Z.
const MIDNIGHT: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn watchdog() -> Watchdog {
    Watchdog {
        sequence: 17,
        sent_at: MIDNIGHT.plus(60_000),
        interval_ms: 60_000,
        partitions: 4,
        oldest_clock_age_ms: Some(1_043),
        identities: [3, 4_711, 2, 5, 1],
        waiting_messages: 6,
        last_verdict_at: Some(MIDNIGHT),
    }
}

#[test]
fn the_watchdog_is_pinned() {
    let message = watchdog_message(&watchdog(), "ops");
    let watchdog = watchdog();
    let payload = Payload::new(&watchdog, &message.alert_id, &message.message_id);
    assert_eq!(message.body, serde_json::to_vec(&payload).unwrap());
    assert_eq!(message.status, Status::Firing);
    assert_snapshot!(serde_json::to_string_pretty(&payload).unwrap());
}

#[test]
fn no_two_messages_share_an_id_and_the_same_has_the_same() {
    let mut seen = HashSet::new();
    for sink in ["ops", "lab"] {
        for sequence in 1..4 {
            for sent_at in [MIDNIGHT, MIDNIGHT.plus(1)] {
                let watchdog = Watchdog { sequence, sent_at, ..watchdog() };
                let message = watchdog_message(&watchdog, sink);
                assert_eq!(message, watchdog_message(&watchdog, sink));
                assert!(seen.insert(message.message_id));
            }
        }
    }
}

#[test]
fn no_figure_makes_a_body_too_large() {
    let body = watchdog_message(
        &Watchdog {
            sequence: u64::MAX,
            sent_at: Timestamp::MIN,
            interval_ms: i64::MAX,
            partitions: u64::MAX,
            oldest_clock_age_ms: Some(i64::MIN),
            identities: [u64::MAX; State::ALL.len()],
            waiting_messages: u64::MAX,
            last_verdict_at: Some(Timestamp::MIN),
        },
        "ops",
    )
    .body;
    assert!(body.len() <= MAX_BODY_BYTES);
}
