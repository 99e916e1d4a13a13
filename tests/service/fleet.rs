//! Devices that beat, and the record of what was really sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lastseen::clock;
use lastseen::devhub::hub::{DeviceMessage, Hub, HubOptions, connection_string};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::receiver::Receiver;
use super::{ALLOWANCE_MS, DUE_MS, INTERVAL};

/// An embedded hub behind a port, until dropped.
pub struct ServedHub {
    pub hub: Hub,
    pub connection_string: String,
    _stop: DropGuard,
}

impl ServedHub {
    pub async fn start(partitions: usize) -> Self {
        let options = HubOptions {
            name: "example-hub".into(),
            entity: "events".into(),
            partitions,
            retention_messages: 100_000,
            key_name: "service".into(),
            key: "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection_string = connection_string(&options, listener.local_addr().unwrap());
        let hub = Hub::new(options, clock::wall());
        let stop = CancellationToken::new();
        tokio::spawn(hub.clone().serve(listener, stop.clone()));
        Self { hub, connection_string, _stop: stop.drop_guard() }
    }

    /// One message of a device, if the hub takes it.
    pub fn beat(&self, device: &str, module: Option<&str>) -> Option<i64> {
        beat(&self.hub, device, module)
    }
}

fn beat(hub: &Hub, device: &str, module: Option<&str>) -> Option<i64> {
    let now = clock::wall();
    let message = DeviceMessage {
        device: device.to_owned(),
        module: module.map(str::to_owned),
        ..DeviceMessage::default()
    };
    hub.device_to_cloud(message, now).ok().map(|_| now.as_ms())
}

/// A fleet that beats into a hub, until dropped.
pub struct Fleet {
    devices: Arc<Mutex<BTreeMap<String, Device>>>,
    _stop: DropGuard,
}

#[derive(Clone, Copy, Debug, Default)]
struct Device {
    silent: bool,
    last_sent_ms: i64,
}

impl Fleet {
    pub fn start(hub: &Hub, names: impl IntoIterator<Item = String>) -> Self {
        let hub = hub.clone();
        Self::sending(names, move |device| beat(&hub, device, None))
    }

    /// A fleet that sends by other means: `send` gives the event time of what was accepted.
    pub fn sending(
        names: impl IntoIterator<Item = String>,
        send: impl Fn(&str) -> Option<i64> + Send + 'static,
    ) -> Self {
        let devices: BTreeMap<String, Device> =
            names.into_iter().map(|name| (name, Device::default())).collect();
        let devices = Arc::new(Mutex::new(devices));
        let stop = CancellationToken::new();
        let (driven, stopped) = (devices.clone(), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                for (name, device) in driven.lock().unwrap().iter_mut() {
                    if !device.silent
                        && let Some(sent_ms) = send(name)
                    {
                        device.last_sent_ms = sent_ms;
                    }
                }
            }
        }));
        Self { devices, _stop: stop.drop_guard() }
    }

    /// These devices send nothing from now on.
    pub fn silence(&self, names: &[&str]) {
        self.set(names, true);
    }

    pub fn revive(&self, names: &[&str]) {
        self.set(names, false);
    }

    fn set(&self, names: &[&str], silent: bool) {
        let mut devices = self.devices.lock().unwrap();
        for name in names {
            devices.get_mut(*name).expect("a device of the fleet").silent = silent;
        }
    }

    /// How long after its true deadline each flagged device was reported, ms, sorted.
    pub fn verdict_delays_ms(&self, receiver: &Receiver) -> Vec<i64> {
        let devices = self.devices.lock().unwrap();
        let delay = |(name, notice): (String, super::receiver::Notice)| {
            let device = devices.get(&name)?;
            Some(notice.received_ms - (device.last_sent_ms + DUE_MS))
        };
        let mut delays: Vec<i64> = receiver.flagged().into_iter().filter_map(delay).collect();
        delays.sort_unstable();
        delays
    }
}

/// No verdict may be early; and the last must come within allowance plus 700 ms.
pub fn assert_prompt(delays_ms: &[i64]) {
    assert!(!delays_ms.is_empty());
    assert!(delays_ms[0] >= 0, "early: {delays_ms:?}");
    let p99 = delays_ms[(delays_ms.len() * 99).div_ceil(100) - 1];
    assert!(p99 <= ALLOWANCE_MS + 700, "late: {delays_ms:?}");
}

pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:02}")).collect()
}

pub fn set(names: &[&str]) -> std::collections::BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
