//! Whom a message is about.

use std::borrow::Cow;

use crate::engine::identity::check_id;
use crate::wire::fields::{Fields, Name};
use crate::wire::scalar::Scalar;
use crate::wire::{FieldFrom, HubName, Mapping, Profile, Reject, RejectReason};

/// Device and module as they stand in the message, not yet checked. Empty text counts as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claimed<'a> {
    pub(super) device: Option<Cow<'a, str>>,
    pub(super) module: Option<Cow<'a, str>>,
}

/// Device and module, checked.
pub(super) type Ids<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

impl<'a> Claimed<'a> {
    /// What the hub stamped.
    #[inline]
    pub(super) fn stamped(fields: &Fields<'a>, profile: &Profile) -> Self {
        let stamp = |name| fields.stamp(profile.stamps, name).and_then(Scalar::text);
        Self {
            device: stamp(Name::Device).map(Cow::Borrowed),
            module: stamp(Name::Module).map(Cow::Borrowed),
        }
        .without_empty()
    }

    /// What stands where the configuration says.
    pub(super) fn mapped(fields: &Fields<'a>, mapping: &Mapping) -> Self {
        let id = |from, header| owned_or_borrowed(fields, from, header);
        Self {
            device: id(&mapping.device, fields.configured.device),
            module: (mapping.module.as_ref()).and_then(|from| id(from, fields.configured.module)),
        }
        .without_empty()
    }

    #[inline]
    fn without_empty(self) -> Self {
        Self {
            device: self.device.filter(|id| !id.is_empty()),
            module: self.module.filter(|id| !id.is_empty()),
        }
    }

    /// Fills in what is missing from another place of a notification.
    pub(super) fn or(self, device: Option<Cow<'a, str>>, module: Option<Cow<'a, str>>) -> Self {
        let other = Self { device, module }.without_empty();
        Self { device: self.device.or(other.device), module: self.module.or(other.module) }
    }

    /// Checks the ids.
    #[inline]
    pub(super) fn check(self) -> Result<Ids<'a>, Reject> {
        let device = self.device.ok_or_else(|| {
            Reject::new(RejectReason::NoIdentity, "there is no device id where this source has it")
        })?;
        check("device", &device)?;
        if let Some(module) = &self.module {
            check("module", module)?;
        }
        Ok((device, self.module))
    }
}

fn check(what: &str, id: &str) -> Result<(), Reject> {
    check_id(id).map_err(|error| Reject::new(RejectReason::BadIdentity, format!("{what}: {error}")))
}

/// The value at a configured place; `header` is what the front end found under its name.
pub(super) fn find<'f>(
    fields: &'f Fields<'_>,
    from: &FieldFrom,
    header: Option<Scalar<'f>>,
) -> Option<Scalar<'f>> {
    match from {
        FieldFrom::Header(_) => header,
        FieldFrom::RoutingKeySegment(index) => segment(fields, *index).map(Scalar::Text),
        FieldFrom::JsonPointer(pointer) => fields.body.json()?.pointer(pointer).map(Scalar::from),
    }
}

/// Like [`find`], but what is borrowed from the parsed body (which lives only as long as `fields`) is copied.
fn owned_or_borrowed<'a>(
    fields: &Fields<'a>,
    from: &FieldFrom,
    header: Option<Scalar<'a>>,
) -> Option<Cow<'a, str>> {
    match from {
        FieldFrom::Header(_) => header?.id(),
        FieldFrom::RoutingKeySegment(index) => segment(fields, *index).map(Cow::Borrowed),
        FieldFrom::JsonPointer(_) => {
            find(fields, from, None)?.id().map(|id| Cow::Owned(id.into_owned()))
        }
    }
}

fn segment<'a>(fields: &Fields<'a>, index: usize) -> Option<&'a str> {
    let key = (fields.routing_key).or_else(|| fields.annotations.text(Name::RoutingKey))?;
    key.split('.').nth(index)
}

/// The hub, lower-case. `notified` is the name a notification carries: it stands in where the configured property is
/// missing.
pub(super) fn hub<'a>(
    fields: &Fields<'a>,
    profile: &'a Profile,
    notified: Option<Cow<'a, str>>,
) -> Result<Cow<'a, str>, Reject> {
    let name = match &profile.hub {
        HubName::Fixed(name) => return Ok(Cow::Borrowed(name)),
        HubName::Property(_) => (fields.configured.hub)
            .and_then(Scalar::text)
            .map(Cow::Borrowed)
            .or(notified)
            .filter(|name| !name.is_empty()),
    };
    let name = name.ok_or_else(|| {
        Reject::new(RejectReason::NoHub, "the property that hub_property names is missing or empty")
    })?;
    check("hub", &name)?;
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(name)
}
