//! Asked to end, and halted, at any moment.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::kill::{downtime, life, ms};
use super::random::Random;
use super::supervisor::Signal;
use super::world::{Options, TERMS, World, cycles};

const CYCLES: u64 = 10;
/// `shutdown.deadline` of the configuration, and as much again for a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The signal that ends a process which has not yet said what it does with it.
const SIGTERM: i32 = 15;

/// One life that is asked to end; in some cycles it is killed while it does.
async fn terminated(world: &mut World, random: &mut Random) -> String {
    let (life, downtime) = (life(random), downtime(random));
    tokio::time::sleep(life).await;
    world.works(false);
    let impatient = random.chance(30);
    if impatient {
        world.program.signal(Signal::Term);
        tokio::time::sleep(ms(random.between(0, 100))).await;
        if world.program.ended().is_none() {
            world.program.kill_while_it_ends();
            world.ended("killed");
        }
    } else {
        let status = world.program.terminate(ENDS_WITHIN).await;
        let early = status.signal() == Some(SIGTERM);
        assert!(status.success() || early, "{status}; its log:\n{}", world.program.log());
    }
    world.log("ended after SIGTERM");
    tokio::time::sleep(downtime).await;
    world.launch();
    format!("life {life:?}, down {downtime:?}, killed while it ends: {impatient}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_program_that_is_asked_to_end_at_any_moment_loses_and_doubles_nothing() {
    let mut world = World::with_hub(Options::new("sigterm")).await;
    for _ in 0..cycles(CYCLES) {
        let mut random = Random::new(world.random.draw());
        let what = terminated(&mut world, &mut random).await;
        world.close_cycle(&what);
    }
    world.settle("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_program_that_is_halted_for_longer_than_the_window_flags_nobody_for_it() {
    let mut world = World::with_hub(Options::new("sigstop")).await;
    for _ in 0..cycles(CYCLES) {
        let random = &mut Random::new(world.random.draw());
        let (life, halt) =
            (life(random), ms(TERMS.due_ms() + random.between(0, TERMS.due_ms() * 2)));
        tokio::time::sleep(life).await;
        world.halt(halt).await;
        world.close_cycle(&format!("life {life:?}, halted {halt:?}"));
    }
    world.settle("").await;
}
