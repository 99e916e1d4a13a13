//! Thin start: TLS, arguments, runtime, one line about what went wrong.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use lastseen::cli::{self, Cli, Command, RunError};
use lastseen::telemetry::{FILTER_VARIABLE, redact};

/// "The command was used incorrectly" (`sysexits.h`, `EX_USAGE`).
const WRONG_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    match start() {
        Ok(exit_code) => exit_code,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to say so.
            let _unheard =
                writeln!(std::io::stderr(), "lastseen: {}", redact(&format!("{error:#}")));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let cli = Cli::parse();
    let log_filter = std::env::var(FILTER_VARIABLE).ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => {
                cli::run(args, log_filter.as_deref()).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Demo(args) => cli::demo(args, log_filter.as_deref()).await,
            Command::Health(args) => cli::health(args).await,
        }
    });
    // A read of standard input can't be taken back, so the threads that are left are not waited for.
    runtime.shutdown_background();
    result
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<RunError>() {
        Some(RunError::Config(_)) => WRONG_CONFIGURATION,
        Some(RunError::EndedAtOnce { exit_code }) => *exit_code,
        Some(RunError::Failed(_)) | None => 1,
    }
}
