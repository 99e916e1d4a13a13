//! From an IoT Hub to its event hub: the hub answers a receiver of its events with `amqp:link:redirect` (OASIS AMQP 1.0,
//! part 2, section 2.8.18; Microsoft: "Read device-to-cloud messages from the built-in endpoint").

use std::time::Duration;

use fe2o3_amqp::Receiver;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::Data;
use tokio::time::timeout;

use super::connection_string::Endpoint;
use crate::source::amqp_link::DATA_LINK_PREFIX;
use crate::source::amqp_link::link_error::LinkError;

/// The events of an IoT Hub.
const EVENTS: &str = "messages/events/";
/// Where a redirect may lead: the key of the hub's policy is used there. Public cloud, China, US government.
const TRUSTED_SUFFIXES: [&str; 3] =
    [".servicebus.windows.net", ".servicebus.chinacloudapi.cn", ".servicebus.usgovcloudapi.net"];
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the IoT Hub at the other end of `session` where its event hub is.
pub(super) async fn resolve(
    session: &mut SessionHandle<()>,
    hub: &Endpoint,
) -> Result<(Endpoint, String), LinkError> {
    let attached = async {
        let mut receiver = Receiver::builder()
            .name(format!("{DATA_LINK_PREFIX}events"))
            .source(EVENTS)
            .attach(session)
            .await?;
        receiver.recv::<Data>().await?;
        Ok::<_, LinkError>(())
    };
    match timeout(TIMEOUT, attached).await {
        Err(_) => Err(LinkError::Timeout("the IoT Hub's redirect")),
        Ok(Ok(())) => {
            Err(LinkError::Ended("the IoT Hub sent a message instead of a redirect".to_owned()))
        }
        Ok(Err(LinkError::Refused { condition, info, .. }))
            if condition == "amqp:link:redirect" =>
        {
            follow(&info, hub)
        }
        Ok(Err(error)) => Err(error),
    }
}

/// PURE. Endpoint and entity of a redirect, if it may be followed.
fn follow(info: &[(String, String)], hub: &Endpoint) -> Result<(Endpoint, String), LinkError> {
    let text =
        |key: &str| info.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let unusable = |what: &str| LinkError::Ended(format!("the IoT Hub's redirect {what}"));
    let host =
        text("hostname").or_else(|| text("network-host")).unwrap_or_default().to_ascii_lowercase();
    let endpoint = Endpoint {
        port: match hub.emulator {
            true => text("port").and_then(|port| port.parse().ok()),
            false => None,
        },
        emulator: hub.emulator,
        host,
    };
    let trusted = TRUSTED_SUFFIXES
        .iter()
        .any(|suffix| endpoint.host.strip_suffix(suffix).is_some_and(|name| !name.is_empty()));
    let allowed = if hub.emulator { endpoint.is_loopback() } else { trusted };
    if !allowed {
        return Err(unusable(&format!(
            "leads to {:?}, which is no Event Hubs host; the key was not sent there",
            endpoint.host
        )));
    }
    let address = text("address").ok_or_else(|| unusable("has no address"))?;
    let path = address
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(address, |(_, path)| path);
    let entity = path.split('/').next().unwrap_or_default();
    if entity.is_empty() || entity.starts_with('$') {
        return Err(unusable("names no event hub"));
    }
    Ok((endpoint, entity.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(emulator: bool) -> Endpoint {
        Endpoint { host: "example-hub.azure-devices.net".into(), port: None, emulator }
    }

    fn info(host: &str, address: &str) -> Vec<(String, String)> {
        [("hostname", host), ("port", "5671"), ("address", address)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec()
    }

    #[test]
    fn a_redirect_to_an_event_hubs_host_gives_host_and_entity() {
        let host = "ns-1.servicebus.windows.net";
        for address in [
            "amqps://ns-1.servicebus.windows.net:5671/hub-1/$management",
            "amqps://ns-1.servicebus.windows.net:5671/hub-1/",
        ] {
            let (endpoint, entity) = follow(&info(host, address), &hub(false)).unwrap();
            assert_eq!((endpoint.host.as_str(), entity.as_str()), (host, "hub-1"));
            assert_eq!(endpoint.tcp_port(), 5671);
        }
    }

    #[test]
    fn a_redirect_elsewhere_is_refused_before_any_secret_is_sent() {
        for host in [
            "evil.example.net",
            "servicebus.windows.net.evil.example.net",
            ".servicebus.windows.net",
            "evilservicebus.windows.net",
            "127.0.0.1",
        ] {
            let error = follow(&info(host, "amqps://x/hub"), &hub(false)).unwrap_err();
            assert!(error.to_string().contains("the key was not sent"), "{host}");
        }
        assert!(follow(&info("127.0.0.1", "amqp://x/hub"), &hub(true)).is_ok());
        assert!(follow(&info("ns.servicebus.windows.net", "amqps://x/h"), &hub(true)).is_err());
    }

    #[test]
    fn a_redirect_without_an_event_hub_is_refused() {
        let host = "ns.servicebus.windows.net";
        for address in ["amqps://h:5671/$management", "amqps://h:5671/", ""] {
            assert!(follow(&info(host, address), &hub(false)).is_err());
        }
    }
}
