//! Decoding a heartbeat: the scanner, beside the stock codec that builds the whole message.

use std::hint::black_box;

use bytes::Bytes;
use lastseen::engine::Timestamp;
use lastseen::wire::{self, RawMessage};

use crate::engine::T0_MS;
use crate::heartbeat::{Stock, heartbeat, profile};
use crate::measure::{ROUNDS, Row, timed};

/// Different messages, so that nothing is learned by heart.
const MESSAGES: u64 = 1_000;
/// How often each is decoded in a turn.
const REPEATS: u64 = 20;

/// The scanner against the codec, and against a copy of the same bytes.
pub(crate) fn rows() -> Vec<Row> {
    let profile = profile();
    let latest = Timestamp::from_ms(i64::MAX);
    let messages: Vec<(Bytes, RawMessage)> = (0..MESSAGES)
        .map(|device| {
            let id = format!("factory-07/line-12/sensor-{device:010}");
            let ms = T0_MS + i64::try_from(device).unwrap_or(0);
            let bytes = heartbeat(&id, ms, ms);
            (bytes.clone(), RawMessage::Amqp10(bytes))
        })
        .collect();
    let each = |ns: f64| ns / (MESSAGES * REPEATS) as f64;
    let [mut ours, mut stock, mut copies] = [const { Vec::new() }; 3];
    let mut copy = vec![0_u8; messages.iter().map(|(bytes, _)| bytes.len()).max().unwrap_or(0)];
    for _ in 0..2 * ROUNDS {
        let turns = || (0..REPEATS).flat_map(|_| &messages);
        let (signals, ns) = timed(|| {
            let decoded = turns().map(|(_, raw)| wire::decode(raw, &profile, latest, latest));
            decoded.filter(|d| d.as_ref().is_ok_and(|d| d.message(1).signal.is_some())).count()
        });
        assert_eq!(signals as u64, MESSAGES * REPEATS, "all of them are heartbeats");
        ours.push(each(ns));
        let (decoded, ns) = timed(|| {
            turns().filter(|(bytes, _)| serde_amqp::from_slice::<Stock>(bytes).is_ok()).count()
        });
        assert_eq!(decoded as u64, MESSAGES * REPEATS, "the codec reads all of them");
        stock.push(each(ns));
        let ((), ns) = timed(|| {
            for (bytes, _) in turns() {
                black_box(&mut copy[..bytes.len()]).copy_from_slice(black_box(bytes));
            }
        });
        copies.push(each(ns));
    }
    vec![
        Row::new("decode", &ours, "serde_amqp, full message", &stock, Some(9.0)),
        Row::new("decode", &ours, "a copy of the message", &copies, None),
    ]
}
