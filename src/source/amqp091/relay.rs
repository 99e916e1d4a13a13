//! Puts the [`Guard`] between the broker and the client library.
//!
//! The library can be given a socket, but only one of its runtime's own type. So it is given one end of a loopback
//! connection, and a task carries the frames between the other end and the broker. Only our own end is accepted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::dial::Duplex;
use super::guard::{self, Breach, FRAME_END, Guard, MAX_FRAME_BYTES, PREFIX_BYTES, Pass};

/// Connections by others that are turned away before we give up waiting for our own.
const MAX_STRANGERS: usize = 16;

/// Carries frames until one side closes, the guard objects, or it is dropped. Dropping it closes both connections, so
/// that the client library ends even where the broker doesn't answer.
#[derive(Debug)]
pub(super) struct Relay {
    task: JoinHandle<Result<(), RelayError>>,
}

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The guard gave the connection up.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// A connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// A loopback socket that waits for the client library.
pub(super) struct Gate {
    listener: TcpListener,
    address: SocketAddr,
}

impl Gate {
    /// Opens the socket.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where the client library connects to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to carry frames between `broker` and the connection that comes from the address `client` tells.
    pub(super) fn relay(
        self,
        broker: Box<dyn Duplex>,
        client: tokio::sync::oneshot::Receiver<SocketAddr>,
    ) -> Relay {
        let task = tokio::spawn(async move {
            let library = self.accept(client).await?;
            carry(broker, library).await
        });
        Relay { task }
    }

    async fn accept(
        self,
        client: tokio::sync::oneshot::Receiver<SocketAddr>,
    ) -> io::Result<TcpStream> {
        let client = client.await.map_err(io::Error::other)?;
        for _ in 0..MAX_STRANGERS {
            let (stream, peer) = self.listener.accept().await?;
            if peer == client {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
        }
        Err(io::Error::other("others took our loopback socket"))
    }
}

impl Relay {
    /// Why it ended, if it did by itself and there is something to say.
    pub(super) async fn reason(mut self) -> Option<String> {
        if !self.task.is_finished() {
            return None;
        }
        match (&mut self.task).await {
            Ok(Err(error)) => Some(error.to_string()),
            Ok(Ok(())) => None,
            Err(error) => Some(format!("the guard of the connection ended: {error}")),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(broker: Box<dyn Duplex>, library: TcpStream) -> Result<(), RelayError> {
    let (from_broker, mut to_broker) = tokio::io::split(broker);
    let (mut from_library, to_library) = library.into_split();
    tokio::select! {
        ended = guarded(from_broker, to_library) => ended,
        ended = tokio::io::copy(&mut from_library, &mut to_broker) => Ok(ended.map(|_| ())?),
    }
}

/// Carries frames from the broker to the library, each judged by the guard.
async fn guarded(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
) -> Result<(), RelayError> {
    let mut from = BufReader::with_capacity(MAX_FRAME_BYTES, from);
    let mut to = BufWriter::with_capacity(MAX_FRAME_BYTES, to);
    let mut guard = Guard::default();
    let mut payload = Vec::new();
    loop {
        if from.buffer().is_empty() {
            to.flush().await?;
        }
        let mut prefix = [0; PREFIX_BYTES];
        if let Err(error) = from.read_exact(&mut prefix).await {
            to.flush().await?;
            return Err(error.into());
        }
        payload.resize(guard::payload_bytes(prefix)?, 0);
        from.read_exact(&mut payload).await?;
        if from.read_u8().await? != FRAME_END {
            return Err(Breach::NoFrameEnd.into());
        }
        match guard.judge(prefix, &payload)? {
            Pass::Dropped => {}
            Pass::AsItIs => forward(&mut to, prefix, &payload).await?,
            Pass::Replaced(payload) => forward(&mut to, prefix, &payload).await?,
        }
    }
}

async fn forward(
    to: &mut (impl AsyncWrite + Unpin),
    prefix: [u8; PREFIX_BYTES],
    payload: &[u8],
) -> io::Result<()> {
    let [kind, high, low, ..] = prefix;
    let size = u32::try_from(payload.len()).map_err(io::Error::other)?;
    to.write_all(&[kind, high, low]).await?;
    to.write_u32(size).await?;
    to.write_all(payload).await?;
    to.write_u8(FRAME_END).await
}
