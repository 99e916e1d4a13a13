//! Faults on request, as a client sees them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

fn sas(resource: &str, expires_s: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    mac.update(format!("{resource}\n{expires_s}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2B").replace('/', "%2F");
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires_s}&skn=reader")
}

const SAS: &str = "servicebus.windows.net:sastoken";

#[tokio::test]
async fn a_cut_ends_every_connection_and_a_new_one_reads_on() {
    let served = serve().await;
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    served.hub.faults().drop_connections();
    peer.gone().await;
    served.beat();
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(0, 0, 1).await;
    peer.transfer().await;
}

#[tokio::test]
async fn a_link_that_is_down_closes_new_connections_while_devices_go_on() {
    let served = serve().await;
    served.hub.faults().update(|f| f.link_down = true);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let mut nothing = [0; 1];
    // An orderly end, or a reset where the hub closed with our bytes unread.
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut nothing).await;
    assert!(read.map_or(true, |count| count == 0));
    served.beat();
    served.hub.faults().update(|f| f.link_down = false);
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(0, 0, 1).await;
    peer.transfer().await;
}

#[tokio::test]
async fn a_hub_that_stops_delivering_still_answers_and_then_delivers_what_waited() {
    let served = serve().await;
    served.hub.faults().update(|f| f.stop_delivering = true);
    let mut peer = served.peer().await;
    let receiver = peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(receiver, 0, 10).await;
    served.beat();
    let properties = [
        ("operation", "READ"),
        ("type", "com.microsoft:partition"),
        ("name", "eh1"),
        ("partition", "0"),
    ];
    let (status, body) = peer.request("$management", &properties, Value::Null).await;
    assert_eq!(status, 200);
    let last = body.entry("last_enqueued_sequence_number");
    assert_eq!(last, Some(&Value::Long(0)));
    peer.heartbeat().await;
    served.hub.faults().update(|f| f.stop_delivering = false);
    peer.transfer().await;
}

#[tokio::test]
async fn a_black_hole_swallows_everything_and_gives_it_back_when_it_ends() {
    let served = serve().await;
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    served.hub.faults().update(|f| f.black_hole = true);
    peer.credit(0, 0, 1).await;
    served.beat();
    let silence = tokio::time::timeout(Duration::from_millis(200), peer.transfer());
    assert!(silence.await.is_err());
    served.hub.faults().update(|f| f.black_hole = false);
    peer.transfer().await;
}

#[tokio::test]
async fn refused_tokens_answer_401_and_take_the_links_of_the_old_ones() {
    let served = serve().await;
    let mut peer = served.anonymous().await;
    let token = sas("sb://h/eh1", clock::wall().as_ms() / 1_000 + 600);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &token).await, 202);
    let receiver = peer.attach(&Attach::receiver(PARTITION_0)).await;
    served.hub.faults().update(|f| f.refuse_tokens = true);
    let (condition, _) = peer.detached(receiver).await;
    assert_eq!(condition, condition::UNAUTHORIZED);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &token).await, 401);
    served.hub.faults().update(|f| f.refuse_tokens = false);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &token).await, 202);
}

#[tokio::test]
async fn a_token_for_another_resource_or_past_its_time_is_refused_and_an_expiry_takes_the_link() {
    let served = serve().await;
    let mut peer = served.anonymous().await;
    let now_s = clock::wall().as_ms() / 1_000;
    let other = sas("sb://h/eh2", now_s + 600);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &other).await, 401);
    let old = sas("sb://h/eh1", now_s - 1);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &old).await, 401);
    let short = sas("sb://h/eh1", now_s + 4);
    assert_eq!(peer.put_token(SAS, "sb://h/eh1", &short).await, 202);
    let receiver = peer.attach(&Attach::receiver(PARTITION_0)).await;
    let (condition, _) = peer.detached(receiver).await;
    assert_eq!(condition, condition::UNAUTHORIZED);
}

#[tokio::test]
async fn throttled_management_answers_503() {
    let served = serve().await;
    served.hub.faults().update(|f| f.throttle_management = true);
    let mut peer = served.peer().await;
    let properties = [("operation", "READ"), ("type", "com.microsoft:eventhub"), ("name", "eh1")];
    let (status, _) = peer.request("$management", &properties, Value::Null).await;
    assert_eq!(status, 503);
    assert_eq!(served.hub.counts().management_reads, 0);
}

#[tokio::test]
async fn a_higher_epoch_on_another_connection_takes_the_partition() {
    let served = serve().await;
    let (mut first, mut second) = (served.peer().await, served.peer().await);
    let held = first.attach(&Attach::receiver(PARTITION_0).epoch(1)).await;
    second.attach(&Attach::receiver(PARTITION_0).epoch(2)).await;
    let (condition, _) = first.detached(held).await;
    assert_eq!(condition, condition::STOLEN);
    let again = Attach::receiver(PARTITION_0).epoch(1);
    assert_eq!(first.refused(&again).await.0, condition::STOLEN);
    assert_eq!(served.hub.counts().open_receivers, 1);
}

#[tokio::test]
async fn a_delayed_route_delivers_without_another_message_to_wake_it() {
    let served = serve().await;
    let mut peer = served.peer().await;
    peer.attach(&Attach::receiver(PARTITION_0)).await;
    peer.credit(0, 0, 1).await;
    served.hub.faults().update(|f| f.route_delay_ms = 100);
    served.beat();
    peer.transfer().await;
}
