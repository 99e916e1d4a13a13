//! How long a start takes: one million devices in 32 partitions, each with a snapshot in a folder, read back until every
//! partition may judge. And how long one durable entry takes, beside a bare write of 4 KB to the same disk.
//!
//!     cargo bench --bench restore
//!
//! It fails if the start takes more than 5 s. The files were written just before: they come from the page cache.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(
    clippy::disallowed_methods,
    reason = "a write takes less than a clock of milliseconds tells"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use lastseen::alert::body::Status;
use lastseen::clock::thread_cpu_ns;
use lastseen::config::StoreConfig;
use lastseen::engine::rules::{Policy, ProofOfLife, Terms};
use lastseen::engine::{
    Attached, Backlog, ClockSettings, Dating, Generation, IdentityRef, Message, Output, Signal,
    SignalKind, Timestamp,
};
use lastseen::journal::{Desk, Entry, Moment, Owed, Pace, Read, Setup, Snapshot, Stored};
use lastseen::store::objects::Objects;

const PARTITIONS: u64 = 32;
const DEVICES: u64 = 1_000_000;
const DEVICES_A_PARTITION: u64 = DEVICES / PARTITIONS;
const WINDOW_MS: i64 = 60_000;
const START_MS: i64 = 1_767_225_600_000;
const LIMIT: Duration = Duration::from_secs(5);
/// Durable entries, and bare writes.
const WRITES: u64 = 500;
/// The body of an alert.
const ALERT_BYTES: usize = 1_024;
/// What a disk writes at once.
const BLOCK_BYTES: usize = 4_096;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let config = StoreConfig {
        path: folder.path().join("store"),
        dead_letter_bytes: 0,
        snapshot_interval_ms: 30_000,
        remote: None,
    };
    let objects = Objects::open(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bytes = runtime.block_on(fill(&objects))?;
    println!("snapshots of {DEVICES} devices: {bytes} bytes, {} a device", bytes / DEVICES);
    let took = runtime.block_on(start(&objects))?;
    runtime.block_on(commits(&objects))?;
    bare_writes(folder.path())?;
    ensure!(took <= LIMIT, "a start takes {took:?}, more than {LIMIT:?}");
    Ok(())
}

fn setup(partition: &str) -> Setup {
    let default = Terms {
        window_ms: WINDOW_MS,
        grace_ms: 10_000,
        first_window_ms: 600_000,
        proof_of_life: ProofOfLife::Any,
    };
    Setup {
        policy: Arc::new(Policy { default, rules: Vec::new(), conditions: Vec::new() }),
        clock: ClockSettings { allowance_ms: 1_000, tick_ms: 100, bridge_ms: 10_000 },
        seed: 1,
        source: "hub".into(),
        partition: partition.into(),
        sinks: Arc::new(["ops".into()]),
        has_log: true,
        has_places: true,
        owner: "bench".to_owned(),
        pace: Pace::default(),
    }
}

fn moment(ms: i64) -> Moment {
    Moment { boot_ms: ms, wall: Timestamp::from_ms(START_MS + ms) }
}

/// A partition whose devices have all beaten once.
fn partition(name: &str, first: u64) -> Desk {
    let mut desk = Desk::empty(setup(name), moment(0));
    let mut out = Output::default();
    let attached = Attached {
        at: Timestamp::from_ms(START_MS),
        error_ms: 0,
        stream: Some(1),
        first_available: Some(0),
        backlog: Backlog::Empty,
        dating: Dating::EventTime,
    };
    desk.attach(attached, moment(0), &mut out);
    let generation = Generation::parse("638712345678901234");
    for (sequence, place) in (0..).zip(0..DEVICES_A_PARTITION) {
        let device = format!("factory-07/line-12/sensor-{:010}", (first + place) * 7_919 % DEVICES);
        let at = Timestamp::from_ms(START_MS + sequence * WINDOW_MS / 31_250);
        let message = Message {
            sequence,
            event_time: Some(at),
            append_time: Some(at),
            signal: Some(Signal {
                identity: IdentityRef { hub: "hub", device: &device, module: None },
                kind: SignalKind::Telemetry,
                generation,
                conditions: 0,
                created_by_device: None,
            }),
        };
        while desk.read(&message, 4_096, moment(0), &mut out) == Read::MoreToFire {}
        out.tidings.clear();
    }
    desk.settle(moment(0));
    desk
}

