//! What timers cost: the ticks of an engine, beside the delay queue that comes with the runtime.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use lastseen::engine::{Heard, Output, Partition, Proof, Timestamp, Witness};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::engine;
use crate::fleet::{self, Order, Stream};
use crate::measure::{Dice, Row, at_most, timed};

const TICK_MS: i64 = 100;
const WARM_PERIODS: u64 = 4;
const PERIODS: u64 = 3;
/// Devices beat at most 40 ms early or late: nobody is silent for longer than that above the period.
const TIGHT_WINDOW_MS: i64 = fleet::PERIOD_MS + 1_000;

/// What ticks took.
#[derive(Default)]
struct Ticks {
    total_ns: f64,
    worst_ns: f64,
    /// Total of each period.
    periods_ns: Vec<f64>,
}

impl Ticks {
    fn add(&mut self, ns: f64) {
        self.total_ns += ns;
        self.worst_ns = self.worst_ns.max(ns);
    }
}

/// Calm: a device beats three times a window. All alive: every timer comes up once a beat, and the device is alive.
/// Deaths: all fall silent at once.
pub(crate) fn rows(devices: u64) -> Vec<Row> {
    let millions = devices / 1_000_000;
    let (_, calm) = run_engine(30_000, devices);
    let (mut engine, alive) = run_engine(TIGHT_WINDOW_MS, devices);
    let end_ms = fleet::event_time_ms(devices * (WARM_PERIODS + PERIODS), devices);
    let deaths = kill_all(&mut engine, devices, end_ms);
    let at_once = die_at_once(devices);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let (queue_calm, queue_deaths) =
        runtime.block_on(tokio::task::unconstrained(run_queue(devices)));
    // The mean: timers of a fleet in step come up in one of several periods.
    let each = |ticks: &Ticks| {
        let periods = ticks.periods_ns.len();
        [ticks.periods_ns.iter().sum::<f64>() / (devices as f64 * periods as f64)]
    };
    let against = "tokio_util DelayQueue";
    let row = |name: &str, ours: &Ticks, theirs: &Ticks, gate| {
        let what = format!("timers, {millions} M, {name}");
        Row::new(what, &each(ours), against, &each(theirs), Some(gate))
    };
    let ms = |ns: f64| ns / 1e6;
    vec![
        row("a calm beat", &calm, &queue_calm, 5.0),
        row("a beat, each timer up", &alive, &queue_calm, 1.6),
        row("a death, verdict and all", &deaths, &queue_deaths, 0.1),
        at_most("timers: a calm beat", calm.total_ns / (devices * PERIODS) as f64, "ns", 20.0),
        at_most("timers: worst tick, calm", ms(calm.worst_ns), "ms", 20.0),
        at_most("timers: worst tick, each timer up", ms(alive.worst_ns), "ms", 20.0),
        at_most("timers: worst go of a million deaths", ms(deaths.worst_ns), "ms", 20.0),
        at_most("timers: worst go, all in one tick", ms(at_once.worst_ns), "ms", 20.0),
    ]
}

fn tick_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(TICK_MS)
}

/// A fleet that beats for some periods; what the ticks of the last ones took.
fn run_engine(window_ms: i64, devices: u64) -> (Partition, Ticks) {
    let mut engine = engine::engine(window_ms);
    let (mut ticks, mut stream, mut dice) =
        (Ticks::default(), Stream::default(), Dice(0x1234_5678_9abc_def1));
    let mut out = Output::default();
    let mut last_tick = 0;
    for period in 0..WARM_PERIODS + PERIODS {
        if period == WARM_PERIODS {
            ticks = Ticks::default(); // what came before was warming up
        }
        let before_ns = ticks.total_ns;
        for first in (0..devices).step_by(10_000) {
            match period {
                0 => stream.everybody(first, 10_000),
                _ => stream.refill(10_000, devices, &Order::Cyclic, &mut dice),
            }
            for index in 0..stream.len() {
                let message = fleet::message(stream.id(index), stream.beat(index), devices);
                let tick = tick_of(fleet::event_time_ms(stream.beat(index), devices));
                if tick != last_tick {
                    last_tick = tick;
                    let ((), ns) = timed(|| {
                        engine.prepare(&message, &mut out);
                        while !engine.fire(4_096, &mut out) {}
                    });
                    ticks.add(ns);
                }
                engine::apply(&mut engine, &message, None, &mut out);
                out.tidings.clear();
            }
        }
        ticks.periods_ns.push(ticks.total_ns - before_ns);
    }
    assert!(out.transitions.is_empty(), "nobody is silent");
    (engine, ticks)
}

