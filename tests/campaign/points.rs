//! Kills at named points of the program, each between two steps whose order matters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::supervisor::SIGABRT;
use super::within;
use super::world::{Options, World, setting};

/// The points at which the program can be told to end itself.
const POINTS: [&str; 7] =
    ["entry_put", "entry_durable", "snapshot_put", "acknowledge", "send", "settled", "collect"];
/// Kills at each point; `CAMPAIGN_POINT_KILLS` sets it.
const KILLS: u64 = 3;
/// The latest passing that is chosen.
const PASSINGS: i64 = 8;
/// The longest wait for a point to be passed that often.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// One life that ends at this point. Says whether it was reached.
async fn kill_at(world: &mut World, point: &str) -> bool {
    let passing = world.random.between(1, PASSINGS);
    world.launch_to_abort_at(point, passing);
    let mut status = None;
    let reached = within(REACHED_WITHIN, || {
        status = world.program.ended();
        status.is_some()
    });
    let reached = reached.await;
    match status {
        Some(status) => {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(SIGABRT));
            world.ended("aborted");
        }
        None => world.kill(),
    }
    let down = world.random.between(-2_000, 3_000).max(0);
    tokio::time::sleep(Duration::from_millis(down.unsigned_abs())).await;
    world.close_cycle(&format!("{point}:{passing} reached: {reached}, down {down} ms"));
    reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn no_alert_is_lost_or_doubled_at_whichever_step_it_is_killed() {
    let mut world = World::with_hub(Options::new("points")).await;
    world.kill();
    let mut reached: BTreeMap<&str, u64> = POINTS.iter().map(|&point| (point, 0)).collect();
    for _ in 0..setting("CAMPAIGN_POINT_KILLS").unwrap_or(KILLS) {
        for point in POINTS {
            let was_reached = kill_at(&mut world, point).await;
            *reached.get_mut(point).unwrap() += u64::from(was_reached);
        }
    }
    let figures = reached.iter().map(|(point, kills)| format!(" {point}={kills}"));
    world.settle(&figures.collect::<String>()).await;
    let never: Vec<_> = reached.into_iter().filter(|&(_, kills)| kills == 0).collect();
    assert!(never.is_empty(), "never reached, so nothing is proved about them: {never:?}");
}
