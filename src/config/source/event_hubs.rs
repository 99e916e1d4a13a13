//! `type: event_hubs`.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Start, read_start};
use crate::config::section::Section;

/// What a hub has if nobody made another.
const DEFAULT_CONSUMER_GROUP: &str = "$Default";
/// About a second of a partition at the rate of one throughput unit ("Event Hubs quotas": 1,000 events a second).
const DEFAULT_CREDIT: u32 = 1_000;
/// With messages of 1 KiB about 10 MiB in flight for a partition.
const MAX_CREDIT: i64 = 10_000;

/// `type: event_hubs`.
#[derive(Clone, Debug)]
pub struct EventHubsConfig {
    /// Content of `connection_string_file`: an Event Hubs or an IoT Hub service connection string.
    pub connection_string: SecretString,
    /// Consumer group.
    pub consumer_group: String,
    /// Where to begin if no position is stored.
    pub start: Start,
    /// How to connect.
    pub transport: Transport,
    /// How to authenticate.
    pub auth: EventHubsAuth,
    /// `com.microsoft:epoch`: exclusive receiver of that level; `None`: not exclusive.
    pub owner_level: Option<i64>,
    /// Link credit (messages in flight per partition).
    pub credit: u32,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// How to connect to an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS on port 5671 (plain TCP for the development emulator).
    Tcp,
    /// AMQP over WebSocket, port 443.
    WebSocket {
        /// HTTP CONNECT proxy.
        proxy: Option<Url>,
    },
}

/// How to authenticate at an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventHubsAuth {
    /// SASL ANONYMOUS, then CBS put-token with a SAS token made from the key.
    CbsSas,
    /// SASL PLAIN with the key's name and the key.
    Plain,
    /// SASL ANONYMOUS, then CBS put-token of type `jwt`, read from a file again at every renewal.
    CbsJwt {
        /// The file with the token.
        token_file: PathBuf,
    },
}

impl EventHubsConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let connection_string = read_connection_string(section);
        let consumer_group = section.text("consumer_group").unwrap_or(DEFAULT_CONSUMER_GROUP);
        let start = read_start(section);
        let transport = read_transport(section);
        let auth = read_auth(section);
        let owner_level = section.number("owner_level", 0..=i64::MAX);
        let credit = section.number("credit", 1..=MAX_CREDIT);
        let ca_file = section.ca_file();
        Some(Self {
            connection_string: connection_string?,
            consumer_group: consumer_group.to_owned(),
            start,
            transport: transport?,
            auth: auth?,
            owner_level,
            credit: credit.and_then(|credit| u32::try_from(credit).ok()).unwrap_or(DEFAULT_CREDIT),
            ca_file,
        })
    }
}

/// Policies that may do everything, made with every namespace and every hub.
const OWNER_POLICIES: [&str; 2] = ["RootManageSharedAccessKey", "iothubowner"];

fn read_connection_string(section: &Section<'_>) -> Option<SecretString> {
    const KEY: &str = "connection_string_file";
    let text = section.required_secret(KEY, "name a file with the connection string")?;
    let parts: Vec<(&str, &str)> =
        text.expose_secret().split(';').filter_map(|part| part.trim().split_once('=')).collect();
    let value_of = |name: &str| {
        let found = parts.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    };
    if value_of("SharedAccessKeyName").is_some_and(|policy| OWNER_POLICIES.contains(&policy)) {
        section.warn(
            KEY,
            "its policy may do everything: use one with Listen only (IoT Hub: service connect)",
        );
    }
    if value_of("Endpoint").or(value_of("HostName")).is_some() {
        return Some(text);
    }
    section.problem(
        KEY,
        section.text(KEY),
        "the file holds no connection string: neither Endpoint= nor HostName= is in it",
        "copy it from the portal: Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...;EntityPath=...",
    );
    None
}

fn read_transport(section: &Section<'_>) -> Option<Transport> {
    let websocket = section.choice("transport", &[("tcp", false), ("websocket", true)]);
    let proxy = section.text("proxy");
    match (websocket.unwrap_or(false), proxy) {
        (false, None) => Some(Transport::Tcp),
        (false, Some(_)) => {
            section.problem(
                "proxy",
                None,
                "is used only with transport: websocket",
                "set transport: websocket or remove it",
            );
            None
        }
        (true, None) => Some(Transport::WebSocket { proxy: None }),
        (true, Some(text)) => {
            let proxy = read_proxy(section, text)?;
            Some(Transport::WebSocket { proxy: Some(proxy) })
        }
    }
}

fn read_proxy(section: &Section<'_>, text: &str) -> Option<Url> {
    let usable = Url::parse(text).ok().filter(|url| {
        url.scheme() == "http"
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
    });
    if usable.is_none() {
        section.problem(
            "proxy",
            None,
            "is no address of an HTTP proxy",
            "write http://host:port, without user and password",
        );
    }
    usable
}

/// The words of `auth`.
#[derive(Clone, Copy, PartialEq)]
enum Auth {
    Sas,
    Plain,
    Entra,
}

fn read_auth(section: &Section<'_>) -> Option<EventHubsAuth> {
    let words = [("sas", Auth::Sas), ("plain", Auth::Plain), ("entra", Auth::Entra)];
    let auth = section.choice("auth", &words).unwrap_or(Auth::Sas);
    if auth != Auth::Entra && section.has("token_file") {
        section.problem(
            "token_file",
            None,
            "is used only with auth: entra",
            "set auth: entra or remove it",
        );
    }
    match auth {
        Auth::Sas => Some(EventHubsAuth::CbsSas),
        Auth::Plain => Some(EventHubsAuth::Plain),
        Auth::Entra => {
            let remedy = "name the file that the workload identity's token is kept in";
            let token_file = section.later_file("token_file", remedy)?;
            Some(EventHubsAuth::CbsJwt { token_file })
        }
    }
}
