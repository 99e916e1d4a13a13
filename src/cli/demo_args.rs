//! The arguments of `lastseen demo`.

use clap::Args;

use crate::config::parse_duration;
use crate::engine::Millis;

/// Arguments of `lastseen demo`. With the defaults it ends within a minute.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(
    about = "Show the whole job on a simulated fleet, in one process and within a minute",
    long_about = "Show the whole job on a simulated fleet, in one process and within a minute.

An embedded hub, a fleet of simulated devices, the service and a webhook receiver talk real AMQP and HTTP on loopback, \
on ports that are free; nothing else has to be installed. Some devices fall silent. At the end the fleet's own record is \
compared with the webhooks received: who was flagged, missed, or flagged although alive.",
    after_help = "Examples:
  lastseen demo
  lastseen demo --devices 10000 --silence 2 --seed 42
  lastseen demo --interval 1s --window 5s --duration 30s --json

Exit status: 0 if every silent device was flagged and no other; else 1."
)]
pub struct DemoArgs {
    /// How many devices there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,
    /// How often each sends a heartbeat: 500ms, 2s
    #[arg(long = "interval", value_name = "D", default_value = "2s", value_parser = positive_duration)]
    pub interval_ms: Millis,
    /// The longest silence that is normal: 6s; longer than the interval
    #[arg(long = "window", value_name = "D", default_value = "6s", value_parser = positive_duration)]
    pub window_ms: Millis,
    /// How many of a hundred devices fall silent: 5, not 5%
    #[arg(long = "silence", value_name = "PERCENT", default_value = "10", value_parser = percentage)]
    pub silence_percent: f64,
    /// How long the fleet sends: 40s
    #[arg(long = "duration", value_name = "D", default_value = "40s", value_parser = positive_duration)]
    pub duration_ms: Millis,
    /// Which fleet: the same seed gives the same devices, silences and jitter
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object at the end instead of the live view
    #[arg(long)]
    pub json: bool,
}

fn positive_duration(text: &str) -> Result<Millis, String> {
    match parse_duration(text) {
        Ok(0) => Err("longer than nothing, please".to_owned()),
        Ok(ms) => Ok(ms),
        Err(error) => Err(format!("{error}: write for example 500ms, 2s or 1m")),
    }
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("write a number from 0 to 100, without %".to_owned()),
    }
}
