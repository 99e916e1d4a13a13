//! The flags of `lastseen demo`.

use crate::config::parse_duration;
use crate::engine::Millis;

/// Shows the main job with nothing else installed: an embedded hub, a simulated fleet, the service and a
/// webhook receiver in one process, real AMQP and HTTP on loopback. Ends by itself with a verdict.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct DemoArgs {
    /// How many devices; one in ten is an edge gateway
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=MAX_DEVICES))]
    pub devices: u32,
    /// Time between two heartbeats of a device, such as 500ms or 10s [default: a third of the window, or 2s]
    #[arg(long, value_name = "D", value_parser = parse_span)]
    pub interval: Option<Millis>,
    /// The longest normal silence [default: three intervals, or 6s]
    #[arg(long, value_name = "D", value_parser = parse_span)]
    pub window: Option<Millis>,
    /// How many of the devices fall silent, in percent; a bare number
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = parse_percent)]
    pub silence: f64,
    /// How long it takes [default: 40s, or longer where the window needs it]
    #[arg(long, value_name = "D", value_parser = parse_span)]
    pub duration: Option<Millis>,
    /// Repeats the fleet of an earlier run [default: another one each time]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Prints one JSON object on standard output, and progress on standard error
    #[arg(long)]
    pub json: bool,
}

/// The most devices: hub, fleet and service share one process and one machine.
const MAX_DEVICES: i64 = 100_000;

/// The longest span that makes sense in a demo: a day.
const MAX_SPAN_MS: Millis = 86_400_000;

fn parse_span(text: &str) -> Result<Millis, String> {
    match parse_duration(text) {
        Ok(span_ms) if (1..=MAX_SPAN_MS).contains(&span_ms) => Ok(span_ms),
        Ok(_) => Err("give a span from 1ms to 24h".to_owned()),
        Err(error) => {
            Err(format!("{error}: give a whole number and a unit, such as 500ms, 10s or 2m"))
        }
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("give a bare number from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(line: &str) -> Result<DemoArgs, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.demo)
    }

    #[test]
    fn every_flag_is_read_and_none_is_needed() {
        let all = "demo --devices 50 --interval 500ms --window 2s --silence 2.5 --duration 1m --seed 7 --json";
        assert_eq!(
            parse(all).unwrap(),
            DemoArgs {
                devices: 50,
                interval: Some(500),
                window: Some(2_000),
                silence: 2.5,
                duration: Some(60_000),
                seed: Some(7),
                json: true,
            }
        );
        let none = parse("demo").unwrap();
        assert_eq!((none.devices, none.silence), (1_000, 10.0));
        assert_eq!((none.interval, none.seed, none.json), (None, None, false));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "demo --devices 0",
            "demo --devices 100001",
            "demo --interval 2",
            "demo --interval 0s",
            "demo --window 25h",
            "demo --window -1s",
            "demo --duration 99999999999999999999s",
            "demo --silence 10%",
            "demo --silence 101",
            "demo --silence nan",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
