//! PURE. Connection strings of Event Hubs and of an IoT Hub's service policies.

use std::fmt;
use std::net::IpAddr;

use secrecy::SecretString;

/// AMQP over TLS (Microsoft: "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide").
const TLS_PORT: u16 = 5671;
/// AMQP without TLS: the development emulator only.
const PLAIN_PORT: u16 = 5672;
/// AMQP over WebSocket.
const WEBSOCKET_PORT: u16 = 443;

/// A connection string, taken apart.
#[derive(Clone)]
pub struct ConnectionString {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// Name of the policy.
    pub key_name: String,
    /// Its key, as written.
    pub key: SecretString,
    /// What stands behind the host.
    pub target: Target,
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString")
            .field("endpoint", &self.endpoint)
            .field("key_name", &self.key_name)
            .field("key", &"[redacted]")
            .field("target", &self.target)
            .finish()
    }
}

/// A host and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name, lower-case, or an address without brackets.
    pub host: String,
    /// TCP port, where one is given.
    pub port: Option<u16>,
    /// `UseDevelopmentEmulator=true`: plain TCP, loopback only.
    pub emulator: bool,
}

/// What a connection string leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This event hub.
    EventHub(String),
    /// An IoT Hub: its event hub is found by a redirect.
    IotHub,
}

/// Why a connection string can't be used. Never contains a value of it other than the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part without `=`.
    #[error("the connection string has a part that is not KEY=VALUE; copy it whole, on one line")]
    NotPairs,
    /// A key twice.
    #[error("the connection string has {0} twice; keep one")]
    Twice(&'static str),
    /// A key that has to be there.
    #[error(
        "the connection string has no {0}; copy it from the policy that has the Listen (event hub) or ServiceConnect (IoT Hub) right"
    )]
    Missing(&'static str),
    /// Both forms, or neither.
    #[error(
        "the connection string needs either Endpoint=sb://... (event hub) or HostName=... (IoT Hub)"
    )]
    NeitherForm,
    /// The endpoint is no address.
    #[error("the connection string's Endpoint is not of the form sb://HOST[:PORT]/")]
    BadEndpoint,
    /// The key of an IoT Hub policy is base64.
    #[error("the connection string's SharedAccessKey is not base64, as the keys of an IoT Hub are")]
    BadKey,
    /// The emulator elsewhere than on this machine.
    #[error(
        "UseDevelopmentEmulator=true means no TLS and is refused for {0}, which is not a loopback address; remove it"
    )]
    EmulatorNotLocal(String),
}

/// The parts that are known. Others (`TransportType`, `OperationTimeout`) are ignored, as the vendor's clients do.
#[derive(Default)]
struct Parts<'a> {
    endpoint: Option<&'a str>,
    host_name: Option<&'a str>,
    key_name: Option<&'a str>,
    key: Option<&'a str>,
    entity: Option<&'a str>,
    emulator: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self::default();
        for part in text.trim().split(';').map(str::trim) {
            if part.is_empty() {
                continue;
            }
            let (key, value) = part.split_once('=').ok_or(ConnectionStringError::NotPairs)?;
            let (slot, name) = match key.trim().to_ascii_lowercase().as_str() {
                "endpoint" => (&mut parts.endpoint, "Endpoint"),
                "hostname" => (&mut parts.host_name, "HostName"),
                "sharedaccesskeyname" => (&mut parts.key_name, "SharedAccessKeyName"),
                "sharedaccesskey" => (&mut parts.key, "SharedAccessKey"),
                "entitypath" => (&mut parts.entity, "EntityPath"),
                "usedevelopmentemulator" => (&mut parts.emulator, "UseDevelopmentEmulator"),
                _ => continue,
            };
            if slot.replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Twice(name));
            }
        }
        Ok(parts)
    }
}

impl ConnectionString {
    /// Reads either form. Keys compare without case.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let parts = Parts::split(text)?;
        let emulator = parts.emulator.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let (endpoint, target) = match (parts.endpoint, parts.host_name) {
            (Some(endpoint), None) => {
                let entity = parts
                    .entity
                    .filter(|entity| !entity.is_empty())
                    .ok_or(ConnectionStringError::Missing("EntityPath"))?;
                (Endpoint::parse(endpoint, emulator)?, Target::EventHub(entity.to_owned()))
            }
            (None, Some(host)) => (Endpoint::parse(host, emulator)?, Target::IotHub),
            (Some(_), Some(_)) | (None, None) => return Err(ConnectionStringError::NeitherForm),
        };
        let key = parts
            .key
            .filter(|key| !key.is_empty())
            .ok_or(ConnectionStringError::Missing("SharedAccessKey"))?;
        if target == Target::IotHub && super::sas::decode_key(key).is_none() {
            return Err(ConnectionStringError::BadKey);
        }
        Ok(Self {
            endpoint,
            key_name: parts
                .key_name
                .filter(|name| !name.is_empty())
                .ok_or(ConnectionStringError::Missing("SharedAccessKeyName"))?
                .to_owned(),
            key: SecretString::from(key.to_owned()),
            target,
        })
    }
}

