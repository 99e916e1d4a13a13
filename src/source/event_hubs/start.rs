//! PURE. Where a receiver of a partition begins, and what is known at that moment.

use super::management::PartitionProperties;
use crate::config::Start;
use crate::engine::Backlog;

/// The last message that this process has handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: i64,
    /// `x-opt-offset`: opaque. Dropped when the broker says that it is invalid, as after a geo-failover.
    pub(super) offset: Option<String>,
}

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The selector.
    pub(super) selector: String,
    pub(super) backlog: Backlog,
    /// Everything up to here is applied, or is not asked for. `None`: not known before the first message.
    pub(super) applied: Option<i64>,
    /// The position can't belong to this log, although it is of the same age.
    pub(super) reset: bool,
}

/// `position`: of this very log. Without one: `Earliest` if there was another log before (what is in the new one is news),
/// else what is configured.
pub(super) fn plan(
    partition: &PartitionProperties,
    position: Option<&Position>,
    another_log_before: bool,
    start: Start,
) -> Plan {
    match position {
        Some(position) if position.sequence > partition.last => {
            Plan { reset: true, ..earliest(partition) }
        }
        Some(position) if position.sequence.saturating_add(1) < partition.begin => {
            earliest(partition)
        }
        Some(position) => Plan {
            selector: match &position.offset {
                Some(offset) => selector("x-opt-offset", offset),
                None => selector("x-opt-sequence-number", position.sequence),
            },
            ..after(partition, position.sequence)
        },
        None if another_log_before => earliest(partition),
        None => match start {
            Start::Earliest => earliest(partition),
            Start::Latest => after(partition, partition.last),
            Start::At(time) => {
                let selector = selector("x-opt-enqueued-time", time.as_ms().saturating_sub(1));
                if partition.is_empty || partition.last_time < time {
                    Plan { selector, ..after(partition, partition.last) }
                } else {
                    Plan {
                        selector,
                        backlog: Backlog::UpTo(partition.last),
                        applied: None,
                        reset: false,
                    }
                }
            }
        },
    }
}

/// Ids and offsets come from the broker; a quote ends the string.
fn selector(annotation: &str, value: impl ToString) -> String {
    let value = value.to_string().replace('\'', "''");
    format!("amqp.annotation.{annotation} > '{value}'")
}

fn earliest(partition: &PartitionProperties) -> Plan {
    let before =
        if partition.is_empty { partition.last } else { partition.begin.saturating_sub(1) };
    Plan { selector: selector("x-opt-offset", "-1"), ..after(partition, before) }
}

fn after(partition: &PartitionProperties, sequence: i64) -> Plan {
    let nothing = partition.is_empty || partition.last <= sequence;
    Plan {
        selector: selector("x-opt-sequence-number", sequence),
        backlog: if nothing { Backlog::Empty } else { Backlog::UpTo(partition.last) },
        applied: Some(if nothing { partition.last.max(sequence) } else { sequence }),
        reset: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Timestamp;

    fn partition(begin: i64, last: i64) -> PartitionProperties {
        PartitionProperties {
            begin,
            last,
            last_time: Timestamp::from_ms(1_000),
            is_empty: last < begin,
        }
    }

    fn at(sequence: i64, offset: Option<&str>) -> Position {
        Position { sequence, offset: offset.map(str::to_owned) }
    }

    fn expect(selector: &str, backlog: Backlog, applied: Option<i64>) -> Plan {
        Plan { selector: format!("amqp.annotation.{selector}"), backlog, applied, reset: false }
    }

    #[test]
    fn without_a_position_the_configured_start_counts() {
        let earliest = "x-opt-offset > '-1'";
        assert_eq!(
            plan(&partition(3, 9), None, false, Start::Earliest),
            expect(earliest, Backlog::UpTo(9), Some(2))
        );
        assert_eq!(
            plan(&partition(10, 9), None, false, Start::Earliest),
            expect(earliest, Backlog::Empty, Some(9))
        );
        assert_eq!(
            plan(&partition(0, -1), None, false, Start::Latest),
            expect("x-opt-sequence-number > '-1'", Backlog::Empty, Some(-1))
        );
        assert_eq!(
            plan(&partition(3, 9), None, false, Start::Latest),
            expect("x-opt-sequence-number > '9'", Backlog::Empty, Some(9))
        );
        let before = Start::At(Timestamp::from_ms(1_000));
        assert_eq!(
            plan(&partition(3, 9), None, false, before),
            expect("x-opt-enqueued-time > '999'", Backlog::UpTo(9), None)
        );
        let later = Start::At(Timestamp::from_ms(1_001));
        assert_eq!(
            plan(&partition(3, 9), None, false, later),
            expect("x-opt-enqueued-time > '1000'", Backlog::Empty, Some(9))
        );
    }

    #[test]
    fn a_position_goes_on_behind_it_by_offset_or_else_by_sequence() {
        let backlog = Backlog::UpTo(9);
        assert_eq!(
            plan(&partition(0, 9), Some(&at(5, Some("70'1"))), false, Start::Latest),
            expect("x-opt-offset > '70''1'", backlog, Some(5))
        );
        assert_eq!(
            plan(&partition(0, 9), Some(&at(5, None)), false, Start::Latest),
            expect("x-opt-sequence-number > '5'", backlog, Some(5))
        );
        assert_eq!(
            plan(&partition(0, 9), Some(&at(9, None)), false, Start::Latest),
            expect("x-opt-sequence-number > '9'", Backlog::Empty, Some(9))
        );
    }

    #[test]
    fn a_position_that_aged_out_or_lies_beyond_the_end_begins_at_the_oldest_message() {
        let earliest = expect("x-opt-offset > '-1'", Backlog::UpTo(9), Some(6));
        assert_eq!(plan(&partition(7, 9), Some(&at(5, Some("1"))), false, Start::Latest), earliest);
        let beyond = plan(&partition(7, 9), Some(&at(10, None)), false, Start::Latest);
        assert_eq!(beyond, Plan { reset: true, ..earliest.clone() });
        assert_eq!(plan(&partition(7, 9), None, true, Start::Latest), earliest);
    }
}
