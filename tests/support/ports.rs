//! Ports for servers that a test starts, and starts again, under the same number.
//!
//! `bind` with port 0 is no way to find one: the kernel gives the number to somebody else as soon as it is closed again.
//! These are taken from below the range that it gives out (`ip_local_port_range`, ip-sysctl of the kernel's documentation).

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Above the ports of services that a machine may run.
const FIRST: u16 = 10_000;
/// Where the kernel's own range begins on every Linux that is not configured otherwise.
const USUAL_EPHEMERAL_FIRST: u16 = 32_768;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that nobody listens on, that the kernel gives to nobody, and that this process was not given before.
pub fn reserve() -> u16 {
    let end = ephemeral_first().max(FIRST + 1);
    let count = end - FIRST;
    // Test binaries that run at the same time begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
    for _ in 0..count {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(start) + u32::from(step) * 7) % u32::from(count);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} to {end} is free");
}

fn ephemeral_first() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.unwrap_or(USUAL_EPHEMERAL_FIRST)
}
