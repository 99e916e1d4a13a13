//! What a partition knows of the route into it outlives a restart.

use super::*;

/// More than may well all be silent at once.
const FLEET: u8 = 12;

impl World {
    /// A fleet that was heard for the last time at 0.0 to 1.1 s, and is due at 12.0 to 13.1 s; the route stopped then. It is
    /// 21.2 s now.
    fn with_a_stopped_route() -> Self {
        let mut world = Self::new(true);
        for device in 0..FLEET {
            world.beat(device, 0);
            world.now_ms += 100;
        }
        world.write(3, true);
        for _ in 0..20 {
            world.now_ms += 1_000;
            world.prove();
            world.write(2, false);
        }
        assert_eq!(world.decided(), 0, "all are silent: that may be the route");
        world
    }

    /// What the route kept back of all but the first comes late, and then everybody is heard.
    fn comes_back(&mut self) {
        self.now_ms += 1_000;
        self.prove();
        for device in 1..FLEET {
            self.beat(device, 10_000);
        }
        for device in 0..FLEET {
            self.beat(device, 0);
        }
        self.now_ms += 2_000;
        self.prove();
    }

    fn decided(&mut self) -> usize {
        self.write(3, true);
        self.deliver(0);
        self.received.len()
    }
}

#[test]
fn a_restart_in_the_middle_of_what_a_route_kept_back_flags_nobody() {
    let mut world = World::with_a_stopped_route();
    world.beat(0, 10_000);
    world.write(2, true);
    world.crash(100);
    world.comes_back();
    assert_eq!(world.decided(), 0);
    for _ in 0..14 {
        world.now_ms += 1_000;
        for device in 1..FLEET {
            world.beat(device, 0);
        }
    }
    assert_eq!(world.decided(), 2, "who falls silent then is told to both sinks");
}

#[test]
fn a_restart_right_after_the_end_of_a_silence_does_not_forget_it() {
    let mut world = World::new(true);
    for device in 0..FLEET {
        world.beat(device, 0);
    }
    world.write(3, true);
    // Everybody was due half a second ago, and the clock is half a second before that.
    world.now_ms = 12_500;
    world.beat(0, 0);
    world.write(3, true);
    let Stored { snapshot, entries, .. } = world.store.stored();
    assert_eq!(entries, [], "there is no more than the snapshot");
    let silence = (T0, T0 + 12_500);
    let written = postcard::to_allocvec(&(silence.1, [Some(silence), None, None])).unwrap();
    assert_eq!(snapshot.unwrap().1.extra, written, "what a version means never changes");
    world.crash(100);
    world.comes_back();
    assert_eq!(world.decided(), 0);
}
