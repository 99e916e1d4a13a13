//! A disk that is full, and later is not.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::kill::ms;
use super::within;
use super::world::{LIMIT, Options, World, cycles};

const CYCLES: u64 = 5;
/// Room for what the program keeps in minutes; what is left of it is taken by ballast.
const SIZE: &str = "size=16m";

/// A file system of its own, until dropped.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    /// Or why there is none.
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        // First in large pieces, then to the last byte.
        for piece in [1 << 16, 1 << 10, 1] {
            while ballast.write(&vec![0; piece]).is_ok_and(|written| written == piece) {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a campaign: minutes, and the machine for itself"]
async fn a_full_disk_is_said_and_loses_nothing_once_there_is_space_again() {
    let disk = match Tmpfs::mount() {
        Ok(disk) => disk,
        Err(why) => return println!("campaign disk: skipped, no file system of its own: {why}"),
    };
    let store = disk.path().join("data").display().to_string();
    let mut world = World::with_hub(Options { store, ..Options::new("disk") }).await;
    let mut unsaid = 0;
    for _ in 0..cycles(CYCLES) {
        world.works(false);
        world.log("full");
        disk.fill();
        let program = &world.program;
        let said = within(Duration::from_secs(30), || {
            disk.fill();
            program.get("/readyz").is_some_and(|answer| answer.contains("storage"))
        });
        let said = said.await;
        unsaid += u64::from(!said);
        let alive = world.program.get("/livez").is_some_and(|a| a.starts_with("HTTP/1.1 200"));
        assert!(alive, "a full disk is no reason to be restarted");
        let full = ms(world.random.between(1_000, 6_000));
        tokio::time::sleep(full).await;
        let killed = world.random.chance(30);
        if killed {
            world.kill();
            world.launch();
            world.works(false);
            tokio::time::sleep(ms(world.random.between(500, 3_000))).await;
        }
        world.program.assert_running();
        disk.empty();
        world.log("space");
        let program = &world.program;
        assert!(within(LIMIT, || program.is_ready()).await, "ready again; {}", program.log());
        world.works(true);
        tokio::time::sleep(Duration::from_secs(8)).await;
        world.close_cycle(&format!("full {full:?}, said: {said}, killed meanwhile: {killed}"));
    }
    world.settle(&format!(" unsaid={unsaid}")).await;
    assert_eq!(unsaid, 0, "/readyz does not say that there is no storage");
}
