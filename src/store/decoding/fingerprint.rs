//! PURE. What of a message is the same when a broker gives it again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wire::{Amqp091Message, RawMessage};

/// Tells a message from every other one: the number of its bytes, and the first half of their SHA-256. What a broker
/// writes anew at each delivery does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    bytes: u64,
    hash: [u8; 16],
}

impl Fingerprint {
    /// Of a queue's message the message annotations do not count either: when its lock ends stands there.
    pub(super) fn of(raw: &RawMessage, of_queue: bool) -> Self {
        let hash: [u8; 32] = match raw {
            RawMessage::Amqp10(sections) => Sha256::digest(stable(sections, of_queue)).into(),
            RawMessage::Amqp091(message) => hash_of(message),
            RawMessage::Line(line) => Sha256::digest(line).into(),
        };
        Self { bytes: stable_bytes(raw, of_queue), hash: std::array::from_fn(|at| hash[at]) }
    }

    /// Whether it is this message's. Hashes only what has as many bytes.
    pub(super) fn is_of(&self, raw: &RawMessage, of_queue: bool) -> bool {
        self.bytes == stable_bytes(raw, of_queue) && *self == Self::of(raw, of_queue)
    }
}

fn stable_bytes(raw: &RawMessage, of_queue: bool) -> u64 {
    let bytes = match raw {
        RawMessage::Amqp10(sections) => stable(sections, of_queue).len(),
        RawMessage::Amqp091(message) => message.body.len(),
        RawMessage::Line(line) => line.len(),
    };
    bytes as u64
}

/// Codes of the sections that a broker writes anew: header (it counts deliveries) and delivery annotations; then the
/// message annotations (OASIS AMQP 1.0, part 3, section 3.2).
const WRITTEN_ANEW: [u8; 3] = [0x70, 0x71, 0x72];

/// The sections behind those that a broker writes anew. They are jumped over by their sizes and not looked into: whatever
/// is not encoded as usual counts.
fn stable(mut sections: &[u8], of_queue: bool) -> &[u8] {
    let anew = if of_queue { &WRITTEN_ANEW[..] } else { &WRITTEN_ANEW[..2] };
    loop {
        // A described value: 0x00, a small unsigned code, the code, and a list or map of one of five formats.
        let [0x00, 0x53, code, format, rest @ ..] = sections else { return sections };
        if !anew.contains(code) {
            return sections;
        }
        let behind = match (*format, rest) {
            (0x45, _) => Some(rest),
            (0xc0 | 0xc1, [size, rest @ ..]) => rest.get(usize::from(*size)..),
            (0xd0 | 0xd1, [a, b, c, d, rest @ ..]) => {
                let size = u32::from_be_bytes([*a, *b, *c, *d]);
                usize::try_from(size).ok().and_then(|size| rest.get(size..))
            }
            _ => None,
        };
        let Some(behind) = behind else { return sections };
        sections = behind;
    }
}

/// RabbitMQ's own headers begin with `x-`; it counts deliveries in one of them.
fn hash_of(message: &Amqp091Message) -> [u8; 32] {
    let Amqp091Message {
        routing_key, headers, timestamp_s, message_id, content_type, body, ..
    } = message;
    let headers: Vec<_> = headers.iter().filter(|(name, _)| !name.starts_with("x-")).collect();
    let about = format!("{:?}", (routing_key, headers, timestamp_s, message_id, content_type));
    let mut hasher = Sha256::new();
    hasher.update((about.len() as u64).to_be_bytes());
    hasher.update(about);
    hasher.update(body);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeaderValue;

    const HEADER: [&[u8]; 3] = [
        &[0, 0x53, 0x70, 0x45],
        &[0, 0x53, 0x70, 0xc0, 2, 1, 0x40],
        &[0, 0x53, 0x70, 0xd0, 0, 0, 0, 4, 0, 0, 0, 0],
    ];
    const ANNOTATIONS: &[u8] = &[0, 0x53, 0x72, 0xc1, 3, 2, 0xa3, 0x40];
    const BODY: &[u8] = &[0, 0x53, 0x75, 0xa0, 2, b'h', b'i'];

    fn message(parts: &[&[u8]]) -> RawMessage {
        RawMessage::Amqp10(parts.concat().into())
    }

    #[test]
    fn what_a_broker_writes_anew_does_not_count_and_everything_else_does() {
        for of_queue in [false, true] {
            let known = Fingerprint::of(&message(&[ANNOTATIONS, BODY]), of_queue);
            for header in HEADER {
                assert!(known.is_of(&message(&[header, ANNOTATIONS, BODY]), of_queue));
            }
            assert!(!known.is_of(&message(&[ANNOTATIONS, BODY, BODY]), of_queue));
            assert_eq!(known.is_of(&message(&[BODY]), of_queue), of_queue, "annotations");
        }
    }

    #[test]
    fn a_section_that_is_longer_than_the_message_counts_as_it_is() {
        let cut = message(&[&[0, 0x53, 0x70, 0xd0, 0xff, 0xff, 0xff, 0xff, 1]]);
        let other = message(&[&[0, 0x53, 0x70, 0xd0, 0xff, 0xff, 0xff, 0xff, 2]]);
        let known = Fingerprint::of(&cut, true);
        assert!(known.is_of(&cut, true) && !known.is_of(&other, true));
        assert!(!known.is_of(&message(&[]), true));
    }

    #[test]
    fn a_redelivery_of_rabbitmq_is_the_same_message() {
        let message = |count, device: &str| {
            RawMessage::Amqp091(Box::new(Amqp091Message {
                headers: vec![
                    ("x-delivery-count".to_owned(), HeaderValue::Integer(count)),
                    ("device".to_owned(), HeaderValue::Text(device.to_owned())),
                ],
                ..Amqp091Message::default()
            }))
        };
        let known = Fingerprint::of(&message(0, "pump"), true);
        assert!(known.is_of(&message(3, "pump"), true));
        assert!(!known.is_of(&message(0, "pomp"), true));
    }
}
