//! The link, the broker, and what may be said while they are away and when they return.

use lastseen::devhub::hub::RegistryChange;

use super::fleet::{Fleet, ServedHub, assert_prompt, names, set};
use super::program::{Program, Source};
use super::receiver::Receiver;
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

const SILENT: [&str; 3] = ["pump-01", "pump-05", "pump-09"];

struct World {
    served: ServedHub,
    receiver: Receiver,
    program: Program,
    fleet: Fleet,
}

async fn world() -> World {
    let served = ServedHub::start(2).await;
    let receiver = Receiver::start().await;
    let fleet = Fleet::start(&served.hub, names("pump", 20));
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let program = Program::start(&sources, &receiver).await;
    live_for(WINDOW_MS).await;
    World { served, receiver, program, fleet }
}

impl World {
    async fn wait_for_the_silent(&self, seconds: u64) {
        let receiver = &self.receiver;
        eventually("the silent devices are flagged", seconds, || {
            receiver.flagged_names() == set(&SILENT)
        })
        .await;
    }

    fn assert_nobody_flagged(&self, when: &str) {
        assert_eq!(self.receiver.flagged_names(), set(&[]), "{when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_flags_nobody_meanwhile_and_exactly_the_silent_on_return() {
    let world = world().await;
    world.served.hub.faults().update(|faults| faults.link_down = true);
    live_for(WINDOW_MS).await;
    world.fleet.silence(&SILENT);
    live_for(9 * WINDOW_MS).await;
    world.assert_nobody_flagged("while the link is cut");
    world.served.hub.faults().update(|faults| faults.link_down = false);
    world.wait_for_the_silent(45).await;
    live_for(2 * DUE_MS).await;
    assert_eq!(world.receiver.flagged_names(), set(&SILENT), "nobody else");
    assert_eq!(world.program.metric("lastseen_false_offline_total"), 0.0);
}

async fn broker_down(devices_first: bool) {
    let world = world().await;
    let faults = world.served.hub.faults();
    faults.update(|faults| (faults.link_down, faults.refuse_devices) = (true, true));
    world.fleet.silence(&SILENT);
    live_for(10 * WINDOW_MS).await;
    world.assert_nobody_flagged("while the broker is down");
    if devices_first {
        faults.update(|faults| faults.refuse_devices = false);
        live_for(WINDOW_MS).await;
        faults.update(|faults| faults.link_down = false);
    } else {
        faults.update(|faults| faults.link_down = false);
        let program = &world.program;
        eventually("attached again", 60, || program.metric("lastseen_source_connected") == 1.0)
            .await;
        world.assert_nobody_flagged("on return");
        faults.update(|faults| faults.refuse_devices = false);
    }
    world.wait_for_the_silent(45).await;
    live_for(2 * DUE_MS).await;
    assert_eq!(world.receiver.flagged_names(), set(&SILENT), "nobody else");
    assert_eq!(world.program.metric("lastseen_false_offline_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_broker_was_down_and_devices_return_first_only_the_silent_are_flagged() {
    broker_down(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_broker_was_down_and_we_return_first_only_the_silent_are_flagged() {
    broker_down(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_again_and_again_hides_no_dead_device() {
    let world = world().await;
    world.fleet.silence(&SILENT);
    for _ in 0..6 {
        world.served.hub.faults().drop_connections();
        live_for(WINDOW_MS).await;
    }
    world.wait_for_the_silent(30).await;
    live_for(DUE_MS).await;
    assert_eq!(world.receiver.flagged_names(), set(&SILENT), "nobody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_stays_open_but_delivers_nothing_flags_nobody() {
    let world = world().await;
    world.served.hub.faults().update(|faults| faults.stop_delivering = true);
    live_for(4 * DUE_MS).await;
    world.assert_nobody_flagged("while nothing is delivered");
    world.served.hub.faults().update(|faults| faults.stop_delivering = false);
    live_for(2 * DUE_MS).await;
    world.assert_nobody_flagged("when everything has been read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_replays_old_history_unheard_and_tells_only_what_is_open() {
    let served = ServedHub::start(2).await;
    let fleet = Fleet::start(&served.hub, names("pump", 20));
    live_for(WINDOW_MS).await;
    fleet.silence(&["pump-01", "pump-05"]);
    live_for(2 * DUE_MS).await;
    fleet.revive(&["pump-05"]);
    live_for(WINDOW_MS).await;
    let receiver = Receiver::start().await;
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let _program = Program::start(&sources, &receiver).await;
    eventually("the open outage is told", 30, || receiver.flagged_names() == set(&["pump-01"]))
        .await;
    live_for(DUE_MS).await;
    assert_eq!(
        receiver.notices().len(),
        1,
        "the outage of pump-05 is history: {:?}",
        receiver.notices()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_resolves_a_deletion_closes_and_a_created_device_that_never_beats_is_told() {
    let world = world().await;
    world.fleet.silence(&SILENT);
    world.wait_for_the_silent(30).await;
    assert_prompt(&world.fleet.verdict_delays_ms(&world.receiver));
    world.fleet.revive(&["pump-01"]);
    let now = lastseen::clock::wall();
    world.served.hub.registry("pump-05", None, RegistryChange::Delete, now).unwrap();
    world.served.hub.registry("born-dead", None, RegistryChange::Create, now).unwrap();
    let receiver = &world.receiver;
    eventually("both are resolved", 30, || {
        receiver.of_status("resolved").into_keys().eq(["pump-01", "pump-05"].map(str::to_owned))
    })
    .await;
    eventually("never seen", 30, || receiver.flagged_names().contains("born-dead")).await;
    assert_eq!(receiver.flagged()["born-dead"].data["cause"], "never_seen");
    assert_eq!(receiver.of_status("resolved")["pump-05"].data["resolved_by"], "deleted");
}
