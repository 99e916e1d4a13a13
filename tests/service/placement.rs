//! Identities that more than one partition or source knows.

use lastseen::clock;
use lastseen::devhub::hub::RegistryChange;

use super::fleet::{Fleet, ServedHub, names, set};
use super::program::{Program, Source};
use super::receiver::Receiver;
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_device_that_sends_only_through_a_module_raises_no_alert() {
    let served = ServedHub::start(2).await;
    let receiver = Receiver::start().await;
    let hub = served.hub.clone();
    let fleet = Fleet::sending(names("gw", 4), move |device| {
        let message = lastseen::devhub::hub::DeviceMessage {
            device: device.to_owned(),
            module: Some("sensor".to_owned()),
            ..Default::default()
        };
        let now = clock::wall();
        hub.device_to_cloud(message, now).ok().map(|_| now.as_ms())
    });
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let _program = Program::start(&sources, &receiver).await;
    live_for(3 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&[]));
    fleet.silence(&["gw-02"]);
    eventually("device and module are flagged", 20, || {
        receiver.flagged_names() == set(&["gw-02", "gw-02/sensor"])
    })
    .await;
}

/// Lifecycle notifications by one event hub, telemetry by another, as two routes of one IoT Hub.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_created_on_a_source_that_is_ahead_is_not_falsely_never_seen() {
    let (registry, telemetry) = (ServedHub::start(1).await, ServedHub::start(2).await);
    let receiver = Receiver::start().await;
    let _fleet = Fleet::start(&telemetry.hub, names("pump", 6));
    let _watchmen = Fleet::start(&registry.hub, ["watchman".to_owned()]);
    let sources = [
        Source::event_hub("registry", &registry.connection_string),
        Source::event_hub("telemetry", &telemetry.connection_string),
    ];
    let _program = Program::start(&sources, &receiver).await;
    live_for(WINDOW_MS).await;
    // The telemetry falls behind; the new device beats into it all the while.
    telemetry.hub.faults().update(|faults| faults.stop_delivering = true);
    registry.hub.registry("new-one", None, RegistryChange::Create, clock::wall()).unwrap();
    registry.hub.registry("born-dead", None, RegistryChange::Create, clock::wall()).unwrap();
    let _new = Fleet::start(&telemetry.hub, ["new-one".to_owned()]);
    live_for(4_000 + 2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&[]), "what was not read may hold a heartbeat");
    telemetry.hub.faults().update(|faults| faults.stop_delivering = false);
    eventually("the one that never beat is told", 30, || {
        receiver.flagged_names() == set(&["born-dead"])
    })
    .await;
    live_for(2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&["born-dead"]));
}
