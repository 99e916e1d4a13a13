//! Telemetry that tries to pass for something it is not. Such a message counts for the device that the hub stamped, and
//! for nothing else; all that is derived here is a mark.

use crate::wire::fields::{Fields, Name};
use crate::wire::identity::Claimed;

/// Operations that only the hub announces.
const OPERATIONS: [&str; 8] = [
    "createDeviceIdentity",
    "deleteDeviceIdentity",
    "createModuleIdentity",
    "deleteModuleIdentity",
    "deviceConnected",
    "deviceDisconnected",
    "moduleConnected",
    "moduleDisconnected",
];

/// Schemas of the notifications that are read. Bridges write other values under this name for their own use.
const SCHEMAS: [&str; 3] = [
    "deviceLifecycleNotification",
    "moduleLifecycleNotification",
    "deviceConnectionStateNotification",
];

/// Whether the application properties of telemetry bear the marks of a notification, or name another identity than the
/// stamps.
pub(super) fn suspected(fields: &Fields<'_>, stamped: &Claimed<'_>) -> bool {
    let properties = &fields.properties;
    let bears = |name, marks: &[&str]| {
        (properties.text(name))
            .is_some_and(|text| marks.iter().any(|mark| text.eq_ignore_ascii_case(mark)))
    };
    let contradicts = |name, stamp: Option<&str>| {
        (properties.text(name)).is_some_and(|text| !text.is_empty() && Some(text) != stamp)
    };
    let device = stamped.device.as_deref();
    let module = stamped.module.as_deref();
    bears(Name::Operation, &OPERATIONS)
        || bears(Name::Schema, &SCHEMAS)
        || contradicts(Name::Device, device)
        || contradicts(Name::NotifiedDevice, device)
        || contradicts(Name::Module, module)
        || contradicts(Name::NotifiedModule, module)
        || (properties.text(Name::Source))
            .is_some_and(|source| !source.eq_ignore_ascii_case("Telemetry"))
}
