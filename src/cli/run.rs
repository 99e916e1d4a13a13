//! `lastseen run`: configuration, logs, signals, then the service.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::{Config, ConfigErrors};
use crate::shutdown::{Signals, second_signal};
use crate::telemetry;

/// Arguments of `lastseen run`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    about = "Watch a fleet until SIGTERM or Ctrl-C",
    long_about = "Watch a fleet until SIGTERM or Ctrl-C.

The configuration says where messages come from, which silence is too long, and where alerts go. All mistakes in it are \
reported together, before anything is started. A smallest one:

  sources:
    - { name: hub, type: event_hubs, hub: example-hub, connection_string_file: hub.connection }
  rules:
    default: { window: 60s, grace: 10s }
  sinks:
    - { name: ops, type: webhook, url: https://example.org/hook, secret_file: ops.whsec }",
    after_help = "Example:
  lastseen run --config lastseen.yaml

LASTSEEN_LOG=debug overrides log.level."
)]
pub struct RunArgs {
    /// The configuration: a YAML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Why `run` ended otherwise than as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// It could not start, or a part of it failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
    /// A second signal came while it drained.
    #[error(
        "ended at once by a second signal: what was in hand is read or sent again after the next start"
    )]
    EndedAtOnce {
        /// What a shell shows for that.
        exit_code: u8,
    },
}

/// Runs the service until a signal, or until a part of it fails. `log_filter` overrides `log.level`.
pub async fn run(args: RunArgs, log_filter: Option<&str>) -> Result<(), RunError> {
    let loaded = Config::load(&args.config)?;
    telemetry::init(&loaded.config.log, log_filter).map_err(anyhow::Error::from)?;
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let mut signals = Signals::listen().map_err(anyhow::Error::from)?;
    let stop = CancellationToken::new();
    tokio::select! {
        result = app::run(loaded.config, stop.clone()) => Ok(result?),
        signal = second_signal(async || signals.next().await, &stop) => {
            Err(RunError::EndedAtOnce { exit_code: signal.exit_code() })
        }
    }
}
