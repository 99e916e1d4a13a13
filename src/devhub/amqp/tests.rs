//! Promises of the endpoint, seen by a client that speaks in frames.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::performative::{Performative, condition};
use super::*;
use crate::clock;
use crate::devhub::hub::{DeviceMessage, HubOptions};
use crate::devhub::value::Value;

mod faults;
mod peer;
mod stock_client;
mod transports;

use peer::{Attach, Peer};

/// A hub on a free port, until dropped.
struct Served {
    hub: Hub,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve_with(options: EndpointOptions) -> Served {
    let hub = Hub::new(
        HubOptions {
            name: "example-hub".into(),
            entity: "eh1".into(),
            partitions: 2,
            retention_messages: 200_000,
            key_name: "reader".into(),
            key: "key".into(),
        },
        clock::wall(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = hub.clone().serve_with(options, listener, stop.clone());
    tokio::spawn(serving);
    Served { hub, address, stop }
}

async fn serve() -> Served {
    serve_with(EndpointOptions::default()).await
}

impl Served {
    /// A heartbeat in partition 0.
    fn beat(&self) -> i64 {
        let device = (0..)
            .map(|n| format!("d{n}"))
            .find(|device| self.hub.partition_of(device) == 0)
            .unwrap();
        let message = DeviceMessage { device, ..DeviceMessage::default() };
        self.hub.device_to_cloud(message, clock::wall()).unwrap().1
    }

    async fn peer(&self) -> Peer<TcpStream> {
        Peer::plain(TcpStream::connect(self.address).await.unwrap()).await
    }

    async fn anonymous(&self) -> Peer<TcpStream> {
        Peer::anonymous(TcpStream::connect(self.address).await.unwrap()).await
    }
}

const PARTITION_0: &str = "eh1/ConsumerGroups/$Default/Partitions/0";

#[tokio::test]
async fn deliveries_stop_at_the_credit_and_are_settled_if_the_client_asks_for_it() {
    let served = serve().await;
    for _ in 0..5 {
        served.beat();
    }
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0).settled()).await;
    peer.credit(0, 0, 3).await;
    for n in 0..3 {
        let (fields, _) = peer.transfer().await;
        assert_eq!(fields.field(1), &Value::Uint(n));
        assert_eq!(fields.field(4), &Value::Bool(true));
    }
    // A flow with echo is answered behind whatever the hub would still send.
    let echoed = peer.echo(0, 3, 0).await;
    assert_eq!(echoed.field(5), &Value::Uint(3));
    peer.credit(0, 3, 10).await;
    assert_eq!(peer.transfer().await.0.field(1), &Value::Uint(3));
    assert_eq!(peer.transfer().await.0.field(1), &Value::Uint(4));
    assert_eq!(served.hub.counts().delivered, 5);
}

#[tokio::test]
async fn a_drained_link_gets_what_is_there_and_then_loses_its_credit() {
    let served = serve().await;
    served.beat();
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.drain(0, 0, 10).await;
    let (_, first) = peer.transfer().await;
    assert!(!first.is_empty());
    let drained = peer.expect(Performative::Flow).await;
    assert_eq!(drained.field(5), &Value::Uint(10));
    assert_eq!(drained.field(6), &Value::Uint(0));
    assert_eq!(drained.field(8), &Value::Bool(true));
}

#[tokio::test]
async fn raw_bytes_reach_the_reader_unchanged_also_if_they_need_several_frames() {
    let served = serve().await;
    let odd = Bytes::from_static(&[0x00, 0x53, 0x75, 0xff, 0x01]);
    let large: Bytes = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for bytes in [&odd, &large] {
        served.hub.send_raw(0, bytes.clone(), clock::wall()).unwrap();
    }
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(0, 0, 2).await;
    assert_eq!(peer.transfer().await.1, odd);
    assert_eq!(peer.transfer().await.1, large);
}

#[tokio::test]
async fn without_a_token_only_cbs_can_be_attached() {
    let served = serve().await;
    let mut peer = served.anonymous().await;
    for address in [PARTITION_0, "$management", "messages/events/"] {
        let refused = peer.refused(&Attach::receiver(address)).await;
        assert_eq!(refused.0, condition::UNAUTHORIZED, "{address}");
    }
    let refused = peer.refused(&Attach::sender("eh1")).await;
    assert_eq!(refused.0, condition::UNAUTHORIZED);
    let mut wrong_key = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(peer::sasl_plain(&mut wrong_key, "other").await, 1);
}

#[tokio::test]
async fn a_jwt_is_taken_only_if_it_is_the_one_of_the_options() {
    let served = serve_with(EndpointOptions {
        jwt: Some("header.claims.signature".into()),
        ..EndpointOptions::default()
    })
    .await;
    let mut peer = served.anonymous().await;
    let other = peer.put_token("jwt", "sb://h/eh1", "another").await;
    assert_eq!(other, 401);
    let own = peer.put_token("jwt", "sb://h/eh1", "header.claims.signature").await;
    assert_eq!(own, 202);
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    // The token is for eh1, so it opens nothing above it.
    let refused = peer.refused(&Attach::receiver("messages/events/")).await;
    assert_eq!(refused.0, condition::UNAUTHORIZED);
}

#[tokio::test]
async fn the_service_side_redirects_to_the_event_hub() {
    let served = serve().await;
    let mut peer = served.peer().await;
    let attach =
        Attach::receiver("amqps://example-hub.azure-devices.net/messages/events/$management");
    let (condition, error) = peer.refused(&attach).await;
    assert_eq!(condition, condition::REDIRECT);
    let info = error.field(2);
    let port = served.address.port();
    assert_eq!(info.entry("hostname").and_then(Value::text), Some("127.0.0.1"));
    assert_eq!(info.entry("port").and_then(Value::integer), Some(i64::from(port)));
    assert_eq!(
        info.entry("address").and_then(Value::text),
        Some(&*format!("amqps://127.0.0.1:{port}/eh1/$management"))
    );
}

#[tokio::test]
async fn a_position_of_another_stream_and_a_partition_that_is_not_there_are_refused() {
    let served = serve().await;
    served.beat();
    let mut peer = served.peer().await;
    let ahead = Attach::receiver(PARTITION_0).from("x-opt-sequence-number > '7'");
    let (condition, error) = peer.refused(&ahead).await;
    assert_eq!(condition, condition::ARGUMENT);
    assert_eq!(
        error.field(1).text(),
        Some(
            "The supplied sequence number '7' is invalid. The last sequence number in the system is '0'"
        )
    );
    let beyond = Attach::receiver("eh1/ConsumerGroups/$Default/Partitions/2");
    let (condition, _) = peer.refused(&beyond).await;
    assert_eq!(condition, condition::OUT_OF_RANGE);
}

#[tokio::test]
async fn a_producer_speaks_for_the_device_of_its_partition_key_and_not_for_the_one_in_its_properties()
 {
    let served = serve().await;
    let mut peer = served.peer().await;
    let sender = peer.attach(&Attach::sender("eh1/Partitions/0")).await;
    let annotation = |name: &str, value: &str| {
        let entry = (Value::symbol(name), Value::string(value));
        (0x72, Value::Map(vec![entry]))
    };
    let claim = (Value::string("deviceId"), Value::string("other"));
    let claim = (0x74, Value::Map(vec![claim]));
    let body = (0x75, Value::Binary(Bytes::from_static(b"beat")));
    let messages = [
        vec![annotation("x-opt-partition-key", "own"), claim.clone(), body.clone()],
        vec![claim.clone(), body.clone()],
        vec![annotation("x-opt-offset", "forged"), body.clone()],
    ];
    for message in &messages {
        let (descriptor, _) = peer.outcome(sender, message).await;
        assert_eq!(descriptor, Value::Ulong(performative::ACCEPTED));
    }
    let receiver = peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(receiver, 0, 3).await;
    let mut stamped = Vec::new();
    for _ in &messages {
        let message = message::Message::decode(peer.transfer().await.1).unwrap();
        let offset = message.annotations.entry("x-opt-offset").unwrap();
        assert_ne!(offset.text(), Some("forged"));
        let device = message.annotations.entry("iothub-connection-device-id");
        stamped.push(device.and_then(Value::text).map(str::to_owned));
        assert_eq!(message.data, [Bytes::from_static(b"beat")]);
    }
    assert_eq!(stamped, [Some("own".to_owned()), Some("other".to_owned()), None]);

    served.hub.faults().update(|f| f.refuse_devices = true);
    let (descriptor, error) = peer.outcome(sender, &messages[0]).await;
    assert_eq!(descriptor, Value::Ulong(performative::REJECTED));
    assert_eq!(error.as_deref(), Some(condition::SERVER_BUSY));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_with_a_close_that_says_so() {
    let served = serve().await;
    let mut peer = served.peer().await;
    peer.raw(&[0xff; 64]).await;
    let close = peer.expect(Performative::Close).await;
    let error = super::performative::inside(close.field(0));
    assert_eq!(error.field(0).text(), Some(condition::FRAMING));
    peer.gone().await;
    let deadline = tokio::time::timeout(Duration::from_secs(5), async {
        while served.hub.counts().open_connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    deadline.await.unwrap();
}

#[tokio::test]
async fn the_hub_does_not_listen_beyond_loopback() {
    let served = serve().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = served.hub.clone().serve(listener, CancellationToken::new()).await;
    assert!(matches!(refused, Err(ServeError::NotLoopback(_))));
}
