//! What the flags mean: the fleet, and how the service is set up for it.

use crate::cli::DemoArgs;
use crate::config::format_duration;
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

const JITTER_PERCENT: u8 = 20;

/// One device in so many is an edge gateway.
const GATEWAY_EVERY: u32 = 10;

/// One device in so many is deleted.
const DELETED_ONE_IN: u32 = 50;

/// The fleet that the flags ask for, starting at `start`. A mistake is told in terms of the flags.
pub(super) fn fleet(args: &DemoArgs, start: Timestamp) -> Result<FleetOptions, String> {
    let window_ms = args.window_ms;
    if window_ms < MIN_WINDOW_MS {
        return Err("--window is too short: make it at least 1s".to_owned());
    }
    if window_ms > MAX_WINDOW_MS {
        return Err("--window is too long: make it at most 366d".to_owned());
    }
    let silenced = share(args.devices, args.silence_percent);
    let options = FleetOptions {
        seed: args.seed,
        roster: Roster { devices: args.devices, gateway_every: GATEWAY_EVERY },
        interval_ms: args.interval_ms,
        jitter_percent: JITTER_PERCENT,
        window_ms,
        grace_ms: (window_ms / 6).clamp(250, 10_000),
        silenced,
        deleted: (args.devices / DELETED_ONE_IN).min(args.devices - silenced),
        storms: 1,
        storm_percent: 30,
        start,
        duration_ms: args.duration_ms,
        settle_ms: SETTLE_MS,
    };
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
             make it at least {}, or --interval shorter",
            format_duration(*at_least_ms)
        ),
        FleetError::DurationTooShort { at_least_ms } => format!(
            "--duration leaves no time for a device to fall silent and be flagged: \
             make it at least {}, or --window shorter",
            format_duration(*at_least_ms)
        ),
        FleetError::Empty | FleetError::TooManyTroubled { .. } => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn fleet_of(line: &str) -> Result<FleetOptions, String> {
        let matches =
            DemoArgs::augment_args(Command::new("demo")).get_matches_from(line.split(' '));
        fleet(&DemoArgs::from_arg_matches(&matches).unwrap(), Timestamp::from_ms(0))
    }

    #[test]
    fn without_flags_a_thousand_devices_run_for_less_than_a_minute() {
        let options = fleet_of("demo").unwrap();
        assert_eq!((options.interval_ms, options.window_ms), (2_000, 6_000));
        assert_eq!((options.grace_ms, options.duration_ms), (1_000, 40_000));
        assert_eq!((options.silenced, options.deleted), (100, 20));
    }

    #[test]
    fn a_share_is_rounded_and_leaves_no_more_to_delete_than_there_are() {
        assert_eq!(fleet_of("demo --devices 3 --silence 50").unwrap().silenced, 2);
        let all = fleet_of("demo --devices 100 --silence 100").unwrap();
        assert_eq!((all.silenced, all.deleted), (100, 0));
    }

    #[test]
    fn a_mistake_names_the_flag_and_the_value_that_works() {
        for (line, flag, value) in [
            ("demo --interval 5s --window 5s", "--window", "6s"),
            ("demo --duration 5s", "--duration", "14s"),
            ("demo --window 999ms --interval 100ms", "--window", "1s"),
            ("demo --window 367d", "--window", "366d"),
        ] {
            let error = fleet_of(line).unwrap_err();
            assert!(error.contains(flag) && error.contains(value), "{error}");
        }
    }
}
