//! Links that break in the ways in which networks do, and a program that is halted past every time-out.

use std::time::Duration;

use super::kill::ms;
use super::proxy::Fault;
use super::world::{Options, World, cycles, setting};

/// Past the 60 s after which the program gives up a link on which nothing comes.
const LONG: Duration = Duration::from_secs(75);
/// Past the time-outs of the program; `CAMPAIGN_HALT_SECONDS=260` is past those of the hub, too.
const HALT_SECONDS: u64 = 75;
/// The life between two faults.
const BETWEEN: Duration = Duration::from_secs(8);
const CYCLES: u64 = 1;

/// What is done to the link to the broker.
const BROKER: [(Fault, Duration); 8] = [
    (Fault::Cut, Duration::ZERO),
    (Fault::Reset, Duration::ZERO),
    (Fault::Cut, Duration::from_secs(4)),
    (Fault::Reset, Duration::from_secs(4)),
    (Fault::BlackHole, Duration::from_secs(6)),
    (Fault::Delay(Duration::from_millis(300)), Duration::from_secs(6)),
    (Fault::Throttle(4_000), Duration::from_secs(6)),
    (Fault::BlackHole, LONG),
];

/// And to the one to the receiver.
const RECEIVER: [(Fault, Duration); 6] = [
    (Fault::Cut, Duration::ZERO),
    (Fault::Reset, Duration::ZERO),
    (Fault::Reset, Duration::from_secs(1)),
    (Fault::BlackHole, Duration::from_secs(3)),
    (Fault::Delay(Duration::from_millis(500)), Duration::from_secs(5)),
    (Fault::Throttle(2_000), Duration::from_secs(5)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn whatever_happens_to_the_link_to_the_broker_nobody_is_falsely_flagged_and_nothing_is_lost()
{
    let mut world = World::with_hub(Options::new("faults-broker")).await;
    for _ in 0..cycles(CYCLES) {
        for (fault, span) in BROKER {
            tokio::time::sleep(ms(world.random.between(0, 1_000))).await;
            world.broker_link(fault, span).await;
            tokio::time::sleep(BETWEEN).await;
            world.close_cycle(&format!("broker: {fault:?} for {span:?}"));
        }
    }
    world.settle("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn whatever_happens_to_the_link_to_the_receiver_every_alert_arrives_once() {
    let mut world = World::with_hub(Options::new("faults-receiver")).await;
    for _ in 0..cycles(CYCLES) {
        for (fault, span) in RECEIVER {
            tokio::time::sleep(ms(world.random.between(0, 1_000))).await;
            world.receiver_link(fault, span).await;
            tokio::time::sleep(BETWEEN).await;
            world.close_cycle(&format!("receiver: {fault:?} for {span:?}"));
        }
    }
    world.settle("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_program_that_is_halted_past_every_time_out_flags_nobody_for_it() {
    let mut world = World::with_hub(Options::new("faults-halt")).await;
    let halt = Duration::from_secs(setting("CAMPAIGN_HALT_SECONDS").unwrap_or(HALT_SECONDS));
    for _ in 0..cycles(CYCLES) {
        tokio::time::sleep(BETWEEN).await;
        world.halt(halt).await;
        tokio::time::sleep(BETWEEN).await;
        world.close_cycle(&format!("halted {halt:?}"));
    }
    world.settle("").await;
}
