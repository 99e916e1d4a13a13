//! The client library that the service uses.

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::ReceiverAttachError;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use fe2o3_amqp_types::definitions::{Fields, SenderSettleMode};
use fe2o3_amqp_types::messaging::annotations::AnnotationKey;
use fe2o3_amqp_types::messaging::{Body, Message, MessageAnnotations, Source};
use fe2o3_amqp_types::primitives::Value as StockValue;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::Symbol;

use super::*;

struct Stock {
    connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
}

async fn stock(served: &Served) -> Stock {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut connection = Connection::builder()
        .container_id("stock")
        .hostname("127.0.0.1")
        .sasl_profile(SaslProfile::Plain { username: "reader".into(), password: "key".into() })
        .open_with_stream(stream)
        .await
        .unwrap();
    let session = Session::begin(&mut connection).await.unwrap();
    Stock { connection, session }
}

async fn receiver(
    stock: &mut Stock,
    name: &str,
    address: &str,
    epoch: i64,
) -> Result<Receiver, ReceiverAttachError> {
    let filter = Described {
        descriptor: Descriptor::Code(0x0000_468c_0000_0004),
        value: StockValue::String("amqp.annotation.x-opt-offset > '-1'".into()),
    };
    let source = Source::builder()
        .address(address)
        .add_to_filter("apache.org:selector-filter:string", filter)
        .build();
    let mut properties = Fields::new();
    properties.insert(Symbol::from("com.microsoft:epoch"), StockValue::Long(epoch));
    Receiver::builder()
        .name(name)
        .source(source)
        .sender_settle_mode(SenderSettleMode::Settled)
        .properties(properties)
        .attach(&mut stock.session)
        .await
}

#[tokio::test]
async fn it_sends_for_a_device_receives_closes_and_is_not_left_waiting_by_a_refusal() {
    let served = serve().await;
    let mut stock = stock(&served).await;
    let mut sender = Sender::attach(&mut stock.session, "s", "eh1/Partitions/0").await.unwrap();
    let message = Message::builder()
        .message_annotations(
            MessageAnnotations::builder()
                .insert(Symbol::from("x-opt-partition-key"), "pump-01")
                .build(),
        )
        .data(b"beat".to_vec())
        .build();
    sender.send(message).await.unwrap();

    let refused = receiver(&mut stock, "nowhere", "eh2", 0).await;
    assert!(matches!(refused, Err(ReceiverAttachError::RemoteClosedWithError(_))));
    // The library answers a refusal twice, and the second detach may hit the link that was given the handle next: after
    // a refused attach its session is of no more use.
    let refused_in = Session::begin(&mut stock.connection).await.unwrap();
    let mut refused_in = std::mem::replace(&mut stock.session, refused_in);
    let mut first = receiver(&mut stock, "first", PARTITION_0, 1).await.unwrap();
    let delivery = first.recv::<Body<StockValue>>().await.unwrap();
    let annotations = delivery.message().message_annotations.as_ref().unwrap();
    let name = Symbol::from("iothub-connection-device-id");
    let device = annotations.get(&name as &dyn AnnotationKey);
    assert_eq!(device, Some(&StockValue::String("pump-01".into())));

    let second = receiver(&mut stock, "second", PARTITION_0, 1).await.unwrap();
    let stolen = first.recv::<Body<StockValue>>().await.unwrap_err();
    assert!(format!("{stolen:?}").contains("Stolen"), "{stolen:?}");
    second.close().await.unwrap();
    sender.close().await.unwrap();
    refused_in.end().await.unwrap();
    stock.session.end().await.unwrap();
    stock.connection.close().await.unwrap();
}
