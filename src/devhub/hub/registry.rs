//! The identity registry: who may send, and in which generation.

use std::collections::HashMap;

use super::{HubError, RegistryChange};
use crate::engine::Timestamp;

/// The most identities: IoT Hub's own limit is 1,000,000 devices ("IoT Hub quotas and throttling"); as many modules.
const MAX_IDENTITIES: usize = 2_000_000;

/// Generations look like the service's: 18 decimal digits that grow.
const FIRST_GENERATION: u64 = 638_000_000_000_000_000;

/// 100 ns steps from the year 1601 to 1970, where the connection sequence counts from.
const FILETIME_EPOCH: i64 = 116_444_736_000_000_000;

/// What the registry knows.
#[derive(Debug, Default)]
pub(super) struct Registry {
    devices: HashMap<String, Device>,
    identities: usize,
    last_generation: u64,
    connection_ticks: i64,
    connection_events: u64,
}

#[derive(Debug, Default)]
struct Device {
    /// `None`: deleted.
    generation: Option<u64>,
    modules: HashMap<String, Option<u64>>,
}

impl Registry {
    /// The generation of an identity that may send. One that never was here is registered if `register` says so.
    pub(super) fn admit(
        &mut self,
        device: &str,
        module: Option<&str>,
        register: bool,
        now: Timestamp,
    ) -> Result<u64, HubError> {
        match self.find(device, module) {
            Entry::Live(generation) => Ok(generation),
            Entry::Deleted => Err(HubError::UnknownIdentity(device.to_owned())),
            Entry::Absent if register => {
                if module.is_some() && matches!(self.find(device, None), Entry::Absent) {
                    self.put(device, None, now)?;
                }
                self.put(device, module, now)
            }
            Entry::Absent => Err(HubError::UnknownIdentity(device.to_owned())),
        }
    }

    /// Applies a change.
    pub(super) fn change(
        &mut self,
        device: &str,
        module: Option<&str>,
        change: RegistryChange,
        now: Timestamp,
    ) -> Result<(), HubError> {
        match (change, self.find(device, module)) {
            (RegistryChange::Create, Entry::Live(_)) => {
                Err(HubError::AlreadyExists(name(device, module)))
            }
            (RegistryChange::Create, Entry::Deleted | Entry::Absent) => {
                if module.is_some() && !matches!(self.find(device, None), Entry::Live(_)) {
                    return Err(HubError::UnknownIdentity(device.to_owned()));
                }
                self.put(device, module, now).map(|_| ())
            }
            (RegistryChange::Delete, Entry::Live(_)) => {
                self.delete(device, module);
                Ok(())
            }
            (RegistryChange::Delete, Entry::Deleted | Entry::Absent) => {
                Err(HubError::UnknownIdentity(name(device, module)))
            }
        }
    }

    fn find(&self, device: &str, module: Option<&str>) -> Entry {
        let Some(found) = self.devices.get(device) else {
            return Entry::Absent;
        };
        let generation = match (module, found.generation) {
            (None, generation) => Some(generation),
            (Some(_), None) => Some(None),
            (Some(module), Some(_)) => found.modules.get(module).copied(),
        };
        match generation {
            None => Entry::Absent,
            Some(None) => Entry::Deleted,
            Some(Some(generation)) => Entry::Live(generation),
        }
    }

    fn put(&mut self, device: &str, module: Option<&str>, now: Timestamp) -> Result<u64, HubError> {
        if self.identities >= MAX_IDENTITIES {
            return Err(HubError::RegistryFull(MAX_IDENTITIES));
        }
        let ticks = u64::try_from(now.as_ms()).unwrap_or(0).saturating_mul(10);
        let generation = FIRST_GENERATION
            .saturating_add(ticks % 1_000_000_000_000_000)
            .max(self.last_generation + 1);
        self.last_generation = generation;
        let entry = self.devices.entry(device.to_owned()).or_default();
        let fresh = match module {
            None => entry.generation.replace(generation).is_none(),
            Some(module) => entry.modules.insert(module.to_owned(), Some(generation)).is_none(),
        };
        self.identities += usize::from(fresh);
        Ok(generation)
    }

    fn delete(&mut self, device: &str, module: Option<&str>) {
        let Some(found) = self.devices.get_mut(device) else {
            return;
        };
        match module {
            Some(module) => {
                found.modules.insert(module.to_owned(), None);
            }
            None => {
                found.generation = None;
                found.modules.values_mut().for_each(|module| *module = None);
            }
        }
    }

    /// 64 hexadecimal digits, above all earlier ones: a time, then a count.
    pub(super) fn next_connection_sequence(&mut self, now: Timestamp) -> String {
        let ticks = now.as_ms().saturating_mul(10_000).saturating_add(FILETIME_EPOCH);
        self.connection_ticks = self.connection_ticks.max(ticks);
        self.connection_events += 1;
        format!("{:016X}{:016X}{:08X}{:024X}", 0, self.connection_ticks, 1, self.connection_events)
    }
}

enum Entry {
    Live(u64),
    Deleted,
    Absent,
}

fn name(device: &str, module: Option<&str>) -> String {
    module.map_or_else(|| device.to_owned(), |module| format!("{device}/{module}"))
}
