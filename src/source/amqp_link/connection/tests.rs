use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    frame.extend([2, kind, 0, 0]);
    frame.extend(body);
    frame
}

/// Reads one frame and gives its body.
async fn read_frame(peer: &mut DuplexStream) -> Vec<u8> {
    let size = peer.read_u32().await.unwrap() as usize;
    let mut rest = vec![0; size - 4];
    peer.read_exact(&mut rest).await.unwrap();
    rest.split_off(4)
}

/// Answers up to `open`, with an idle time-out in milliseconds, and nothing after it.
async fn open_as_peer(peer: &mut DuplexStream, idle_ms: u32) {
    let mut header = [0; 8];
    peer.read_exact(&mut header).await.unwrap();
    let mechanisms = [0x00, 0x53, 0x40, 0xc0, 12, 1, 0xa3, 9];
    let mut sasl = b"AMQP\x03\x01\0\0".to_vec();
    sasl.extend(frame(1, &[&mechanisms[..], b"ANONYMOUS"].concat()));
    peer.write_all(&sasl).await.unwrap();
    read_frame(peer).await;
    let mut outcome = frame(1, &[0x00, 0x53, 0x44, 0xc0, 3, 1, 0x50, 0]);
    outcome.extend(b"AMQP\0\x01\0\0");
    peer.write_all(&outcome).await.unwrap();
    peer.read_exact(&mut header).await.unwrap();
    read_frame(peer).await;
    let fields = [0xa1, 1, b'p', 0x40, 0x40, 0x40, 0x70];
    let mut open = vec![0x00, 0x53, 0x10, 0xc0, 12, 5];
    open.extend(fields);
    open.extend(idle_ms.to_be_bytes());
    peer.write_all(&frame(0, &open)).await.unwrap();
}

async fn connected(idle_ms: u32) -> (Connection, DuplexStream) {
    let (ours, mut peer) = duplex(4_096);
    let opening = Connection::open_on(ours, "h", &Sasl::Anonymous, "c");
    let (connection, ()) =
        timeout(SOON, async { tokio::join!(opening, open_as_peer(&mut peer, idle_ms)) })
            .await
            .unwrap();
    (connection.unwrap(), peer)
}

/// Reads up to the end that a dropped stream gives.
async fn until_ended(mut peer: DuplexStream) {
    timeout(SOON, peer.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_towards_a_silent_peer_ends_the_clients_task_after_a_second() {
    let (connection, peer) = connected(60_000).await;
    timeout(SOON, connection.close()).await.unwrap();
    until_ended(peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_connection_to_a_silent_peer_ends_the_clients_task() {
    let (connection, peer) = connected(60_000).await;
    drop(connection);
    until_ended(peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_come_at_half_the_peers_idle_time_out() {
    let (_connection, mut peer) = connected(1_000).await;
    for _ in 0..3 {
        let beat = timeout(Duration::from_millis(900), read_frame(&mut peer)).await;
        assert!(beat.unwrap().is_empty());
    }
}
