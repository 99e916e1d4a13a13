//! Reads of an event hub's and its partitions' properties at `$management` (Microsoft: "AMQP 1.0 in Azure Service Bus and
//! Event Hubs protocol guide").

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::primitives::{OrderedMap, Value};

use crate::engine::Timestamp;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::request::Requester;
use crate::source::amqp_link::value;

const NODE: &str = "$management";
/// Most partitions that are read: what a dedicated cluster allows for one event hub.
const MAX_PARTITIONS: usize = 1_024;

/// What is read of an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubProperties {
    pub(super) created_at: Timestamp,
    pub(super) partition_ids: Vec<String>,
}

/// What is read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionProperties {
    /// Sequence number of the oldest message that is kept.
    pub(super) begin: i64,
    /// That of the newest there ever was; -1 before the first.
    pub(super) last: i64,
    /// When that was stored.
    pub(super) last_time: Timestamp,
    /// Nothing is kept.
    pub(super) is_empty: bool,
}

/// Asks `$management` about one event hub.
#[derive(Debug)]
pub(super) struct Management {
    requester: Requester,
    entity: String,
}

impl Management {
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        entity: &str,
    ) -> Result<Self, LinkError> {
        Ok(Self {
            requester: Requester::attach(session, NODE, NODE).await?,
            entity: entity.to_owned(),
        })
    }

    pub(super) async fn hub(&self) -> Result<HubProperties, LinkError> {
        let map = self.read("com.microsoft:eventhub", None).await?;
        hub_properties(&map).ok_or_else(incomplete)
    }

    pub(super) async fn partition(&self, id: &str) -> Result<PartitionProperties, LinkError> {
        let map = self.read("com.microsoft:partition", Some(id)).await?;
        partition_properties(&map).ok_or_else(incomplete)
    }

    async fn read(
        &self,
        kind: &str,
        partition: Option<&str>,
    ) -> Result<OrderedMap<Value, Value>, LinkError> {
        let mut properties = vec![
            ("operation", "READ".to_owned()),
            ("name", self.entity.clone()),
            ("type", kind.to_owned()),
        ];
        properties.extend(partition.map(|id| ("partition", id.to_owned())));
        let answer = self.requester.ask(properties, Value::Null).await?;
        let Value::Map(map) = answer.body else {
            return Err(incomplete());
        };
        Ok(map)
    }
}

fn incomplete() -> LinkError {
    LinkError::Ended("$management answered without the properties that were asked for".to_owned())
}

fn hub_properties(map: &OrderedMap<Value, Value>) -> Option<HubProperties> {
    let ids = value::items(value::entry(map, "partition_ids")?)?;
    let ids = ids.iter().take(MAX_PARTITIONS);
    Some(HubProperties {
        created_at: value::time(value::entry(map, "created_at")?)?,
        partition_ids: ids.map(|id| value::text(id).map(str::to_owned)).collect::<Option<_>>()?,
    })
}

fn partition_properties(map: &OrderedMap<Value, Value>) -> Option<PartitionProperties> {
    let integer = |key| value::entry(map, key).and_then(value::integer);
    Some(PartitionProperties {
        begin: integer("begin_sequence_number")?,
        last: integer("last_enqueued_sequence_number")?,
        last_time: value::entry(map, "last_enqueued_time_utc")
            .and_then(value::time)
            .unwrap_or(Timestamp::MIN),
        is_empty: value::entry(map, "is_partition_empty") == Some(&Value::Bool(true)),
    })
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp::types::primitives::{Array, Timestamp as Time};

    use super::*;

    fn map(entries: Vec<(&str, Value)>) -> OrderedMap<Value, Value> {
        entries.into_iter().map(|(key, value)| (Value::String(key.to_owned()), value)).collect()
    }

    #[test]
    fn partition_ids_are_taken_from_an_array_and_from_a_list() {
        let ids = vec![Value::String("0".into()), Value::String("1".into())];
        for ids in [Value::Array(Array(ids.clone())), Value::List(ids)] {
            let created = Value::Timestamp(Time::from_milliseconds(7));
            let read = hub_properties(&map(vec![("partition_ids", ids), ("created_at", created)]));
            assert_eq!(
                read,
                Some(HubProperties {
                    created_at: Timestamp::from_ms(7),
                    partition_ids: vec!["0".into(), "1".into()]
                })
            );
        }
        let wrong = map(vec![("partition_ids", Value::List(vec![Value::Null]))]);
        assert_eq!(hub_properties(&wrong), None);
    }

    #[test]
    fn a_partition_without_its_sequence_numbers_is_no_answer() {
        let whole = vec![
            ("begin_sequence_number", Value::Long(3)),
            ("last_enqueued_sequence_number", Value::Int(9)),
            ("is_partition_empty", Value::Bool(false)),
        ];
        let read = partition_properties(&map(whole.clone())).unwrap();
        assert_eq!((read.begin, read.last, read.is_empty), (3, 9, false));
        assert_eq!(partition_properties(&map(whole[..1].to_vec())), None);
    }
}
