//! Stable ids: pure functions of what was decided, so that a repeat after a crash carries the same one.

use serde::{Deserialize, Serialize};
use std::fmt;

use sha2::{Digest, Sha256};

use crate::engine::{IdentityRef, Outage, Timestamp, Transition};

use super::body::Status;

/// The kind that goes into the id of an outage, whatever its cause is found to be.
const OUTAGE_KIND: &str = "device.silent";

/// The kind that goes into the id of an alert about a source.
const PATH_KIND: &str = "path.blind";

/// The kind that goes into the id of an alert about the service itself.
const SELF_KIND: &str = "self.health";

/// The kind that goes into the ids of the watchdog.
const WATCHDOG_KIND: &str = "watchdog";

/// Bytes of the hash that are kept: 128 bits, so that a collision among all outages of a fleet is out of the question.
const ID_BYTES: usize = 16;

/// Names one outage of one identity. The same for all messages about it: firing, resolved, retracted, amended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertId([u8; ID_BYTES]);

impl AlertId {
    /// The id of the transition's outage: hash of hub, device, module, kind, and the event time that armed
    /// the deadline as first told.
    pub fn of(transition: &Transition) -> Self {
        Self::of_outage(transition.identity.as_ref(), &transition.outage)
    }

    /// The same for an outage that is looked at later.
    pub fn of_outage(identity: IdentityRef<'_>, outage: &Outage) -> Self {
        let IdentityRef { hub, device, module } = identity;
        let armed_at = outage.first_armed_at.as_ms().to_be_bytes();
        Self(truncate(hash(&[
            Some(hub.as_bytes()),
            Some(device.as_bytes()),
            module.map(str::as_bytes),
            Some(OUTAGE_KIND.as_bytes()),
            Some(&armed_at),
        ])))
    }

    /// The id of an alert about a source, first told at `told_at`. It derives from no log, and so is made once and kept
    /// while the alert is open.
    pub fn of_path(source: &str, told_at: Timestamp) -> Self {
        let told_at = told_at.as_ms().to_be_bytes();
        Self(truncate(hash(&[Some(source.as_bytes()), Some(PATH_KIND.as_bytes()), Some(&told_at)])))
    }

    /// The id of an alert about the service itself: why, about which part of it (a sink; empty for all of it), and when
    /// it was first told. Like that of a source it is made once and kept while the alert is open.
    pub fn of_self(reason: &str, subject: &str, told_at: Timestamp) -> Self {
        Self(truncate(hash(&[
            Some(SELF_KIND.as_bytes()),
            Some(reason.as_bytes()),
            Some(subject.as_bytes()),
            Some(&told_at.as_ms().to_be_bytes()),
        ])))
    }

    /// The id that all messages of the watchdog share.
    pub fn of_watchdog() -> Self {
        Self(truncate(hash(&[Some(WATCHDOG_KIND.as_bytes())])))
    }

    /// The `webhook-id` of one message of the watchdog. Its number alone begins again with every process; with the
    /// instant of sending no two messages share an id.
    pub fn of_watchdog_message(sink: &str, sequence: u64, sent_at: Timestamp) -> String {
        let id = truncate(hash(&[
            Some(WATCHDOG_KIND.as_bytes()),
            Some(sink.as_bytes()),
            Some(&sequence.to_be_bytes()),
            Some(&sent_at.as_ms().to_be_bytes()),
        ]));
        format!("msg_{}", Self(id))
    }

