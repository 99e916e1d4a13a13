//! Nobody is flagged, revived or deleted by what a device or a stranger claims.

use bytes::Bytes;
use lastseen::clock;
use lastseen::devhub::hub::DeviceMessage;

use super::fleet::{Fleet, ServedHub, names, set};
use super::program::{Program, Source};
use super::receiver::Receiver;
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_claims_to_be_another_or_a_notification_changes_only_its_own_last_seen() {
    let served = ServedHub::start(2).await;
    let receiver = Receiver::start().await;
    let fleet = Fleet::start(&served.hub, names("pump", 10));
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let program = Program::start(&sources, &receiver).await;
    live_for(WINDOW_MS).await;
    // pump-02 dies; the liar speaks for it, and deletes pump-03, in every way that a device has.
    fleet.silence(&["pump-02"]);
    let lies = [
        vec![("iothub-connection-device-id", "pump-02"), ("deviceId", "pump-02")],
        vec![
            ("opType", "deleteDeviceIdentity"),
            ("deviceId", "pump-03"),
            ("hubName", "example-hub"),
            ("iothub-message-schema", "deviceLifecycleNotification"),
            ("iothub-message-source", "deviceLifecycleEvents"),
        ],
    ];
    for _ in 0..12 {
        for lie in &lies {
            let message = DeviceMessage {
                device: "liar".into(),
                properties: lie.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                body: Bytes::from_static(
                    br#"{"deviceId":"pump-02","opType":"createDeviceIdentity"}"#,
                ),
                ..DeviceMessage::default()
            };
            served.hub.device_to_cloud(message, clock::wall()).unwrap();
        }
        live_for(WINDOW_MS / 4).await;
    }
    eventually("the dead one is flagged", 20, || receiver.flagged_names() == set(&["pump-02"]))
        .await;
    assert!(program.metric("lastseen_spoofs_suspected_total") >= 24.0);
    // pump-03 was not deleted: its own silence still counts.
    fleet.silence(&["pump-03"]);
    eventually("its silence counts", 20, || receiver.flagged_names().contains("pump-03")).await;
    assert_eq!(receiver.of_status("resolved").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_to_the_dead_letters_and_delays_nobody() {
    let served = ServedHub::start(1).await;
    let receiver = Receiver::start().await;
    let _fleet = Fleet::start(&served.hub, names("pump", 5));
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let program = Program::start(&sources, &receiver).await;
    for garbage in
        [&b"\x00\x53\x72\xd1\xff\xff\xff\xff\x00\x00\x00\x02"[..], b"", b"\x00\x53\x75\xa0"]
    {
        served.hub.send_raw(0, Bytes::from_static(garbage), clock::wall()).unwrap();
    }
    eventually("they are kept", 20, || program.dead_letters().lines().count() >= 2).await;
    assert!(program.metric("lastseen_rejected_messages_total") >= 2.0);
    live_for(2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&[]));
}
