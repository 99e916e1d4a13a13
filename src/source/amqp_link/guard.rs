//! A stream wrapper under the stock client: hands on only checked frames, and can be ended from outside.
//!
//! Ending it matters because the client, told to close, waits for the peer's answer in a loop that uses a whole core if
//! the peer is silent, and for ever if its handles are dropped meanwhile. A stream that reports its end stops it.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::encoding::Malformed;
use super::inbound::{Inbound, LinkCounts};
use super::outbound::Outbound;
use crate::clock;

/// Bytes asked from the stream at a time: some hundred messages.
const READ_BYTES: usize = 64 << 10;

/// The other end of a [`Guard`]: what it has seen, and its switch.
#[derive(Clone, Debug)]
pub struct GuardHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    killed: CancellationToken,
    last_read_boot_ms: AtomicI64,
    links: Mutex<HashMap<String, LinkCounts>>,
    drained: Notify,
    fault: Mutex<Option<Malformed>>,
    old_rabbitmq: AtomicBool,
}

impl GuardHandle {
    /// Ends the stream: reads report its end, writes fail.
    pub fn kill(&self) {
        self.0.killed.cancel();
    }

    /// Boot time at which the peer was last heard, ms.
    pub fn last_read_boot_ms(&self) -> i64 {
        self.0.last_read_boot_ms.load(Ordering::Relaxed)
    }

    /// What is known about a data link's drains. (`deliveries` is as of the last drain.)
    pub fn counts(&self, link: &str) -> LinkCounts {
        let links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(link).copied().unwrap_or_default()
    }

    /// Waits until the peer has answered a drain of `link` for the `drains`-th time.
    pub async fn drained(&self, link: &str, drains: u64) -> LinkCounts {
        loop {
            let notified = self.0.drained.notified();
            let counts = self.counts(link);
            if counts.drains >= drains {
                return counts;
            }
            notified.await;
        }
    }

    /// Whether the peer's `open` says that it is a RabbitMQ before 4.0. Its drains can't be used: seen with 3.10, a drained
    /// classic queue ends the link with `amqp:internal-error`, and a drained quorum queue never sends again.
    pub fn peer_is_old_rabbitmq(&self) -> bool {
        self.0.old_rabbitmq.load(Ordering::Relaxed)
    }

    /// Why the guard ended the connection, if it did.
    pub fn fault(&self) -> Option<String> {
        let fault = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.map(|fault| fault.to_string())
    }
}

/// The stream that is given to the stock client.
pub struct Guard<S> {
    stream: S,
    inbound: Inbound,
    outbound: Outbound,
    scratch: Box<[u8]>,
    shared: Arc<Shared>,
    read_killed: Pin<Box<WaitForCancellationFutureOwned>>,
    write_killed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> std::fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl<S> Guard<S> {
    /// Puts a guard around `stream`.
    pub fn new(stream: S) -> (Self, GuardHandle) {
        let killed = CancellationToken::new();
        let shared = Arc::new(Shared {
            killed: killed.clone(),
            last_read_boot_ms: AtomicI64::new(clock::boot_ms()),
            links: Mutex::default(),
            drained: Notify::new(),
            fault: Mutex::default(),
            old_rabbitmq: AtomicBool::new(false),
        });
        let guard = Self {
            stream,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            shared: shared.clone(),
            read_killed: Box::pin(killed.clone().cancelled_owned()),
            write_killed: Box::pin(killed.cancelled_owned()),
        };
        (guard, GuardHandle(shared))
    }

    fn note_links(&mut self) {
        if self.inbound.peer_is_old_rabbitmq {
            self.shared.old_rabbitmq.store(true, Ordering::Relaxed);
        }
        let changed = self.inbound.take_changed();
        if changed.is_empty() {
            return;
        }
        let mut links = lock(&self.shared.links);
        links.extend(changed);
        drop(links);
        self.shared.drained.notify_waiters();
    }

    fn fail(&self, malformed: Malformed) -> io::Error {
        *lock(&self.shared.fault) = Some(malformed);
        self.shared.killed.cancel();
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.read_killed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let checked = this.inbound.ready();
            if !checked.is_empty() {
                let length = checked.len().min(buf.remaining());
                buf.put_slice(&checked[..length]);
                checked.advance(length);
                return Poll::Ready(Ok(()));
            }
            let mut scratch = ReadBuf::new(&mut this.scratch);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut scratch))?;
            let read = scratch.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.shared.last_read_boot_ms.store(clock::boot_ms(), Ordering::Relaxed);
            let pushed = this.inbound.push(read);
            this.note_links();
            if let Err(malformed) = pushed {
                return Poll::Ready(Err(this.fail(malformed)));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_killed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        while !self.outbound.ready().is_empty() {
            let checked = self.outbound.ready();
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, checked))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            checked.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let shared = this.shared.clone();
        let skipped = |name: &str| lock(&shared.links).get(name).map_or(0, |link| link.skipped);
        if let Err(malformed) = this.outbound.push(buf, skipped) {
            return Poll::Ready(Err(this.fail(malformed)));
        }
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.write_killed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_switch_ends_a_read_that_waits_and_fails_writes() {
        let (ours, _peer) = duplex(64);
        let (mut guard, handle) = Guard::new(ours);
        let reader = tokio::spawn(async move {
            let ended = guard.read(&mut [0; 8]).await;
            (ended, guard.write(b"AMQP\0\x01\0\0").await)
        });
        handle.kill();
        let (ended, write) = timeout(SOON, reader).await.unwrap().unwrap();
        assert_eq!(ended.unwrap(), 0);
        assert_eq!(write.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn whole_frames_pass_and_a_lie_is_an_error_that_names_it() {
        let (ours, mut peer) = duplex(64);
        let (mut guard, handle) = Guard::new(ours);
        peer.write_all(b"AMQP\0\x01\0\0\0\0\0\x08\x02\0\0\0").await.unwrap();
        let mut bytes = [0; 16];
        timeout(SOON, guard.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(&bytes[..8], b"AMQP\0\x01\0\0");
        assert!(handle.last_read_boot_ms() > 0);
        peer.write_all(&[0xff; 8]).await.unwrap();
        let error = timeout(SOON, guard.read(&mut bytes)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(handle.fault().unwrap().contains("size"));
    }
}
