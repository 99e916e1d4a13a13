//! A connection of the stock client over a guarded stream.

use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{Session, SessionHandle};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::dial::{ByteStream, Dial, dial};
use super::guard::{Guard, GuardHandle};
use super::inbound::MAX_FRAME_BYTES;
use super::link_error::LinkError;

/// A peer that was silent for this long is taken for dead. Brokers send something at half of it.
const IDLE_TIME_OUT_MS: u32 = 60_000;
/// How long SASL and `open` may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to answer `close`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Frames a session may receive before we tell the peer that it may go on.
const SESSION_WINDOW: u32 = 20_000;

/// How to authenticate on the connection itself.
#[derive(Clone, Debug)]
pub enum Sasl {
    /// ANONYMOUS: tokens follow by CBS, or the broker asks for nothing.
    Anonymous,
    /// PLAIN.
    Plain {
        /// User.
        user: String,
        /// Password.
        password: SecretString,
    },
}

/// An open connection. Dropping it ends its stream at once.
#[derive(Debug)]
pub struct Connection {
    handle: ConnectionHandle<()>,
    guard: GuardHandle,
}

impl Connection {
    /// Dials and opens. `hostname` is what `open` names: the host, or a virtual one.
    pub async fn open(
        target: &Dial,
        hostname: &str,
        sasl: &Sasl,
        container_id: &str,
    ) -> Result<Self, LinkError> {
        let stream = dial(target).await?;
        Self::open_on(stream, hostname, sasl, container_id).await
    }

    pub(super) async fn open_on(
        stream: impl ByteStream + 'static,
        hostname: &str,
        sasl: &Sasl,
        container_id: &str,
    ) -> Result<Self, LinkError> {
        let (stream, guard) = Guard::new(stream);
        let profile = match sasl {
            Sasl::Anonymous => SaslProfile::Anonymous,
            Sasl::Plain { user, password } => SaslProfile::Plain {
                username: user.clone(),
                password: password.expose_secret().to_owned(),
            },
        };
        let opening = fe2o3_amqp::Connection::builder()
            .container_id(container_id)
            .hostname(hostname)
            .scheme("amqp")
            .max_frame_size(u32::try_from(MAX_FRAME_BYTES).unwrap_or(u32::MAX))
            .idle_time_out(IDLE_TIME_OUT_MS)
            .sasl_profile(profile)
            .open_with_stream(stream);
        let opened = timeout(OPEN_TIMEOUT, opening).await;
        match opened {
            Ok(Ok(handle)) => Ok(Self { handle, guard }),
            Ok(Err(error)) => {
                guard.kill();
                Err(guard.fault().map_or_else(|| error.into(), LinkError::Ended))
            }
            Err(_) => {
                guard.kill();
                Err(LinkError::Timeout("opening the connection"))
            }
        }
    }

    /// A new session.
    pub async fn begin(&mut self) -> Result<SessionHandle<()>, LinkError> {
        let begun = Session::builder().incoming_window(SESSION_WINDOW).begin(&mut self.handle);
        Ok(timeout(OPEN_TIMEOUT, begun)
            .await
            .map_err(|_| LinkError::Timeout("beginning a session"))??)
    }

    /// The guard under the connection.
    pub fn guard(&self) -> &GuardHandle {
        &self.guard
    }

    /// Says goodbye, and ends the stream when the peer has answered or 1 s has passed.
    pub async fn close(mut self) {
        // The answer can only be that it is closed, or an error of a connection that is given up anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.handle.close()).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.guard.kill();
    }
}

#[cfg(test)]
#[path = "connection/tests.rs"]
mod tests;
