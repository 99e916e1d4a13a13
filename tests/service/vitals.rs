//! What the program says about itself, and that it goes on judging afterwards.

use super::fleet::{Fleet, ServedHub, names, set};
use super::program::{Program, Source};
use super::receiver::{Notice, Receiver};
use super::{DUE_MS, WINDOW_MS, eventually, live_for};

fn of_type(receiver: &Receiver, name: &str) -> Vec<Notice> {
    let mut notices = receiver.notices();
    notices.retain(|notice| notice.data["type"] == name);
    notices
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_says_so_flags_nobody_for_it_and_judges_again_and_a_watchdog_says_it_works()
 {
    let served = ServedHub::start(2).await;
    let receiver = Receiver::start().await;
    let fleet = Fleet::start(&served.hub, names("pump", 20));
    let sources = [Source::event_hub("hub", &served.connection_string)];
    let program = Program::start_with(&sources, &receiver, "watchdog: { interval: 10s }\n").await;
    live_for(WINDOW_MS).await;
    program.signal("STOP");
    live_for(3 * DUE_MS).await;
    program.signal("CONT");
    eventually("it says that it was starved", 30, || {
        let notices = of_type(&receiver, "self.health");
        notices.iter().any(|notice| notice.data["reason"] == "starved")
    })
    .await;
    live_for(2 * DUE_MS).await;
    assert_eq!(receiver.flagged_names(), set(&[]), "nobody was silent");
    fleet.silence(&["pump-03"]);
    eventually("who is silent is flagged", 60, || receiver.flagged_names() == set(&["pump-03"]))
        .await;
    eventually("the watchdog comes", 60, || !of_type(&receiver, "watchdog").is_empty()).await;
    let watchdog = of_type(&receiver, "watchdog").remove(0).data;
    assert_eq!(watchdog["partitions"], 2);
    assert_eq!(watchdog["status"], "firing");
}
