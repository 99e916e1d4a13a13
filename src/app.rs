//! Composition root.

use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Runs the service until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(sources = config.sources.len(), "running");
    stop.cancelled().await;
    Ok(())
}
