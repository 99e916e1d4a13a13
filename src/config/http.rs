//! `http`: health and metrics.

use std::net::{Ipv4Addr, SocketAddr};

use super::section::Section;

/// Loopback: nothing is open to a network that nobody asked for.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Listener of `/livez`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

impl HttpConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let listen = section.address("listen", "127.0.0.1:8080 or [::]:8080");
        Self { listen: listen.unwrap_or(DEFAULT_LISTEN) }
    }
}
