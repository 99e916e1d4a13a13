//! Each fault does what it says, seen from both ends.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;

/// Far above what loopback takes.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
const QUIET: Duration = Duration::from_millis(300);

/// A proxy before a listener, and both ends of a connection through it.
struct Link {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Link {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await;
        let client = TcpStream::connect(proxy.address).await.unwrap();
        let (server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut link = Self { proxy, listener, client, server };
        link.assert_passes().await;
        link
    }

    async fn assert_passes(&mut self) {
        exchange(&mut self.client, &mut self.server).await;
        exchange(&mut self.server, &mut self.client).await;
    }
}

async fn exchange(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"word").await.unwrap();
    let mut read = [0; 4];
    timeout(SOON, to.read_exact(&mut read)).await.expect("it comes through").unwrap();
    assert_eq!(&read, b"word");
}

async fn assert_nothing_comes(stream: &mut TcpStream) {
    let mut read = [0; 1];
    assert!(timeout(QUIET, stream.read(&mut read)).await.is_err(), "something came");
}

async fn assert_ends(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await.expect("it ends");
    assert_eq!(read.unwrap(), 0, "in order");
}

async fn assert_is_reset(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await.expect("it ends");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_end_in_one_direction_is_passed_on_and_the_other_direction_goes_on() {
    let mut link = Link::open().await;
    link.client.shutdown().await.unwrap();
    assert_ends(&mut link.server).await;
    exchange(&mut link.server, &mut link.client).await;
}

#[tokio::test]
async fn a_cut_ends_both_sides_in_order_and_new_connections_pass() {
    let mut link = Link::open().await;
    link.proxy.cut();
    assert_ends(&mut link.client).await;
    assert_ends(&mut link.server).await;
    link.client = TcpStream::connect(link.proxy.address).await.unwrap();
    (link.server, _) = timeout(SOON, link.listener.accept()).await.unwrap().unwrap();
    link.assert_passes().await;
}

#[tokio::test]
async fn as_long_as_links_are_cut_new_ones_end_at_once() {
    let link = Link::open().await;
    link.proxy.set(Fault::Cut);
    let mut late = TcpStream::connect(link.proxy.address).await.unwrap();
    assert_ends(&mut late).await;
    assert!(timeout(QUIET, link.listener.accept()).await.is_err(), "it was forwarded");
}

#[tokio::test]
async fn a_reset_is_seen_as_one_by_both_sides() {
    let mut link = Link::open().await;
    link.proxy.reset();
    assert_is_reset(&mut link.client).await;
    assert_is_reset(&mut link.server).await;
}

#[tokio::test]
async fn through_a_black_hole_nothing_comes_not_even_the_end_and_afterwards_everything() {
    let mut link = Link::open().await;
    link.proxy.set(Fault::BlackHole);
    link.client.write_all(b"word").await.unwrap();
    link.server.shutdown().await.unwrap();
    assert_nothing_comes(&mut link.server).await;
    assert_nothing_comes(&mut link.client).await;
    let mut late = TcpStream::connect(link.proxy.address).await.unwrap();
    late.write_all(b"late").await.unwrap();
    assert!(timeout(QUIET, link.listener.accept()).await.is_err(), "it was forwarded");
    link.proxy.set(Fault::Pass);
    let mut read = [0; 4];
    timeout(SOON, link.server.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"word");
    assert_ends(&mut link.client).await;
    let (mut server, _) = timeout(SOON, link.listener.accept()).await.unwrap().unwrap();
    timeout(SOON, server.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"late");
}

#[tokio::test]
async fn a_black_hole_reads_nothing_so_that_the_sender_is_held_up() {
    let mut link = Link::open().await;
    link.proxy.set(Fault::BlackHole);
    let all = vec![0; 64 << 20];
    let sent = timeout(QUIET, link.client.write_all(&all)).await;
    assert!(sent.is_err(), "64 MiB went somewhere");
}

#[tokio::test]
async fn a_delay_holds_every_word_back() {
    let mut link = Link::open().await;
    link.proxy.set(Fault::Delay(QUIET));
    let began = Instant::now();
    exchange(&mut link.client, &mut link.server).await;
    assert!(began.elapsed() >= QUIET);
}

#[tokio::test]
async fn a_throttle_lets_so_many_bytes_through_in_a_second() {
    let mut link = Link::open().await;
    link.proxy.set(Fault::Throttle(10_000));
    let began = Instant::now();
    link.client.write_all(&[7; 5_000]).await.unwrap();
    timeout(SOON, link.server.read_exact(&mut [0; 5_000])).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_fault_of_one_connection_leaves_the_others_alone() {
    let mut link = Link::open().await;
    let mut second = TcpStream::connect(link.proxy.address).await.unwrap();
    let (mut served, _) = timeout(SOON, link.listener.accept()).await.unwrap().unwrap();
    exchange(&mut second, &mut served).await;
    link.proxy.set_for(1, Fault::BlackHole);
    link.client.write_all(b"word").await.unwrap();
    assert_nothing_comes(&mut link.server).await;
    exchange(&mut second, &mut served).await;
    link.proxy.set_for(2, Fault::Reset);
    assert_is_reset(&mut second).await;
    assert_eq!(link.proxy.accepted(), 2);
}