/// Writes one entry and one snapshot of every partition; how many bytes the snapshots take.
async fn fill(objects: &Objects) -> anyhow::Result<u64> {
    let (mut bytes_of_all, mut imaging, mut encoding, mut writing) =
        (0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for index in 0..PARTITIONS {
        let name = index.to_string();
        let mut desk = partition(&name, index * DEVICES_A_PARTITION);
        let began = Instant::now();
        let taken = desk.take(moment(0), true, true).context("everything was new")?;
        imaging += began.elapsed();
        let snapshot = taken.snapshot.context("the first entry has one")?;
        let began = Instant::now();
        let bytes = Bytes::from(snapshot.encode()?);
        encoding += began.elapsed();
        bytes_of_all += bytes.len() as u64;
        let journal = objects.journal(&["partitions", "hub", &name]);
        journal.create(taken.number, Bytes::from(taken.entry.encode()?)).await?;
        let began = Instant::now();
        journal.put_snapshot(taken.number, bytes).await?;
        writing += began.elapsed();
    }
    println!(
        "snapshots: {imaging:?} under the lock, {encoding:?} packing, {writing:?} until durable"
    );
    Ok(bytes_of_all)
}

/// As the service starts: partition after partition, newest snapshot, entries behind it, every timer armed.
async fn start(objects: &Objects) -> anyhow::Result<Duration> {
    let (began, began_cpu_ns) = (Instant::now(), thread_cpu_ns());
    let mut desks = Vec::new();
    for name in objects.journals(&["partitions", "hub"]).await? {
        let name: Vec<&str> = name.iter().map(String::as_str).collect();
        let journal = objects.journal(&name);
        let newest = *journal.snapshots().await?.first().context("one was written")?;
        let bytes = journal.snapshot(newest).await?.context("it is there")?;
        let snapshot = Some((newest, Snapshot::decode_as(newest, &bytes)?));
        let next = journal.numbers().await?.last().context("one was written")? + 1;
        let stored = Stored { snapshot, next, ..Stored::default() };
        desks.push(Desk::new(setup(name[2]), stored, moment(WINDOW_MS))?);
    }
    let (took, cpu) = (began.elapsed(), Duration::from_nanos(thread_cpu_ns() - began_cpu_ns));
    let known: u64 = desks.iter().map(|desk| desk.engine().stats().identities[1]).sum();
    let ready =
        desks.iter().filter(|desk| !desk.is_recovering() && desk.resume().is_some()).count();
    ensure!(ready == desks.len() && known == DEVICES, "{ready} partitions, {known} devices");
    println!("start: {took:?}, of which {cpu:?} of processor time on the starting thread");
    Ok(took)
}

/// The time of a durable entry with one alert.
async fn commits(objects: &Objects) -> anyhow::Result<()> {
    let journal = objects.journal(&["commits"]);
    let mut times = Vec::new();
    for number in 1..=WRITES {
        let owed = vec![Owed { sink: "ops".to_owned(), message: alert(number) }];
        let entry = Entry { number, owner: "bench".to_owned(), owed, ..Entry::default() };
        let began = Instant::now();
        journal.create(number, Bytes::from(entry.encode()?)).await?;
        times.push(began.elapsed());
    }
    print("a durable entry", times);
    Ok(())
}

/// As long as one is, and like no other.
fn alert(number: u64) -> lastseen::alert::Message {
    let id = format!(
        "{:032x}",
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    );
    lastseen::alert::Message {
        message_id: id.clone(),
        alert_id: id.clone(),
        lane: number,
        status: Status::Firing,
        body: Bytes::from(id.repeat(ALERT_BYTES / id.len())),
    }
}

fn bare_writes(folder: &Path) -> anyhow::Result<()> {
    let flags = i32::try_from(rustix::fs::OFlags::DSYNC.bits())?;
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).append(true).custom_flags(flags).open(folder.join("bare"))?;
    let block = [7; BLOCK_BYTES];
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&block)?;
        times.push(began.elapsed());
    }
    print("a bare write of 4 KB with O_DSYNC", times);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
}
