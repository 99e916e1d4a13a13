//! The answers of the API, from the partitions and the dead letters.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::shared::Shared;
use super::{PartitionView, Partitions};
use crate::alert::body;
use crate::alert::id::AlertId;
use crate::alert::path::PathAlert;
use crate::alert::self_health::SelfAlert;
use crate::api::data::{
    AlertInfo, AlertPage, Data, DataError, IdentityInfo, PartitionInfo, Replayed,
};
use crate::clock;
use crate::engine::{Identity, IdentityRef, Outage, State, Timestamp};
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
            let known = shared.desk().engine().known(identity)?;
            Some((shared, known))
        });
        // Who judges it knows best; of several who don't, the one that heard it last.
        let (shared, known) = known.max_by_key(|(_, known)| (!known.is_guest, known.last_seen))?;
        Some(IdentityInfo {
            hub: identity.hub.to_owned(),
            device_id: identity.device.to_owned(),
            module_id: identity.module.map(str::to_owned),
            state: known.state.as_str(),
            unknown: self.why_unknown(shared),
            last_seen: known.last_seen,
            deadline: known.deadline,
            source: shared.key.source.to_string(),
            partition: shared.key.partition.to_string(),
        })
    }

    /// The open alerts behind `after`, in the order of their ids.
    fn open_page(&self, limit: usize, after: Option<&str>) -> AlertPage {
        let mut alerts: Vec<AlertInfo> = Vec::new();
        for shared in self.partitions.shared() {
            let open = shared.desk().engine().open_outages();
            alerts.extend(
                open.into_iter()
                    .map(|(identity, outage)| device_alert(identity, &outage, &shared.key.source)),
            );
        }
        let state = self.partitions.fleet().state();
        alerts.extend(state.paths.values().map(path_alert));
        alerts.extend(state.own.iter().map(own_alert));
        alerts.retain(|alert| after.is_none_or(|after| alert.alert_id.as_str() > after));
        alerts.sort_unstable_by(|a, b| a.alert_id.cmp(&b.alert_id));
        let has_more = alerts.len() > limit;
        alerts.truncate(limit);
        AlertPage { alerts, has_more }
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
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'_, Result<AlertPage, DataError>> {
        ready(Ok(self.open_page(limit, after.as_deref()))).boxed()
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

fn device_alert(identity: Identity, outage: &Outage, source: &str) -> AlertInfo {
    let alert_id = AlertId::of_outage(identity.as_ref(), outage).to_string();
    let Identity { hub, device, module } = identity;
    AlertInfo {
        alert_id,
        r#type: body::outage_type(outage),
        severity: body::severity(outage),
        hub: Some(hub.to_string()),
        device_id: Some(device.into()),
        module_id: module.map(Into::into),
        source: Some(source.to_owned()),
        sink: None,
        since: Some(outage.judged.armed_at),
        detected_at: Some(outage.judged.deadline),
    }
}

fn path_alert(alert: &PathAlert) -> AlertInfo {
    AlertInfo {
        source: Some(alert.source.to_string()),
        ..alert_about_us(
            alert.id,
            body::PATH_TYPE,
            body::PATH_SEVERITY,
            alert.since,
            alert.detected_at,
        )
    }
}

fn own_alert(alert: &SelfAlert) -> AlertInfo {
    let severity = alert.reason.severity();
    AlertInfo {
        sink: alert.sink.as_ref().map(ToString::to_string),
        ..alert_about_us(alert.id, body::SELF_TYPE, severity, alert.since, alert.detected_at)
    }
}

/// An alert that is about no device.
fn alert_about_us(
    id: AlertId,
    r#type: &'static str,
    severity: &'static str,
    since: Timestamp,
    detected_at: Timestamp,
) -> AlertInfo {
    AlertInfo {
        alert_id: id.to_string(),
        r#type,
        severity,
        hub: None,
        device_id: None,
        module_id: None,
        source: None,
        sink: None,
        since: Some(since),
        detected_at: Some(detected_at),
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
