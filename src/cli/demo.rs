//! `lastseen demo`: hub, fleet, service and a webhook receiver in one process, on loopback, and a verdict at the end.
//!
//! The verdict compares what the hub accepted from each device with the webhooks that were received. The service's own
//! counters are shown while it runs, and count for nothing.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::config::Config;
use crate::devhub::fleet::{FleetOptions, Plan, Truth, Verdict};
use crate::engine::{Millis, Timestamp};
use crate::shutdown::{EndSignal, Signals};
use crate::telemetry;
use driver::Record;
use ink::Ink;
use scene::{LiveView, Meter, Scene};
use screen::Screen;
use stage::Stage;

mod driver;
mod ink;
mod report;
mod scene;
mod screen;
mod service;
mod settings;
mod stage;
#[cfg(test)]
mod tests;
mod view;

/// Between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long after the end of the run the last alerts may take.
const LAST_ALERTS_MS: Millis = 5_000;

/// Plays the demo with the real service. The exit code is 0 only if nothing was missed and nobody was falsely flagged,
/// and 128 plus its number if a signal ended it before. Nothing is logged without a `log_filter`: the terminal belongs to
/// the live view.
pub async fn run(args: DemoArgs, log_filter: Option<&str>) -> anyhow::Result<ExitCode> {
    if log_filter.is_some() {
        telemetry::init(&service::log(), log_filter)?;
    }
    play(args, service::start).await
}

/// The service, running.
struct Service {
    /// Ends when it is stopped, or with the reason why it could not go on.
    task: JoinHandle<anyhow::Result<()>>,
    /// Looks at it.
    look: Arc<dyn Fn() -> LiveView + Send + Sync>,
}

/// Plays the demo with the service that `start` starts, and prints the verdict.
async fn play(
    args: DemoArgs,
    start: impl AsyncFnOnce(Config, CancellationToken) -> anyhow::Result<Service>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("can't listen for signals")?;
    let fleet = |begin| settings::fleet(&args, begin).map_err(|mistake| anyhow!(mistake));
    let mut stage = Stage::set(&fleet(Timestamp::from_ms(0))?, start).await?;
    let outcome = tokio::select! {
        outcome = act(&mut stage, fleet, args.json) => outcome,
        signal = signals.next() => Ok(Outcome::Interrupted(signal)),
    };
    let refused = stage.inbox.refused();
    stage.strike().await;
    report(&outcome?, refused, args.json)
}

/// How it ended.
enum Outcome {
    Judged(FleetOptions, Box<Verdict>),
    Interrupted(EndSignal),
}

/// Lets the fleet live in front of the audience until everything is told, or there was time enough to.
async fn act(
    stage: &mut Stage,
    fleet: impl Fn(Timestamp) -> anyhow::Result<FleetOptions>,
    json: bool,
) -> anyhow::Result<Outcome> {
    stage.attached().await?;
    let options = fleet(stage.watch.now())?;
    let record = Record::new(Truth::new(&options));
    stage.start_fleet(Plan::new(options)?, record.clone());
    let mut screen = Screen::open(json);
    let mut meter = Meter::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        stage.check().await?;
        let now = stage.watch.now();
        let elapsed_ms = now.since(options.start);
        let live = (stage.look)();
        let scene = Scene::look(&options, elapsed_ms, live, &record, &stage.inbox, &mut meter);
        screen.show(&scene).context("can't draw on the terminal")?;
        if screen.end_requested().context("can't read the terminal")? {
            return Ok(Outcome::Interrupted(EndSignal::Interrupt));
        }
        if elapsed_ms >= options.duration_ms {
            let verdict = stage
                .inbox
                .read(|notices| Verdict::judge(&record.lock(), notices, now, options.settle_ms));
            let all_told = verdict.passed() && verdict.resolved == verdict.returned;
            if all_told || elapsed_ms >= options.duration_ms + LAST_ALERTS_MS {
                return Ok(Outcome::Judged(options, Box::new(verdict)));
            }
        }
    }
}

fn report(outcome: &Outcome, refused: u64, json: bool) -> anyhow::Result<ExitCode> {
    match outcome {
        Outcome::Judged(options, verdict) => {
            let text = if json {
                report::json(verdict)? + "\n"
            } else {
                report::text(verdict, options, refused, Ink::of_stdout())
            };
            io::stdout().write_all(text.as_bytes()).context("can't write the verdict")?;
            Ok(if verdict.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Outcome::Interrupted(signal) => {
            writeln!(io::stderr(), "ended before its time: no verdict").ok();
            Ok(ExitCode::from(signal.exit_code()))
        }
    }
}