impl Endpoint {
    fn parse(text: &str, emulator: bool) -> Result<Self, ConnectionStringError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("sb", text));
        if !["sb", "amqps", "amqp"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(ConnectionStringError::BadEndpoint);
        }
        let authority = rest.trim_end_matches('/');
        let (host, port) = split_port(authority)?;
        if host.is_empty()
            || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b))
        {
            return Err(ConnectionStringError::BadEndpoint);
        }
        let endpoint = Self { host: host.to_ascii_lowercase(), port, emulator };
        if emulator && !endpoint.is_loopback() {
            return Err(ConnectionStringError::EmulatorNotLocal(endpoint.host));
        }
        Ok(endpoint)
    }

    /// Port of AMQP over TCP.
    pub fn tcp_port(&self) -> u16 {
        let standard = if self.emulator { PLAIN_PORT } else { TLS_PORT };
        self.port.unwrap_or(standard)
    }

    /// Port of AMQP over WebSocket.
    pub fn websocket_port(&self) -> u16 {
        self.port.unwrap_or(WEBSOCKET_PORT)
    }

    /// Whether the host can only be this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), ConnectionStringError> {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .map(Some)
            .ok_or(ConnectionStringError::BadEndpoint)
    };
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(ConnectionStringError::BadEndpoint)?;
        return match rest.strip_prefix(':') {
            Some(text) => Ok((host, port(text)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(ConnectionStringError::BadEndpoint),
        };
    }
    match authority.split_once(':') {
        Some((host, text)) => Ok((host, port(text)?)),
        None => Ok((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==";

    #[test]
    fn the_built_in_endpoint_is_reached_over_tls() {
        let parsed = ConnectionString::parse(&format!(
            "Endpoint=sb://Example-NS.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey={KEY};EntityPath=example-hub\n"
        ))
        .unwrap();
        assert_eq!(
            parsed.endpoint,
            Endpoint {
                host: "example-ns.servicebus.windows.net".into(),
                port: None,
                emulator: false
            }
        );
        assert_eq!(parsed.endpoint.tcp_port(), 5671);
        assert_eq!(parsed.endpoint.websocket_port(), 443);
        assert_eq!(parsed.target, Target::EventHub("example-hub".into()));
        assert_eq!(parsed.key_name, "service");
    }

    #[test]
    fn an_iot_hub_service_policy_is_told_apart() {
        let parsed = ConnectionString::parse(&format!(
            "HostName=example-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}"
        ))
        .unwrap();
        assert_eq!(parsed.target, Target::IotHub);
        assert_eq!(parsed.endpoint.tcp_port(), 5671);
    }

    #[test]
    fn the_emulator_uses_the_endpoints_port_without_tls_and_only_on_this_machine() {
        let text = |host: &str| {
            format!(
                "Endpoint=sb://{host};SharedAccessKeyName=a;SharedAccessKey=b;EntityPath=c;UseDevelopmentEmulator=true"
            )
        };
        for (host, expected, port) in [
            ("127.0.0.1:41234", "127.0.0.1", 41_234),
            ("localhost", "localhost", 5_672),
            ("[::1]:9", "::1", 9),
        ] {
            let endpoint = ConnectionString::parse(&text(host)).unwrap().endpoint;
            assert_eq!((endpoint.host.as_str(), endpoint.tcp_port()), (expected, port));
            assert!(endpoint.emulator);
        }
        for host in ["10.0.0.1", "example.net", "localhost.example.net"] {
            assert_eq!(
                ConnectionString::parse(&text(host)).unwrap_err(),
                ConnectionStringError::EmulatorNotLocal(host.to_owned())
            );
        }
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        use ConnectionStringError as E;
        for (text, error) in [
            ("nonsense", E::NotPairs),
            ("SharedAccessKeyName=a;SharedAccessKey=b", E::NeitherForm),
            ("Endpoint=sb://h/;HostName=h;SharedAccessKey=b", E::NeitherForm),
            ("Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=b", E::Missing("EntityPath")),
            ("Endpoint=sb://h/;EntityPath=e;SharedAccessKey=b", E::Missing("SharedAccessKeyName")),
            ("Endpoint=sb://h/;EntityPath=e;SharedAccessKeyName=a", E::Missing("SharedAccessKey")),
            (
                "Endpoint=http://h/;EntityPath=e;SharedAccessKeyName=a;SharedAccessKey=b",
                E::BadEndpoint,
            ),
            (
                "Endpoint=sb://h:0/;EntityPath=e;SharedAccessKeyName=a;SharedAccessKey=b",
                E::BadEndpoint,
            ),
            (
                "Endpoint=sb://h/x?y;EntityPath=e;SharedAccessKeyName=a;SharedAccessKey=b",
                E::BadEndpoint,
            ),
            ("EntityPath=a;EntityPath=b", E::Twice("EntityPath")),
            ("HostName=h;SharedAccessKeyName=a;SharedAccessKey=!!", E::BadKey),
        ] {
            assert_eq!(ConnectionString::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn debug_and_errors_never_show_the_key() {
        let parsed = ConnectionString::parse(
            "Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=hidden-key;EntityPath=e",
        )
        .unwrap();
        assert!(!format!("{parsed:?}").contains("hidden-key"));
        let error =
            ConnectionString::parse("HostName=h;SharedAccessKeyName=a;SharedAccessKey=hidden-key!");
        assert!(!format!("{error:?}").contains("hidden-key"));
    }
}
