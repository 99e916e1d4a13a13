//! `api`: the data of the fleet over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::section::Section;

/// Beside health and metrics.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// `api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Listener of `/api/v1`; a loopback address.
    pub listen: SocketAddr,
}

impl ApiConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let listen = section.address("listen", "127.0.0.1:8081 or [::1]:8081");
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            section.problem(
                "listen",
                Some(&address.to_string()),
                "is no loopback address, and the API asks nobody for a token: that comes with a later version",
                "listen on 127.0.0.1 or [::1], and let a proxy on this machine decide who may ask",
            );
        }
        Self { listen: listen.unwrap_or(DEFAULT_LISTEN) }
    }
}
