//! A TCP proxy on loopback that breaks links in the ways in which networks do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

#[cfg(test)]
mod tests;

/// Bytes read in one go.
const CHUNK: usize = 64 * 1024;
/// Throttled bytes go in portions of this span.
const PORTION: Duration = Duration::from_millis(50);
/// How long the peers of a cut connection may still send before it is closed for good.
const LINGER: Duration = Duration::from_secs(1);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Bytes go through.
    #[default]
    Pass,
    /// Each chunk waits this long.
    Delay(Duration),
    /// At most this many bytes a second in each direction.
    Throttle(u32),
    /// Ended in order (FIN), as long as the fault lasts also every new one.
    Cut,
    /// Ended by RST.
    Reset,
    /// Nothing is read, nothing is sent, nothing is closed; new connections are accepted and forward nothing.
    BlackHole,
}

#[derive(Debug, Default)]
struct State {
    all: Fault,
    each: HashMap<u64, Fault>,
    /// Connections up to this number have been cut, or reset.
    cut_upto: u64,
    reset_upto: u64,
}

impl State {
    fn of(&self, connection: u64) -> Fault {
        if connection <= self.reset_upto {
            return Fault::Reset;
        }
        if connection <= self.cut_upto {
            return Fault::Cut;
        }
        self.each.get(&connection).copied().unwrap_or(self.all)
    }
}

/// A proxy to one address, until dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    accepted: Arc<AtomicU64>,
    _stop: DropGuard,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State::default());
        let accepted = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let (faults, numbers) = (state.clone(), accepted.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(serve(client, upstream, Faults { number, state: faults.subscribe() }));
            }
        }));
        Self { address, state, accepted, _stop: stop.drop_guard() }
    }

    /// For every connection that has no fault of its own, those to come included.
    pub(crate) fn set(&self, fault: Fault) {
        self.state.send_modify(|state| state.all = fault);
    }

    /// For one connection, counted from 1 in the order in which they were accepted.
    pub(crate) fn set_for(&self, connection: u64, fault: Fault) {
        self.state.send_modify(|state| {
            state.each.insert(connection, fault);
        });
    }

    /// Ends every connection there is in order; new ones are not affected.
    pub(crate) fn cut(&self) {
        let upto = self.accepted();
        self.state.send_modify(|state| state.cut_upto = upto);
    }

    /// Ends every connection there is by RST; new ones are not affected.
    pub(crate) fn reset(&self) {
        let upto = self.accepted();
        self.state.send_modify(|state| state.reset_upto = upto);
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The faults of one connection.
#[derive(Clone)]
struct Faults {
    number: u64,
    state: watch::Receiver<State>,
}

impl Faults {
    fn now(&mut self) -> Fault {
        self.state.borrow_and_update().of(self.number)
    }

    /// Returns once something has changed; never if nothing can change any more.
    async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits as long as nothing may move.
    async fn passable(&mut self) -> Fault {
        loop {
            match self.now() {
                Fault::BlackHole | Fault::Cut | Fault::Reset => self.changed().await,
                fault @ (Fault::Pass | Fault::Delay(_) | Fault::Throttle(_)) => return fault,
            }
        }
    }

    /// Waits for the fault that ends the connection.
    async fn ended(&mut self) -> Fault {
        loop {
            match self.now() {
                fault @ (Fault::Cut | Fault::Reset) => return fault,
                Fault::BlackHole | Fault::Pass | Fault::Delay(_) | Fault::Throttle(_) => {
                    self.changed().await;
                }
            }
        }
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, mut faults: Faults) {
    let mut ending = faults.clone();
    let dial = async {
        faults.passable().await;
        TcpStream::connect(upstream).await
    };
    let mut server = tokio::select! {
        fault = ending.ended() => return end(client, fault).await,
        dialled = dial => match dialled {
            Ok(server) => server,
            Err(_) => return end(client, Fault::Reset).await,
        },
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::join!(
                pump(from_client, to_server, faults.clone()),
                pump(from_server, to_client, faults.clone())
            )
        };
        tokio::select! {
            fault = ending.ended() => Some(fault),
            // Both directions have ended by themselves.
            _ = both => None,
        }
    };
    if let Some(fault) = ended {
        tokio::join!(end(client, fault), end(server, fault));
    }
}

/// Closes one side.
async fn end(mut stream: TcpStream, fault: Fault) {
    match fault {
        Fault::Reset => {
            // With nothing to linger for, closing sends RST.
            stream.set_zero_linger().ok();
        }
        Fault::Cut | Fault::Pass | Fault::Delay(_) | Fault::Throttle(_) | Fault::BlackHole => {
            stream.shutdown().await.ok();
            // Bytes left unread would turn the close into an RST.
            let mut nowhere = tokio::io::sink();
            let drain = tokio::io::copy(&mut stream, &mut nowhere);
            tokio::time::timeout(LINGER, drain).await.ok();
        }
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut faults: Faults) {
    let mut buffer = vec![0; CHUNK];
    loop {
        faults.passable().await;
        let read = tokio::select! {
            () = faults.changed() => continue,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else {
            // The end is news too: it goes no further through a black hole.
            faults.passable().await;
            to.shutdown().await.ok();
            return;
        };
        if forward(&buffer[..length], &mut to, &mut faults).await.is_err() {
            return;
        }
    }
}

/// Writes what was read, as the fault of the moment wants it.
async fn forward(
    mut bytes: &[u8],
    to: &mut WriteHalf<'_>,
    faults: &mut Faults,
) -> std::io::Result<()> {
    if let Fault::Delay(wait) = faults.passable().await {
        tokio::time::sleep(wait).await;
    }
    while !bytes.is_empty() {
        let portion = match faults.passable().await {
            Fault::Throttle(per_second) => {
                tokio::time::sleep(PORTION).await;
                let portions = u32::try_from(1_000 / PORTION.as_millis()).unwrap();
                usize::try_from(per_second / portions).unwrap().clamp(1, bytes.len())
            }
            Fault::Pass | Fault::Delay(_) | Fault::Cut | Fault::Reset | Fault::BlackHole => {
                bytes.len()
            }
        };
        to.write_all(&bytes[..portion]).await?;
        bytes = &bytes[portion..];
    }
    Ok(())
}
