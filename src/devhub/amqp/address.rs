//! Addresses of nodes.

use super::performative::{Fault, condition};
use crate::devhub::hub::Hub;

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// `$cbs`.
    Cbs,
    /// `$management`, `<entity>/$management`.
    Management,
    /// `<entity>/ConsumerGroups/<group>/Partitions/<n>`; the group in lower case.
    Partition { group: String, partition: usize },
    /// `<entity>`, `<entity>/Partitions/<n>`: where producers send to.
    Entity { partition: Option<usize> },
    /// `messages/events...` of an IoT Hub; true if its management node is wanted.
    Events { management: bool },
}

/// The path of an address in lower case, without scheme, authority and outer slashes: names compare without case.
pub(super) fn path(address: &str) -> String {
    let path = address
        .split_once("://")
        .map_or(address, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    path.trim_matches('/').to_ascii_lowercase()
}

/// Finds the node of an address.
pub(super) fn node(address: &str, hub: &Hub) -> Result<Node, Fault> {
    let path = path(address);
    let entity = hub.options().entity.to_ascii_lowercase();
    match &*path {
        "$cbs" => return Ok(Node::Cbs),
        "$management" => return Ok(Node::Management),
        _ => {}
    }
    if let Some(rest) = below(&path, &entity) {
        return entity_node(rest, hub).unwrap_or_else(|| Err(not_found(address)));
    }
    match below(&path, "messages/events") {
        Some(rest) => Ok(Node::Events { management: rest == "$management" }),
        None => Err(not_found(address)),
    }
}

fn below<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(parent)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

fn entity_node(rest: &str, hub: &Hub) -> Option<Result<Node, Fault>> {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [] => Some(Ok(Node::Entity { partition: None })),
        ["$management"] => Some(Ok(Node::Management)),
        ["partitions", number] => Some(
            partition(number, hub).map(|partition| Node::Entity { partition: Some(partition) }),
        ),
        ["consumergroups", group, "partitions", number] => Some(
            partition(number, hub)
                .map(|partition| Node::Partition { group: group.to_owned(), partition }),
        ),
        _ => None,
    }
}

fn partition(text: &str, hub: &Hub) -> Result<usize, Fault> {
    text.parse()
        .ok()
        .filter(|number| *number < hub.partition_count())
        .ok_or_else(|| {
            Fault::new(
                condition::OUT_OF_RANGE,
                format!(
                    "The specified partition is invalid for an EventHub partition sender or receiver. It should be between 0 and {}.",
                    hub.partition_count() - 1
                ),
            )
        })
}

fn not_found(address: &str) -> Fault {
    Fault::new(
        condition::NOT_FOUND,
        format!("The messaging entity '{address}' could not be found."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devhub::hub::HubOptions;
    use crate::engine::Timestamp;

    #[test]
    fn paths_and_full_urls_name_the_same_node_without_case() {
        let hub = Hub::new(
            HubOptions {
                name: "h".into(),
                entity: "EH1".into(),
                partitions: 4,
                retention_messages: 1,
                key_name: "k".into(),
                key: "k".into(),
            },
            Timestamp::from_ms(0),
        );
        let partition = Ok(Node::Partition { group: "$default".into(), partition: 3 });
        let path = "eh1/ConsumerGroups/$Default/Partitions/3";
        assert_eq!(node(path, &hub), partition);
        assert_eq!(node(&format!("amqps://127.0.0.1:5672/{path}"), &hub), partition);
        assert_eq!(
            node("amqps://h/eh1/Partitions/0", &hub),
            Ok(Node::Entity { partition: Some(0) })
        );
        assert_eq!(node("sb://h/eh1/", &hub), Ok(Node::Entity { partition: None }));
        assert_eq!(
            node("amqps://h/messages/events/$management", &hub),
            Ok(Node::Events { management: true })
        );
        let beyond = node("eh1/Partitions/4", &hub).unwrap_err();
        assert_eq!(beyond.condition, condition::OUT_OF_RANGE);
        let other = node("eh10", &hub).unwrap_err();
        assert_eq!(other.condition, condition::NOT_FOUND);
    }
}
