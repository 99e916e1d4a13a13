//! Loads the shipped program from outside, with fleets of up to millions, and judges it by what was sent and what a
//! webhook receiver got.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p loadtest -- run loadtest/profiles/smoke.yaml --json report.json --charts charts
//! cargo run --release -p loadtest -- compare redis loadtest/profiles/steady-100k.yaml
//! ```
//!
//! The source, the sender and the receiver are in this process: the embedded hub of the library, or clients of a
//! RabbitMQ node of its own. [`plan`] says what every device does and when, waits for nobody, and keeps the record
//! that [`judge`] holds against what was received. The service's own counters count for nothing; what it puts into its dead
//! letters fails a run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lastseen::shutdown::Signals;

use profile::Profile;
use progress::Progress;

mod carrier;
mod compare;
mod judge;
mod measure;
mod order;
mod pace;
mod plan;
mod profile;
mod progress;
#[path = "../../tests/support/rabbitmq.rs"]
mod rabbitmq;
mod random;
mod report;
mod run;
mod service;
mod vitals;

/// Load tests of lastseen.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a profile; fails if anything was missed or falsely flagged, or told too late
    Run {
        #[command(flatten)]
        load: Load,
        /// Write the figures to a file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Draw charts into a folder
        #[arg(long, value_name = "FOLDER")]
        charts: Option<PathBuf>,
    },
    /// Run a profile, then the same fleet over something else, and print the ratios
    Compare {
        /// Over what
        with: Rival,
        #[command(flatten)]
        load: Load,
    },
}

#[derive(Args)]
struct Load {
    /// A file of loadtest/profiles
    profile: PathBuf,
    /// Which fleet: the same seed gives the same devices, in the same order, with the same silences
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The program; else the one that was built beside this
    #[arg(long = "bin", value_name = "FILE")]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rival {
    /// Keys that expire, and notices of that
    Redis,
}

impl Load {
    fn name(&self) -> String {
        let stem = self.profile.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        stem.unwrap_or_default()
    }

    async fn run(
        &self,
        profile: &Profile,
        progress: &mut Progress,
    ) -> anyhow::Result<run::Outcome> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => beside_this()?,
        };
        run::run(&program, &self.name(), profile, self.seed, progress).await
    }
}

fn beside_this() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.parent().context("this program is in no folder")?.join("lastseen"))
}

fn main() -> ExitCode {
    match start() {
        Ok(exit_code) => exit_code,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to say so.
            writeln!(io::stderr(), "loadtest: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().context("the runtime could not be started")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("can't listen for signals")?;
        // What a run has started ends with it, also when it is interrupted.
        tokio::select! {
            ended = Box::pin(execute(cli.command)) => ended,
            signal = signals.next() => Ok(ExitCode::from(signal.exit_code())),
        }
    })
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { load, json, charts } => {
            run_profile(&load, json.as_deref(), charts.as_deref()).await
        }
        Command::Compare { with: Rival::Redis, load } => compare(&load).await,
    }
}

async fn run_profile(
    load: &Load,
    json: Option<&Path>,
    charts: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let profile = Profile::read(&load.profile)?;
    let outcome = load.run(&profile, &mut Progress::on_stderr()).await?;
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&outcome.report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("can't write {}", file.display()))?;
    }
    if let Some(folder) = charts {
        report::draw(folder, &outcome.measured, &outcome.verdict)?;
    }
    print(&outcome.report.text())?;
    Ok(if outcome.report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn compare(load: &Load) -> anyhow::Result<ExitCode> {
    let profile = Profile::read(&load.profile)?;
    let mut progress = Progress::on_stderr();
    let ours = load.run(&profile, &mut progress).await?;
    let (redis, verdict) = compare::redis(&profile, load.seed, &mut progress).await?;
    print(&compare::table(&ours.report, &redis, &verdict))?;
    Ok(if ours.report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| anyhow!("can't print: {error}"))
}
