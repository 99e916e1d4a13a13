//! From the bytes of a message to its device's last-seen, beside a stock codec and a concurrent map.

use bytes::Bytes;
use dashmap::DashMap;
use fe2o3_amqp_types::messaging::annotations::AnnotationKey;
use lastseen::engine::LOOK_AHEAD;
use lastseen::engine::{Output, Partition, Timestamp};
use lastseen::wire::{self, Profile, RawMessage};
use serde_amqp::Value;

use crate::apply::Seen;
use crate::engine;
use crate::fleet::{self, ID_BYTES, Order, Stream};
use crate::heartbeat::{self, Stock};
use crate::measure::{Dice, ROUNDS, Row, timed};

/// Messages of a turn: they are not in the cache when they are decoded.
const TURN: usize = 20_000;

/// Decode and apply, uniform.
pub(crate) fn rows(devices: u64) -> Vec<Row> {
    let profile = heartbeat::profile();
    let order = Order::Uniform;
    let mut engine = engine::engine(order.window_ms());
    let map: DashMap<String, Seen> = DashMap::new();
    let mut stream = Stream::default();
    for first in (0..devices).step_by(TURN) {
        stream.everybody(first, TURN);
        let mut out = Output::default();
        for index in 0..stream.len() {
            let message = fleet::message(stream.id(index), stream.beat(index), devices);
            engine::apply(&mut engine, &message, None, &mut out);
            map.insert(stream.id(index).to_owned(), (0, 0));
            out.tidings.clear();
        }
    }
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let template = Template::new();
    for _ in 0..2 * ROUNDS {
        stream.refill(TURN, devices, &order, &mut dice);
        let messages: Vec<(i64, RawMessage)> = (0..stream.len())
            .map(|index| template.message(stream.id(index), stream.beat(index), devices))
            .collect();
        let each = |ns: f64| ns / stream.len() as f64;
        ours.push(each(timed(|| read_ours(&mut engine, &messages, &profile)).1));
        let (found, ns) = timed(|| read_theirs(&map, &messages));
        assert_eq!(found, stream.len(), "everybody is known");
        theirs.push(each(ns));
    }
    assert_eq!(engine.stats().identities[1], devices, "nobody is silent");
    let what = format!("decode and apply, {} M, uniform", devices / 1_000_000);
    let gate = if devices > 1_000_000 { 6.5 } else { 7.5 };
    vec![Row::new(what, &ours, "serde_amqp, dashmap default hasher", &theirs, Some(gate))]
}

fn read_ours(engine: &mut Partition, messages: &[(i64, RawMessage)], profile: &Profile) {
    let latest = Timestamp::from_ms(i64::MAX);
    let mut out = Output::default();
    for some in messages.chunks(LOOK_AHEAD) {
        let decoded: Vec<_> = some
            .iter()
            .filter_map(|(sequence, raw)| {
                Some((*sequence, wire::decode(raw, profile, latest, latest).ok()?))
            })
            .collect();
        let identities = decoded.iter().map(|(_, d)| Some(d.message(0).signal?.identity));
        let ahead = engine.look_ahead(identities);
        for (place, (sequence, decoded)) in decoded.iter().enumerate() {
            engine::apply(engine, &decoded.message(*sequence), ahead.get(place), &mut out);
        }
    }
    assert!(out.transitions.is_empty() && out.tidings.is_empty(), "everybody is known");
}

fn read_theirs(map: &DashMap<String, Seen>, messages: &[(i64, RawMessage)]) -> usize {
    let read = |raw: &RawMessage| {
        let RawMessage::Amqp10(bytes) = raw else { return None };
        let message = serde_amqp::from_slice::<Stock>(bytes).ok()?.0;
        let annotations = message.message_annotations?;
        let stamp = |name: &str| annotations.get(&name as &dyn AnnotationKey);
        let Value::String(device) = stamp("iothub-connection-device-id")? else { return None };
        let Value::Timestamp(at) = stamp("iothub-enqueuedtime")? else { return None };
        *map.get_mut(device)? = (at.milliseconds(), 0);
        Some(())
    };
    messages.iter().filter_map(|(_, raw)| read(raw)).count()
}

/// A message of which only id and times change: encoding each would take longer than all the rest.
struct Template {
    bytes: Vec<u8>,
    ids_at: Vec<usize>,
    ingress_at: usize,
    append_at: usize,
}

impl Template {
    fn new() -> Self {
        let id = "0".repeat(ID_BYTES);
        let ms = 0x0102_0304_0506_0708;
        let bytes = heartbeat::heartbeat(&id, ms, 1).to_vec();
        let find = |wanted: &[u8]| {
            let hits = bytes.windows(wanted.len()).enumerate().filter(|(_, w)| *w == wanted);
            hits.map(|(at, _)| at).collect::<Vec<usize>>()
        };
        let (ingress, append) = (find(&ms.to_be_bytes()), find(&(ms + 63).to_be_bytes()));
        Self {
            ids_at: find(id.as_bytes()),
            ingress_at: ingress.first().copied().unwrap_or(0),
            append_at: append.first().copied().unwrap_or(0),
            bytes,
        }
    }

    fn message(&self, id: &str, beat: u64, devices: u64) -> (i64, RawMessage) {
        let mut bytes = self.bytes.clone();
        for &at in &self.ids_at {
            bytes[at..at + ID_BYTES].copy_from_slice(id.as_bytes());
        }
        let ms = fleet::event_time_ms(beat, devices);
        bytes[self.ingress_at..self.ingress_at + 8].copy_from_slice(&ms.to_be_bytes());
        bytes[self.append_at..self.append_at + 8].copy_from_slice(&(ms + 63).to_be_bytes());
        (i64::try_from(beat).unwrap_or(0), RawMessage::Amqp10(Bytes::from(bytes)))
    }
}
