//! PURE. What time it is on a queue. RabbitMQ stamps nothing, so it is either the greatest event time that a trusted
//! header has shown, carried on by boot time, or our own boot time, anchored once to the wall clock.

use crate::engine::{Dating, Millis, Timestamp};
use crate::source::broker_time::BrokerTime;
use crate::wire::{Amqp091Message, EventTimeFrom, FieldFrom, HeaderValue, Mapping};

/// The header in which IoT Hub says when it took a message.
const ENQUEUED: &str = "iothub-enqueuedtime";
/// The longest text tried as a date: RFC 3339 with nanoseconds and an offset has 35 characters.
const MAX_DATE_BYTES: usize = 64;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// Boot time.
    pub(super) boot_ms: Millis,
    /// Wall time.
    pub(super) wall: Timestamp,
}

/// The clock of one queue, for the life of the process.
#[derive(Clone, Debug)]
pub(super) struct QueueTime {
    anchor: Now,
    max_error_ms: Millis,
    stamps: Option<Stamps>,
}

/// Event times that a header shows.
#[derive(Clone, Debug)]
struct Stamps {
    /// `None`: they stand where reading them would mean to parse the body.
    header: Option<String>,
    seen: BrokerTime,
}

impl QueueTime {
    /// A clock that begins at `anchor`; `max_error_ms` is how far the wall clock may be off.
    pub(super) fn new(
        event_time: EventTimeFrom,
        mapping: Option<&Mapping>,
        anchor: Now,
        max_error_ms: Millis,
    ) -> Self {
        let stamps = match event_time {
            EventTimeFrom::Receipt => None,
            EventTimeFrom::Stamps | EventTimeFrom::TrustedHeader => {
                Some(Stamps { header: header_of(mapping), seen: BrokerTime::default() })
            }
        };
        Self { anchor, max_error_ms, stamps }
    }

    /// What messages are dated by.
    pub(super) fn dating(&self) -> Dating {
        match self.stamps {
            Some(_) => Dating::EventTime,
            None => Dating::Receipt,
        }
    }

    /// Takes note of a message's trusted event time. One further ahead than our clock can be wrong is no clock.
    pub(super) fn observe(&mut self, message: &Amqp091Message, now: Now) {
        let latest = now.wall.plus(self.max_error_ms);
        if let Some(Stamps { header: Some(header), seen }) = &mut self.stamps
            && let Some(stamp) = instant(message, header).filter(|stamp| *stamp <= latest)
        {
            seen.observe(stamp, now.boot_ms);
        }
    }

    /// How far behind the truth [`QueueTime::at`] may be.
    pub(super) fn error_ms(&self, now: Now) -> Millis {
        let of_stamps =
            |stamps: &Stamps| stamps.seen.error_ms(now.boot_ms, now.wall, self.max_error_ms);
        self.stamps.as_ref().map_or(0, of_stamps)
    }

    /// The time at `now`, never later than the truth as far as stamps tell it.
    pub(super) fn at(&self, now: Now) -> Timestamp {
        match &self.stamps {
            Some(stamps) => stamps.seen.at(now.boot_ms, now.wall, self.max_error_ms),
            None => self.anchor.wall.plus(now.boot_ms.saturating_sub(self.anchor.boot_ms)),
        }
    }
}

/// The header that holds the event time.
fn header_of(mapping: Option<&Mapping>) -> Option<String> {
    match mapping.and_then(|mapping| mapping.event_time.as_ref()) {
        None => Some(ENQUEUED.to_owned()),
        Some(FieldFrom::Header(name)) => Some(name.clone()),
        Some(FieldFrom::RoutingKeySegment(_) | FieldFrom::JsonPointer(_)) => None,
    }
}

fn instant(message: &Amqp091Message, header: &str) -> Option<Timestamp> {
    let (_, value) = message.headers.iter().find(|(name, _)| name == header)?;
    match value {
        HeaderValue::Time(at) => Some(*at),
        HeaderValue::Integer(ms) => Some(Timestamp::from_ms(*ms)),
        HeaderValue::Text(text) if text.len() <= MAX_DATE_BYTES => {
            text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_ms(at.as_millisecond()))
        }
        HeaderValue::Text(_) | HeaderValue::Boolean(_) | HeaderValue::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_ERROR_MS: Millis = 30_000;

    fn now(boot_ms: Millis, wall_ms: i64) -> Now {
        Now { boot_ms, wall: Timestamp::from_ms(wall_ms) }
    }

    fn stamped(value: HeaderValue) -> Amqp091Message {
        Amqp091Message { headers: vec![(ENQUEUED.to_owned(), value)], ..Amqp091Message::default() }
    }

    #[test]
    fn receipt_time_is_boot_time_and_ignores_steps_of_the_wall_clock() {
        let time = QueueTime::new(EventTimeFrom::Receipt, None, now(50, 1_000_000), MAX_ERROR_MS);
        assert_eq!(time.dating(), Dating::Receipt);
        assert_eq!(time.at(now(150, 9_000_000)), Timestamp::from_ms(1_000_100));
        assert_eq!(time.at(now(250, 0)), Timestamp::from_ms(1_000_200));
    }

    #[test]
    fn trusted_time_follows_the_greatest_stamp_and_before_any_lags_by_the_clock_error() {
        let mut time = QueueTime::new(EventTimeFrom::TrustedHeader, None, now(0, 0), MAX_ERROR_MS);
        let wall = 1_800_000_000_000;
        assert_eq!(time.dating(), Dating::EventTime);
        assert_eq!(time.at(now(0, wall)), Timestamp::from_ms(wall - MAX_ERROR_MS));
        let text = HeaderValue::Text("2027-01-15T07:59:58.5000000Z".to_owned()); // wall - 1,500
        time.observe(&stamped(text), now(0, wall));
        assert_eq!(time.at(now(100, wall)), Timestamp::from_ms(wall - 1_400));
        time.observe(&stamped(HeaderValue::Integer(wall - 5_000)), now(100, wall));
        assert_eq!(time.at(now(100, wall)), Timestamp::from_ms(wall - 1_400));
    }

    #[test]
    fn a_stamp_from_the_far_future_moves_nothing() {
        let mut time = QueueTime::new(EventTimeFrom::TrustedHeader, None, now(0, 0), MAX_ERROR_MS);
        let wall = 1_800_000_000_000;
        let text = HeaderValue::Text("2106-02-07T06:28:15Z".to_owned());
        time.observe(&stamped(text), now(0, wall));
        assert_eq!(time.at(now(0, wall)), Timestamp::from_ms(wall - MAX_ERROR_MS));
    }

    #[test]
    fn a_mapped_header_is_read_and_a_body_is_not() {
        let mapping = |event_time| Mapping {
            device: FieldFrom::Header("device".to_owned()),
            module: None,
            event_time: Some(event_time),
        };
        assert_eq!(
            header_of(Some(&mapping(FieldFrom::Header("at".to_owned())))),
            Some("at".to_owned())
        );
        assert_eq!(header_of(Some(&mapping(FieldFrom::JsonPointer("/at".to_owned())))), None);
    }
}
