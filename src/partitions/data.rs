//! The answers of the API, from the partitions and the dead letters.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::shared::Shared;
use super::{PartitionView, Partitions};
use crate::api::data::{AlertPage, Data, DataError, IdentityInfo, PartitionInfo, Replayed};
use crate::clock;
use crate::engine::{IdentityRef, State, Timestamp};
use crate::store::dead_letter::{DeadLetter, DeadLetterError, DeliveryLetter, DeliveryLetters};

/// What the API asks.
pub struct FleetData {
    partitions: Arc<Partitions>,
    undelivered: DeliveryLetters,
}

impl FleetData {
    /// Answers from these.
    pub fn new(partitions: Arc<Partitions>, undelivered: DeliveryLetters) -> Self {
        Self { partitions, undelivered }
    }

    /// What the partition that heard it last knows of an identity; of those that never heard it, the first.
    fn look_up(&self, identity: IdentityRef<'_>) -> Option<IdentityInfo> {
        let mut carriers = self.partitions.shared();
        carriers.retain(|shared| shared.could_carry(identity.hub));
        carriers.sort_by(|a, b| b.key.cmp(&a.key));
        let known = carriers.iter().filter_map(|shared| {
            let (state, last_seen) = shared.desk().engine().state(identity)?;
            Some((shared, state, last_seen))
        });
        let (shared, state, last_seen) = known.max_by_key(|&(_, _, last_seen)| last_seen)?;
        let heard = last_seen.filter(|_| state != State::Deleted);
        let terms = self.partitions.policy().terms(identity).map(|(_, terms)| terms);
        Some(IdentityInfo {
            hub: identity.hub.to_owned(),
            device_id: identity.device.to_owned(),
            module_id: identity.module.map(str::to_owned),
            state: state.as_str(),
            unknown: self.why_unknown(shared),
            last_seen,
            deadline: heard
                .zip(terms)
                .map(|(seen, terms)| seen.plus(terms.window_ms).plus(terms.grace_ms)),
            source: shared.key.source.to_string(),
            partition: shared.key.partition.to_string(),
        })
    }

    fn why_unknown(&self, shared: &Shared) -> Option<&'static str> {
        let view = self.partitions.look_at(shared, clock::wall());
        view.sight.blind.map(|reason| reason.as_str())
    }

    async fn send_again(&self, message_id: &str) -> Result<Replayed, DataError> {
        let Some(letter) = self.undelivered.get(message_id).await.map_err(unreadable)? else {
            return Err(DataError::NotFound {
                error: "no such message is in the delivery dead letters".to_owned(),
                remedy: "list them; the oldest have made room for newer ones".to_owned(),
            });
        };
        let DeliveryLetter { sink, message, .. } = letter;
        let message_id = message.message_id.clone();
        if self.partitions.fleet().tell_again(&sink, message) {
            return Ok(Replayed { message_id, sink });
        }
        Err(DataError::NotFound {
            error: format!("sink {sink} is not configured any more"),
            remedy: "configure a sink with this name, restart, then replay it again".to_owned(),
        })
    }
}

impl Data for FleetData {
    fn partitions(&self) -> BoxFuture<'_, Vec<PartitionInfo>> {
        let wall = clock::wall();
        let view = self.partitions.view();
        ready(view.into_iter().map(|partition| info(partition, wall)).collect()).boxed()
    }

    fn identity<'a>(&'a self, identity: IdentityRef<'a>) -> BoxFuture<'a, Option<IdentityInfo>> {
        ready(self.look_up(identity)).boxed()
    }

    fn open_alerts(
        &self,
        _limit: usize,
        _after: Option<String>,
    ) -> BoxFuture<'_, Result<AlertPage, DataError>> {
        let error = DataError::NotOffered {
            error: "open alerts are not kept in one place by this version".to_owned(),
            remedy: "ask for the identity in question, or look at what the receiver was told"
                .to_owned(),
        };
        ready(Err(error)).boxed()
    }

    fn ingest_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, DataError>> {
        let letters = &self.partitions.environment.dead_letters;
        async move { letters.list(limit).await.map_err(unreadable) }.boxed()
    }

    fn delivery_letters(
        &self,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryLetter>, DataError>> {
        async move { self.undelivered.list(limit).await.map_err(unreadable) }.boxed()
    }

    fn replay<'a>(&'a self, message_id: &'a str) -> BoxFuture<'a, Result<Replayed, DataError>> {
        self.send_again(message_id).boxed()
    }
}

/// The caller is not told where the files are; the log is.
fn unreadable(error: DeadLetterError) -> DataError {
    tracing::warn!(%error, "dead letters can't be read for the API");
    DataError::Unavailable {
        error: "the dead letters can't be read".to_owned(),
        remedy: "look at the log of the service for the reason".to_owned(),
    }
}

fn info(view: PartitionView, wall: Timestamp) -> PartitionInfo {
    let PartitionView { key, stats, sight, .. } = view;
    let clock = Some(stats.clock).filter(|&clock| clock > Timestamp::MIN);
    PartitionInfo {
        source: key.source.to_string(),
        partition: key.partition.to_string(),
        clock,
        clock_age_ms: clock.map(|clock| wall.since(clock)),
        blind: sight.blind.map(|reason| reason.as_str()),
        live: stats.live,
        identities: State::ALL.map(State::as_str).into_iter().zip(stats.identities).collect(),
        unjudgeable: stats.unjudgeable,
        unobserved_percent: stats.unobserved_percent,
        next_deadline: stats.next_deadline,
    }
}
