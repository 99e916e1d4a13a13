//! `sources`: where messages come from.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::section::Section;
use crate::engine::Timestamp;
use crate::wire::{EventTimeFrom, HubName};

mod amqp091;
mod amqp10;
mod event_hubs;
mod mapping;

pub use amqp10::Amqp10Config;
pub use amqp091::{Amqp091Config, QueueType};
pub use event_hubs::{EventHubsAuth, EventHubsConfig, Transport};

/// The longest name of a hub ("IoT Hub naming": 3 to 50 characters).
const MAX_HUB_NAME: usize = 50;

/// One source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Unique.
    pub name: Arc<str>,
    /// Whose devices these are.
    pub hub: HubName,
    /// The kind and its settings.
    pub kind: SourceKind,
}

/// The kinds of source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// An event hub, or IoT Hub's built-in endpoint.
    EventHubs(EventHubsConfig),
    /// An AMQP 1.0 queue.
    Amqp10(Amqp10Config),
    /// An AMQP 0-9-1 queue or stream.
    Amqp091(Amqp091Config),
    /// Recorded messages.
    File(FileConfig),
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest message.
    Earliest,
    /// Only new ones.
    Latest,
    /// From this append time.
    At(Timestamp),
}

/// `type: file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// The recording; `-` is standard input.
    pub path: PathBuf,
    /// What dates a message.
    pub event_time: EventTimeFrom,
}

impl SourceConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let name = section.required_text("name", "give the source a name that no other has");
        let hub = read_hub(section);
        let kind = SourceKind::read(section);
        Some(Self { name: name?.into(), hub: hub?, kind: kind? })
    }
}

/// The words of `type`.
#[derive(Clone, Copy)]
enum Type {
    EventHubs,
    Amqp10,
    Amqp091,
    File,
}

impl SourceKind {
    fn read(section: &Section<'_>) -> Option<Self> {
        section.require("type", "write event_hubs, amqp10, amqp091 or file");
        let kind = section.choice(
            "type",
            &[
                ("event_hubs", Type::EventHubs),
                ("amqp10", Type::Amqp10),
                ("amqp091", Type::Amqp091),
                ("file", Type::File),
            ],
        );
        match kind {
            None => {
                section.accept_all_keys();
                None
            }
            Some(Type::EventHubs) => EventHubsConfig::read(section).map(Self::EventHubs),
            Some(Type::Amqp10) => Amqp10Config::read(section).map(Self::Amqp10),
            Some(Type::Amqp091) => Amqp091Config::read(section).map(Self::Amqp091),
            Some(Type::File) => FileConfig::read(section).map(Self::File),
        }
    }
}

impl FileConfig {
    fn read(section: &Section<'_>) -> Option<Self> {
        let path = section.required_text("path", "name the recording; - is standard input");
        let event_time = read_event_time(
            section,
            &[
                ("stamps", EventTimeFrom::Stamps),
                ("trusted_header", EventTimeFrom::TrustedHeader),
                ("receipt", EventTimeFrom::Receipt),
            ],
            EventTimeFrom::Stamps,
        );
        let path = match path? {
            "-" => PathBuf::from("-"),
            path => section.resolve(path),
        };
        Some(Self { path, event_time })
    }
}

fn read_hub(section: &Section<'_>) -> Option<HubName> {
    match (section.text("hub"), section.text("hub_property")) {
        (Some(hub), None) => {
            if hub.len() > MAX_HUB_NAME || !hub.bytes().all(|b| b.is_ascii_graphic()) {
                section.problem(
                    "hub",
                    Some(hub),
                    "can't be the name of a hub",
                    "write the name of the IoT Hub without .azure-devices.net: up to 50 characters",
                );
                return None;
            }
            Some(HubName::Fixed(Arc::from(hub.to_ascii_lowercase())))
        }
        (None, Some(property)) => Some(HubName::Property(property.to_owned())),
        (Some(_), Some(_)) => {
            section.problem(
                "hub_property",
                None,
                "stands beside hub",
                "keep hub if all devices are of one hub, else hub_property",
            );
            None
        }
        (None, None) => {
            let given = section.has("hub") || section.has("hub_property");
            if !given {
                section.problem(
                    "hub",
                    None,
                    "is missing",
                    "name the IoT Hub whose devices these are, or with hub_property the property that names it",
                );
            }
            None
        }
    }
}

/// `start`: where to begin if no position is stored.
fn read_start(section: &Section<'_>) -> Start {
    match section.text("start") {
        None | Some("earliest") => Start::Earliest,
        Some("latest") => Start::Latest,
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Start::At(Timestamp::from_ms(time.as_millisecond())),
            Err(_) => {
                section.problem(
                    "start",
                    Some(text),
                    "is neither a word that is known nor a time",
                    "write earliest, latest or an RFC 3339 time such as 2026-01-31T06:00:00Z",
                );
                Start::Earliest
            }
        },
    }
}

fn read_event_time(
    section: &Section<'_>,
    choices: &[(&'static str, EventTimeFrom)],
    default: EventTimeFrom,
) -> EventTimeFrom {
    section.choice("event_time", choices).unwrap_or(default)
}

/// Whether it names this machine: what is sent there is not on any wire.
fn is_loopback(url: &url::Url) -> bool {
    match url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')) {
        Some("localhost") => true,
        Some(host) => host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// The URI of a broker from the file under `uri_file`. `amqp://` is for this machine, or where `allow_plaintext` is set.
fn read_uri(section: &Section<'_>) -> Option<SecretString> {
    use secrecy::ExposeSecret;

    let remedy = "name a file with amqps://user:password@host:port/vhost";
    let plaintext = section.flag("allow_plaintext");
    let uri = section.required_secret("uri_file", remedy)?;
    let fault = match url::Url::parse(uri.expose_secret()) {
        Err(_) => Some("the file holds no URI"),
        Ok(url) if !matches!(url.scheme(), "amqp" | "amqps") => {
            Some("the URI in the file begins with neither amqp:// nor amqps://")
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => {
            Some("the URI in the file has no host")
        }
        Ok(url) if url.scheme() == "amqp" && !plaintext && !is_loopback(&url) => Some(
            "the URI in the file would send password and messages unencrypted (allow_plaintext: true says that the network is trusted)",
        ),
        Ok(_) => None,
    };
    match fault {
        Some(wrong) => {
            section.problem("uri_file", section.text("uri_file"), wrong, remedy);
            None
        }
        None => Some(uri),
    }
}
