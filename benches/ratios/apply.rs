//! Applying heartbeats, timers included, beside a concurrent map of owned strings without timers; and beside the least that
//! memory allows.

use std::hash::BuildHasher;
use std::hint::black_box;

use dashmap::DashMap;
use lastseen::engine::LOOK_AHEAD;
use lastseen::engine::{Output, Partition};

use crate::engine;
use crate::fleet::{self, Order, Stream};
use crate::measure::{Dice, ROUNDS, Row, timed};

/// Beats of a turn.
const TURN: usize = 200_000;

/// What the map keeps of a device.
pub(crate) type Seen = (i64, i64);

struct Contestants {
    engine: Partition,
    default: DashMap<String, Seen>,
    fast: DashMap<String, Seen, foldhash::fast::RandomState>,
}

/// Apply against both maps, for all orders.
pub(crate) fn rows(devices: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (order, name) in Order::ALL {
        let window_ms = order.window_ms();
        let mut all = Contestants {
            engine: engine::engine(window_ms),
            default: DashMap::new(),
            fast: DashMap::default(),
        };
        let mut stream = Stream::default();
        for first in (0..devices).step_by(TURN) {
            stream.everybody(first, TURN);
            beat_engine(&mut all.engine, &stream, devices);
            insert(&all.default, &stream, devices);
            insert(&all.fast, &stream, devices);
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let [mut ours, mut default, mut fast, mut limit] = [const { Vec::new() }; 4];
        let mut probe = Probe::new(devices);
        for _ in 0..2 * ROUNDS {
            stream.refill(TURN, devices, &order, &mut dice);
            let each = |ns: f64| ns / stream.len() as f64;
            ours.push(each(timed(|| beat_engine(&mut all.engine, &stream, devices)).1));
            default.push(each(timed(|| beat_map(&all.default, &stream, devices)).1));
            fast.push(each(timed(|| beat_map(&all.fast, &stream, devices)).1));
            limit.push(each(timed(|| probe.touch(&stream, &mut dice)).1));
        }
        let online = all.engine.stats().identities[1];
        assert_eq!(online, devices, "nobody is silent");
        let what = format!("apply, {} M, {name}", devices / 1_000_000);
        let gates = gates(&order, devices);
        let against = "dashmap<String>, foldhash";
        rows.push(Row::new(&what, &ours, against, &fast, Some(gates.0)));
        let against = "dashmap<String>, default hasher";
        rows.push(Row::new(&what, &ours, against, &default, Some(gates.1)));
        rows.push(Row::new(&what, &ours, "two lines of memory at random", &limit, None));
    }
    rows
}

fn gates(order: &Order, devices: u64) -> (f64, f64) {
    match (order, devices > 1_000_000) {
        (Order::Uniform, false) => (2.4, 4.2),
        (Order::Zipf, false) => (1.7, 2.7),
        (Order::Cyclic, false) => (1.9, 4.1),
        (Order::Uniform, true) => (2.0, 4.4),
        (Order::Zipf, true) => (2.2, 3.6),
        (Order::Cyclic, true) => (2.5, 5.5),
    }
}

fn beat_engine(engine: &mut Partition, stream: &Stream, devices: u64) {
    let mut out = Output::default();
    for first in (0..stream.len()).step_by(LOOK_AHEAD) {
        let some = first..stream.len().min(first + LOOK_AHEAD);
        let identities = some.clone().map(|index| Some(engine::identity(stream.id(index))));
        let ahead = engine.look_ahead(identities);
        for (place, index) in some.enumerate() {
            let message = fleet::message(stream.id(index), stream.beat(index), devices);
            engine::apply(engine, &message, ahead.get(place), &mut out);
        }
        out.tidings.clear();
    }
    assert!(out.transitions.is_empty(), "nobody is silent");
}

fn insert<S: BuildHasher + Clone>(map: &DashMap<String, Seen, S>, stream: &Stream, devices: u64) {
    for index in 0..stream.len() {
        let at = fleet::event_time_ms(stream.beat(index), devices);
        map.insert(stream.id(index).to_owned(), (at, 0));
    }
}

fn beat_map<S: BuildHasher + Clone>(map: &DashMap<String, Seen, S>, stream: &Stream, devices: u64) {
    for index in 0..stream.len() {
        let at = fleet::event_time_ms(stream.beat(index), devices);
        if let Some(mut seen) = map.get_mut(stream.id(index)) {
            *seen = (at, i64::try_from(stream.beat(index)).unwrap_or(0));
        }
    }
}

/// A line of the processor's cache.
#[derive(Clone)]
#[repr(align(64))]
struct Line(u64);

/// As many lines as there are devices: two of them are read and written a beat, a batch at a time, in no order.
struct Probe(Vec<Line>);

impl Probe {
    fn new(devices: u64) -> Self {
        Self(vec![Line(1); usize::try_from(devices).unwrap_or(0)])
    }

    fn touch(&mut self, stream: &Stream, dice: &mut Dice) {
        for _ in (0..stream.len()).step_by(LOOK_AHEAD) {
            let lines = [(); 2 * LOOK_AHEAD].map(|()| dice.below(self.0.len() as u64));
            let lines = lines.map(|line| usize::try_from(line).unwrap_or(0));
            black_box(lines.iter().fold(0_u64, |sum, &line| sum.wrapping_add(self.0[line].0)));
            for line in lines {
                self.0[line].0 = self.0[line].0.wrapping_add(1);
            }
        }
    }
}
