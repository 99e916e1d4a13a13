//! What a partition does while verdicts are held.

use super::*;

fn statuses(world: &World) -> Vec<Status> {
    world.received.iter().map(|told| told.status).collect()
}

impl World {
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.prove();
        self.write(3, true);
        self.deliver(0);
    }
}

#[test]
fn while_held_no_proof_moves_the_clock_and_afterwards_the_dead_are_told_with_their_own_deadline() {
    let mut world = World::new(true);
    world.beat(1, 0);
    world.pass(1_500);
    let clock = world.desk.engine().clock();
    world.desk.hold(true);
    for _ in 0..10 {
        world.pass(WINDOW_MS);
    }
    assert_eq!(world.desk.engine().clock(), clock, "the clock stands");
    assert_eq!(statuses(&world), []);
    world.desk.hold(false);
    world.pass(200);
    assert_eq!(statuses(&world), [Status::Firing; 2], "one for each sink");
}

#[test]
fn while_held_messages_are_applied_and_fire_what_the_log_itself_makes_due() {
    let mut world = World::new(true);
    world.beat(1, 0);
    world.desk.hold(true);
    for _ in 0..10 {
        world.now_ms += 2_000;
        world.beat(2, 0);
    }
    world.write(3, true);
    world.deliver(0);
    assert_eq!(statuses(&world), [Status::Firing; 2], "device 1, whom the log shows to be silent");
    world.now_ms += 1_000;
    world.beat(1, 0);
    world.write(3, true);
    world.deliver(0);
    assert_eq!(statuses(&world).len(), 4, "and its end");
}
