//! What the flags mean: the fleet, and how the service is set up for it.

use crate::cli::demo_args::DemoArgs;
use crate::devhub::fleet::{FleetError, FleetOptions, Roster};
use crate::engine::rules::{MAX_WINDOW_MS, MIN_WINDOW_MS};
use crate::engine::{Millis, Timestamp};

/// The clock's allowance: the service's own default.
pub(super) const ALLOWANCE_MS: Millis = 1_000;

/// How much longer than the allowance an alert may take before it counts as missed: far above the 700 ms that
/// are normal, so that a busy machine does not decide the verdict.
const MARGIN_MS: Millis = 2_000;

/// From the deadline to the alert's receipt.
pub(super) const SETTLE_MS: Millis = ALLOWANCE_MS + MARGIN_MS;

const DEFAULT_INTERVAL_MS: Millis = 2_000;
const DEFAULT_DURATION_MS: Millis = 40_000;
const JITTER_PERCENT: u8 = 20;

/// One device in so many is deleted.
const DELETED_ONE_IN: u32 = 50;

/// The fleet that the flags ask for, starting at `start`; `seed` is used where no flag names one.
pub(super) fn fleet(args: &DemoArgs, seed: u64, start: Timestamp) -> Result<FleetOptions, String> {
    let interval_ms = args
        .interval
        .or(args.window.map(|window_ms| (window_ms / 3).max(1)))
        .unwrap_or(DEFAULT_INTERVAL_MS);
    let window_ms = args.window.unwrap_or_else(|| (interval_ms * 3).max(MIN_WINDOW_MS));
    if !(MIN_WINDOW_MS..=MAX_WINDOW_MS).contains(&window_ms) {
        return Err("--window is too short: make it at least 1s".to_owned());
    }
    let silenced = share(args.devices, args.silence);
    let mut options = FleetOptions {
        seed: args.seed.unwrap_or(seed),
        roster: Roster { devices: args.devices, gateway_every: 10 },
        interval_ms,
        jitter_percent: JITTER_PERCENT,
        window_ms,
        grace_ms: (window_ms / 6).clamp(250, 10_000),
        silenced,
        deleted: (args.devices / DELETED_ONE_IN).min(args.devices - silenced),
        storms: 1,
        storm_percent: 30,
        start,
        duration_ms: 0,
        settle_ms: SETTLE_MS,
    };
    options.duration_ms =
        args.duration.unwrap_or_else(|| DEFAULT_DURATION_MS.max(options.least_duration_ms() * 2));
    options.check().map_err(|error| explain(&error))?;
    Ok(options)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a u32, from 0 to 100 percent, is a u32"
)]
fn share(devices: u32, percent: f64) -> u32 {
    (f64::from(devices) * percent / 100.0).round() as u32
}

/// The same in terms of flags.
fn explain(error: &FleetError) -> String {
    match error {
        FleetError::WindowTooShort { at_least_ms } => format!(
            "--window is shorter than the pause between two heartbeats, so healthy devices would be flagged: \
             make it at least {at_least_ms}ms, or --interval shorter"
        ),
        FleetError::DurationTooShort { at_least_ms } => format!(
            "--duration leaves no time for a device to fall silent and be flagged: \
             make it at least {at_least_ms}ms, or --window shorter"
        ),
        FleetError::Empty | FleetError::TooManyTroubled { .. } => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> DemoArgs {
        DemoArgs {
            devices: 1_000,
            interval: None,
            window: None,
            silence: 10.0,
            duration: None,
            seed: None,
            json: false,
        }
    }

    fn fleet_of(args: &DemoArgs) -> Result<FleetOptions, String> {
        fleet(args, 9, Timestamp::from_ms(0))
    }

    #[test]
    fn without_flags_a_thousand_devices_run_for_less_than_a_minute() {
        let options = fleet_of(&args()).unwrap();
        assert_eq!((options.interval_ms, options.window_ms), (2_000, 6_000));
        assert_eq!((options.grace_ms, options.duration_ms), (1_000, 40_000));
        assert_eq!((options.silenced, options.deleted), (100, 20));
        assert_eq!(options.seed, 9);
    }

    #[test]
    fn what_is_not_given_follows_from_what_is() {
        let window = fleet_of(&DemoArgs { window: Some(60_000), ..args() }).unwrap();
        assert_eq!(
            (window.interval_ms, window.duration_ms),
            (20_000, 2 * (40_000 + 70_000 + 3_000))
        );
        let interval =
            fleet_of(&DemoArgs { interval: Some(100), seed: Some(1), ..args() }).unwrap();
        assert_eq!((interval.window_ms, interval.seed), (1_000, 1));
        let all = DemoArgs { devices: 3, silence: 100.0, ..args() };
        assert_eq!(fleet_of(&all).unwrap().silenced, 3);
    }

    #[test]
    fn a_mistake_names_the_flag_and_the_value_that_works() {
        let short = DemoArgs { interval: Some(5_000), window: Some(5_000), ..args() };
        let error = fleet_of(&short).unwrap_err();
        assert!(error.contains("--window") && error.contains("6000ms"), "{error}");
        let brief = DemoArgs { duration: Some(5_000), ..args() };
        let error = fleet_of(&brief).unwrap_err();
        assert!(error.contains("--duration") && error.contains("14000ms"), "{error}");
    }
}
