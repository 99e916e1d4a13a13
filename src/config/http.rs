//! `http`: health and metrics.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::problem::ConfigErrors;
use super::section::{Report, Section};
use super::yaml;

/// Loopback: nothing is open to a network that nobody asked for.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Listener of `/livez`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

impl HttpConfig {
    /// Reads this section of a configuration file and nothing else of it: no secret, and no mistake elsewhere, counts.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let errors = |problems| ConfigErrors { file: path.to_owned(), problems };
        let tree = yaml::read_file(path).map_err(|problem| errors(vec![problem]))?;
        let report = Report::default();
        let http = Section::read(&report, String::new(), &tree, |root| {
            root.accept_all_keys();
            root.child("http", Self::read)
        });
        let problems = report.problems.into_inner();
        if problems.is_empty() { Ok(http) } else { Err(errors(problems)) }
    }

    pub(super) fn read(section: &Section<'_>) -> Self {
        let listen = section.address("listen", "127.0.0.1:8080 or [::]:8080");
        Self { listen: listen.unwrap_or(DEFAULT_LISTEN) }
    }
}
