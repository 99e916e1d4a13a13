//! Decoding one heartbeat: the scanner, against the stock codec that builds the whole message, and against a copy of the
//! same bytes. What an instrumented fleet sends: all the stamps of IoT Hub, three properties, an empty body.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lastseen::engine::Timestamp;
use lastseen::wire::{self, RawMessage};

use heartbeat::{Stock, heartbeat, profile};

#[path = "parts/heartbeat.rs"]
mod heartbeat;

const INGRESS_MS: i64 = 1_767_225_661_187;

fn decode(criterion: &mut Criterion) {
    let bytes = heartbeat("factory-07/line-12/sensor-0000000007", INGRESS_MS, 184_467);
    let raw = RawMessage::Amqp10(bytes.clone());
    let profile = profile();
    let now = Timestamp::from_ms(INGRESS_MS + 1_000);
    assert!(
        wire::decode(&raw, &profile, now, now)
            .is_ok_and(|decoded| decoded.message(1).signal.is_some())
    );

    let mut group = criterion.benchmark_group("decode_heartbeat");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("scanner", |bencher| {
        bencher.iter(|| wire::decode(black_box(&raw), &profile, now, now));
    });
    group.bench_function("log_position", |bencher| {
        bencher.iter(|| wire::amqp10::log_position(black_box(&bytes)));
    });
    group.bench_function("serde_amqp", |bencher| {
        bencher.iter(|| serde_amqp::from_slice::<Stock>(black_box(&bytes)));
    });
    let mut copy = vec![0_u8; bytes.len()];
    group.bench_function("memcpy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