    /// The `webhook-id` of one message about the outage. Holds no dot, since dots separate what is signed
    /// (Standard Webhooks 1.0.0, "Signature scheme").
    pub fn message_id(self, sink: &str, status: Status, ordinal: u32) -> String {
        let id = truncate(hash(&[
            Some(&self.0),
            Some(sink.as_bytes()),
            Some(status.as_str().as_bytes()),
            Some(&ordinal.to_be_bytes()),
        ]));
        format!("msg_{}", Self(id))
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The lane of an identity: all messages about it share one, and so keep their order.
pub fn lane(identity: IdentityRef<'_>) -> u64 {
    let hash = hash(&[
        Some(identity.hub.as_bytes()),
        Some(identity.device.as_bytes()),
        identity.module.map(str::as_bytes),
    ]);
    u64::from_be_bytes(truncate(hash))
}

/// The lane of what is told about a source.
pub fn path_lane(source: &str) -> u64 {
    u64::from_be_bytes(truncate(hash(&[Some(source.as_bytes())])))
}

/// The lane of what is told about a part of the service itself.
pub fn self_lane(subject: &str) -> u64 {
    u64::from_be_bytes(truncate(hash(&[Some(SELF_KIND.as_bytes()), Some(subject.as_bytes())])))
}

/// The lane of one message of the watchdog: each has its own, so that one that fails holds no other up.
pub fn watchdog_lane(sequence: u64) -> u64 {
    let sequence = sequence.to_be_bytes();
    u64::from_be_bytes(truncate(hash(&[Some(WATCHDOG_KIND.as_bytes()), Some(&sequence)])))
}

/// SHA-256 over the fields, each with its presence and length in front: no two lists of fields give the same input.
fn hash(fields: &[Option<&[u8]>]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for field in fields {
        match field {
            Some(bytes) => {
                hasher.update([1]);
                hasher.update((bytes.len() as u64).to_be_bytes());
                hasher.update(bytes);
            }
            None => hasher.update([0]),
        }
    }
    hasher.finalize().into()
}

/// The first `N` of the 32 bytes.
fn truncate<const N: usize>(hash: [u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::alert::sample;

    #[test]
    fn the_id_of_an_outage_is_pinned() {
        let alert = sample::firing();
        assert_eq!(AlertId::of(&alert.transition).to_string(), "ba2a9fe622298006d77138c03f563455");
    }

    #[test]
    fn all_messages_about_one_outage_share_its_id() {
        let id = AlertId::of(&sample::firing().transition);
        for alert in [sample::resolved(), sample::retracted(), sample::amended()] {
            assert_eq!(AlertId::of(&alert.transition), id);
        }
    }

    #[test]
    fn another_identity_or_arming_time_is_another_outage() {
        let mut seen = HashSet::new();
        let fields = ["", "a", "b", "ab", "ba", "a/b"];
        for hub in fields {
            for device in fields {
                for module in fields.into_iter().map(Some).chain([None]) {
                    for armed_ms in [0, 1, 256] {
                        let mut transition = sample::firing().transition;
                        transition.identity.hub = hub.into();
                        transition.identity.device = device.into();
                        transition.identity.module = module.map(Into::into);
                        transition.outage.first_armed_at = Timestamp::from_ms(armed_ms);
                        assert!(seen.insert(AlertId::of(&transition)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_id_differs_by_sink_status_and_ordinal_and_holds_no_dot() {
        let id = AlertId::of(&sample::firing().transition);
        let mut seen = HashSet::new();
        for sink in ["ops", "ops.firing", "op"] {
            for status in [Status::Firing, Status::Resolved, Status::Retracted, Status::Amended] {
                for ordinal in 0..3 {
                    let message_id = id.message_id(sink, status, ordinal);
                    assert_eq!(message_id, id.message_id(sink, status, ordinal));
                    assert!(message_id.starts_with("msg_") && !message_id.contains('.'));
                    assert!(seen.insert(message_id));
                }
            }
        }
    }

    #[test]
    fn the_lane_depends_on_the_identity_alone() {
        let firing = sample::firing().transition.identity;
        let mut module = firing.clone();
        module.module = Some("sensor".into());
        assert_eq!(lane(firing.as_ref()), lane(sample::resolved().transition.identity.as_ref()));
        assert_ne!(lane(firing.as_ref()), lane(module.as_ref()));
    }
}
