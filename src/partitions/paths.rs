//! Watches every source, and tells when its partitions can't be observed.

use std::sync::Arc;

use tokio::sync::watch;

use super::Partitions;
use crate::alert::path::{PartitionSight, PathLimits, PathWatch};
use crate::engine::{BlindReason, Millis, Timestamp};
use crate::source::SourceStatus;

/// Stands for all partitions of a source as long as none is known.
const ALL_PARTITIONS: &str = "*";

/// The watches of all sources.
pub struct Paths {
    partitions: Arc<Partitions>,
    watched: Vec<Watched>,
}

struct Watched {
    source: Arc<str>,
    status: watch::Receiver<SourceStatus>,
    watch: PathWatch,
}

impl Paths {
    /// Watches these sources, each with its state.
    pub fn new(
        partitions: Arc<Partitions>,
        sources: Vec<(Arc<str>, watch::Receiver<SourceStatus>)>,
        limits: PathLimits,
    ) -> Self {
        let mut open = partitions.fleet().state().paths;
        let watched = sources.into_iter().map(|(source, status)| Watched {
            watch: match open.remove(&source) {
                Some(alert) => PathWatch::resumed(source.clone(), limits, alert),
                None => PathWatch::new(source.clone(), limits),
            },
            source,
            status,
        });
        Self { watched: watched.collect(), partitions }
    }

    /// Looks at all of them, about once a second, and tells what has to be told. `now_ms` is boot time.
    pub fn look(&mut self, now_ms: Millis, wall: Timestamp) {
        let view = self.partitions.view();
        for Watched { source, status, watch } in &mut self.watched {
            let mut sights: Vec<PartitionSight> = view
                .iter()
                .filter(|partition| partition.key.source == *source)
                .map(|partition| partition.sight.clone())
                .collect();
            if sights.is_empty() && !status.borrow().connected {
                sights.push(nothing_known());
            }
            let Some(alert) = watch.look(now_ms, wall, &sights) else { continue };
            tracing::warn!(
                source = %alert.source,
                alert_id = %alert.id,
                status = alert.status.as_str(),
                partitions = alert.partitions_total,
                identities = alert.identities,
                since = %alert.since,
                "what is not observed of this source has changed"
            );
            self.partitions.fleet().tell_path(&alert);
        }
    }
}

/// A source that never connected has no partitions to show it.
fn nothing_known() -> PartitionSight {
    PartitionSight {
        partition: ALL_PARTITIONS.into(),
        blind: Some(BlindReason::LinkDown),
        unobserved_percent: 0,
        unjudgeable: 0,
        judged: 0,
        silent: 0,
        last_gap: None,
    }
}
