//! How much memory a fleet takes, and what a heartbeat costs: one million devices with a window of 60 s, heard for three
//! minutes of event time, in one partition. Beside it, in the same run, the usual choice: a `DashMap` of owned strings.
//!
//!     cargo bench --bench memory
//!
//! It fails if an identity takes more than 110 bytes, all in: id (36 characters), index, record and timer, as resident memory.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::process::ExitCode;

use dashmap::DashMap;
use lastseen::clock::thread_cpu_ns;
use lastseen::engine::{LOOK_AHEAD, Output, Partition};

use engine::T0_MS;

#[path = "parts/engine.rs"]
mod engine;

const DEVICES: u64 = 1_000_000;
const WINDOW_MS: i64 = 60_000;
const ROUNDS: u64 = 3;
/// Ids made at a time, so that making them is not timed.
const CHUNK: usize = 10_000;
/// Resident bytes of an identity: 100 were measured, and an allocator of another version may round otherwise.
const LIMIT_BYTES: u64 = 110;

fn main() -> ExitCode {
    let mut engine = engine::engine(WINDOW_MS);
    let before = resident_bytes();
    let mut costs_ns = Vec::new();
    for round in 0..ROUNDS {
        costs_ns.push(engine_round(&mut engine, round));
    }
    let fleet_bytes = resident_bytes() - before;
    let stats = engine.stats();
    println!("engine: {DEVICES} devices, {} online", stats.identities[1]);
    println!(
        "  resident: {} MB for the fleet, {} MB for the whole process",
        fleet_bytes / 1_000_000,
        resident_bytes() / 1_000_000
    );
    println!(
        "  {} bytes a device resident, {} in the tables",
        fleet_bytes / DEVICES,
        stats.memory_bytes as u64 / DEVICES
    );
    println!("  ns a heartbeat (first round inserts): {costs_ns:?}");
    let map: DashMap<String, (i64, i64)> = DashMap::new();
    let before = resident_bytes();
    let map_costs_ns: Vec<u64> = (0..ROUNDS).map(|round| map_round(&map, round)).collect();
    println!("DashMap<String, (last seen, deadline)>, without timers:");
    println!("  resident: {} MB", (resident_bytes() - before) / 1_000_000);
    println!("  ns a heartbeat: {map_costs_ns:?}");
    let fits = resident_bytes() > 0 && fleet_bytes <= LIMIT_BYTES * DEVICES;
    if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every device beats once a window, all in the same order.
fn event_time_ms(round: u64, device: u64) -> i64 {
    let window_ms = WINDOW_MS.unsigned_abs();
    T0_MS + i64::try_from(round * window_ms + device * window_ms / DEVICES).unwrap_or(0)
}

/// As long as a UUID.
fn device_id(device: u64) -> String {
    format!("factory-07/line-12/sensor-{:010}", device * 7_919 % DEVICES)
}

/// Nanoseconds of processor time a device that `beat` takes for one round; making the ids is not counted.
fn timed_round(mut beat: impl FnMut(&[(u64, String)])) -> u64 {
    let mut spent_ns = 0;
    for first in (0..DEVICES).step_by(CHUNK) {
        let ids: Vec<(u64, String)> =
            (first..first + CHUNK as u64).map(|device| (device, device_id(device))).collect();
        let started_ns = thread_cpu_ns();
        ids.chunks(LOOK_AHEAD).for_each(&mut beat);
        spent_ns += thread_cpu_ns() - started_ns;
    }
    spent_ns / DEVICES
}

fn engine_round(engine: &mut Partition, round: u64) -> u64 {
    let mut out = Output::default();
    let spent_ns = timed_round(|beats| {
        let ahead = engine.look_ahead(beats.iter().map(|(_, id)| Some(engine::identity(id))));
        for (place, (device, id)) in beats.iter().enumerate() {
            let message =
                engine::message(id, round * DEVICES + device, event_time_ms(round, *device));
            engine::apply(engine, &message, ahead.get(place), &mut out);
            out.tidings.clear();
        }
    });
    assert!(out.transitions.is_empty(), "nobody is silent");
    spent_ns
}

fn map_round(map: &DashMap<String, (i64, i64)>, round: u64) -> u64 {
    timed_round(|beats| {
        for (device, id) in beats {
            let at = event_time_ms(round, *device);
            match map.get_mut(id) {
                Some(mut entry) => *entry = (at, at + WINDOW_MS),
                None => {
                    map.insert(id.clone(), (at, at + WINDOW_MS));
                }
            }
        }
    })
}

/// `VmRSS` of this process; 0 where there is no `/proc`.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
