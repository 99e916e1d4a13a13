//! The ways in which sources are read, for all targets.

use std::sync::Arc;

use lastseen::engine::Timestamp;
use lastseen::engine::rules::Condition;
use lastseen::wire::{
    self, EventTimeFrom, FieldFrom, HubName, Mapping, Meaning, Profile, RawMessage, Stamps,
};

fn profiles() -> [Profile; 4] {
    let event_hub = Profile {
        hub: HubName::Fixed(Arc::from("hub")),
        stamps: Stamps::Annotations,
        event_time: EventTimeFrom::Stamps,
        mapping: None,
        conditions: Arc::from([Condition {
            property: "kind".into(),
            value: Some("heartbeat".into()),
        }]),
    };
    let queue = Profile {
        hub: HubName::Property("hub".into()),
        stamps: Stamps::Properties,
        event_time: EventTimeFrom::TrustedHeader,
        ..event_hub.clone()
    };
    let mapped = |device, module| Profile {
        event_time: EventTimeFrom::Receipt,
        hub: HubName::Fixed(Arc::from("hub")),
        mapping: Some(Mapping { device, module: Some(module), event_time: None }),
        ..queue.clone()
    };
    [
        mapped(FieldFrom::JsonPointer("/a".into()), FieldFrom::Header("m".into())),
        mapped(FieldFrom::Header("d".into()), FieldFrom::RoutingKeySegment(1)),
        event_hub,
        queue,
    ]
}

/// Decodes under every profile and checks what holds for any result: ids are printable and short, an event is never
/// later than its append time or than the latest plausible one.
pub fn decode(raw: &RawMessage) {
    let latest = Timestamp::from_ms(2_000_000_000_000);
    for profile in profiles() {
        let Ok(decoded) = wire::decode(raw, &profile, Timestamp::from_ms(0), latest) else {
            continue;
        };
        if let (Some(event), Some(append)) = (decoded.event_time, decoded.append_time) {
            assert!(event <= append);
        }
        assert!(decoded.event_time.is_none_or(|at| at <= latest));
        if let Meaning::Signal { hub, device, module, .. } = &decoded.meaning {
            assert!(decoded.event_time.is_some());
            for id in [Some(hub), Some(device), module.as_ref()].into_iter().flatten() {
                assert!(
                    (1..=128).contains(&id.len()) && id.bytes().all(|b| (0x20..0x7f).contains(&b))
                );
            }
        }
    }
}
