//! Who is in the fleet, and under which names.

/// The fleet's members, as numbers; their names follow from the numbers, so nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Number of devices.
    pub devices: u32,
    /// Every n-th device is an edge gateway; 0: none is.
    pub gateway_every: u32,
}

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Sends by itself.
    Plain,
    /// An edge gateway that sends by itself, with a module that is watched on its own.
    WithSensor,
    /// An edge gateway that sends only through a module, which nobody watches: its messages prove the device alive.
    WithRelay,
}

/// A device, or a module of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Number of the device, from 0.
    pub device: u32,
    /// The module; `None`: the device itself.
    pub module: Option<Module>,
}

/// The modules there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// Watched on its own.
    Sensor,
    /// Not watched; speaks for its device.
    Relay,
}

impl Module {
    /// Its module id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Relay => "relay",
        }
    }
}

impl Member {
    /// The device itself.
    pub const fn device(device: u32) -> Self {
        Self { device, module: None }
    }
}

/// The glob that matches the gateways' device ids, for a rule.
pub const GATEWAY_GLOB: &str = "gateway-*";

impl Roster {
    /// What kind of device it is.
    pub const fn kind(&self, device: u32) -> DeviceKind {
        if self.gateway_every == 0 || !(device + 1).is_multiple_of(self.gateway_every) {
            DeviceKind::Plain
        } else if (device / self.gateway_every).is_multiple_of(2) {
            DeviceKind::WithSensor
        } else {
            DeviceKind::WithRelay
        }
    }

    /// The members of a device that send.
    pub fn senders(&self, device: u32) -> impl Iterator<Item = Member> + use<> {
        let (own, module) = match self.kind(device) {
            DeviceKind::Plain => (true, None),
            DeviceKind::WithSensor => (true, Some(Module::Sensor)),
            DeviceKind::WithRelay => (false, Some(Module::Relay)),
        };
        own.then_some(Member::device(device))
            .into_iter()
            .chain(module.map(|module| Member { device, module: Some(module) }))
    }

    /// The device id.
    pub fn device_id(&self, device: u32) -> String {
        match self.kind(device) {
            DeviceKind::Plain => format!("sensor-{device:05}"),
            DeviceKind::WithSensor | DeviceKind::WithRelay => format!("gateway-{device:05}"),
        }
    }

    /// The watched member behind these ids, if there is one.
    pub fn find(&self, device_id: &str, module_id: Option<&str>) -> Option<Member> {
        let device: u32 = device_id.rsplit_once('-')?.1.parse().ok()?;
        if device >= self.devices || self.device_id(device) != device_id {
            return None;
        }
        match module_id {
            None => Some(Member::device(device)),
            Some(id) => self
                .senders(device)
                .find(|member| member.module == Some(Module::Sensor))
                .filter(|_| id == Module::Sensor.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROSTER: Roster = Roster { devices: 40, gateway_every: 10 };

    #[test]
    fn every_watched_member_is_found_by_its_ids_and_nobody_else() {
        for device in 0..ROSTER.devices {
            let id = ROSTER.device_id(device);
            assert_eq!(ROSTER.find(&id, None), Some(Member::device(device)));
            assert_eq!(ROSTER.find(&id, Some("relay")), None);
            assert_eq!(
                ROSTER.find(&id, Some("sensor")).is_some(),
                ROSTER.kind(device) == DeviceKind::WithSensor
            );
        }
        for stranger in ["sensor-00040", "sensor-1", "gateway-00001", "", "x", "-0"] {
            assert_eq!(ROSTER.find(stranger, None), None, "{stranger}");
        }
    }

    #[test]
    fn one_device_in_ten_is_a_gateway_and_every_second_of_them_only_relays() {
        let gateways: Vec<_> = (0..40)
            .filter(|&device| ROSTER.kind(device) != DeviceKind::Plain)
            .map(|device| (device, ROSTER.kind(device)))
            .collect();
        assert_eq!(
            gateways,
            [
                (9, DeviceKind::WithSensor),
                (19, DeviceKind::WithRelay),
                (29, DeviceKind::WithSensor),
                (39, DeviceKind::WithRelay)
            ]
        );
        assert_eq!(
            ROSTER.senders(19).collect::<Vec<_>>(),
            [Member { device: 19, module: Some(Module::Relay) }]
        );
    }
}
