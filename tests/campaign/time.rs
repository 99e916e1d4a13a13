//! A wall clock that is moved by hours, by `libfaketime` (Debian's package of that name). Boot time is left alone, as it is
//! on a machine whose clock is set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lastseen::clock;

use super::world::{Options, World, cycles};

const CYCLES: u64 = 1;
/// Where the clock is put, in seconds from the true time, one after the other.
const OFFSETS_S: [i64; 8] = [3_600, 7_200, 0, -20, -3_600, 60, 93_600, 0];
const HOLD: Duration = Duration::from_secs(8);

/// The library for programs with threads.
fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?;
    let mut libraries = places
        .flatten()
        .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
        .filter(|library| library.exists());
    libraries.next()
}

fn put(clock_file: &Path, offset_s: i64) {
    // Written beside and moved over, so that it is never read half.
    let fresh = clock_file.with_extension("new");
    std::fs::write(&fresh, format!("{offset_s:+}s\n")).unwrap();
    std::fs::rename(fresh, clock_file).unwrap();
}

/// A world whose program sees the clock that stands in the file; nothing if that is not possible here.
async fn world(name: &'static str, clock_file: &Path) -> Option<World> {
    let Some(library) = library() else {
        println!(
            "campaign {name}: skipped, libfaketime is not installed (tests/parts/faketime.sh)"
        );
        return None;
    };
    put(clock_file, 0);
    let options = Options {
        ignores_time: true,
        environment: vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock_file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ],
        ..Options::new(name)
    };
    Some(World::with_hub(options).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_wall_clock_that_is_moved_by_hours_changes_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let clock_file = folder.path().join("offset");
    let Some(mut world) = world("time", &clock_file).await else { return };
    for _ in 0..cycles(CYCLES) {
        for offset_s in OFFSETS_S {
            put(&clock_file, offset_s);
            world.log(format!("clock {offset_s:+} s"));
            tokio::time::sleep(HOLD).await;
            world.close_cycle(&format!("clock {offset_s:+} s"));
        }
    }
    put(&clock_file, 0);
    world.settle("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_wall_clock_that_is_wrong_at_the_start_puts_verdicts_off_and_makes_none_false() {
    let folder = tempfile::tempdir().unwrap();
    let clock_file = folder.path().join("offset");
    let Some(mut world) = world("time-start", &clock_file).await else { return };
    for _ in 0..cycles(CYCLES) {
        for offset_s in OFFSETS_S.into_iter().filter(|&offset_s| offset_s != 0) {
            world.kill();
            put(&clock_file, offset_s);
            let launched_ms = clock::wall().as_ms();
            world.launch();
            tokio::time::sleep(HOLD).await;
            assert_is_off(&world, offset_s);
            put(&clock_file, 0);
            world.log("clock set right");
            world.fleet.unknowable(launched_ms, clock::wall().as_ms());
            tokio::time::sleep(HOLD).await;
            world.close_cycle(&format!("started {offset_s:+} s off"));
        }
    }
    world.settle("").await;
}

/// The program dates its log by the clock that it sees: without this the campaign would prove nothing.
fn assert_is_off(world: &World, offset_s: i64) {
    let log = world.program.log();
    let date = log.split_whitespace().next().expect("it has logged something");
    let date: jiff::Timestamp = date.parse().expect("a line begins with its date");
    let off_s = date.as_second() - clock::wall().as_ms() / 1_000 - offset_s;
    assert!(off_s.abs() < 30, "the clock is off by {off_s} s more than it should be");
}
