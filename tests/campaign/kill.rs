//! `kill -9` at any moment.

use std::time::Duration;

use super::proxy::Fault;
use super::random::Random;
use super::receiver::Script;
use super::world::{Options, World, cycles};

/// Half a minute for sixty cycles and three for all of it.
const CYCLES: u64 = 60;

pub(crate) fn ms(span: i64) -> Duration {
    Duration::from_millis(span.unsigned_abs())
}

/// When a life ends: mostly within the recovery from the last one, or soon after.
pub(crate) fn life(random: &mut Random) -> Duration {
    ms(match random.between(0, 99) {
        0..10 => random.between(0, 60),
        10..50 => random.between(60, 900),
        50..78 => random.between(900, 2_500),
        // Long enough for what is owed to be told.
        _ => random.between(4_000, 5_500),
    })
}

/// How long it stays down: sometimes longer than window and grace.
pub(crate) fn downtime(random: &mut Random) -> Duration {
    ms(match random.between(0, 99) {
        0..60 => 0,
        60..88 => random.between(100, 1_500),
        _ => random.between(2_200, 4_000),
    })
}

/// One life and its end. Says what it was.
pub(crate) async fn cycle(world: &mut World, seed: u64) -> String {
    let random = &mut Random::new(seed);
    let (life, downtime) = (life(random), downtime(random));
    let mut what = format!("seed {seed}: life {life:?}, down {downtime:?}");
    if random.chance(12) {
        let scripts = [Script::Fail, Script::LoseAnswer, Script::Slow(ms(300))];
        let script = scripts[usize::try_from(random.between(0, 2)).unwrap()];
        what += &format!(", receiver {script:?}");
        world.receiver_fails(script, ms(random.between(100, 800))).await;
    }
    if world.to_broker.is_some() && random.chance(10) {
        let fault = if random.chance(50) { Fault::Cut } else { Fault::Reset };
        what += &format!(", broker {fault:?}");
        world.broker_link_breaks(fault);
    }
    if random.chance(35) {
        // In the middle of a delivery: between the request and its answer, or just after.
        what += ", at a request";
        let mut requests = world.receiver.requests();
        let wait = life + Duration::from_secs(1);
        // Without a request it is killed all the same.
        tokio::time::timeout(wait, requests.changed()).await.ok();
        tokio::time::sleep(Duration::from_micros(random.between(0, 3_000).unsigned_abs())).await;
    } else {
        tokio::time::sleep(life).await;
    }
    world.kill();
    tokio::time::sleep(downtime).await;
    world.launch();
    what
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn no_alert_is_lost_or_doubled_and_nobody_falsely_flagged_however_often_it_is_killed() {
    let mut world = World::with_hub(Options::new("kill")).await;
    for _ in 0..cycles(CYCLES) {
        let seed = world.random.draw();
        let what = cycle(&mut world, seed).await;
        world.close_cycle(&what);
    }
    world.settle("").await;
}