/// Everybody beats once, all at the same instant, and never again: all deadlines are the same.
fn die_at_once(devices: u64) -> Ticks {
    let mut engine = engine::engine(30_000);
    let (mut stream, mut out) = (Stream::default(), Output::default());
    for first in (0..devices).step_by(10_000) {
        stream.everybody(first, 10_000);
        for index in 0..stream.len() {
            // Of so large a fleet no beat is later than the log's beginning.
            let message = fleet::message(stream.id(index), stream.beat(index), u64::MAX);
            engine::apply(&mut engine, &message, None, &mut out);
            out.tidings.clear();
        }
    }
    kill_all(&mut engine, devices, engine::T0_MS)
}

/// Nothing comes any more, and that is proved tick by tick. A go is one call with a worker's budget.
fn kill_all(engine: &mut Partition, devices: u64, from_ms: i64) -> Ticks {
    let mut goes = Ticks::default();
    let mut dead = 0;
    for tick in 1..=600 {
        let at = Timestamp::from_ms(from_ms + tick * TICK_MS);
        // Another partition hears others: the route is not what is silent.
        let hub = engine::HUB.into();
        engine.heard_elsewhere([(1, Witness { hub, heard: Heard::once(at) })]);
        engine.prove(Proof { at, last_enqueued: None });
        loop {
            let mut out = Output::default();
            let (done, ns) = timed(|| engine.fire(4_096, &mut out));
            goes.add(ns);
            dead += out.transitions.len() as u64;
            if done {
                break;
            }
        }
    }
    assert_eq!(dead, devices, "all are silent");
    goes.periods_ns.push(goes.total_ns);
    goes
}

/// The same fleet as timers of the queue: every beat moves one.
async fn run_queue(devices: u64) -> (Ticks, Ticks) {
    let window = Duration::from_secs(30);
    let mut queue: DelayQueue<u32> = DelayQueue::new();
    let keys: Vec<Key> = (0..devices)
        .map(|device| queue.insert(u32::try_from(device).unwrap_or(0), window))
        .collect();
    let (mut calm, mut deaths) = (Ticks::default(), Ticks::default());
    let tick = Duration::from_millis(TICK_MS.unsigned_abs());
    let ticks_a_period = fleet::PERIOD_MS / TICK_MS;
    let beats_a_tick = devices / ticks_a_period.unsigned_abs();
    for period in 0..PERIODS {
        let mut period_ns = 0.0;
        for step in 0..ticks_a_period.unsigned_abs() {
            tokio::time::advance(tick).await;
            let first = period * devices + step * beats_a_tick;
            let some: Vec<Key> = (first..first + beats_a_tick)
                .map(|beat| fleet::in_turn(beat, devices))
                .map(|device| keys[usize::try_from(device).unwrap_or(0)])
                .collect();
            let started = timed(|| some.iter().for_each(|key| queue.reset(key, window))).1;
            period_ns += started + drain(&mut queue).await.1;
        }
        calm.periods_ns.push(period_ns);
    }
    let mut dead = 0;
    while dead < devices {
        tokio::time::advance(tick).await;
        let (count, ns) = drain(&mut queue).await;
        dead += count;
        deaths.add(ns);
    }
    deaths.periods_ns.push(deaths.total_ns);
    (calm, deaths)
}

/// What has expired by now, and what finding that took.
async fn drain(queue: &mut DelayQueue<u32>) -> (u64, f64) {
    poll_fn(|context| {
        Poll::Ready(timed(|| {
            let mut count = 0;
            while let Poll::Ready(Some(_)) = queue.poll_expired(context) {
                count += 1;
            }
            count
        }))
    })
    .await
}
