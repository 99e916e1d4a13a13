//! What is going to happen to each device: silences, deletions, reconnect storms. Drawn from the seed before the first event.

use super::FleetOptions;
use super::random::Random;
use super::roster::DeviceKind;
use crate::engine::{Millis, Timestamp};

/// The most time between the first and the last device that a storm throws out.
const STORM_SPREAD_MS: Millis = 300;

/// A span in which a device (or its watched module) sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    /// Nothing is sent from here.
    pub(super) from: Timestamp,
    /// Until here; `None`: to the end.
    pub(super) until: Option<Timestamp>,
    /// Why.
    pub(super) why: Why,
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It stays connected and says nothing.
    Mute,
    /// Its connection is gone.
    Disconnected,
    /// It was deleted.
    Deleted,
}

impl Quiet {
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        at >= self.from && self.until.is_none_or(|until| at < until)
    }
}

/// The quiet span of every device that has one, in order of the devices: exactly `options.silenced` of them fall silent and exactly
/// `options.deleted` of the others are deleted, each choice equally likely.
pub(super) fn draw(options: &FleetOptions) -> Vec<Option<Quiet>> {
    let mut random = Random::split(options.seed, 0x5ee);
    let (mut silenced, mut deleted) = (options.silenced, options.deleted);
    (0..options.roster.devices)
        .map(|device| {
            let left = Millis::from(options.roster.devices - device);
            let draw = random.below(left);
            if draw < Millis::from(silenced) {
                silenced -= 1;
                Some(silence(options, device, &mut random))
            } else if draw < Millis::from(silenced) + Millis::from(deleted) {
                deleted -= 1;
                Some(deletion(options, device, &mut random))
            } else {
                None
            }
        })
        .collect()
}

fn silence(options: &FleetOptions, device: u32, random: &mut Random) -> Quiet {
    let earliest = options.start.plus(options.warm_up_ms());
    let latest = options.end().minus(options.silence_ms()).minus(options.settle_ms);
    let from = earliest.plus(random.below(latest.since(earliest).saturating_add(1)));
    let back = from
        .plus(options.silence_ms())
        .plus(options.settle_ms)
        .plus(random.below(options.interval_ms.saturating_mul(3)));
    let returns = random.chance(50) && back <= options.end().minus(options.settle_ms);
    let disconnects = random.chance(50);
    let why = match options.roster.kind(device) {
        DeviceKind::Plain | DeviceKind::WithRelay if disconnects => Why::Disconnected,
        DeviceKind::Plain | DeviceKind::WithRelay | DeviceKind::WithSensor => Why::Mute,
    };
    Quiet { from, until: returns.then_some(back), why }
}

fn deletion(options: &FleetOptions, device: u32, random: &mut Random) -> Quiet {
    let earliest = options.start.plus(options.warm_up_ms());
    let latest = options.end().minus(options.settle_ms);
    let from = earliest.plus(random.below(latest.since(earliest)));
    let back = from.plus(500).plus(random.below(options.silence_ms()));
    // Deleting a device deletes its modules: a gateway would have to be provisioned anew with them.
    let created_again = random.chance(50) && options.roster.kind(device) == DeviceKind::Plain;
    Quiet { from, until: created_again.then_some(back), why: Why::Deleted }
}

/// When storm number `storm` keeps a device from sending; `None` if it is spared. Storms are spread evenly over
/// the run. A pause is short enough that nobody falls silent.
pub(super) fn storm_pause(options: &FleetOptions, device: u32, storm: u32) -> Option<Quiet> {
    let purpose = (u64::from(storm) << 32 | u64::from(device)).wrapping_add(1 << 63);
    let mut random = Random::split(options.seed, purpose);
    if !random.chance(options.storm_percent) {
        return None;
    }
    let parts = Millis::from(options.storms) + 1;
    let at = options.start.plus(options.duration_ms / parts * (Millis::from(storm) + 1));
    let slack = options.window_ms - options.longest_pause_ms();
    let pause = slack.min(options.interval_ms);
    let spread = STORM_SPREAD_MS.min(options.interval_ms / 4);
    let from = at.plus(random.below(spread));
    Some(Quiet {
        from,
        until: Some(from.plus(pause / 2).plus(random.below(pause / 2))),
        why: Why::Disconnected,
    })
}
