//! The command line: one command per file.

use clap::{Parser, Subcommand};

mod demo;
mod demo_args;
mod health;
mod run;

pub use demo::run as demo;
pub use demo_args::DemoArgs;
pub use health::{HealthArgs, run as health};
pub use run::{RunArgs, RunError, run};

/// What a stranger reads first.
const ABOUT: &str = "Tells which devices of an Azure IoT Hub fleet have gone silent.

lastseen reads the messages that devices send (from an Event Hubs endpoint, an AMQP 1.0 queue, RabbitMQ or a recorded \
file), notices each device and module whose heartbeat is overdue, and posts a signed webhook. It never calls a device \
silent because the broker, the link or lastseen itself was down. It only reads: it never commands or disables a device.";

const EXAMPLES: &str = "Examples:
  lastseen demo                          see it work: hub, fleet and receiver in this process, nothing to install
  lastseen run --config lastseen.yaml    watch a real fleet
  lastseen health --ready                is it attached, and has it caught up?

Exit status: 0 ended as asked; 1 failed; 2 wrong arguments; 64 wrong configuration (nothing was started);
130 or 143 ended at once by a second Ctrl-C or SIGTERM.";

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(name = "lastseen", version, about = "Tells which devices of an Azure IoT Hub fleet have gone silent.", long_about = ABOUT, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch a fleet until SIGTERM or Ctrl-C
    Run(RunArgs),
    /// Show the whole job on a simulated fleet, in one process and within a minute
    Demo(DemoArgs),
    /// Ask a running lastseen whether it is alive, or ready
    Health(HealthArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_takes_durations_with_units_and_a_bare_percentage() {
        let words = "lastseen demo --devices 50 --interval 500ms --window 2s --silence 12.5 --duration 1m --seed 7 --json";
        let cli = Cli::try_parse_from(words.split(' ')).expect("as documented");
        let Command::Demo(demo) = cli.command else { panic!("not the demo") };
        assert_eq!((demo.devices, demo.interval_ms, demo.window_ms), (50, 500, 2_000));
        assert_eq!((demo.silence_percent, demo.duration_ms), (12.5, 60_000));
        assert_eq!((demo.seed, demo.json), (7, true));
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for words in [
            "lastseen",
            "lastseen run",
            "lastseen demo --interval 5",
            "lastseen demo --interval 0s",
            "lastseen demo --silence 5%",
            "lastseen demo --silence 101",
            "lastseen demo --silence NaN",
            "lastseen demo --devices 0",
            "lastseen health --timeout 2",
            "lastseen health --timeout 0s",
            "lastseen health --url 127.0.0.1:8080 --config x",
            "lastseen health --url http://127.0.0.1:8080/livez --ready",
        ] {
            assert!(Cli::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }

    #[test]
    fn the_help_says_what_it_does_and_how_to_begin() {
        let help = Cli::command().render_long_help().to_string();
        for expected in ["gone silent", "lastseen demo", "--config lastseen.yaml", "Exit status"] {
            assert!(help.contains(expected), "no '{expected}' in\n{help}");
        }
    }
}
