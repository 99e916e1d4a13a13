//! What people and programs see of the demo.

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::scene::PartitionView;
use super::*;
use crate::devhub::fleet::{Notice, NoticeStatus, Roster};

mod simulation;

/// 2026-01-01, noon.
const NOON: Timestamp = Timestamp::from_ms(1_767_268_800_000);

fn options() -> FleetOptions {
    FleetOptions {
        seed: 42,
        roster: Roster { devices: 1_000, gateway_every: 10 },
        interval_ms: 2_000,
        jitter_percent: 20,
        window_ms: 6_000,
        grace_ms: 1_000,
        silenced: 100,
        deleted: 20,
        storms: 1,
        storm_percent: 30,
        start: NOON,
        duration_ms: 40_000,
        settle_ms: 3_000,
    }
}

fn alert(device: &str, module: Option<&str>, status: NoticeStatus, at_ms: Millis) -> Notice {
    Notice {
        message_id: format!("{device} {at_ms}"),
        device_id: device.to_owned(),
        module_id: module.map(str::to_owned),
        status,
        first_missed_at: NOON.plus(at_ms - 1_040),
        detected_at: NOON.plus(at_ms - 1_000),
        received_at: NOON.plus(at_ms),
    }
}

fn scene(elapsed_ms: Millis) -> Scene {
    let partition = |name: &str, behind_ms| PartitionView {
        name: name.to_owned(),
        clock: NOON.plus(elapsed_ms - behind_ms),
        lag_ms: behind_ms,
    };
    Scene {
        options: options(),
        elapsed_ms,
        live: LiveView {
            states: vec![
                ("online", 951),
                ("late", 12),
                ("offline", 76),
                ("pending", 0),
                ("deleted", 11),
            ],
            partitions: vec![
                partition("0", 1_012),
                partition("1", 1_044),
                PartitionView { name: "2".to_owned(), clock: Timestamp::MIN, lag_ms: 0 },
            ],
        },
        messages: 12_345,
        messages_per_s: 512,
        firing: 3,
        resolved: 1,
        alerts: vec![
            alert("gateway-00009", Some("sensor"), NoticeStatus::Firing, 24_700),
            alert("sensor-00012", None, NoticeStatus::Resolved, 24_000),
            alert("sensor-00012", None, NoticeStatus::Firing, 12_000),
            alert("sensor-00777", None, NoticeStatus::Retracted, 11_000),
        ],
    }
}

fn drawn(width: u16, height: u16, scene: &Scene) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, scene)).unwrap();
    terminal.backend().to_string()
}

fn verdict() -> Verdict {
    Verdict {
        devices: 1_000,
        heartbeats: 19_874,
        silenced: 100,
        flagged: 100,
        returned: 42,
        resolved: 42,
        verdict_delay_ms: (1_000..1_100).collect(),
        detection_lag_ms: (0..100).collect(),
        ..Verdict::default()
    }
}

#[test]
fn delays_beyond_two_seconds_are_told_as_they_are() {
    let slow = Verdict { verdict_delay_ms: vec![1_000, 5_000, 5_000], ..verdict() };
    let told = report::json(&slow).unwrap();
    assert!(told.contains(r#""verdict_delay_ms":{"p50":5000,"p99":5000,"max":5000}"#), "{told}");
}

#[test]
fn the_live_view_shows_fleet_clocks_alerts_and_the_time_left() {
    assert_snapshot!(drawn(100, 22, &scene(24_800)));
}

#[test]
fn a_terminal_of_any_size_is_drawn_without_a_panic() {
    for (width, height) in [(1, 1), (5, 30), (80, 3), (20, 10), (300, 100)] {
        drawn(width, height, &scene(0));
        drawn(width, height, &scene(41_000));
    }
}

#[test]
fn a_good_verdict_says_so_and_what_to_do_next() {
    assert_snapshot!(report::text(&verdict(), &options(), 0, Ink::Plain));
}

#[test]
fn a_bad_verdict_names_who_was_missed_and_who_was_falsely_flagged() {
    let bad = Verdict {
        flagged: 98,
        missed: 2,
        false_offline: 1,
        resolved: 41,
        missed_examples: vec!["sensor-00001".into(), "gateway-00009/sensor".into()],
        false_examples: vec!["sensor-00777".into()],
        ..verdict()
    };
    assert_snapshot!(report::text(&bad, &options(), 3, Ink::Plain));
}

#[test]
fn a_verdict_for_programs_is_one_object_with_the_documented_keys() {
    assert_snapshot!(report::json(&verdict()).unwrap(), @r#"{"devices":1000,"heartbeats":19874,"silenced":100,"flagged":100,"missed":0,"false_offline":0,"resolved":42,"verdict_delay_ms":{"p50":1049,"p99":1098,"max":1099},"detection_lag_ms":{"p50":49,"p99":98,"max":99}}"#);
    let nobody = report::json(&Verdict::default()).unwrap();
    assert!(nobody.contains(r#""verdict_delay_ms":{"p50":0,"p99":0,"max":0}"#), "{nobody}");
}

#[tokio::test]
async fn a_service_that_fails_ends_the_demo_with_its_reason() {
    let args = DemoArgs {
        devices: 10,
        interval_ms: 2_000,
        window_ms: 6_000,
        silence_percent: 10.0,
        duration_ms: 40_000,
        seed: 1,
        json: true,
    };
    let start = async |_, _| {
        let task = tokio::spawn(async { Err(anyhow!("no luck")) });
        Ok(Service { task, look: Arc::new(LiveView::default) })
    };
    let error = play(args, start).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "the service failed: no luck");
}
