//! Our hot path beside what one would take otherwise, in the same run, on the processor's clock.
//!
//!     cargo bench --bench ratios              # a million identities; what CI runs
//!     cargo bench --bench ratios -- --long    # ten million too: some 3 GB and several minutes
//!
//! Prints a table of ratios, and fails if one of them is below its gate: about 70 % of what was measured. All variants of a
//! row take turns, and a row is the median of its rounds: on a shared machine the ratios mean something, the nanoseconds
//! little.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::process::ExitCode;

use measure::Row;

#[path = "ratios/apply.rs"]
mod apply;
#[path = "ratios/decode.rs"]
mod decode;
#[path = "parts/engine.rs"]
mod engine;
#[path = "ratios/fleet.rs"]
mod fleet;
#[path = "parts/heartbeat.rs"]
mod heartbeat;
#[path = "ratios/hot.rs"]
mod hot;
#[path = "ratios/measure.rs"]
mod measure;
#[path = "ratios/wheel.rs"]
mod wheel;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_long = args.iter().any(|arg| arg == "--long");
    let chosen = |part: &str| {
        !args.iter().any(|arg| !arg.starts_with("--")) || args.iter().any(|arg| arg == part)
    };
    println!("{}", Row::HEADING);
    let mut rows = Vec::new();
    if chosen("decode") {
        rows.extend(decode::rows());
    }
    let sizes: &[u64] = if is_long { &[1_000_000, 10_000_000] } else { &[1_000_000] };
    for &devices in sizes {
        for (part, run) in [("apply", apply::rows as fn(u64) -> Vec<Row>), ("hot", hot::rows)] {
            if chosen(part) {
                rows.extend(run(devices));
            }
        }
    }
    if chosen("wheel") {
        rows.extend(wheel::rows(1_000_000));
    }
    let failed = rows.iter().filter(|row| !row.passes()).count();
    println!("{} rows, {failed} below their gates", rows.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
