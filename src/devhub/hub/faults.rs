//! Faults on request: switches that take effect at once.

use tokio::sync::watch;

/// What is broken at the moment. All off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultState {
    /// The link is down: connections are cut and new ones are closed at once. Devices are not affected.
    pub link_down: bool,
    /// Receivers are given nothing; connections, heartbeats and `$management` go on.
    pub stop_delivering: bool,
    /// Connections stay open, but nothing is read from them and nothing is written.
    pub black_hole: bool,
    /// Tokens are answered with 401, PLAIN is refused, and connections that hold a token are closed as if it had expired.
    pub refuse_tokens: bool,
    /// `$management` answers with 503 (`com.microsoft:server-busy`).
    pub throttle_management: bool,
    /// The hub takes nothing from devices, and no change of the registry.
    pub refuse_devices: bool,
    /// A device that was never created can't send.
    pub refuse_unknown_devices: bool,
    /// Milliseconds from ingress to append: a message becomes visible that much later, in order.
    pub route_delay_ms: u32,
    /// Grows with every [`Faults::drop_connections`].
    pub cuts: u64,
}

/// Sets and reads the faults of a hub.
#[derive(Debug, Default)]
pub struct Faults {
    state: watch::Sender<FaultState>,
}

impl Faults {
    /// Changes switches: `hub.faults().update(|f| f.link_down = true)`.
    pub fn update(&self, change: impl FnOnce(&mut FaultState)) {
        self.state.send_modify(change);
    }

    /// Cuts every connection there is, without a word; new ones are accepted.
    pub fn drop_connections(&self) {
        self.update(|state| state.cuts += 1);
    }

    /// What is broken at the moment.
    pub fn state(&self) -> FaultState {
        *self.state.borrow()
    }

    pub(in crate::devhub) fn watch(&self) -> watch::Receiver<FaultState> {
        self.state.subscribe()
    }
}
